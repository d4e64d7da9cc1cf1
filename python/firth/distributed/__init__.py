"""The same jobs on a Ray cluster, with the same results: corpora, training, embedding, search.

Every function works on the cluster that this process is connected to, and connects it where it is
not: see `connect`. Files must be where all nodes see them, under the same paths.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firth.distributed.cluster import connect
    from firth.distributed.embedding import embed
    from firth.distributed.knowledge import build_knowledge_base
    from firth.distributed.search import ShardedIndex
    from firth.distributed.training import resume, train
    from firth.distributed.vocabulary import build_vocab

_HOME = {
    "ShardedIndex": "search",
    "build_knowledge_base": "knowledge",
    "build_vocab": "vocabulary",
    "connect": "cluster",
    "embed": "embedding",
    "resume": "training",
    "train": "training",
}
__all__ = [
    "ShardedIndex", "build_knowledge_base", "build_vocab", "connect", "embed", "resume", "train",
]  # fmt: skip


if not TYPE_CHECKING:  # a worker imports this too, and needs one job's modules alone

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'firth.distributed' has no attribute {name!r}")
        return getattr(importlib.import_module(f"firth.distributed.{_HOME[name]}"), name)
