"""Searches beside a writer, in threads and in forked children; memory beside the vectors."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

import firth
from firth import _native
from firth.kernels._dispatch import active_level
from firth.search import segments


def answer(index, state, query, k):
    """The results of a search that began in this state."""
    labels, scores, counts, _ = _native.search.search(
        active_level(),
        state.native, index.metric, np.atleast_2d(query), k, state.version, [], None, [], None,
        threads=_native.num_threads(),
    )  # fmt: skip
    return labels[0, : counts[0]].tolist(), scores[0, : counts[0]].tolist()


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_a_state_keeps_its_answer(storage):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((6000, 24)).astype(np.float32)
    query = rng.standard_normal(24).astype(np.float32)
    index = firth.Index(24, storage=storage)
    index.add(rows[:1500])
    states, answers = [], []
    operations = [
        lambda: index.add(rows[1500:1501]),
        lambda: index.add(rows[1501:1600], np.arange(99)),  # replaced
        lambda: index.remove(np.arange(500)),  # compaction is not due yet
        lambda: index.remove(np.arange(500, 1400)),  # and now it is
        lambda: index.add(rows[1600:]),  # coded anew
        lambda: index.add(rows[:3000], np.arange(3000)),
        lambda: index.remove(index.ids),
        lambda: index.add(rows[:10]),
    ]
    for operation in operations:
        states.append(index._table.state)
        answers.append(answer(index, index._table.state, query, 20))
        found = index.search(query, 20)
        assert answers[-1] == (found.ids.tolist(), found.scores.tolist())
        operation()
        for state, before in zip(states, answers, strict=True):
            assert answer(index, state, query, 20) == before
    assert len({state.version for state in states}) == len(states)


@pytest.mark.parametrize("storage", ["float32", "int8"])
@pytest.mark.parametrize(
    "twin_of", [lambda i: pickle.loads(pickle.dumps(i)), copy.deepcopy, copy.copy]
)
def test_a_twin_goes_its_own_way(storage, twin_of):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((9000, 12)).astype(np.float32)
    for ids, cells in ((None, None), ([f"row {i}" for i in range(9000)], 40)):
        index = firth.Index(12, storage=storage, cells=cells)
        index.add(rows, ids)
        known = index.ids
        index.remove([known[5], known[6]])
        index.search(rows[:3])  # has native parts now
        twin = twin_of(index)
        assert list(twin.ids) == list(index.ids)
        for probe in (None, "all") if cells else (None,):
            want, got = (
                index.search(rows[:20], 7, probe=probe),
                twin.search(rows[:20], 7, probe=probe),
            )
            assert (got.ids == want.ids).all()
            assert (got.scores == want.scores).all()
        new = twin.add(-rows[5], None if ids is None else "new")
        assert new in twin
        assert new not in index
        index.remove(known[7])
        assert known[7] in twin


@pytest.mark.parametrize("named", [False, True])
def test_a_twin_that_is_taken_beside_a_writer(named):
    """It is the index of one moment, and keeps that when it is changed itself."""
    index = firth.Index(2, "l2")
    index.add(np.arange(600).reshape(-1, 2), [f"w{i}" for i in range(300)] if named else None)
    state = index._table.state
    index.remove([f"w{i}" for i in range(20)] if named else range(20))
    index.add([[1, 1]], ["w30"] if named else [30])
    index.add([[1, 1]], ["new"] if named else [10**6])
    twin = firth.Index(2, "l2")
    twin.__setstate__({"dim": 2, "metric": "l2", "storage": "float32", "cells": None,
                       "state": pickle.loads(pickle.dumps(state.apart()))})  # fmt: skip
    want = [f"w{i}" for i in range(300)] if named else list(range(300))
    for number in range(5):  # versions at which rows of the other died
        assert list(twin.ids) == want
        assert len(twin) == len(want)
        assert ("new" if named else 10**6) not in twin
        np.testing.assert_array_equal(twin.get(want[:300]), np.arange(600).reshape(-1, 2))
        want.append(f"more {number}" if named else 300 + number)
        twin.add([[number, 2]], want[-1:])
    twin = pickle.loads(pickle.dumps(index))
    assert list(twin.ids) == list(index.ids)


def test_an_open_file_is_not_pickled(tmp_path):
    index = firth.Index(2)
    index.add([[1, 2]])
    index.save(tmp_path / "x")
    with firth.Index.open(tmp_path / "x") as opened:
        with pytest.raises(TypeError, match="an index in a file is not pickled: open"):
            pickle.dumps(opened)
        assert len(opened) == 1


def test_readers_beside_a_writer():
    """Row v is nearer to the query than all before, so the best row shows the version."""
    dim, last = 8, 1500
    index = firth.Index(dim, "ip")
    index.add(np.zeros((1, dim)), ids=[0])
    query = np.eye(1, dim, dtype=np.float32)[0]
    done = threading.Event()
    wrong = []
    seen = [0] * 3

    def write():
        try:
            for v in range(1, last):
                rows = np.zeros((2, dim), np.float32)
                rows[:, 0] = v, v - 0.5
                index.add(rows, [v, -v])  # two at once
                if v > 40:
                    index.remove([v - 40, 40 - v])
                if v % 7 == 0:
                    index.add(np.full(dim, 0.25), ids=0)  # replaced: never missing
        except Exception as error:
            wrong.append(error)
        finally:
            done.set()

    def read(reader):
        before = 0
        try:
            while not done.is_set():
                found = index.search(query, 7)
                v = int(found.ids[0])
                want = [sign * (v - i) for i in range(4) for sign in (1, -1)][:7]
                if v >= 4 and found.ids.tolist() != want:
                    wrong.append((v, found.ids.tolist()))
                if v < before:
                    wrong.append(("back", before, v))
                if index.search(query, 3, filter=[0]).ids.tolist() != [0] or 0 not in index:
                    wrong.append("0 is missing")
                if index.get([0]).shape != (1, dim) or len(index.search(query, 10**4).ids) % 2 == 0:
                    wrong.append("half of an operation")
                before = v
                seen[reader] += 1
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=write)]
    threads += [threading.Thread(target=read, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    assert min(seen) > 0
    left = range(last - 40, last)
    assert sorted(index.ids) == sorted([0, *left, *(-v for v in left)])


FORK = """
import os, threading, numpy as np, firth
rng = np.random.default_rng(0)
rows = rng.standard_normal((4000, 16)).astype(np.float32)
index = firth.Index(16)
index.add(rows[:2000], [str(i) for i in range(2000)])
index.search(rows[:50])  # starts threads
stop = threading.Event()
def write():
    while not stop.is_set():
        index.add(rows[2000:2300], [str(i) for i in range(2000, 2300)])
        index.remove([str(i) for i in range(2000, 2300)])
