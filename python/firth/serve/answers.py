"""What answers have in common: ids, usage, probabilities of tokens."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firth.generators import GeneratorTokenizer, Run
    from firth.serve.engine import Job, Piece

_LEAST = -9999.0  # JSON has no -inf; OpenAI's API has this


def new_id(prefix: str) -> str:
    """An id that no other answer has."""
    return f"{prefix}-{os.urandom(12).hex()}"


def head(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """What each answer, and each chunk of a stream, begins with."""
    return {
        "id": new_id(prefix), "object": kind, "created": int(time.time()), "model": model,
    }  # fmt: skip


def usage(job: Job) -> dict[str, Any]:
    """Tokens and seconds of a finished job: OpenAI's names, and Groq's of times."""
    prompts: dict[tuple[int, ...], Run] = {}  # n continuations of one count once
    for run in job.runs:
        prompts.setdefault(tuple(run.ids), run)  # the first, which shares no other's prompt
    prompt = sum(map(len, prompts))
    new = sum(len(run.text.ids) - run.text.prompt for run in job.runs if run.text)
    cached = sum(run.text.reused for run in prompts.values() if run.text)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
        "prompt_tokens_details": {"cached_tokens": cached},
        **job.times,
    }


def deltas(run: Run, piece: Piece) -> list[dict[str, Any]]:
    """What a piece adds to a message, as ``delta`` of OpenAI's chunks: text, or parts of calls."""
    if run.reader is None:
        return [{"content": piece.text}] if piece.text else []
    return run.reader.take(piece.text) + (run.reader.end() if piece.finish_reason else [])


def finite(logprob: float) -> float:
    """The logarithm of a probability as JSON can have it."""
    return max(logprob, _LEAST)


def token(tokenizer: GeneratorTokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    """A token and its probability as chats have them."""
    raw = tokenizer.token_bytes(token_id)
    return {
        "token": raw.decode("utf-8", "replace"),
        "logprob": finite(logprob),
        "bytes": list(raw),
    }


def chat_logprobs(
    tokenizer: GeneratorTokenizer, run: Run, start: int, end: int
) -> dict[str, Any] | None:
    """Probabilities of a run's new tokens from one place to another; None: not asked for."""
    if run.top is None or run.text is None:
        return None
    ids = run.text.ids[run.text.prompt :]
    found = []
    for i in range(start, end):
        if ids[i] in run.ends:  # it is no part of the text
            continue
        tops = [token(tokenizer, one.id, one.logprob) for one in run.top_logprobs[i]]
        found.append({**token(tokenizer, ids[i], run.logprobs[i]), "top_logprobs": tops})
    return {"content": found, "refusal": None}
