"""OpenAI's Responses API for text and calls: requests as those of chats, answers as its events.

Nothing is kept: each request has the whole conversation in it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from firth.serve import answers, chat, errors
from firth.serve.errors import APIError
from firth.serve.schemas import Chat, Metadata, Sampled
from firth.serve.wire import event

if TYPE_CHECKING:
    from firth.serve.engine import Engine, Job

_SAMPLING = {"temperature", "top_p", "top_k", "min_p", "seed", "stop"}
_TEXTS = ("input_text", "output_text", "text")


class Responses(Sampled):
    """``POST /responses``."""

    input: str | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=4096)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    text: dict[str, Any] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    metadata: Metadata | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool | None = None


# Requests


async def submitted(engine: Engine, body: Responses) -> Job:
    """The job of a request.

    Raises
    ------
    APIError
        A value of the request is not possible, or too many wait.
    """
    for name in ("previous_response_id", "conversation", "background"):
        if getattr(body, name):
            raise APIError(400, "this server keeps no responses", param=name)
    given = body.input
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    messages = [one for i, item in enumerate(given) for one in _messages(item, f"input.{i}")]
    if body.instructions:
        messages.insert(0, {"role": "system", "content": body.instructions})
    choice = body.tool_choice
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    try:
        asked = Chat(
            messages=messages, max_tokens=body.max_output_tokens,
            response_format=_format(body), tool_choice=choice,
            tools=[_tool(i, one) for i, one in enumerate(body.tools or ())],
            parallel_tool_calls=body.parallel_tool_calls,
            **body.model_dump(include=_SAMPLING, exclude_none=True),
        )  # fmt: skip
    except ValueError as error:
        raise errors.of(error) from error
    return await chat.submitted(engine, asked)


def _messages(item: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """An item of a conversation as a message; thoughts are left out."""
    kind = item.get("type", "message")
    if kind == "message":
        content = item.get("content")
        if isinstance(content, list):
            content = [_part(one, where) for one in content]
        return [{"role": item.get("role"), "content": content}]
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return [{"role": "assistant", "content": None, "tool_calls": [call]}]
    if kind == "function_call_output":
        output = item.get("output")
        if isinstance(output, list):
            output = [_part(one, where) for one in output]
        return [{"role": "tool", "tool_call_id": item.get("call_id"), "content": output}]
    if kind == "reasoning":
        return []
    raise APIError(400, f"{where}: this server takes messages and calls of functions", param=where)


def _part(part: Any, where: str) -> dict[str, Any]:
    if isinstance(part, dict) and part.get("type") in _TEXTS:
        return {"type": "text", "text": part.get("text")}
    raise APIError(400, f"{where}: a part must be a text", param=where)


def _tool(i: int, tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise APIError(400, f"tools.{i}: this server has functions alone", param=f"tools.{i}")
    function = {key: tool[key] for key in ("name", "description", "parameters") if key in tool}
    return {"type": "function", "function": function}


def _format(body: Responses) -> dict[str, Any] | None:
    wanted = (body.text or {}).get("format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        return {"type": "json_schema", "json_schema": wanted}
    if wanted is None or isinstance(wanted, dict):
        return wanted
    raise APIError(400, "format must be an object", param="text.format")


# Answers


async def whole(job: Job, name: str, body: Responses) -> dict[str, Any]:
    """The answer to a request that wants no stream: what the last event has."""
    events = [one async for one in _events(job, name, body)]
    found: dict[str, Any] = events[-1]["response"]
    return found


async def streamed(job: Job, name: str, body: Responses) -> AsyncIterator[bytes]:
    """The answer as events; an error is one of them, since the status has been sent."""
    number = 0
    try:
        async for one in _events(job, name, body):
            yield _sent(one, number)
            number += 1
    except Exception as error:
        told = errors.failed(error)
        failed = {"type": "error", "message": told.detail, "code": told.code, "param": told.param}
        yield _sent(failed, number)


def _sent(content: dict[str, Any], number: int) -> bytes:
    return f"event: {content['type']}\n".encode() + event({**content, "sequence_number": number})


def _response(name: str, body: Responses) -> dict[str, Any]:
    return {
        "id": answers.new_id("resp"), "object": "response", "created_at": int(time.time()),
        "status": "in_progress", "error": None, "incomplete_details": None,
        "instructions": body.instructions, "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {}, "model": name, "output": [],
        "parallel_tool_calls": bool(body.parallel_tool_calls), "previous_response_id": None,
        "store": False, "temperature": 1.0 if body.temperature is None else body.temperature,
        "text": body.text or {"format": {"type": "text"}},
        "tool_choice": body.tool_choice or "auto", "tools": body.tools or [],
        "top_p": 1.0 if body.top_p is None else body.top_p, "truncation": "disabled", "usage": None,
    }  # fmt: skip


async def _events(job: Job, name: str, body: Responses) -> AsyncIterator[dict[str, Any]]:
    """What happens to a response; each event is sent before the next one is made."""
    run, response = job.runs[0], _response(name, body)
    output: list[_Item] = []
    yield {"type": "response.created", "response": response}
    yield {"type": "response.in_progress", "response": response}
    finished = None
    async for piece in job:
        finished = piece.finish_reason
        deltas = answers.deltas(run, piece)
        if finished and not output and not deltas:
            deltas = [{"content": ""}]
        for delta in deltas:
            call = delta["tool_calls"][0] if "tool_calls" in delta else None
            if not output or (call and "id" in call):
                for one in output[-1].ended("completed") if output else ():
                    yield one
                output.append(_Item(len(output), call))
                for one in output[-1].begun():
                    yield one
            text = call["function"]["arguments"] if call else delta["content"]
            if text:
                yield output[-1].added(text)
    cut = finished == "length"
    response["status"] = "incomplete" if cut else "completed"
    for one in output[-1].ended(response["status"]):
        yield one
    if cut:
        response["incomplete_details"] = {"reason": "max_output_tokens"}
    used = answers.usage(job)
    response["output"] = [item.content for item in output]
    response["usage"] = {
        "input_tokens": used["prompt_tokens"],
        "input_tokens_details": {**used["prompt_tokens_details"], "cache_write_tokens": 0},
        "output_tokens": used["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": used["total_tokens"],
    }
    yield {"type": f"response.{response['status']}", "response": response}


class _Item:
    """A part of an answer, text or a call, and the events that it consists of."""

    def __init__(self, index: int, call: dict[str, Any] | None) -> None:
        self._is_call = call is not None
        self._at: dict[str, Any] = {"output_index": index}
        self.content: dict[str, Any] = {"status": "in_progress"}
        if call:
            named = {"call_id": call["id"], "name": call["function"]["name"], "arguments": ""}
            self.content |= {"type": "function_call", "id": answers.new_id("fc"), **named}
        else:
            self._part: dict[str, Any] = {
                "type": "output_text",
                "text": "",
                "annotations": [],
                "logprobs": [],
            }
            message = {"type": "message", "role": "assistant", "content": []}
            self.content |= {"id": answers.new_id("msg"), **message}
            self._at["content_index"] = 0
        self._at["item_id"] = self.content["id"]

    def _whole(self, kind: str) -> dict[str, Any]:
        index = self._at["output_index"]
        return {
            "type": f"response.output_item.{kind}", "output_index": index, "item": self.content,
        }  # fmt: skip

    def begun(self) -> list[dict[str, Any]]:
        """Events of its beginning."""
        if self._is_call:
            return [self._whole("added")]
        part = {"type": "response.content_part.added", **self._at, "part": dict(self._part)}
        return [self._whole("added"), part]

    def added(self, text: str) -> dict[str, Any]:
        """That of more text, or more of the arguments."""
        if self._is_call:
            self.content["arguments"] += text
            return {
                "type": "response.function_call_arguments.delta", **self._at, "delta": text
            }  # fmt: skip
        self._part["text"] += text
        return {"type": "response.output_text.delta", **self._at, "delta": text, "logprobs": []}

    def ended(self, status: str) -> list[dict[str, Any]]:
        """Events of its end."""
        self.content["status"] = status
        if self._is_call:
            arguments = {"arguments": self.content["arguments"], "name": self.content["name"]}
            done = {"type": "response.function_call_arguments.done", **self._at, **arguments}
            return [done, self._whole("done")]
        self.content["content"] = [self._part]
        text = {"text": self._part["text"], "logprobs": []}
        return [
            {"type": "response.output_text.done", **self._at, **text},
            {"type": "response.content_part.done", **self._at, "part": self._part},
            self._whole("done"),
        ]
