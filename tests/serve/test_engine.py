"""Slots and the queue: who waits, who is refused, what is freed, what one can do to others."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from firth import CausalLM
from firth.generators import decoding
from firth.serve import create_app
from firth.serve.engine import Engine
from serving import HTTP, running

ASKED = [{"role": "user", "content": "Say something."}]


def slowed(engine: Engine, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.005) -> None:
    """Each step takes so long, so that there is time to do something meanwhile."""
    step = engine._batch.step

    def slow() -> bool:
        time.sleep(seconds)
        return step()

    monkeypatch.setattr(engine._batch, "step", slow)


def soon(condition: Callable[[], bool]) -> bool:
    """Whether it is so within some seconds."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def app_and_engine(model: CausalLM, **options: Any) -> tuple[Any, Engine]:
    app = create_app(chat={"small": model}, **options)
    return app, app.state.models.chat.models["small"]


def text_of(url: str, **options: Any) -> str:
    body = {"messages": ASKED, "max_tokens": 40, **options}
    if not options.get("stream"):
        answer = HTTP.post(f"{url}/v1/chat/completions", json=body)
        found: str = answer.json()["choices"][0]["message"]["content"]
        return found
    with HTTP.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        return "".join(deltas(response))


def deltas(response: httpx.Response) -> Any:
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])["choices"][0]["delta"].get("content") or ""


def test_beside_others_as_alone(chat_model: CausalLM) -> None:
    """More users than slots, of all kinds, at once and a second time with what is kept."""
    app, engine = app_and_engine(chat_model, slots=3)
    options: list[dict[str, Any]] = [
        {"seed": 1, "stream": True},
        {"temperature": 0},
        {"seed": 2, "messages": [{"role": "user", "content": "a longer beginning, " * 25}]},
        {"seed": 3, "top_p": 0.8, "stream": True, "presence_penalty": 1.0},
        {"seed": 4, "response_format": {"type": "json_object"}},
        {"temperature": 0, "stop": ["e"], "stream": True},
        {"seed": 5, "max_tokens": 3},
    ]
    with running(app) as url:
        alone = [text_of(url, **one) for one in options]
        for _ in range(2):
            with ThreadPoolExecutor(len(options)) as pool:
                assert list(pool.map(lambda one: text_of(url, **one), options)) == alone
    assert alone[1] == chat_model.chat(ASKED, max_new_tokens=40)
    assert engine.going == engine.waiting == 0
    assert engine.cached_tokens > 0


