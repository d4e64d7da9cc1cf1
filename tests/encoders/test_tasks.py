"""Masked words, pairs, classes, labels, answers: against what the models' outputs say, in loops."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

import firth
from encoder_models import SMALL, VOCABULARY, arrays_of
from firth import kernels
from firth.encoders import (
    answer_span,
    classify,
    contextual_vectors,
    fill_mask,
    label_tokens,
    next_sentence,
    show_attention,
    tasks,
)
from firth.encoders.models import Model

tokenizer = firth.BertTokenizer({word: i for i, word in enumerate(VOCABULARY)})
TEXT = "He went to the bank, and the riverside was wide."


def make(cls: type[Model], kind: str = "bert", **fields: Any) -> Any:
    config = SMALL[kind] | {"pad_token_id": 0, "vocab_size": len(VOCABULARY)} | fields
    return cls(config, arrays_of(cls, config))


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Whether two results are equal, to the bit where products do not depend on the batch."""
    error = 0 if kernels.active().startswith("native") else 1e-5
    return [each["label"] for each in one] == [each["label"] for each in other] and all(
        a["score"] == pytest.approx(b["score"], rel=error, abs=0)
        for a, b in zip(one, other, strict=True)
    )


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64))
    return powers / powers.sum(-1, keepdims=True)


def test_fill_mask() -> None:
    model = make(firth.BertForMaskedLM)
    text = "He went to the [MASK], it was [MASK]."
    encoded = tokenizer(text, return_tensors="np")
    places = np.flatnonzero(encoded["input_ids"][0] == tokenizer.mask_token_id)
    chances = softmax(model(**encoded).logits[0, places])
    found = fill_mask(model, tokenizer, text, 4)
    assert [len(each) for each in found] == [4, 4]
    for each, row in zip(found, chances, strict=True):
        assert [one["token"] for one in each] == np.argsort(-row)[:4].tolist()
        np.testing.assert_allclose(
            [one["score"] for one in each], np.sort(row)[::-1][:4], rtol=1e-5
        )
        assert [one["token_str"] for one in each] == [VOCABULARY[one["token"]] for one in each]
    one = fill_mask(model, tokenizer, "He went to the [MASK].", 1)[0]
    assert one["sequence"] == tokenizer.decode(
        [*tokenizer("He went to the")["input_ids"][1:-1], one["token"], VOCABULARY.index(".")]
    )
    pretraining = make(firth.BertForPreTraining)
    assert len(fill_mask(pretraining, tokenizer, "[MASK]")) == 5


def test_bad_masks() -> None:
    model = make(firth.BertForMaskedLM)
    with pytest.raises(ValueError, match=r"the text must have a mask, \[MASK\]"):
        fill_mask(model, tokenizer, TEXT)
    with pytest.raises(ValueError, match="top_k must be"):
        fill_mask(model, tokenizer, "[MASK]", 0)
    with pytest.raises(ValueError, match="a text of 53 tokens, but the model has positions for 40"):
        fill_mask(model, tokenizer, "[MASK] " + "the " * 50)


@pytest.mark.parametrize("task", [fill_mask, classify, label_tokens])
def test_models_without_the_head(task: Any) -> None:
    with pytest.raises(TypeError, match=f"{task.__name__}: an? AutoModel has no head for it"):
        task(make(firth.AutoModel), tokenizer, "[MASK]")


def test_next_sentence() -> None:
    pair = ("He went to the bank.", "It was closed.")
    for cls in (firth.BertForNextSentencePrediction, firth.BertForPreTraining):
        model = make(cls)
        want = softmax(model(**tokenizer(*pair, return_tensors="np"))[-1])[0, 0]
        assert next_sentence(model, tokenizer, *pair) == pytest.approx(want, rel=1e-5)
        assert next_sentence(model, tokenizer, *pair[::-1]) != pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_classify(kind: str) -> None:
    labels = {"0": "bad", "1": "good", "2": "dull"}
    pooling = {"classifier_pooling": "mean"} if kind == "modernbert" else {}
    model = make(firth.AutoModelForSequenceClassification, kind, id2label=labels, **pooling)
    texts = [TEXT, "It was closed.", "", "a b c " * 10, TEXT]
    found = classify(model, tokenizer, texts)
    for each, text in zip(found, texts, strict=True):
        encoded = tokenizer(text, return_tensors="np")
        chances = softmax(model(encoded["input_ids"], encoded["attention_mask"]).logits[0])
        assert [one["label"] for one in each] == [labels[str(i)] for i in np.argsort(-chances)]
        got = [one["score"] for one in each]
        np.testing.assert_allclose(got, np.sort(chances)[::-1], rtol=1e-4)
    assert same(found[0], found[4])
    assert same(found[0], classify(model, tokenizer, TEXT))
    assert same(found[0][:2], classify(model, tokenizer, TEXT, top_k=2))
    assert classify(model, tokenizer, []) == []
    both = classify(model, tokenizer, [TEXT, "a"], ["It was closed.", "b"])
    assert same(both[0], classify(model, tokenizer, TEXT, "It was closed."))
    assert not same(both[0], found[0])
    with pytest.raises(ValueError, match="classify: 1 pairs for 2 texts"):
        classify(model, tokenizer, ["a", "b"], ["c"])


