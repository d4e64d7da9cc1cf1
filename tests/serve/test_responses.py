"""The Responses API through OpenAI's client."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from firth import CausalLM
from serving import HTTP

openai = pytest.importorskip("openai")

ASKED: list[Any] = [{"role": "user", "content": "Say something."}]
PARAMETERS = {
    "type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"],
}  # fmt: skip
TOOL: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}
OF_CHATS = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}


@pytest.fixture(scope="module")
def client(url: str) -> Any:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as found:
        yield found


def test_an_answer_is_the_model_s(client: Any, chat_model: CausalLM) -> None:
    want = chat_model.chat(ASKED, max_new_tokens=30, logprobs=0)
    options: dict[str, Any] = {"model": "small", "temperature": 0, "max_output_tokens": 30}
    found = client.responses.create(input="Say something.", **options)
    assert found.output_text == want.text
    assert want.finish_reason == "length"
    assert found.status == "incomplete"
    assert found.incomplete_details.reason == "max_output_tokens"
    assert found.object == "response"
    assert found.model == "small"
    assert found.usage.input_tokens == want.prompt_tokens
    assert found.usage.output_tokens == 30
    parts = [{"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "Say something."}
    ]}]  # fmt: skip
    assert client.responses.create(input=parts, **options).output_text == want.text
    told = client.responses.create(input=ASKED, instructions="Be short.", **options)
    system = {"role": "system", "content": "Be short."}
    assert told.output_text == chat_model.chat([system, *ASKED], max_new_tokens=30)
    turns = [*ASKED, *found.output, {"role": "user", "content": "More."}]
    again = client.responses.create(input=turns, **options)
    said = {"role": "assistant", "content": want.text}
    more = [*ASKED, said, {"role": "user", "content": "More."}]
    assert again.output_text == chat_model.chat(more, max_new_tokens=30)


def test_a_stream(client: Any, chat_model: CausalLM) -> None:
    want = chat_model.chat(ASKED, max_new_tokens=20, temperature=1, seed=2, stop=["~"])
    options: dict[str, Any] = {
        "model": "small", "max_output_tokens": 20, "extra_body": {"seed": 2, "stop": "~"},
    }  # fmt: skip
    events = list(client.responses.create(input=ASKED, stream=True, **options))
    assert [one.sequence_number for one in events] == list(range(len(events)))
    kinds = [one.type for one in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added",
    ]  # fmt: skip
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert kinds[-4:-1] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
    ]  # fmt: skip
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert "".join(one.delta for one in events[4:-4]) == want
    assert events[-4].text == want
    assert events[-1].response.output_text == want
    assert events[-1].response.usage.output_tokens > 0
    assert events[0].response.id == events[-1].response.id
    assert events[0].response.status == "in_progress"
    with client.responses.stream(input=ASKED, **options) as stream:
        texts = [one.snapshot for one in stream if one.type == "response.output_text.delta"]
    assert texts[-1] == want


class City(BaseModel, extra="forbid"):
    name: Literal["Rome", "Oslo"]


def test_formats(client: Any) -> None:
    found = client.responses.parse(model="small", input=ASKED, text_format=City)
    assert found.output_parsed.name in ("Rome", "Oslo")
    assert found.status == "completed"
    with client.responses.stream(model="small", input=ASKED, text_format=City) as stream:
        kinds = [one.type for one in stream]
        assert stream.get_final_response().output_parsed.name in ("Rome", "Oslo")
    assert kinds[-1] == "response.completed"
    objects = client.responses.create(
        model="small", input=ASKED, text={"format": {"type": "json_object"}}, max_output_tokens=9
    )
    assert objects.output_text.lstrip().startswith("{")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
def test_calls(client: Any, chat_model: CausalLM, choice: Any) -> None:
    want = chat_model.chat(ASKED, [OF_CHATS], tool_choice="required").tool_calls[0]["function"]
    given: dict[str, Any] = {
        "model": "small", "input": ASKED, "tools": [TOOL], "tool_choice": choice, "temperature": 0,
    }  # fmt: skip
    found = client.responses.create(**given)
    (call,) = found.output
    assert (call.type, call.name, call.status) == ("function_call", "weather", "completed")
    assert json.loads(call.arguments) == json.loads(want["arguments"])
    events = list(client.responses.create(**given, stream=True))
    pieces = [one.delta for one in events if one.type == "response.function_call_arguments.delta"]
    assert "".join(pieces) == want["arguments"]
    ends = [one for one in events if one.type == "response.function_call_arguments.done"]
    assert [one.arguments for one in ends] == [want["arguments"]]
    with client.responses.stream(**given) as stream:
        assert stream.get_final_response().output[0].arguments == want["arguments"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    more = client.responses.create(
        model="small", input=[*ASKED, call, result], tools=[TOOL], max_output_tokens=5
    )
    assert more.usage.output_tokens <= 5
    assert more.usage.input_tokens > found.usage.input_tokens


def test_async(url: str, chat_model: CausalLM) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=url, api_key="any") as client:
            stream = await client.responses.create(
                model="small", input=ASKED, stream=True, temperature=0, max_output_tokens=12
            )
            kind = "response.output_text.delta"
            return "".join([one.delta async for one in stream if one.type == kind])

    assert asyncio.run(ask()) == chat_model.chat(ASKED, max_new_tokens=12)


@pytest.mark.parametrize("body", [
    {}, {"input": []}, {"input": [1]}, {"input": [{"role": "user"}]}, {"input": "", "top_p": 2},
    {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "a"}]}]},
    {"input": [{"type": "computer_call"}]}, {"input": "Hi", "previous_response_id": "resp_1"},
    {"input": "Hi", "tools": [{"type": "web_search"}]}, {"input": "Hi", "temperature": 3},
    {"input": "Hi", "text": {"format": {"type": "json_schema", "name": "a"}}},
    {"input": "Hi", "text": {"format": 1}}, {"input": "Hi", "tool_choice": "required"},
    {"input": "Hi", "tools": [{"type": "function"}]}, {"input": "word " * 400},
    {"input": [{"type": "reasoning"}]}, {"input": [{"type": "function_call", "name": 1}]},
])  # fmt: skip
def test_mistakes(url: str, body: Any) -> None:
    for stream in (False, True):
        found = HTTP.post(f"{url}/v1/responses", json={**body, "stream": stream})
        assert found.status_code == 400, found.text
        assert found.json()["error"]["type"] == "invalid_request_error"
