"""What a newcomer meets first: empty and tiny corpora, wrong arguments; the messages say why."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth.errors import FormatError
from firth.formats import container
from firth.words import Phrases

_MODELS = [firth.Word2Vec, firth.FastText, firth.GloVe]


@pytest.mark.parametrize("model", _MODELS)
@pytest.mark.parametrize("corpus", [[], [[], []]])
def test_a_corpus_without_words(model: Any, corpus: list[list[str]]) -> None:
    with pytest.raises(RuntimeError, match=r"the corpus has no words$"):
        model(corpus)


@pytest.mark.parametrize("model", _MODELS)
def test_a_corpus_of_rare_words(model: Any) -> None:
    with pytest.raises(RuntimeError, match="no word occurs min_count=5 times"):
        model([["a"]])


@pytest.mark.parametrize("model", _MODELS)
def test_no_corpus_yet(model: Any) -> None:
    with pytest.raises(RuntimeError, match="call build_vocab first"):
        model().train([["a"]])


def test_arguments_of_vectors() -> None:
    for size in ("3", None, [3]):
        with pytest.raises(TypeError, match="KeyedVectors: vector_size must be a whole number"):
            firth.KeyedVectors(size)  # type: ignore[arg-type]
    for number in (0, -1, 2.5, float("nan"), 2**31):
        with pytest.raises(ValueError, match="KeyedVectors: vector_size must be a whole number"):
            firth.KeyedVectors(number)  # type: ignore[arg-type]
    for count in (-1, 0.5, 2**60):
        with pytest.raises(ValueError, match="KeyedVectors: count must be a whole number"):
            firth.KeyedVectors(3, count=count)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="KeyedVectors: count must be a whole number"):
        firth.KeyedVectors(3, count="3")  # type: ignore[arg-type]
    assert firth.KeyedVectors(np.int64(3), np.uint8(2)).vectors.shape == (2, 3)  # type: ignore[arg-type]


def test_rows_without_a_key_are_not_saved(tmp_path: Path) -> None:
    kv = firth.KeyedVectors(5, count=3)
    kv.add_vector("a", np.ones(5))
    with pytest.raises(TypeError, match="save: 2 of 3 rows have no key: count= allocated them"):
        kv.save(tmp_path / "x")
    assert not (tmp_path / "x").exists()
    kv.add_vectors(["b", "c"], np.ones((2, 5)))
    kv.save(tmp_path / "x")
    assert firth.KeyedVectors.load(tmp_path / "x").index_to_key == ["a", "b", "c"]


def test_vectors_without_numbers_in_a_file(tmp_path: Path) -> None:
    """The file is wrong, not an argument of the caller."""
    path = tmp_path / "x"
    arrays = {"vectors": np.zeros((2, 0), np.float32), "integer_keys": np.zeros(0, np.int64)}
    container.write(path, "keyedvectors", arrays, {}, {"keys": ["a", "b"]})
    with pytest.raises(FormatError, match=r"\(2, 0\) float32 vectors"):
        firth.KeyedVectors.load(path)


@pytest.mark.parametrize("name", ["threshold", "min_count", "max_vocab_size", "delimiter"])
@pytest.mark.parametrize("value", [[], None, b"x"])
def test_arguments_of_phrases(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"Phrases: {name} must be"):
        Phrases(**{name: value})


@pytest.mark.parametrize("name", ["threshold", "min_count", "max_vocab_size"])
def test_phrases_of_nan(name: str) -> None:
    with pytest.raises(ValueError, match=f"Phrases: {name} must be"):
        Phrases(**{name: float("nan")})


def test_phrases_of_strings() -> None:
    with pytest.warns(UserWarning, match="Each 'sentences' item should be a list of words"):
        assert Phrases(["a b"]).corpus_word_count == 3
    with pytest.raises(TypeError, match="for a file use LineSentence"):
        Phrases("a b")
    with pytest.raises(TypeError, match="Phrases: sentences must be an iterable"):
        Phrases(5)  # type: ignore[arg-type]
    assert Phrases(iter([["a", "b"]])).corpus_word_count == 2


@pytest.mark.parametrize("model", [firth.Word2Vec, firth.FastText])
def test_nothing_left_to_train(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings = {"min_count": 1, "vector_size": 4, "epochs": 3}
    toy = [["a", "b", "c", "d"]] * 3
    trained = model(toy, **settings)
    assert np.isnan(trained.epoch_losses).all()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "no pair of words was trained" in record.getMessage()
    assert record.getMessage().endswith("sample=0 keeps all")
    caplog.clear()
    trained = model(toy, sample=0, **settings)
    assert np.isfinite(trained.epoch_losses).all()
    assert not caplog.records
    model([["a"], ["b"]], sample=0, **settings)
    assert caplog.records[0].getMessage().endswith("no sentence has two words of the vocabulary")


class _Changing:
    """A corpus that has other sentences from its ``last`` iteration on."""

    def __init__(self, last: int, before: int, after: int) -> None:
        self.left, self.sizes = last, (before, after)

    def __iter__(self) -> Iterator[list[str]]:
        self.left -= 1
        return iter([["a", "b", "c"]] * self.sizes[self.left < 0])


def _iterations() -> int:
    """How often a corpus is begun until it has been counted."""
    corpus = _Changing(100, 50, 50)
    model = firth.Word2Vec(min_count=1, vector_size=4)
    model.build_vocab(corpus)
    return 100 - corpus.left


_WORD2VEC = {"epochs": 2, "sample": 0, "negatives": "shared", "workers": 1}


@pytest.mark.parametrize("after", [30, 80, 50])
@pytest.mark.parametrize(
    ("model", "settings", "want"),
    [(firth.Word2Vec, _WORD2VEC, "about {} instead of 150 in each epoch"),
     (firth.GloVe, {"epochs": 1}, ": {} of the vocabulary instead of 150.")],
)  # fmt: skip
def test_a_corpus_that_changes(
    after: int, model: Any, settings: Any, want: str, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = _Changing(_iterations(), 50, after)
    model(corpus, min_count=1, vector_size=4, **settings)
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == (after != 50)
    assert all(want.format(3 * after) in message for message in found)


@pytest.mark.parametrize("more", [{"max_vocab_size": 2}, {"null_word": 1}, {"max_final_vocab": 3}])
def test_a_corpus_that_does_not_change(
    more: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    text = [["a", "b", "c", f"w{i}"] for i in range(50)] * 2
    for model in (firth.Word2Vec, firth.FastText):
        model(text, min_count=1, vector_size=4, sample=0, **more)
    assert not caplog.records


@pytest.mark.parametrize(
    ("word", "shown"), [('"assert"', "'\"assert\"'"), ("it,", '"it,"'), ("'x'", "\"'x'\"")]
)
def test_the_hint_quotes_once(word: str, shown: str) -> None:
    from firth.words.preprocessing import looks_raw

    signs = looks_raw([word])
    assert signs is not None
    assert signs.endswith(f"end in punctuation, as {shown}")
