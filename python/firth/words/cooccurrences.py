"""Co-occurrence counts of the words of a corpus, within a memory budget.

V = words of the vocabulary. csrc/engines/words/glove.h counts a piece of the corpus. Temporary
files have no name, so the system removes them even if the process is killed.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.progress import progress_bar

_PAIR_BYTES = 48  # greatest memory per pair while its row is counted and blocked

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
    which are kept in temporary files. Sums are taken in float64 in the order of the corpus: they do
    not depend on threads (on ``memory`` by rounding only).

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
    window = min(window, max(1, len(ids)))
    piece = min(max(memory // 16, 4 * window), 2**32 - 1 - window)
    with contextlib.ExitStack() as stack:
        before: _RowFile | None = None
        for start in range(0, len(ids), piece):
            lead = min(window, start)
            counter = _native.words.CooccurrenceCounter(
                np.ascontiguousarray(ids[start - lead : start + piece]), lead=lead,
                vocabulary=vocabulary, window=window, symmetric=symmetric,
                weighted=distance_weighting,
            )  # fmt: skip
            bounds = counter.bounds()
            if before is not None:
                bounds = bounds + before.lengths.astype(bounds.dtype)
            after = None
            if start + piece < len(ids):
                after = _RowFile(stack)
            with progress_bar(vocabulary, " words", "counting pairs", progress) as bar:
                for first, last in _waves(bounds, block, memory // 4 // _PAIR_BYTES):
                    rows = counter.rows(first, last, before.read(first, last) if before else None)
                    bar.update(last - first)
                    if after is None:
                        yield first, rows
                    else:
                        after.append(rows)
            if before is not None:
                before.close()
            before = after


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
