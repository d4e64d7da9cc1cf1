"""JSON as it is sent, whole or as events of a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

DONE = b"data: [DONE]\n\n"


def encoded(content: Any) -> bytes:
    """JSON in UTF-8; half of a surrogate pair, which has no UTF-8, as JSON's escape."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def event(content: Any) -> bytes:
    """An event of a stream."""
    return b"data: " + encoded(content) + b"\n\n"


class JSON(Response):
    """A response in JSON."""

    media_type = "application/json"

    def __init__(
        self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(encoded(content), status, headers)
