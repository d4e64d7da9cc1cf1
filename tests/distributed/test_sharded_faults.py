"""Indexes in shards: what is seen, and what is kept, while actors and programs are lost."""

from __future__ import annotations

import os
import random
import shutil
import threading

import numpy as np
import pytest

import firth
from distributed.local_actors import (
    DIM,
    LocalActors,
    actor_of,
    compare,
    local,
    made,
    rows,
    same,
    small,
)
from firth.distributed import shard_files, shard_table
from firth.distributed.search import ShardedIndex
from firth.search.storage import Stored

__all__ = ["local"]
pytestmark = pytest.mark.usefixtures("local")


class Ended(BaseException):
    """The end of the program."""


@pytest.mark.parametrize("named", [False, True])
def test_the_program_ends_in_the_middle_of_a_change(tmp_path, named, monkeypatch):
    """At any of its calls: when the index is opened again the change is there, or nothing is."""
    rng = np.random.default_rng(3)
    vectors = rows(rng, 40)
    ids = [f"n{n}" for n in range(40)] if named else None
    before = firth.Index(DIM, "ip")
    before.add(vectors, ids)
    ShardedIndex.build(vectors, ids, path=tmp_path / "x", metric="ip").close()
    new = [f"n{n}" for n in range(30, 50)] if named else list(range(30, 50))
    changes = {
        "add": lambda one: one.add(vectors[:20] + 1, new),
        "remove": lambda one: one.remove(before.ids[3:17]),
    }
    seen = set()
    for name, call in changes.items():
        after = firth.Index(DIM, "ip")
        after.add(vectors, ids)
        call(after)
        for place in range(8):
            folder = tmp_path / f"{name}{place}"
            shutil.copytree(tmp_path / "x", folder)
            sharded = ShardedIndex.open(folder)
            steps = iter(range(place))

            def tick(*_, steps=steps):
                if next(steps, None) is None:
                    raise Ended

            def ticking(real, tick=tick):
                return lambda *one: (tick(), real(*one))[1]

            engine = made[-1]
            with monkeypatch.context() as patched:
                patched.setattr(engine, "call", ticking(engine.call))
                patched.setattr(shard_files.Change, "write", ticking(shard_files.Change.write))
                patched.setattr(shard_table.os, "unlink", ticking(os.unlink))
                try:
                    call(sharded)
                    seen.add("whole")
                except Ended:
                    pass
            for actor in engine.living():
                actor.end()
            sharded._table.ids._table.log.leave()
            recorded = os.path.exists(folder / "change.firth")
            seen.add(recorded)
            again = ShardedIndex.open(folder)
            wanted = after if place else before
            compare(rng, again, wanted, named)
            assert not os.path.exists(folder / "change.firth")
            again.close()
    assert seen == {"whole", True, False}


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_actor_that_is_lost_while_it_opens_its_shard_is_replaced(tmp_path, monkeypatch, when):
    begun = LocalActors.__init__

    def faulty(self, *arguments):
        begun(self, *arguments)
        ends = iter([None, when, when])  # the second shard's, and the one in its place
        self.fault = lambda actor, method: next(ends, None) if method == "open" else None

    monkeypatch.setattr(LocalActors, "__init__", faulty)
    vectors = rows(np.random.default_rng(1), 90)
    with ShardedIndex.build(vectors, shards=3, path=tmp_path / "x", timeout=5) as sharded:
        assert len(made[-1].actors) == 5
        index = firth.Index(DIM)
        index.add(vectors)
        same(sharded.search(vectors[:5], 10), index.search(vectors[:5], 10))


