"""Who may ask, and how much: address, name of the host, origin, key, size and time of a body.

A page of another site could reach a server on this machine through the browser of its user. So the
name in ``Host`` must be one that this machine is known by (a name of others can be made to point
here), and a request that says from which page it comes must come from this server's.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from firth.serve.errors import APIError, failed

BODY_BYTES = 4 << 20
BODY_SECONDS = 30.0
_PUBLIC = ("/", "/health", "/v1/health", "/openai/v1/health", "/favicon.ico")
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = ("authorization", "content-type", "x-api-key")  # that a page may send


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(host: str, api_key: str | None) -> None:
    """Refuse an address that others reach, where nobody needs a key."""
    if not api_key and not is_loopback(host):
        raise ValueError(f"serve: {host} is reached from other machines, so an API key is needed")


class Guard:
    """ASGI middleware: refuses what must not reach the application, and notes what fails in it.

    Parameters
    ----------
    app : ASGI application
    api_key : str, optional
        What requests must have; None: any key will do, or none.
    hosts : sequence of str
        Names in ``Host`` besides localhost, this machine's, and addresses in numbers.
    """

    def __init__(self, app: ASGIApp, api_key: str | None, hosts: Sequence[str] = ()) -> None:
        self._app, self._key = app, None if api_key is None else api_key.encode()
        self._hosts = {name.lower() for name in ("localhost", socket.gethostname(), *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def marked(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers["x-content-type-options"] = "nosniff"
                headers["content-security-policy"] = _CSP
                headers["referrer-policy"] = "no-referrer"
            await send(message)

        try:
            if answer := self._checked(scope, Headers(scope=scope)):
                await answer(scope, receive, marked)
            else:
                await self._app(scope, _limited(receive), marked)
        except Exception as error:
            told = failed(error)
            if not begun:
                await told.response(scope["path"])(scope, receive, marked)

    def _checked(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a preflight; None: the application answers."""
        host = headers.get("host", "")
        if not self._known(host):
            raise APIError(403, "this server does not go by the name in Host", "unknown_host")
        if origin := headers.get("origin"):
            if urlsplit(origin).netloc.lower() != host.lower():
                raise APIError(403, "a page of another site may not ask", "cross_origin")
            if scope["method"] == "OPTIONS":
                return _preflight(origin, headers)
        path = scope["path"]
        if self._key is not None and path not in _PUBLIC and not path.startswith("/static/"):
            self._check_key(headers)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > BODY_BYTES:
            raise APIError(413, f"a request may have {BODY_BYTES:,} bytes")
        return None

    def _known(self, host: str) -> bool:
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        name = name.lower().removesuffix(".")
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._hosts
        return True

    def _check_key(self, headers: Headers) -> None:
        given = headers.get("x-api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given = token.strip()
        if not hmac.compare_digest(given.encode("latin-1"), self._key or b""):
            raise APIError(401, "the API key is missing or wrong")


def _preflight(origin: str, headers: Headers) -> Response:
    wanted = headers.get("access-control-request-headers", "").lower().split(",")
    names = [name.strip() for name in wanted]
    allowed = [name for name in names if name in _HEADERS or name.startswith("x-stainless-")]
    return Response(None, 204, {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET, POST, OPTIONS",
        "access-control-allow-headers": ", ".join(allowed),
        "access-control-max-age": "600",
        "vary": "Origin, Access-Control-Request-Headers",
    })  # fmt: skip


def _limited(receive: Receive) -> Receive:
    """A body of bounded size, within bounded time."""
    loop = asyncio.get_running_loop()
    end, taken, whole = loop.time() + BODY_SECONDS, 0, False

    async def limited() -> Message:
        nonlocal taken, whole
        if whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(end - loop.time(), 0))
        except asyncio.TimeoutError:
            raise APIError(408, "the request took too long to come") from None
        taken += len(message.get("body", b""))
        if taken > BODY_BYTES:
            raise APIError(413, f"a request may have {BODY_BYTES:,} bytes")
        whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    return limited
