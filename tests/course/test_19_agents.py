"""Answers to the exercises of docs/course/19-agents.md."""

import json
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pytest

from firth import tool
from firth.agents.tools import Tool

Message = dict[str, Any]


def test_1_how_reliable_a_step_must_be() -> None:
    """p^10 = 0.9 gives p = 0.9^(1/10) = 0.9895.

    With a second attempt 1 - (1 - p)^2 = 0.9895, so p = 1 - sqrt(0.0105) = 0.8976: one attempt in
    ten may fail.
    """
    once = 0.9 ** (1 / 10)
    assert round(once, 4) == 0.9895
    assert once**10 == pytest.approx(0.9)

    twice = 1 - (1 - once) ** 0.5
    assert round(twice, 4) == 0.8976
    assert (1 - (1 - twice) ** 2) ** 10 == pytest.approx(0.9)


@tool
def days_between(start: str, end: str) -> int:
    """How many days lie between two dates.

    Args:
        start: the earlier date, as 2024-02-28
        end: the later date
    """
    days = (date.fromisoformat(end) - date.fromisoformat(start)).days
    if days < 0:
        raise ValueError(f"end ({end}) comes before start ({start}): exchange them")
    return days


def test_2_days_between_dates() -> None:
    """JSON has no dates, so they are strings, and the docstring shows their form.

    Types and missing arguments are told with the argument's name, before the call; what only the
    function can know, it raises: in words that say what to do.
    """
    pytest.importorskip("pydantic")
    one = Tool(days_between)
    parameters = one.schema["function"]["parameters"]
    assert parameters["required"] == ["start", "end"]
    assert parameters["properties"]["start"] == {
        "type": "string", "description": "the earlier date, as 2024-02-28"
    }  # fmt: skip

    assert one('{"start": "2024-02-28", "end": "2024-03-01"}') == "2"  # 2024 has a 29th
    for arguments, told in (
        ({"start": "2024-02-30", "end": "2024-03-01"}, "day .*month"),
        ({"start": "2024-02-28", "end": 20240301}, "end: .*valid string"),
        ({"start": "2024-02-28"}, "end: [Mm]issing"),
        ({"start": "2024-03-01", "end": "2024-02-28"}, "exchange them"),
    ):
        with pytest.raises(ValueError, match=told):
            one(json.dumps(arguments))


def run(
    chat: Callable[[list[Message], bool], Message],
    task: str,
    tools: Mapping[str, Callable[..., Any]],
    max_steps: int,
) -> list[Message]:
    """The conversation of an agent; ``chat`` is told whether it may call."""
    messages: list[Message] = [{"role": "user", "content": task}]
    for left in range(max_steps, -1, -1):
        message = chat(messages, left > 0)
        messages.append(message)
        calls = message.get("tool_calls", [])
        if not calls:
            break
        for call in calls:
            function = call["function"]
            output = tools[function["name"]](**json.loads(function["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": str(output)})
    return messages


def test_3_a_model_that_never_stops() -> None:
    """Count down, and at 0 ask once more, without tools: the last message has an answer."""
    made = []

    def add(a: int, b: int) -> int:
        made.append((a, b))
        return a + b

    def restless(messages: list[Message], may_call: bool) -> Message:
        if not may_call:
            return {"role": "assistant", "content": f"At least {messages[-1]['content']}."}
        function = {"name": "add", "arguments": json.dumps({"a": len(messages), "b": 1})}
        call = {"id": f"call-{len(messages)}", "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [call]}

    messages = run(restless, "Add.", {"add": add}, max_steps=3)
    assert made == [(1, 1), (3, 1), (5, 1)]
    assert [one["role"] for one in messages] == ["user", *["assistant", "tool"] * 3, "assistant"]
    assert messages[-1] == {"role": "assistant", "content": "At least 6."}
