"""Cells: groups of rows around centroids, so that a search need not visit all rows.

The centroids are those of k-means over a sample of the rows (Lloyd's algorithm; for cosine with
rows and centroids of unit length), one set for the whole index, trained again when it has grown
fourfold. Each segment has its codes in the order of cells, in blocks of one cell each. Rows added
later are in blocks after all others, the *tail*, which every search visits. When the tails are a
32nd of the index, segments that have one are ordered again. So a row is compared with all
centroids once or twice in its life, and its code moved some dozens of times. Vectors and slots do
not move.

A search visits the cells whose centroids score best against the query; within these it is exact.
Their number, `probe`, is chosen by `tune`. Before that it is the least number with a recall of 0.95
at k = 10, with rows as queries that do not count as their own answers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels._dispatch import active_level
from firth.search.segments import BLOCK, Segment, coded, only_fields, search

AUTO_FROM = 32768  # rows from which cells="auto" has cells: below, a full scan is fast enough
AUTO = 2  # cells="auto": times the square root of the rows
ROWS = 32  # rows for each cell, at least; and the sample of k-means
ROUNDS = 6  # of k-means; more find cells that save 2% of a search
TAIL = 32  # ordered again when one row in TAIL is in a tail
MOST = 2**16 - 1  # cells: their numbers are sorted as uint16
PIECE = 65536  # rows that are assigned at once


@dataclass(frozen=True)
class Cells:
    """The centroids of an index, and how many cells a search visits."""

    centroids: NDArray[np.float32]  # (C, dim)
    metric: str  # of the index
    trained: int  # rows of the index when they were trained
    probe: int = 1
    recall: float = 0.95  # what `probe` is chosen for when they are trained again
    k: int = 10

    __getstate__ = only_fields

    @functools.cached_property
    def _by_product(self) -> list[_native.search.Segment]:
        return _ready(self.centroids, "ip")

    @functools.cached_property
    def _by_distance(self) -> list[_native.search.Segment]:
        return _ready(self.centroids, "l2")

    def of(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """The cell that each vector (n, dim) belongs to (n,)."""
        if self.metric == "cosine":  # the centroids have unit length
            return _best(self._by_product, "ip", vectors, 1)[:, 0]
        return _best(self._by_distance, "l2", vectors, 1)[:, 0]

    def of_rows(
        self, segment: Segment, rows: NDArray[np.int64], progress: Callable[[int], object] = int
    ) -> NDArray[np.int64]:
        """The cell that each of some rows belongs to; ``progress`` gets the rows of each step."""
        cell = np.empty(len(rows), np.int64)
        for first in range(0, len(rows), PIECE):
            part = slice(first, first + PIECE)
            cell[part] = self.of(segment.floats(rows[part]))
            progress(len(cell[part]))
        return cell

    def visited(self, queries: NDArray[np.float32], probe: int) -> NDArray[np.int32] | None:
        """The cells that queries (Q, dim) visit (Q, probe + 1): the last are the tails.

        None: all.
        """
        count = len(self.centroids)
        if probe >= count:
            return None
        cells = np.full((len(queries), probe + 1), count, np.int32)
        if self.metric == "l2":
            cells[:, :probe] = _best(self._by_distance, "l2", queries, probe)
        else:
            cells[:, :probe] = _best(self._by_product, "ip", queries, probe)
        return cells


def _ready(centroids: NDArray[np.float32], metric: str) -> list[_native.search.Segment]:
    centre = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    return [coded(Segment(centroids, rows=len(centroids)), metric, centre).native]


def _best(
    segments: list[_native.search.Segment], metric: str, queries: NDArray[np.float32], k: int
) -> NDArray[np.int64]:
    return search(segments, metric, queries, k)[0]


def auto(rows: int) -> int:
    """The number of cells that cells="auto" means for a number of rows."""
    return min(MOST, -(-math.isqrt(AUTO * AUTO * rows) // BLOCK) * BLOCK)


# k-means


def train(
    segments: Sequence[Segment],
    version: int,
    metric: str,
    count: int,
    progress: Callable[[int], object] = int,
) -> NDArray[np.float32]:
    """Centroids (count, dim) of the live rows; ``progress`` gets the rows of each step."""
    rng = np.random.default_rng(0)
    sample, _ = drawn(segments, version, ROWS * count, rng)
    if metric == "cosine":
        _to_unit_length(sample)
    centroids = sample[rng.choice(len(sample), count, replace=False)]
    for _ in range(ROUNDS):
        cell = Cells(centroids, metric, 0).of(sample)
        by_cell = np.argsort(cell.astype(np.uint16), kind="stable")
        counts = np.bincount(cell, minlength=count)
        full = np.flatnonzero(counts)
        first = np.cumsum(counts[full]) - counts[full]
        sums = np.add.reduceat(sample[by_cell], first, axis=0, dtype=np.float64)
        centroids = np.zeros_like(centroids)
        centroids[full] = sums / counts[full, None]
        # An empty cell gets a row of the largest ones.
        empty = np.flatnonzero(counts == 0)
        largest = np.argsort(-counts[full], kind="stable")[np.arange(len(empty)) % len(full)]
        members = first[largest] + rng.integers(counts[full][largest])
        centroids[empty] = sample[by_cell[members]]
        if metric == "cosine":
            _to_unit_length(centroids)
        progress(len(sample))
    return centroids


def _to_unit_length(vectors: NDArray[np.float32]) -> None:
    """In place; zeros stay."""
    for first in range(0, len(vectors), 1024):
        part = vectors[first : first + 1024].astype(np.float64)
        norms = np.sqrt((part * part).sum(axis=1, keepdims=True))
        vectors[first : first + 1024] = part / np.where(norms == 0, 1, norms)


def drawn(
    segments: Sequence[Segment], version: int, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A random sample of ``count`` live rows, or all, with their slots, in the order of slots."""
    live = [segment.rows - segment.dead for segment in segments]
    ends = np.cumsum(live)
    chosen = np.sort(rng.choice(ends[-1], min(count, ends[-1]), replace=False, shuffle=False))
    vectors, slots = [], []
    for segment, end, size in zip(segments, ends, live, strict=True):
        rows = chosen[slice(*np.searchsorted(chosen, [end - size, end]))] - (end - size)
        if segment.dead:
            rows = segment.alive(version)[rows]
        vectors.append(segment.floats(rows))
        slots.append(rows + segment.first_slot)
    return np.concatenate(vectors), np.concatenate(slots)


