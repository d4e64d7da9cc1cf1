"""``POST /rerank``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve.embeddings import reranked
from firth.serve.engine import unless_gone
from firth.serve.routes.state import models_of
from firth.serve.schemas import Rerank
from firth.serve.wire import JSON

router = APIRouter(tags=["rerank"])


@router.post("/rerank")
async def rerank(body: Rerank, request: Request) -> Response:
    """Documents by their score with a query."""
    name, reranker = models_of(request).rerank.find(body.model)
    return JSON(await unless_gone(request.receive, reranked(reranker, name, body)))
