"""Completions that asked to be kept (``store``): in memory, bounded, gone with the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firth.serve.errors import APIError
from firth.serve.wire import encoded

_BYTES = 32 << 20  # of all, as JSON; the oldest go first
_PAGE = 20  # completions of a list, where a request does not say


@dataclass(frozen=True)
class Kept:
    """A completion, the messages that it answers, and the bytes of both as JSON."""

    completion: dict[str, Any]
    messages: list[dict[str, Any]]
    size: int


class Stored:
    """The completions of a server that are kept, oldest first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0

    def add(
        self,
        messages: Sequence[dict[str, Any]],
        metadata: dict[str, str] | None,
        completion: dict[str, Any],
    ) -> None:
        """Keep a completion; one that is too large is not kept."""
        name = completion["id"]
        completion = {**completion, "metadata": metadata or {}}
        told = [
            {**one, "id": f"{name}-{i}", "content": text, "content_parts": parts}
            for i, one in enumerate(messages)
            for text, parts in [_content(one.get("content"))]
        ]
        size = len(encoded([completion, told]))
        self._kept[name] = Kept(completion, told, size)
        self._size += size
        while self._size > _BYTES:
            self.delete(next(iter(self._kept)))

    def find(self, name: str) -> Kept:
        """A completion by its id."""
        if name not in self._kept:
            message = "no such completion is kept: store was not asked for, or it had to go"
            raise APIError(404, message, param="completion_id")
        return self._kept[name]

    def update(self, name: str, metadata: dict[str, str] | None) -> dict[str, Any]:
        """Give a completion other metadata."""
        completion = self.find(name).completion
        completion["metadata"] = metadata or {}
        return completion

    def delete(self, name: str) -> dict[str, Any]:
        """Forget a completion."""
        self._size -= self.find(name).size
        del self._kept[name]
        return {"id": name, "object": "chat.completion.deleted", "deleted": True}

    def page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Some of the completions: of a model, with metadata."""
        pairs = {
            name[len("metadata[") : -1]: value
            for name, value in query.items()
            if name.startswith("metadata[") and name.endswith("]")
        }
        return _page(query, [
            one.completion for one in self._kept.values()
            if query.get("model", one.completion["model"]) == one.completion["model"]
            and pairs.items() <= one.completion["metadata"].items()
        ])  # fmt: skip

    def messages(self, name: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Some of the messages that a completion answers."""
        return _page(query, self.find(name).messages)


def _content(content: Any) -> tuple[Any, Any]:
    """A content, and its parts where it has some."""
    return (None, content) if isinstance(content, list) else (content, None)


def _page(query: Mapping[str, str], items: list[dict[str, Any]]) -> dict[str, Any]:
    limit, order = query.get("limit", str(_PAGE)), query.get("order", "asc")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and int(limit) <= 100):
        raise APIError(400, "limit must be a number from 0 to 100", param="limit")
    if order not in ("asc", "desc"):
        raise APIError(400, "order must be asc or desc", param="order")
    items = items[::-1] if order == "desc" else items
    if "after" in query:
        names = [one["id"] for one in items]
        items = items[names.index(query["after"]) + 1 :] if query["after"] in names else []
    data = items[: int(limit)]
    return {
        "object": "list", "data": data, "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None, "has_more": len(data) < len(items),
    }  # fmt: skip
