"""Co-occurrence counts of the words of a corpus, within a memory budget.

V = words of the vocabulary. csrc/engines/words/glove.h counts a piece of the corpus. Temporary
files have no name, so the system removes them even if the process is killed.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.progress import progress_bar

_PAIR_BYTES = 48  # greatest memory per pair while its row is counted and blocked
_GREATEST_UNIT = 1 << 24

# Of some rows of the matrix: lengths (R,), columns (M,) and values (M,) of their entries.
Rows = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]


def cooccurrences(
    ids: NDArray[np.int32],
    vocabulary: int,
    *,
    window: int,
    symmetric: bool = True,
    distance_weighting: bool = True,
    block: int = 256,
    memory: int = 4 << 30,
    progress: bool | None = None,
) -> Iterator[tuple[int, Rows]]:
    """Count co-occurrences; yields the rows of the matrix, some at a time.

    A text that does not fit is counted in pieces. Each piece adds to the rows of the earlier ones,
    which are kept in temporary files. Results depend neither on ``memory`` nor on threads: `sums`
    are exact below 2^53, which is 2.5e10 neighbours for a window of 15, and 5e8 for wide ones.

    Parameters
    ----------
    ids : ndarray (N,), int32
        Rows of the words in corpus order, the last of a sentence as ``~id``.
    vocabulary : int
        V.
    window, symmetric, distance_weighting
        As for `GloVe`.
    block : int
        Rows come in multiples of it (but the last).
    memory : int
        Memory budget in bytes.

    Yields
    ------
    first : int
        The first of the rows.
    rows : tuple
        Lengths (R,) int64 of R rows; columns (M,) int32 and values (M,) float64 of their entries.
        Where ``symmetric``, the lower half with the diagonal: columns up to the row itself.
    """
    divisor = unit(window, distance_weighting)
    for first, (lengths, columns, values) in sums(
        ids, vocabulary, window=window, symmetric=symmetric, distance_weighting=distance_weighting,
        block=block, memory=memory, progress=progress,
    ):  # fmt: skip
        values /= divisor
        yield first, (lengths, columns, values)


def unit(window: int, distance_weighting: bool) -> float:
    """What a pair of neighbours counts in `sums`.

    The least common multiple of all distances, so that each divides it; where that is beyond 2^24
    (windows above 18), 2^24, of which larger windows get the nearest whole numbers.
    """
    if not distance_weighting:
        return 1.0
    common = 1
    for distance in range(1, window + 1):
        common = math.lcm(common, distance)
        if common > _GREATEST_UNIT:
            return float(_GREATEST_UNIT)
    return float(common)


def sums(
    ids: NDArray[np.int32],
    vocabulary: int,
    *,
    window: int,
    symmetric: bool,
    distance_weighting: bool,
    block: int,
    memory: int,
    progress: bool | None,
) -> Iterator[tuple[int, Rows]]:
    """`cooccurrences` times `unit`: whole numbers, so that they can be added in any order."""
    neighbours = unit(window, distance_weighting)
    window = min(window, max(1, len(ids)))
    distances = np.arange(1, window + 1) if distance_weighting else np.ones(window)
    weights = np.maximum(1.0, np.round(neighbours / distances))
    piece = min(max(memory // 16, 4 * window), 2**32 - 1 - window)
    with contextlib.ExitStack() as stack:
        before: _RowFile | None = None
        for start in range(0, len(ids), piece):
            lead = min(window, start)
            counter = _native.words.CooccurrenceCounter(
                np.ascontiguousarray(ids[start - lead : start + piece]), lead=lead,
                vocabulary=vocabulary, weights=weights, symmetric=symmetric,
            )  # fmt: skip
            bounds = counter.bounds()
            if before is not None:
                bounds = bounds + before.lengths.astype(bounds.dtype)
            after = None
            if start + piece < len(ids):
                after = _RowFile(stack)
            with progress_bar(vocabulary, " words", "counting pairs", progress) as bar:
                for first, last in _waves(bounds, block, memory // 4 // _PAIR_BYTES):
                    rows = counter.rows(first, last, [before.read(first, last)] if before else [])
                    bar.update(last - first)
                    if after is None:
                        yield first, rows
                    else:
                        after.append(rows)
            if before is not None:
                before.close()
            before = after


def added(several: Sequence[Rows], vocabulary: int) -> Rows:
    """The sum of some rows of several texts; columns in the order in which they come first."""
    counter = _native.words.CooccurrenceCounter(
        np.empty(0, np.int32), lead=0, vocabulary=vocabulary, weights=np.ones(1), symmetric=True
    )
    return counter.rows(0, len(several[0][0]), several)


def _waves(bounds: NDArray[Any], block: int, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows, multiples of ``block`` long, with at most ``most`` entries where possible."""
    first, entries = 0, 0
    bands = np.add.reduceat(bounds, np.arange(0, len(bounds), block)).tolist()
    for band, count in enumerate(bands):
        if entries and entries + count > most:
            yield first, band * block
            first, entries = band * block, 0
        entries += count
    yield first, len(bounds)


class _RowFile:
    """Rows of a co-occurrence matrix in temporary files that have no name."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._files = [stack.enter_context(temporary()) for _ in range(2)]
        self._lengths: list[NDArray[np.int64]] = []

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.concatenate(self._lengths)

    def append(self, rows: Rows) -> None:
        self._lengths.append(rows[0])
        entries: list[NDArray[Any]] = [rows[1], rows[2]]
        for file, array in zip(self._files, entries, strict=True):
            file.write(array.data)

    def read(self, first: int, last: int) -> Rows:
        lengths = self.lengths
        offset, count = int(lengths[:first].sum()), int(lengths[first:last].sum())
        columns, values = np.empty(count, np.int32), np.empty(count, np.float64)
        entries: list[NDArray[Any]] = [columns, values]
        for file, array in zip(self._files, entries, strict=True):
            file.seek(offset * array.itemsize)
            if count and file.readinto(array.data) != array.nbytes:
                raise OSError("GloVe: a temporary file is shorter than was written")
        return np.ascontiguousarray(lengths[first:last]), columns, values

    def close(self) -> None:
        for file in self._files:
            file.close()


def temporary() -> Any:
    """A file that the system removes even if the process is killed."""
    return tempfile.TemporaryFile()
