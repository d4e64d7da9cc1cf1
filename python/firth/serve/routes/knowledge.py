"""``GET /kb``, ``POST /kb/search`` and ``POST /kb/ask``: the documents of the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from firth.serve import errors, knowledge
from firth.serve.engine import Events, Job, unless_gone
from firth.serve.errors import APIError
from firth.serve.routes.state import models_of
from firth.serve.schemas import Ask, Search
from firth.serve.wire import JSON

if TYPE_CHECKING:
    from firth.rag import KnowledgeBase

router = APIRouter(tags=["documents"])


def _base(request: Request) -> KnowledgeBase:
    found: KnowledgeBase | None = request.app.state.kb
    if found is None:
        raise APIError(404, "this server has no knowledge base: firth serve --kb FOLDER")
    return found


async def _told(request: Request, work: Callable[[], dict[str, Any]]) -> Response:
    """The answer that some work with the knowledge base gives."""
    try:
        return JSON(await models_of(request).looks.run(work))
    except Exception as error:
        raise errors.of(error) from error


@router.get("/kb")
async def documents(request: Request) -> Response:
    """How many documents there are, and whether a model answers from them; without any, 0."""
    if request.app.state.kb is None:
        return JSON({"documents": 0, "passages": 0, "chat": False})
    base = _base(request)

    def work() -> dict[str, Any]:
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
    base = _base(request)

    def work() -> dict[str, Any]:
        found = base.search(body.query, body.k, body.mode, body.where, body.rerank)
        return {"passages": [asdict(one) for one in found]}

    return await _told(request, work)


@router.post("/kb/ask")
async def ask(body: Ask, request: Request) -> Response:
    """An answer that cites passages, and these; whole or as events."""
    base, models = _base(request), models_of(request)
    prepared, said = await knowledge.begun(base, body, models)
    if body.stream:
        job = said if isinstance(said, Job) else None
        return Events(knowledge.streamed(base, prepared, said, models), job)
    work = knowledge.whole(base, prepared, said, models)
    return JSON(await unless_gone(request.receive, work))
