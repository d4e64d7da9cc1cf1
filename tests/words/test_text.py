"""Texts as means of word vectors, against spaCy's Doc."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth import KeyedVectors, Text, Word2Vec
from keyed import make


def test_vector_and_similarity() -> None:
    kv = make()
    text = Text(kv, ["w1", "w2", "missing"])
    want = (kv["w1"].astype(float) + kv["w2"]) / 3
    np.testing.assert_allclose(text.vector, want, rtol=1e-6, atol=1e-6)
    assert text.vector_norm == pytest.approx(np.linalg.norm(want), rel=1e-6)
    assert text.has_vector
    assert len(text) == 3
    other = Text(kv, "w3 w4, w5")
    assert other.tokens == ["w3", "w4", ",", "w5"]
    assert text.similarity(other) == pytest.approx(other.similarity(text))
    assert text.similarity(Text(kv, "w1 w2 missing")) == 1
    unknown = Text(kv, "nothing here")
    assert not unknown.has_vector
    assert (unknown.vector == 0).all()
    with pytest.warns(UserWarning, match="similar to nothing"):
        assert text.similarity(unknown) == 0
    assert Text(kv, "").vector.shape == (20,)
    assert Text(KeyedVectors(3), "a").vector.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "got"), [(None, "NoneType"), (3, "int"), (["w1", 3], "int"), (b"w1", "int")]
)
def test_what_is_no_text(text: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"Text: .* must be str.*, got {got}"):
        Text(make(), text)


def test_what_is_no_vectors_and_no_other_text() -> None:
    model = Word2Vec([["w1", "w2"]], min_count=1, vector_size=4)
    with pytest.raises(TypeError, match="vectors must be KeyedVectors, got Word2Vec; its wv are"):
        Text(model, "w1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="similarity: other must be a Text, got str"):
        Text(model.wv, "w1").similarity("w1")  # type: ignore[arg-type]


@pytest.mark.peer
def test_spacy_gives_the_same() -> None:
    spacy = pytest.importorskip("spacy")
    tokens = pytest.importorskip("spacy.tokens")
    kv = make(60, 30)
    nlp = spacy.blank("en")
    for key in kv.index_to_key:
        nlp.vocab.set_vector(key, kv[key])
    rng = np.random.default_rng(0)
    texts = [[f"w{row}" for row in rng.integers(0, 75, n)] for n in (1, 2, 5, 30, 30)]
    docs = [tokens.Doc(nlp.vocab, words=words) for words in texts]
    mine = [Text(kv, words) for words in texts]
    for doc, text in zip(docs, mine, strict=True):
        np.testing.assert_allclose(text.vector, doc.vector, rtol=1e-5, atol=1e-6)
        assert text.vector_norm == pytest.approx(float(doc.vector_norm), rel=1e-5)
        assert text.has_vector == doc.has_vector
        for other, theirs in zip(mine, docs, strict=True):
            if doc.vector_norm and theirs.vector_norm:
                assert text.similarity(other) == pytest.approx(doc.similarity(theirs), abs=1e-5)
