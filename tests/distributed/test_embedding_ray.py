"""Collections embedded on clusters of two and three nodes, while workers, nodes, a driver die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth.distributed import datasets, embedding
from firth.distributed.datasets import open_embedding
from firth.distributed.embedders import Task, Worker
from firth.distributed.embedding import Embedded, embed
from ray_clusters import STORE, cluster, wait_for
from sentence_folders import TEXTS, sentence_folder

pytestmark = pytest.mark.ray

LINES = [f"{text} {word}" for word in ("cat", "dog", "sun", "rain") for text in TEXTS * 10]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Any]:
    """A cluster of two nodes, to which tests add a third one."""
    with cluster(2) as made:
        yield made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(sentence_folder(tmp_path_factory.mktemp("embed") / "model", most=16))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(LINES))
    return path


@pytest.fixture(scope="module")
def wanted(model: str) -> np.ndarray:
    return firth.SentenceTransformer(model).encode(LINES)


@pytest.fixture(autouse=True)
def small_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_SMALLEST", 500)


def check(found: Embedded, wanted: np.ndarray) -> None:
    assert found.rows == len(wanted)
    shards = list(open_embedding(found.folder))
    assert len(shards) == found.files > 10
    np.testing.assert_array_equal(np.concatenate([one for _, one in shards]), wanted)
    names = sorted(one.name for one in Path(found.folder).iterdir())
    assert names == ["_embedding.json", *(one.name for one, _ in shards)]


def rows(blocks: int) -> Any:
    """`LINES` as a dataset whose blocks are made by tasks on all nodes."""
    import ray

    made = ray.data.range(len(LINES), override_num_blocks=blocks)
    return made.map(lambda row: {"text": LINES[row["id"]], "n": row["id"]})


def test_two_nodes(
    hosts: Any, text: Path, tmp_path: Path, model: str, wanted: np.ndarray,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = embed(text, model, out=tmp_path / "one", workers=1, progress=False)
    check(found, wanted)
    shown = capfd.readouterr()
    assert "Dataset" not in shown.out + shown.err  # no bars and no messages of Ray Data
    found = embed(rows(5), model, out=tmp_path / "rows", shard_rows=25, progress=False)
    check(found, wanted)
    shown = capfd.readouterr()
    assert "Dataset" not in shown.out + shown.err
    assert embed(rows(3), model, out=tmp_path / "rows", shard_rows=25).already == len(LINES)


def test_a_worker_is_killed(
    hosts: Any, text: Path, tmp_path: Path, model: str, wanted: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    marker = str(tmp_path / "killed")

    class Dying(Worker):
        def write(self, shard: Any, texts: Any, table: Any) -> str:
            said = Worker.write(self, shard, texts, table)
            if shard.number == 5 and not os.path.exists(marker):
                open(marker, "w").close()
                open(os.path.join(self._out, ".part-1.npy.01234567.tmp"), "w").close()
                os.kill(os.getpid(), 9)
            return said

    monkeypatch.setattr(embedding, "Worker", Dying)
    check(embed(text, model, out=tmp_path / "out", format="npy", workers=2), wanted)
    assert os.path.exists(marker)


def test_what_a_worker_raises_ends_the_work(
    hosts: Any, text: Path, tmp_path: Path, model: str, wanted: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    class Failing(Worker):
        def write(self, shard: Any, texts: Any, table: Any) -> str:
            if shard.number == 9:
                raise firth.FormatError("no such luck", "/a/file")
            return Worker.write(self, shard, texts, table)

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "Worker", Failing)
        with pytest.raises(firth.FormatError, match=r"^/a/file: no such luck$"):
            embed(text, model, out=tmp_path / "out", workers=1)
    found = embed(text, model, out=tmp_path / "out", workers=1)
    assert 0 < found.already < len(LINES)
    check(found, wanted)


KILLED = """
import os, sys, time
from firth.distributed import datasets, embedding
from firth.distributed.embedders import Worker

dealt = embedding.dealt

class Waiting(Worker):
    def write(self, shard, texts, table):
        if last in texts:  # it is not there yet when this process ends, and the worker with it
            time.sleep(1000)
        return Worker.write(self, shard, texts, table)

def counted(*arguments, **options):
    for i, result in enumerate(dealt(*arguments, **options)):
        if i == 5:
            os.kill(os.getpid(), 9)
        yield result

datasets._SMALLEST = 500
embedding.dealt, embedding.Worker = counted, Waiting
text, model, out = sys.argv[1:]
last = open(text).read().splitlines()[-1]
embedding.embed(text, model, out=out)
"""


def test_the_driver_is_killed(
    hosts: Any, text: Path, tmp_path: Path, model: str, wanted: np.ndarray
) -> None:
    environment = {**os.environ, "RAY_ADDRESS": hosts.address}
    command = [sys.executable, "-c", KILLED, text, model, tmp_path / "out"]
    assert subprocess.run(command, env=environment, timeout=100).returncode == -signal.SIGKILL
    found = embed(text, model, out=tmp_path / "out", workers=2)
    assert 0 < found.already < len(LINES)
    check(found, wanted)


def test_three_nodes_of_which_one_dies(
    hosts: Any, text: Path, tmp_path: Path, model: str, wanted: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    node = hosts.add_node(num_cpus=2, object_store_memory=STORE)
    hosts.wait_for_nodes()
    check(embed(text, model, out=tmp_path / "four", workers=4), wanted)
    reached, name = str(tmp_path / "reached"), node.node_id

    class Reaching(Worker):
        def __call__(self, task: Task) -> Iterator[tuple[int, str]]:
            import ray

            if ray.get_runtime_context().get_node_id() == name:
                open(reached, "w").close()
                time.sleep(100)
            wait_for(reached)  # else there may be nothing left to do when that node starts
            yield from Worker.__call__(self, task)

    def remove() -> None:
        while not os.path.exists(reached):
            time.sleep(0.05)
        hosts.remove_node(node, allow_graceful=False)

    monkeypatch.setattr(embedding, "Worker", Reaching)
    thread = threading.Thread(target=remove, daemon=True)
    thread.start()
    # Blocks of the dataset are lost with the node, too.
    check(embed(rows(12), model, out=tmp_path / "rows", shard_rows=25), wanted)
    thread.join(10)
    assert os.path.exists(reached)