def read():
    while not stop.is_set():
        index.search(rows[0], 3, filter=["1", "5"])
threads = [threading.Thread(target=f) for f in (write, read)]
for thread in threads: thread.start()
codes = []
for _ in range(25):
    child = os.fork()
    if child == 0:
        try:
            assert len(index) in (2000, 2300) and len(index.ids) == len(index)
            assert index.search(rows[7], 1).ids.tolist() == ["7"]
            index.add(rows[3000:3001], ["new"])
            assert index.search(rows[3000], 1).ids.tolist() == ["new"]
            index.remove([str(i) for i in range(1000)])
            assert index.search(rows[1500:1600], 1).ids[:, 0].tolist() == [
                str(i) for i in range(1500, 1600)]
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
for thread in threads: thread.join()
print(codes == [0] * 25)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_beside_a_writer():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.stdout.strip() == "True", result.stderr


@pytest.mark.parametrize(("dim", "ids"), [(100, None), (384, "any"), (384, "replaced")])
def test_memory_beside_the_vectors(dim, ids):
    """At most 30% more than the vectors, also while a large batch is added; it is copied once."""
    rng = np.random.default_rng(0)
    count = 20000
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    labels = None if ids is None else rng.permutation(10**6)[:count]
    index = firth.Index(dim)
    tracemalloc.start()
    try:
        index.add(rows, labels)
        if ids == "replaced":
            index.add(rows[:5], labels[:5])
        taken, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tail = 65536 * (dim * 1.3 * 4 + 20) if ids == "replaced" else 0  # room for more, not touched
    assert taken <= 1.3 * rows.nbytes + tail + 100_000
    # Besides that: memory for the check of ids, and pieces that are converted.
    assert peak <= 1.3 * rows.nbytes + tail + 40 * count + 4_000_000
    sizes = index.stats()["bytes"]
    if not tail:
        assert sizes["codes"] + sizes["other"] <= 0.3 * sizes["vectors"]
        assert sizes["codes"] + sizes["other"] + sizes["vectors"] <= 1.3 * rows.nbytes


