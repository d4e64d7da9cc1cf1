"""CausalLM on a small random model with a token for each byte.

(Above 500 lines: one small test for each promise of its methods.)
"""

from __future__ import annotations

import copy
import json
import math
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from causal_models import CONTEXT, TEMPLATE, WIDTH, write, write_gpt2
from firth import CausalLM, FormatError
from firth.formats import gguf
from firth.formats.blocks import BlockArray, block_type
from firth.generators import Generation
from firth.generators.constraints import Constraints
from firth.generators.decoding import CHUNK
from firth.generators.loading import load
from firth.generators.tokenizer import GeneratorTokenizer

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    return CausalLM.from_pretrained(write(tmp_path_factory.mktemp("model") / "small.gguf"))


def test_what_a_model_says_of_itself(model: CausalLM) -> None:
    assert repr(model) == "CausalLM<llama, 2 layers of 64, context of 700 tokens>"
    assert model.context == CONTEXT
    assert model.config.model_type == "llama"


def test_greedy_text_is_what_the_logits_say(model: CausalLM) -> None:
    ids = model.tokenizer.encode("a text")
    want = list(ids)
    for _ in range(12):
        want.append(int(model.logits(want)[-1].argmax()))
    found = model.generate("a text", 12, ignore_eos=True, return_ids=True)
    assert found == want[len(ids) :]
    assert model.generate(ids, 12, ignore_eos=True, return_ids=True) == found
    assert model.generate("a text", 12, ignore_eos=True) == model.tokenizer.decode(
        found, skip_special_tokens=True
    )


OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.8, "seed": 3},
    {"temperature": 1.5, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "seed": 1},
    {"repetition_penalty": 1.3, "frequency_penalty": 0.5, "presence_penalty": 0.1},
    {"logit_bias": {97: 50.0}},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_speed_changes_no_text(model: CausalLM, options: dict[str, Any]) -> None:
    prompts = ["one", "a longer beginning, " * 30, "two"]
    options = options | {"max_new_tokens": 40, "ignore_eos": True, "return_ids": True}
    plain = {"speculation": False, "use_prefix_cache": False}
    want = [model.generate(prompt, **options, **plain) for prompt in prompts]
    assert [len(ids) for ids in want] == [40] * 3
    assert [model.generate(prompt, **options) for prompt in prompts] == want
    assert [model.generate(prompt, **options) for prompt in prompts] == want
    assert model.generate(prompts, **options) == want


def test_bias_and_several_continuations(model: CausalLM) -> None:
    assert model.generate("x", 5, logit_bias={ord("a"): 1e9}) == "aaaaa"
    texts = model.generate("x", 20, temperature=1.0, seed=7, n=3, ignore_eos=True)
    assert len(set(texts)) == 3
    for i, text in enumerate(texts):
        assert model.generate("x", 20, temperature=1.0, seed=7 + i, ignore_eos=True) == text
    pairs = model.generate(["x", "y"], 4, temperature=1.0, n=2)
    assert [len(pair) for pair in pairs] == [2, 2]


def test_streams(model: CausalLM) -> None:
    whole = model.generate("stream", 60, ignore_eos=True, temperature=1.0, seed=0)
    pieces = list(
        model.generate("stream", 60, ignore_eos=True, temperature=1.0, seed=0, stream=True)
    )
    assert "".join(pieces) == whole
    assert len(pieces) > 5
    assert all(pieces)
    begun = model.generate("stream", 60, stream=True)
    next(begun)
    begun.close()
    begun.close()
    assert list(begun) == []
    assert model.generate("stream", 60, ignore_eos=True, temperature=1.0, seed=0) == whole


