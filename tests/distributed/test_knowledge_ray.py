"""Knowledge bases built on clusters of two and three nodes, while workers and nodes die."""

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

import pytest

import firth
from firth import KnowledgeBase
from firth.distributed import knowledge
from firth.distributed.knowledge import Worker, build_knowledge_base
from knowledge_sources import QUESTIONS, write_model, write_sources
from rag.whole import check_whole_kb, content
from ray_clusters import STORE, cluster, wait_for

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("embed") / "model")


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources") / "docs")


@pytest.fixture(scope="module")
def one_machine(
    docs: Path, model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KnowledgeBase]:
    """What is to come out."""
    path = tmp_path_factory.mktemp("here") / "kb"
    with firth.KnowledgeBase(path, model, size=16, overlap=4) as kb:
        kb.add([docs, "a text"], {"kind": "test"})
        yield kb


@pytest.fixture(scope="module")
def hosts() -> Iterator[Any]:
    """A cluster of two nodes, to which tests add a third one."""
    with cluster(2) as made:
        yield made


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "_BYTES", 2000)


def check(kb: KnowledgeBase, one_machine: KnowledgeBase) -> None:
    with kb:
        assert content(kb) == content(one_machine)
        check_whole_kb(kb)
        for question in QUESTIONS:
            assert kb.search(question) == one_machine.search(question)


def build(docs: Path, path: Path, model: str, **options: Any) -> KnowledgeBase:
    given = {"metadata": {"kind": "test"}, "size": 16, "overlap": 4, **options}
    return build_knowledge_base([docs, "a text"], path, model, **given)


def check_workers(
    counts: list[int], docs: Path, tmp_path: Path, model: str, one_machine: KnowledgeBase
) -> None:
    for count in counts:
        kb = build(docs, tmp_path / f"kb{count}", model, workers=count)
        assert kb.changes.added == one_machine.documents
        assert len(kb.changes.skipped) == 2
        check(kb, one_machine)


def test_two_nodes(
    hosts: Any, docs: Path, tmp_path: Path, model: str, one_machine: KnowledgeBase,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    check_workers([1], docs, tmp_path, model, one_machine)
    shown = capfd.readouterr()
    assert "Dataset" not in shown.out + shown.err  # nor bars
    with pytest.raises(ValueError, match="workers is 5, the cluster has 4 processors"):
        build(docs, tmp_path / "none", model, workers=5)
    assert not (tmp_path / "none").exists()


def test_a_worker_is_killed(
    hosts: Any, docs: Path, tmp_path: Path, model: str, one_machine: KnowledgeBase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    marker = tmp_path / "killed"
    done = str(marker)

    class Dying(Worker):
        def found(self, batch: Any, host: str) -> Any:
            if os.path.basename(batch[-1].name) == "rows.jsonl" and not os.path.exists(done):
                open(done, "w").close()
                os.kill(os.getpid(), 9)
            yield from Worker.found(self, batch, host)

    monkeypatch.setattr(knowledge, "Worker", Dying)
    check_workers([4], docs, tmp_path, model, one_machine)
    assert marker.exists()


def test_a_damaged_file_that_was_named_ends_the_work(
    hosts: Any, docs: Path, tmp_path: Path, model: str
) -> None:
    given = [docs / "bank.md", docs / "damaged.csv", docs / "rows.jsonl"]
    with pytest.raises(firth.FormatError, match=r"damaged\.csv: row 1 has more fields"):
        build_knowledge_base(given, tmp_path / "kb", model, size=16, overlap=4, workers=2)
    with firth.KnowledgeBase(tmp_path / "kb") as kb:
        assert kb.documents == [str(docs / "bank.md")]


KILLED = """
import os, sys
from firth.distributed import knowledge
from firth.rag import adding

write, calls = adding.Writer._write, []

def counted(*arguments):
    write(*arguments)
    calls.append(0)
    if len(calls) == 5:
        os.kill(os.getpid(), 9)

knowledge._BYTES = 2000
adding.Writer._write = counted
docs, path, model = sys.argv[1:]
knowledge.build_knowledge_base(
    [docs, "a text"], path, model, metadata={"kind": "test"}, size=16, overlap=4
)
"""


def test_the_driver_is_killed(
    hosts: Any, docs: Path, tmp_path: Path, model: str, one_machine: KnowledgeBase
) -> None:
    path = tmp_path / "kb"
    environment = {**os.environ, "RAY_ADDRESS": hosts.address}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, docs, path, model], env=environment, timeout=100
    )
    assert killed.returncode == -signal.SIGKILL
    with firth.KnowledgeBase(path) as kb:
        check_whole_kb(kb)
        written = len(kb)
    assert 0 < written < len(one_machine)
    kb = build(docs, path, model, workers=2)
    changes = kb.changes
    assert (changes.unchanged, len(changes.added)) == (written, len(one_machine) - written)
    check(kb, one_machine)


def test_three_nodes(
    hosts: Any, docs: Path, tmp_path: Path, model: str, one_machine: KnowledgeBase
) -> None:
    hosts.add_node(num_cpus=2, object_store_memory=STORE)
    hosts.wait_for_nodes()
    check_workers([1, 2, 4], docs, tmp_path, model, one_machine)


def test_a_node_dies(
    hosts: Any, docs: Path, tmp_path: Path, model: str, one_machine: KnowledgeBase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    node = sorted(hosts.worker_nodes, key=lambda one: one.node_id)[0]
    marker, name = tmp_path / "reached", node.node_id
    reached = str(marker)

    class Reaching(Worker):
        def found(self, batch: Any, host: str) -> Any:
            import ray

            if ray.get_runtime_context().get_node_id() == name:
                open(reached, "w").close()
                time.sleep(100)
            wait_for(reached)  # else there may be nothing left to do when that node starts
            yield from Worker.found(self, batch, host)

    def remove() -> None:
        while not marker.exists():
            time.sleep(0.05)
        hosts.remove_node(node, allow_graceful=False)

    monkeypatch.setattr(knowledge, "Worker", Reaching)
    thread = threading.Thread(target=remove, daemon=True)
    thread.start()
    kb = build(docs, tmp_path / "kb", model)
    assert marker.exists()
    thread.join(10)
    assert kb.changes.added == one_machine.documents
    check(kb, one_machine)
