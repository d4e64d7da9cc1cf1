"""Completions, embeddings, models, reranking, tokens, state, through OpenAI's client or as such."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from firth import CausalLM, CrossEncoder, SentenceTransformer
from firth.serve import create_app
from sentence_folders import TEXTS
from serving import HTTP, running

openai = pytest.importorskip("openai")


@pytest.fixture(scope="module")
def client(url: str) -> Any:
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as found:
        yield found


# Completions


def test_a_completion_is_the_model_s(client: Any, chat_model: CausalLM) -> None:
    texts = ["one", "a longer text"]
    want = [chat_model.generate(text, 16, logprobs=0) for text in texts]
    found = client.completions.create(model="small", prompt=texts, temperature=0)
    assert [one.text for one in found.choices] == [one.text for one in want]
    assert [one.finish_reason for one in found.choices] == [one.finish_reason for one in want]
    assert [one.index for one in found.choices] == [0, 1]
    assert found.object == "text_completion"
    assert found.usage.prompt_tokens == sum(one.prompt_tokens for one in want)
    assert found.usage.completion_tokens == sum(len(one.ids) for one in want)
    ids = [chat_model.tokenizer.encode(text) for text in texts]
    by_ids = client.completions.create(model="small", prompt=ids, temperature=0)
    assert [one.text for one in by_ids.choices] == [one.text for one in want]
    single = client.completions.create(model="small", prompt=ids[1], temperature=0, echo=True)
    assert single.choices[0].text == texts[1] + want[1].text
    chunks = list(
        client.completions.create(model="small", prompt=texts, temperature=0, stream=True)
    )
    for i, one in enumerate(want):
        choices = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == i]
        assert "".join(choice.text for choice in choices) == one.text
        assert [c.finish_reason for c in choices if c.finish_reason] == [one.finish_reason]


def test_logprobs_of_completions(client: Any, chat_model: CausalLM) -> None:
    prompt = "A prompt \u00e9"
    ids = chat_model.tokenizer.encode(prompt)
    want = chat_model.generate(prompt, 6, logprobs=2)
    score = chat_model.score(ids, top=2)
    options: dict[str, Any] = {
        "model": "small", "prompt": prompt, "temperature": 0, "max_tokens": 6, "logprobs": 2,
        "echo": True,
    }  # fmt: skip
    found = client.completions.create(**options).choices[0].logprobs
    new = len(want.ids) - (want.finish_reason == "stop")
    assert found.token_logprobs == [None, *score.logprobs.tolist(), *want.logprobs[:new]]
    assert found.top_logprobs[0] is None
    for one, top, value in zip(
        found.top_logprobs[1:], [*score.top_logprobs, *want.top_logprobs],
        found.token_logprobs[1:], strict=False,
    ):  # fmt: skip
        assert max(one.values()) == top[0].logprob
        assert value in one.values()
        assert len(one) in (1, 2, 3)
    assert found.text_offset[: len(ids)] == [*range(len(ids) - 1), len(prompt) - 1]
    assert found.text_offset[len(ids)] == len(prompt)
    scored = client.completions.create(**{**options, "max_tokens": 0}).choices[0]
    assert scored.text == prompt
    assert scored.finish_reason == "length"
    assert scored.logprobs.token_logprobs == [None, *score.logprobs.tolist()]
    streamed = list(client.completions.create(**options, stream=True))
    parts = [one.choices[0].logprobs for one in streamed if one.choices[0].logprobs]
    assert [value for part in parts for value in part.token_logprobs] == found.token_logprobs


def test_best_of(client: Any, chat_model: CausalLM) -> None:
    options: dict[str, Any] = {"prompt": "x", "temperature": 1.0, "seed": 4}
    several = chat_model.generate(max_new_tokens=20, n=5, logprobs=0, **options)
    means = [float(np.mean(one.logprobs)) for one in several]
    assert len(set(means)) == 5
    best = sorted(range(5), key=lambda i: -means[i])[:2]
    found = client.completions.create(model="small", max_tokens=20, n=2, best_of=5, **options)
    assert [one.text for one in found.choices] == [several[i].text for i in best]


# Embeddings


def test_embeddings(client: Any, url: str, embed_model: SentenceTransformer) -> None:
    texts = [text for text in TEXTS if text]
    want = embed_model.encode(texts)
    found = client.embeddings.create(model="embed", input=texts)  # asks for base64
    assert np.array_equal(np.array([one.embedding for one in found.data], np.float32), want)
    assert [one.index for one in found.data] == list(range(len(texts)))
    plain = client.embeddings.create(model="embed", input=texts[0], encoding_format="float")
    assert np.array_equal(np.float32(plain.data[0].embedding), want[0])
    assert plain.usage.prompt_tokens == len(embed_model.tokenizer(texts[0])["input_ids"])
    short = client.embeddings.create(model="embed", input=texts, dimensions=5)
    rows = np.array([one.embedding for one in short.data], np.float32)
    assert np.array_equal(
        rows, embed_model.encode(texts, truncate_dim=5, normalize_embeddings=True)
    )
    body = {"input": texts, "encoding_format": "base64"}
    raw = HTTP.post(f"{url}/openai/v1/embeddings", json=body).json()["data"]
    assert np.array_equal(np.frombuffer(base64.b64decode(raw[1]["embedding"]), "<f4"), want[1])


def test_embeddings_of_tokens(client: Any, embed_model: SentenceTransformer) -> None:
    texts = ["the cat sat", "money in the bank"]
    want = embed_model.encode(texts)
    ids = [embed_model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    found = client.embeddings.create(model="embed", input=ids)
    assert np.array_equal(np.array([one.embedding for one in found.data], np.float32), want)
    found = client.embeddings.create(model="embed", input=ids[1])
    assert np.array_equal(np.float32(found.data[0].embedding), want[1])
    assert found.usage.prompt_tokens == found.usage.total_tokens == len(ids[1])
    both = client.embeddings.create(model="embed", input=ids)
    assert both.usage.prompt_tokens == len(ids[0]) + len(ids[1])
    pieces = embed_model.tokenizer.convert_tokens_to_ids(["[CLS]", "cat", "##s", "##s", "[SEP]"])
    assert client.embeddings.create(model="embed", input=pieces).usage.prompt_tokens == 5
    most = embed_model.max_seq_length
    assert client.embeddings.create(model="embed", input=pieces * 99).usage.prompt_tokens == most


def test_texts_that_are_too_long_are_cut_in_silence(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings are errors in these tests; models that have not warned yet would raise one."""
    long = "the cat sat on the mat " * 50
    body = {"input": [long, "a dog"], "query": long, "documents": [long], "model": "none"}
    models: dict[str, Any] = {"embed": folder / "embed", "rerank": folder / "rerank"}
    with running(create_app(**models)) as url:
        found = HTTP.post(f"{url}/v1/embeddings", json=body).json()
        again = HTTP.post(f"{url}/api/embed", json=body).json()
        assert HTTP.post(f"{url}/v1/rerank", json=body).status_code == 200
    most = SentenceTransformer(folder / "embed").max_seq_length
    assert found["usage"]["prompt_tokens"] == again["prompt_eval_count"] == most + 4
    assert len(found["data"]) == len(again["embeddings"]) == 2
    with pytest.warns(UserWarning, match="1 of 1 texts have more than"):  # elsewhere it is said
        SentenceTransformer(folder / "embed").encode([long])


