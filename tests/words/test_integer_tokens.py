"""Integers as tokens, as walks over a graph have them: training, look-ups, files; gensim."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from firth import FastText, GloVe, KeyedVectors, Word2Vec
from firth.words import load_facebook_vectors, save_facebook_model

SMALL = {"vector_size": 12, "min_count": 1, "epochs": 2, "workers": 1}
MODELS = [(Word2Vec, {}), (FastText, {"bucket": 100})]


def walks(count=60):
    """Nodes 0, 7, 14, ..., 203: some are numbers of rows too, but of other rows."""
    rng = np.random.default_rng(0)
    return (7 * (30 * rng.power(0.5, (count, 9))).astype(int)).tolist()


@pytest.mark.parametrize(("kind", "more"), MODELS)
def test_training_is_that_of_their_text(kind, more):
    model = kind(walks(), **SMALL, **more)
    text = kind([[str(node) for node in walk] for walk in walks()], **SMALL, **more)
    assert [str(key) for key in model.wv.index_to_key] == text.wv.index_to_key
    assert_array_equal(model.wv.vectors, text.wv.vectors)
    for given in (np.array(walks()), [tuple(walk) for walk in walks()]):
        other = kind(given, **SMALL, **more)
        assert all(type(key) is int for key in other.wv.index_to_key)
        assert_array_equal(other.wv.vectors, model.wv.vectors)


@pytest.mark.parametrize(("kind", "more"), MODELS)
def test_a_key_comes_before_a_row(kind, more):
    wv = kind(walks(), **SMALL, **more).wv
    for row, key in enumerate(wv.index_to_key):
        assert wv.get_index(key) == wv.get_index(np.int64(key)) == row
        assert_array_equal(wv[key], wv.vectors[row])
    assert wv.get_index(1) == 1  # no node
    assert 1 not in wv.key_to_index
    assert wv.get_index("7", -1) == -1
    with pytest.raises(KeyError, match="1000"):
        wv[1000]
    assert_array_equal(wv[[7, 14]], np.stack([wv[7], wv[14]]))
    assert wv.most_similar(7) == wv.most_similar(positive=[7])
    assert 7 not in dict(wv.most_similar(7, topn=100))
    assert all(type(key) is int for key, _ in wv.most_similar(7))
    assert wv.similarity(7, 7) == 1


@pytest.mark.parametrize(("kind", "more"), MODELS)
def test_files_keep_integers(tmp_path, kind, more):
    model = kind(**SMALL, **more)
    model.build_vocab([*walks(), ["7", -5, 2**70]], keep_raw_vocab=True)
    model.train(walks())
    model.save(tmp_path / "model")
    loaded = kind.load(tmp_path / "model")
    model.wv.save(tmp_path / "vectors")
    for wv in (loaded.wv, KeyedVectors.load(tmp_path / "vectors")):
        assert wv.index_to_key == model.wv.index_to_key
        assert set(map(type, wv.index_to_key)) == {int, str}
        assert_array_equal(wv[7], model.wv[7])
        assert_array_equal(wv["7"], model.wv["7"])
    assert loaded.raw_vocab == model.raw_vocab
    for one in (model, loaded):
        one.train(walks(), start_alpha=1e-4)
    assert_array_equal(loaded.wv.vectors, model.wv.vectors)


def test_text_formats_hold_their_text(tmp_path):
    model = FastText(walks(), bucket=100, **SMALL)
    for binary in (False, True):
        model.wv.save_word2vec_format(tmp_path / "v", tmp_path / "counts", binary=binary)
        text = KeyedVectors.load_word2vec_format(tmp_path / "v", tmp_path / "counts", binary=binary)
        assert text.index_to_key == [str(key) for key in model.wv.index_to_key]
        assert_array_equal(text["7"], model.wv[7])
        assert text.get_vecattr("7", "count") == model.wv.get_vecattr(7, "count")
    save_facebook_model(model, tmp_path / "v")
    assert_array_equal(load_facebook_vectors(tmp_path / "v").vectors, model.wv.vectors)
    (tmp_path / "pairs").write_text("7\t14\t1\nw\tv\t2\n")
    with pytest.raises(ValueError, match="no pair that can be used"):
        model.wv.evaluate_word_pairs(tmp_path / "pairs")


@pytest.mark.parametrize("token", [1.5, None, (1, 2), b"b", [3]])
def test_other_tokens_are_refused_before_anything_changes(token):
    model = Word2Vec(walks(), **SMALL)
    keys, count = list(model.wv.index_to_key), model.corpus_count
    name = type(token).__name__
    for update in (False, True):
        with pytest.raises(TypeError, match=f"must be str or int, got {name} in sentence 1"):
            model.build_vocab([["a"], ["b", token]], update=update)
        assert model.wv.index_to_key == keys
        assert (model.raw_vocab, model.corpus_count) == ({}, count)


def test_a_file_has_no_integers(tmp_path):
    (tmp_path / "text").write_text("7 14\n")
    with pytest.raises(TypeError, match="words of a file are str"):
        Word2Vec(walks(), **SMALL).train(corpus_file=tmp_path / "text")


@pytest.mark.peer
def test_gensim_has_the_same_keys_and_rows(tmp_path):
    gensim = pytest.importorskip("gensim.models")
    for given in (walks(), list(map(list, np.array(walks()))), [[1, "1", "a"], ["a", 1]]):
        theirs = gensim.Word2Vec(given, **SMALL)
        ours = Word2Vec(given, **SMALL)
        assert ours.wv.index_to_key == theirs.wv.index_to_key
        for key in (0, 1, 7, 8, 14, 203, 30, np.int64(7), -1, "7", "1"):
            assert ours.wv.get_index(key, -1) == theirs.wv.get_index(key, -1)
        theirs.save(str(tmp_path / "model"))
        loaded = Word2Vec.load(tmp_path / "model")
        assert loaded.wv.index_to_key == theirs.wv.index_to_key
        assert_array_equal(loaded.wv.vectors, theirs.wv.vectors)
        theirs.wv.save_word2vec_format(str(tmp_path / "theirs"))
        loaded.wv.save_word2vec_format(tmp_path / "ours")
        lines = (tmp_path / "theirs").read_text().splitlines()
        lines = list(dict.fromkeys(lines))  # gensim writes first keys that equal their row twice
        assert (tmp_path / "ours").read_text().splitlines() == lines
    theirs = gensim.FastText(walks(), bucket=100, **SMALL)
    ours = FastText(walks(), bucket=100, **SMALL)
    for mine, other in zip(ours.wv.buckets_word, theirs.wv.buckets_word, strict=True):
        assert_array_equal(mine, other)  # of the number's text


@pytest.mark.parametrize("mixed", [False, True])
def test_glove_keeps_integers(tmp_path, mixed):
    nodes = [[5, 7, 9, 5], [7, 9, 300, 5]] * 5
    if mixed:
        nodes = [[*sentence, "a", "5"] for sentence in nodes]
    model = GloVe(nodes, **SMALL, checkpoint=tmp_path / "checkpoint")
    assert set(model.wv.index_to_key) == {token for sentence in nodes for token in sentence}
    model.save(tmp_path / "model")
    again = GloVe.load(tmp_path / "model")
    assert again.wv.index_to_key == model.wv.index_to_key
    assert list(map(type, again.wv.index_to_key)) == list(map(type, model.wv.index_to_key))
    again.train(nodes)
    assert np.isfinite(again.wv.vectors).all()
