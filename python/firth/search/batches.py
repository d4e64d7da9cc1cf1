"""The searches of an `Index` over one state, many queries in parts.

Between two parts Ctrl-C is checked and a progress bar updated.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels._dispatch import active_level
from firth.progress import progress_bar
from firth.search import filters
from firth.search.segments import search
from firth.search.state import State

AT_ONCE = 4096  # queries of a native call
Work = tuple[int, ...]  # see `firth.search.segments.search`


def _batches(count: int) -> Iterator[slice]:
    if count <= AT_ONCE:
        yield slice(0, count)
        return
    with progress_bar(count, " queries", "searching") as bar:
        for first in range(0, count, AT_ONCE):
            yield slice(first, first + AT_ONCE)
            bar.update(min(AT_ONCE, count - first))


def best(
    state: State,
    metric: str,
    queries: NDArray[np.float32],
    k: int,
    chosen: dict[str, Any],
    visited: NDArray[np.int32] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], Work]:
    """The k best rows of queries (Q, dim): labels and scores (Q, k), counts (Q,), work.

    ``chosen``: filters and exclusions as by `Table.chosen`; ``visited``: the cells of each query.
    """
    count = len(queries)
    if count <= AT_ONCE:
        return search(state.native, metric, queries, k, state.version, **chosen, cells=visited)
    labels, scores = np.empty((count, k), np.int64), np.empty((count, k), np.float32)
    counts, work = np.empty(count, np.int64), np.zeros(3, np.int64)
    for some in _batches(count):
        labels[some], scores[some], counts[some], more = search(
            state.native, metric, queries[some], k, state.version,
            **filters.part(chosen, some), cells=None if visited is None else visited[some],
        )  # fmt: skip
        work += more
    return labels, scores, counts, tuple(work.tolist())


def in_range(
    state: State,
    metric: str,
    queries: NDArray[np.float32],
    least: NDArray[np.float32],
    chosen: dict[str, Any],
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float32]], Work]:
    """All rows of each query that score at least ``least`` (Q,): labels, scores, work."""
    labels: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    work = np.zeros(3, np.int64)
    for some in _batches(len(queries)):
        offsets, found, score, more = _native.search.search_range(
            active_level(),
            state.native, metric, queries[some], least[some], state.version,
            **filters.part(chosen, some), threads=_native.num_threads(),
        )  # fmt: skip
        for start, end in itertools.pairwise(offsets.tolist()):
            labels.append(found[start:end])
            scores.append(score[start:end])
        work += more
    return labels, scores, tuple(work.tolist())
