"""Masked words, pairs, classes, labels, answers: transformers' pipelines and plain loops agree."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from encoder_models import SMALL, arrays_of, write_folder
from firth.encoders import answer_span, classify, fill_mask, label_tokens, next_sentence
from firth.encoders.models import Model

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

WORDS = """[PAD] [UNK] [CLS] [SEP] [MASK] he went to the bank deposit money . , river ##side ##s and
sat on it was wide closed ? who what where a b c d e f g h"""
VOCABULARY = WORDS.split()
TEXT = "He went to the bank, and the riverside was wide."


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY))
    return transformers.BertTokenizerFast(str(path))


def make(cls: type[Model], folder: Path, kind: str = "bert", **fields: Any) -> tuple[Any, Any]:
    """A model of ours, and theirs."""
    config = SMALL[kind] | {"pad_token_id": 0} | fields
    write_folder(folder, config, arrays_of(cls, config))
    theirs = getattr(transformers, cls.__name__).from_pretrained(folder).eval()
    return cls.from_pretrained(folder), theirs


def test_fill_mask(tokenizer: Any, tmp_path: Path) -> None:
    ours, theirs = make(firth.BertForMaskedLM, tmp_path, vocab_size=len(VOCABULARY))
    pipeline = transformers.pipeline("fill-mask", model=theirs, tokenizer=tokenizer)
    for text in ("He went to the [MASK].", "The [MASK] was [MASK], it was wide."):
        got, want = fill_mask(ours, tokenizer, text, 7), pipeline(text, top_k=7)
        many = text.count("[MASK]") > 1
        for mine, other in zip(got if many else [got], want if many else [want], strict=True):
            assert [one["token"] for one in mine] == [one["token"] for one in other]
            np.testing.assert_allclose(
                [one["score"] for one in mine], [one["score"] for one in other], rtol=1e-4
            )
            assert [one["token_str"] for one in mine] == [one["token_str"] for one in other]
            if not many:
                assert [one["sequence"] for one in mine] == [one["sequence"] for one in other]
    with pytest.raises(ValueError, match=r"the text must have a mask, \[MASK\]"):
        fill_mask(ours, tokenizer, TEXT)
    with pytest.raises(ValueError, match="top_k must be"):
        fill_mask(ours, tokenizer, "[MASK]", 0)
    with pytest.raises(ValueError, match="a text of 53 tokens, but the model has positions for 40"):
        fill_mask(ours, tokenizer, "[MASK] " + "the " * 50)
    with pytest.raises(TypeError, match="fill_mask: a AutoModel has no head for it"):
        fill_mask(firth.AutoModel.from_pretrained(tmp_path), tokenizer, "[MASK]")


def test_next_sentence(tokenizer: Any, tmp_path: Path) -> None:
    for cls in (firth.BertForNextSentencePrediction, firth.BertForPreTraining):
        ours, theirs = make(cls, tmp_path, vocab_size=len(VOCABULARY))
        pair = ("He went to the bank.", "It was closed.")
        with torch.no_grad():
            scores = theirs(**tokenizer(*pair, return_tensors="pt"))
        name = "logits" if "logits" in scores else "seq_relationship_logits"
        want = float(scores[name].softmax(-1)[0, 0])
        assert next_sentence(ours, tokenizer, *pair) == pytest.approx(want, rel=1e-4)
        assert next_sentence(ours, tokenizer, *pair[::-1]) != pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize(
    "fields",
    [
        {"id2label": {"0": "bad", "1": "good", "2": "dull"}},
        {"num_labels": 3, "problem_type": "multi_label_classification"},
        {"num_labels": 1},
        {"num_labels": 1, "problem_type": "regression"},
        {"num_labels": 3, "problem_type": "single_label_classification"},
    ],
)
@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_classify(kind: str, fields: dict[str, Any], tokenizer: Any, tmp_path: Path) -> None:
    fields = fields | {"classifier_pooling": "mean"} if kind == "modernbert" else fields
    cls = firth.AutoModelForSequenceClassification
    ours, theirs = make(cls, tmp_path, kind, vocab_size=len(VOCABULARY), **fields)
    pipeline = transformers.pipeline("text-classification", model=theirs, tokenizer=tokenizer)
    texts = [TEXT, "It was closed.", "", "a b c " * 10, TEXT]
    got = classify(ours, tokenizer, texts)
    for mine, text in zip(got, texts, strict=True):
        other = pipeline(text, top_k=None)
        assert [one["label"] for one in mine] == [one["label"] for one in other]
        np.testing.assert_allclose(
            [one["score"] for one in mine], [one["score"] for one in other], rtol=1e-4, atol=1e-4
        )
    assert got[0] == got[4] == classify(ours, tokenizer, TEXT)  # to the bit, alone or not
    assert classify(ours, tokenizer, TEXT, top_k=1) == got[0][:1]
    assert classify(ours, tokenizer, []) == []
    if kind == "bert":
        both = classify(ours, tokenizer, "He went to the bank.", "It was closed.")
        other = pipeline(
            {"text": "He went to the bank.", "text_pair": "It was closed."}, top_k=None
        )
        assert both[0]["label"] == other[0]["label"]
        assert both[0]["score"] == pytest.approx(other[0]["score"], rel=1e-4, abs=1e-4)


def test_texts_that_are_cut_are_counted(tokenizer: Any, tmp_path: Path) -> None:
    cls = firth.AutoModelForSequenceClassification
    ours, _ = make(cls, tmp_path, vocab_size=len(VOCABULARY))
    long = "the bank " * 40
    with pytest.warns(UserWarning, match="2 of 3 texts have more than 40 tokens and were cut"):
        got = classify(ours, tokenizer, [long, "he", long])
    assert got[0] == classify(ours, tokenizer, "the bank " * 19)
    with pytest.raises(ValueError, match="classify: 1 pairs for 2 texts"):
        classify(ours, tokenizer, ["a", "b"], ["c"])


@pytest.mark.parametrize("group", [False, True])
def test_label_tokens(group: bool, tokenizer: Any, tmp_path: Path) -> None:
    labels = dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))
    fields = {"id2label": labels, "vocab_size": len(VOCABULARY)}
    ours, theirs = make(firth.BertForTokenClassification, tmp_path, **fields)
    pipeline = transformers.pipeline(
        "token-classification", model=theirs, tokenizer=tokenizer,
        aggregation_strategy="simple" if group else "none",
    )  # fmt: skip
    found = 0
    for text in (TEXT, "He sat on it, and it was wide.", "", "the river and the riverside"):
        got, want = label_tokens(ours, tokenizer, text, group), pipeline(text)
        name = "entity_group" if group else "entity"
        assert [one["label"] for one in got] == [one[name] for one in want]
        for key in ("start", "end"):
            assert [one[key] for one in got] == [one[key] for one in want]
        scores = [[one["score"] for one in many] for many in (got, want)]
        np.testing.assert_allclose(*scores, rtol=1e-4)
        assert all(one["word"] == text[one["start"] : one["end"]] for one in got)
        found += len(got)
    assert found > 10


def test_groups_of_labels_without_beginnings(tokenizer: Any, tmp_path: Path) -> None:
    labels = {0: "O", 1: "PER", 2: "LOC"}
    fields = {"id2label": labels, "vocab_size": len(VOCABULARY)}
    ours, _ = make(firth.BertForTokenClassification, tmp_path, **fields)
    each, grouped = (label_tokens(ours, tokenizer, TEXT, group) for group in (False, True))
    assert len(grouped) < len(each)
    for one in grouped:
        parts = [p for p in each if one["start"] <= p["start"] and p["end"] <= one["end"]]
        assert {p["label"] for p in parts} == {one["label"]}
        assert one["score"] == pytest.approx(np.mean([p["score"] for p in parts]))


def plain_answers(
    theirs: Any, tokenizer: Any, question: str, context: str, most: int
) -> list[tuple[float, str]]:
    """Every span by its probability, where all fits into the model."""
    encoded = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
    offsets, inside = encoded.pop("offset_mapping")[0], encoded.sequence_ids(0)
    with torch.no_grad():
        out = theirs(**encoded)
    allowed = torch.tensor([part == 1 for part in inside])
    start, end = (
        scores[0].double().masked_fill(~allowed, -np.inf).softmax(-1)
        for scores in (out.start_logits, out.end_logits)
    )
    places = np.flatnonzero(allowed)
    spans = [
        (float(start[i] * end[j]), context[offsets[i][0] : offsets[j][1]])
        for i in places
        for j in places
        if i <= j < i + most
    ]
    return sorted(spans, key=lambda span: -span[0])


def test_answer_span(tokenizer: Any, tmp_path: Path) -> None:
    cls = firth.BertForQuestionAnswering
    ours, theirs = make(cls, tmp_path, vocab_size=len(VOCABULARY))
    question, context = "Where was the bank?", "He went to the bank, it was closed, and the river"
    for most in (1, 3, 15):
        want = plain_answers(theirs, tokenizer, question, context, most)
        got = answer_span(ours, tokenizer, question, context, max_tokens=most)
        assert got["answer"] == want[0][1] == context[got["start"] : got["end"]]
        assert got["score"] == pytest.approx(want[0][0], rel=1e-4)
    many = answer_span(ours, tokenizer, question, context, top_k=4, max_tokens=2)
    assert len(many) == 4
    assert [one["score"] for one in many] == sorted((one["score"] for one in many), reverse=True)
    spans = sorted((one["start"], one["end"]) for one in many)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert answer_span(ours, tokenizer, question, "") is None
    assert answer_span(ours, tokenizer, question, "", top_k=2) == []
    with pytest.raises(ValueError, match="leaves no room for the context among 40 tokens"):
        answer_span(ours, tokenizer, "the " * 40, context)


@pytest.mark.filterwarnings("ignore:Token indices")
def test_answers_in_long_contexts(tokenizer: Any, tmp_path: Path) -> None:
    """Windows that overlap by half: each span of up to half a window is in one of them."""
    cls = firth.BertForQuestionAnswering
    ours, theirs = make(cls, tmp_path, vocab_size=len(VOCABULARY))
    rng = np.random.default_rng(0)
    words = [word for word in VOCABULARY[5:] if re.fullmatch("[a-z]+", word)]
    context = " ".join(rng.choice(words, 100))
    got = answer_span(ours, tokenizer, "Who?", context, max_tokens=5)
    assert context[got["start"] : got["end"]] == got["answer"]
    assert 1 <= len(got["answer"].split()) <= 5
    # 36 tokens beside [CLS] who ? [SEP] ... [SEP]: 35 of the context.
    best = -np.inf
    parts = context.split()
    for begin in [*range(0, 65, 17), 65]:
        encoded = tokenizer("Who?", " ".join(parts[begin : begin + 35]), return_tensors="pt")
        assert encoded["input_ids"].shape[1] == 40
        with torch.no_grad():
            out = theirs(**encoded)
        for i in range(4, 39):
            for j in range(i, min(i + 5, 39)):
                score = float(out.start_logits[0, i] + out.end_logits[0, j])
                if score > best:
                    best, answer = score, " ".join(parts[begin + i - 4 : begin + j - 3])
    assert got["answer"] == answer
