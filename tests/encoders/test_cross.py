"""CrossEncoder: scores of pairs, ranks, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import firth
from firth import CrossEncoder, FormatError
from firth.encoders.models import AutoModelForSequenceClassification
from sentence_folders import TEXTS, WORDS, transformer

PAIRS = [(a, b) for a in TEXTS[:4] for b in TEXTS[4:7]]


def load(tmp_path: Path, labels: int = 1, **fields) -> CrossEncoder:
    names = {str(i): f"LABEL_{i}" for i in range(labels)}
    folder = transformer(
        tmp_path / "model", AutoModelForSequenceClassification, id2label=names, **fields
    )
    return CrossEncoder(folder, compute_type="float32")


def logits(model: CrossEncoder, pair: tuple[str, str]) -> np.ndarray:
    """By the class below, from tokens put together by hand."""
    first, second = (model.tokenizer.encode_packed([text])[0] for text in pair)
    ids = [*first, *second[1:]]
    assert [WORDS[ids[0]], WORDS[ids[-1]]] == ["[CLS]", "[SEP]"]
    types = [0] * len(first) + [1] * (len(second) - 1)
    return model.model([ids], token_type_ids=[types]).logits[0]


def test_one_class_gives_the_logistic_function_of_the_score(tmp_path):
    model = load(tmp_path)
    got = model.predict(PAIRS)
    assert (got.shape, got.dtype) == ((12,), np.float32)
    want = [1 / (1 + np.exp(-logits(model, pair)[0].astype(np.float64))) for pair in PAIRS]
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_array_equal([model.predict(pair) for pair in PAIRS], got)
    np.testing.assert_array_equal(model.predict(np.array(PAIRS)), got)
    raw = model.predict(PAIRS, activation_fn=lambda x: x)
    np.testing.assert_allclose(raw, [logits(model, pair)[0] for pair in PAIRS], atol=1e-6)


def test_several_classes_give_scores_of_each(tmp_path):
    model = load(tmp_path, 3)
    got = model.predict(PAIRS)
    assert got.shape == (12, 3)
    np.testing.assert_allclose(got, [logits(model, pair) for pair in PAIRS], atol=1e-6)
    soft = model.predict(PAIRS, apply_softmax=True)
    want = np.exp(got.astype(np.float64))
    np.testing.assert_allclose(soft, want / want.sum(1, keepdims=True), atol=1e-6)
    assert model.predict([]).shape == (0, 3)
    with pytest.raises(ValueError, match="one label"):
        model.rank("a", ["b"])


def test_ranks(tmp_path):
    model = load(tmp_path)
    documents = TEXTS[:6]
    scores = model.predict([("a cat", text) for text in documents])
    got = model.rank("a cat", documents, return_documents=True)
    assert [one["corpus_id"] for one in got] == np.argsort(-scores, kind="stable").tolist()
    json.dumps(got)  # no numbers of NumPy
    assert [one["text"] for one in got] == [documents[one["corpus_id"]] for one in got]
    np.testing.assert_array_equal([one["score"] for one in got], np.sort(scores)[::-1])
    assert [set(one) for one in model.rank("a cat", documents, 2)] == [{"corpus_id", "score"}] * 2


def test_long_pairs_are_cut_the_longer_text_first(tmp_path):
    model = load(tmp_path)
    model.max_length = 10
    with pytest.warns(UserWarning, match="1 of 1 pairs have more than 10 tokens"):
        got = model.predict([("the cat sat on the mat", "a dog")])
    np.testing.assert_array_equal(got, model.predict([("the cat sat on the", "a dog")]))


def test_activation_of_the_configuration(tmp_path):
    fields = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}
    model = load(tmp_path, **fields)
    want = [logits(model, pair)[0] for pair in PAIRS]
    np.testing.assert_allclose(model.predict(PAIRS), want, atol=1e-6)
    odd = {"sbert_ce_default_activation_function": "os.system"}
    with pytest.raises(FormatError, match=r"activation_fn 'os\.system' is none of"):
        load(tmp_path, **odd)


def test_arguments(tmp_path):
    model = load(tmp_path)
    for wrong in (None, 3, "ab", b"x", {"a": "b"}, [("a", None)]):
        with pytest.raises(TypeError, match="must be"):
            model.predict(wrong)
    for wrong in (None, b"ab", {"a": "b"}, [None], [b"a"]):
        with pytest.raises(TypeError, match="must be str, got"):
            model.rank("a", wrong)
    for wrong in ([("a", "b", "c")], ["ab", "cd", "ef"]):
        with pytest.raises(ValueError, match="must be a pair"):
            model.predict(wrong)
    with pytest.raises(ValueError, match="batch_size"):
        model.predict(PAIRS, batch_size=0)
    with pytest.raises(ValueError, match="nosuch"):
        model.predict(PAIRS, nosuch=1)
    with pytest.raises(ValueError, match="num_labels is 1"):
        CrossEncoder(tmp_path / "model", num_labels=2)
    assert firth.CrossEncoder(tmp_path / "model", max_length=7).max_length == 7
