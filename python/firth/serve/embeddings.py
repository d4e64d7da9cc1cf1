"""Embeddings as OpenAI's API has them, and scores of documents as Cohere's and Jina's."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from firth.serve import errors
from firth.serve.engine import in_thread
from firth.serve.errors import APIError
from firth.serve.schemas import Embeddings, Rerank

if TYPE_CHECKING:
    from firth.serve.models import Embedder, Reranker

T = TypeVar("T")
R = TypeVar("R")

_BATCH = 64  # texts after which it is seen whether the client is still there


async def _in_batches(work: Callable[[Sequence[T]], R], given: Sequence[T]) -> list[R]:
    """What some work makes of each batch, in a thread; who cancels it waits for the end of one."""
    return [
        await in_thread(partial(work, given[i : i + _BATCH])) for i in range(0, len(given), _BATCH)
    ]


async def embedded(embedder: Embedder, name: str, body: Embeddings) -> dict[str, Any]:
    """The vectors of texts."""
    model = embedder.model
    width = model.get_embedding_dimension()
    if body.dimensions is not None and body.dimensions > width:
        raise APIError(
            400, f"dimensions is {body.dimensions}, {name} has {width}", param="dimensions"
        )

    options: dict[str, Any] = {"show_progress_bar": False}
    if body.dimensions is not None:
        options |= {"truncate_dim": body.dimensions, "normalize_embeddings": True}

    def work(given: Sequence[str | list[int]]) -> tuple[Any, int]:
        rows = model.encode([_text_of(model, one) for one in given], **options)
        return rows, _count(model, given, model.max_seq_length)

    given: Any = body.input
    if isinstance(given, str) or isinstance(given[0], int):
        given = [given]
    try:
        async with embedder.turns.turn():
            await in_thread(lambda: _check_ids(model, given))
            parts = await _in_batches(work, given)
    except Exception as error:
        raise errors.of(error) from error
    rows = np.concatenate([rows for rows, _ in parts])
    tokens = sum(count for _, count in parts)
    coded = body.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": i, "embedding": _base64(row) if coded else row.tolist()}
        for i, row in enumerate(np.asarray(rows, "<f4"))
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": name, "usage": usage}


def _base64(row: Any) -> str:
    return base64.b64encode(row.tobytes()).decode()


def _check_ids(model: Any, given: Sequence[str | list[int]]) -> None:
    """Refuse what is no token of this model, before any work."""
    known = len(model.tokenizer)
    for one in given:
        if not isinstance(one, str) and (wrong := [i for i in one if i >= known]):
            raise APIError(400, f"{wrong[0]} is no token of the model", param="input")


def _text_of(model: Any, given: str | list[int]) -> str:
    """A text, which may be given in tokens of this model."""
    if isinstance(given, str):
        return given
    return str(model.tokenizer.decode(given, skip_special_tokens=True))


def _count(model: Any, given: Sequence[str | list[int]], most: int | None) -> int:
    """Tokens of texts, or those that are given, of each as many as the model reads."""
    most = 2**31 if most is None else most
    texts = [one for one in given if isinstance(one, str)]
    ids = [one for one in given if not isinstance(one, str)]
    if texts:
        ids += model.tokenizer(texts)["input_ids"]
    return sum(min(len(one), most) for one in ids)


async def reranked(reranker: Reranker, name: str, body: Rerank) -> dict[str, Any]:
    """Documents by their score with a query, best first."""
    texts = [_text(i, one) for i, one in enumerate(body.documents)]
    model = reranker.model

    def work(part: Sequence[int]) -> tuple[list[dict[str, Any]], int]:
        some = [texts[i] for i in part]
        found = model.rank(body.query, some, show_progress_bar=False)
        found = [one | {"corpus_id": part[one["corpus_id"]]} for one in found]
        return found, _count(model, some, model.max_length)

    try:
        async with reranker.turns.turn():
            parts = await _in_batches(work, range(len(texts)))
            tokens = await in_thread(lambda: _count(model, [body.query], model.max_length))
    except Exception as error:
        raise errors.of(error) from error
    found = [one for some, _ in parts for one in some]
    found.sort(key=lambda one: (-one["score"], one["corpus_id"]))
    tokens += sum(count for _, count in parts)
    results = [
        {"index": one["corpus_id"], "relevance_score": one["score"]}
        | ({"document": {"text": texts[one["corpus_id"]]}} if body.return_documents else {})
        for one in found[: body.top_n]
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": name, "results": results, "usage": usage}


def _text(i: int, document: Any) -> str:
    text = document.get("text") if isinstance(document, dict) else document
    if not isinstance(text, str):
        raise APIError(400, "a document is a text, or has one", param=f"documents.{i}")
    return text
