"""``POST /tokenize``, ``/detokenize`` and ``/apply-template``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve import tokens
from firth.serve.routes.state import models_of
from firth.serve.schemas import Detokenize, Template, Tokenize
from firth.serve.wire import JSON

router = APIRouter(tags=["tokens"])


@router.post("/tokenize")
async def tokenize(body: Tokenize, request: Request) -> Response:
    """The tokens of a text."""
    _, engine = models_of(request).chat.find(body.model)
    return JSON(await tokens.tokenized(engine.model, body))


@router.post("/detokenize")
async def detokenize(body: Detokenize, request: Request) -> Response:
    """The text of tokens."""
    _, engine = models_of(request).chat.find(body.model)
    return JSON(await tokens.detokenized(engine.model, body))


@router.post("/apply-template")
async def apply_template(body: Template, request: Request) -> Response:
    """The prompt of a conversation."""
    _, engine = models_of(request).chat.find(body.model)
    return JSON(await tokens.prompt(engine.model, body))
