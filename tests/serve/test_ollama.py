"""Ollama's own client, and what others send to its routes."""

from __future__ import annotations

import asyncio
import functools
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel

import firth
from firth import CausalLM, SentenceTransformer
from firth.serve import ollama as serve_ollama
from firth.serve.schemas import Chat
from serving import HTTP

ollama = pytest.importorskip("ollama")

ASKED: list[Any] = [{"role": "user", "content": "Say something."}]
HI: list[Any] = [{"role": "user", "content": "Hi"}]
GREEDY = {"temperature": 0, "num_predict": 30}


@pytest.fixture(scope="module")
def client(url: str) -> Any:
    with ollama.Client(host=url) as found:
        yield found


def test_a_chat_is_the_model_s(client: Any, chat_model: CausalLM) -> None:
    want = chat_model.chat(ASKED, max_new_tokens=30, logprobs=0)
    found = client.chat(model="small", messages=ASKED, options=GREEDY)
    assert found.message.content == want.text
    assert found.message.role == "assistant"
    assert found.done
    assert found.done_reason == want.finish_reason == "length"
    assert found.prompt_eval_count == want.prompt_tokens
    assert found.eval_count == 30
    assert found.eval_duration > 0
    assert found.prompt_eval_duration > 0
    parts = [found.prompt_eval_duration, found.eval_duration]
    assert sum(parts) <= found.total_duration + 2 < 20e9
    assert found.model == "small"
    lines = list(client.chat(model="small", messages=ASKED, options=GREEDY, stream=True))
    assert "".join(one.message.content for one in lines) == want.text
    assert len(lines) > 10
    assert [one.done for one in lines] == [*[False] * (len(lines) - 1), True]
    assert lines[-1].done_reason == "length"
    assert lines[-1].eval_count == 30
    assert lines[0].eval_count is None


def test_options(client: Any, chat_model: CausalLM) -> None:
    """They have Ollama's defaults and names."""
    more = {"seed": 3, "num_predict": 40}
    want = chat_model.chat(
        ASKED, max_new_tokens=40, temperature=0.8, top_k=40, top_p=0.9, seed=3
    )  # fmt: skip
    found = client.chat(model="small", messages=ASKED, options=more)
    assert found.message.content == want
    stop = want[20:23]
    stopped = client.chat(model="small", messages=ASKED, options={**more, "stop": [stop]})
    assert stopped.message.content == want[: want.find(stop)]
    assert stopped.done_reason == "stop"
    other = chat_model.chat(
        ASKED, max_new_tokens=9, temperature=1.5, top_k=5, top_p=0.5, min_p=0.1, seed=3,
        repetition_penalty=1.3, frequency_penalty=0.5, presence_penalty=0.25,
    )  # fmt: skip
    found = client.chat(model="small", messages=ASKED, options={
        "temperature": 1.5, "top_k": 5, "top_p": 0.5, "min_p": 0.1, "seed": 3, "num_predict": 9,
        "repeat_penalty": 1.3, "frequency_penalty": 0.5, "presence_penalty": 0.25,
        "num_ctx": 4096, "mirostat": 0,
    })  # fmt: skip
    assert found.message.content == other
    anything = [
        client.chat(model="small", messages=ASKED, options={"num_predict": 20, "seed": -1})
        for _ in range(2)
    ]
    assert anything[0].message.content != anything[1].message.content


def test_generate(client: Any, chat_model: CausalLM) -> None:
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    want = chat_model.chat(turns, max_new_tokens=30)
    found = client.generate(model="small", system="Be short.", prompt="Hi", options=GREEDY)
    assert found.response == want
    assert found.done_reason == "length"
    lines = list(client.generate(model="small", prompt="Hi", options=GREEDY, stream=True))
    asked = [{"role": "user", "content": "Hi"}]
    assert "".join(one.response for one in lines) == chat_model.chat(asked, max_new_tokens=30)
    raw = client.generate(model="small", prompt="Hi", raw=True, options=GREEDY)
    assert raw.response == chat_model.generate("Hi", 30)
    assert raw.prompt_eval_count == 2


def test_logprobs(client: Any, chat_model: CausalLM) -> None:
    want = chat_model.chat(ASKED, max_new_tokens=5, logprobs=2)
    options = {"temperature": 0, "num_predict": 5}
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 2, "options": options}
    found = client.chat(model="small", messages=ASKED, **asked)
    assert [one.logprob for one in found.logprobs] == pytest.approx(want.logprobs)
    assert all(len(one.top_logprobs) == 2 for one in found.logprobs)
    lines = client.chat(model="small", messages=ASKED, stream=True, **asked)
    told = [one.logprob for line in lines for one in line.logprobs or ()]
    assert told == pytest.approx(want.logprobs)
    raw = client.generate(model="small", prompt="Hi", raw=True, **asked)
    assert len(raw.logprobs) == 5


class City(BaseModel, extra="forbid"):
    name: Literal["Rome", "Oslo"]


