"""Clusters that cannot be reached: one line each, soon, and nothing is started."""

from __future__ import annotations

import socket
import threading

import pytest

from firth.distributed import cluster
from processes import printed

ray = pytest.importorskip("ray")


def test_nobody_listens(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConnectionError, match=rf"^connect: no Ray cluster at {address} \("):
        cluster.connect(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionError, match=rf"^connect: no Ray cluster at {address} \("):
        cluster.connect()
    assert not ray.is_initialized()


def test_a_recorded_cluster_that_has_ended(monkeypatch):
    """Ray itself would wait for it: without an address a new one is started, "auto" says so."""
    from ray._private import services

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: address)
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "resolve_ip_for_localhost", lambda host: host)
    monkeypatch.setattr(ray, "init", lambda address, **_: started.append(address))
    cluster.connect()
    assert started == ["local"]
    with pytest.raises(ConnectionError, match=rf"^connect: no Ray cluster at {address} \("):
        cluster.connect("auto")
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    cluster.connect()
    assert started == ["local", None]


@pytest.mark.parametrize("address", ["somewhere", "host:", ":1x"])
def test_no_address(address):
    with pytest.raises(ValueError, match=r"^connect: address must be auto, local or HOST:PORT"):
        cluster.connect(address)


def test_ray_client_is_not_supported():
    with pytest.raises(ValueError, match="is Ray Client, which shares no memory"):
        cluster.connect("ray://head:10001")


@pytest.mark.slow
def test_something_else_listens():
    """A server that accepts and says nothing, as a cluster behind a firewall."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.listen(8)
        held = []

        def accept():
            while True:
                try:
                    held.append(server.accept())
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        said = printed(
            """
            import sys, time
            from firth.distributed import cluster
            began = time.monotonic()
            try:
                cluster.connect(sys.argv[1])
            except ConnectionError as error:
                print(error, time.monotonic() - began < 40)
            """,
            address,
        )
    assert said.startswith(f"connect: no Ray cluster at {address} (")
    assert said.strip().endswith("True")


def test_without_ray_the_error_names_what_to_install():
    said = printed(
        """
        import sys
        sys.modules["ray"] = None
        from firth.distributed import cluster
        try:
            cluster.connect()
        except ImportError as error:
            print(error)
        """
    )
    wanted = 'firth.distributed needs Ray, the extra "distributed": pip install "ray[data]"'
    assert said.strip() == wanted
