"""Vectors for several files of tests/words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conftest import spiky
from firth import KeyedVectors


def make(count: int = 50, d: int = 20, dtype: Any = np.float32, seed: int = 0) -> KeyedVectors:
    kv = KeyedVectors(d, dtype=dtype)
    x = spiky(np.random.default_rng(seed), (count, d), dtype)
    counts = np.random.default_rng(seed).integers(1, 20, count)
    kv.add_vectors([f"w{row}" for row in range(count)], x, {"count": counts})
    return kv


def gensim_twin(kv: KeyedVectors) -> Any:
    gensim = pytest.importorskip("gensim.models")
    twin = gensim.KeyedVectors(kv.vector_size, dtype=kv.vectors.dtype)
    twin.add_vectors(kv.index_to_key, kv.vectors)
    for row, count in enumerate(kv.expandos["count"]):
        twin.set_vecattr(row, "count", int(count))
    return twin
