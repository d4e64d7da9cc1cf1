"""States of an index, which never change, and how one follows from another.

A *state* is the content of one version of an index: a search reads one and works on it, whatever
happens meanwhile.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.progress import progress_bar
from firth.search.cells import (
    AUTO_FROM,
    ROUNDS,
    ROWS,
    TAIL,
    Cells,
    auto,
    cells_of,
    ordered,
    train,
    with_tail,
)
from firth.search.segments import BLOCK, GROWTH, Segment, centre_of, code, end, only_fields
from firth.search.tuning import least_probe

LONG = 1e11  # multiplications from which there is a bar: some seconds


@dataclass(frozen=True)
class State:
    """All data of a search. Never changed, only replaced."""

    segments: tuple[Segment, ...] = ()
    version: int = 0  # of additions and removals
    live: int = 0
    next_label: int = 0  # greater than every label so far
    # The str of each label: list or Names. States share it: each looks at the first `next_label`.
    names: Any = None
    id_type: type | None = None  # int or str; None: nothing has been added yet
    log_end: int = 0  # bytes of the log up to this state; what follows is void
    centre: NDArray[np.float32] | None = None  # of new codes
    centred: int = 0  # rows when it was taken
    cells: Cells | None = None

    __getstate__ = only_fields

    @functools.cached_property
    def native(self) -> list[_native.search.Segment]:
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
        """The same, which shares with later states only what is beyond its own rows."""
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
        """The users' ids of labels, of any shape."""
        if self.names is None:
            return labels
        named = np.empty(labels.shape, object)
        names = self.names
        named.ravel()[:] = [names[label] for label in labels.ravel().tolist()]
        return named


def kill(segments: list[Segment], slots: NDArray[np.int64], version: int) -> None:
    """Mark rows as dead from a version on."""
    for number, places in State(tuple(segments)).by_segment(slots):
        segment = segments[number]
        died = segment.died
        if died is None:
            died = np.zeros(segment.capacity, np.int64)  # takes memory where it is written
        died[slots[places] - segment.first_slot] = version
        segments[number] = replace(segment, died=died, dead=segment.dead + len(places))


def code_in_cells(
    segments: list[Segment], metric: str, state: State, cell_count: int | None
) -> tuple[NDArray[np.float32] | None, int, Cells | None]:
    """Code the rows that have no codes, in place of ``segments``; order them by cell when due.

    ``cell_count``: the number of cells, None for `auto`. Returns the centre of the codes, the rows
    when it was taken, and the cells.
    """
    live = sum(segment.rows - segment.dead for segment in segments)
    cells, centre, centred = state.cells, state.centre, state.centred
    if cells is None and live < (AUTO_FROM if cell_count is None else ROWS * cell_count):
        return *code(segments, metric, centre, centred), None
    version = state.version
    if cells is None or live >= GROWTH * cells.trained:
        centre, centred = centre_of(segments, metric), live
        count = auto(live) if cell_count is None else cell_count
        rows = live + ROUNDS * min(live, ROWS * count)
        long = rows * count * len(centre) > LONG
        with progress_bar(rows, " rows", "finding cells", None if long else False) as bar:
            centroids = train(segments, version, metric, count, bar.update)
            if cells is None:
                cells = Cells(centroids, metric, live)
            else:
                cells = replace(cells, centroids=centroids, trained=live)
            for number, segment in enumerate(segments):
                segments[number] = ordered(segment, version, cells, centre, None, bar.update)
        return centre, centred, replace(cells, probe=least_probe(segments, version, cells))
    assert centre is not None  # it is taken with the cells
    tails = sum(segment.rows - segment.ordered for segment in segments)
    due = tails > max(BLOCK * BLOCK, live // TAIL)
    for number, segment in enumerate(segments):
        if due and segment.rows > segment.ordered:
            segments[number] = ordered(segment, version, cells, centre, cells_of(segment))
        else:
            segments[number] = with_tail(segment, metric, centre, len(cells.centroids))
    return centre, centred, cells
