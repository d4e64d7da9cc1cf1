"""Answers to the exercises of docs/course/15-calling-a-model.md."""

import json
from collections.abc import Callable, Iterable

import httpx
import pytest


def read(turns: int, system: int, question: int, answer: int) -> int:
    """Tokens of all prompts of a conversation: what came before is read again each time."""
    return sum(system + k * question + (k - 1) * answer for k in range(1, turns + 1))


def test_1_what_a_conversation_costs() -> None:
    """Reading 138,000 tokens costs 0.138, writing 7,500 costs 0.03: 0.168 together.

    With four questions and three answers at most, 32,700 tokens are read, and 0.0627 is left, 37 %.
    """
    turns, system, question, answer = 30, 200, 50, 250
    whole = read(turns, system, question, answer)
    assert whole == 30 * 200 + 465 * 50 + 435 * 250 == 138_000
    written = turns * answer
    assert written == 7_500
    assert whole / 1e6 == 0.138
    assert 4 * written / 1e6 == 0.03

    first = read(4, system, question, answer)  # nothing is left out yet
    later = system + 4 * question + 3 * answer  # each turn after the fourth
    shortened = first + 26 * later
    assert (first, later, shortened) == (2_800, 1_150, 32_700)
    cost = (shortened + 4 * written) / 1e6
    assert round(cost, 4) == 0.0627
    assert round(cost / 0.168, 2) == 0.37


def persistent(
    send: Callable[[], httpx.Response], attempts: int, sleep: Callable[[float], None]
) -> httpx.Response:
    """Send a request until it is answered, or refused for good."""
    for attempt in range(attempts):
        reply = send()
        if reply.status_code != 429 and reply.status_code < 500:
            break
        if attempt + 1 < attempts:
            sleep(0.5 * 2**attempt)
    return reply


def test_2_try_again_and_wait_longer() -> None:
    """A wrong request is wrong the next time, too; sending it again only costs time."""
    waited: list[float] = []

    def answers(*statuses: int) -> httpx.Response:
        left = iter(statuses)
        waited.clear()
        transport = httpx.MockTransport(lambda request: httpx.Response(next(left)))
        with httpx.Client(transport=transport, base_url="http://server") as client:
            return persistent(lambda: client.post("/chat/completions"), 4, waited.append)

    assert answers(429, 503, 200).status_code == 200
    assert waited == [0.5, 1.0]
    assert answers(500, 500, 500, 500, 200).status_code == 500  # four attempts, three waits
    assert waited == [0.5, 1.0, 2.0]
    assert answers(400, 200).status_code == 400
    assert waited == []


def streamed(parts: Iterable[bytes]) -> tuple[str, str, str]:
    """Role, text and finish reason of a stream that comes in parts."""
    role = text = reason = ""
    rest = b""
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")  # what follows the last line end is no line yet
        for line in lines:
            if not line.startswith(b"data: ") or line == b"data: [DONE]":
                continue  # empty lines and comments
            choice = json.loads(line.removeprefix(b"data: "))["choices"][0]
            role = choice["delta"].get("role") or role
            text += choice["delta"].get("content") or ""
            reason = choice["finish_reason"] or reason
    return role, text, reason


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_3_a_stream_without_a_client(size: int) -> None:
    """Cut into lines first, and decode whole lines only: a part may end within a character."""
    deltas = [{"role": "assistant", "content": ""}, {"content": "Caf"}, {"content": "é."}, {}]
    lines = [": the server is alive"]
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
        lines += ["data: " + json.dumps({"choices": [choice]}, ensure_ascii=False), ""]
    raw = "\n".join([*lines, "data: [DONE]", "", ""]).encode()
    parts = [raw[i : i + size] for i in range(0, len(raw), size)]
    assert streamed(parts) == ("assistant", "Café.", "stop")