# The order of codes


def cells_of(segment: Segment) -> NDArray[np.int64]:
    """The cell of each row of a segment; -1: dead, or in the tail."""
    cells = np.full(segment.rows, -1)
    if segment.order is not None and segment.cell_blocks is not None:
        sizes = np.diff(segment.cell_blocks[:-1]) * BLOCK
        rows = segment.order[: sizes.sum()]
        cells[rows[rows >= 0]] = np.repeat(np.arange(len(sizes)), sizes)[rows >= 0]
    return cells


def order_by_cell(
    rows: NDArray[np.int64], cell: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The row of each lane (-1: padding); the first block of each of ``count`` cells, and the end.

    ``cell``: that of each of ``rows``.
    """
    sizes = np.bincount(cell, minlength=count)
    first = np.zeros(count + 1, np.int64)
    np.cumsum(-(-sizes // BLOCK), out=first[1:])
    order = np.full(first[-1] * BLOCK, -1, np.int32)
    by_cell = np.argsort(cell.astype(np.uint16), kind="stable")
    before = np.cumsum(sizes) - sizes  # rows of earlier cells
    order[np.arange(len(rows)) + np.repeat(first[:-1] * BLOCK - before, sizes)] = rows[by_cell]
    return order, first


def ordered(
    segment: Segment,
    version: int,
    cells: Cells,
    centre: NDArray[np.float32],
    known: NDArray[np.int64] | None,
    progress: Callable[[int], object] = int,
) -> Segment:
    """The segment with all its live rows coded in the order of cells.

    ``known``: the cell of each row, -1 where it is to be found; ``progress``: as in `train`.
    """
    alive = segment.alive(version)
    cell = np.full(len(alive), -1) if known is None else known[alive]
    new = np.flatnonzero(cell < 0)
    cell[new] = cells.of_rows(segment, alive[new], progress)
    order, cell_blocks = order_by_cell(alive, cell, len(cells.centroids))
    blocks = len(order) // BLOCK
    room = _Codes.new(segment, blocks + (segment.capacity - segment.rows) // BLOCK)
    room.order[: len(order)] = order
    room.code(segment, cells.metric, centre, slice(0, blocks))
    return replace(
        segment,
        **vars(room),
        centre=centre,
        coded=segment.rows,
        cell_blocks=np.append(cell_blocks, blocks),  # the last cell is the tail
        ordered=segment.rows,
    )


def with_tail(segment: Segment, metric: str, centre: NDArray[np.float32], count: int) -> Segment:
    """The segment with its full blocks of new rows coded in its tail.

    ``count``: of the cells, tail aside.
    """
    codes, bounds, order = segment.codes, segment.bounds, segment.order
    cell_blocks, coded = segment.cell_blocks, segment.coded
    if codes is None or bounds is None or order is None or cell_blocks is None:
        room = _Codes.new(segment, segment.capacity // BLOCK)
        cell_blocks, coded = np.zeros(count + 2, np.int64), 0
    else:
        room = _Codes(codes, bounds, order)
    new = (segment.rows - coded) // BLOCK
    if new == 0:
        return segment
    end = int(cell_blocks[-1])
    rows = np.arange(coded, coded + new * BLOCK)
    room.order[end * BLOCK : (end + new) * BLOCK] = rows
    room.code(segment, metric, centre, slice(end, end + new))
    return replace(
        segment,
        **vars(room),
        centre=centre,
        coded=coded + len(rows),
        cell_blocks=np.append(cell_blocks[:-1], end + new),
    )


@dataclass(frozen=True)
class _Codes:
    """Codes, bounds and order of some blocks of a segment."""

    codes: NDArray[np.uint8]
    bounds: NDArray[np.float32]
    order: NDArray[np.int32]

    @classmethod
    def new(cls, segment: Segment, blocks: int) -> _Codes:
        units = -(-segment.vectors.shape[1] // 4)
        return cls(
            np.empty((blocks, units, BLOCK, 4), np.uint8),
            np.empty((blocks, 3, BLOCK), np.float32),
            np.empty(blocks * BLOCK, np.int32),
        )

    def code(
        self, segment: Segment, metric: str, centre: NDArray[np.float32], blocks: slice
    ) -> None:
        """Code the lanes of some blocks."""
        _native.kernels.code_rows(
            active_level(),
            segment.vectors, segment.scales, metric, centre, self.codes[blocks],
            self.bounds[blocks], self.order[blocks.start * BLOCK : blocks.stop * BLOCK],
        )  # fmt: skip
