"""Masked words, pairs, classes, labels, answers: transformers' pipelines say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from encoder_models import SMALL, VOCABULARY, arrays_of, write_folder
from firth.encoders import classify, fill_mask, label_tokens, next_sentence
from firth.encoders.models import Model

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

TEXT = "He went to the bank, and the riverside was wide."


tokenizer = firth.BertTokenizer({word: i for i, word in enumerate(VOCABULARY)})


@pytest.fixture(scope="module")
def their_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY))
    return transformers.BertTokenizerFast(str(path))


def make(cls: type[Model], folder: Path, kind: str = "bert", **fields: Any) -> tuple[Any, Any]:
    """A model of ours, and theirs."""
    config = SMALL[kind] | {"pad_token_id": 0} | fields
    write_folder(folder, config, arrays_of(cls, config))
    theirs = getattr(transformers, cls.__name__).from_pretrained(folder).eval()
    return cls.from_pretrained(folder), theirs


def test_fill_mask(their_tokenizer: Any, tmp_path: Path) -> None:
    ours, theirs = make(firth.BertForMaskedLM, tmp_path, vocab_size=len(VOCABULARY))
    pipeline = transformers.pipeline("fill-mask", model=theirs, tokenizer=their_tokenizer)
    for text in ("He went to the [MASK].", "The [MASK] was [MASK], it was wide."):
        got, want = fill_mask(ours, tokenizer, text, 7), pipeline(text, top_k=7)
        many = text.count("[MASK]") > 1
        for mine, other in zip(got if many else [got], want if many else [want], strict=True):
            assert [one["token"] for one in mine] == [one["token"] for one in other]
            np.testing.assert_allclose(
                [one["score"] for one in mine], [one["score"] for one in other], rtol=1e-4
            )
            assert [one["token_str"] for one in mine] == [one["token_str"] for one in other]
            assert [one["sequence"] for one in mine] == [one["sequence"] for one in other]


def test_next_sentence(their_tokenizer: Any, tmp_path: Path) -> None:
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
def test_classify(kind: str, fields: dict[str, Any], their_tokenizer: Any, tmp_path: Path) -> None:
    fields = fields | {"classifier_pooling": "mean"} if kind == "modernbert" else fields
    cls = firth.AutoModelForSequenceClassification
    ours, theirs = make(cls, tmp_path, kind, vocab_size=len(VOCABULARY), **fields)
    pipeline = transformers.pipeline("text-classification", model=theirs, tokenizer=their_tokenizer)
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


@pytest.mark.parametrize("group", [False, True])
def test_label_tokens(group: bool, their_tokenizer: Any, tmp_path: Path) -> None:
    labels = dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))
    fields = {"id2label": labels, "vocab_size": len(VOCABULARY)}
    ours, theirs = make(firth.BertForTokenClassification, tmp_path, **fields)
    pipeline = transformers.pipeline(
        "token-classification", model=theirs, tokenizer=their_tokenizer,
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
