"""``POST /next`` and ``POST /attention``, which the playground asks."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve import errors, insight
from firth.serve.routes.state import models_of
from firth.serve.schemas import AttentionOf, Next
from firth.serve.wire import JSON

router = APIRouter(tags=["insight"])


@router.post("/next")
async def next_tokens(body: Next, request: Request) -> Response:
    """The probabilities of the next token, and what temperature and top-p make of them."""
    models = models_of(request)
    name, engine = models.chat.find(body.model)
    try:
        found = await models.looks.run(lambda: insight.next_tokens(engine.model, body))
    except Exception as error:
        raise errors.of(error) from error
    return JSON({"model": name, **found})


@router.post("/attention")
async def attention(body: AttentionOf, request: Request) -> Response:
    """Where the heads of a layer look."""
    models = models_of(request)
    family = models.embed if body.model in models.embed.models else models.chat
    name, served = family.find(body.model)
    try:
        found = await models.looks.run(lambda: insight.attention(served.model, body))
    except Exception as error:
        raise errors.of(error) from error
    return JSON({"model": name, **found})
