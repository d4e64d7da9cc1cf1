"""Vectors in blocks: what `ShardedIndex.build` takes, checked one after the other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.formats import npy
from firth.search.arguments import checked_ids, real_rows

BYTES = 32 << 20  # of a block of an array


@dataclass(frozen=True)
class Block:
    """Some rows of an array, with their ids, or None."""

    array: NDArray[Any]
    rows: slice
    ids: NDArray[np.int64] | list[str] | None

    def __len__(self) -> int:
        count: int = self.rows.stop - self.rows.start
        return count


@dataclass(frozen=True)
class Blocks:
    """All of them, the length of a vector, and the number of rows, 0 where it is unknown."""

    each: Iterator[Block]
    dim: int
    rows: int


def blocks(vectors: Any, ids: Any) -> Blocks:
    """The blocks of the arguments of `ShardedIndex.build`, whose errors these are."""
    if isinstance(vectors, Iterator):
        if ids is not None:
            raise ValueError("build: ids of an iterator are those of its blocks: (vectors, ids)")
        first = next(vectors, None)
        if first is None:
            raise ValueError("build: vectors has no block, so their length is unknown")
        dim = _dim("a block", np.asarray(first[0] if isinstance(first, tuple) else first))
        return Blocks(_of_iterator(itertools.chain([first], vectors), dim), dim, 0)
    if isinstance(vectors, (str, os.PathLike)):
        vectors = npy.read(vectors, mmap="r")
    dim = _dim("vectors", np.asarray(vectors))
    whole = _block(vectors, ids, dim)
    return Blocks(_of_array(whole), dim, len(whole))


def _dim(name: str, array: Any) -> int:
    if array.ndim != 2:
        raise ValueError(f"build: {name} must have shape (n, dim), got {array.shape}")
    dim: int = array.shape[1]
    return dim


def _block(vectors: Any, ids: Any, dim: int) -> Block:
    rows, _ = real_rows("build: vectors", vectors, dim)
    given = None if ids is None else checked_ids("build: ids", ids)[0]
    if given is not None and len(given) != len(rows):
        raise ValueError(
            f"build: ids must be one for each of {len(rows)} vectors, got {len(given)}"
        )
    return Block(rows, slice(0, len(rows)), given)


def _of_array(whole: Block) -> Iterator[Block]:
    array, ids = whole.array, whole.ids
    step = max(1, BYTES // max(1, array.itemsize * array.shape[1]))
    for start in range(0, len(array), step):
        rows = slice(start, min(start + step, len(array)))
        yield Block(array, rows, None if ids is None else ids[rows])


def _of_iterator(given: Iterable[Any], dim: int) -> Iterator[Block]:
    for one in given:
        vectors, ids = one if isinstance(one, tuple) else (one, None)
        yield _block(vectors, ids, dim)