def test_formats(client: Any) -> None:
    schema = City.model_json_schema()
    found = client.chat(model="small", messages=ASKED, format=schema, options={"seed": 1})
    assert City.model_validate_json(found.message.content)
    found = client.generate(model="small", prompt="Hi", format=schema, options={"seed": 2})
    assert City.model_validate_json(found.response)
    found = client.generate(
        model="small", prompt="Hi", format="json", options={"seed": 4, "num_predict": 30}
    )
    assert found.response.lstrip().startswith("{")


def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: The city.
    """
    return f"rain in {city}"


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"],
}}}  # fmt: skip


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_calls(
    client: Any, chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    """A random model calls nothing of its own accord, and Ollama's API cannot force it."""
    monkeypatch.setattr(serve_ollama, "Chat", functools.partial(Chat, tool_choice=choice))
    want = chat_model.chat(ASKED, [TOOL], tool_choice=choice, max_new_tokens=60)
    given: dict[str, Any] = {
        "messages": ASKED, "tools": [TOOL], "options": {"temperature": 0, "num_predict": 60},
    }  # fmt: skip
    called = [
        (one["function"]["name"], json.loads(one["function"]["arguments"]))
        for one in want.tool_calls
    ]
    assert len(called) == (choice == "required")
    found = client.chat(model="small", **given)
    assert found.message.content == (want.content or "")
    calls = found.message.tool_calls or ()
    assert [(one.function.name, one.function.arguments) for one in calls] == called
    assert found.done_reason == ("stop" if called else want.finish_reason)
    lines = list(client.chat(model="small", stream=True, **given))
    assert "".join(line.message.content for line in lines) == (want.content or "")
    calls = [one for line in lines for one in line.message.tool_calls or ()]
    assert [(one.function.name, one.function.arguments) for one in calls] == called


def test_a_conversation_with_calls(client: Any) -> None:
    """Functions as tools, and messages of the client's own."""
    call = ollama.Message.ToolCall(
        function=ollama.Message.ToolCall.Function(name="weather", arguments={"city": "Rome"})
    )
    turns = [
        *ASKED, ollama.Message(role="assistant", tool_calls=[call]),
        {"role": "tool", "content": weather("Rome"), "tool_name": "weather"},
    ]  # fmt: skip
    found = client.chat(
        model="small", messages=turns, tools=[weather], options={"num_predict": 5}, think=False
    )
    assert found.eval_count <= 5


@pytest.mark.filterwarnings("ignore:.*texts have more than")
def test_vectors(client: Any, embed_model: SentenceTransformer) -> None:
    texts = ["the cat", "a dog ran"]
    want = embed_model.encode(texts, normalize_embeddings=True)
    found = client.embed(model="embed", input=texts)
    assert np.allclose(found.embeddings, want, atol=1e-6)
    assert found.prompt_eval_count > 0
    assert len(client.embed(model="embed", input=texts[0]).embeddings) == 1
    assert client.embed(model="embed", input=[]).embeddings == []
    short = client.embed(model="embed:latest", input=texts, dimensions=5).embeddings
    assert np.allclose(np.linalg.norm(short, axis=1), 1)
    assert np.shape(short) == (2, 5)
    plain = client.embeddings(model="embed", prompt=texts[1]).embedding
    assert np.array_equal(np.float32(plain), embed_model.encode(texts[1]))
    assert client.embeddings(model="embed", prompt="").embedding == []
    long = "cat " * 600
    assert len(client.embed(model="embed", input=long).embeddings[0]) == 32
    with pytest.raises(ollama.ResponseError, match="tokens"):
        client.embed(model="embed", input=[long], truncate=False)


def test_sizes_of_models_in_parts(tmp_path: Path) -> None:
    for i in (1, 2):
        (tmp_path / f"model-0000{i}-of-00002.safetensors").write_bytes(bytes(i * 10))
    (tmp_path / "consolidated.safetensors").write_bytes(bytes(99))  # the same once more
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense" / "model.safetensors").write_bytes(bytes(5))
    assert serve_ollama._size(str(tmp_path / "model.safetensors.index.json")) == 30
    assert serve_ollama._size(str(tmp_path / "2_Dense")) == 5
    assert serve_ollama._size(str(tmp_path / "gone.gguf")) == 0


def test_models(client: Any, url: str, chat_model: CausalLM, folder: Path) -> None:
    listed = client.list().models
    assert [one.model for one in listed] == ["small", "owner/other", "embed"]
    assert all(len(one.digest) == 64 for one in listed)
    chat = (folder / "chat.gguf").stat().st_size
    assert [one.size for one in listed] == [
        chat, chat, (folder / "embed" / "model.safetensors").stat().st_size
    ]  # fmt: skip
    assert listed[0].details.family == "llama"
    shown = client.show("small:latest")
    assert shown.template == chat_model.tokenizer.chat_template
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modelinfo["llama.context_length"] == chat_model.context
    assert client.show("embed").capabilities == ["embedding"]
    assert client.show("embed").modelinfo["encoder.embedding_length"] == 32
    assert client.show("rerank").capabilities == []
    assert HTTP.get(f"{url}/api/version").json() == {"version": firth.__version__}
    found = client.chat(model="owner/other:latest", messages=ASKED, options={"num_predict": 1})
    assert found.model == "owner/other"
    for loaded in (client.generate(model="small"), client.chat(model="small")):
        assert loaded.done_reason == "load"


