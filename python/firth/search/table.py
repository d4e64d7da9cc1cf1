"""The table behind an `Index`: its rows and ids, and all that a writer changes.

What happens in an addition: the rows are written after the last row of the last *segment* (arrays
of a fixed number of rows that never move; a new one is made when the last one is full), and each
full block of 32 rows gets int8 codes for the scan. An existing id gets a new row like any other;
the old row is marked as dead. Only then one assignment to ``state`` publishes it all: until then no
search sees any of it, and a search that began earlier never will, since it works on the state that
it has read.

So a change has happened if and only if that assignment has, whatever interrupts it (a full disk,
Ctrl-C, no memory). Before, it only writes where no state looks: beyond the last row, the last name,
the end of the log; a row that dies is marked with the version from which on it is dead. The tables
guarded by `publishing` are set to None while they are changed, so that an interrupted change loses
them, and they are rebuilt from the state. `mend` removes the marks and the record in the log.

A *label* is an int64: the id itself, or the number of a str in ``names``. Which slot has a label:
rows that were added with consecutive ids need no table, since their labels follow from their place
(a *run*); others are in an `IdMap`, which is built when it is first needed. Writers exclude each
other by a lock; a search takes one only where its filter has ids to look up, and for that moment.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import warn
from firth.search import filters
from firth.search.arguments import whole
from firth.search.cells import MOST, Cells
from firth.search.segments import (
    LARGE,
    STORAGES,
    Mapped,
    Segment,
    code,
    end,
    gathered,
    labelled,
    room,
)
from firth.search.state import State, code_in_cells, kill

METRICS = ("cosine", "ip", "l2")
COMPACT_FROM = 1024  # dead rows from which rewriting pays off
# Writes some of the rows that are added (a slice of all) to rows of a segment.
Fill = Callable[[Segment, slice, slice], None]


class Log(Protocol):
    """Records each operation before the index shows it; after an exception the index is unchanged.

    There are two operations: ``append`` of stored numbers, and ``remove``. Replayed in order on an
    empty index they give the same ids, vectors and results. The rows that an addition replaces, and
    compaction, follow from these.
    """

    path: str

    def added(
        self,
        state: State,
        labels: NDArray[np.int64],
        names: Sequence[str],
        parts: list[tuple[Segment, slice]],
    ) -> int:
        """Write, behind the log of ``state``, that rows were stored at ``parts``.

        They are in the order of ``labels``; ``names`` are those of new labels, from
        ``state.next_label`` on. Returns the new end of the log.
        """

    def removed(self, state: State, labels: NDArray[np.int64]) -> int:
        """Write that the rows of these labels die. Returns the new end of the log."""

    def rewind(self, end: int) -> None:
        """Remove what was written after ``end``."""

    def flush(self, table: Table) -> None:
        """Sync the log to disk."""

    def compact(self, table: Table) -> None:
        """Rewrite the file with the live rows, and begin a new log."""

    def compact_if_due(self, table: Table) -> None:
        """The same where it pays off, or after a change that is not in the log: new cells.

        The index is safe without it, so a failure is only a warning.
        """

    def close(self, table: Table) -> None:
        """The index will not change any more."""

    def leave(self) -> None:
        """In the child of a fork, which will not change the index."""


class Table:
    """Rows, ids, locks and the log of an index.

    Parameters are those of `Index`, and so are the errors.
    """

    def __init__(
        self, dim: int, metric: str = "cosine", storage: str = "float32", cells: Any = None
    ) -> None:
        dim = whole("Index: dim", dim, 1)
        for name, value, known in (("metric", metric, METRICS), ("storage", storage, STORAGES)):
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"Index: {name} must be one of {tuple(known)}, got {value!r}")
        if isinstance(cells, str) and cells != "auto":
            raise ValueError(f"Index: cells must be 'auto' or 2 to {MOST}, got {cells!r}")
        if cells is not None and not isinstance(cells, str):
            cells = whole("Index: cells ('auto', or a number)", cells, 2, MOST)
        self.dim, self.metric, self.storage, self.cells = dim, metric, storage, cells
        self.state = State()
        self.log: Log | None = None
        self.mapped: Mapped | None = None  # the file that rows are mapped from
        self.key = b""  # of the file that it was opened from, or last rewritten to
        self.writing = threading.Lock()  # held by a writer from begin to end
        self._unfinished = False  # whether a change has begun and not ended: see `mend`
        self._failed_at = 0  # dead rows when the last automatic compaction failed
        # Held briefly while reading or updating `_map` and `_label_of` together with `state`.
        self.publishing = threading.Lock()
        self._map: _native.search.IdMap | None = None  # labels outside of runs; None: not built yet
        self._label_of: dict[str, int] | None = None  # latest label of each str; None: as above
        with _registering:
            _alive.add(self)

    def stats(self) -> dict[str, Any]:
        """The numbers of `Index.stats`, without the last search."""
        state = self.state
        segments = state.segments
        with self.publishing:
            ids = 0 if self._map is None else self._map.nbytes
        return {
            "rows": state.live,
            "dead": sum(one.dead for one in segments),
            "coded": sum(one.coded for one in segments),
            "segments": len(segments),
            "cells": 0 if state.cells is None else len(state.cells.centroids),
            "probe": None if state.cells is None else state.cells.probe,
            "bytes": {
                "vectors": sum(one.nbytes("vectors", "scales") for one in segments),
                "codes": sum(one.nbytes("codes", "bounds") for one in segments),
                "other": ids
                + sum(one.nbytes("labels", "died", "order", "cell_blocks") for one in segments),
            },
        }

    def check(self) -> None:
        """FormatError if the file that rows are mapped from has been truncated."""
        if self.mapped is not None:
            self.mapped.check()

    def checked_state(self) -> State:
        """The state, for those who read its rows or labels; FormatError as `check`."""
        self.check()
        return self.state

    def show(self, state: State) -> None:
        """Publish a state with other rows, or rows in other places."""
        with self.publishing:
            self._map = self._label_of = None
            self.state = state

    # From ids to labels and slots; the caller holds `publishing`, but for the last two

    def _labels(self, where: str, ids: NDArray[np.int64] | list[str]) -> NDArray[np.int64]:
        """Labels of checked ids, -1 for unknown str. TypeError for the wrong kind."""
        state = self.state
        if len(ids) == 0:
            return np.empty(0, np.int64)
        if isinstance(ids, list):
            if state.id_type is int:
                raise TypeError(f"{where} must be int as all ids of this index, got str")
            known = self._known_names()
            return np.fromiter((known.get(one, -1) for one in ids), np.int64, len(ids))
        if state.id_type is str:
            raise TypeError(f"{where} must be str as all ids of this index, got int")
        return ids

    def _known_names(self) -> dict[str, int]:
        """The latest label of each str, dead or alive."""
        if self._label_of is None:
            self._label_of = {name: label for label, name in enumerate(self.state.each_name())}
        return self._label_of

    def find(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots of the live rows of labels, -1 for labels without one."""
        table = self._known_labels()
        if len(table) == 0:
            return self.state.run_slots(labels)
        slots = table.find(labels)
        rest = np.flatnonzero(slots < 0)
        if len(rest):
            slots[rest] = self.state.run_slots(labels[rest])
        return slots

    def _known_labels(self) -> _native.search.IdMap:
        """The slots of live rows outside of runs."""
        if self._map is None:
            table = _native.search.IdMap()
            for segment in self.state.segments:
                if segment.labels is not None:
                    rows = segment.alive(self.state.version)
                    rows = rows[rows >= segment.run]
                    table.set(segment.labels[rows], rows + segment.first_slot)
            self._map = table
        return self._map

    def look_up(
        self, where: str, ids: NDArray[np.int64] | list[str]
    ) -> tuple[State, NDArray[np.int64], NDArray[np.int64]]:
        """A state, the labels of checked ids, and their slots in it. KeyError for a missing one."""
        self.check()
        with self.publishing:
            labels = self._labels(f"{where}: ids", ids)
            state, slots = self.state, self.find(labels)
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            first = ids[missing[0]] if isinstance(ids, list) else int(ids[missing[0]])
            more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
            raise KeyError(f"{where}: id {first!r}{more} not in the index")
        return state, labels, slots

    def chosen(
        self, function: str, queries: int, filter: Any, exclude: Any
    ) -> tuple[State, dict[str, Any]]:
        """A state, and filter and exclude in it in the form for native code."""
        self.check()
        allowed = filters.parse(f"{function}: filter", filter, queries)
        excluded = filters.parse(f"{function}: exclude", exclude, queries)
        id_lists = [(one.where, ids) for one in (allowed, excluded) for ids in one.id_lists()]
        slots: list[NDArray[np.int64]] = []
        if id_lists:
            with self.publishing:  # the ids as of this very state
                state = self.state
                labels = [self._labels(where, ids) for where, ids in id_lists]
                found = self.find(np.concatenate(labels))
            slots = np.split(found, np.cumsum([len(part) for part in labels])[:-1])
        else:
            state = self.state
        of_ids = iter(slots)
        return state, {
            "filters": allowed.resolve(state, of_ids),
            "filter_of": allowed.of_query,
            "exclusions": excluded.resolve(state, of_ids),
            "exclusion_of": excluded.of_query,
        }

    def new_labels(
        self, ids: NDArray[np.int64] | list[str] | None, count: int
    ) -> tuple[NDArray[np.int64], list[str]]:
        """Labels of rows to add, and the names of new labels."""
        state = self.checked_state()
        if ids is None:
            if state.id_type is str:
                raise TypeError("add: ids of this index are str: give some")
            if state.next_label + count > 2**63:
                raise ValueError("add: the greatest id is taken: give ids")
            return np.arange(state.next_label, state.next_label + count, dtype=np.int64), []
        with self.publishing:
            labels = self._labels("add: ids", ids)
            if not isinstance(ids, list):
                return labels, []
            labels[self.find(labels) < 0] = -1  # a removed str counts as a new one
        new: dict[str, int] = {}
        for place in np.flatnonzero(labels < 0).tolist():
            labels[place] = new.setdefault(ids[place], state.next_label + len(new))
        return labels, list(new)

    # The two operations that `Log` keeps; the caller holds `writing`

    def mend(self) -> None:
        """Undo what an interrupted change, if any, has left beyond the state."""
        if not self._unfinished:
            return
        for segment in self.state.segments:
            if segment.died is not None:
                segment.died[segment.died > self.state.version] = 0
        if self.log is not None:
            self.log.rewind(self.state.log_end)
        self._unfinished = False

    def append(self, labels: NDArray[np.int64], names: Sequence[str], fill: Fill) -> None:
        """Show rows under labels (n,), which ``fill`` writes.

        ``names``: of labels that are new, in their order.
        """
        if len(labels):
            self._change(lambda: self._append_rows(labels, names, fill))

    def remove(self, labels: NDArray[np.int64]) -> None:
        """Mark the rows of distinct labels as dead; all of them must exist."""
        if len(labels):
            self._change(lambda: self._remove_rows(labels))

    def _change(self, operation: Callable[[], None]) -> None:
        """An operation, all of it or nothing."""
        self._unfinished = True
        try:
            operation()
        except BaseException:
            with contextlib.suppress(OSError):  # the next change tries again
                self.mend()
            raise
        self._unfinished = False
        self.compact_if_due()

    def _append_rows(self, labels: NDArray[np.int64], names: Sequence[str], fill: Fill) -> None:
        state = self.state
        fresh = int(labels[0]) >= state.next_label and bool((labels[1:] > labels[:-1]).all())
        run = fresh and int(labels[-1]) - int(labels[0]) == len(labels) - 1
        segments = list(state.segments)
        parts, slots, done = [], [], 0
        # A segment of few rows would have cells of few rows.
        most = LARGE if self.cells is None else sys.maxsize
        for number, rows in room(segments, len(labels), self.dim, self.storage, most):
            part = slice(done, done + rows.stop - rows.start)
            fill(segments[number], rows, part)
            segments[number] = labelled(segments[number], rows, labels[part], run)
            parts.append((segments[number], rows))
            slots.append(np.arange(rows.start, rows.stop) + segments[number].first_slot)
            done = part.stop
        centre, centred, cells = self._code(segments)
        log_end = state.log_end
        if self.log is not None:
            log_end = self.log.added(state, labels, names, parts)

        with self.publishing:
            table = self._map if fresh else self._known_labels()
            label_of = self._label_of
            self._map = self._label_of = None
            dead = np.empty(0, np.int64)
            if not fresh:
                assert table is not None
                dead = table.set(labels, np.concatenate(slots))
                rest = np.flatnonzero(dead < 0)
                dead[rest] = state.run_slots(labels[rest])
                dead = np.unique(dead[dead >= 0])
            elif table is not None:
                for (segment, rows), places in zip(parts, slots, strict=True):
                    if segment.labels is not None:
                        table.set(segment.labels[rows], places)
            kill(segments, dead, state.version + 1)
            all_names = state.names
            if names:
                all_names = [] if all_names is None else all_names
                all_names[state.next_label :] = names
                if label_of is not None:
                    numbers = itertools.count(state.next_label)
                    label_of.update(zip(names, numbers, strict=False))
            self.state = replace(
                state,
                segments=tuple(segments),
                version=state.version + 1,
                live=state.live + len(labels) - len(dead),
                next_label=max(state.next_label, int(labels.max()) + 1),
                names=all_names,
                id_type=int if all_names is None else str,
                log_end=log_end,
                centre=centre,
                centred=centred,
                cells=cells,
            )
            self._map, self._label_of = table, label_of

    def _code(
        self, segments: list[Segment]
    ) -> tuple[NDArray[np.float32] | None, int, Cells | None]:
        """Code the rows of the next state: its centre of codes, rows when centred, and cells."""
        state = self.state
        if self.cells is None:
            return *code(segments, self.metric, state.centre, state.centred), None
        return code_in_cells(
            segments, self.metric, state, None if self.cells == "auto" else self.cells
        )

    def _remove_rows(self, labels: NDArray[np.int64]) -> None:
        state = self.state
        log_end = state.log_end
        if self.log is not None:
            log_end = self.log.removed(state, labels)
        with self.publishing:
            slots = self.find(labels)
            segments = list(state.segments)
            table, self._map = self._known_labels(), None
            kill(segments, slots, state.version + 1)
            table.remove(labels)
            self.state = replace(
                state,
                segments=tuple(segments),
                version=state.version + 1,
                live=state.live - len(slots),
                log_end=log_end,
            )
            self._map = table

    def compact_if_due(self) -> None:
        """Rewrite what is in memory when more than a quarter of it is dead.

        So at most three live rows are rewritten per dead one: O(1) for a removal.
        """
        if self.log is not None:
            self.log.compact_if_due(self)
            return
        segments = [segment for segment in self.state.segments if segment.in_memory]
        dead = sum(segment.dead for segment in segments)
        due = dead > COMPACT_FROM and dead > sum(segment.rows for segment in segments) / 4
        if not due or dead < 2 * self._failed_at:
            return
        try:
            self.compact_memory()
            self._failed_at = 0
        except Exception as error:  # the change itself is done
            self._failed_at = dead
            warn(f"the index could not be compacted: {error!r}")

    def compact_memory(self) -> None:
        """Copy the live rows in memory to one new segment. Users see no difference."""
        state = self.state
        segments = [segment for segment in state.segments if not segment.in_memory]
        old = [segment for segment in state.segments if segment.in_memory]
        names, next_label = state.names, state.next_label
        if old:
            new, labels = gathered(old, state.version, self.storage, end(segments))
            if names is not None and not segments and self.log is None:
                # Drop the str of removed rows; the others keep their order.
                used = np.sort(labels)
                names, next_label = [names[label] for label in used.tolist()], len(used)
                labels[:] = np.searchsorted(used, labels)
            if new.rows:
                segments.append(new)
        centre, centred, cells = self._code(segments)
        self.show(
            replace(
                state, segments=tuple(segments), names=names, next_label=next_label,
                centre=centre, centred=centred, cells=cells,
            )
        )  # fmt: skip


# Fork: a child gets the memory of its parent at one moment. With the locks held, no index is in the
# middle of a change then, and the child can use it.
_alive: weakref.WeakSet[Table] = weakref.WeakSet()
_registering = threading.Lock()
_held: list[threading.Lock] = []


def _hold_all() -> None:
    _registering.acquire()
    _held.append(_registering)
    for table in list(_alive):
        for lock in (table.writing, table.publishing):
            lock.acquire()
            _held.append(lock)


def _leave_files() -> None:
    _release_all()
    for table in list(_alive):
        if table.log is not None:
            table.log.leave()  # so that only the parent holds its lock


def _release_all() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_leave_files)
