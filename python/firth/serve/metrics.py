"""Counts of requests and tokens as Prometheus reads them; nothing of what was asked."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from firth.serve.models import Models


class Metrics:
    """Requests so far, by the function that has answered and the status."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def text(self, models: Models) -> str:
        """What ``GET /metrics`` returns."""
        engines = models.chat.models.items()
        lines: list[str] = []

        def add(name: str, kind: str, what: str, values: dict[str, float]) -> None:
            lines.extend([f"# HELP firth_{name} {what}", f"# TYPE firth_{name} {kind}"])
            lines.extend(f"firth_{name}{{{labels}}} {value}" for labels, value in values.items())

        add("requests_total", "counter", "Requests that were answered.", {
            f'endpoint="{name}",status="{status}"': count
            for (name, status), count in self.requests.items()
        })  # fmt: skip
        add("request_seconds_total", "counter", "Time that requests have taken.", {
            f'endpoint="{name}"': seconds for name, seconds in self.seconds.items()
        })  # fmt: skip
        for name, kind, what, attribute in (
            ("prompt_tokens_total", "counter", "Tokens of prompts.", "prompt_tokens"),
            ("cached_tokens_total", "counter", "Of these, those known before.", "cached_tokens"),
            ("generated_tokens_total", "counter", "Tokens that were written.", "new_tokens"),
            ("texts_running", "gauge", "Texts that have a slot.", "going"),
            ("texts_waiting", "gauge", "Texts that wait for a slot.", "waiting"),
        ):
            add(name, kind, what, {
                f'model="{_escaped(model)}"': getattr(engine, attribute)
                for model, engine in engines
            })  # fmt: skip
        return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Observed:
    """ASGI middleware that counts requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 499  # of nginx: nobody waited for the answer

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            name = getattr(scope.get("endpoint"), "__name__", "none")
            self._metrics.requests[name, status] += 1
            self._metrics.seconds[name] += time.monotonic() - begun
