"""``POST /chat/completions``, and below it the completions that are kept."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve import chat
from firth.serve.engine import Events, unless_gone
from firth.serve.routes.state import models_of
from firth.serve.schemas import Chat, Update
from firth.serve.stored import Stored
from firth.serve.wire import JSON

router = APIRouter(tags=["chat"])


@router.post("/chat/completions")
async def chat_completions(body: Chat, request: Request) -> Response:
    """An answer to a conversation, whole or as a stream."""
    models = models_of(request)
    name, engine = models.chat.find(body.model)
    embedder = next(iter(models.embed.models.values()), None)
    keep = partial(_stored(request).add, body.messages, body.metadata) if body.store else None
    job = await chat.submitted(engine, body)
    if body.stream:
        return Events(chat.streamed(job, name, engine, body, embedder, keep), job)
    work = chat.whole(job, name, engine, body, embedder)
    answer = await unless_gone(request.receive, work)
    if keep:
        keep(answer)
    return JSON(answer)


def _stored(request: Request) -> Stored:
    found: Stored = request.app.state.stored
    return found


@router.get("/chat/completions")
async def stored_completions(request: Request) -> Response:
    """Those that are kept."""
    return JSON(_stored(request).page(request.query_params))


@router.get("/chat/completions/{completion_id}")
async def stored_completion(completion_id: str, request: Request) -> Response:
    """One of them."""
    return JSON(_stored(request).find(completion_id).completion)


@router.post("/chat/completions/{completion_id}")
async def update_completion(completion_id: str, body: Update, request: Request) -> Response:
    """The same with other metadata."""
    return JSON(_stored(request).update(completion_id, body.metadata))


@router.delete("/chat/completions/{completion_id}")
async def delete_completion(completion_id: str, request: Request) -> Response:
    """It is kept no longer."""
    return JSON(_stored(request).delete(completion_id))


@router.get("/chat/completions/{completion_id}/messages")
async def stored_messages(completion_id: str, request: Request) -> Response:
    """The messages that it answers."""
    return JSON(_stored(request).messages(completion_id, request.query_params))
