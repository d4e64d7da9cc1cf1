"""The models of a server, by the names that requests have.

A name is looked up among those that the server was started with; it is never a path.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import firth
from firth.arguments import shortened
from firth.errors import FormatError
from firth.serve.engine import Engine, Turns
from firth.serve.errors import APIError

if TYPE_CHECKING:
    from firth.encoders import CrossEncoder, SentenceTransformer

M = TypeVar("M")


class Family(Generic[M]):
    """The models for one kind of request; the first of them answers for names that none has.

    Clients have names of models of others written into them.
    """

    def __init__(self, name: str, models: Mapping[str, M]) -> None:
        self.name, self.models = name, dict(models)

    def find(self, name: str | None) -> tuple[str, M]:
        """A model and its name."""
        if not self.models:
            raise APIError(404, f"this server has no model for {self.name}", "model_not_found")
        chosen = name if name in self.models else next(iter(self.models))
        return str(chosen), self.models[str(chosen)]


class Alone(Generic[M]):
    """A model that takes one request after the other."""

    def __init__(self, model: M, queue: int) -> None:
        self.model, self.turns = model, Turns(queue)


Embedder: TypeAlias = "Alone[SentenceTransformer]"
Reranker: TypeAlias = "Alone[CrossEncoder]"


class Models:
    """All models of a server.

    Parameters
    ----------
    chat, embed, rerank : mapping of str to models
    slots, queue : int
        As `firth.serve.engine.Engine`; the queue is that of each model.
    """

    def __init__(
        self,
        chat: Mapping[str, Any],
        embed: Mapping[str, Any],
        rerank: Mapping[str, Any],
        slots: int,
        queue: int,
    ) -> None:
        self.chat = Family("chats", {k: Engine(one, slots, queue) for k, one in chat.items()})
        self.embed = Family("embeddings", {k: Alone(one, queue) for k, one in embed.items()})
        self.rerank = Family("reranking", {k: Alone(one, queue) for k, one in rerank.items()})
        self.looks = Turns(queue)  # what the playground asks beside answers
        self._created = int(time.time())

    def cards(self) -> list[dict[str, Any]]:
        """What ``GET /models`` lists."""
        cards = []
        for family, kind in ((self.chat, "chat"), (self.embed, "embed"), (self.rerank, "rerank")):
            for name, model in family.models.items():
                card = {
                    "id": name, "object": "model", "created": self._created, "owned_by": "firth",
                    "active": True, "kind": kind,
                }  # fmt: skip
                if isinstance(model, Engine):
                    card["context_window"] = model.model.context
                cards.append(card)
        return cards

    def card(self, name: str) -> dict[str, Any]:
        """That of one model: the first, where none has the name, since it would answer."""
        cards = self.cards()
        if not cards:
            raise APIError(404, "this server has no models", "model_not_found")
        return next((card for card in cards if card["id"] == name), cards[0])

    def close(self) -> None:
        """Let what has begun come to its end."""
        for engine in self.chat.models.values():
            engine.close()


def loaded(given: Any, kind: str, wanted: str, load: Callable[[str], Any]) -> dict[str, Any]:
    """Models by their names: of a name or path, several of them, a model, or models by name.

    A model that is given by its path has the last part of it as its name; ``wanted`` is the class
    of firth that it must have.
    """
    if given is None:
        return {}
    if isinstance(given, (str, os.PathLike)):
        given = [given]
    if isinstance(given, Mapping):
        return {name: _model(one, kind, wanted, load) for name, one in given.items()}
    if not isinstance(given, Sequence):
        return {kind: _model(given, kind, wanted, load)}
    return {shown_name(os.fspath(one)): _model(one, kind, wanted, load) for one in given}


def _model(given: Any, kind: str, wanted: str, load: Callable[[str], Any]) -> Any:
    """A model, out of its file where it is named; an error says for what it was given."""
    if isinstance(given, (str, os.PathLike)):
        try:
            return load(os.fspath(given))
        except (FormatError, OSError) as error:
            raise type(error)(f"create_app: {kind}: {error}") from error
    if not isinstance(given, getattr(firth, wanted)):
        got = shortened(given)
        raise TypeError(f"create_app: {kind} must be a path, a name or a {wanted}, got {got}")
    return given


def shown_name(place: str) -> str:
    """The name of a model: as it was given, or of a path the last part."""
    if os.path.exists(os.path.expanduser(place)):
        place = os.path.basename(os.path.abspath(os.path.expanduser(place)))
    return re.sub(r"\.gguf$", "", place)
