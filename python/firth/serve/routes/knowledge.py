"""``GET /kb``, ``POST /kb/search`` and ``POST /kb/ask``: the documents of the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve import errors
from firth.serve.errors import APIError
from firth.serve.routes.state import models_of
from firth.serve.schemas import Ask, Search
from firth.serve.wire import JSON

if TYPE_CHECKING:
    from firth.rag import KnowledgeBase

router = APIRouter(tags=["documents"])


async def _told(request: Request, work: Callable[[KnowledgeBase], dict[str, Any]]) -> Response:
    """The answer that some work with the knowledge base gives."""
    base: KnowledgeBase | None = request.app.state.kb
    if base is None:
        raise APIError(404, "this server has no knowledge base: firth serve --kb FOLDER")
    try:
        return JSON(await models_of(request).looks.run(lambda: work(base)))
    except Exception as error:
        raise errors.of(error) from error


@router.get("/kb")
async def knowledge(request: Request) -> Response:
    """How many documents there are, and whether a model answers from them; without any, 0."""
    if request.app.state.kb is None:
        return JSON({"documents": 0, "passages": 0, "chat": False})

    def work(base: KnowledgeBase) -> dict[str, Any]:
        stats = base.stats()
        counts = {"documents": stats["documents"], "passages": stats["passages"]}
        try:
            return {**counts, "chat": base.chat is not None}
        except ValueError:  # none was given
            return {**counts, "chat": False}

    return await _told(request, work)


@router.post("/kb/search")
async def search(body: Search, request: Request) -> Response:
    """The passages that fit a query best."""

    def work(base: KnowledgeBase) -> dict[str, Any]:
        return {"passages": [asdict(one) for one in base.search(body.query, body.k, body.mode)]}

    return await _told(request, work)


@router.post("/kb/ask")
async def ask(body: Ask, request: Request) -> Response:
    """An answer that cites passages, and these."""

    def work(base: KnowledgeBase) -> dict[str, Any]:
        return asdict(base.ask(body.question, body.k, temperature=0))

    return await _told(request, work)
