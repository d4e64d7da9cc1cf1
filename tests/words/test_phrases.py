"""Phrases: files, errors; gensim as oracle on random sentences."""

from __future__ import annotations

import numpy as np
import pytest

from firth import FormatError
from firth.words.phrases import (
    ENGLISH_CONNECTOR_WORDS,
    FrozenPhrases,
    Phrases,
    original_scorer,
)

SETTINGS = {"min_count": 2, "threshold": 1.0}


def sentences(count, seed=0):
    rng = np.random.default_rng(seed)
    words = np.array(["new", "york", "bank", "of", "the", "a", "river", "and", "sea", "x_y"])
    return [list(map(str, words[rng.zipf(1.4, 12) % 10])) for _ in range(count)]


def test_phrases_of_a_corpus():
    text = [["the", "new", "york", "times"], ["bank", "of", "england"]] * 5 + [["a", "b"]]
    found = Phrases(text, min_count=1, threshold=1, connector_words=ENGLISH_CONNECTOR_WORDS)
    assert found[["bank", "of", "england", "in", "new", "york"]] == [
        "bank_of_england", "in", "new_york",
    ]  # fmt: skip
    assert list(found[text])[1] == ["bank_of_england"]
    assert list(found[iter(text)]) == list(found[text])
    again = Phrases(found[text], min_count=1, threshold=1)
    assert again[["new_york", "times"]] == ["new_york_times"]
    assert found.freeze().phrasegrams == found.export_phrases()


@pytest.mark.parametrize("scoring", ["default", "npmi"])
@pytest.mark.parametrize("cls", [Phrases, FrozenPhrases])
def test_files(tmp_path, cls, scoring):
    text = sentences(60)
    model = Phrases(text, min_count=2, threshold=0.1, scoring=scoring, connector_words={"of"})
    model = model if cls is Phrases else model.freeze()
    model.save(tmp_path / "p")
    loaded = cls.load(tmp_path / "p")
    assert vars(loaded) == vars(model)
    assert list(loaded[text]) == list(model[text])
    if cls is Phrases:
        loaded.add_vocab(text)
        with pytest.raises(FormatError, match="holds a Phrases"):
            FrozenPhrases.load(tmp_path / "p")


def test_what_cannot_be():
    for arguments, text in (
        ({"min_count": 0}, "min_count must be above 0"), ({"threshold": 0}, "above 0"),
        ({"threshold": 2, "scoring": "npmi"}, "from -1 to 1"), ({"scoring": "other"}, "one of"),
        ({"scoring": lambda bigram_count: 1}, "corpus_word_count"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            Phrases(**arguments)

    def own(worda_count, wordb_count, bigram_count, len_vocab, min_count, corpus_word_count):
        return 1

    with pytest.raises(TypeError, match="can be saved"):
        Phrases(scoring=own).save("nowhere")
    assert original_scorer(0, 1, 1, 1, 1, 1) == -np.inf


@pytest.mark.peer
@pytest.mark.parametrize(
    "settings",
    [
        {}, {"scoring": "npmi", "threshold": 0.05}, {"max_vocab_size": 12},
        {"connector_words": ENGLISH_CONNECTOR_WORDS}, {"delimiter": " "},
    ],
)  # fmt: skip
def test_phrases_are_gensims(settings):
    theirs = pytest.importorskip("gensim.models.phrases")
    models = [module(**SETTINGS | settings) for module in (theirs.Phrases, Phrases)]
    for seed in range(3):
        for model in models:
            model.add_vocab(sentences(40, seed))
    want, got = models
    assert got.vocab == want.vocab
    assert got.export_phrases() == want.export_phrases()
    assert got.find_phrases(sentences(30)) == want.find_phrases(sentences(30))
    assert list(got.freeze()[sentences(30)]) == list(want.freeze()[sentences(30)])
    assert theirs.ENGLISH_CONNECTOR_WORDS == ENGLISH_CONNECTOR_WORDS
