"""Embeddings as OpenAI's API has them, and scores of documents as Cohere's and Jina's."""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from firth.serve import errors
from firth.serve.engine import in_thread
from firth.serve.errors import APIError
from firth.serve.schemas import Embeddings, Rerank

if TYPE_CHECKING:
    from firth.serve.models import Embedder, Reranker

_BATCH = 64  # texts after which it is seen whether the client is still there


async def embedded(embedder: Embedder, name: str, body: Embeddings) -> dict[str, Any]:
    """The vectors of texts; who cancels it waits for the end of a batch."""
    model = embedder.model
    width = model.get_embedding_dimension()
    if body.dimensions is not None and body.dimensions > width:
        raise APIError(
            400, f"dimensions is {body.dimensions}, {name} has {width}", param="dimensions"
        )

    options: dict[str, Any] = {"show_progress_bar": False}
    if body.dimensions is not None:
        options |= {"truncate_dim": body.dimensions, "normalize_embeddings": True}

    def work(texts: list[str]) -> tuple[Any, int]:
        return model.encode(texts, **options), _count(model, texts, model.max_seq_length)

    parts = []
    try:
        async with embedder.turns.turn():
            texts = await in_thread(lambda: _texts(model, body.input))
            for i in range(0, len(texts), _BATCH):
                parts.append(await in_thread(partial(work, texts[i : i + _BATCH])))
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


def _texts(model: Any, given: Any) -> list[str]:
    """The texts of a request, which may be in tokens of this model."""
    several = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    texts = []
    for one in several:
        if not isinstance(one, str):
            known = len(model.tokenizer)
            if wrong := [i for i in one if i >= known]:
                raise APIError(400, f"{wrong[0]} is no token of the model", param="input")
            one = model.tokenizer.decode(one, skip_special_tokens=True)
        texts.append(one)
    return texts


def _count(model: Any, texts: list[str], most: int | None) -> int:
    """Tokens of texts, of each as many as the model reads."""
    most = 2**31 if most is None else most
    ids = model.tokenizer(texts)["input_ids"]
    return sum(min(len(one), most) for one in ids)


async def reranked(reranker: Reranker, name: str, body: Rerank) -> dict[str, Any]:
    """Documents by their score with a query, best first."""
    texts = [_text(i, one) for i, one in enumerate(body.documents)]
    model = reranker.model

    def work() -> tuple[list[dict[str, Any]], int]:
        found = model.rank(body.query, texts, body.top_n, show_progress_bar=False)
        return found, _count(model, [body.query, *texts], model.max_length)

    try:
        found, tokens = await reranker.turns.run(work)
    except Exception as error:
        raise errors.of(error) from error
    results = [
        {"index": one["corpus_id"], "relevance_score": one["score"]}
        | ({"document": {"text": texts[one["corpus_id"]]}} if body.return_documents else {})
        for one in found
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": name, "results": results, "usage": usage}


def _text(i: int, document: Any) -> str:
    text = document.get("text") if isinstance(document, dict) else document
    if not isinstance(text, str):
        raise APIError(400, "a document is a text, or has one", param=f"documents.{i}")
    return text
