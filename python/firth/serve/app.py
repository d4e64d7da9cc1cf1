"""The application: models, routes, checks and counts put together."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI

import firth
from firth.serve.errors import add_handlers
from firth.serve.metrics import Metrics, Observed
from firth.serve.models import Models, loaded
from firth.serve.routes import (
    chat,
    completions,
    embeddings,
    insight,
    knowledge,
    models,
    moderations,
    ollama,
    page,
    rerank,
    responses,
    state,
    tokens,
)
from firth.serve.security import Guard
from firth.serve.stored import Stored

if TYPE_CHECKING:
    from firth.encoders import CrossEncoder, SentenceTransformer
    from firth.generators import CausalLM
    from firth.rag import KnowledgeBase

    Place = str | os.PathLike[str]

PREFIXES = ("", "/v1", "/openai/v1")  # the last is that of Groq's client
ROUTERS: tuple[APIRouter, ...] = (
    chat.router, completions.router, embeddings.router, models.router, rerank.router,
    tokens.router, insight.router, knowledge.router, state.router, moderations.router,
    responses.router,
)  # fmt: skip


def create_app(
    chat: CausalLM | Place | Sequence[Place] | Mapping[str, CausalLM | Place] | None = None,
    embed: SentenceTransformer | Place | Mapping[str, SentenceTransformer | Place] | None = None,
    rerank: CrossEncoder | Place | Mapping[str, CrossEncoder | Place] | None = None,
    kb: KnowledgeBase | Place | None = None,
    *,
    api_key: str | None = None,
    hosts: Sequence[str] = (),
    context: int | None = None,
    slots: int = 8,
    queue: int = 64,
) -> FastAPI:
    """An ASGI application with OpenAI's API.

    Parameters
    ----------
    chat, embed, rerank : optional
        Models: one by its path or name, as `from_pretrained` takes it; several; one in memory; or
        a dict of names, by which requests call them. A name that no model has means the first.
    kb : KnowledgeBase or path-like, optional
        Documents to search and ask; those of a folder are asked with the first model of chats.
    api_key : str, optional
        What requests must have as ``Authorization: Bearer ...``. None: nothing; the server should
        listen on this machine alone.
    hosts : sequence of str
        Names in ``Host`` that are answered, besides localhost, this machine's, and addresses in
        numbers.
    context : int, optional
        Tokens that a prompt and its answer may have together: `CausalLM.from_pretrained`.
    slots : int
        Texts that a model goes on with at once.
    queue : int
        Texts that may wait for a model; while so many do, requests are refused.

    Returns
    -------
    FastAPI

    Raises
    ------
    ImportError
        FastAPI, pydantic or uvicorn is not installed.
    FileNotFoundError, FormatError, ValueError
        As the models' classes.
    TypeError
        A model in memory is of another kind.
    """
    # firth imports each of its classes where it is named: a server begins with those that it needs
    served = Models(
        loaded(chat, "chat", "CausalLM", lambda one: firth.CausalLM.from_pretrained(one, context)),
        loaded(embed, "embed", "SentenceTransformer", lambda one: firth.SentenceTransformer(one)),
        loaded(rerank, "rerank", "CrossEncoder", lambda one: firth.CrossEncoder(one)),
        slots,
        queue,
    )

    base: KnowledgeBase | None
    if isinstance(kb, (str, os.PathLike)):
        engines = list(served.chat.models.values())
        base = firth.KnowledgeBase(kb, chat=engines[0].model if engines else None)
    else:
        base = kb

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(served.close)
        if base is not None and base is not kb:
            base.close()

    # its pages of documentation load scripts from elsewhere
    app = FastAPI(
        title="firth", version=firth.__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.models, app.state.kb, app.state.metrics = served, base, Metrics()
    app.state.stored = Stored()
    for prefix in PREFIXES:
        for router in ROUTERS:
            app.include_router(router, prefix=prefix, include_in_schema=prefix == "/v1")
    app.include_router(ollama.router)
    page.add(app)
    add_handlers(app)
    app.add_middleware(Guard, api_key=api_key, hosts=hosts)
    app.add_middleware(Observed, metrics=app.state.metrics)
    return app