def test_scores_of_each_kind() -> None:
    cls, kind = firth.AutoModelForSequenceClassification, "multi_label_classification"
    raw = make(cls, num_labels=3)(**tokenizer(TEXT, return_tensors="np")).logits[0]
    found = classify(make(cls, num_labels=3, problem_type=kind), tokenizer, TEXT)
    got = {one["label"]: one["score"] for one in found}
    for i, score in enumerate(raw):
        assert got[f"LABEL_{i}"] == pytest.approx(1 / (1 + np.exp(-score)), rel=1e-4)
    found = classify(make(cls, num_labels=3, problem_type="regression"), tokenizer, TEXT)
    np.testing.assert_allclose([one["score"] for one in found], np.sort(raw)[::-1], rtol=1e-4)
    one = make(cls, num_labels=1)(**tokenizer(TEXT, return_tensors="np")).logits[0, 0]
    found = classify(make(cls, num_labels=1), tokenizer, TEXT)
    assert found[0]["score"] == pytest.approx(1 / (1 + np.exp(-one)), rel=1e-4)


def test_texts_that_are_cut_are_counted() -> None:
    model = make(firth.AutoModelForSequenceClassification)
    long = "the bank " * 40
    with pytest.warns(UserWarning, match="2 of 3 texts have more than 40 tokens and were cut"):
        found = classify(model, tokenizer, [long, "he", long])
    short = classify(model, tokenizer, "the bank " * 19)
    assert same(found[0], short)
    assert same(found[2], short)


def test_label_tokens() -> None:
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    model = make(firth.BertForTokenClassification, id2label=dict(enumerate(names)))
    encoded = tokenizer(TEXT, return_tensors="np", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0]
    chances = softmax(model(**encoded).logits[0])
    want = [
        {"label": names[i], "start": start, "end": end, "word": TEXT[start:end]}
        for i, (start, end) in zip(chances.argmax(-1), offsets.tolist(), strict=True)
        if end > start and names[i] != "O"
    ]
    each = label_tokens(model, tokenizer, TEXT, group=False)
    assert [{k: v for k, v in one.items() if k != "score"} for one in each] == want
    grouped = label_tokens(model, tokenizer, TEXT)
    assert sum(one["label"].startswith("B-") for one in each) <= len(grouped) <= len(each)
    for one in grouped:
        parts = [p for p in each if one["start"] <= p["start"] and p["end"] <= one["end"]]
        assert {p["label"][2:] for p in parts} == {one["label"]}
        assert not any(p["label"].startswith("B-") for p in parts[1:])
        assert one["score"] == pytest.approx(np.mean([p["score"] for p in parts]))
        assert one["word"] == TEXT[one["start"] : one["end"]]
    assert label_tokens(model, tokenizer, "") == []


def test_groups_of_labels_without_beginnings() -> None:
    labels = {0: "O", 1: "PER", 2: "LOC"}
    model = make(firth.BertForTokenClassification, id2label=labels)
    each, grouped = (label_tokens(model, tokenizer, TEXT, group) for group in (False, True))
    assert len(grouped) < len(each)
    for one in grouped:
        parts = [p for p in each if one["start"] <= p["start"] and p["end"] <= one["end"]]
        assert {p["label"] for p in parts} == {one["label"]}


def spans(model: Any, question: str, context: str, most: int) -> list[tuple[float, str]]:
    """Every answer by its probability, where all fits into the model."""
    encoded = tokenizer(question, context, return_tensors="np", return_offsets_mapping=True)
    offsets, inside = encoded.pop("offset_mapping")[0], encoded.sequence_ids(0)
    out = model(**encoded)
    places = [i for i, part in enumerate(inside) if part == 1]
    start, end = (softmax(scores[0, places]) for scores in (out.start_logits, out.end_logits))
    found = [
        (start[i] * end[j], context[offsets[places[i]][0] : offsets[places[j]][1]])
        for i in range(len(places))
        for j in range(i, min(i + most, len(places)))
    ]
    return sorted(found, key=lambda span: -span[0])


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_answer_span(kind: str) -> None:
    model = make(firth.AutoModelForQuestionAnswering, kind)
    question, context = "Where was the bank?", "He went to the bank, it was closed, and the river"
    for most in (1, 3, 15):
        want = spans(model, question, context, most)
        found = answer_span(model, tokenizer, question, context, max_tokens=most)
        assert found["answer"] == want[0][1] == context[found["start"] : found["end"]]
        assert found["score"] == pytest.approx(want[0][0], rel=1e-4)
    many = answer_span(model, tokenizer, question, context, top_k=4, max_tokens=2)
    assert len(many) == 4
    assert many[0]["answer"] == spans(model, question, context, 2)[0][1]
    assert [one["score"] for one in many] == sorted((one["score"] for one in many), reverse=True)
    taken = sorted((one["start"], one["end"]) for one in many)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(taken))


