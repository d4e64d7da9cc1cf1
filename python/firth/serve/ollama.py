"""Ollama's API: its requests as those of chats, and answers in its form, whole or line by line."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from firth.serve import answers, chat, completions, embeddings, errors
from firth.serve.engine import Engine, Events, in_thread
from firth.serve.errors import APIError
from firth.serve.models import Embedder
from firth.serve.schemas import MOST_TEXTS, Body, Chat, Completion, Embeddings, Sampled
from firth.serve.wire import encoded

if TYPE_CHECKING:
    from firth.serve.engine import Job
    from firth.serve.models import Family, Models

M = TypeVar("M")

# Ollama's, but for a penalty of repetitions, which would change what a grammar lets through
_DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9}
_OPTIONS = {
    "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "frequency_penalty",
    "presence_penalty", "seed", "stop",
}  # fmt: skip
_LATEST = ":latest"  # the tag of a name without one


class Options(Sampled):
    """``options`` of a request: some of those of the other routes, and how many new tokens."""

    num_predict: Annotated[int, Field(ge=-2, le=2**31 - 1)] | None = None


class Written(Body):
    """What requests for text have in common."""

    stream: bool | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: Options | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None


class OllamaChat(Written):
    """``POST /api/chat``."""

    messages: Annotated[list[dict[str, Any]], Field(max_length=4096)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None


class OllamaGenerate(Written):
    """``POST /api/generate``."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    images: list[Any] | None = None


class OllamaEmbed(Body):
    """``POST /api/embed``."""

    input: str | Annotated[list[str], Field(max_length=MOST_TEXTS)]
    dimensions: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    truncate: bool | None = None


class OllamaEmbeddings(Body):
    """``POST /api/embeddings``."""

    prompt: str | None = None


