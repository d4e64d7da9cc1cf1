"""Index files for several tests: random rows, and whether two indexes hold the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth

FOUR = np.array([[1, 0, 0], [0, 2, 0], [0, 3, 4], [-1, 0, 1]], np.float32)
DIM = 5
RNG = np.random.default_rng(3)


def rows(count: int, dim: int = DIM) -> Any:
    return RNG.standard_normal((count, dim)).astype(np.float32)


def content(index: firth.Index) -> dict[Any, bytes]:
    """All that an index holds, in order."""
    ids = index.ids
    vectors = index.get(ids) if len(index) else []
    return {one: row.tobytes() for one, row in zip(list(ids), vectors, strict=True)}


def same(first: firth.Index, second: firth.Index) -> bool:
    assert content(first) == content(second)
    assert list(first.ids) == list(second.ids)
    assert len(first) == len(second)
    queries = rows(4, first.dim)
    ours, others = first.search(queries, 7), second.search(queries, 7)
    np.testing.assert_array_equal(ours.ids, others.ids)
    np.testing.assert_array_equal(ours.scores, others.scores)
    return True


def log_of(path: Path) -> Path:
    return path.with_name(path.name + ".log")


def refuses(index, error, match, call):
    """The call raises, and the index still has the very same state."""
    before = index._table.state
    with pytest.raises(error, match=match):
        call(index)
    assert index._table.state is before
    assert index.search(FOUR[2], 1).ids.tolist() in ([2], ["c"])