class FullDisk:
    """A log that cannot be written."""

    def added(self, *_):
        raise OSError("no space left")

    def removed(self, *_):
        raise OSError("no space left")

    def rewind(self, end):
        assert end == 0


@pytest.mark.parametrize("names", [False, True])
def test_what_is_not_logged_does_not_happen(names):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3000, 8)).astype(np.float32)
    ids = [str(i) for i in range(3000)] if names else list(range(3000))
    index = firth.Index(8)
    index.add(rows[:1000], ids[:1000])
    index._table.log = FullDisk()
    before = index._table.state
    for count in (1, 20, 3000):
        with pytest.raises(OSError, match="no space left"):
            index.add(rows[::-1][:count], ids[:count])
        with pytest.raises(OSError, match="no space left"):
            index.remove(ids[: min(count, 1000)])
        assert index._table.state is before
        assert (index.search(rows[:50], 1).scores == 1).all()
        np.testing.assert_array_equal(index.get(ids[:1000]), rows[:1000])
    index._table.log = None
    index.add(rows[1000:], ids[1000:])
    np.testing.assert_array_equal(index.get(ids), rows)
    assert index.search(rows[2000:2100], 1).ids[:, 0].tolist() == ids[2000:2100]


def test_many_small_additions_share_segments():
    index = firth.Index(4)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3000, 4)).astype(np.float32)
    for row in rows:
        index.add(row)
    stats = index.stats()
    assert stats["rows"] == 3000
    assert stats["segments"] == 3  # 1024, 1024, 2048
    assert stats["coded"] == 2976
    np.testing.assert_array_equal(index.get(np.arange(3000)), rows)


def test_removal_gives_memory_back():
    index = firth.Index(16)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 16)).astype(np.float32)
    for step in range(60):  # a window of 500 str that moves on
        index.add(rows, [f"{step}.{i}" for i in range(500)])
        if step:
            index.remove([f"{step - 1}.{i}" for i in range(500)])
    stats = index.stats()
    assert stats["rows"] == 500
    assert stats["bytes"]["vectors"] < 8000 * 16 * 4
    assert len(index._table.state.names) < 8000
    assert index.search(rows[:9], 1).ids[:, 0].tolist() == [f"59.{i}" for i in range(9)]


@pytest.mark.slow
def test_more_than_2_to_the_31_numbers(monkeypatch):
    if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") < 6e9:
        pytest.skip("needs 5 GB of memory")
    dim, count = 65536, 32800
    numbers = np.random.default_rng(0).standard_normal(dim + count).astype(np.float32)
    rows = np.lib.stride_tricks.sliding_window_view(numbers, dim)[:count]  # takes no memory
    monkeypatch.setattr(segments, "SAMPLE", 1000)  # rows in the mean, which takes its time
    index = firth.Index(dim, storage="int8")
    index.add(rows)
    assert index.stats()["bytes"]["vectors"] > 2**31
    asked = [0, 17000, count - 1]
    found = index.search(rows[asked], 2)
    assert found.ids[:, 0].tolist() == asked
    assert (found.scores[:, 0] > 0.9999).all()
    assert (found.scores[:, 1] < 0.1).all()
    assert index.search(rows[-1], filter=[3, count - 1]).ids.tolist() == [count - 1, 3]
    half_step = np.abs(rows[-1]).max() / 254
    np.testing.assert_allclose(index.get(count - 1), rows[-1], atol=half_step * 1.001)
