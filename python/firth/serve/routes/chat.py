"""``POST /chat/completions``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve import chat
from firth.serve.engine import Events, unless_gone
from firth.serve.routes.state import models_of
from firth.serve.schemas import Chat
from firth.serve.wire import JSON

router = APIRouter(tags=["chat"])


@router.post("/chat/completions")
async def chat_completions(body: Chat, request: Request) -> Response:
    """An answer to a conversation, whole or as a stream."""
    models = models_of(request)
    name, engine = models.chat.find(body.model)
    embedder = next(iter(models.embed.models.values()), None)
    job = await chat.submitted(engine, body)
    if body.stream:
        return Events(chat.streamed(job, name, engine, body, embedder), job)
    answer = chat.whole(job, name, engine, body, embedder)
    return JSON(await unless_gone(request.receive, answer))
