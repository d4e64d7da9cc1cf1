"""Where an index keeps rows: segments, sets of arrays for a fixed number of rows.

The functions below make the segments of the next `firth.search.state.State`, in a list of the
writer; they write only to parts of arrays that no state shows yet.
"""

from __future__ import annotations

import functools
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import FormatError
from firth.kernels import _arrays
from firth.kernels._arrays import to_int8
from firth.kernels._dispatch import active_level
from firth.search.arguments import refuse_infinite

STORAGES: dict[str, type[np.generic]] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": np.uint16,  # its bits
    "int8": np.int8,  # with a scale for each row
}
BLOCK = 32  # rows that are coded together
SMALL, LARGE = 1024, 65536  # capacities of segments for small additions
CODED_FROM = 1024  # rows from which codes pay off
GROWTH = 4  # code all rows again when there are GROWTH times those of the last centring
SAMPLE = 8192  # rows whose mean is the centre: it is within 1% of their spread then
PIECE = 131072  # numbers converted at a time: they stay in cache until they are checked


def only_fields(self: Any) -> dict[str, Any]:
    """The fields of a dataclass, for pickle: without cached native objects."""
    return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True)
class Segment:
    """Arrays of C rows (a multiple of 32), of which the first ``rows`` are used.

    States hold it unchanged: to grow it, a copy of this object with other numbers is made, and the
    same arrays are filled where no state looks yet.
    """

    vectors: NDArray[Any]  # (C, dim) in the storage's dtype; read-only: mapped from a file
    rows: int = 0
    first_slot: int = 0  # capacities of all segments before
    scales: NDArray[np.float32] | None = None  # (C,), with int8
    first_label: int = 0  # row r < run has the label first_label + r
    run: int = 0
    labels: NDArray[np.int64] | None = None  # (C,), of all rows; None: run == rows
    died: NDArray[np.int64] | None = None  # (C,): the version without the row; 0: alive
    dead: int = 0  # rows that died
    codes: NDArray[np.uint8] | None = None  # (C / 32, ceil(dim / 4), 32, 4)
    bounds: NDArray[np.float32] | None = None  # (C / 32, 3, 32)
    centre: NDArray[np.float32] | None = None  # (dim,): what the codes are differences from
    coded: int = 0  # leading rows with codes, a multiple of 32
    # With cells (see cells.py) the codes are in another order, and `coded` may be any number.
    order: NDArray[np.int32] | None = None  # (blocks * 32,): the row of each lane, -1: none
    cell_blocks: NDArray[np.int64] | None = None  # (cells + 2,): first block of each; tail; end
    ordered: int = 0  # leading rows that are in cells, without those that were dead then

    __getstate__ = only_fields

    @property
    def capacity(self) -> int:
        """Greatest number of rows."""
        return len(self.vectors)

    @property
    def in_memory(self) -> bool:
        """Whether rows may be added and rewritten."""
        return bool(self.vectors.flags.writeable)

    @functools.cached_property
    def native(self) -> _native.search.Segment:
        """The same for native code."""
        order = self.order
        if order is not None and self.cell_blocks is not None:
            order = order[: self.cell_blocks[-1] * BLOCK]
        return _native.search.Segment(
            self.vectors, scales=self.scales, labels=self.labels, first_label=self.first_label,
            died=self.died, rows=self.rows, first_slot=self.first_slot, codes=self.codes,
            bounds=self.bounds, coded=self.coded, centre=self.centre, order=order,
            cell_blocks=self.cell_blocks,
        )  # fmt: skip

    def nbytes(self, *names: str) -> int:
        """Bytes of some of the arrays."""
        arrays = [getattr(self, name) for name in names]
        return sum(array.nbytes for array in arrays if array is not None)

    def labels_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labels of some rows."""
        return rows + self.first_label if self.labels is None else self.labels[rows]

    def alive(self, version: int) -> NDArray[np.int64]:
        """The rows that a version has."""
        if self.died is None:
            return np.arange(self.rows)
        died = self.died[: self.rows]
        return np.flatnonzero((died == 0) | (died > version))

    def floats(self, rows: Any) -> NDArray[np.float32]:
        """The values of some rows (len(rows), dim)."""
        stored = _arrays.widen_bfloat16(self.vectors[rows])
        values: NDArray[np.float32] = stored.astype(np.float32)
        return values if self.scales is None else values * self.scales[rows, None]


class Mapped(NamedTuple):
    """A file that is mapped."""

    path: str
    map: mmap.mmap
    size: int  # when it was mapped

    def check(self) -> None:
        """FormatError if the file has become shorter: reading its memory would raise SIGBUS.

        Cheap, but no guarantee: it may be truncated a moment later.
        """
        if self.map.size() < self.size:
            raise FormatError(
                f"has shrunk from {self.size} bytes to {self.map.size()} since it was opened: an "
                "index file must be replaced (by a rename), never changed in place",
                self.path,
            )


def search(
    segments: list[_native.search.Segment],
    metric: str,
    queries: NDArray[np.float32],
    k: int,
    version: int = 0,
    *,
    filters: Sequence[NDArray[Any]] = (),
    filter_of: NDArray[np.int64] | None = None,
    exclusions: Sequence[NDArray[Any]] = (),
    exclusion_of: NDArray[np.int64] | None = None,
    cells: NDArray[np.int32] | None = None,
    threads: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], tuple[int, int, int]]:
    """The native search for the k best rows that a version of segments shows.

    Parameters
    ----------
    queries : (Q, dim)
    filters, exclusions
        Choices of rows: sorted slots, or bitmaps over slots; ``filter_of``, ``exclusion_of`` (Q,)
        tell which of them each query has, -1: none. None: no query has one.
    cells : (Q, probes), optional
        The cells that each query visits; None: all.
    threads : int, optional
        Default: as `firth.set_num_threads`.

    Returns
    -------
    labels (Q, k), scores (Q, k), counts (Q,), work
        ``counts``: how many of each row are valid, best first. ``work``: pairs of query and row
        that were decided by codes, of these scored all the same, and scored without codes.
    """
    return _native.search.search(
        active_level(),
        segments, metric, queries, k, version, list(filters), filter_of, list(exclusions),
        exclusion_of, _native.num_threads() if threads is None else threads, cells=cells,
    )  # fmt: skip


def end(segments: Sequence[Segment]) -> int:
    """The slot behind all segments."""
    return segments[-1].first_slot + segments[-1].capacity if segments else 0


def new_segment(rows: int, dim: int, storage: str, first_slot: int) -> Segment:
    """An empty segment with room for a number of rows, rounded up to whole blocks."""
    capacity = -(-rows // BLOCK) * BLOCK
    return Segment(
        np.empty((capacity, dim), STORAGES[storage]),
        first_slot=first_slot,
        scales=np.empty(capacity, np.float32) if storage == "int8" else None,
    )


def room(
    segments: list[Segment], count: int, dim: int, storage: str, most: int = LARGE
) -> list[tuple[int, slice]]:
    """Where ``count`` new rows go: (number of a segment, its rows); appends a segment if need be.

    A large batch gets a segment of its size, small ones share segments that double in size, up to
    ``most`` rows.
    """
    places = []
    if segments and segments[-1].in_memory:
        tail = segments[-1]
        size = min(count, tail.capacity - tail.rows)
        if size:
            places.append((len(segments) - 1, slice(tail.rows, tail.rows + size)))
            count -= size
    if count:
        shared = min(most, max(SMALL, sum(segment.rows for segment in segments)))
        segments.append(new_segment(max(count, shared), dim, storage, end(segments)))
        places.append((len(segments) - 1, slice(0, count)))
    return places


def store(vectors: NDArray[Any], storage: str, segment: Segment, rows: slice, part: slice) -> None:
    """Write numbers, a part of ``vectors`` (n, dim) of any real dtype, to rows of a segment.

    No state shows these rows yet. ValueError for a number out of the storage's range.
    """
    target, vectors = segment.vectors[rows], vectors[part]
    step = max(1, PIECE // target.shape[1])
    for done in range(0, len(target), step):
        out, given = target[done : done + step], vectors[done : done + step]
        with np.errstate(over="ignore", invalid="ignore"):
            if storage == "float32":
                out[...] = given
                finite = np.isfinite(out)
            elif storage == "float16":
                out[...] = given
                finite = (
                    out.view(np.uint16) & 0x7C00 != 0x7C00
                )  # np.isfinite takes ten times as long
            else:
                floats = np.asarray(given, np.float32)
                finite = np.isfinite(floats)
                if storage == "bfloat16":
                    out[...] = _arrays.narrow_bfloat16(floats)
                    finite = out & 0x7F80 != 0x7F80
        refuse_infinite("add: row {} of vectors", finite, given, part.start + done, storage)
        if segment.scales is not None:
            at = rows.start + done
            out[...], segment.scales[at : at + len(out)] = to_int8(floats)


def labelled(segment: Segment, rows: slice, labels: NDArray[np.int64], run: bool) -> Segment:
    """The segment with these rows, the next ones, which get labels.

    ``run``: the labels are consecutive and greater than all earlier ones of the index.
    """
    if segment.rows == 0:
        segment = replace(segment, first_label=int(labels[0]) if run else 0)
    if run and segment.labels is None and labels[0] == segment.first_label + segment.rows:
        return replace(segment, rows=rows.stop, run=rows.stop)
    array = segment.labels
    if array is None:
        array = np.empty(segment.capacity, np.int64)
        array[: segment.rows] = np.arange(segment.rows) + segment.first_label
    array[rows] = labels
    return replace(segment, rows=rows.stop, labels=array)


def gathered(
    segments: list[Segment], version: int, storage: str, first_slot: int
) -> tuple[Segment, NDArray[np.int64]]:
    """A new segment with the live rows of several ones, in their order; and its labels."""
    dim = segments[0].vectors.shape[1]
    count = sum(segment.rows - segment.dead for segment in segments)
    new = new_segment(count, dim, storage, first_slot)
    labels = np.empty(new.capacity, np.int64)
    done = 0
    for segment in segments:
        alive = segment.alive(version)
        step = max(1, PIECE // dim)
        for first in range(0, len(alive), step):
            rows = alive[first : first + step]
            to = slice(done, done + len(rows))
            new.vectors[to], labels[to] = segment.vectors[rows], segment.labels_of(rows)
            if new.scales is not None and segment.scales is not None:
                new.scales[to] = segment.scales[rows]
            done += len(rows)
    return replace(new, rows=count, labels=labels), labels[:count]


def code(
    segments: list[Segment], metric: str, centre: NDArray[np.float32] | None, centred: int
) -> tuple[NDArray[np.float32] | None, int]:
    """Code the full blocks that have no codes around this centre, in place of ``segments``.

    Returns the centre of codes and how many rows there were when it was taken. If the index has
    outgrown it, a new centre is taken, and all rows are coded again, in new arrays.
    """
    rows = sum(segment.rows for segment in segments)
    if rows < CODED_FROM:
        return centre, centred
    if centre is None or rows >= GROWTH * centred:
        centre, centred = centre_of(segments, metric), rows
    segments[:] = [coded(segment, metric, centre) for segment in segments]
    return centre, centred


def centre_of(segments: Sequence[Segment], metric: str) -> NDArray[np.float32]:
    """Mean of a sample of the rows (for cosine: of unit length).

    Huge rows, which code_rows_f32 does not code, are left out: they would only shift the mean.
    """
    step = -(-sum(segment.rows for segment in segments) // SAMPLE)
    centre, count = np.zeros(segments[0].vectors.shape[1]), 0
    for segment in segments:
        rows = np.arange(0, segment.rows, step)
        for first in range(0, len(rows), 1024):
            values = segment.floats(rows[first : first + 1024]).astype(np.float64)
            if metric == "cosine":
                norms = np.sqrt((values * values).sum(axis=1, keepdims=True))
                values /= np.where(norms == 0, 1, norms)
            values = values[np.abs(values).max(axis=1) <= 2.0**30]
            centre += values.sum(axis=0)
            count += len(values)
    return (centre / max(count, 1)).astype(np.float32)


def coded(segment: Segment, metric: str, centre: NDArray[np.float32]) -> Segment:
    """The segment with all its full blocks coded around this centre."""
    codes, bounds, first = segment.codes, segment.bounds, segment.coded
    if codes is None or bounds is None or segment.centre is not centre:
        blocks, units = segment.capacity // BLOCK, -(-segment.vectors.shape[1] // 4)
        codes = np.empty((blocks, units, BLOCK, 4), np.uint8)
        bounds = np.empty((blocks, 3, BLOCK), np.float32)
        first = 0
    last = segment.rows // BLOCK * BLOCK
    if last == first:
        return segment
    new = slice(first // BLOCK, last // BLOCK)
    _native.kernels.code_rows(
        active_level(),
        segment.vectors[first:last],
        None if segment.scales is None else segment.scales[first:last],
        metric, centre, codes[new], bounds[new],
    )  # fmt: skip
    return replace(segment, codes=codes, bounds=bounds, centre=centre, coded=last)
