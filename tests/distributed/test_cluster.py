"""Connecting, what a cluster is asked before work begins, and tasks that go on after a failure."""

from __future__ import annotations

import os
import signal
import time

import pytest

from firth.distributed import cluster
from ray_clusters import hosts

pytestmark = pytest.mark.ray
hosts2 = hosts(2)


def twice(number, sleep=0.0):
    time.sleep(sleep)
    return 2 * number


def dies_once(marker):
    """Ends its process at the first call."""
    if not os.path.exists(marker):
        open(marker, "w").close()
        os._exit(1)
    return "done"


def fails(text):
    raise ValueError(text)


def test_nodes(hosts2, tmp_path):
    found = cluster.nodes("test")
    assert (found.count, found.cpus) == (2, 4)
    file = tmp_path / "here"
    file.write_bytes(b"abc")
    assert cluster.nodes("test", [str(file)]) == found
    with pytest.raises(MemoryError, match=r"^test: a worker needs 1024\.00 GiB, no node has more"):
        cluster.nodes("test", memory=1 << 40)


def test_a_file_that_is_missing_or_another_on_a_node(hosts2, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.write_bytes(b"abc")
    real = os.path.getsize
    monkeypatch.setattr(os.path, "getsize", lambda path: real(here))  # of this process alone
    with pytest.raises(FileNotFoundError, match=r"^test: /no/such is not on the node "):
        cluster.nodes("test", ["/no/such"])
    other = tmp_path / "other"
    other.write_bytes(b"four")
    with pytest.raises(FileNotFoundError, match=r"other has 4 bytes on the node .*, 3 here$"):
        cluster.nodes("test", [str(other)])


def test_another_version(hosts2, monkeypatch):
    import firth

    monkeypatch.setattr(firth, "__version__", "99.0")
    with pytest.raises(RuntimeError, match=r"^test: the node [\d.]+ has firth [\w.]+, this "):
        cluster.nodes("test")


def test_tasks_in_order(hosts2):
    found = cluster.tasks(twice, ((n, 0.2 * (n == 0)) for n in range(9)), most=4)
    assert list(cluster.results(found)) == [2 * n for n in range(9)]


def test_a_task_whose_worker_dies_is_repeated(hosts2, tmp_path):
    found = cluster.tasks(dies_once, [(str(tmp_path / "marker"),)], most=1)
    assert list(cluster.results(found)) == ["done"]


def test_an_error_of_a_task_is_raised_as_it_was(hosts2):
    with pytest.raises(ValueError, match=r"^what it said$"):
        list(cluster.results(cluster.tasks(fails, [("what it said",)], most=1)))


def test_signals_are_as_before(hosts2):
    """A SIGTERM must still end trainings as `firth.interrupt` has it."""
    before = signal.getsignal(signal.SIGTERM)
    cluster.connect()
    assert signal.getsignal(signal.SIGTERM) is before
