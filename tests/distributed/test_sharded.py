"""Indexes in shards against one `Index`, with plain objects in place of Ray's actors."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest

import firth
from distributed.local_actors import (
    DIM,
    actor_of,
    compare,
    local,
    made,
    outcome,
    rows,
    same,
    small,
)
from firth.cli import main
from firth.distributed import shard_files
from firth.distributed.search import ShardedIndex

__all__ = ["local"]
pytestmark = pytest.mark.usefixtures("local")


def step(rng, index, named):
    """A random addition or removal, as a call of either index."""
    kind = rng.integers(4)
    ids = list(index.ids)
    if kind == 0 and len(ids) > 4:
        gone = [ids[rng.integers(len(ids))] for _ in range(rng.integers(1, 4))]
        return lambda one: one.remove(gone)
    count = int(rng.integers(1, 12))
    vectors = rows(rng, count)
    if not named and kind == 1:
        return lambda one: one.add(vectors)
    numbers = rng.integers(-20, 40, count)  # some twice, some there already
    given = [f"n{number}" for number in numbers.tolist()] if named else numbers
    return lambda one: one.add(vectors, given)


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("named", [False, True])
def test_random_changes(tmp_path, shards, metric, named):
    """With actors that end before or after calls, and programs that close and open the index."""
    seed = shards * 10 + named + 100 * len(metric)
    rng = np.random.default_rng(seed)
    storage = ("float32", "float16", "bfloat16", "int8")[seed % 4]
    vectors = rows(rng, 30)
    ids = [f"n{n}" for n in range(30)] if named else None
    index = firth.Index(DIM, metric, storage)
    index.add(vectors, ids)
    options = {"replicas": 1 + seed % 3, "timeout": 5.0}
    sharded = ShardedIndex.build(
        vectors, ids, path=tmp_path / "x", shards=shards, metric=metric, storage=storage, **options
    )
    compare(rng, sharded, index, named)
    for number in range(18):
        if number >= 5:
            made[-1].fault = faults(rng, 0.05)
        call = step(rng, index, named)
        np.testing.assert_equal(outcome(call, sharded), outcome(call, index))
        compare(rng, sharded, index, named)
        if number % 8 == 7:
            sharded.compact()
        if number % 9 == 8:
            made[-1].fault = None
            sharded.close()
            sharded = ShardedIndex.open(tmp_path / "x", verify=True, **options)
    if shards > 1:
        assert len({actor for engine in made for actor in engine.actors}) > 20
    sharded.close()
    assert not made[-1].living()


def faults(rng, share, methods=("open", "change", "search", "search_range", "get", "stats")):
    def fault(actor, method):
        if method in methods and rng.random() < share:
            return ("before", "after")[rng.integers(2)]
        return None

    return fault


BAD = [
    lambda one: one.add(np.zeros((2, DIM + 1))),
    lambda one: one.add([[1, 2, np.nan, 4, 5]]),
    lambda one: one.add(np.full((3, DIM), 1e39)),
    lambda one: one.add(np.zeros((2, DIM)), ["a", "b"]),
    lambda one: one.add(np.zeros((2, DIM)), [1]),
    lambda one: one.add(np.zeros((2, DIM)), {1, 2}),
    lambda one: one.remove([3, 999, 1000]),
    lambda one: one.remove("a"),
    lambda one: one.get([1, 999]),
    lambda one: one.search(np.zeros(DIM - 1)),
    lambda one: one.search(np.zeros(DIM), k=-1),
    lambda one: one.search(np.zeros(DIM), probe=2),
    lambda one: one.search(np.zeros(DIM), filter=["a"]),
    lambda one: one.search(np.zeros(DIM), filter=np.ones(59, bool)),
    lambda one: one.search(np.zeros(DIM), exclude=np.ones(3, np.uint8)),
    lambda one: one.search(np.zeros(DIM), filter=lambda id: True),
    lambda one: one.search(np.zeros((2, DIM)), filter=[[1], [2], [3]]),
    lambda one: one.search_range(np.zeros((2, DIM)), np.nan),
]  # fmt: skip


@pytest.mark.parametrize("call", BAD)
def test_errors_are_those_of_an_index(tmp_path, call):
    sharded, index, vectors = small(tmp_path / "x")
    version = sharded._table.actors.version
    wanted = outcome(call, index)
    assert wanted[0] != "returned"
    assert outcome(call, sharded) == wanted
    assert sharded._table.actors.version == version
    same(sharded.search(vectors, 60), index.search(vectors, 60))


def test_what_is_built_from(tmp_path):
    """Arrays, files and blocks, with ids that occur twice and blocks in any number."""
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((50, DIM))
    ids = rng.integers(0, 40, 50)
    index = firth.Index(DIM, "l2", "float16")
    index.add(vectors, ids)
    np.save(tmp_path / "rows.npy", vectors)
    pairs = ((vectors[n : n + 7], ids[n : n + 7]) for n in range(0, 50, 7))
    given = [(vectors, ids), (str(tmp_path / "rows.npy"), ids.tolist()), (pairs, None)]
    for number, (one, its) in enumerate(given):
        options = {"path": tmp_path / f"x{number}", "metric": "l2", "storage": "float16"}
        with ShardedIndex.build(one, its, **options) as sharded:
            compare(rng, sharded, index, False)
    empty = ShardedIndex.build(np.zeros((0, 3)), path=tmp_path / "empty")
    assert (len(empty), empty.id_type, empty.dim) == (0, None, 3)
    same(empty.search(np.zeros((2, 3))), firth.Index(3).search(np.zeros((2, 3))))
    for one, its, problem in [
        (iter([]), None, "no block"), (iter([vectors]), ids, "iterator"),
        (vectors[0], None, "shape"), (vectors, ids[1:], "one for each"),
        (iter([vectors, vectors[:, 1:]]), None, "shape"),
        (np.append(vectors, [[np.nan] * DIM], axis=0), None, "row 50 of vectors has NaN"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=problem):
            ShardedIndex.build(one, its, path=tmp_path / "bad")
        assert not os.path.exists(tmp_path / "bad")
    with pytest.raises(FileExistsError, match="an index"):
        ShardedIndex.build(vectors, path=tmp_path / "x0")

    def blocks():
        """While they are read, another call comes."""
        yield vectors[:20]
        with pytest.raises(BlockingIOError, match=r"^build: another call is writing to .*two$"):
            ShardedIndex.build(vectors, path=tmp_path / "two")
        yield vectors[20:]

    with ShardedIndex.build(blocks(), path=tmp_path / "two") as two:
        assert len(two) == len(vectors)


def test_row_numbers_are_those_of_the_array(tmp_path, monkeypatch):
    monkeypatch.setattr("firth.distributed.blocks.BYTES", 64)
    vectors = np.zeros((30, DIM))
    vectors[23, 2] = np.inf
    with pytest.raises(ValueError, match="row 23 of vectors has infinity"):
        ShardedIndex.build(vectors, path=tmp_path / "x")


def test_files(tmp_path):
    sharded, index, vectors = small(tmp_path / "x")
    with pytest.raises(BlockingIOError):
        ShardedIndex.open(tmp_path / "x")
    sharded.save(tmp_path / "copy")
    copy = ShardedIndex.open(tmp_path / "copy", "r", replicas=2)
    same(copy.search(vectors, 60), index.search(vectors, 60))
    with pytest.raises(io.UnsupportedOperation, match="reading"):
        copy.add(vectors)
    other = ShardedIndex.open(tmp_path / "copy")
    other.add(vectors[:30] + 1)
    same(copy.search(vectors, 60), index.search(vectors, 60))  # as it was
    actor_of(copy, 0).handle.end()
    actor_of(copy, 0, 1).handle.end()
    with pytest.raises(ConnectionError, match="has changed since"):
        copy.search(vectors, timeout=0.1)
    (tmp_path / "copy" / "change.firth").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("firth.distributed.shard_table._PAUSE", 0.0)
        with pytest.raises(BlockingIOError, match="under way"):
            ShardedIndex.open(tmp_path / "copy", "r")
    sharded.close()
    for call in (lambda: sharded.search(vectors), lambda: sharded.add(vectors), sharded.flush):
        with pytest.raises(io.UnsupportedOperation, match="closed"):
            call()
    sharded.close()
    # Files that are missing, damaged, of another state, or no manifest
    shard, manifest = tmp_path / "x" / "shard-001.firth", tmp_path / "x" / "manifest.json"
    kept = shard.read_bytes()
    shard.write_bytes(kept[:-40])
    with pytest.raises(firth.FormatError, match=r"shard-001\.firth"):
        ShardedIndex.open(tmp_path / "x")
    firth.Index(DIM).save(shard)
    with pytest.raises(firth.FormatError, match=r"ids\.firth: names 60 rows, the shards"):
        ShardedIndex.open(tmp_path / "x")
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"shard-001\.firth is missing"):
        ShardedIndex.open(tmp_path / "x")
    shard.write_bytes(kept)
    for text in ("{", json.dumps({"version": 2}), json.dumps({"version": 1, "shards": 0}),
                 json.dumps({"version": 1, "shards": 3, "dim": "x", "metric": "ip",
                             "storage": "int8", "cells": None})):  # fmt: skip
        manifest.write_text(text)
        with pytest.raises(firth.FormatError, match=r"manifest\.json"):
            ShardedIndex.open(tmp_path / "x")
    manifest.unlink()
    with pytest.raises(FileNotFoundError, match="no sharded index"):
        ShardedIndex.open(tmp_path / "x")
    small(tmp_path / "x")[0].close()  # an unfinished build is in nobody's way


def test_cells(tmp_path):
    """Each shard has its own: exact with probe="all", and tuned one by one."""
    vectors = np.random.default_rng(2).standard_normal((3000, 16)).astype(np.float32)
    index = firth.Index(16)
    index.add(vectors)
    sharded = ShardedIndex.build(vectors, path=tmp_path / "x", shards=2, cells=8, replicas=2)
    assert sharded.stats()["cells"] == 16
    same(sharded.search(vectors[:50], probe="all"), index.search(vectors[:50]))
    same(sharded.search(vectors[:50], probe=8), index.search(vectors[:50]))
    tunings = sharded.tune(0.99)
    assert sharded.stats()["probe"] == sum(one.probe for one in tunings)
    found = sharded.search(vectors[:200])
    assert np.mean(found.ids == index.search(vectors[:200]).ids) > 0.9
    for _ in range(2):  # all replicas visit the same
        same(sharded.search(vectors[:200]), found)


def test_routes():
    ids = np.arange(30000)
    for given in (ids, ids * 1024, -ids, [f"word {n}" for n in ids.tolist()]):
        of = shard_files.shard_of(given, 3)
        assert np.bincount(of).min() > 9600
    # Files keep what they were given, so this must never change: SplitMix64's mixing, and CRC-32.
    for number in (0, 1, -1, 2**62, -(2**63)):
        z = number % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        assert shard_files.shard_of(np.array([number]), 4099).tolist() == [(z ^ (z >> 31)) % 4099]
    assert shard_files.shard_of(["123456789"], 4099).tolist() == [0xCBF43926 % 4099]


def test_ids_that_a_search_found_before_they_were_changed(tmp_path):
    """Equal scores are in the order of the ids as they were when the search began."""
    names = [f"n{number}" for number in range(6)]
    sharded = ShardedIndex.build(np.ones((6, DIM)), names, path=tmp_path / "x")
    table = sharded._table
    found = np.array([["n4", "n1"], ["n5", None]], object)
    before = table.ids._table.state
    for change in (
        lambda: sharded.add(np.ones(DIM), "new"),
        lambda: (sharded.remove("n1"), sharded.add(np.ones(DIM), "n1")),
        lambda: (sharded.remove(["n0", "n5"]), sharded.compact()),
    ):
        change()
        labels = table.labels(before, found)
        assert labels[0].tolist() == [4, 1]
        assert labels[1, 0] == 5
    assert table.labels(table.ids._table.state, found[:1]).tolist() == [[2, 4]]


def test_others_name_what_reads_the_folder(tmp_path, capsys):
    path = str(tmp_path / "index")
    small(path, cells=2)[0].close()
    for mode in ("r", "r+"):
        with pytest.raises(firth.FormatError, match=r"firth\.distributed\.ShardedIndex\.open rea"):
            firth.Index.open(path, mode)
    for command in (["search", path, "1"], ["stats", path]):
        assert main(["index", *command]) == 2
        assert "firth.distributed.ShardedIndex" in capsys.readouterr().err
    for command in (["info"], ["vectors", "info"]):
        assert main([*command, path]) == 0
        said = capsys.readouterr().out
        for fact in ("sharded index of firth, 3 shards", "60\n", f"{DIM} (float32)", "2 in each"):
            assert fact in said
