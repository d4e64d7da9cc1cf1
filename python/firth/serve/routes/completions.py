"""``POST /completions``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve import completions
from firth.serve.engine import Events, unless_gone
from firth.serve.routes.state import models_of
from firth.serve.schemas import Completion
from firth.serve.wire import JSON

router = APIRouter(tags=["completions"])


@router.post("/completions")
async def text_completions(body: Completion, request: Request) -> Response:
    """Continuations of a text, whole or as a stream."""
    name, engine = models_of(request).chat.find(body.model)
    job, prompts = await completions.submitted(engine, body)
    if body.stream:
        return Events(completions.streamed(job, prompts, name, engine, body), job)
    answer = completions.whole(job, prompts, name, engine, body)
    return JSON(await unless_gone(request.receive, answer))
