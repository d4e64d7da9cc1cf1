"""How many cells a search has to visit for a recall: the measurements of `Index.tune`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.search import segments as segments_module
from firth.search.cells import Cells, drawn
from firth.search.segments import Segment

TUNED_BY = 256  # rows that are queries


class Step(NamedTuple):
    """The measured speed and recall of searches that visit ``probe`` cells."""

    probe: int
    recall: float
    queries_per_second: float
    rows: float  # the part of all rows that a query is compared with


@dataclass(frozen=True)
class Tuning:
    """What `Index.tune` found; prints as a table."""

    probe: int  # cells that searches visit from now on
    k: int
    steps: list[Step]

    def __str__(self) -> str:
        lines = [f"{'probe':>7}  {f'recall@{self.k}':>10}  {'rows':>6}  {'queries/s':>10}"]
        for step in self.steps:
            mark = "  <- chosen" if step.probe == self.probe else ""
            lines.append(
                f"{step.probe:7}  {step.recall:10.4f}  {step.rows:6.1%}"
                f"  {step.queries_per_second:10,.0f}{mark}"
            )
        return "\n".join(lines)

    __repr__ = __str__


Searcher = Callable[[int], Step]


def _left_out(
    segments: Sequence[Segment], version: int, count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows as queries, and their slots, which are excluded from the results."""
    return drawn(segments, version, count, np.random.default_rng(1))


def _searcher(
    segments: Sequence[Segment],
    version: int,
    cells: Cells,
    queries: NDArray[np.float32],
    own: NDArray[np.int64],
    k: int,
) -> Searcher:
    """A function that measures a search that visits a number of cells."""
    # Slots as labels
    native = [replace(one, labels=None, first_label=one.first_slot).native for one in segments]

    def search(visited: NDArray[np.int32] | None) -> tuple[list[NDArray[np.int64]], float]:
        found, _, counts, work = segments_module.search(
            native, cells.metric, queries, k + 1, version, cells=visited
        )
        rows = [row[:count] for row, count in zip(found, counts, strict=True)]
        return [row[row != slot][:k] for row, slot in zip(rows, own, strict=True)], work[0]

    true, every = search(None)
    relevant = sum(map(len, true))

    def step(probe: int) -> Step:
        start = time.perf_counter()
        found, seen = search(cells.visited(queries, probe))
        seconds = time.perf_counter() - start
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, true, strict=True))
        return Step(probe, hits / max(relevant, 1), len(queries) / seconds, seen / max(every, 1))

    return step


def _least(search: Searcher, cells: Cells) -> tuple[int, list[Step]]:
    """The least probe with enough recall, and all measurements on the way."""
    most = len(cells.centroids)
    steps = {1: search(1)}
    high = 1
    while steps[high].recall < cells.recall and high < most:
        high = min(2 * high, most)
        steps[high] = search(high)
    low = high // 2  # not enough
    while high - low > 1:
        middle = (low + high) // 2
        steps[middle] = search(middle)
        low, high = (low, middle) if steps[middle].recall >= cells.recall else (middle, high)
    return high, [steps[probe] for probe in sorted(steps)]


def least_probe(segments: Sequence[Segment], version: int, cells: Cells) -> int:
    """The least number of cells to visit for the recall of ``cells``, measured on some rows."""
    queries, own = _left_out(segments, version, TUNED_BY)
    return _least(_searcher(segments, version, cells, queries, own, cells.k), cells)[0]


def tune(
    segments: Sequence[Segment],
    version: int,
    cells: Cells,
    recall: float,
    k: int,
    queries: NDArray[np.float32] | None,
) -> tuple[Cells, Tuning]:
    """`Index.tune`: the cells with the chosen probe, and the measurements."""
    if queries is None:
        queries, own = _left_out(segments, version, 4 * TUNED_BY)
    else:
        own = np.full(len(queries), -1)
    cells = replace(cells, recall=recall, k=k)
    probe, steps = _least(_searcher(segments, version, cells, queries, own, k), cells)
    return replace(cells, probe=probe), Tuning(probe, k, steps)
