"""Chats: a request to runs, and runs to OpenAI's answers, whole or as chunks of a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from firth.arguments import shortened
from firth.serve import answers, documents, errors
from firth.serve.errors import APIError
from firth.serve.sampling import options
from firth.serve.schemas import Chat
from firth.serve.wire import DONE, event

if TYPE_CHECKING:
    from firth.generators import Run
    from firth.serve.engine import Engine, Job
    from firth.serve.models import Embedder


_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


async def submitted(engine: Engine, body: Chat) -> Job:
    """The job of a request; errors as `Engine.begin`."""
    return await engine.begin(lambda: _runs(engine, body))


def _runs(engine: Engine, body: Chat) -> list[Run]:
    model = engine.model
    named = body.max_completion_tokens
    given = options(body, model.tokenizer, body.max_tokens if named is None else named)
    if body.logprobs:
        given["logprobs"] = body.top_logprobs or 0
    elif body.top_logprobs:
        raise APIError(400, "top_logprobs needs logprobs", param="top_logprobs")
    given |= _format(body.response_format)
    tools, choice = body.tools, body.tool_choice
    if not tools and body.functions:  # the names of before
        tools = [{"type": "function", "function": one} for one in body.functions]
        choice = body.function_call
        if isinstance(choice, dict):
            choice = {"type": "function", "function": choice}
    if tools:
        given["tool_choice"] = choice or "auto"
        given["parallel_tool_calls"] = bool(body.parallel_tool_calls)
    elif choice not in (None, "auto", "none"):
        raise APIError(400, "tool_choice needs tools", param="tool_choice")
    variables = dict(body.chat_template_kwargs or {})
    for i, one in enumerate(body.messages):
        if one.get("role") not in _ROLES:
            wanted = f"messages[{i}].role must be one of {', '.join(_ROLES)}"
            raise APIError(400, f"{wanted}; got {shortened(one.get('role'))}", param="messages")
    messages = documents.grounded(body) if body.documents else body.messages
    last = messages[-1]
    if last.get("role") == "assistant" and last.get("content"):  # to go on with
        variables["continue_final_message"] = True
    runs: list[Run] = model.chat(
        messages, tools or None, chat_template_kwargs=variables, return_runs=True, **given
    )
    return runs


def _format(wanted: dict[str, Any] | None) -> dict[str, Any]:
    kind = (wanted or {"type": "text"}).get("type")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"json_object": True}
    if kind == "json_schema" and wanted:
        schema = wanted.get("json_schema")
        schema = schema.get("schema") if isinstance(schema, dict) else None
        if isinstance(schema, dict):
            return {"json_schema": schema}
        raise APIError(
            400, "json_schema must be {'name': ..., 'schema': {...}}", param="response_format"
        )
    known = "text, json_object or json_schema"
    raise APIError(400, f"the type must be {known}", param="response_format")


def _finish(message: Any, finished: str | None, body: Chat) -> str | None:
    """Why an answer has ended."""
    found = message.finish_reason if message is not None else finished
    return "function_call" if found == "tool_calls" and _old(body) else found


def _old(body: Chat) -> bool:
    return not body.tools and bool(body.functions)


# Answers


async def whole(
    job: Job, name: str, engine: Engine, body: Chat, embedder: Embedder | None
) -> dict[str, Any]:
    """The answer to a request that wants no stream; the embedder finds citations it lacks."""
    async for _ in job:
        pass
    return await _completion(
        answers.head("chat.completion", "chatcmpl", name), job, engine, body, embedder
    )


async def _completion(
    head: dict[str, Any], job: Job, engine: Engine, body: Chat, embedder: Embedder | None
) -> dict[str, Any]:
    """The answer of a job that has ended."""
    choices = []
    for i, run in enumerate(job.runs):
        found = run.result(False, True)
        message: dict[str, Any] = {"role": "assistant", "content": found.text}
        if found.message is not None:
            message = dict(found.message)
            if _old(body) and "tool_calls" in message:
                message["function_call"] = message.pop("tool_calls")[0]["function"]
        if body.documents and documents.cites(body):
            cited = await documents.citations(message["content"], body, embedder)
            message["annotations"] = cited
        choices.append({
            "index": i,
            "message": message,
            "logprobs": answers.chat_logprobs(engine.model.tokenizer, run, 0, len(found.ids)),
            "finish_reason": _finish(found.message, found.finish_reason, body),
        })  # fmt: skip
    return {
        **head, "choices": choices, "usage": answers.usage(job), "service_tier": None,
        "x_groq": {"id": head["id"]},
    }  # fmt: skip


async def streamed(
    job: Job,
    name: str,
    engine: Engine,
    body: Chat,
    embedder: Embedder | None,
    keep: Callable[[dict[str, Any]], None] | None,
) -> AsyncIterator[bytes]:
    """The same as events; an error is one of them, since the status has been sent.

    ``keep`` takes the whole answer at the end.
    """
    head = answers.head("chat.completion.chunk", "chatcmpl", name)
    wants_usage = bool(body.stream_options and body.stream_options.include_usage)

    def chunk(
        index: int, delta: Any, logprobs: Any = None, finish: str | None = None, groq: Any = None
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        usage = {"usage": None} if wants_usage else {}
        x_groq = {"x_groq": {"id": head["id"], **groq}} if groq is not None else {}
        return event({**head, "choices": [choice], **usage, **x_groq})

    for i in range(len(job.runs)):
        yield chunk(i, {"role": "assistant", "content": ""}, groq=None if i else {})
    told, going = [0] * len(job.runs), len(job.runs)
    try:
        async for piece in job:
            i, run = piece.index, job.runs[piece.index]
            deltas = answers.deltas(run, piece)
            logprobs = answers.chat_logprobs(engine.model.tokenizer, run, told[i], piece.tokens)
            told[i] = piece.tokens
            if logprobs and logprobs["content"] and not deltas:
                deltas = [{}]
            for delta in map(_of_old, deltas) if _old(body) else deltas:
                yield chunk(i, delta, logprobs)
                logprobs = None
            if piece.finish_reason:
                going -= 1
                message = run.reader.message(piece.finish_reason) if run.reader else None
                if body.documents and documents.cites(body):
                    text = message["content"] if message else run.stream.text
                    cited = await documents.citations(text, body, embedder)
                    yield chunk(i, {"annotations": cited})
                groq = None if going else {"usage": answers.usage(job)}
                finish = _finish(message, piece.finish_reason, body)
                yield chunk(i, {}, finish=finish, groq=groq)
        if wants_usage:
            yield event({**head, "choices": [], "usage": answers.usage(job)})
        if keep:
            whole = {**head, "object": "chat.completion"}
            keep(await _completion(whole, job, engine, body, embedder))
    except Exception as error:
        yield event(errors.failed(error).content)
    yield DONE


def _of_old(delta: dict[str, Any]) -> dict[str, Any]:
    """A delta with the name of before for a call."""
    if "tool_calls" not in delta:
        return delta
    return {"function_call": delta["tool_calls"][0]["function"]}
