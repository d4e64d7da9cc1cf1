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
        ({"min_count": 0}, "min_count must be a number above 0"), ({"threshold": 0}, "above 0"),
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
    exported = got.export_phrases()
    if "delimiter" not in settings:  # gensim loses those of words that hold the delimiter
        assert set(got.find_phrases(sentences(30))) <= set(exported)
        exported = {phrase: score for phrase, score in exported.items() if "x_y" not in phrase}
    assert exported == want.export_phrases()
    assert got.find_phrases(sentences(30)) == want.find_phrases(sentences(30))
    assert list(got.freeze()[sentences(30)]) == list(want[sentences(30)])
    assert theirs.ENGLISH_CONNECTOR_WORDS == ENGLISH_CONNECTOR_WORDS


def test_a_pair_is_not_the_word_it_looks_like():
    text = [["x_y"]] * 8 + [["x", "y"]] + [["z"]] * 8
    model = Phrases(text, min_count=1, scoring="npmi", threshold=-1)
    # one pair of 18 words: log(share / chance) / -log(share), share 1/18, chance 1/18 * 1/18
    assert model.export_phrases() == {"x_y": pytest.approx(1.0)}
    assert model.vocab["x_y"] == 9

    text = [["call", "foo_bar"]] * 10 + [["foo", "x"], ["bar", "y"]] * 3
    model = Phrases(text, min_count=1, threshold=0.1)
    assert "foo_bar" not in model.export_phrases()
    assert model[["foo", "bar"]] == ["foo", "bar"]
    assert model.freeze()[["foo", "bar"]] == ["foo", "bar"]
    assert model[["call", "foo_bar"]] == ["call_foo_bar"]


@pytest.mark.parametrize("delimiter", ["_", " ", "", "y"])
@pytest.mark.parametrize("connectors", [frozenset(), {"of", "a_b"}])
def test_live_frozen_and_saved_agree(tmp_path, delimiter, connectors):
    rng = np.random.default_rng(3)
    words = np.array(
        ["new", "york", "new_york", "city", "york_city", "of", "y", "a_b", "hall", "_"]
    )
    text = [["new_york", "city"], ["new_york", "city", "hall"], ["york", "x"]] * 5
    text += [list(map(str, words[rng.integers(0, 10, 9)])) for _ in range(200)]
    model = Phrases(
        text, min_count=1, threshold=0.03, delimiter=delimiter, connector_words=connectors
    )
    exported, found = model.export_phrases(), model.find_phrases(text)
    assert found
    assert all(exported[phrase] >= score for phrase, score in found.items())
    model.save(tmp_path / "live")
    model.freeze().save(tmp_path / "frozen")
    others = [
        model.freeze(),
        Phrases.load(tmp_path / "live"),
        FrozenPhrases.load(tmp_path / "frozen"),
    ]
    for other in others:
        assert list(other[text]) == list(model[text])
        assert other.find_phrases(text) == found
    for key, score in model.freeze()._scores.items():  # each by its own words
        counts = [
            sum(_times(sentence, part, connectors) for sentence in text)
            for part in ((key[0],), (key[-1],), key)
        ]
        together = (counts[2] - 1) / counts[0] / counts[1] * len(model._counts)
        assert score == pytest.approx(together)


def _times(sentence, part, connectors):
    """How often a word occurs in a sentence, or two with nothing but connectors between them."""
    found = 0
    for start, word in enumerate(sentence):
        if word != part[0] or word in connectors:
            continue
        if len(part) == 1:
            found += 1
            continue
        stop = next(
            (at for at in range(start + 1, len(sentence)) if sentence[at] not in connectors), None
        )
        found += stop is not None and tuple(sentence[start : stop + 1]) == part
    return found


def test_a_damaged_file_of_phrases(tmp_path):
    from firth.formats import container

    Phrases(sentences(20), **SETTINGS).save(tmp_path / "p")
    content = container.read(tmp_path / "p")
    for sizes in ([0] * len(content.arrays["words"]), [-1], [99], []):
        arrays = {**content.arrays, "words": np.array(sizes, np.int64)}
        container.write(tmp_path / "d", "phrases", arrays, content.meta, content.strings)
        with pytest.raises(FormatError, match="is not a complete Phrases"):
            Phrases.load(tmp_path / "d")
