"""Bodies that the server's own description allows, and such that it does not: never 500."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firth.serve.schemas import MOST_CHOICES
from serving import HTTP

ASKED = [{"role": "user", "content": "Hi"}]
BOUNDED = settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = (
    "model", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "frequency_penalty",
    "presence_penalty", "seed", "stop", "n", "logit_bias", "logprobs", "top_logprobs", "tools",
    "tool_choice", "response_format", "functions", "function_call", "stream", "stream_options",
    "parallel_tool_calls", "chat_template_kwargs", "echo", "best_of", "suffix", "dimensions",
    "encoding_format", "user",
)  # fmt: skip
parameters = st.dictionaries(st.sampled_from(NAMES), anything, max_size=3)


def post(url: str, path: str, body: Any) -> httpx.Response:
    sent = {"content-type": "application/json"}
    return HTTP.post(f"{url}/v1/{path}", content=json.dumps(body), headers=sent)


def check(found: httpx.Response) -> None:
    assert found.status_code in (200, 400), found.text
    if found.status_code == 400:
        error = found.json()["error"]
        assert isinstance(error["message"], str)
        assert error["type"] == "invalid_request_error"


@BOUNDED
@given(more=parameters)
def test_any_parameters(url: str, more: dict[str, Any]) -> None:
    check(post(url, "chat/completions", {**more, "messages": ASKED, "max_tokens": 1}))
    check(post(url, "completions", {**more, "prompt": "a", "max_tokens": 1}))
    check(post(url, "embeddings", {**more, "input": "a"}))


message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "?"]) | anything},
    optional={"content": st.text(max_size=9) | anything, "tool_calls": anything, "name": anything},
)


@BOUNDED
@given(messages=st.lists(message, max_size=3) | anything, tools=st.none() | anything)
def test_any_conversation(url: str, messages: Any, tools: Any) -> None:
    body = {"messages": messages, "tools": tools, "max_tokens": 1}
    check(post(url, "chat/completions", body))
    check(post(url, "apply-template", body))


@BOUNDED
@given(body=anything, path=st.sampled_from(["tokenize", "detokenize", "rerank", "embeddings"]))
def test_any_body(url: str, body: Any, path: str) -> None:
    check(post(url, path, body))


sampled = st.fixed_dictionaries({}, optional={
    "temperature": st.floats(0, 2), "top_p": st.floats(0, 1), "top_k": st.integers(-1, 2**31 - 1),
    "min_p": st.floats(0, 1), "repeat_penalty": st.floats(1e-3, 100), "n": st.integers(1, 3),
    "frequency_penalty": st.floats(-2, 2), "presence_penalty": st.floats(-2, 2),
    "seed": st.integers(-(2**63), 2**64 - 1), "stop": st.text(min_size=1, max_size=5).filter(
        lambda text: text.isprintable()
    ),
    "logit_bias": st.dictionaries(st.sampled_from(["65", "a", "256"]), st.floats(-100, 100)),
    "max_tokens": st.integers(0, 5), "user": st.text(max_size=5), "stream": st.booleans(),
})  # fmt: skip


@BOUNDED
@given(body=sampled)
def test_what_is_in_range_is_answered(url: str, body: dict[str, Any]) -> None:
    assert MOST_CHOICES >= 3
    for path, more in (("chat/completions", {"messages": ASKED}), ("completions", {"prompt": "a"})):
        found = post(url, path, {"max_tokens": 4, **body, **more})
        assert found.status_code == 200, found.text
        if body.get("stream"):
            assert found.text.endswith("data: [DONE]\n\n")
            assert '"error"' not in found.text
        else:
            assert len(found.json()["choices"]) == body.get("n", 1)


def test_the_server_s_own_description(app: Any, url: str) -> None:
    """Bodies made of /openapi.json by schemathesis."""
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_dict(app.openapi())
    paths = []
    for result in schema.get_all_operations():
        operation = result.ok()
        paths.append(operation.path)

        @settings(BOUNDED, max_examples=3)
        @given(case=operation.as_strategy())
        def answered(case: Any) -> None:
            if isinstance(case.body, dict):
                case.body["max_tokens"] = 1
            response = case.call(base_url=url)
            assert response.status_code < 500, response.text

        answered()
    assert {"/v1/chat/completions", "/v1/completions", "/v1/embeddings"} <= set(paths)
