"""``POST /responses``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve.engine import Events, unless_gone
from firth.serve.responses import Responses, streamed, submitted, whole
from firth.serve.routes.state import models_of
from firth.serve.wire import JSON

router = APIRouter(tags=["responses"])


@router.post("/responses")
async def responses(body: Responses, request: Request) -> Response:
    """An answer to a conversation, whole or as events."""
    name, engine = models_of(request).chat.find(body.model)
    job = await submitted(engine, body)
    if body.stream:
        return Events(streamed(job, name, body), job)
    return JSON(await unless_gone(request.receive, whole(job, name, body)))
