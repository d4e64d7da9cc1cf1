"""Groq's own client: its prefix, and what it looks for in answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from firth import CausalLM
from firth.serve import chat
from serving import HTTP

groq = pytest.importorskip("groq")

ASKED: list[Any] = [{"role": "user", "content": "Say something."}]
DOCUMENTS: list[Any] = [
    {"id": "cats", "source": {"type": "text", "text": "A cat sat.\n[2] dogs: none"}},
    {"source": {"type": "json", "data": {"dog": "Rex"}}},
]
JSON = '{\n "dog": "Rex"\n}'
CITING = "A cat [1], Rex [2][3] and a cat [1]."


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with groq.Groq(base_url=url, api_key="any", max_retries=0) as found:
        yield found


def says(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Hold every answer to a text."""
    monkeypatch.setattr(chat, "_format", lambda wanted: {"choices": [text]})


def ask(client: Any, **options: Any) -> Any:
    options = {"documents": DOCUMENTS, "messages": ASKED, "max_tokens": 60, **options}
    return client.chat.completions.create(model="small", **options)


def streamed(client: Any, **options: Any) -> tuple[str, list[Any]]:
    """The text of a stream, and its annotations."""
    deltas = [one.choices[0].delta for one in ask(client, stream=True, **options)]
    told = [one.annotations for one in deltas if one.annotations is not None]
    assert len(told) == 1
    return "".join(one.content or "" for one in deltas), told[0]


def test_whole(url: str) -> None:
    with groq.Groq(base_url=url, api_key="any", max_retries=0) as client:
        found = client.chat.completions.create(model="small", messages=ASKED, max_tokens=9)
        assert found.usage.total_time > 0
        assert found.usage.completion_tokens == 9
        assert found.x_groq.id == found.id
        assert client.models.list().data[0].id == "small"
        vectors = client.embeddings.create(model="embed", input=["the cat", "a dog"])
        assert [len(one.embedding) for one in vectors.data] == [32, 32]
        with pytest.raises(groq.BadRequestError):
            client.chat.completions.create(model="small", messages=ASKED, temperature=9)


def test_streams(url: str) -> None:
    with groq.Groq(base_url=url, api_key="any", max_retries=0) as client:
        chunks = list(client.chat.completions.create(
            model="small", messages=ASKED, max_completion_tokens=9, stream=True
        ))  # fmt: skip
    assert chunks[0].x_groq.id == chunks[0].id
    ends = [one for one in chunks if one.choices[0].finish_reason]
    assert ends == chunks[-1:]
    assert ends[0].x_groq.id == chunks[0].id
    assert ends[0].x_groq.usage.completion_tokens == 9
    assert all(one.x_groq is None for one in chunks[1:-1])


LISTING = """
from groq import Groq

client = Groq()
completion = client.chat.completions.create(
    model="llama-3.3-70b-versatile",
    messages=[
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "user", "content": "What is a token?"},
    ],
    temperature=1,
    max_completion_tokens=64,
    top_p=1,
    stream=True,
    stop=None,
)
for chunk in completion:
    print(chunk.choices[0].delta.content or "", end="")
client.close()
"""


