"""Replicas without Ray: what each gets, what it trains, and how its rows are brought together."""

from __future__ import annotations

import gzip
import itertools

import numpy as np
import pytest

from blockwise import write_corpus
from firth import FastText, Word2Vec
from firth.distributed import averaging
from firth.distributed.averaging import Job, Part, Replica, deal, encoded, faster, merged
from firth.kernels import to_bfloat16
from firth.kernels._arrays import widen_bfloat16
from firth.words import training
from firth.words.corpus import opened

SETTINGS = {"sg": 1, "vector_size": 12, "seed": 3, "epochs": 2, "negatives": "shared"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    write_corpus(path, 3000, 1)
    return path


def prepared(model, path, replicas=1):
    """The job of a model, its matrices, and a replica with its rows."""
    model.build_vocab(corpus_file=path)
    network = model._network(True, None)
    run = training.new_run(model.epochs, model.alpha, model.min_alpha) | {"replicas": replicas}
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
    job, found, replica = prepared(kind(min_count=1, **settings), path, 2)
    (alone_job, _, alone) = prepared(kind(min_count=1, **settings), path)
    for one in (replica, alone):
        one.open(0, deal("test", path, 1)[0])
        one.train(0, 0, 0, 1)
    assert alone_job.parts() == job.parts()
    for part in job.parts():
        old = found[part.matrix][part.start : part.stop, : job.dim]
        np.testing.assert_array_equal(replica.read(part), old)  # until all have changed
        moved = alone.read(part) - old
        where, bits = replica.update(part)
        if where is None:
            where = np.arange(len(old))
        left = np.setdiff1d(np.arange(len(old)), where)
        assert not moved[left].any()
        np.testing.assert_allclose(widen_bfloat16(bits), moved[where], rtol=2**-8)
        replica.change(part, (where, bits))
        np.testing.assert_array_equal(replica.read(part)[where], old[where] + widen_bfloat16(bits))


def test_rows_move_by_the_mean_of_changes():
    rng = np.random.default_rng(2)
    changes = [to_bfloat16(rng.standard_normal((50, 16), dtype=np.float32)) for _ in range(3)]
    where, found = merged([(None, one) for one in changes])
    assert where is None
    wanted = np.mean([widen_bfloat16(one) for one in changes], 0, np.float64)
    np.testing.assert_allclose(widen_bfloat16(found), wanted, rtol=2**-8, atol=1e-6)
    assert not merged([(None, 0 * changes[0])] * 3)[1].any()  # also rows that are locked


def test_merging_leaves_rows_alone_that_nobody_read():
    one = (np.array([1, 4]), to_bfloat16(np.ones((2, 4), np.float32)))
    two = (np.array([4, 7]), one[1])
    none = (np.array([], np.int64), one[1][:0])
    where, values = merged([one, two])
    assert where is not None
    assert where.tolist() == [1, 4, 7]
    np.testing.assert_array_equal(widen_bfloat16(values)[:, 0], [0.5, 1, 0.5])
    where, values = merged([none, none])
    assert where is not None
    assert len(where) == len(values) == 0


def test_rates_of_replicas():
    assert faster(0.025, 1) == 0.025
    assert faster(0.025, 3) == pytest.approx(0.075)
    assert faster(0.025, 40) == averaging._FASTEST
    assert faster(0.3, 2) == 0.3  # as the user wants


def together(path, replicas, epochs):
    """Train a model with replicas, a round an epoch; the mean loss of the last, and all rows."""
    model = Word2Vec(**SETTINGS | {"epochs": epochs})
    model.build_vocab(corpus_file=path)
    run = training.new_run(epochs, faster(model.alpha, replicas), model.min_alpha)
    run["replicas"] = replicas
    words, dim = model.wv.index_to_key, model.vector_size
    job, found = Job.of(model._network(True, None), words, dim, run)
    everyone = [Replica(job) for _ in range(replicas)]
    for one, part in itertools.product(everyone, job.parts()):
        one.write(part, found[part.matrix][part.start : part.stop, :dim])
    shards = deal("test", path, replicas)
    blocks = [one.open(i, shards[i])[1] for i, one in enumerate(everyone)]
    for epoch in range(epochs):
        losses, updates = [], []
        for i, one in enumerate(everyone):
            losses.append(one.train(i, epoch, 0, blocks[i])[:2])
            updates.append([one.update(part) for part in job.parts()])
        for part, several in zip(job.parts(), zip(*updates, strict=True), strict=True):
            change = merged(several)
            for one in everyone if replicas > 1 else ():
                one.change(part, change)
    loss, pairs = np.sum(losses, 0)
    return loss / pairs, [everyone[0].read(part) for part in job.parts()]


def test_many_replicas_and_epochs_on_little_text(path):
    """Sums of what replicas changed grow without bounds here, as those of Spark MLlib did."""
    alone, _ = together(path, 1, 20)
    loss, rows = together(path, 40, 20)
    assert loss < 1.2 * alone < 2.0  # 4.2 of six outputs at the start
    assert max(np.abs(one).max() for one in rows) < 10


def test_parts_cover_all_rows(path, monkeypatch):
    monkeypatch.setattr(averaging, "_PART", 48 * 7)
    job, _, _ = prepared(Word2Vec(**SETTINGS), path)
    parts = [part for part in job.parts() if part.matrix == "w_in"]
    assert len(parts) > 2
    assert parts[0] == Part("w_in", 0, 7)
    assert [a.stop for a in parts[:-1]] == [b.start for b in parts[1:]]
    assert parts[-1].stop == job.sizes["w_in"]
