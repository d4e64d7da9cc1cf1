"""Indexes whose actors are plain objects, which end, sleep and fail when a test wants it."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest

import firth
from firth.distributed import replicas as replicas_module
from firth.distributed import search as search_module
from firth.distributed.replicas import Lost
from firth.distributed.search import ShardedIndex
from firth.distributed.shard import Shard

DIM = 5


class Reference:
    def __init__(self, actor, method, arguments):
        self.actor, self.method, self.arguments = actor, method, arguments
        self.value, self.error, self.done = None, None, False

    def fail(self, error):
        self.error, self.done = error, True


class Actor:
    def __init__(self):
        self.shard, self.dead, self.asleep, self.calls = Shard(), False, False, []

    def end(self):
        """As a process that is killed: the system takes its locks away."""
        index = self.shard._opened
        if index is not None and index._table.log is not None:
            index._table.log.leave()
        self.dead = True
        for one in self.calls:
            one.fail(Lost("killed"))
        self.calls = []

    def work(self):
        while self.calls and not self.asleep and not self.dead:
            one = self.calls.pop(0)
            try:
                found = getattr(self.shard, one.method)(*one.arguments)
                one.value, one.done = pickle.loads(pickle.dumps(found)), True
            except Exception as error:
                one.fail(pickle.loads(pickle.dumps(error)))


made = []  # every LocalActors


class LocalActors:
    """An `Engine`: ``fault(actor, method)`` says "before", "after" or None of each call."""

    def __init__(self, where, files, memory, shards, replicas, cpus):
        self.actors, self.fault, self.asleep = [], None, False
        made.append(self)

    def start(self):
        actor = Actor()
        actor.asleep = self.asleep
        self.actors.append(actor)
        return actor

    def call(self, actor, method, *arguments):
        reference = Reference(actor, method, pickle.loads(pickle.dumps(arguments)))
        if actor.dead:
            reference.fail(Lost("dead"))
            return reference
        ends = self.fault(actor, method) if self.fault else None
        if ends == "before":
            actor.end()
            reference.fail(Lost("killed"))
            return reference
        actor.calls.append(reference)
        actor.work()
        if ends == "after":
            reference.fail(Lost("killed"))
            actor.end()
        return reference

    def done(self, references, timeout):
        for one in references:
            one.actor.work()
        found = [one for one in references if one.done]
        if not found and timeout:
            time.sleep(min(timeout, 0.01))
        return found

    def value(self, reference):
        assert reference.done
        if reference.error is not None:
            raise reference.error
        return reference.value

    def shared(self, value):
        return value

    def stop(self, actor):
        actor.end()

    def living(self):
        return [one for one in self.actors if not one.dead]


@pytest.fixture
def local(monkeypatch):
    monkeypatch.setattr(search_module, "RayActors", LocalActors)
    monkeypatch.setattr(replicas_module, "_STEP", 0.02)
    monkeypatch.setattr(replicas_module, "_PAUSE", 0.001)
    made.clear()
    yield
    for engine in made:
        for actor in engine.living():
            actor.end()


def rows(rng, count):
    """Few different numbers, so that scores are equal, and zeros."""
    return rng.integers(-1, 2, (count, DIM)).astype(np.float32)


def same(found, wanted):
    """Matches in a range of many queries, or of one, or of `search`."""
    assert getattr(found, "missing", ()) == ()
    for ours, others in zip(found, wanted, strict=True):
        if isinstance(others, list):
            assert len(ours) == len(others)
            for one, other in zip(ours, others, strict=True):
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype
        else:
            np.testing.assert_array_equal(ours, others)
            assert ours.dtype == others.dtype
            assert ours.shape == others.shape


def some_ids(rng, index, named, count):
    known = list(index.ids)
    chosen = [known[rng.integers(len(known))] for _ in range(count)] if known else []
    return [*chosen, *(["no", "none"] if named else [-77, 10**12])]


def choice(rng, index, named, queries):
    """A filter of any kind."""
    kind = rng.integers(6)
    if kind == 0:
        return None
    if kind == 1:
        return some_ids(rng, index, named, 6)
    if kind == 2:
        return rng.random(len(index)) < 0.5
    if kind == 3:
        return np.packbits(rng.random(len(index)) < 0.5, bitorder="little")
    if kind == 4:
        return set(some_ids(rng, index, named, 3))
    each = [None, some_ids(rng, index, named, 2), rng.random(len(index)) < 0.3]
    return [each[rng.integers(3)] for _ in range(queries - 1)] + [some_ids(rng, index, named, 1)]


def compare(rng, sharded, index, named):
    assert len(sharded) == len(index)
    assert list(sharded.ids) == list(sharded) == list(index.ids)
    assert sharded.id_type is index.id_type
    queries = rows(rng, 4)
    for k in (1, 3, 50):
        same(sharded.search(queries, k), index.search(queries, k))
    same(sharded.search(queries[0], 4), index.search(queries[0], 4))
    for count in (4, 1, 0):
        allowed = choice(rng, index, named, count) if count else None
        excluded = choice(rng, index, named, count) if count else None
        options = {"filter": allowed, "exclude": excluded}
        part = queries[:count]
        same(sharded.search(part, 5, **options), index.search(part, 5, **options))
        same(sharded.search_range(part, 0.1, **options), index.search_range(part, 0.1, **options))
    same(sharded.search_range(queries[0], -1), index.search_range(queries[0], -1))
    ids = list(index.ids)
    if ids:
        wanted = [ids[rng.integers(len(ids))] for _ in range(7)]
        np.testing.assert_array_equal(sharded.get(wanted), index.get(wanted))
        np.testing.assert_array_equal(sharded[wanted[0]], index[wanted[0]])
        assert wanted[0] in sharded
    assert ("no" if named else -77) not in sharded
    stats = sharded.stats()
    assert stats["rows"] == len(index)
    assert set(stats) == set(index.stats())


def outcome(call, one):
    try:
        return "returned", call(one)
    except (KeyError, ValueError, TypeError) as error:
        return type(error), str(error)


def small(path, shards=3, **options):
    vectors = rows(np.random.default_rng(1), 60)
    index = firth.Index(DIM)
    index.add(vectors)
    return ShardedIndex.build(vectors, path=path, shards=shards, **options), index, vectors


def actor_of(sharded, shard, number=0):
    return sharded._table.actors._actors[shard][number]
