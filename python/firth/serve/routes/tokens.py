"""``POST /tokenize``, ``/detokenize`` and ``/apply-template``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve import tokens
from firth.serve.errors import APIError
from firth.serve.routes.state import models_of
from firth.serve.schemas import Detokenize, Template, Tokenize
from firth.serve.wire import JSON

if TYPE_CHECKING:
    from firth.generators import CausalLM

router = APIRouter(tags=["tokens"])


def _model(request: Request, name: str | None) -> CausalLM:
    """The chat model of a name; other models of the server have other tokens."""
    models = models_of(request)
    if name in models.embed.models or name in models.rerank.models:
        raise APIError(400, f"{name} is no model of chats, whose tokens these are", param="model")
    return models.chat.find(name)[1].model


@router.post("/tokenize")
async def tokenize(body: Tokenize, request: Request) -> Response:
    """The tokens of a text."""
    return JSON(await tokens.tokenized(_model(request, body.model), body))


@router.post("/detokenize")
async def detokenize(body: Detokenize, request: Request) -> Response:
    """The text of tokens."""
    return JSON(await tokens.detokenized(_model(request, body.model), body))


@router.post("/apply-template")
async def apply_template(body: Template, request: Request) -> Response:
    """The prompt of a conversation."""
    return JSON(await tokens.prompt(_model(request, body.model), body))