class Route(APIRoute):
    """A route that reads JSON whatever a request calls it; its errors are those of clients."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            headers = [one for one in request.scope["headers"] if one[0] != b"content-type"]
            headers.append((b"content-type", b"application/json"))  # curl -d says otherwise
            try:
                return await handle(Request({**request.scope, "headers": headers}, request.receive))
            except (HTTPException, RequestValidationError):
                raise
            except Exception as error:
                raise errors.of(error) from error

        return told


class Lines(Events):
    """A job as lines of JSON."""

    def __init__(self, lines: AsyncIterator[bytes], job: Job) -> None:
        super().__init__(lines, job)
        self.headers["content-type"] = "application/x-ndjson"


def find(family: Family[M], name: str | None) -> tuple[str, M]:
    """A model and its name, as `Family.find`; a tag "latest" may be there or not."""
    if name is not None and name not in family.models:
        name = name.removesuffix(_LATEST)
    return family.find(name)


# Text


async def submitted(engine: Engine, body: OllamaChat | OllamaGenerate) -> Job:
    """The job of a request.

    Raises
    ------
    APIError
        A value of the request is not possible, or too many wait.
    """
    options = body.options or Options()
    given: dict[str, Any] = _DEFAULTS | options.model_dump(include=_OPTIONS, exclude_none=True)
    if given.get("seed", 0) < 0:  # any
        del given["seed"]
    if (options.num_predict or 0) > 0:
        given["max_tokens"] = options.num_predict
    if isinstance(body, OllamaGenerate):
        for name in ("suffix", "template", "images"):
            if getattr(body, name):
                raise APIError(400, f"{name} is not supported", param=name)
        if body.raw:
            return await _raw(engine, body, given)
        system = [{"role": "system", "content": body.system}] if body.system else []
        messages: list[Any] = [*system, {"role": "user", "content": body.prompt}]
        tools = None
    else:
        messages, tools = [_message(one) for one in body.messages or ()], body.tools
    wanted: Any = None
    if body.format:
        wanted = {"type": "json_object"}
        if body.format != "json":
            wanted = {"type": "json_schema", "json_schema": {"schema": body.format}}
    thinking = None if body.think is None else {"enable_thinking": bool(body.think)}
    return await chat.submitted(engine, Chat(
        messages=messages, tools=tools, response_format=wanted, logprobs=body.logprobs,
        top_logprobs=body.top_logprobs, chat_template_kwargs=thinking, **given,
    ))  # fmt: skip


async def _raw(engine: Engine, body: OllamaGenerate, given: dict[str, Any]) -> Job:
    if body.format:
        raise APIError(400, "raw has no format", param="format")
    given = {"max_tokens": 2**31 - 1} | given
    given["logprobs"] = (body.top_logprobs or 0) if body.logprobs else None
    job, _ = await completions.submitted(engine, Completion(prompt=body.prompt or "", **given))
    return job


def _message(given: dict[str, Any]) -> dict[str, Any]:
    if given.get("images"):
        raise APIError(400, "images are not supported", param="messages")
    named = {"name": given["tool_name"]} if given.get("tool_name") else {}
    return {**given, **named}


async def _pieces(job: Job, engine: Engine) -> AsyncIterator[tuple[str, list[Any], list[Any]]]:
    """Text, calls and probabilities of tokens as they come."""
    run, told, called = job.runs[0], 0, 0
    async for piece in job:
        deltas = answers.deltas(run, piece)
        text = "".join(delta.get("content") or "" for delta in deltas)
        calls = run.reader.tool_calls[called:] if run.reader else []
        called += len(calls)
        logprobs = answers.chat_logprobs(engine.model.tokenizer, run, told, piece.tokens)
        told = piece.tokens
        yield text, calls, logprobs["content"] if logprobs else []


def _part(
    body: OllamaChat | OllamaGenerate, name: str, text: str, calls: list[Any], logprobs: list[Any]
) -> dict[str, Any]:
    part: dict[str, Any] = {"model": name, "created_at": _date(time.time())}
    if isinstance(body, OllamaGenerate):
        part["response"] = text
    else:
        part["message"] = {"role": "assistant", "content": text}
        if calls:
            part["message"]["tool_calls"] = [{"function": _call(one)} for one in calls]
    if logprobs:
        part["logprobs"] = logprobs
    return {**part, "done": False}


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {"name": function["name"], "arguments": json.loads(function["arguments"])}


def _ended(job: Job) -> dict[str, Any]:
    """What the last part of an answer says."""
    used, text = answers.usage(job), job.runs[0].text
    return {
        "done": True,
        "done_reason": text.finished if text else None,
        "total_duration": _nanoseconds(used["queue_time"] + used["total_time"]),
        "load_duration": 0,
        "prompt_eval_count": used["prompt_tokens"],
        "prompt_eval_duration": _nanoseconds(used["prompt_time"]),
        "eval_count": used["completion_tokens"],
        "eval_duration": _nanoseconds(used["completion_time"]),
    }


async def whole(
    job: Job, name: str, engine: Engine, body: OllamaChat | OllamaGenerate
) -> dict[str, Any]:
    """The answer to a request that wants no stream."""
    pieces = [piece async for piece in _pieces(job, engine)]
    said = "".join(text for text, _, _ in pieces)
    called = [call for _, calls, _ in pieces for call in calls]
    sure = [one for _, _, logprobs in pieces for one in logprobs]
    return _part(body, name, said, called, sure) | _ended(job)


async def streamed(
    job: Job, name: str, engine: Engine, body: OllamaChat | OllamaGenerate
) -> AsyncIterator[bytes]:
    """The same as lines; an error is one of them, since the status has been sent."""
    try:
        async for piece in _pieces(job, engine):
            if any(piece):
                yield _line(_part(body, name, *piece))
        yield _line(_part(body, name, "", [], []) | _ended(job))
    except Exception as error:
        yield _line({"error": errors.failed(error).detail})


def loaded(name: str, body: OllamaChat | OllamaGenerate) -> dict[str, Any]:
    """The answer to a request without a prompt, which lets Ollama load a model."""
    return _part(body, name, "", [], []) | {"done": True, "done_reason": "load"}


def _line(content: Any) -> bytes:
    return encoded(content) + b"\n"


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


# Vectors


async def embedded(embedder: Embedder, name: str, body: OllamaEmbed) -> dict[str, Any]:
    """Vectors of length 1."""
    begun = time.monotonic()
    found: dict[str, Any] = {"data": [], "usage": {"prompt_tokens": 0}}
    if body.input:
        if body.truncate is False:
            await _check_lengths(embedder, body.input)
        width = body.dimensions or embedder.model.get_embedding_dimension()
        wanted = Embeddings(input=body.input, dimensions=width)
        found = await embeddings.embedded(embedder, name, wanted)
    return {
        "model": name,
        "embeddings": [one["embedding"] for one in found["data"]],
        "total_duration": _nanoseconds(time.monotonic() - begun),
        "load_duration": 0,
        "prompt_eval_count": found["usage"]["prompt_tokens"],
    }


async def _check_lengths(embedder: Embedder, given: str | list[str]) -> None:
    model, texts = embedder.model, [given] if isinstance(given, str) else given
    most = model.max_seq_length
    ids = (await in_thread(lambda: model.tokenizer(texts)))["input_ids"]
    longest = max(map(len, ids))
    if most is not None and longest > most:
        raise APIError(400, f"a text has {longest:,} tokens, the model reads {most:,}")


async def embedding(embedder: Embedder, name: str, body: OllamaEmbeddings) -> dict[str, Any]:
    """One vector, as the model has it."""
    if not body.prompt:
        return {"embedding": []}
    found = await embeddings.embedded(embedder, name, Embeddings(input=body.prompt))
    return {"embedding": found["data"][0]["embedding"]}


# Models


def tags(models: Models) -> dict[str, Any]:
    """All models that write or embed."""
    return {"models": [
        {
            "name": card["id"], "model": card["id"], "modified_at": _date(card["created"]),
            "size": _size(_model(models, card).model.path),
            "digest": hashlib.sha256(card["id"].encode()).hexdigest(),  # clients want one
            "details": _details(_model(models, card)),
        }
        for card in models.cards() if card["kind"] != "rerank"
    ]}  # fmt: skip


def show(models: Models, name: str | None) -> dict[str, Any]:
    """What is known of a model: that of the name, else the first, which would answer."""
    known = [card["id"] for card in models.cards()]
    name = name or ""
    card = models.card(name if name in known else name.removesuffix(_LATEST))
    model = _model(models, card)
    found = {
        "modified_at": _date(card["created"]), "modelfile": "", "parameters": "", "template": "",
        "details": _details(model), "model_info": {}, "capabilities": [],
    }  # fmt: skip
    if isinstance(model, Engine):
        kind = model.model.config.model_type
        found["template"] = model.model.tokenizer.chat_template or ""
        found["model_info"] = {
            "general.architecture": kind, f"{kind}.context_length": model.model.context,
        }  # fmt: skip
        found["capabilities"] = ["completion", "tools"]
    elif card["kind"] == "embed":
        width = model.model.get_embedding_dimension()
        found["model_info"] = {
            "general.architecture": "encoder", "encoder.embedding_length": width,
        }  # fmt: skip
        found["capabilities"] = ["embedding"]
    return found


def _model(models: Models, card: dict[str, Any]) -> Any:
    families: dict[str, Family[Any]] = {
        "chat": models.chat, "embed": models.embed, "rerank": models.rerank,
    }  # fmt: skip
    return families[card["kind"]].models[card["id"]]


def _size(path: str) -> int:
    """Bytes of a model's arrays on disk: of a file, the parts of an index, or below a folder."""
    place, files = Path(path), [Path(path)]
    if place.is_dir():
        files = list(place.rglob("*.safetensors"))
    elif place.suffix == ".json":
        files = list(place.parent.glob("*-of-*.safetensors"))
    return sum(one.stat().st_size for one in files if one.exists())


def _details(model: Any) -> dict[str, Any]:
    kind = model.model.config.model_type if isinstance(model, Engine) else "encoder"
    return {
        "parent_model": "", "format": "", "family": kind, "families": [kind],
        "parameter_size": "", "quantization_level": "",
    }  # fmt: skip


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