def test_choices_share_their_prompt(chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokens go through the model once, and each choice is that of a request of its own."""
    app, _ = app_and_engine(chat_model, slots=4)
    extend, counts = decoding.extend, []

    def counted(stack: Any, texts: Any, *rest: Any) -> Any:
        counts.append(sum(map(len, texts)))
        return extend(stack, texts, *rest)

    monkeypatch.setattr(decoding, "extend", counted)
    asked = [{"role": "user", "content": "a prompt that no other test has, " * 16}]
    body = {"messages": asked, "max_tokens": 1, "seed": 7, "temperature": 1.5}
    with running(app) as url:
        address = f"{url}/v1/chat/completions"
        found = HTTP.post(address, json={**body, "n": 4}).json()
        prompt = found["usage"]["prompt_tokens"]
        known = found["usage"]["prompt_tokens_details"]["cached_tokens"]  # of other tests' prompts
        assert prompt > 500
        assert known < 10
        assert sum(counts) == prompt - known + 3
        texts = [one["message"]["content"] for one in found["choices"]]
        assert texts == [text_of(url, **{**body, "seed": 7 + i}) for i in range(4)]


def test_who_leaves_frees_a_slot(chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    app, engine = app_and_engine(chat_model, slots=1)
    slowed(engine, monkeypatch)
    body = {"messages": ASKED, "max_tokens": 500, "logit_bias": {"256": -100}}
    with running(app) as url:
        address = f"{url}/v1/chat/completions"
        with HTTP.stream("POST", address, json={**body, "stream": True}) as response:
            begun = deltas(response)
            next(begun)
            assert soon(lambda: engine.going == 1)
        assert soon(lambda: engine.going == 0)
        with pytest.raises(httpx.ReadTimeout):
            HTTP.post(address, json=body, timeout=0.2)  # not a stream: closed as well
        assert soon(lambda: engine.going == 0)
        with HTTP.stream("POST", address, json={**body, "stream": True}) as response:
            begun = deltas(response)
            next(begun)
            with pytest.raises(httpx.ReadTimeout):
                HTTP.post(address, json=body, timeout=0.2)  # while it waits
        assert soon(lambda: engine.going == engine.waiting == 0)
        assert engine.new_tokens < 400
        assert text_of(url)


def held(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """No step begins before the event is set."""
    step, free = engine._batch.step, threading.Event()

    def waiting() -> bool:
        assert free.wait(20)
        return step()

    monkeypatch.setattr(engine._batch, "step", waiting)
    return free


def test_a_full_queue(chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    app, engine = app_and_engine(chat_model, slots=1, queue=2)
    free = held(engine, monkeypatch)
    with running(app) as url, ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(text_of, url)]
        assert soon(lambda: engine.going == 1)  # or three would wait, one too many
        sent += [pool.submit(text_of, url, seed=i) for i in (1, 2)]
        assert soon(lambda: (engine.going, engine.waiting) == (1, 2))
        for path, body in (
            ("chat/completions", {"messages": ASKED}),
            ("completions", {"prompt": "a"}),
        ):
            for stream in (False, True):
                refused = HTTP.post(f"{url}/v1/{path}", json={**body, "stream": stream})
                assert refused.status_code == 429
                assert int(refused.headers["retry-after"]) >= 1
                assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        free.set()
        assert all(one.result() for one in sent)
        assert text_of(url)  # there is room again


def test_first_come_first_served(chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    app, engine = app_and_engine(chat_model, slots=1)
    free = held(engine, monkeypatch)
    came, left = [], []
    submit, leave = engine.submit, engine._leave
    monkeypatch.setattr(engine, "submit", lambda runs: came.extend(runs) or submit(runs))
    monkeypatch.setattr(engine, "_leave", lambda run: left.append(run) or leave(run))
    with running(app) as url, ThreadPoolExecutor(4) as pool:
        sent = []
        for i in range(4):
            sent.append(pool.submit(text_of, url, max_tokens=9, seed=i))
            assert soon(lambda i=i: engine.going + engine.waiting == i + 1)
        free.set()
        assert all(one.result() for one in sent)
    assert left == came
    assert len(came) == 4


def test_a_long_prompt_does_not_stop_others(
    chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken in parts, between which the others get their tokens."""
    monkeypatch.setattr("firth.generators.decoding.CHUNK", 32)
    app, engine = app_and_engine(chat_model, slots=2)
    slowed(engine, monkeypatch)
    short = {"messages": ASKED, "max_tokens": 300, "stream": True, "logit_bias": {"256": -100}}
    with running(app) as url, ThreadPoolExecutor(1) as pool:
        address = f"{url}/v1/chat/completions"
        with HTTP.stream("POST", address, json=short) as response:
            going = deltas(response)
            next(going)
            long = [{"role": "user", "content": "word " * 120}]
            sent = pool.submit(text_of, url, messages=long, max_tokens=1)
            before = 0
            while not sent.done():
                next(going)
                before += 1
            assert sent.result() is not None
            assert before >= 600 // 32 // 2  # at least every second part


def test_what_fails_in_one_text_does_not_touch_others(
    chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, engine = app_and_engine(chat_model, slots=4)
    slowed(engine, monkeypatch)
    from firth.generators.constraints import Constraint

    allowed, calls = Constraint.allowed, iter(range(10**6))

    def failing(self: Constraint) -> Any:
        if next(calls) > 5:
            raise ValueError("json_object: it takes too long")
        return allowed(self)

    wanted = {"max_tokens": 60, "seed": 1, "logit_bias": {"256": -100}}
    with running(app) as url, ThreadPoolExecutor(1) as pool:
        alone = text_of(url, **wanted)
        monkeypatch.setattr(Constraint, "allowed", failing)
        beside = pool.submit(text_of, url, **wanted)
        body = {"messages": ASKED, "response_format": {"type": "json_object"}}
        address = f"{url}/v1/chat/completions"
        whole = HTTP.post(address, json=body)
        assert whole.status_code == 400
        assert "too long" in whole.json()["error"]["message"]
        calls = iter(range(10**6))
        streamed = HTTP.post(address, json={**body, "stream": True})
        assert streamed.status_code == 200
        *_, error, done, rest = streamed.text.split("\n\n")
        assert "too long" in json.loads(error.removeprefix("data: "))["error"]["message"]
        assert (done, rest) == ("data: [DONE]", "")
        assert beside.result() == alone
        assert soon(lambda: engine.going == 0)


def test_a_step_that_fails_ends_all_and_the_server_goes_on(
    chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app, engine = app_and_engine(chat_model)

    def failing() -> bool:
        raise MemoryError("of a secret prompt")

    with running(app) as url:
        monkeypatch.setattr(engine._batch, "step", failing)
        found = HTTP.post(f"{url}/v1/chat/completions", json={"messages": ASKED})
        assert found.status_code == 500
        assert found.headers["x-should-retry"] == "false"
        assert "secret" not in found.text
        monkeypatch.undo()
        assert text_of(url)
    assert "secret" not in caplog.text
    assert soon(lambda: engine.going == 0)


def test_who_reads_slowly_holds_nobody_up(chat_model: CausalLM) -> None:
    """Some MB of an answer that nobody takes: its texts come to their end, others go on."""
    app, engine = app_and_engine(chat_model, slots=4)
    body = json.dumps({
        "messages": ASKED, "max_tokens": 400, "stream": True, "logit_bias": {"256": -100}, "n": 4,
        "logprobs": True, "top_logprobs": 20,
    }).encode()  # fmt: skip
    with running(app) as url, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(20)
        slow.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        slow.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
        assert soon(lambda: engine.going == 4)
        assert text_of(url, max_tokens=5)
        assert soon(lambda: engine.going == 0)
        assert engine.new_tokens == 4 * 400 + 5
        size, last = 0, b""
        while data := slow.recv(1 << 16):
            size, last = size + len(data), (last + data)[-100:]
        assert size > 2_000_000
        assert b"data: [DONE]" in last


def test_one_model_for_several_requests(chat_model: CausalLM) -> None:
    """The model can be used beside the server, too."""
    app, _ = app_and_engine(chat_model)
    want = chat_model.generate("beside", 60, ignore_eos=True)
    with running(app) as url, ThreadPoolExecutor(2) as pool:
        served = pool.submit(text_of, url, temperature=0, max_tokens=60)
        assert chat_model.generate("beside", 60, ignore_eos=True) == want
        assert served.result() == chat_model.chat(ASKED, max_new_tokens=60)
