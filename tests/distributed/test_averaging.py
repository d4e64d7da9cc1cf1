"""Replicas without Ray: what each gets, what it trains, and how its rows are brought together."""

from __future__ import annotations

import gzip
import itertools

import numpy as np
import pytest

from blockwise import write_corpus
from firth import FastText, Word2Vec
from firth.distributed import averaging
from firth.distributed.averaging import Job, Part, Replica, deal, encoded, merged
from firth.words import training
from firth.words.corpus import opened

SETTINGS = {"sg": 1, "vector_size": 12, "seed": 3, "epochs": 2, "negatives": "shared"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    write_corpus(path, 3000, 1)
    return path


def prepared(model, path):
    """The job of a model, its matrices, and a replica with its rows."""
    model.build_vocab(corpus_file=path)
    network = model._network(True, None)
    run = training.new_run(model.epochs, model.alpha, model.min_alpha)
    job, found = Job.of(network, model.wv.index_to_key, model.vector_size, run)
    replica = Replica(job)
    for part in job.parts():
        replica.write(part, found[part.matrix][part.start : part.stop, : job.dim])
    return job, found, replica


@pytest.mark.parametrize("replicas", [1, 2, 3, 7])
def test_every_byte_is_dealt_once(path, replicas):
    dealt = deal("test", path, replicas)
    assert len(dealt) == replicas
    held = [sum(split.bytes for split in one) for one in dealt]
    assert sum(held) == path.stat().st_size
    assert max(held) < 1.2 * min(held)
    places = sorted((split.path, split.start, split.stop) for one in dealt for split in one)
    assert all(one[2] == following[1] for one, following in itertools.pairwise(places))
    assert dealt == deal("test", path, replicas)


def test_packed_files_are_not_cut(path, tmp_path):
    (tmp_path / "text.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert len(deal("test", tmp_path / "text.gz", 1)) == 1
    with pytest.raises(ValueError, match=r"^test: 1 splits cannot be dealt to 2 replicas: packed"):
        deal("test", tmp_path / "text.gz", 2)


def test_ids_are_those_of_the_files(path, monkeypatch):
    model = Word2Vec(**SETTINGS)
    model.build_vocab(corpus_file=path)
    with opened("test", None, path) as text:
        whole = text.encode(model.wv.index_to_key, model.wv.key_to_index)
    shards = [encoded(one, model.wv.index_to_key) for one in deal("test", path, 3)]
    assert sorted(np.concatenate(shards)) == sorted(whole)
    (one,) = deal("test", path, 1)
    np.testing.assert_array_equal(encoded(one, model.wv.index_to_key), whole)
    monkeypatch.setattr(averaging, "_IN_MEMORY", 100)
    spilled = encoded(one, model.wv.index_to_key)
    assert isinstance(spilled, np.memmap)
    np.testing.assert_array_equal(spilled, whole)


@pytest.mark.parametrize("kind", [Word2Vec, FastText])
@pytest.mark.parametrize("more", [{}, {"hs": 1, "negative": 0}, {"sg": 0}])
def test_one_replica_trains_as_one_process(path, kind, more):
    settings = SETTINGS | more | ({"bucket": 50} if kind is FastText else {})
    job, _, replica = prepared(kind(**settings), path)
    words, blocks, _ = replica.open(0, deal("test", path, 1)[0])
    assert words > 0
    for epoch in range(2):
        for first in range(blocks):  # in as many calls as can be
            replica.train(0, epoch, first, first + 1)
    alone = kind(corpus_file=path, workers=1, **settings)
    wanted = {"w_in": alone._input, "w_out": alone.syn1neg, "w_tree": alone.syn1}
    if kind is FastText:
        wanted["ngrams"] = alone.wv.vectors_ngrams
    for part in job.parts():
        rows = wanted[part.matrix][part.start : part.stop]
        np.testing.assert_array_equal(replica.read(part), rows)


@pytest.mark.parametrize("kind", [Word2Vec, FastText])
def test_an_update_names_every_row_that_changed(path, kind):
    settings = SETTINGS | ({"bucket": 5000} if kind is FastText else {})
    job, found, replica = prepared(kind(min_count=1, **settings), path)
    replica.open(0, deal("test", path, 1)[0])
    replica.train(0, 0, 0, 1)
    for part in job.parts():
        old = found[part.matrix][part.start : part.stop, : job.dim]
        now = replica.read(part)
        where, values = replica.update(part)
        if where is None:
            np.testing.assert_array_equal(values, now)
            continue
        left = np.setdiff1d(np.arange(len(old)), where)
        np.testing.assert_array_equal(now[left], old[left])
        np.testing.assert_array_equal(now[where], values)


def test_merging_alike_is_the_mean_and_unlike_the_sum():
    rng = np.random.default_rng(1)
    old = rng.standard_normal((6, 8), dtype=np.float32)
    change = np.zeros((6, 8), np.float32)
    change[:, 0] = 1
    across = np.roll(change, 1, axis=1)
    same = merged(old, [(None, old + change), (None, old + change)])[1]
    np.testing.assert_allclose(same, old + change, rtol=1e-6)
    both = merged(old, [(None, old + change), (None, old + across)])[1]
    np.testing.assert_allclose(both, old + change + across, rtol=1e-6)
    three = merged(old, [(None, old + change), (None, old + across), (None, old)])[1]
    np.testing.assert_allclose(three, both, rtol=1e-6)


def test_merging_leaves_rows_alone_that_nobody_changed():
    rng = np.random.default_rng(1)
    old = rng.standard_normal((9, 4), dtype=np.float32)
    one = (np.array([1, 4]), old[[1, 4]] + 1)
    two = (np.array([4, 7]), old[[4, 7]] + 1)
    where, values = merged(old, [one, two])
    assert where is not None
    assert where.tolist() == [1, 4, 7]
    np.testing.assert_allclose(values, old[[1, 4, 7]] + 1, rtol=1e-6)


def test_merging_is_its_definition():
    rng = np.random.default_rng(2)
    old, a, b = (rng.standard_normal((50, 16)) for _ in range(3))
    ab, aa, bb = (np.sum(x * y, 1, keepdims=True) for x, y in ((a, b), (a, a), (b, b)))
    wanted = old + (1 - ab / (2 * aa)) * a + (1 - ab / (2 * bb)) * b
    updates = [(None, (old + one).astype(np.float32)) for one in (a, b)]
    found = merged(old.astype(np.float32), updates)[1]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_parts_cover_all_rows(path, monkeypatch):
    monkeypatch.setattr(averaging, "_PART", 48 * 7)
    job, _, _ = prepared(Word2Vec(**SETTINGS), path)
    parts = [part for part in job.parts() if part.matrix == "w_in"]
    assert len(parts) > 2
    assert parts[0] == Part("w_in", 0, 7)
    assert [a.stop for a in parts[:-1]] == [b.start for b in parts[1:]]
    assert parts[-1].stop == job.sizes["w_in"]