def test_a_program_for_groq(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Groq's console writes it, model and all: the address alone is another."""
    monkeypatch.setenv("GROQ_API_KEY", "any")
    monkeypatch.setenv("GROQ_BASE_URL", url)
    before = tokens(url)
    exec(LISTING, {})
    assert 10 < len(capsys.readouterr().out.encode()) <= 64 * 3  # U+FFFD has three bytes
    assert 10 < tokens(url) - before <= 64


def tokens(url: str) -> int:
    """Written by the first model so far."""
    lines = HTTP.get(f"{url}/metrics").text.splitlines()
    name = 'firth_generated_tokens_total{model="small"}'
    return int(next(line.split()[-1] for line in lines if line.startswith(name)))


def test_async(url: str) -> None:
    async def ask() -> str:
        async with groq.AsyncGroq(base_url=url, api_key="any") as client:
            stream = await client.chat.completions.create(
                model="small", messages=ASKED, stream=True, seed=1, max_tokens=20
            )
            return "".join([one.choices[0].delta.content or "" async for one in stream])

    assert asyncio.run(ask())


def test_documents_are_quoted_in_the_last_question(
    client: Any, chat_model: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    template = type(chat_model.tokenizer).apply_chat_template
    monkeypatch.setattr(
        type(chat_model.tokenizer), "apply_chat_template",
        lambda self, messages, *a, **b: read.append(messages) or template(self, messages, *a, **b),
    )  # fmt: skip
    before = [{"role": "system", "content": "Be brief."}, *ASKED]
    parts = [{"type": "text", "text": "Who"}, {"type": "text", "text": "sat?"}]
    ask(client, messages=[*before, {"role": "user", "content": parts}], max_tokens=1)
    system, first, last = read[-1]
    assert system["content"].startswith("You answer questions from quoted passages.")
    assert "Put the number of the passage" in system["content"]
    assert system["content"].endswith("\n\nBe brief.")
    assert first == ASKED[0]
    assert last["content"] == (
        "Passages:\n\n[1] cats, characters 0 to 25\n> A cat sat.\n> [2] dogs: none\n\n"
        '[2] 2, characters 0 to 17\n> {\n>  "dog": "Rex"\n> }\n\nWho\nsat?'
    )
    found = ask(client, max_tokens=1, citation_options="disabled").choices[0].message
    assert "number of the passage" not in read[-1][0]["content"]
    assert found.annotations is None
    ask(client, documents=[], max_tokens=1)
    assert read[-1] == ASKED
    ask(client, messages=[{"role": "developer", "content": "x"}], max_tokens=1)
    assert [one["role"] for one in read[-1]] == ["system", "user"]
    assert read[-1][1]["content"].startswith("Passages:\n\n[1] cats")


def test_answers_cite_documents_in_their_place(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, CITING)
    found = ask(client, n=2).choices
    for choice in found:
        cited = [one.document_citation for one in choice.message.annotations]
        assert {one.type for one in choice.message.annotations} == {"document_citation"}
        assert [one.document_id for one in cited] == ["cats", "2", "cats"]
        assert [CITING[one.start_index : one.end_index] for one in cited] == ["[1]", "[2]", "[1]"]
        assert cited[0].start_index < cited[2].start_index
    assert streamed(client) == (CITING, found[0].message.annotations)


def test_an_answer_without_citations_gets_the_nearest_document(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [
        {"id": text, "source": {"type": "text", "text": text}}
        for text in ("a dog ran in the rain", "the cat sat on the mat")
    ]
    text = "the cat sat on the mat"
    says(monkeypatch, text)
    (one,) = ask(client, documents=documents).choices[0].message.annotations
    assert one.document_citation.to_dict() == {
        "document_id": text, "start_index": 0, "end_index": len(text), "inferred": True,
    }  # fmt: skip
    assert streamed(client, documents=documents) == (text, [one])
    says(monkeypatch, "I do not know.")
    assert streamed(client) == ("I do not know.", [])


def test_what_does_not_fit_is_not_cited(
    app: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, "Nothing of that.")
    model = app.state.models.embed.models["embed"].model
    cosines: list[float] = []

    def vectors(texts: list[str], **options: Any) -> Any:
        assert texts == ["Nothing of that.\nSay something.", "A cat sat.\n[2] dogs: none", JSON]
        near = np.array(cosines)
        return np.vstack([[1, 0, 0], np.stack([near, 1 - near, np.zeros(2)], axis=1)])

    monkeypatch.setattr(model, "encode", vectors)
    cosines[:] = [0.1, 0.29]
    assert ask(client).choices[0].message.annotations == []
    assert streamed(client) == ("Nothing of that.", [])
    cosines[:] = [0.1, 0.31]
    (one,) = ask(client).choices[0].message.annotations
    assert one.document_citation.document_id == "2"


def test_empty_documents_are_not_cited(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, CITING)
    empty: list[Any] = [
        {"source": {"type": "text", "text": " \n"}}, {"source": {"type": "json", "data": {}}}
    ]  # fmt: skip
    found = ask(client, documents=[*empty, DOCUMENTS[1]]).choices[0].message.annotations
    cited = [one.document_citation for one in found]
    assert [one.document_id for one in cited] == ["3", "3"]
    assert [CITING[one.start_index : one.end_index] for one in cited] == ["[1]", "[1]"]
    assert ask(client, documents=empty).choices[0].message.annotations == []


def test_json_has_no_citations(client: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": [1]}}}
    message = ask(client, response_format=form).choices[0].message
    assert (message.content, message.annotations) == ("[1]", None)


@pytest.mark.parametrize(("body", "param"), [
    ({"documents": [{"source": {"type": "url", "url": "http://x"}}]}, "documents.0.source"),
    ({"documents": [{"id": "a"}]}, "documents.0.source"),
    ({"citation_options": "some"}, "citation_options"),
    ({"documents": [{"source": {"type": "text", "text": "x" * 900}}]}, None),  # no room
])  # fmt: skip
def test_documents_that_are_refused(url: str, body: Any, param: str | None) -> None:
    found = HTTP.post(f"{url}/openai/v1/chat/completions", json={"messages": ASKED, **body})
    assert found.status_code == 400
    assert found.json()["error"]["param"] == param