def test_no_answer() -> None:
    model = make(firth.BertForQuestionAnswering)
    assert answer_span(model, tokenizer, "Where?", "") is None
    assert answer_span(model, tokenizer, "Where?", "", top_k=2) == []
    with pytest.raises(ValueError, match="leaves no room for the context among 40 tokens"):
        answer_span(model, tokenizer, "the " * 40, "a bank")
    for name in ("top_k", "max_tokens"):
        with pytest.raises(ValueError, match=f"answer_span: {name} must be"):
            answer_span(model, tokenizer, "Where?", "a bank", **{name: 0})


def test_answers_in_long_contexts() -> None:
    """Windows that overlap by half: each span of up to half a window is in one of them."""
    model = make(firth.BertForQuestionAnswering)
    words = [word for word in VOCABULARY[5:] if re.fullmatch("[a-z]+", word)]
    parts = np.random.default_rng(0).choice(words, 100).tolist()
    context = " ".join(parts)
    found = answer_span(model, tokenizer, "Who?", context, max_tokens=5)
    # Beside [CLS] who ? [SEP] ... [SEP] there is room for 35 tokens of the context.
    best, answer = -np.inf, ""
    for begin in [*range(0, 65, 17), 65]:
        encoded = tokenizer("Who?", " ".join(parts[begin : begin + 35]), return_tensors="np")
        assert encoded["input_ids"].shape[1] == 40
        out = model(**encoded)
        for i in range(4, 39):
            for j in range(i, min(i + 5, 39)):
                score = float(out.start_logits[0, i] + out.end_logits[0, j])
                if score > best:
                    best, answer = score, " ".join(parts[begin + i - 4 : begin + j - 3])
    assert found["answer"] == answer == context[found["start"] : found["end"]]


def test_long_contexts_are_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    words = {word: i for i, word in enumerate(VOCABULARY)}
    limited = firth.BertTokenizer(words, model_max_length=40)
    model = make(firth.BertForQuestionAnswering)
    assert answer_span(model, limited, "what?", "the river was wide . " * 20) is not None
    assert not caplog.records


@pytest.mark.parametrize("wrong", [None, b"a", 3, [None], ["a", 3], [b"a"]])
def test_what_is_no_text(wrong: Any) -> None:
    masked, pair = make(firth.BertForMaskedLM), make(firth.BertForNextSentencePrediction)
    labels, span = make(firth.BertForTokenClassification), make(firth.BertForQuestionAnswering)
    classes, bare = make(firth.BertForSequenceClassification), make(firth.BertModel)
    for call in (
        lambda: fill_mask(masked, tokenizer, wrong),
        lambda: next_sentence(pair, tokenizer, wrong, "a"),
        lambda: next_sentence(pair, tokenizer, "a", wrong),
        lambda: classify(classes, tokenizer, wrong),
        lambda: classify(classes, tokenizer, ["a"], wrong or 3),
        lambda: label_tokens(labels, tokenizer, wrong),
        lambda: answer_span(span, tokenizer, wrong, "a"),
        lambda: answer_span(span, tokenizer, "a", wrong),
        lambda: show_attention(bare, tokenizer, wrong),
        lambda: contextual_vectors(bare, tokenizer, [wrong], "a"),
    ):
        with pytest.raises(TypeError, match=r"^\w+: .*must be (a )?str"):
            call()


def test_lone_surrogates_are_one_character() -> None:
    model = make(firth.BertForTokenClassification, id2label={"0": "X", "1": "Y"})
    found = label_tokens(model, tokenizer, "the \ud800 river", group=False)
    assert [(one["word"], one["start"]) for one in found] == [("the", 0), ("river", 6)]
    classes = make(firth.BertForSequenceClassification)
    assert same(classify(classes, tokenizer, "a \udfff"), classify(classes, tokenizer, "a \ufffd"))


def test_windows_are_computed_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, context = make(firth.BertForQuestionAnswering), "he went to the wide river . " * 30
    want = answer_span(model, tokenizer, "where?", context, top_k=5)
    sizes = []
    run = type(model.stack).run
    monkeypatch.setattr(
        type(model.stack), "run", lambda self, b, **o: sizes.append(len(b)) or run(self, b, **o)
    )
    monkeypatch.setattr(tasks, "_TOKENS", 100)
    got = answer_span(model, tokenizer, "where?", context, top_k=5)
    assert max(sizes) == 2
    assert len(sizes) > 3
    for one, other in zip(got, want, strict=True):
        assert one["start"] == other["start"]
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)
