"""Where `Index` keeps rows: segments, and states of the whole, which never change.

A *segment* is a set of arrays for a fixed number of rows. A *state* is what a version of an index
shows of its segments: a search reads one and works on it, whatever happens meanwhile. The functions
below make the segments of the next state, in a list of the writer; they write to arrays only where
no state looks yet.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import active_level
from firth.search.arguments import refuse_infinite
from firth.words.vectors import to_int8

if TYPE_CHECKING:
    from firth.search.cells import Cells

STORAGES: dict[str, type[np.generic]] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": np.uint16,  # its bits
    "int8": np.int8,  # with a scale for each row
}
BLOCK = 32  # rows that are coded together
SMALL, LARGE = 1024, 65536  # rows of the segments that fill up bit by bit
CODED_FROM = 1024  # rows from which codes pay
GROWTH = 4  # coded anew when the index has grown so often since its centre was taken
SAMPLE = 8192  # rows whose mean is the centre: it is within 1% of their spread then
PIECE = 131072  # numbers that are converted at once: they stay in cache until they are checked


def only_fields(self: Any) -> dict[str, Any]:
    """What is pickled of a dataclass: nothing native that it has cached."""
    return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True)
class Segment:
    """Arrays of C rows (a multiple of 32), of which the first ``rows`` are there.

    A state holds it for good: to grow it, a copy of this object with other numbers is made, and the
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
    # With cells (see cells.py) the codes stand in another order, and `coded` may be any number.
    order: NDArray[np.int32] | None = None  # (blocks * 32,): the row of each lane, -1: none
    cell_blocks: NDArray[np.int64] | None = None  # (cells + 2,): first block of each; tail; end
    ordered: int = 0  # leading rows that stand in cells, but those that were dead then

    __getstate__ = only_fields

    @property
    def capacity(self) -> int:
        """Rows that there is room for."""
        return len(self.vectors)

    @property
    def in_memory(self) -> bool:
        """Whether rows may be added and rewritten."""
        return bool(self.vectors.flags.writeable)

    @functools.cached_property
    def native(self) -> _native.Segment:
        """The same for native code."""
        order = self.order
        if order is not None and self.cell_blocks is not None:
            order = order[: self.cell_blocks[-1] * BLOCK]
        return _native.Segment(
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
        """What the stored numbers of some rows stand for (len(rows), dim)."""
        stored = _arrays.widen_bfloat16(self.vectors[rows])
        values: NDArray[np.float32] = stored.astype(np.float32)
        return values if self.scales is None else values * self.scales[rows, None]


@dataclass(frozen=True)
class State:
    """All that a search sees. Never changed, only replaced."""

    segments: tuple[Segment, ...] = ()
    version: int = 0  # of additions and removals
    live: int = 0
    next_label: int = 0  # greater than every label so far
    # The str of each label: list or Names. States share it: each looks at the first `next_label`.
    names: Any = None
    id_type: type | None = None  # int or str; None: nothing has been added yet
    log_end: int = 0  # bytes of the log that tell of this state; what stands behind is void
    centre: NDArray[np.float32] | None = None  # of new codes
    centred: int = 0  # rows when it was taken
    cells: Cells | None = None

    __getstate__ = only_fields

    @functools.cached_property
    def native(self) -> list[_native.Segment]:
        """The segments for native code."""
        return [segment.native for segment in self.segments]

    @functools.cached_property
    def slots(self) -> int:
        """Slots of all segments."""
        return end(self.segments)

    @functools.cached_property
    def first_slots(self) -> NDArray[np.int64]:
        """First slot of each segment."""
        return np.array([segment.first_slot for segment in self.segments], np.int64)

    def by_segment(self, slots: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Numbers of the segments that slots lie in, each with the places of its slots."""
        of = np.searchsorted(self.first_slots, slots, side="right") - 1
        for number in np.flatnonzero(np.bincount(of)).tolist():
            yield number, np.flatnonzero(of == number)

    @functools.cached_property
    def runs(self) -> tuple[list[Segment], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The segments that begin with a run; its first label (ascending), length, first slot."""
        runs = [segment for segment in self.segments if segment.run]
        return (
            runs,
            np.array([segment.first_label for segment in runs], np.int64),
            np.array([segment.run for segment in runs], np.uint64),
            np.array([segment.first_slot for segment in runs], np.int64),
        )

    def run_slots(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots of labels that follow from the place of their row and are alive; else -1."""
        runs, first, length, slot = self.runs
        if not runs:
            return np.full(len(labels), -1, np.int64)
        of: Any = 0 if len(runs) == 1 else np.searchsorted(first, labels, side="right") - 1
        rows = labels - first[of]
        # Below its first label a run has a negative row: a huge one, without the sign. (Nor does
        # a difference that wraps around lie inside, since the run itself does not wrap.)
        inside = rows.view(np.uint64) < length[of]
        slots = np.where(inside, rows + slot[of], -1)
        for number, segment in enumerate(runs):
            if segment.died is not None:
                mine = np.flatnonzero(inside & (of == number))
                died = segment.died[rows[mine]]
                slots[mine[(died != 0) & (died <= self.version)]] = -1
        return slots

    def live_labels(self) -> NDArray[np.int64]:
        """Labels in the order of slots."""
        return np.concatenate(
            [np.empty(0, np.int64)]
            + [segment.labels_of(segment.alive(self.version)) for segment in self.segments]
        )

    @functools.cached_property
    def gaps(self) -> NDArray[np.bool_] | None:
        """Which slots have a live row; None: the first ones, without a gap."""
        full = [segment.rows for segment in self.segments[:-1]]
        if self.live == sum(full) + self.segments[-1].rows and full == [
            segment.capacity for segment in self.segments[:-1]
        ]:
            return None
        live = np.zeros(self.slots, np.bool_)
        for segment in self.segments:
            live[segment.alive(self.version) + segment.first_slot] = True
        return live

    def bitmap(self, mask: NDArray[Any]) -> NDArray[np.uint8]:
        """A mask of the live rows (bool, or packed in uint8) as a bitmap over slots."""
        packed = mask.dtype == np.uint8
        if not self.segments or self.gaps is None:
            return np.ascontiguousarray(mask) if packed else np.packbits(mask, bitorder="little")
        if packed:
            mask = np.unpackbits(mask, count=self.live, bitorder="little").view(np.bool_)
        whole = np.zeros(self.slots, np.bool_)
        whole[self.gaps] = mask
        return np.packbits(whole, bitorder="little")

    def floats(self, slots: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
        """The vectors at some slots (len(slots), dim)."""
        values = np.empty((len(slots), dim), np.float32)
        for number, places in self.by_segment(slots):
            segment = self.segments[number]
            values[places] = segment.floats(slots[places] - segment.first_slot)
        return values

    def apart(self) -> State:
        """The same, sharing nothing with later states but what lies behind its rows."""
        segments = [
            segment
            if segment.died is None
            else replace(segment, died=np.where(segment.died > self.version, 0, segment.died))
            for segment in self.segments
        ]
        names = None if self.names is None else list(self.each_name())
        return replace(self, segments=tuple(segments), names=names)

    def each_name(self) -> Iterator[str]:
        """The str of each label, in order."""
        return itertools.islice(self.names or (), self.next_label)

    def ids(self, labels: NDArray[np.int64]) -> NDArray[Any]:
        """What users call labels of any shape."""
        if self.names is None:
            return labels
        named = np.empty(labels.shape, object)
        names = self.names
        named.ravel()[:] = [names[label] for label in labels.ravel().tolist()]
        return named


def end(segments: Sequence[Segment]) -> int:
    """The slot behind all segments."""
    return segments[-1].first_slot + segments[-1].capacity if segments else 0


def new_segment(rows: int, dim: int, storage: str, first_slot: int) -> Segment:
    """An empty segment with room for so many rows, rounded up to whole blocks."""
    capacity = -(-rows // BLOCK) * BLOCK
    return Segment(
        np.empty((capacity, dim), STORAGES[storage]),
        first_slot=first_slot,
        scales=np.empty(capacity, np.float32) if storage == "int8" else None,
    )


def room(
    segments: list[Segment], count: int, dim: int, storage: str, most: int = LARGE
) -> list[tuple[int, slice]]:
    """Where so many new rows go: (number of a segment, its rows); appends a segment if need be.

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

    No state shows these rows yet. ValueError where the storage has no form for a number.
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

    ``run``: the labels are consecutive and greater than all that the index has had.
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


def kill(segments: list[Segment], slots: NDArray[np.int64], version: int) -> None:
    """Mark rows as dead from a version on."""
    for number, places in State(tuple(segments)).by_segment(slots):
        segment = segments[number]
        died = segment.died
        if died is None:
            died = np.zeros(segment.capacity, np.int64)  # takes memory where it is written
        died[slots[places] - segment.first_slot] = version
        segments[number] = replace(segment, died=died, dead=segment.dead + len(places))


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
    outgrown it, that is now, and all rows are coded anew, in new arrays.
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

    Giants, which code_rows_f32 does not code, would only draw it away from the others.
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
    active_level().code_rows(
        segment.vectors[first:last],
        None if segment.scales is None else segment.scales[first:last],
        metric, centre, codes[new], bounds[new],
    )  # fmt: skip
    return replace(segment, codes=codes, bounds=bounds, centre=centre, coded=last)