def test_an_answer_without_a_shard_says_so(tmp_path):
    sharded, index, vectors = small(tmp_path / "x", timeout=0.3)
    engine = made[-1]
    whole = sharded.search(vectors[:3], 60, partial=True)
    same(whole, index.search(vectors[:3], 60))
    engine.asleep = True  # a new actor does not come to life
    actor_of(sharded, 1).handle.end()
    others = shard_files.shard_of(index.ids, 3) != 1
    for _ in range(2):
        found = sharded.search(vectors[:3], 60, partial=True)
        assert found.missing == (1,)
        wanted = index.search(vectors[:3], 60, filter=others)
        np.testing.assert_array_equal(found.ids, wanted.ids)
        np.testing.assert_array_equal(found.scores, wanted.scores)
        found = sharded.search_range(vectors[:3], -1, partial=True)
        assert found.missing == (1,)
        assert [len(one) for one in found.ids] == [others.sum()] * 3
    with pytest.raises(ConnectionError, match=r"search: shard 1 .*shard-001.firth.* dead|killed"):
        sharded.search(vectors[:3])
    with pytest.raises(ConnectionError, match="add: shard 1"):
        sharded.add(vectors[:20] + 3)  # recorded
    index.add(vectors[:20] + 3)
    engine.asleep = actor_of(sharded, 1).handle.asleep = False
    same(sharded.search(vectors[:3], 60), index.search(vectors[:3], 60))
    np.testing.assert_array_equal(sharded.add(vectors[:2]), index.add(vectors[:2]))
    same(sharded.search(vectors[:3], 60), index.search(vectors[:3], 60))
    assert not os.path.exists(tmp_path / "x" / "change.firth")
    np.testing.assert_array_equal(ShardedIndex.search(sharded, vectors, 2).ids.shape, (60, 2))


def test_a_slow_actor_is_missing_after_the_time(tmp_path):
    sharded, _, vectors = small(tmp_path / "x")
    actor_of(sharded, 2).handle.asleep = True
    assert sharded.search(vectors, partial=True, timeout=0.05).missing == (2,)
    actor_of(sharded, 2).handle.asleep = False
    assert sharded.search(vectors, partial=True, timeout=5).missing == ()
    with pytest.raises(TypeError, match=r"^search: partial must be True or False, got 'yes'$"):
        sharded.search(vectors, partial="yes")
    with pytest.raises(TypeError, match=r"^search_range: partial must be True or False, got 1$"):
        sharded.search_range(vectors, 0, partial=1)


def test_replicas_share_searches_and_see_changes(tmp_path, monkeypatch):
    sharded, index, vectors = small(tmp_path / "x", shards=2, replicas=3)
    asked = []
    made[-1].fault = lambda actor, method: asked.append((id(actor), method))
    for number in range(12):
        same(sharded.search(vectors[:2], 60), index.search(vectors[:2], 60))
        for one in (sharded, index):
            one.add(vectors[number] + 2, number)
    searches = [actor for actor, method in asked if method == "search"]
    assert sorted(searches.count(one) for one in set(searches)) == [4] * 6
    # A follower that opens its file is left out, so what it reads too early is never seen.
    follower = actor_of(sharded, 0, 1)
    follower.handle.end()
    made[-1].asleep = True
    for _ in range(4):
        same(sharded.search(vectors[:2], 60), index.search(vectors[:2], 60))
    late = actor_of(sharded, 0, 1)
    assert late is not follower
    for one in (sharded, index):
        one.add(vectors[:9] + 7, range(100, 109))
    same(sharded.search(vectors[:2], 60), index.search(vectors[:2], 60))
    late.handle.asleep = False
    asked.clear()
    for _ in range(6):
        same(sharded.search(vectors[:2], 80), index.search(vectors[:2], 80))
    assert id(late.handle) in {actor for actor, _ in asked}
    # After a rewrite, asked for or not, all map the new file.
    sharded.remove(range(30))
    index.remove(range(30))
    sharded.compact()
    check_keys(sharded)
    before = actor_of(sharded, 0).handle.shard._index._table.key
    monkeypatch.setattr("firth.search.storage._LOG_FROM", 1)
    for one in (sharded, index):
        one.add(np.tile(vectors, (20, 1)))
    assert actor_of(sharded, 0).handle.shard._index._table.key != before
    check_keys(sharded)
    for _ in range(6):
        same(sharded.search(vectors[:2], 80), index.search(vectors[:2], 80))


def check_keys(sharded):
    for actors in sharded._table.actors._actors:
        assert len({one.handle.shard._index._table.key for one in actors}) == 1


