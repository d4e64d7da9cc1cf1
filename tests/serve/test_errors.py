"""A user's mistake is 400 to 404 in OpenAI's shape; what client suites send is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serving import HTTP

openai = pytest.importorskip("openai")

ASKED: list[Any] = [{"role": "user", "content": "Hi"}]
DEEP: Any = {"type": "object", "properties": {"a": {"type": "string"}}}
for _ in range(120):
    DEEP = {"type": "object", "properties": {"a": DEEP}}


PICTURE = [{"role": "user", "content": [{"type": "image_url"}]}]


def answered_as(wanted: Any) -> Any:
    return {"messages": ASKED, "response_format": wanted}


def schema(wanted: Any) -> Any:
    return answered_as({"type": "json_schema", "json_schema": {"schema": wanted}})


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {}, "messages"),
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": "Hi"}, "messages"),
        ("chat/completions", {"messages": [{"role": "user"}]}, None),
        ("chat/completions", {"messages": [{"role": "bob", "content": "Hi"}]}, "messages"),
        ("embeddings", {"input": ["a"] * 2049}, "input"),
        ("embeddings", {"input": []}, "input"),
        ("tokenize", {"content": "a", "model": "embed"}, "model"),
        ("chat/completions", {"messages": [{"content": "Hi"}]}, None),
        ("chat/completions", {"messages": PICTURE}, None),
        ("chat/completions", {"messages": ASKED, "temperature": 2.1}, "temperature"),
        ("chat/completions", {"messages": ASKED, "temperature": -0.1}, "temperature"),
        ("chat/completions", {"messages": ASKED, "temperature": "hot"}, "temperature"),
        ("chat/completions", {"messages": ASKED, "top_p": 1.5}, "top_p"),
        ("chat/completions", {"messages": ASKED, "max_tokens": -1}, "max_tokens"),
        ("chat/completions", {"messages": ASKED, "max_tokens": 10**30}, "max_tokens"),
        ("chat/completions", {"messages": ASKED, "n": 0}, "n"),
        ("chat/completions", {"messages": ASKED, "n": 17}, "n"),
        ("chat/completions", {"messages": ASKED, "seed": 2**70}, "seed"),
        ("chat/completions", {"messages": ASKED, "top_logprobs": 21}, "top_logprobs"),
        ("chat/completions", {"messages": ASKED, "top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {"messages": ASKED, "stop": ""}, "stop"),
        ("chat/completions", {"messages": ASKED, "stop": ["a"] * 17}, None),
        ("chat/completions", {"messages": ASKED, "logit_bias": {"1": 101}}, "logit_bias.1"),
        ("chat/completions", {"messages": ASKED, "logit_bias": {"99999": 1}}, None),
        ("chat/completions", {"messages": ASKED, "tool_choice": "required"}, "tool_choice"),
        ("chat/completions", {"messages": ASKED, "tools": [{}]}, None),
        ("chat/completions", {"messages": ASKED, "tools": [{"function": {"name": "a b"}}]}, None),
        ("chat/completions", answered_as({"type": "xml"}), "response_format"),
        ("chat/completions", answered_as({"type": "json_schema"}), "response_format"),
        ("chat/completions", schema(DEEP), None),
        ("chat/completions", schema({"type": "nothing"}), None),
        ("chat/completions", {"messages": [{"role": "user", "content": "\ud800"}]}, None),
        ("chat/completions", {"messages": ASKED, "chat_template_kwargs": {"messages": []}}, None),
        ("completions", {}, "prompt"),
        ("completions", {"prompt": ""}, None),
        ("completions", {"prompt": []}, None),
        ("completions", {"prompt": [99999]}, None),
        ("completions", {"prompt": ["a"] * 129}, "prompt"),
        ("completions", {"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
        ("completions", {"prompt": "a", "logprobs": 21}, "logprobs"),
        ("embeddings", {}, "input"),
        ("embeddings", {"input": []}, None),
        ("embeddings", {"input": ["a"] * 2049}, None),
        ("embeddings", {"input": [9999]}, "input"),
        ("embeddings", {"input": "a", "dimensions": 0}, "dimensions"),
        ("embeddings", {"input": "a", "dimensions": 33}, "dimensions"),
        ("embeddings", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ("rerank", {"query": "a", "documents": []}, "documents"),
        ("rerank", {"query": "a", "documents": [{"title": "b"}]}, "documents.0"),
        ("tokenize", {"content": "\udfff"}, None),
        ("detokenize", {"tokens": [2**31 - 1]}, None),
        ("apply-template", {"messages": [1]}, "messages.0"),
        *(
            (path, {"messages": ASKED, "chat_template_kwargs": given}, None)
            for path in ("chat/completions", "apply-template")
            for given in ({"messages": []}, {"tools": 1}, {"tokenize": True}, {"self": 1}, ["a"])
        ),
    ],
)  # fmt: skip
def test_mistakes(url: str, path: str, body: Any, param: str | None) -> None:
    for stream in (False, True) if "completions" in path and "stream" not in body else (False,):
        sent = {**body, "stream": True} if stream else body
        headers = {"content-type": "application/json"}
        found = HTTP.post(f"{url}/v1/{path}", content=json.dumps(sent), headers=headers)
        assert found.status_code == 400, found.text
        error = found.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        assert param is None or error["param"] == param


def test_bodies_that_are_no_json(url: str) -> None:
    deep = b'{"messages": ' + b"[" * 100_000
    for content in (b"", b"{", b"[1]", b'"a"', b"\xff\xfe", b"9" * 5000, deep, deep + b"]" * 10**5):
        for path in ("chat/completions", "completions", "embeddings"):
            sent = {"content-type": "application/json"}
            found = HTTP.post(f"{url}/v1/{path}", content=content, headers=sent)
            assert found.status_code == 400, found.text
            assert found.json()["error"]["type"] == "invalid_request_error"
    nested = '{"a":' * 700 + "1" + "}" * 700
    body = f'{{"messages": [{{"role": "user", "content": "a", "b": {nested}}}]}}'
    found = HTTP.post(f"{url}/v1/chat/completions", content=body, headers=sent)
    assert found.status_code == 400


def test_what_is_wrong_is_said(url: str) -> None:
    def said(path: str, content: bytes, kind: str = "application/json") -> str:
        found = HTTP.post(f"{url}/v1/{path}", content=content, headers={"content-type": kind})
        assert found.status_code == 400
        return str(found.json()["error"]["message"])

    assert said("completions", b"{").startswith("the body is no JSON: ")
    assert "Content-Type: application/json" in said("completions", b"{}", "text/plain")
    many = json.dumps({"input": ["a"] * 2049}).encode()
    assert "at most 2048 items" in said("embeddings", many)


def test_the_classes_of_the_client(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="small", messages=ASKED, temperature=3)
        assert caught.value.param == "temperature"
        long: list[Any] = [{"role": "user", "content": "word " * 400}]
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="700") as caught:
                client.chat.completions.create(model="small", messages=long, stream=stream)
            assert caught.value.code == "context_length_exceeded"
        with pytest.raises(openai.APIStatusError, match="Method Not Allowed") as told:
            client.models.delete("small")
        assert (told.value.status_code, told.value.code) == (405, "method_not_allowed")
    with (
        openai.OpenAI(base_url=f"{url}/v2", api_key="any", max_retries=0) as client,
        pytest.raises(openai.NotFoundError),
    ):
        client.models.list()


def test_what_the_suites_of_clients_send(url: str) -> None:
    """The least, the largest and the strangest values that they expect 200 for."""
    functions = [{"name": "name", "description": "d", "parameters": {"foo": "bar"}}]
    chat = {
        "messages": [{"content": "string", "role": "developer", "name": "name"}],
        "model": "gpt-5.4", "audio": {"format": "wav", "voice": "alloy"},
        "frequency_penalty": -2, "function_call": "none", "functions": functions,
        "logit_bias": {"foo": 0}, "logprobs": True, "max_completion_tokens": 0, "max_tokens": 0,
        "metadata": {"foo": "string"}, "modalities": ["text"], "n": 1, "parallel_tool_calls": True,
        "prediction": {"content": "string", "type": "content"}, "presence_penalty": -2,
        "prompt_cache_key": "a", "reasoning_effort": "none", "response_format": {"type": "text"},
        "safety_identifier": "a", "seed": -9007199254740991, "service_tier": "auto", "stop": "\n",
        "store": True, "stream_options": {"include_obfuscation": True, "include_usage": True},
        "temperature": 1, "tool_choice": "none",
        "tools": [{"function": {**functions[0], "strict": True}, "type": "function"}],
        "top_logprobs": 0, "top_p": 1, "user": "user-1234", "verbosity": "low",
        "web_search_options": {"search_context_size": "low"}, "citation_options": "enabled",
        "documents": [{"source": {"text": "text", "type": "text"}, "id": "id"}],
    }  # fmt: skip
    completion = {
        "model": "string", "prompt": "This is a test.", "best_of": 0, "echo": True,
        "frequency_penalty": -2, "logit_bias": {"foo": 0}, "logprobs": 0, "max_tokens": 16, "n": 1,
        "presence_penalty": -2, "seed": 0, "stop": "\n", "suffix": "test.", "temperature": 1,
        "top_p": 1, "user": "user-1234",
    }  # fmt: skip
    embedding = {
        "input": "The quick brown fox", "model": "text-embedding-3-small", "dimensions": 1,
        "encoding_format": "float", "user": "user-1234",
    }  # fmt: skip
    for path, body in (
        ("chat/completions", chat), ("completions", completion), ("embeddings", embedding),
    ):  # fmt: skip
        nulls = {
            name: None for name in body if name not in ("messages", "prompt", "input")
        }  # and what is left out as null
        for prefix in ("", "/v1", "/openai/v1"):
            found = HTTP.post(f"{url}{prefix}/{path}", json=body)
            assert found.status_code == 200, found.text
        found = HTTP.post(f"{url}/v1/{path}", json={**body, **nulls, "max_tokens": 1})
        assert found.status_code == 200, found.text
        if path != "embeddings":
            found = HTTP.post(f"{url}/v1/{path}", json={**body, "stream": True})
            assert found.status_code == 200
            assert found.text.endswith("data: [DONE]\n\n")
            assert '"error"' not in found.text
    assert HTTP.get(f"{url}/v1/models/gpt-4o-mini").status_code == 200