def test_what_is_broken_off_is_known_to_the_next_text(
    model: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = model.tokenizer.encode("A text that nobody has begun before, ")
    options: dict[str, Any] = {"ignore_eos": True, "use_prefix_cache": False, "return_ids": True}
    want = model.generate(ids, 40, **options)

    def reused(new: int) -> int:
        found = model.generate([*ids, *want[:new]], 1, logprobs=0)
        return int(found.reused_tokens)

    begun = model.generate(ids, 40, stream=True, ignore_eos=True)
    while begun.new_tokens < 10:
        next(begun)
    known = len(ids) + begun.new_tokens - 1
    begun.close()
    assert reused(40) == known
    step, steps = model._decoder.step, iter(range(40))

    def interrupted(texts: Any) -> Any:
        found = step(texts)
        if next(steps) == 20:
            raise KeyboardInterrupt  # as if it came before anybody has seen the tokens
        return found

    monkeypatch.setattr(model._decoder, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.generate(ids, 40, ignore_eos=True)
    monkeypatch.undo()
    assert reused(40) > known + 5
    assert thread_finds_it_free(model._lock)
    assert model.generate(ids, 40, ignore_eos=True, return_ids=True) == want
    model.generate(ids, 40, stream=True)  # never begun
    assert thread_finds_it_free(model._lock)


def test_runs_that_join_and_leave_others(model: CausalLM) -> None:
    prompts = ["one", "a longer beginning, " * 30, "two", "three"]
    options: dict[str, Any] = {"ignore_eos": True, "temperature": 1.0, "seed": 3}
    want = [model.generate(prompt, 30, **options) for prompt in prompts]
    batch = model.batch()
    assert not batch.step()
    runs = [
        run for prompt in prompts for run in model.generate(prompt, 30, **options, return_runs=True)
    ]
    found = dict.fromkeys(runs, "")
    waiting = list(runs)
    for i in range(200):
        if waiting and i % 5 == 0:
            batch.join(waiting.pop())
        if i == 8:
            assert batch.runs[0] is runs[3]
            batch.leave(runs[3])  # in the middle
        batch.step()
        for run in list(batch.runs):
            found[run] += run.taken()
            if run.text and run.text.finished:
                found[run] += run.end()
                batch.leave(run)
    assert batch.runs == []
    assert [found[run] for run in runs[:3]] == want[:3]
    assert want[3].startswith(found[runs[3]])
    assert 0 < len(runs[3].text.ids) - runs[3].text.prompt < 30


def test_what_fails_in_a_run_ends_that_run_alone(model: CausalLM) -> None:
    want = model.generate("beside", 20, ignore_eos=True)
    batch = model.batch()
    runs = model.generate(["fails", "beside"], 20, ignore_eos=True, return_runs=True)
    for run in runs:
        batch.join(run)
    choose, calls = runs[0].text._choose, iter(range(99))

    def failing(row: Any) -> Any:
        if next(calls) == 5:
            raise ValueError("no more")
        return choose(row)

    runs[0].text._choose = failing
    while batch.step():
        pass
    assert runs[0].text.finished == "error"
    with pytest.raises(ValueError, match="no more"):
        runs[0].taken()
    assert runs[1].taken() + runs[1].end() == want
    for run in runs:
        batch.leave(run)
    with pytest.raises(ValueError, match="all forbidden"):  # generate raises it, too
        model.generate("fails", 20, logit_bias=dict.fromkeys(range(259), -math.inf))


def thread_finds_it_free(lock: Any) -> bool:
    found = []

    def take() -> None:
        found.append(lock.acquire(timeout=5))
        lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return bool(found[0])


def test_other_ends(model: CausalLM) -> None:
    always_b: dict[str, Any] = {"logit_bias": {ord("b"): 1e9}, "logprobs": 0}
    for ends in (ord("b"), [ord("a"), ord("b")]):
        found = model.generate("x", 10, eos_token_id=ends, **always_b)
        assert (found.text, found.finish_reason, found.ids) == ("", "stop", [ord("b")])
    found = model.generate("x", 3, eos_token_id=[], **always_b)
    assert (found.text, found.finish_reason) == ("bbb", "length")
    with pytest.raises(ValueError, match="a token must be from 0 to 258, got 259"):
        model.generate("x", eos_token_id=259)


def test_turns_that_end_by_another_token(tmp_path: Path) -> None:
    template = TEMPLATE.replace("<|end|>", "<|user|>")  # one that ends no text by its name
    more = {"tokenizer.chat_template": template}
    model = CausalLM.from_pretrained(write(tmp_path / "model.gguf", more=more))
    assert model.tokenizer.turn_end_ids == [256, 257]
    messages = [{"role": "user", "content": "hello"}]
    ends: dict[str, Any] = {"logit_bias": {257: 1e9}, "logprobs": 0, "max_new_tokens": 5}
    found = model.chat(messages, **ends)
    assert (found.text, found.finish_reason, found.ids) == ("", "stop", [257])
    assert model.chat(messages, ignore_eos=True, **ends).ids == [257] * 5
    prompt = model.tokenizer.apply_chat_template(messages, tokenize=True)
    assert model.generate(prompt, **ends).ids == [257] * 5
    pytest.importorskip("llguidance")
    found = model.chat(messages, regex="a*", **ends)
    assert (found.text, found.ids) == ("", [257])
    found = model.chat(messages, regex="a+", **ends)
    assert (found.text, found.ids) == ("a", [ord("a"), 257])
    assert model.generate(prompt, regex="a*", **ends).ids != [257]


def test_stop_strings_and_ends(model: CausalLM) -> None:
    always_b = {"logit_bias": {ord("b"): 1e9}}
    found = model.generate("x", 10, stop="bbb", logprobs=0, **always_b)
    assert isinstance(found, Generation)
    assert (found.text, found.finish_reason, found.ids) == ("", "stop", [ord("b")] * 3)
    found = model.generate("x", 10, logprobs=0, logit_bias={256: 1e9})
    assert (found.text, found.finish_reason, found.ids) == ("", "stop", [256])
    found = model.generate("x", 4, logprobs=0, logit_bias={256: 1e9}, ignore_eos=True)
    assert (found.finish_reason, found.ids) == ("length", [256] * 4)
    assert model.generate("x", 0) == ""
    several = model.generate(["x", "y"], 10, stop=iter(["bbb"]), n=2, **always_b)
    assert several == [["", ""], ["", ""]]
    with pytest.raises(ValueError, match="stop must be strings"):
        model.generate("x", stop=5)  # type: ignore[arg-type]


def test_log_probabilities(model: CausalLM) -> None:
    found = model.generate("some text", 6, logprobs=3, ignore_eos=True)
    ids = model.tokenizer.encode("some text")
    assert (found.prompt_tokens, len(found.logprobs)) == (len(ids), 6)
    rows = model.logits(ids + found.ids)[len(ids) - 1 : -1].astype(np.float64)
    for row, token_id, value, top in zip(
        rows, found.ids, found.logprobs, found.top_logprobs, strict=True
    ):
        shares = row - row.max() - math.log(np.exp(row - row.max()).sum())
        assert value == pytest.approx(shares[token_id], abs=1e-9)
        assert [one.id for one in top] == np.argsort(-shares, kind="stable")[:3].tolist()
    again = model.generate("some text", 6, logprobs=3, ignore_eos=True)
    assert again.reused_tokens == len(ids) - 1
    assert again.logprobs == found.logprobs


def test_scores(model: CausalLM) -> None:
    text = "Some text, of which each byte is a token. " * 14
    found = model.score(text)
    rows = model.logits(found.ids).astype(np.float64)
    assert len(found.ids) > CHUNK
    want = [
        row[i] - row.max() - math.log(np.exp(row - row.max()).sum())
        for row, i in zip(rows, found.ids[1:], strict=False)
    ]
    np.testing.assert_allclose(found.logprobs, want, atol=1e-9)
    assert found.perplexity == pytest.approx(math.exp(-np.mean(want)))
    assert math.isnan(model.score("a").perplexity)
    for after in (2, 100, len(found.ids), 100, 50):  # with and without what is known of it
        behind = model.score(text, after)
        assert behind.ids == found.ids
        np.testing.assert_array_equal(behind.logprobs, found.logprobs[after - 1 :])
    for after in (0, len(found.ids) + 1):
        with pytest.raises(ValueError, match="after must be a whole number from 1 to 588"):
            model.score(text, after)
    assert model.score("").ids == []


def test_vectors_of_texts(model: CausalLM) -> None:
    found = model.embed(["one text", "another", ""])
    assert found.shape == (3, WIDTH)
    np.testing.assert_array_equal(found[1], model.embed("another"))
    assert not found[2].any()
    assert abs(found[0] - found[1]).max() > 0.01


def test_conversations(model: CausalLM) -> None:
    messages = [{"role": "user", "content": "hello <|end|>"}]
    ids = model.tokenizer.apply_chat_template(messages, tokenize=True)
    assert ids[0] == 257
    assert ids[-2:] == [256, 258]
    assert ids.count(256) == 1  # what a user writes stays text
    options: dict[str, Any] = {"max_new_tokens": 15, "ignore_eos": True}
    assert model.chat(messages, **options) == model.generate(ids, **options)
    assert "".join(model.chat(messages, stream=True, **options)) == model.chat(messages, **options)
    with pytest.raises(ValueError, match="role"):
        model.chat([{"role": "", "content": ""}])


def test_variables_of_the_template(tmp_path: Path) -> None:
    template = TEMPLATE + "{% if enable_thinking is false %}no{% endif %}"
    path = write(tmp_path / "model.gguf", more={"tokenizer.chat_template": template})
    model = CausalLM.from_pretrained(path)
    apply = model.tokenizer.apply_chat_template
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "I am"}]
    options: dict[str, Any] = {"max_new_tokens": 8, "ignore_eos": True}
    prompts = []
    for given in ({}, {"enable_thinking": False}, {"continue_final_message": True},
                  {"add_generation_prompt": False}, {"eos_token": "other"}):  # fmt: skip
        prompts.append(apply(chat, **given))
        found = model.chat(chat, chat_template_kwargs=given, **options)
        assert found == model.generate(apply(chat, tokenize=True, **given), **options)
    assert prompts[1] == prompts[0] + "no"
    assert prompts[2] == "<|user|>a<|end|><|assistant|>I am"
    assert prompts[0] == prompts[3] + "<|assistant|>"


