"""Questions to the documents of a server, whole and as a stream."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from causal_models import write
from firth import CausalLM, KnowledgeBase, SentenceTransformer
from firth.rag import Prepared
from firth.serve import create_app
from serving import HTTP, running

TEXTS = {"house.txt": "a small house and the dog", "cat.txt": "the small cat in a house"}
ASKED = {"question": "the small cat in a house"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    path = tmp_path_factory.mktemp("chat") / "chat.gguf"
    return CausalLM.from_pretrained(write(path, more={"llama.context_length": 3000}))


@pytest.fixture
def base(tmp_path: Path, model: CausalLM, embed_model: SentenceTransformer) -> Iterator[Any]:
    with KnowledgeBase(tmp_path / "kb", embed=embed_model, chat=model) as made:
        made.add(TEXTS)
        yield made


@pytest.fixture
def url(base: Any, model: CausalLM) -> Iterator[str]:
    with running(create_app(chat={"small": model}, kb=base)) as found:
        yield found


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    lines = [line for line in response.iter_lines() if line]
    assert lines.pop() == "data: [DONE]"
    return (json.loads(line.removeprefix("data: ")) for line in lines)


def test_an_answer_is_that_of_the_knowledge_base(base: Any, url: str) -> None:
    want = base.ask(ASKED["question"], temperature=0)
    whole = HTTP.post(f"{url}/v1/kb/ask", json=ASKED).json()
    assert (whole["text"], whole["prompt"]) == (want.text, want.prompt)
    assert [one["document"] for one in whole["passages"]] == ["cat.txt", "house.txt"]
    first, *parts, last = events(HTTP.post(f"{url}/v1/kb/ask", json={**ASKED, "stream": True}))
    assert first == {"passages": whole["passages"]}
    assert last == {"answer": whole}
    assert len(parts) > 10
    assert want.text == "".join(one["text"] for one in parts).strip()


def test_conditions(base: Any, url: str) -> None:
    body = {"query": "house", "where": {"document": "house.txt"}}
    (only,) = HTTP.post(f"{url}/kb/search", json=body).json()["passages"]
    assert only["document"] == "house.txt"
    asked = HTTP.post(f"{url}/kb/ask", json={**ASKED, "where": body["where"]}).json()
    assert [one["document"] for one in asked["passages"]] == ["house.txt"]
    for wrong in ({**body, "where": {"age": {"foo": 1}}}, {**body, "rerank": True}, {"query": " "}):
        assert HTTP.post(f"{url}/kb/search", json=wrong).status_code == 400


def test_where_nothing_is_near_no_model_is_asked(
    base: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Prepared, "near", lambda self: False)
    monkeypatch.setattr(CausalLM, "chat", None)
    first, last = events(HTTP.post(f"{url}/kb/ask", json={**ASKED, "stream": True}))
    assert len(first["passages"]) == 2
    assert last["answer"] == HTTP.post(f"{url}/kb/ask", json=ASKED).json()
    assert (last["answer"]["text"], last["answer"]["citations"]) == ("I do not know.", [])


def test_who_leaves_frees_the_slot(
    base: Any, model: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(chat={"small": model}, kb=base)
    engine = app.state.models.chat.models["small"]
    step, left = engine._batch.step, threading.Event()

    def held() -> bool:
        """After a few tokens a step begins when the client has left, and then all are slow."""
        texts = [run.text for run in engine._batch.runs]
        if any(len(text.ids) >= text.prompt + 5 for text in texts):
            assert left.wait(20)
            time.sleep(0.05)  # so that the server sees it before all tokens are there
        return step()

    monkeypatch.setattr(engine._batch, "step", held)
    with running(app) as url:
        body = {**ASKED, "stream": True}
        with HTTP.stream("POST", f"{url}/kb/ask", json=body) as response:
            next(line for line in response.iter_lines() if line.startswith('data: {"text"'))
            assert engine.going == 1
        left.set()
        end = time.monotonic() + 10
        while (engine.going or not engine.new_tokens) and time.monotonic() < end:
            time.sleep(0.01)
        assert engine.going == 0
        assert 0 < engine.new_tokens < 100


def test_refusals(base: Any, url: str, model: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "context", 300)
    for stream in (False, True):
        found = HTTP.post(f"{url}/kb/ask", json={**ASKED, "stream": stream})
        assert found.status_code == 400
        assert "more than the model's 300" in found.json()["error"]["message"]
    base.chat = None
    found = HTTP.post(f"{url}/kb/ask", json=ASKED)
    assert (found.status_code, "give a model" in found.text) == (400, True)
    assert HTTP.get(f"{url}/kb").json() == {"documents": 2, "passages": 2, "chat": False}
    with running(create_app(chat={"small": model})) as none:
        assert HTTP.post(f"{none}/kb/ask", json=ASKED).status_code == 404