def test_a_follower_that_opens_late_keeps_the_order_of_equal_scores(tmp_path):
    """What it reads is newer than what it was asked to read, and changes made twice in a row."""
    names = [f"n{number}" for number in range(8)]
    index = firth.Index(DIM)
    index.add(np.ones((8, DIM)), names)
    options = {"path": tmp_path / "x", "shards": 1, "replicas": 2}
    sharded = ShardedIndex.build(np.ones((8, DIM)), names, **options)
    made[-1].asleep = True
    actor_of(sharded, 0, 1).handle.end()
    sharded._table.actors.replace(actor_of(sharded, 0, 1), RuntimeError("lost"))
    for one in (sharded, index):
        one.remove("n3")
        one.add(np.ones(DIM), "n3")
        one.add(np.ones(DIM), "new")
    late = actor_of(sharded, 0, 1)
    late.handle.asleep = False
    for _ in range(4):
        same(sharded.search(np.ones(DIM)), index.search(np.ones(DIM)))
    assert late.opening is None
    assert late is actor_of(sharded, 0, 1)


def test_a_shard_that_cannot_write(tmp_path, monkeypatch):
    """Its error is told, nothing is answered from half of a change, and later it is made."""
    sharded, index, vectors = small(tmp_path / "x", replicas=2)
    real, name = Stored._append, "shard-001"

    def full(log, *rest):
        if name in log.path:
            raise OSError(28, "No space left on device")
        return real(log, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Stored, "_append", full)
        with pytest.raises(RuntimeError, match=r"add: shard 1 .*No space left.*recorded"):
            sharded.add(vectors + 1, range(60))
        index.add(vectors + 1, range(60))
        others = shard_files.shard_of(index.ids, 3) != 1
        seen = set()
        for number in range(8):  # its follower has the change
            found = sharded.search(vectors[:3], 60, partial=True)
            rows = others if found.missing else others | True
            wanted = index.search(vectors[:3], 60, filter=rows)
            np.testing.assert_array_equal(found.ids, wanted.ids)
            np.testing.assert_array_equal(found.scores, wanted.scores)
            seen.add(found.missing)
            if number == 4:  # a new one cannot either
                actor_of(sharded, 1).handle.end()
        assert seen == {(1,), ()}
        made[-1].asleep = True  # and then there is no other
        actor_of(sharded, 1, 1).handle.end()
        with pytest.raises(RuntimeError, match=r"search: shard 1 .*No space left.*recorded"):
            sharded.search(vectors)
    for _ in range(3):
        same(sharded.search(vectors[:3], 60), index.search(vectors[:3], 60))
    sharded.flush()
    assert not os.path.exists(tmp_path / "x" / "change.firth")
    name = "ids.firth"
    monkeypatch.setattr(Stored, "_append", full)
    with pytest.raises(OSError, match="No space left"):
        sharded.add(vectors)
    assert not os.path.exists(tmp_path / "x" / "change.firth")
    same(sharded.search(vectors[:3], 60), index.search(vectors[:3], 60))


def test_searches_see_whole_changes(tmp_path):
    """All rows have the same number in each version, whatever thread asks meanwhile."""
    count = 40
    sharded, _, _ = small(tmp_path / "x", shards=3, replicas=2)
    sharded.remove(sharded.ids)
    sharded.add(np.full((count, DIM), 1.0), range(count))
    problems, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            found = sharded.search_range(np.ones(DIM), -1)
            ids = found.ids.tolist()
            values = set(sharded.get(ids)[:, 0].tolist()) if len(ids) == count else {len(ids)}
            if ids != list(range(count)) or len(values) != 1:
                problems.append((ids, values))

    lock = threading.RLock()  # plain objects work in the thread that calls them
    engine = made[-1]
    real = engine.call, engine.done
    engine.call = lambda *one: [lock.acquire(), real[0](*one), lock.release()][1]
    engine.done = lambda *one: [lock.acquire(), real[1](*one), lock.release()][1]
    chance = random.Random(5)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(2, 30):
        living = engine.living()
        if number % 3 == 0:
            with lock:
                living[chance.randrange(len(living))].end()
        sharded.add(np.full((count, DIM), float(number)), range(count))
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert not problems