def test_variables_of_templates_that_are_none(model: CausalLM) -> None:
    messages = [{"role": "user", "content": "x"}]
    for given in ("x", {1: 2}, [1]):
        with pytest.raises(TypeError, match="chat_template_kwargs must be a dict with names"):
            model.chat(messages, chat_template_kwargs=given)
    with pytest.raises(ValueError, match="chat_template_kwargs must not have messages, tools"):
        model.chat(messages, chat_template_kwargs={"tools": [], "messages": []})


def test_constrained_text(model: CausalLM) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "kind": {"enum": ["cat", "dog"]},
        },
        "required": ["age", "kind"],
        "additionalProperties": False,
    }
    for seed in range(5):
        text = model.generate("x", 200, temperature=1.0, seed=seed, json_schema=schema)
        value = json.loads(text)
        assert isinstance(value["age"], int)
        assert value["kind"] in ("cat", "dog")
    assert model.generate("x", choices=["yes", "no"]) in ("yes", "no")
    assert model.generate("x", regex="[0-9]{3}").isdigit()
    texts = model.generate(["x", "y"], n=2, temperature=1.0, choices=["yes", "no"])
    assert {text for pair in texts for text in pair} <= {"yes", "no"}
    assert model.generate("x", choices=np.array(["yes", "no"])) in ("yes", "no")
    assert model.generate("x", 4, json_object=False, stop=None) == model.generate("x", 4)
    for one in (257, 258):  # a control token, and no other
        ids = model.generate("x", grammar=f'start: "a" <[{one}]> "b"', return_ids=True)
        assert ids[:3] == [ord("a"), one, ord("b")]
        constraint = Constraints(model.tokenizer, 259)(grammar=f'start: "a" <[{one}]> "b"')
        constraint.accept(ord("a"))
        assert np.flatnonzero(constraint.allowed()).tolist() == [one]
        grammar = f'start: TEXT | TEXT <[{one}]> "b"\nTEXT: /(.|\\n)*/'  # beside text
        constraint = Constraints(model.tokenizer, 259)(grammar=grammar)
        assert np.flatnonzero(constraint.allowed()[256:]).tolist() == [0, one - 256]


