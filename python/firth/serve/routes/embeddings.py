"""``POST /embeddings``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve.embeddings import embedded
from firth.serve.engine import unless_gone
from firth.serve.routes.state import models_of
from firth.serve.schemas import Embeddings
from firth.serve.wire import JSON

router = APIRouter(tags=["embeddings"])


@router.post("/embeddings")
async def embeddings(body: Embeddings, request: Request) -> Response:
    """Vectors of texts."""
    name, embedder = models_of(request).embed.find(body.model)
    return JSON(await unless_gone(request.receive, embedded(embedder, name, body)))
