"""Ollama's routes, below ``/api``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

import firth
from firth.serve import ollama
from firth.serve.engine import unless_gone
from firth.serve.ollama import OllamaChat, OllamaEmbed, OllamaEmbeddings, OllamaGenerate
from firth.serve.routes.state import models_of
from firth.serve.schemas import Body
from firth.serve.wire import JSON

router = APIRouter(prefix="/api", tags=["ollama"], route_class=ollama.Route)


@router.post("/chat")
async def ollama_chat(body: OllamaChat, request: Request) -> Response:
    """An answer to a conversation, line by line unless it is wanted whole."""
    return await _written(body, request, bool(body.messages))


@router.post("/generate")
async def ollama_generate(body: OllamaGenerate, request: Request) -> Response:
    """An answer to a prompt, line by line unless it is wanted whole."""
    return await _written(body, request, bool(body.prompt))


async def _written(
    body: OllamaChat | OllamaGenerate, request: Request, is_prompt: bool
) -> Response:
    name, engine = ollama.find(models_of(request).chat, body.model)
    if not is_prompt:
        return JSON(ollama.loaded(name, body))
    job = await ollama.submitted(engine, body)
    if body.stream is not False:
        return ollama.Lines(ollama.streamed(job, name, engine, body), job)
    return JSON(await unless_gone(request.receive, ollama.whole(job, name, engine, body)))


@router.post("/embed")
async def ollama_embed(body: OllamaEmbed, request: Request) -> Response:
    """Vectors of texts."""
    name, embedder = ollama.find(models_of(request).embed, body.model)
    return JSON(await unless_gone(request.receive, ollama.embedded(embedder, name, body)))


@router.post("/embeddings")
async def ollama_embeddings(body: OllamaEmbeddings, request: Request) -> Response:
    """The vector of a text."""
    name, embedder = ollama.find(models_of(request).embed, body.model)
    return JSON(await unless_gone(request.receive, ollama.embedding(embedder, name, body)))


@router.get("/tags")
async def ollama_tags(request: Request) -> Response:
    """All models."""
    return JSON(ollama.tags(models_of(request)))


@router.post("/show")
async def ollama_show(body: Body, request: Request) -> Response:
    """One model."""
    return JSON(ollama.show(models_of(request), body.model))


@router.get("/version")
async def ollama_version() -> Response:
    """The version of firth."""
    return JSON({"version": firth.__version__})
