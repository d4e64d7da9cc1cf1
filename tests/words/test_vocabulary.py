"""Vocabularies: rules, pruning, updates, counts that are given; gensim as oracle."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from firth import Word2Vec
from firth.words import RULE_DEFAULT, RULE_DISCARD, RULE_KEEP, keep_vocab_item
from firth.words.vocabulary import prune_vocab

SETTINGS = {"vector_size": 8, "min_count": 2, "seed": 3}


def zipfian(count, seed=0, words=300, length=9):
    rng = np.random.default_rng(seed)
    draws = rng.zipf(1.3, (count, length)) % words
    return [[f"w{i}" for i in row] for row in draws]


def state(model):
    """The vocabulary as plain lists."""
    wv = model.wv
    return {
        "keys": list(wv.index_to_key), "index": dict(wv.key_to_index),
        "count": wv.expandos["count"].tolist(), "sample": wv.expandos["sample_int"].tolist(),
        "corpus": (model.corpus_count, model.corpus_total_words, model.min_count),
        "cum": None if model.cum_table is None else model.cum_table.tolist(),
    }  # fmt: skip


def rule(word, count, min_count):
    if word.endswith("7"):
        return RULE_DISCARD
    return RULE_KEEP if word.endswith("9") else RULE_DEFAULT


def test_rules():
    for answer, want in ((RULE_DEFAULT, False), (RULE_KEEP, True), (RULE_DISCARD, False)):
        assert keep_vocab_item("w", 2, 3, lambda *_, answer=answer: answer) is want
    assert keep_vocab_item("w", 3, 3)
    vocab = {"a": 1, "b": 5, "c": 2}
    assert prune_vocab(vocab, 3) == 3
    assert vocab == {"b": 5}


def test_a_rule_that_fails_changes_nothing():
    model = Word2Vec(**SETTINGS)
    model.build_vocab(zipfian(50))
    before, vectors = state(model), model.wv.vectors.copy()

    def failing(word, count, min_count):
        raise KeyError(word)

    with pytest.raises(KeyError):
        model.build_vocab(zipfian(50, seed=1), trim_rule=failing)
    assert state(model) == before
    assert_array_equal(model.wv.vectors, vectors)


def test_dry_run_changes_nothing():
    model = Word2Vec(**SETTINGS)
    model.build_vocab(zipfian(50), keep_raw_vocab=True)
    before = state(model)
    report = model.prepare_vocab(dry_run=True, min_count=5)
    assert report["num_retained_words"] < len(model.wv)
    assert state(model) == before


def test_update_needs_a_vocabulary_and_keeps_vectors():
    model = Word2Vec(zipfian(100), sg=1, epochs=1, **SETTINGS)
    old, keys = model.wv.vectors.copy(), list(model.wv.index_to_key)
    out = model.syn1neg.copy()
    model.build_vocab([["new", "w1", "newer"]] * 3, update=True)
    assert model.wv.index_to_key == [*keys, "new", "newer"]
    assert_array_equal(model.wv.vectors[: len(keys)], old)
    assert_array_equal(model.syn1neg[: len(keys)], out)
    assert not model.syn1neg[len(keys) :].any()
    assert model.wv.vectors[len(keys) :].any(axis=1).all()
    model.train([["new", "w1", "newer"]] * 3, start_alpha=1e-4)
    for empty in ("build_vocab", "build_vocab_from_freq"):
        corpus = [["a"]] if empty == "build_vocab" else {"a": 1}
        with pytest.raises(RuntimeError, match="update=True needs a vocabulary"):
            getattr(Word2Vec(), empty)(corpus, update=True)


def test_words_of_numpy_are_words():
    text = [np.array(["cat", "dog", "cat"]), np.array(["dog", "owl"])]
    model = Word2Vec(text, sg=1, min_count=1, vector_size=4, epochs=1)
    assert model.wv.index_to_key == ["dog", "cat", "owl"]
    assert {type(key) for key in model.wv.index_to_key} == {str}
    assert model.wv.expandos["count"].tolist() == [2, 2, 1]


def test_corpora_that_are_refused():
    model = Word2Vec(min_count=1)
    with pytest.raises(TypeError, match="iterable"):
        model.build_vocab(3)
    with pytest.raises(RuntimeError, match="call scan_vocab first"):
        model.prepare_vocab()
    model.build_vocab(s for s in [["a", "b"]])  # read once, so a generator will do
    assert len(model.wv) == 2
    with pytest.warns(UserWarning, match="vocabulary is empty: no word occurs min_count=5"):
        Word2Vec().build_vocab([["a"]])


def test_null_word():
    model = Word2Vec(null_word=1, min_count=1, vector_size=4)
    model.build_vocab([["a", "b", "b"]])
    assert model.wv.index_to_key == ["b", "\0", "a"]
    assert model.wv.expandos["count"].tolist() == [2, 1, 1]
    model.build_vocab([["c"]], update=True)
    assert model.wv.index_to_key == ["b", "\0", "a", "c"]
    plain = Word2Vec(min_count=1, vector_size=4)
    plain.build_vocab([["a"]])
    plain.add_null_word()
    assert plain.wv.index_to_key == ["a", "\0"]


@pytest.fixture(scope="module")
def gensim_word2vec():
    return pytest.importorskip("gensim.models").Word2Vec


@pytest.mark.peer
@pytest.mark.parametrize(
    "settings",
    [
        {}, {"sorted_vocab": 0}, {"max_final_vocab": 20}, {"max_final_vocab": 10_000},
        {"max_vocab_size": 40}, {"max_vocab_size": 15, "min_count": 0}, {"trim_rule": rule},
        {"max_vocab_size": 40, "trim_rule": rule}, {"sample": 0}, {"sample": 5},
        {"ns_exponent": -0.5}, {"ns_exponent": 0}, {"negative": 0, "hs": 1}, {"null_word": 1},
        {"min_count": 1, "hs": 1},
    ],
)  # fmt: skip
def test_vocabularies_are_gensims(gensim_word2vec, settings, tmp_path):
    first, second = zipfian(60), zipfian(40, seed=1, words=600)
    settings = dict(settings)
    trim = {"trim_rule": settings.pop("trim_rule", None)}
    theirs, ours = (make(**SETTINGS | settings) for make in (gensim_word2vec, Word2Vec))
    for model in (theirs, ours):
        model.build_vocab(first, **trim)
    check(ours, theirs)
    if not settings.get("null_word"):  # gensim adds a second one
        for model in (theirs, ours):
            model.build_vocab(second, update=True, **trim)
        check(ours, theirs)
    path = tmp_path / "text"
    path.write_text("\n".join(" ".join(line) for line in first))
    ours.build_vocab(corpus_file=path, **trim)
    fresh = gensim_word2vec(**SETTINGS | settings)
    fresh.build_vocab(first, **trim)
    check(ours, fresh)


@pytest.mark.peer
def test_given_counts_and_reports_are_gensims(gensim_word2vec):
    counts = {f"w{i}": 1 + (i * 37) % 50 for i in range(80)}
    more = {f"w{i}": 1 + (i * 17) % 9 for i in range(60, 120)}
    theirs, ours = (make(hs=1, **SETTINGS) for make in (gensim_word2vec, Word2Vec))
    for model in (theirs, ours):
        model.build_vocab_from_freq(counts, corpus_count=11)
        model.build_vocab_from_freq(more, update=True)
    theirs.corpus_total_words = ours.corpus_total_words  # gensim leaves it at 0
    check(ours, theirs)
    for sample in (1e-3, 0.02, 3):
        scans = [model.scan_vocab(zipfian(70, seed=5)) for model in (theirs, ours)]
        assert scans[0] == scans[1]
        for update in (False, True):
            want, got = (
                model.prepare_vocab(update=update, dry_run=True, min_count=3, sample=sample)
                for model in (theirs, ours)
            )
            # a sum of shares, of which firth has those it uses: multiples of 2**-32
            assert abs(want.pop("downsample_total") - got.pop("downsample_total")) <= 1
            assert want == got
    assert ours.estimate_memory() == theirs.estimate_memory()
    assert ours.estimate_memory(1000) == theirs.estimate_memory(1000)
    twins = [make(hs=1, **SETTINGS) for make in (gensim_word2vec, Word2Vec)]
    for twin, model in zip(twins, (theirs, ours), strict=True):
        twin.reset_from(model)
    assert twins[1].wv.key_to_index is ours.wv.key_to_index
    assert_array_equal(twins[1].wv.vectors, twins[0].wv.vectors)


def check(ours, theirs):
    """The same words, counts, draws, tree and start."""
    assert ours.wv.index_to_key == theirs.wv.index_to_key
    assert ours.wv.key_to_index == theirs.wv.key_to_index
    assert ours.effective_min_count == theirs.effective_min_count
    assert ours.corpus_count == theirs.corpus_count
    assert ours.corpus_total_words == theirs.corpus_total_words
    assert_array_equal(ours.wv.expandos["count"], theirs.wv.expandos["count"])
    # the share is computed in another order of operations: one unit in 2**32
    got, want = (one.wv.expandos["sample_int"].astype(np.int64) for one in (ours, theirs))
    assert np.abs(got - want).max() <= 1
    assert_array_equal(ours.wv.vectors, theirs.wv.vectors)
    if ours.negative:
        assert_array_equal(ours.cum_table, theirs.cum_table)
        assert ours.syn1neg.shape == theirs.syn1neg.shape
    if ours.hs:
        assert ours.syn1.shape == theirs.syn1.shape
        for name in ("code", "point"):
            for mine, other in zip(ours.wv.expandos[name], theirs.wv.expandos[name], strict=True):
                assert_array_equal(mine, other)
