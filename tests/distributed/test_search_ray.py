"""Indexes in shards on Ray: the answers of one `Index`, also after actors and nodes are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import firth
from firth.distributed.search import ShardedIndex
from ray_clusters import hosts

pytestmark = pytest.mark.ray
hosts3 = hosts(3)
RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((600, 24)).astype(np.float32)
ROWS[300:350] = ROWS[100:150]  # equal scores
QUERIES = RNG.standard_normal((40, 24)).astype(np.float32)


def same(sharded, index):
    ids = index.ids
    mask = np.arange(len(index)) % 3 > 0
    for options in ({}, {"filter": ids[50:300]}, {"filter": mask, "exclude": ids[:9]}):
        ours, wanted = sharded.search(QUERIES, 20, **options), index.search(QUERIES, 20, **options)
        assert ours.missing == ()
        np.testing.assert_array_equal(ours.ids, wanted.ids)
        np.testing.assert_array_equal(ours.scores, wanted.scores)
    np.testing.assert_array_equal(sharded.get(ids[::7]), index.get(ids[::7]))
    assert list(sharded.ids) == list(ids)


def facts(ray, actor):
    return ray._private.state.actors(actor.handle._actor_id.hex())


def actors(sharded):
    return [actor for some in sharded._table.actors._actors for actor in some]


def kill(ray, actor):
    os.kill(facts(ray, actor)["Pid"], signal.SIGKILL)


def gone(pid):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


@pytest.mark.parametrize(("shards", "replicas"), [(1, 1), (2, 2), (4, 1)])
def test_same_as_one_index(hosts3, tmp_path, shards, replicas):
    names = [f"n{number}" for number in range(600)] if shards == 2 else None
    index = firth.Index(24)
    index.add(ROWS, names)
    options = {"shards": shards, "replicas": replicas, "path": tmp_path / "x"}
    with ShardedIndex.build(ROWS, names, **options) as sharded:
        same(sharded, index)
        more = names and [f"m{number}" for number in range(60)]
        for one in (sharded, index):
            one.add(ROWS[:60] + 1, more)
            one.remove(index.ids[20:40])
        for _ in range(replicas):
            same(sharded, index)
        large = np.tile(QUERIES, (40, 1))  # beyond what Ray sends inside a call
        np.testing.assert_array_equal(sharded.search(large).ids, index.search(large).ids)
        np.testing.assert_array_equal(
            np.concatenate(sharded.search_range(QUERIES, 0.3).scores),
            np.concatenate(index.search_range(QUERIES, 0.3).scores),
        )
        with pytest.raises(KeyError, match="remove: id"):
            sharded.remove("no" if names else -1)
    with ShardedIndex.open(tmp_path / "x", "r") as sharded:
        same(sharded, index)


def test_actors_and_a_node_are_lost(hosts3, tmp_path):
    """While threads search and a program adds: whole answers of one version, or the shards named.

    In the end the cluster has two nodes.
    """
    import ray

    index = firth.Index(24)
    index.add(ROWS)
    sharded = ShardedIndex.build(ROWS, path=tmp_path / "x", shards=2, replicas=2)
    assert len({facts(ray, one)["Address"]["NodeID"] for one in actors(sharded)}) > 1
    problems, stop = [], threading.Event()
    counts = {600 + 5 * number for number in range(8)}

    def ask():
        while not stop.is_set():
            try:
                found = sharded.search_range(np.zeros(24), -1)
                if found.missing or len(found.ids) not in counts:
                    problems.append(len(found.ids))
            except Exception as error:
                problems.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for number in range(4):
            kill(ray, actors(sharded)[number])
            added = ROWS[5 * number : 5 * number + 5] + 2
            assert sharded.add(added).tolist() == index.add(added).tolist()
            same(sharded, index)
        nodes = {facts(ray, one)["Address"]["NodeID"] for one in actors(sharded)}
        node = next(one for one in hosts3.worker_nodes if one.node_id in nodes)
        hosts3.remove_node(node)
        same(sharded, index)
        added = ROWS[100:105] + 2
        assert sharded.add(added).tolist() == index.add(added).tolist()
        same(sharded, index)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert not problems
    sharded.close()
    with ShardedIndex.open(tmp_path / "x", verify=True) as again:
        same(again, index)


def test_more_replicas_than_processors(hosts3, tmp_path):
    message = r"^build: replicas is 1000000, the cluster has \d+ processors$"
    with pytest.raises(ValueError, match=message):
        ShardedIndex.build(ROWS, path=tmp_path / "x", shards=2, replicas=10**6)
    assert not (tmp_path / "x").exists()


def test_a_shard_is_missing(hosts3, tmp_path):
    """As long as no processor is free for a new actor."""
    import ray

    index = firth.Index(24)
    index.add(ROWS)
    sharded = ShardedIndex.build(ROWS, path=tmp_path / "x", shards=3)

    @ray.remote(num_cpus=1)
    class Other:
        def is_there(self):
            return True

    free = int(ray.cluster_resources()["CPU"]) - 3
    others = [Other.remote() for _ in range(free + 1)]  # one waits
    there = [one.is_there.remote() for one in others]
    assert len(ray.wait(there, num_returns=free, timeout=60)[0]) == free
    pid = facts(ray, actors(sharded)[1])["Pid"]
    os.kill(pid, signal.SIGKILL)
    gone(pid)
    # The one that waited has the processor, before a search wants it for a new actor.
    assert len(ray.wait(there, num_returns=free + 1, timeout=60)[0]) == free + 1
    until = time.monotonic() + 20
    while not (found := sharded.search(QUERIES, partial=True)).missing:
        assert time.monotonic() < until
    assert found.missing == (1,)
    assert (found.ids >= 0).all()
    with pytest.raises(ConnectionError, match=r"search: shard 1 .*shard-001.*cannot be opened"):
        sharded.search(QUERIES, timeout=1.5)
    for one in others:
        ray.kill(one)
    same(sharded, index)
    sharded.close()


def test_the_program_is_killed(hosts3, tmp_path):
    """In the middle of its changes: all of those that it has told are there, and no half."""
    ShardedIndex.build(ROWS[:0], path=tmp_path / "x", shards=2).close()
    program = (
        "import ray, sys, numpy as np\n"
        f"ray.init({hosts3.address!r}, logging_level='error', log_to_driver=False)\n"
        "from firth.distributed.search import ShardedIndex\n"
        f"index = ShardedIndex.open({str(tmp_path / 'x')!r})\n"
        "for number in range(10000):\n"
        "    index.add(np.full((40, 24), number + 1.0), np.arange(40) + 40 * number)\n"
        "    print(number, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with process:
        for line in process.stdout:
            if int(line) >= 5:
                break
        process.kill()
        told = [int(line), *map(int, process.stdout)][-1]
    with ShardedIndex.open(tmp_path / "x") as sharded:
        done, rest = divmod(len(sharded), 40)
        assert rest == 0
        assert told + 1 <= done <= told + 2
        assert sharded.ids.tolist() == list(range(len(sharded)))
        values = sharded.get(sharded.ids)
        np.testing.assert_array_equal(
            values, np.repeat(np.arange(done) + 1.0, 40 * 24).reshape(-1, 24)
        )


def test_what_cannot_work(hosts3, tmp_path):
    with ShardedIndex.build(ROWS, path=tmp_path / "shared", shards=2, cpus=4) as sharded:
        assert len(sharded) == len(ROWS)  # the cluster has six processors, which they share
    with ShardedIndex.build(ROWS, path=tmp_path / "x", shards=2) as sharded:
        with pytest.raises(BlockingIOError, match="open for writing"):
            ShardedIndex.open(tmp_path / "x")
        with pytest.raises(TypeError, match="not pickled"):
            sharded.__reduce__()
    shard = tmp_path / "x" / "shard-001.firth"
    shard.write_bytes(shard.read_bytes()[:-64])
    with pytest.raises(firth.FormatError, match=r"shard-001\.firth"):
        ShardedIndex.open(tmp_path / "x")
