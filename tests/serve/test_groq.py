"""Groq's own client: its prefix, and what it looks for in answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serving import HTTP

groq = pytest.importorskip("groq")

ASKED: list[Any] = [{"role": "user", "content": "Say something."}]


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
