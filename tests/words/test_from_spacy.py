"""Vectors from spaCy and into it, and floret, against spaCy's own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import FormatError, KeyedVectors
from firth.words import Floret

WORDS = ["the", "naïve", "Straße", "DATE", "NOUN", "a\u00a0b", "x" * 30]


@pytest.fixture
def vectors() -> KeyedVectors:
    made = KeyedVectors(6)
    made.add_vectors(WORDS, np.random.default_rng(0).standard_normal((len(WORDS), 6)))
    return made


def table() -> Floret:
    rows = np.random.default_rng(3).standard_normal((50, 6)).astype(np.float32)
    return Floret(rows, 2, 4, hash_count=3, hash_seed=2166136261, bow="<", eow=">")


def test_folder(vectors: KeyedVectors, tmp_path: Path) -> None:
    vectors.to_spacy(tmp_path / "vectors")
    got = KeyedVectors.from_spacy(tmp_path / "vectors")
    assert got.index_to_key == WORDS
    np.testing.assert_array_equal(got.vectors, vectors.vectors)


@pytest.mark.parametrize("dtype", ["f2", "f8", "i1"])
def test_smaller_numbers_go_over_as_what_they_stand_for(
    vectors: KeyedVectors, tmp_path: Path, dtype: str
) -> None:
    stored = vectors.astype(dtype)
    want = np.stack([stored.get_vector(word) for word in WORDS]).astype(np.float32)
    stored.to_spacy(tmp_path / "vectors")
    np.testing.assert_array_equal(KeyedVectors.from_spacy(tmp_path / "vectors").vectors, want)
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    stored.to_spacy(nlp)
    np.testing.assert_array_equal(nlp.vocab["the"].vector, want[0])


def test_rows_without_a_word_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to_spacy: rows without a key"):
        KeyedVectors(3, count=2).to_spacy(tmp_path)


def test_what_is_not_spacys(vectors: KeyedVectors, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"directory: '.*/none'$"):
        KeyedVectors.from_spacy(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "empty" / "vocab").mkdir(parents=True)
    for name in ("file", "empty", "empty/vocab"):
        with pytest.raises(FormatError, match=f"{name}: is not a folder of spaCy's vectors"):
            KeyedVectors.from_spacy(tmp_path / name)
    for source in (None, 3, vectors):
        with pytest.raises(TypeError, match=f"from_spacy: .* got {type(source).__name__}$"):
            KeyedVectors.from_spacy(source)


def test_floret_files(tmp_path: Path) -> None:
    ours = table()
    assert repr(ours) == "Floret<50 rows, vector_size=6, n-grams of 2 to 4>"
    ours.save(tmp_path / "x.floret")
    assert (tmp_path / "x.floret").read_text().startswith("50 6 2 4 3 2166136261 < >\n0 ")
    ours.to_spacy(tmp_path / "folder")
    for name in ("x.floret", "folder"):
        got = Floret.load(tmp_path / name)
        np.testing.assert_array_equal(got.vectors, ours.vectors)
        np.testing.assert_array_equal(got["unheard"], ours["unheard"])
    with pytest.raises(FormatError, match="without words"):
        KeyedVectors.from_spacy(tmp_path / "folder")
    some = ours.vectors_for_all(["king", "queen", "king"])
    assert some.index_to_key == ["king", "queen"]
    assert not ours[""].any()
    whole = (tmp_path / "x.floret").read_bytes()
    path = tmp_path / "y"
    for data in (
        whole.replace(b" 2 4 3", b" 5 4 3", 1), whole.replace(b" 3 2166", b" 9 2166", 1),
        whole.replace(b"50 6", b"51 6", 1), whole.replace(b"\n7 ", b"\n8 ", 1),
        whole.replace(b"50 6 2", b"50 x 2", 1), b"", b"1 2\na 1 2\n",
    ):  # fmt: skip
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rows that are there twice
            with pytest.raises(FormatError):
                Floret.load(path)
    # A cut within the last number only loses digits.
    for length in range(0, whole.rindex(b"\n49 "), 101):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            Floret.load(path)


@pytest.fixture
def nlp() -> Any:
    return pytest.importorskip("spacy").blank("en")


@pytest.mark.peer
def test_into_and_out_of_a_pipeline(vectors: KeyedVectors, nlp: Any, tmp_path: Path) -> None:
    vectors.to_spacy(nlp)
    for word in WORDS:
        np.testing.assert_array_equal(nlp.vocab[word].vector, vectors[word])
    nlp.to_disk(tmp_path / "pipeline")
    nlp.vocab.vectors.to_disk(tmp_path / "only")
    for source in (
        nlp,
        nlp.vocab,
        tmp_path / "pipeline",
        tmp_path / "pipeline" / "vocab",
        tmp_path / "only",
    ):
        got = KeyedVectors.from_spacy(source)
        assert got.index_to_key == WORDS
        np.testing.assert_array_equal(got.vectors, vectors.vectors)


@pytest.mark.peer
def test_spacy_reads_our_folder(vectors: KeyedVectors, nlp: Any, tmp_path: Path) -> None:
    from spacy.vectors import Vectors

    vectors.to_spacy(tmp_path)
    theirs = Vectors(strings=nlp.vocab.strings).from_disk(tmp_path)
    for word in WORDS:
        np.testing.assert_array_equal(theirs[word], vectors[word])
        assert word in nlp.vocab.strings


@pytest.mark.peer
def test_words_that_share_a_row(vectors: KeyedVectors, nlp: Any) -> None:
    vectors.to_spacy(nlp)
    nlp.vocab.vectors.add("again", row=nlp.vocab.vectors.find(key="the"))
    nlp.vocab.strings.add("again")
    got = KeyedVectors.from_spacy(nlp)
    np.testing.assert_array_equal(got["again"], got["the"])


@pytest.mark.peer
def test_floret_is_spacys(nlp: Any, tmp_path: Path) -> None:
    from spacy.vectors import Vectors

    ours = table()
    words = ["king", "naïve", "a", "\u4e2d\u6587", "x" * 40]
    ours.to_spacy(nlp)
    ours.to_spacy(tmp_path)
    for theirs in (nlp.vocab.vectors, Vectors(strings=nlp.vocab.strings).from_disk(tmp_path)):
        for word in words:
            nlp.vocab.strings.add(word)
            # Means of up to 3 * 130 float32 rows, added in another order.
            np.testing.assert_allclose(ours[word], theirs[word], atol=400 * 6e-8 * 4)
    nlp.vocab.vectors.to_disk(tmp_path / "theirs")
    np.testing.assert_array_equal(Floret.load(tmp_path / "theirs").vectors, ours.vectors)
