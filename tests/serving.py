"""A server in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx

from firth.serve.server import Server, configured

# one for all tests: each new one reads certificates, and a connection that stays would be no one's
HTTP = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """The URL of an application that listens while the block runs."""
    ready = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(configured(app), ready.set)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        assert ready.wait(20)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
