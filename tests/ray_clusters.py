"""Clusters of Ray on this machine, as fixtures: several nodes, each with processors of its own."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = str(Path(__file__).parent)
STORE = 200 << 20  # bytes of a node's object store; several nodes share this machine
# Failures are noticed in seconds, which a real network would not allow.
FAST = {
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000", "RAY_health_check_failure_threshold": "4",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10", "RAY_worker_niceness": "0",
}  # fmt: skip


@contextlib.contextmanager
def cluster(nodes: int, cpus: int = 2, **node: Any) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of some nodes, to which this process is connected."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    # Workers import what the tests import.
    path = os.environ.get("PYTHONPATH", "")
    settings = {"PYTHONPATH": os.pathsep.join([TESTS, path]).strip(os.pathsep), **FAST}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    given = {"num_cpus": cpus, "object_store_memory": STORE, "include_dashboard": False, **node}
    made = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own
            made = Cluster(initialize_head=True, head_node_args=given)
            del given["include_dashboard"]
            for _ in range(nodes - 1):
                made.add_node(**given)
            made.wait_for_nodes()
            ray.init(address=made.address, logging_level="error", log_to_driver=False)
        yield made
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.shutdown()
            if made is not None:
                made.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def wait_for(path: str) -> None:
    """Return when the file is there, or after a minute, when a test will say that it is not."""
    until = time.monotonic() + 60
    while not os.path.exists(path) and time.monotonic() < until:
        time.sleep(0.05)


def hosts(nodes: int) -> Any:
    """A fixture of a module: a cluster of so many nodes."""

    @pytest.fixture(scope="module", name=f"hosts{nodes}")
    def fixture() -> Iterator[Any]:
        with cluster(nodes) as made:
            yield made

    return fixture
