"""Constrained output: what any logits give keeps to the schema; bad schemas end with one line."""

from __future__ import annotations

import json
import random
import re
import signal
from typing import Any

import numpy as np
import pytest

from firth.generators.constraints import Constraint, Constraints, _Vocabulary
from firth.generators.sampling import Sampler, Sampling
from firth.generators.tokenizer import GeneratorTokenizer
from generator_tokenizers import metadata
from random_schemas import keeps, random_schema

BPE = GeneratorTokenizer.from_gguf(metadata("byte_level"))
SPM = GeneratorTokenizer.from_gguf(metadata("spaces_bpe"))
SIZE = len(BPE) + 7  # logits of a model may be more than its tokens


@pytest.fixture(scope="module")
def constraints():
    return Constraints(BPE, SIZE)


def generated(
    constraint: Constraint, seed: int, tokenizer: Any = BPE, size: int = SIZE, most: int = 3000
) -> str:
    """What random logits give, by the sampler; control tokens are the likeliest."""
    noise = np.random.default_rng(seed)
    choose, ids = Sampler(Sampling(seed=seed, temperature=0.7)), []
    while not constraint.is_done:
        logits = noise.normal(0, 2, size).astype(np.float32)
        logits[tokenizer.control_ids] += 5
        forced = constraint.forced()
        allowed = constraint.allowed()
        if forced:
            assert allowed[forced[0]]
        token_id = choose(logits, allowed)
        constraint.accept(token_id)
        ids.append(token_id)
        assert len(ids) < most
    if ids and ids[-1] in tokenizer.eos_token_ids:
        ids.pop()
    assert not set(ids) & set(tokenizer.control_ids)
    return tokenizer.decode(ids)


@pytest.mark.parametrize("seed", range(100))
def test_random_schemas(constraints, seed):
    schema = random_schema(random.Random(seed))
    text = generated(constraints(json_schema=schema), seed)
    assert keeps(json.loads(text), schema), (schema, text)


def test_spaces_of_json(constraints):
    """As json.dumps writes it, so that no model fills the text with spaces."""
    schema = {
        "type": "object", "required": ["a", "b"], "additionalProperties": False,
        "properties": {
            "a": {"const": 1},
            "b": {"type": "array", "items": {"const": 2}, "minItems": 2, "maxItems": 2},
        },
    }  # fmt: skip
    for seed in range(5):
        assert generated(constraints(json_schema=schema), seed) == '{"a": 1, "b": [2, 2]}'


def test_json_object(constraints):
    """Any object; random logits would go on for ever, so these prefer what closes it."""
    constraint = constraints(json_object=True)
    assert not constraint.is_complete
    ids = []
    noise = np.random.default_rng(1)
    closing = [i for i in range(len(BPE)) if set(BPE.token_bytes(i)) & set(b'"}]:')]
    choose = Sampler(Sampling(seed=1))
    while not constraint.is_done:
        logits = noise.normal(0, 1, SIZE).astype(np.float32)
        logits[closing] += min(len(ids) / 4, 15)
        ids.append(choose(logits, constraint.allowed()))
        constraint.accept(ids[-1])
        assert len(ids) < 2000
    assert isinstance(json.loads(BPE.decode(ids, skip_special_tokens=True)), dict)


def test_schemas_of_all_forms(constraints):
    class Model:
        """As Pydantic's classes."""

        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {"const": "x"}

    for given in (Model, {"const": "x"}, '{"const": "x"}'):
        assert generated(constraints(json_schema=given), 0) == '"x"'


def test_a_schema_of_pydantic(constraints):
    pydantic = pytest.importorskip("pydantic")

    class Inner(pydantic.BaseModel):
        kind: str = pydantic.Field(max_length=5)
        next: Inner | None

    class Outer(pydantic.BaseModel):
        size: int = pydantic.Field(ge=0, le=9)
        inner: Inner

    Inner.model_rebuild(_types_namespace={"Inner": Inner})
    Outer.model_rebuild(_types_namespace={"Inner": Inner})
    for seed in range(5):
        Outer.model_validate_json(generated(constraints(json_schema=Outer), seed))


def test_regex_choices_and_grammar(constraints):
    for seed in range(10):
        text = generated(constraints(regex=r"[a-c]{3,5}(\n|é)[0-9]{2}"), seed)
        assert re.fullmatch(r"[a-c]{3,5}(\n|é)[0-9]{2}", text)
        words = ["yes", "no", 'a "quoted" é\n\\ text', "yes, but"]
        assert generated(constraints(choices=words), seed) in words
        lark = 'start: item ("," item)*\nitem: /[0-9]/ | "(" start ")"'
        text = generated(constraints(grammar=lark), seed)
        assert text.count("(") == text.count(")")
        assert set(text) <= set("0123456789,()")
    found = {generated(constraints(choices=words), seed) for seed in range(60)}
    assert len(found) >= 3
    longest = constraints(choices=words)
    for token_id in BPE.encode("yes, but"):
        longest.accept(token_id)
    assert longest.is_done
    assert generated(constraints(choices="just this"), 0) == "just this"
    assert constraints(json_schema=True).allowed().any()