@pytest.mark.parametrize("route", ["v1/embeddings", "api/embed"])
def test_who_leaves_frees_the_encoder(
    embed_model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    """The batch that is being computed is the last one, and the next request waits for its end."""
    encode, calls, going = embed_model.encode, [], [0]

    def slow(texts: list[str], **options: Any) -> Any:
        going[0] += 1
        calls.append((len(texts), going[0]))
        time.sleep(0.2)
        going[0] -= 1
        return encode(texts, **options)

    monkeypatch.setattr(embed_model, "encode", slow)
    texts = [f"the cat {i}" for i in range(640)]
    with running(create_app(embed=embed_model)) as url:
        with pytest.raises(httpx.ReadTimeout):
            HTTP.post(f"{url}/{route}", json={"input": texts}, timeout=0.3)
        assert HTTP.post(f"{url}/{route}", json={"input": "a dog"}).status_code == 200
        assert sum(count for count, _ in calls[:-1]) < 320
        assert calls[-1][0] == 1
        assert max(at_once for _, at_once in calls) == 1
        calls.clear()
        found = HTTP.post(f"{url}/v1/embeddings", json={"input": texts}).json()
        assert len(calls) == 10
    want = encode(texts)
    assert np.array_equal(np.float32([one["embedding"] for one in found["data"]]), want)


def test_who_leaves_frees_the_reranker(
    rerank_model: CrossEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rank, calls = rerank_model.rank, []

    def slow(query: str, documents: list[str], **options: Any) -> Any:
        calls.append(len(documents))
        time.sleep(0.2)
        return rank(query, documents, **options)

    monkeypatch.setattr(rerank_model, "rank", slow)
    texts = [f"the {'cat' if i % 3 else 'dog'} {i}" for i in range(640)]
    with running(create_app(rerank=rerank_model)) as url:
        body: dict[str, Any] = {"query": "the cat", "documents": texts}
        with pytest.raises(httpx.ReadTimeout):
            HTTP.post(f"{url}/v1/rerank", json=body, timeout=0.3)
        last = HTTP.post(f"{url}/v1/rerank", json={**body, "documents": ["a dog"]})
        assert last.status_code == 200
        assert sum(calls[:-1]) < 320
        found = HTTP.post(f"{url}/v1/rerank", json={**body, "top_n": 70}).json()
    want = rank("the cat", texts, 70)
    assert [(one["index"], one["relevance_score"]) for one in found["results"]] == [
        (one["corpus_id"], one["score"]) for one in want
    ]
    counted = [rerank_model.tokenizer(text)["input_ids"] for text in ["the cat", *texts]]
    assert found["usage"]["prompt_tokens"] == sum(map(len, counted))


def test_reranking(url: str, rerank_model: CrossEncoder) -> None:
    query, texts = "the cat", ["a dog ran", "the cat sat", "river bank"]
    want = rerank_model.rank(query, texts)
    body = {"query": query, "documents": [texts[0], {"text": texts[1]}, texts[2]]}
    found = HTTP.post(f"{url}/v1/rerank", json=body).json()
    assert [(one["index"], one["relevance_score"]) for one in found["results"]] == [
        (one["corpus_id"], one["score"]) for one in want
    ]
    body |= {"top_n": 1, "return_documents": True}
    found = HTTP.post(f"{url}/rerank", json=body).json()["results"]
    best = want[0]["corpus_id"]
    assert [one["index"] for one in found] == [best]
    assert found[0]["document"] == {"text": texts[best]}


# Models, tokens, state


def test_models(client: Any) -> None:
    listed = list(client.models.list())
    assert [one.id for one in listed] == ["small", "owner/other", "embed", "rerank"]
    assert all((one.object, one.owned_by) == ("model", "firth") for one in listed)
    assert client.models.retrieve("owner/other").id == "owner/other"
    assert client.models.retrieve("embed").id == "embed"
    asked: Any = [{"role": "user", "content": "Hi"}]
    for name, answered in (("owner/other", "owner/other"), ("gpt-5.4", "small"), ("../x", "small")):
        found = client.chat.completions.create(model=name, messages=asked, max_tokens=1)
        assert found.model == answered


def test_tokens(url: str, chat_model: CausalLM) -> None:
    text = "caf\u00e9 <|end|>"
    want = chat_model.tokenizer.encode(text, add_special_tokens=False)
    found = HTTP.post(f"{url}/tokenize", json={"content": text}).json()
    assert found == {"tokens": want, "count": len(want)}
    pieces = HTTP.post(f"{url}/tokenize", json={"content": text, "with_pieces": True}).json()
    assert [one["piece"] for one in pieces["tokens"][:5]] == ["c", "a", "f", [195], [169]]
    assert HTTP.post(f"{url}/detokenize", json={"tokens": want}).json() == {"content": text}
    special = HTTP.post(f"{url}/tokenize", json={"content": "<|end|>", "parse_special": True})
    assert special.json()["tokens"] == [256]
    turns = [{"role": "user", "content": "Hi"}]
    found = HTTP.post(f"{url}/v1/apply-template", json={"messages": turns}).json()
    assert found == {"prompt": chat_model.tokenizer.apply_chat_template(turns)}


def test_state(url: str) -> None:
    for prefix in ("", "/v1", "/openai/v1"):
        assert HTTP.get(f"{url}{prefix}/health").json() == {"status": "ok"}
    secret = "a word that no metric may have"
    body = {"messages": [{"role": "user", "content": secret}], "max_tokens": 4, "user": secret}
    before = values(url)
    HTTP.post(f"{url}/v1/chat/completions", json=body)
    text = HTTP.get(f"{url}/metrics").text
    assert secret not in text
    after = values(url)
    name = 'firth_generated_tokens_total{model="small"}'
    assert after[name] == before[name] + 4
    name = 'firth_requests_total{endpoint="chat_completions",status="200"}'
    assert after[name] == before.get(name, 0) + 1
    assert after['firth_texts_running{model="small"}'] == 0
    assert HTTP.get(f"{url}/").status_code == 200


def values(url: str) -> dict[str, float]:
    lines = HTTP.get(f"{url}/metrics").text.splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}