def test_mistakes(client: Any, url: str) -> None:
    long = [{"role": "user", "content": "word " * 400}]
    for stream in (False, True):
        for messages, options, told in (
            (ASKED, {"temperature": 9}, "temperature"), (ASKED, {"num_predict": -3}, "num_predict"),
            (ASKED, {"stop": [""]}, "stop"), (long, {}, "700"),
        ):  # fmt: skip
            with pytest.raises(ollama.ResponseError, match=told) as caught:
                list(client.chat(model="small", messages=messages, options=options, stream=stream))
            assert caught.value.status_code == 400
            assert isinstance(caught.value.error, str)
    for path, body in (
        ("chat", {"messages": [{"role": "user"}]}),
        ("chat", {"messages": "Hi"}),
        ("chat", {"messages": [{"role": "user", "content": "Hi", "images": ["aaaa"]}]}),
        ("chat", {"messages": ASKED, "tools": [{}]}),
        ("chat", {"messages": ASKED, "format": {"type": "nothing"}}),
        ("chat", {"messages": ASKED, "format": "xml"}),
        ("generate", {"prompt": "Hi", "template": "a"}),
        ("generate", {"prompt": "Hi", "suffix": "a"}),
        ("generate", {"prompt": "Hi", "raw": True, "format": "json"}),
        ("generate", {"prompt": "\ud800"}),
        ("embed", {}),
        ("embed", {"input": "a", "dimensions": 33}),
        ("embed", {"input": ["a"] * 2049}),
    ):
        found = HTTP.post(f"{url}/api/{path}", content=json.dumps(body))
        assert found.status_code == 400, found.text
        assert isinstance(found.json()["error"], str)


def test_routes_that_are_not_there(client: Any, url: str) -> None:
    """Errors in Ollama's form, so that its clients show them."""
    for method, path, status in (
        ("POST", "pull", 404), ("GET", "nothing", 404), ("DELETE", "delete", 404),
        ("GET", "chat", 405), ("POST", "", 404), ("POST", "blobs/sha256:0", 404),
    ):  # fmt: skip
        found = HTTP.request(method, f"{url}/api/{path}", json={"model": "a"})
        assert found.status_code == status
        assert list(found.json()) == ["error"]
        assert isinstance(found.json()["error"], str)
    assert HTTP.post(f"{url}/api").json()["error"]
    with pytest.raises(ollama.ResponseError) as caught:
        client.pull("a")
    assert caught.value.error
    assert caught.value.status_code == 404


def test_as_curl_sends_it(url: str) -> None:
    """Without the type of JSON; a stream unless told otherwise."""
    body = json.dumps({"model": "small", "messages": ASKED, "options": {"num_predict": 3}})
    for headers in ({}, {"content-type": "application/x-www-form-urlencoded"}):
        found = HTTP.post(f"{url}/api/chat", content=body, headers=headers)
        assert found.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in found.text.splitlines()]
        assert lines[-1]["done"]
        assert lines[-1]["created_at"].endswith("Z")
    other = {"content-type": "text/plain", "origin": "http://other.example"}
    assert HTTP.post(f"{url}/api/chat", content=body, headers=other).status_code == 403


def test_async(url: str, chat_model: CausalLM, embed_model: SentenceTransformer) -> None:
    async def ask() -> tuple[list[str], Any]:
        async with ollama.AsyncClient(host=url) as client:
            given: dict[str, Any] = {"model": "small", "messages": ASKED, "options": GREEDY}
            stream = await client.chat(**given, stream=True)
            streamed = "".join([one.message.content async for one in stream])
            whole = (await client.chat(**given)).message.content
            raw: dict[str, Any] = {"model": "small", "prompt": "Hi", "options": GREEDY}
            parts = await client.generate(**raw, stream=True)
            written = "".join([one.response async for one in parts])
            assert (await client.generate(**raw)).response == written
            formed = await client.chat(**given, format=City.model_json_schema())
            assert City.model_validate_json(formed.message.content)
            called = await client.chat(**given, tools=[weather])
            assert called.message.role == "assistant"
            vectors = (await client.embed(model="embed", input=["the cat"])).embeddings
            assert (await client.list()).models[0].model == "small"
            return [streamed, whole, written], vectors

    texts, vectors = asyncio.run(ask())
    want = [chat_model.chat(asked, max_new_tokens=30) for asked in (ASKED, HI)]
    assert texts == [want[0], *want]
    assert np.allclose(vectors, embed_model.encode(["the cat"], normalize_embeddings=True))
