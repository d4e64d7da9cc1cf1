"""Completions of a text: a request to runs, and runs to OpenAI's answers."""

from __future__ import annotations

import codecs
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from firth.serve import answers, errors
from firth.serve.errors import APIError
from firth.serve.sampling import options
from firth.serve.schemas import Completion
from firth.serve.wire import DONE, event

if TYPE_CHECKING:
    from firth.generators import CausalLM, GeneratorTokenizer, Run, Score
    from firth.serve.engine import Engine, Job

_DEFAULT_TOKENS = 16  # OpenAI's
_MOST_RUNS = 128  # of a request
_Row = tuple[int, float | None, Any]  # a token, its log probability, the most probable ones


@dataclass
class Prompt:
    """One text of a request.

    Attributes
    ----------
    text : str
    runs : list of Run
        Its continuations.
    score : Score or None
        Of the text itself, where it is echoed with probabilities.
    """

    text: str
    runs: list[Run]
    score: Score | None

    def rows(self) -> list[_Row]:
        """Its tokens where it is echoed with probabilities; the first one has none."""
        if self.score is None:
            return []
        values = [None, *self.score.logprobs.tolist()]
        tops = self.score.top_logprobs or [[]] * len(self.score.logprobs)
        return list(zip(self.score.ids, values, [None, *tops], strict=True))


async def submitted(engine: Engine, body: Completion) -> tuple[Job, list[Prompt]]:
    """The job of a request, and its prompts; errors as `Engine.begin`."""
    prompts: list[Prompt] = []

    def make() -> list[Run]:
        prompts.extend(_prompts(engine.model, body))
        return [run for prompt in prompts for run in prompt.runs]

    return await engine.begin(make), prompts


def _prompts(model: CausalLM, body: Completion) -> list[Prompt]:
    given = body.prompt
    several = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    n, best_of = body.n or 1, max(body.best_of or 0, body.n or 1)
    if len(several) * best_of > _MOST_RUNS:
        raise APIError(400, f"a request may have {_MOST_RUNS} texts and choices", param="prompt")
    if best_of > n and body.stream:
        raise APIError(400, "best_of cannot be streamed", param="best_of")
    most = _DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    settings = options(body, model.tokenizer, most) | {"n": best_of}
    if body.logprobs is not None or best_of > n:
        settings["logprobs"] = body.logprobs or 0
    prompts = []
    for one in several:
        runs: list[Run] = model.generate(one, return_runs=True, **settings)
        score = None
        if body.echo and body.logprobs is not None:
            score = model.score(runs[0].ids, top=body.logprobs)
        text = one if isinstance(one, str) else model.tokenizer.decode(one)
        prompts.append(Prompt(text, runs, score))
    return prompts


async def whole(
    job: Job, prompts: Sequence[Prompt], name: str, engine: Engine, body: Completion
) -> dict[str, Any]:
    """The answer to a request that wants no stream."""
    async for _ in job:
        pass
    choices: list[dict[str, Any]] = []
    for prompt in prompts:
        for run in _best(prompt.runs, body.n or 1):
            found = run.result(False, True)
            choices.append({
                "text": prompt.text * bool(body.echo) + found.text,
                "index": len(choices),
                "logprobs": _logprobs(engine.model.tokenizer, prompt, run, body),
                "finish_reason": found.finish_reason,
            })  # fmt: skip
    head = answers.head("text_completion", "cmpl", name)
    return {**head, "choices": choices, "usage": answers.usage(job)}


def _best(runs: list[Run], n: int) -> list[Run]:
    """The continuations whose tokens are most probable, in the mean."""
    if len(runs) == n:
        return runs
    return sorted(runs, key=lambda run: -math.fsum(run.logprobs) / max(len(run.logprobs), 1))[:n]


def _logprobs(
    tokenizer: GeneratorTokenizer, prompt: Prompt, run: Run, body: Completion
) -> dict[str, Any] | None:
    """Probabilities as completions have them: four lists."""
    if body.logprobs is None or run.text is None:
        return None
    rows = prompt.rows() + _new_rows(run, 0, len(run.logprobs))
    return _lists(tokenizer, rows, 0 if body.echo else len(prompt.text))


def _new_rows(run: Run, start: int, end: int) -> list[_Row]:
    """New tokens of a run from one place to another, without one that ended it."""
    text, part = cast(Any, run.text), slice(start, end)
    new = text.ids[text.prompt :][part]
    rows = zip(new, run.logprobs[part], run.top_logprobs[part], strict=True)
    return [row for row in rows if row[0] not in run.ends]


def _lists(tokenizer: GeneratorTokenizer, rows: Iterable[_Row], start: int) -> dict[str, Any]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found: dict[str, Any] = {
        "tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": [],
    }  # fmt: skip
    for i, value, top in rows:
        name, logprob = _named(tokenizer, i), None if value is None else answers.finite(value)
        tops = {} if logprob is None else {name: logprob}
        for one in top or ():
            tops.setdefault(_named(tokenizer, one.id), answers.finite(one.logprob))
        found["tokens"].append(name)
        found["token_logprobs"].append(logprob)
        found["top_logprobs"].append(tops or None)
        found["text_offset"].append(start)
        start += len(decoder.decode(tokenizer.token_bytes(i)))
    return found


def _named(tokenizer: GeneratorTokenizer, token_id: int) -> str:
    """A token's text; of a part of a character its bytes, so that each has a name of its own."""
    raw = tokenizer.token_bytes(token_id)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


async def streamed(
    job: Job, prompts: Sequence[Prompt], name: str, engine: Engine, body: Completion
) -> AsyncIterator[bytes]:
    """The same as events; an error is one of them, since the status has been sent."""
    head = answers.head("text_completion", "cmpl", name)
    wants_usage = bool(body.stream_options and body.stream_options.include_usage)
    of_run = [prompt for prompt in prompts for _ in prompt.runs]
    offsets = [len(prompt.text) for prompt in of_run]
    told = [0] * len(of_run)

    def chunk(index: int, text: str, logprobs: Any, finish: str | None) -> bytes:
        choice = {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}
        return event({**head, "choices": [choice]} | ({"usage": None} if wants_usage else {}))

    try:
        if body.echo:
            for i, prompt in enumerate(of_run):
                rows = prompt.rows()
                shown = _lists(engine.model.tokenizer, rows, 0) if rows else None
                yield chunk(i, prompt.text, shown, None)
        async for piece in job:
            i, run = piece.index, job.runs[piece.index]
            logprobs = None
            if body.logprobs is not None and run.text is not None:
                rows = _new_rows(run, told[i], piece.tokens)
                logprobs = _lists(engine.model.tokenizer, rows, offsets[i])
                told[i] = piece.tokens
            offsets[i] += len(piece.text)
            yield chunk(i, piece.text, logprobs, piece.finish_reason)
        if wants_usage:
            yield event({**head, "choices": [], "usage": answers.usage(job)})
    except Exception as error:
        yield event(errors.failed(error).content)
    yield DONE