def test_many_choices(constraints):
    words = [f"w{i}" for i in range(5000)]
    found = {generated(constraints(choices=words), seed) for seed in range(20)}
    assert len(found) > 5
    assert found <= set(words)
    array = np.array(["a.b", "a|b"])
    assert {generated(constraints(choices=array), seed) for seed in range(30)} == set(array)
    assert generated(constraints(choices=(one for one in ["only"])), 0) == "only"
    for text in ["".join(map(chr, range(1, 300))), "\\", "(a)*", "a b#-&~", "\n\r\t"]:
        assert generated(constraints(choices=[text]), 0) == text


@pytest.mark.parametrize("call", ["allowed", "forced", "made"])
def test_ctrl_c_within_llguidance(constraints, monkeypatch, call):
    """It comes in Python's part, whose errors llguidance takes for its own."""
    constraint = constraints(regex="forced[0-9]")
    before = constraint.allowed().copy()
    encode = _Vocabulary.__call__
    calls = []

    def interrupted(self, text):
        calls.append(text)
        signal.raise_signal(signal.SIGINT)
        return encode(self, text)

    monkeypatch.setattr(_Vocabulary, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        constraints(regex="forced[0-9]") if call == "made" else getattr(constraint, call)()
    assert calls
    monkeypatch.undo()
    np.testing.assert_array_equal(constraint.allowed(), before)


def test_sentencepiece():
    """Spaces before texts are none of the constraint's."""
    constraints = Constraints(SPM)
    for seed in range(10):
        constraint = constraints(json_schema={"enum": ["a b", "  c", "é"]})
        text = generated(constraint, seed, SPM, len(SPM))
        assert json.loads(text) in ["a b", "  c", "é"]


def test_forced_ids(constraints):
    schema = {"type": "object", "properties": {"temperature": {"type": "boolean"}},
              "required": ["temperature"], "additionalProperties": False}  # fmt: skip
    constraint = constraints(json_schema=schema)
    ids = []
    while forced := constraint.forced():
        for token_id in forced:
            assert constraint.allowed()[token_id]
            constraint.accept(token_id)
            ids.append(token_id)
    assert BPE.decode(ids).startswith('{"temperature":')
    assert not constraint.is_done


def test_states(constraints):
    constraint = constraints(regex="ab?c")
    a, b, c = (BPE.encode(letter)[0] for letter in "abc")
    assert constraint.allowed()[a]
    assert not constraint.allowed()[[b, c]].any()
    assert constraint.allowed().shape == (SIZE,)
    assert not constraint.allowed()[len(BPE) :].any()
    constraint.accept(a)
    assert constraint.allowed()[[b, c]].all()
    other = constraint.copy()
    constraint.accept(b)
    assert not constraint.allowed()[b]
    assert other.allowed()[b]
    constraint.rollback(1)
    assert constraint.allowed()[b]
    assert not constraint.is_complete
    constraint.accept(c)
    assert constraint.is_complete
    assert constraint.is_done
    for token_id in (a, SIZE - 1, 10**6):
        with pytest.raises(ValueError, match=f"regex: id {token_id} cannot come here"):
            other.accept(token_id)
    other.accept(b)  # nothing has changed
    longer = constraints(regex="a+")
    longer.accept(a)
    assert longer.is_complete
    assert not longer.is_done
    assert longer.allowed()[BPE.eos_token_ids].all()
    longer.accept(BPE.eos_token_id)
    assert longer.is_done


# Bad input

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "one of json_object, .*, got nothing"),
        ({"regex": "a", "choices": ["a"]}, "got regex and choices"),
        ({"json_schema": 3}, "json_schema must be an object"),
        ({"json_schema": "{"}, "json_schema is no JSON"),
        ({"json_schema": "[1]"}, "json_schema must be an object"),
        ({"json_schema": {"type": "strin"}}, "Invalid type: strin"),
        ({"json_schema": {"type": {1, 2}}}, "json_schema is no JSON"),
        ({"json_schema": {"$ref": "#"}}, "without end"),
        ({"json_schema": {"$ref": "#/$defs/none"}}, "does not exist"),
        ({"json_schema": {"$ref": "#/$defs/node", "$defs": {"node": NODE}}}, "without end"),
        ({"json_schema": {"anyOf": [{"$ref": "#/anyOf/0"}]}}, "without end"),
        ({"json_schema": {"anyOf": [{"$ref": "#/anyOf/1"}, {"$ref": "#/anyOf/0"}]}}, "without end"),
        ({"json_schema": {"type": "array", "items": {"$ref": "#"}, "minItems": 1}}, "without end"),
        ({"json_schema": {"allOf": [{"$ref": "#"}]}}, "without end"),
        ({"json_schema": {"type": "object", "additionalProperties": {"$ref": "#"},
                          "required": ["a"]}}, "without end"),
        ({"json_schema": nested(200)}, "nested more than 100 deep"),
        ({"json_schema": nested(60_000)}, "nested more than 100 deep"),
        ({"json_schema": '{"items":' * 60_000 + "1" + "}" * 60_000}, "json_schema"),
        ({"json_schema": False}, "json_schema is false: it matches no text"),
        ({"json_schema": "false"}, "json_schema is false: it matches no text"),
        ({"json_schema": {"const": float("nan")}}, "json_schema is no JSON"),
        ({"json_schema": '{"const": NaN}'}, "json_schema is no JSON"),
        ({"json_object": {}}, "json_object must be True or False, got {}"),
        ({"json_object": "no"}, "json_object must be True or False, got 'no'"),
        ({"choices": 5}, "choices must be texts, got 5"),
        ({"json_schema": {"type": "integer", "minimum": 5, "maximum": 3}}, "is greater than"),
        ({"json_schema": {"type": "object", "unevaluatedProperties": False}}, "Unimplemented keys"),
        ({"json_schema": {"enum": list(range(300_000))}}, "json_schema"),
        ({"json_schema": {"enum": []}}, "json_schema"),
        ({"json_schema": {"description": "x" * (1 << 21)}}, "at most 1,048,576"),
        ({"regex": "a("}, "regex: .*unclosed group"),
        ({"regex": "(?=a)b"}, "look-around"),
        ({"regex": "(" * 60_000 + "a" + ")" * 60_000}, "regex"),
        ({"regex": "a[^\\x00-\\U0010ffff]"}, "matches no text|regex"),
        ({"regex": 3}, "regex must be a string"),
        ({"regex": "a" * (1 << 21)}, "at most 1,048,576"),
        ({"choices": []}, "choices must hold at least one text"),
        ({"choices": ["a", ""]}, "choices must be texts that are not empty"),
        ({"choices": [3]}, "choices must be texts that are not empty"),
        ({"grammar": "start: ("}, "grammar: "),
        ({"grammar": "start: missing"}, "grammar: "),
        ({"grammar": "start: start"}, "matches no text"),
        ({"grammar": "start: " + "(" * 60_000 + '"a"' + ")" * 60_000}, "too deeply nested"),
        ({"grammar": ""}, "grammar: "),
    ],
)  # fmt: skip
def test_what_is_refused(constraints, given, problem):
    with pytest.raises((TypeError, ValueError), match=problem) as caught:
        constraints(**given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "given",
    [
        {"regex": "((a{1000}){1000}){1000}"}, {"regex": "a{1000000000}"},
        {"regex": "(a|aa|b){1,100000}c"},
        {"json_schema": {"type": "string", "minLength": 1_000_000_000}},
        {"json_schema": {"type": "array", "items": {"type": "string"}, "minItems": 10**8}},
        {"grammar": 'start: "a" start'},
        {"grammar": 'start: "a"{100000000}'},
    ],
)  # fmt: skip
def test_huge_counts_end(constraints, given):
    """Refused, or the first steps are taken; neither for ever."""
    try:
        constraint = constraints(**given)
        for _ in range(5):
            constraint.accept(int(np.flatnonzero(constraint.allowed())[0]))
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_recursion_that_ends(constraints):
    """What may be left out, or be null, ends."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}},
            "additionalProperties": False}  # fmt: skip
    tree = {"type": "array", "items": {"$ref": "#"}, "maxItems": 1}
    maybe = {"type": "object", "required": ["n"], "additionalProperties": False,
             "properties": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}}  # fmt: skip
    for schema in ({"$ref": "#/$defs/node", "$defs": {"node": node}}, tree, maybe):
        for seed in range(3):
            json.loads(generated(constraints(json_schema=schema), seed))


def test_a_tokenizer_without_an_end():
    found = metadata("byte_level")
    del found["tokenizer.ggml.eos_token_id"]
    found["tokenizer.ggml.tokens"][0] = "<|x|>"
    found["tokenizer.ggml.tokens"][2] = "<|y|>"
    with pytest.raises(ValueError, match="needs a token that ends a text"):
        Constraints(GeneratorTokenizer.from_gguf(found))