def test_prompts_of_any_form(model: CausalLM) -> None:
    texts = ["one", "two", "three"]
    want = model.generate(texts, 4)
    assert model.generate((text for text in texts), 4) == want
    assert model.generate(map(str, texts), 4) == want
    assert model.generate(np.array(texts), 4) == want
    ids = model.tokenizer.encode("one")
    assert model.generate(iter(ids), 4) == model.generate(np.array(ids), 4) == want[0]


def test_models_are_loaded_again_in_each_process(model: CausalLM) -> None:
    for one in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied: use from_pretrained"):
            one(model)
    chat = [{"role": "user", "content": "hello <|end|>"}]
    want = model.tokenizer.apply_chat_template(chat, tokenize=True)
    again = pickle.loads(pickle.dumps(model.tokenizer))
    assert again.apply_chat_template(chat, tokenize=True) == want
    assert again.decode(want) == model.tokenizer.decode(want)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prompt": ""}, ValueError, "the prompt is empty"),
        ({"prompt": []}, ValueError, "the prompt is empty"),
        ({"prompt": None}, TypeError, "prompt must be tokens or texts, got None"),
        ({"prompt": 5}, TypeError, "prompt must be tokens or texts, got 5"),
        ({"prompt": b"abc"}, TypeError, "prompt must be tokens or texts, got b'abc'"),
        ({"prompt": ["abc", 5]}, TypeError, r"prompt\[1\] must be a text as others are, got 5"),
        ({"prompt": [5, "abc"]}, TypeError, r"prompt\[0\] must be a text as others are, got 5"),
        ({"prompt": [259]}, ValueError, "a token must be from 0 to 258, got 259"),
        ({"prompt": [-1]}, ValueError, "a token must be from 0 to 258, got -1"),
        ({"prompt": [1.5]}, ValueError, "a token must be from 0 to 258, got 1.5"),
        (
            {"prompt": "a" * CONTEXT},
            ValueError,
            "the prompt has 700 tokens and the context 700: no room for another one",
        ),
        ({"max_new_tokens": -1}, ValueError, "max_new_tokens must be a whole number"),
        ({"temperature": -1.0}, ValueError, "temperature must be a number"),
        ({"n": 0}, ValueError, "n must be a whole number"),
        ({"logprobs": 260}, ValueError, "logprobs must be a whole number"),
        ({"logit_bias": {300: 1.0}}, ValueError, "logit_bias"),
        ({"stream": True, "n": 2}, ValueError, "stream gives the text of a single continuation"),
        ({"stop": [""]}, ValueError, "stop must be strings that are not empty"),
        ({"stop": 5}, ValueError, "stop must be strings that are not empty, got 5"),
        ({"regex": "["}, ValueError, "regex"),
        ({"json_schema": False}, ValueError, "json_schema is false: it matches no text"),
        ({"json_object": {}}, TypeError, "json_object must be True or False"),
        ({"regex": "a", "choices": ["b"]}, ValueError, "a constraint is one of"),
    ],
)
def test_bad_arguments(
    model: CausalLM, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.generate(**{"prompt": "x"} | arguments)


def test_texts_that_are_none(model: CausalLM) -> None:
    for call, name in ((model.score, "score: ids"), (model.embed, "embed: texts"),
                       (model.logits, "logits: ids")):  # fmt: skip
        for bad in (None, b"abc", 5):
            with pytest.raises(TypeError, match=f"{name} must be tokens or texts"):
                call(bad)
    assert model.embed([]).shape == (0, WIDTH)


def test_texts_that_are_too_long(model: CausalLM) -> None:
    for call in (model.score, model.embed):
        with pytest.raises(ValueError, match="the text has 701 tokens and the context 700"):
            call("a" * (CONTEXT + 1))
    with pytest.raises(ValueError, match="the text has 701 tokens and the context 700"):
        model.logits([1] * (CONTEXT + 1))
    assert len(model.generate("a" * (CONTEXT - 3), 50, ignore_eos=True, return_ids=True)) == 3
    assert model.logits([]).shape == (0, 259)


def test_attentions(tmp_path: Path) -> None:
    """Shares of what came before, as the reference in float64 has them."""
    model = CausalLM.from_pretrained(write(tmp_path / "small.gguf", "F16"))
    ids = model.tokenizer.encode("A cat sat.")
    found = model.attentions(ids)
    assert found.shape == (2, 4, len(ids), len(ids))
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    assert not np.triu(found, 1).any()
    with firth.kernels.use("numpy"):
        wanted = model.attentions(ids)
    # float32 on the way: its rounding, for as many terms as a product of this width has
    np.testing.assert_allclose(found, wanted, atol=np.finfo(np.float32).eps * 2 * WIDTH)
    with pytest.raises(ValueError, match="from 0 to 258, got 999"):
        model.attentions([999])
    with pytest.raises(ValueError, match="attentions: the text has 701 tokens"):
        model.attentions([1] * (CONTEXT + 1))


def test_products_of_bytes_and_kinds_of_caches(tmp_path: Path) -> None:
    path = write(tmp_path / "small.gguf", "F16")
    exact, ids = load(path).logits(np.arange(90)), list(range(90))
    differences = [
        abs(CausalLM.from_pretrained(path, **options).logits(ids) - exact).mean()
        for options in (
            {"cache_type": "float32"}, {}, {"cache_type": "float16"}, {"compute_type": "int8"},
        )
    ]  # fmt: skip
    # The table of tokens is in Q8_0, so keys are in float16 unless told otherwise.
    assert differences[0] < differences[1] == differences[2] < differences[3] / 4
    assert differences[3] < 0.05 * exact.std()  # inputs have 127 steps
    assert CausalLM.from_pretrained(path, compute_type="int8")._stack.native.nbytes < (
        0.6 * CausalLM.from_pretrained(path)._stack.native.nbytes
    )
    for name in ("compute_type", "cache_type"):
        with pytest.raises(ValueError, match=rf"CausalLM: {name} must be one of .*, got 'int4'"):
            CausalLM.from_pretrained(path, **{name: "int4"})  # type: ignore[arg-type]


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        CausalLM.from_pretrained(tmp_path / "missing.gguf")
    with pytest.raises(FormatError, match=r"general\.architecture"):
        CausalLM.from_pretrained(
            write(tmp_path / "other.gguf", more={"general.architecture": "mamba"})
        )


def test_shorter_contexts(tmp_path: Path) -> None:
    path = write(tmp_path / "small.gguf")
    short, whole = CausalLM.from_pretrained(path, context=20), CausalLM.from_pretrained(path)
    assert (short.context, whole.context) == (20, CONTEXT)
    assert short.generate("some text", 8) == whole.generate("some text", 8)
    with pytest.raises(ValueError, match="the prompt has 20 tokens and the context 20"):
        short.generate("a" * 20)
    for context in (0, CONTEXT + 1):
        with pytest.raises(ValueError, match="context must be a whole number from 1 to 700"):
            CausalLM.from_pretrained(path, context)


def test_longer_contexts_of_scaled_positions(tmp_path: Path) -> None:
    """The file says what was trained, or what scaling makes of it; both may be asked for."""
    yarn = {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}
    path = write(tmp_path / "yarn.gguf", more=yarn)
    assert CausalLM.from_pretrained(path).context == CONTEXT
    assert CausalLM.from_pretrained(path, 4 * CONTEXT).context == 4 * CONTEXT
    with pytest.raises(ValueError, match="from 1 to 2800, got 2801"):
        CausalLM.from_pretrained(path, 4 * CONTEXT + 1)
    path = write(tmp_path / "dynamic.gguf", more=yarn | {"llama.rope.scaling.type": "dynamic"})
    assert CausalLM.from_pretrained(path, CONTEXT).context == CONTEXT
    with pytest.raises(ValueError, match=r"from 1 to 700, got 701: .* the type 'dynamic' change"):
        CausalLM.from_pretrained(path, CONTEXT + 1)


def test_contexts_of_learned_positions(tmp_path: Path) -> None:
    path = write_gpt2(tmp_path / "gpt2.gguf")
    assert CausalLM.from_pretrained(path).context == 30
    short = CausalLM.from_pretrained(path, 10)
    assert short.context == 10
    with pytest.raises(ValueError, match="the text has 11 tokens and the context 10"):
        short.logits([1] * 11)
    assert len(short.generate([1] * 8, return_ids=True, ignore_eos=True)) == 2
    with pytest.raises(ValueError, match="context must be a whole number from 1 to 30, got 31"):
        CausalLM.from_pretrained(path, 31)


def test_tokenizers_with_more_tokens_than_the_model(tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "small.gguf"))
    assert loaded.metadata is not None
    tokens, types = loaded.metadata["tokenizer.ggml.tokens"], [*[1] * 256, 3, 3, 3]
    for type in (1, 3):  # control tokens may lie behind: text never becomes them
        more = {
            "tokenizer.ggml.tokens": [*tokens, "xy"],
            "tokenizer.ggml.token_type": np.array([*types, type], np.int32),
        }
        tokenizer = GeneratorTokenizer.from_gguf(loaded.metadata | more)
        if type == 3:
            assert CausalLM(loaded, tokenizer).generate("a", 2, ignore_eos=True)
            continue
        with pytest.raises(FormatError, match="the tokenizer has ids up to 259, the model 259"):
            CausalLM(loaded, tokenizer)


def test_blocks_that_do_not_run_are_named(model: CausalLM, tmp_path: Path) -> None:
    kind, file = block_type("IQ4_XS"), gguf.read(write(tmp_path / "small.gguf"))
    sizes = {"ffn_down": (64, 256), "ffn_up": (256, 64), "ffn_gate": (256, 64)}
    arrays = dict(file.arrays)
    for name, shape in sizes.items():
        for i in range(2):
            arrays[f"blk.{i}.{name}.weight"] = np.zeros(shape, np.float32)
    blocks = BlockArray(np.zeros((64, kind.bytes), np.uint8), kind)
    arrays["blk.1.ffn_down.weight"] = blocks
    path = tmp_path / "other.gguf"
    gguf.write(path, file.metadata | {"llama.feed_forward_length": 256}, arrays)
    match = r"array 'blk\.1\.ffn_down\.weight' is of type IQ4_XS, models run .* quantize"
    with pytest.raises(FormatError, match=match):
        CausalLM(load(path), model.tokenizer)
