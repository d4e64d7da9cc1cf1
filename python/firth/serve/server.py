"""The process: a socket, uvicorn, limits of connections, and the end on SIGTERM."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from firth.serve.app import create_app
from firth.serve.security import check_address

CONNECTIONS = 256
HEAD_SECONDS = 10.0  # for the head of a request
_IDLE_SECONDS = 30  # of a connection between two requests
DRAIN_SECONDS = 60  # for what has begun when the server is told to end


class Protocol(H11Protocol):
    """HTTP/1.1, whose clients have limited time for the head of a request."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the time counts from the first ones of a head."""
        if self._deadline is None:
            self._wait()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:  # the head is whole
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """Calls a function when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def configured(app: Any) -> uvicorn.Config:
    """How uvicorn runs an application of `create_app`."""
    return uvicorn.Config(
        app, http=Protocol, ws="none", log_level="warning", access_log=False, lifespan="on",
        limit_concurrency=CONNECTIONS, timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS, server_header=False, proxy_headers=False,
    )  # fmt: skip


def serve(
    host: str,
    port: int,
    ready: Callable[[str], None],
    api_key: str | None = None,
    **options: Any,
) -> None:
    """Listen until SIGTERM or Ctrl-C comes; then what has begun is answered.

    Parameters
    ----------
    host, port
        Port 0: any that is free.
    ready : function of str
        Called with the URL when the server listens.
    api_key, **options
        Of `create_app`.

    Raises
    ------
    OSError
        The address is in use, or not this machine's.
    ValueError
        It is reached from other machines and there is no key.
    """
    check_address(host, api_key)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=CONNECTIONS) as listening:
        port = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        app = create_app(api_key=api_key, **options)
        server = Server(configured(app), lambda: ready(f"http://{shown}:{port}"))
        server.run(sockets=[listening])
