"""`Index`: the nearest vectors, exactly, while vectors come and go.

What happens in ``add``: the vectors are converted to the storage's numbers and written behind the
last row of the last *segment* (arrays of a fixed number of rows that never move; a new one is
made when the last one is full), and each full block of 32 rows gets int8 codes for the scan. An id
that is there already gets its new row like any other; the old row is marked as dead. Only then one
assignment to ``_state`` shows it all: until then no search sees any of it, and a search that began
earlier never will, since it works on the state that it found.

So a change has happened if and only if that assignment has, whatever ends it (a full disk, Ctrl-C,
no memory). What it writes before goes where no state looks: behind the last row, the last name, the
end of the log; a row that dies is marked with the version from which on it is dead. The tables that
`_publishing` guards are put away while they are changed, so that an interrupted change loses them,
and they are made anew from the state. `_mend` takes back the marks and the record in the log.

What happens in ``search``: the state is read once; ids and masks of a filter become *slots* (places
of rows, counted through all segments); native code scans the codes of all rows, with a bound on
what a code can hide, scores what may be among the best from the stored vectors, and sorts by score,
then by *label*. A label is an int64: the id itself, or the number of a str in ``names``.

Which slot has a label: rows that were added with consecutive ids need no table, since their
labels follow from their place (a *run*); others stand in an `IdMap`, which is built when it is
first needed. Writers exclude each other by a lock; a search takes one only where its filter has ids
to look up, and for that moment.

(More than 500 lines: one class whose public methods are half docstring. What does not need its
locks stands in `segments`, `filters`, `arguments`, `cells` and `storage`.)
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import itertools
import operator
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.formats.files import Path
from firth.kernels._dispatch import active_level
from firth.progress import progress_bar
from firth.search import convert, filters
from firth.search.arguments import checked_ids, float_rows, real_rows, thresholds
from firth.search.cells import MOST, Cells
from firth.search.segments import (
    LARGE,
    STORAGES,
    Segment,
    code,
    end,
    gathered,
    labelled,
    room,
    search,
    store,
)
from firth.search.state import State, code_in_cells, kill
from firth.search.tuning import Tuning, tune

METRICS = ("cosine", "ip", "l2")
AT_ONCE = 4096  # queries of a native call; between two of them Ctrl-C is heard
EXACT_SHARE = 32  # native searches for more than one row in so many are exact, cells or not
COMPACT_FROM = 1024  # dead rows from which rewriting pays

# Writes some of the rows that are added (a slice of all) to rows of a segment.
Fill = Callable[[Segment, slice, slice], None]


class Matches(NamedTuple):
    """What a search found, best first; equal scores by lower id (of str: by first addition).

    For one query arrays (m,), for many arrays (Q, m), or lists of Q arrays where the queries have
    different numbers of matches.
    """

    ids: Any  # int64, or object arrays of str
    scores: Any  # float32


class Log(Protocol):
    """Keeps each operation before the index shows it; an exception leaves the index as it was.

    There are two operations, and to replay them in order on a fresh index is to have the same ids,
    vectors and answers: ``_append`` of stored numbers, and ``_remove``. What an addition replaces,
    and compaction, follow from these.
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
        """Take back what was written behind ``end``."""

    def flush(self, index: Index) -> None:
        """Sync what was written."""

    def compact(self, index: Index) -> None:
        """Begin anew with what is alive."""

    def compact_if_due(self, index: Index) -> None:
        """The same where it pays, or where the log cannot hold it: the cells have changed.

        The index is safe without it, so a failure is only a warning.
        """

    def close(self, index: Index) -> None:
        """The index will change no more."""

    def leave(self) -> None:
        """Nor will this process change it, which is a fork."""


class Index:
    """Exact search among vectors: see the head of this module for how it works.

    Parameters
    ----------
    dim : int
        Length of a vector, at least 1.
    metric : {"cosine", "ip", "l2"}
        The score of a query and a row: their cosine, within [-1, 1], 0 for a row of zeros; their
        inner product; or minus the square of their Euclidean distance. More is better. A score is
        computed in float64 from the stored numbers and rounded once to float32: it depends on
        nothing but query and row.
    storage : {"float32", "float16", "bfloat16", "int8"}
        How vectors are kept. The smaller ones round a vector when it is added (int8: to 127 steps
        of its largest magnitude); the search is exact on the rounded vectors.
    cells : "auto" or int, at least 2; optional
        For millions of vectors: how many groups (IVF) the rows are divided into, as soon as there
        are enough of them; "auto": about twice the square root of their number, from 32,768
        rows on. A search then visits the groups that are nearest to the query, and is exact
        within these: see `search` and `tune`. Default: none, every search is exact.

    Many threads may search while one adds or removes: each search sees the index as it was when it
    began. Ids are either all int or all str.

    >>> import firth
    >>> index = firth.Index(2)
    >>> index.add([[1, 0], [0, 2], [3, 3]], ids=["east", "north", "north-east"])
    ['east', 'north', 'north-east']
    >>> index.search([1.0, 0.1], k=2).ids
    array(['east', 'north-east'], dtype=object)
    """

    def __init__(
        self,
        dim: int,
        metric: str = "cosine",
        storage: str = "float32",
        *,
        cells: Any = None,
    ) -> None:
        dim = operator.index(dim)
        if dim < 1:
            raise ValueError(f"Index: dim must be at least 1, got {dim}")
        if metric not in METRICS:
            raise ValueError(f"Index: metric must be one of {METRICS}, got {metric!r}")
        if storage not in STORAGES:
            raise ValueError(f"Index: storage must be one of {tuple(STORAGES)}, got {storage!r}")
        if cells is not None and cells != "auto":
            cells = operator.index(cells)
            if not 2 <= cells <= MOST:
                raise ValueError(f"Index: cells must be 'auto' or 2 to {MOST}, got {cells}")
        self.dim, self.metric, self.storage, self.cells = dim, metric, storage, cells
        self._state = State()
        self._log: Log | None = None
        self._last: tuple[int, ...] = (0, 0, 0)  # what the last search told of its way
        # Held by a writer from begin to end.
        self._writing = threading.Lock()
        self._unfinished = False  # whether a change has begun and not ended: see `_mend`
        self._failed_at = 0  # dead rows when the last compaction by itself failed
        # Held briefly while reading or updating `_map` and `_label_of` together with `_state`.
        self._publishing = threading.Lock()
        self._map: _native.IdMap | None = None  # labels outside of runs; None: not built yet
        self._label_of: dict[str, int] | None = None  # latest label of each str; None: as above
        with _registering:
            _alive.add(self)

    # What is in it

    def __len__(self) -> int:
        return self._state.live

    def __repr__(self) -> str:
        return (
            f"firth.Index(dim={self.dim}, metric={self.metric!r}, storage={self.storage!r}) "
            f"of {len(self)} vectors"
        )

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled, or copied: all of an index in memory."""
        if self._log is not None:
            raise TypeError(f"an index in a file is not pickled: open {self._log.path} there")
        taken = {name: getattr(self, name) for name in ("dim", "metric", "storage", "cells")}
        return {**taken, "state": self._state.apart()}

    def __setstate__(self, taken: dict[str, Any]) -> None:
        state = taken.pop("state")
        self.__init__(**taken)  # type: ignore[misc]
        self._state = state

    def __copy__(self) -> Index:
        return copy.deepcopy(self)  # two that share arrays would both write to them

    def __contains__(self, id: Any) -> bool:
        try:
            self._look_up("in", checked_ids("in: id", [id])[0])
        except (KeyError, TypeError, ValueError):
            return False
        return True

    @property
    def ids(self) -> Any:
        """All ids in the order of rows, which masks go by: int64 array, or list of str."""
        state = self._state
        labels = state.live_labels()
        return labels if state.names is None else state.ids(labels).tolist()

    def get(self, ids: Any) -> NDArray[np.float32]:
        """The stored vectors of ids (n, dim), or of one id (dim,), as a float32 copy.

        KeyError where one is not there.
        """
        wanted, single = checked_ids("get: ids", ids)
        state, _, slots = self._look_up("get", wanted)
        vectors = state.floats(slots, self.dim)
        return vectors[0] if single else vectors

    def stats(self) -> dict[str, Any]:
        """Numbers about the index.

        ``rows`` (alive), ``dead`` (removed or replaced, but not compacted yet), ``coded`` (with
        codes for the scan), ``segments``; ``cells`` and ``probe``, how many of them a search
        visits (0 and None without cells, and while there are too few rows for them); bytes of
        ``vectors`` (with int8: and scales), of ``codes`` and of all ``other`` arrays and tables
        (str ids aside).

        ``last_search``: of pairs of a query and a row, how many were ``coded`` (decided by
        codes), how many of these were ``survivors`` (scored all the same), and how many were
        ``scored`` without codes; those that a short filter picks are not counted.
        """
        state = self._state
        segments = state.segments
        with self._publishing:
            table = 0 if self._map is None else self._map.nbytes
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
                "other": table
                + sum(one.nbytes("labels", "died", "order", "cell_blocks") for one in segments),
            },
            "last_search": dict(zip(("coded", "survivors", "scored"), self._last, strict=True)),
        }

    # Changing it

    def add(self, vectors: Any, ids: Any = None) -> Any:
        """Add vectors, or give ids that are there new ones.

        Parameters
        ----------
        vectors : array_like (n, dim), or (dim,) for one
            float32, float16, float64, bfloat16 or integers, of any layout, in native byte order.
        ids : n int or n str, or one with one vector; optional
            Default: consecutive numbers from the greatest id so far + 1. Where an id occurs more
            than once, its last vector counts, as in a dict.

        Returns
        -------
        ndarray (n,) int64, or list of str; one id for one vector
            The ids.

        Raises
        ------
        TypeError
            Wrong dtype; int ids for an index of str, or the reverse.
        ValueError
            Wrong shape; NaN, infinity or a number that the storage has no room for (the row is
            told). Nothing is added.
        """
        rows, single = real_rows("add: vectors", vectors, self.dim)
        given: Any = None
        if ids is not None:
            given, _ = checked_ids("add: ids", ids)
            if len(given) != len(rows):
                raise ValueError(
                    f"add: ids must be one for each of {len(rows)} vectors, got {len(given)}"
                )
        with self._writing:
            self._mend()
            labels, names = self._new_labels(given, len(rows))
            self._append(labels, names, functools.partial(store, rows, self.storage))
        given = labels if given is None else given
        if not single:
            return given
        return given[0] if isinstance(given, list) else int(given[0])

    def _new_labels(
        self, ids: NDArray[np.int64] | list[str] | None, count: int
    ) -> tuple[NDArray[np.int64], list[str]]:
        """Labels of rows to add, and the names of new labels."""
        state = self._state
        if ids is None:
            if state.id_type is str:
                raise TypeError("add: ids of this index are str: give some")
            if state.next_label + count > 2**63:
                raise ValueError("add: the greatest id is taken: give ids")
            return np.arange(count, dtype=np.int64) + state.next_label, []
        with self._publishing:
            labels = self._labels("add: ids", ids)
            if not isinstance(ids, list):
                return labels, []
            labels[self._find(labels) < 0] = -1  # a str that was removed is a new one
        new: dict[str, int] = {}
        for place in np.flatnonzero(labels < 0).tolist():
            labels[place] = new.setdefault(ids[place], state.next_label + len(new))
        return labels, list(new)

    def remove(self, ids: Any) -> None:
        """Remove ids (or one). KeyError where one is not there; then nothing is removed."""
        wanted, _ = checked_ids("remove: ids", ids)
        with self._writing:
            self._mend()
            _, labels, _ = self._look_up("remove", wanted)
            self._remove(np.unique(labels))

    # Asking

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        filter: Any = None,
        exclude: Any = None,
        probe: Any = None,
    ) -> Matches:
        """The k best rows of each query.

        Parameters
        ----------
        queries : array_like (Q, dim), or (dim,) for one
            Of the same dtypes as in `add`; taken as float32.
        k : int, at least 0
            Fewer come back where fewer rows are allowed: results are never padded.
        filter, exclude : optional
            Rows that alone may be found, and rows that may not. One choice for all queries, or
            a list (or 2-D array) with one, or None, for each. A choice is a list, set or array of
            ids, of which those that are not there count for nothing; or a boolean mask
            (len(index),) in the order of `ids`; or such a mask packed in uint8 with the lowest
            bit first, as by ``np.packbits(mask, bitorder="little")``. An array of uint8 is always
            a packed mask.
        probe : int, at least 1, or "all"; optional
            In an index with cells, how many each query visits; "all": the exact answer. Default:
            what `tune` chose; before that, what finds 0.95 of the 10 best of some of the rows.
            Where fewer than k rows are found there, that query visits all of them.

        Returns
        -------
        Matches

        Raises
        ------
        TypeError, ValueError
            As `add`; a mask of another length, or not as many choices as queries.
        """
        wanted, single = float_rows("search: queries", queries, self.dim)
        k = operator.index(k)
        if k < 0:
            raise ValueError(f"search: k must be at least 0, got {k}")
        if probe is not None:
            probe = self._checked_probe(probe)
        state, chosen = self._chosen("search", len(wanted), filter, exclude)
        k = min(k, filters.most(chosen, state.live))
        visited = None
        if state.cells is not None and probe != "all":
            visited = state.cells.visited(wanted, probe or state.cells.probe)
        labels, scores, counts = self._answers(state, wanted, k, chosen, visited)
        if visited is not None and len(few := np.flatnonzero(counts < k)):
            labels[few], scores[few], counts[few] = self._answers(
                state, wanted[few], k, filters.part(chosen, few), None, told=False
            )
        if single:
            count = int(counts[0])
            return Matches(state.ids(labels[0, :count]), scores[0, :count])
        most = int(counts.max()) if len(counts) else labels.shape[1]
        if (counts == most).all():
            return Matches(state.ids(labels[:, :most]), scores[:, :most])
        return Matches(
            [state.ids(row[:count]) for row, count in zip(labels, counts, strict=True)],
            [row[:count] for row, count in zip(scores, counts, strict=True)],
        )

    def _answers(
        self, state: State, wanted: Any, k: int, chosen: Any, visited: Any, *, told: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Labels and scores (Q, k), and how many of each row count; `stats` is ``told`` how."""

        def native(wanted: Any, chosen: Any, visited: Any) -> Any:
            return search(
                state.native, self.metric, wanted, k, state.version, **chosen, cells=visited
            )

        count = len(wanted)
        if count <= AT_ONCE:
            labels, scores, counts, way = native(wanted, chosen, visited)
        else:
            labels, scores = np.empty((count, k), np.int64), np.empty((count, k), np.float32)
            counts, way = np.empty(count, np.int64), (0, 0, 0)
            with progress_bar(count, " queries", "searching") as bar:
                for first in range(0, count, AT_ONCE):
                    some = slice(first, first + AT_ONCE)
                    labels[some], scores[some], counts[some], more = native(
                        wanted[some],
                        filters.part(chosen, some),
                        None if visited is None else visited[some],
                    )
                    way = tuple(np.add(way, more).tolist())
                    bar.update(len(counts[some]))
        if told:
            self._last = way
        return labels, scores, counts

    def search_range(
        self, queries: Any, threshold: Any, *, filter: Any = None, exclude: Any = None
    ) -> Matches:
        """All rows that score at least ``threshold``, best first; exact, with cells too.

        Parameters
        ----------
        queries, filter, exclude
            As in `search`.
        threshold : float, or array_like (Q,)
            One for all queries, or one for each.

        Returns
        -------
        Matches
            Arrays for one query, lists of Q arrays for many.
        """
        wanted, single = float_rows("search_range: queries", queries, self.dim)
        least = thresholds("search_range: threshold", threshold, len(wanted))
        state, chosen = self._chosen("search_range", len(wanted), filter, exclude)
        offsets, labels, scores, self._last = active_level().search_range(
            state.native, self.metric, wanted, least, state.version,
            **chosen, threads=_native.num_threads(),
        )  # fmt: skip
        parts = [slice(*ends) for ends in itertools.pairwise(offsets)]
        ids = state.ids(labels)
        if single:
            return Matches(ids, scores)
        return Matches([ids[part] for part in parts], [scores[part] for part in parts])

    def tune(self, recall: float = 0.95, k: int = 10, queries: Any = None) -> Tuning:
        """Find the least number of cells to visit for a recall, and visit so many from now on.

        Parameters
        ----------
        recall : float, above 0 and at most 1
            The part of the true k best that are to be found, on average.
        k : int, at least 1
        queries : array_like (Q, dim), optional
            What users ask, and not what is in the index: some hundreds at least. Default: 1024
            rows of the index, each of which is not counted among its own answers. Queries that are
            unlike the rows (questions, say, where the rows are paragraphs) need more cells than
            these tell.

        Returns
        -------
        Tuning
            ``probe``, and ``steps``: what was tried, each with its ``probe``, the ``recall``
            that was measured, the ``queries_per_second`` of all queries at once, and the part
            of all ``rows`` that a query is compared with. Prints as a table.

        Raises
        ------
        ValueError
            No cells (yet); an argument out of range, or queries that `search` would refuse.
        """
        if not 0 < recall <= 1:
            raise ValueError(f"tune: recall must be above 0 and at most 1, got {recall}")
        k = operator.index(k)
        if k < 1:
            raise ValueError(f"tune: k must be at least 1, got {k}")
        wanted = None
        if queries is not None:
            wanted, _ = float_rows("tune: queries", queries, self.dim)
            if len(wanted) == 0:
                raise ValueError("tune: queries must be at least one")
        with self._writing:
            self._mend()
            state = self._state
            if state.cells is None:
                raise ValueError(f"tune: {self!r} has no cells" + (" yet" if self.cells else ""))
            if k >= state.live // EXACT_SHARE:
                most = state.live // EXACT_SHARE
                raise ValueError(f"tune: k must be below {most}, where cells pay, got {k}")
            cells, tuning = tune(state.segments, state.version, state.cells, recall, k, wanted)
            with self._publishing:
                self._state = replace(state, cells=cells)
            if self._log is not None:
                self._log.compact_if_due(self)
        return tuning

    def _checked_probe(self, probe: Any) -> Any:
        if self.cells is None:
            raise ValueError(
                "search: probe is for an index with cells, such as Index(cells='auto')"
            )
        if isinstance(probe, str) and probe == "all":
            return probe
        try:
            number = operator.index(probe)
        except TypeError:
            number = 0
        if number < 1:
            raise ValueError(f"search: probe must be at least 1, or 'all', got {probe!r}")
        return number

    to_faiss = convert.to_faiss
    to_usearch = convert.to_usearch
    to_hnswlib = convert.to_hnswlib

    # Files

    def save(self, path: Path) -> None:
        """Write a copy to a file, atomically; `open` opens it.

        The index itself stays where it is, in memory or in its own file; to save that is to
        `compact`. Others may search and change the index meanwhile.

        BlockingIOError where ``path`` is an index that is open for writing.
        """
        from firth.search import storage

        if self._log is not None and os.path.realpath(path) == self._log.path:
            self.compact()
        else:
            storage.save(path, self)

    @classmethod
    def open(
        cls, path: Path, mode: str = "r+", mmap: bool = True, *, verify: bool = False
    ) -> Index:
        """Open a file that `save` wrote, and the log beside it, ``<path>.log``.

        An addition or removal has been written to the log when the call returns: it outlives the
        process, whatever ends it. `flush` makes it outlive the machine too. Where the log has
        outgrown the file, `compact` comes by itself.

        Parameters
        ----------
        path : path-like
        mode : {"r+", "r"}
            "r+": for one process, which may change it; "r": for any number of them, which see the
            index as it was when they opened it.
        mmap : bool
            Map the file instead of reading it: then nothing but its header is read now, and
            processes share the memory.
        verify : bool
            Compare a mapped file with its checksums, which reads it once. What is read is always
            compared.

        Raises
        ------
        BlockingIOError
            Mode "r+", and somebody else has it open so.
        FormatError
            Another kind of file, or a damaged one. A record at the end of the log that is not
            whole is no damage: a killed process has left it.
        """
        from firth.search import storage

        index: Index = storage.open_index(cls, path, mode, mmap, verify)
        return index

    def flush(self) -> None:
        """Sync all changes to the disk: they outlive a loss of power then.

        io.UnsupportedOperation for an index that is in memory only.
        """
        if self._log is None:
            raise io.UnsupportedOperation(
                "flush: the index is in memory only; save it and go on with Index.open(path)"
            )
        with self._writing:
            self._mend()
            self._log.flush(self)

    def compact(self) -> None:
        """Give back the room of removed rows. A file is written anew, and its log is empty then."""
        with self._writing:
            self._mend()
            if self._log is None:
                self._compact()
            else:
                self._log.compact(self)

    def close(self) -> None:
        """Sync all changes, and let others open the file for writing.

        The index can still be searched, but not changed. Nothing happens to one in memory.
        """
        from firth.search import storage

        with self._writing:
            if self._log is not None:
                self._mend()
                log, self._log = self._log, storage.Refusing(self._log.path, "the index was closed")
                log.close(self)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # From ids to labels and slots; who calls these holds `_publishing`, but for the last two

    def _labels(self, where: str, ids: NDArray[np.int64] | list[str]) -> NDArray[np.int64]:
        """Labels of checked ids, -1 for unknown str. TypeError for the wrong kind."""
        state = self._state
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
            self._label_of = {name: label for label, name in enumerate(self._state.each_name())}
        return self._label_of

    def _find(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots of the live rows of labels, -1 where there is none."""
        table = self._known_labels()
        if len(table) == 0:
            return self._state.run_slots(labels)
        slots = table.find(labels)
        rest = np.flatnonzero(slots < 0)
        if len(rest):
            slots[rest] = self._state.run_slots(labels[rest])
        return slots

    def _known_labels(self) -> _native.IdMap:
        """The slots of live rows outside of runs."""
        if self._map is None:
            table = _native.IdMap()
            for segment in self._state.segments:
                if segment.labels is not None:
                    rows = segment.alive(self._state.version)
                    rows = rows[rows >= segment.run]
                    table.set(segment.labels[rows], rows + segment.first_slot)
            self._map = table
        return self._map

    def _look_up(
        self, where: str, ids: NDArray[np.int64] | list[str]
    ) -> tuple[State, NDArray[np.int64], NDArray[np.int64]]:
        """A state, the labels of checked ids, and their slots in it. KeyError for a missing one."""
        with self._publishing:
            labels = self._labels(f"{where}: ids", ids)
            state, slots = self._state, self._find(labels)
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            first = ids[missing[0]] if isinstance(ids, list) else int(ids[missing[0]])
            more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
            raise KeyError(f"{where}: id {first!r}{more} not in the index")
        return state, labels, slots

    def _chosen(
        self, function: str, queries: int, filter: Any, exclude: Any
    ) -> tuple[State, dict[str, Any]]:
        """A state, and filter and exclude in it as native code wants them."""
        allowed = filters.parse(f"{function}: filter", filter, queries)
        excluded = filters.parse(f"{function}: exclude", exclude, queries)
        id_lists = allowed.id_lists() + excluded.id_lists()
        slots: list[NDArray[np.int64]] = []
        if id_lists:
            with self._publishing:  # the ids as of this very state
                state = self._state
                labels = [self._labels(f"{function}: filter", ids) for ids in id_lists]
                found = self._find(np.concatenate(labels))
            slots = np.split(found, np.cumsum([len(part) for part in labels])[:-1])
        else:
            state = self._state
        of_ids = iter(slots)
        return state, {
            "filters": allowed.resolve(state, of_ids),
            "filter_of": allowed.of_query,
            "exclusions": excluded.resolve(state, of_ids),
            "exclusion_of": excluded.of_query,
        }

    # The two operations that `Log` keeps; the caller holds `_writing`

    def _mend(self) -> None:
        """Take back what an interrupted change has left beyond the state, if there was one."""
        if not self._unfinished:
            return
        for segment in self._state.segments:
            if segment.died is not None:
                segment.died[segment.died > self._state.version] = 0
        if self._log is not None:
            self._log.rewind(self._state.log_end)
        self._unfinished = False

    def _append(self, labels: NDArray[np.int64], names: Sequence[str], fill: Fill) -> None:
        """Show rows under labels (n,), which ``fill`` writes.

        ``names``: of labels that are new, in their order.
        """
        if len(labels) == 0:
            return
        self._unfinished = True
        try:
            self._append_rows(labels, names, fill)
        except BaseException:
            with contextlib.suppress(OSError):  # the next change tries again
                self._mend()
            raise
        self._unfinished = False
        self._compact_if_due()

    def _append_rows(self, labels: NDArray[np.int64], names: Sequence[str], fill: Fill) -> None:
        state = self._state
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
        if self._log is not None:
            log_end = self._log.added(state, labels, names, parts)

        with self._publishing:
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
            self._state = replace(
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
        state = self._state
        if self.cells is None:
            return *code(segments, self.metric, state.centre, state.centred), None
        return code_in_cells(
            segments, self.metric, state, None if self.cells == "auto" else self.cells
        )

    def _remove(self, labels: NDArray[np.int64]) -> None:
        """Let the rows of distinct labels die, which are all there."""
        if len(labels) == 0:
            return
        self._unfinished = True
        try:
            state = self._state
            log_end = state.log_end
            if self._log is not None:
                log_end = self._log.removed(state, labels)
            with self._publishing:
                slots = self._find(labels)
                segments = list(state.segments)
                table, self._map = self._known_labels(), None
                kill(segments, slots, state.version + 1)
                table.remove(labels)
                self._state = replace(
                    state,
                    segments=tuple(segments),
                    version=state.version + 1,
                    live=state.live - len(slots),
                    log_end=log_end,
                )
                self._map = table
        except BaseException:
            with contextlib.suppress(OSError):  # the next change tries again
                self._mend()
            raise
        self._unfinished = False
        self._compact_if_due()

    def _compact_if_due(self) -> None:
        """Rewrite what is in memory when more than a quarter of it is dead.

        So three live rows are rewritten for a dead one at most: O(1) for a removal.
        """
        if self._log is not None:
            self._log.compact_if_due(self)
            return
        segments = [segment for segment in self._state.segments if segment.in_memory]
        dead = sum(segment.dead for segment in segments)
        due = dead > COMPACT_FROM and dead > sum(segment.rows for segment in segments) / 4
        if not due or dead < 2 * self._failed_at:
            return
        try:
            self._compact()
            self._failed_at = 0
        except Exception as error:  # the change itself is done
            self._failed_at = dead
            warnings.warn(f"the index could not be compacted: {error!r}", stacklevel=4)

    def _compact(self) -> None:
        """Copy the live rows in memory to one new segment. Users see no difference."""
        state = self._state
        segments = [segment for segment in state.segments if not segment.in_memory]
        old = [segment for segment in state.segments if segment.in_memory]
        names, next_label = state.names, state.next_label
        if old:
            new, labels = gathered(old, state.version, self.storage, end(segments))
            if names is not None and not segments and self._log is None:
                # Forget the str that are gone; those that are left keep their order.
                used = np.sort(labels)
                names, next_label = [names[label] for label in used.tolist()], len(used)
                labels[:] = np.searchsorted(used, labels)
            if new.rows:
                segments.append(new)
        centre, centred, cells = self._code(segments)
        with self._publishing:
            self._map = self._label_of = None
            self._state = replace(
                state, segments=tuple(segments), names=names, next_label=next_label,
                centre=centre, centred=centred, cells=cells,
            )  # fmt: skip


# Fork: a child gets the memory of its parent at one moment. With the locks held, no index is in the
# middle of a change then, and the child can go on with it.
_alive: weakref.WeakSet[Index] = weakref.WeakSet()
_registering = threading.Lock()
_held: list[threading.Lock] = []


def _hold_all() -> None:
    _registering.acquire()
    _held.append(_registering)
    for index in list(_alive):
        for lock in (index._writing, index._publishing):
            lock.acquire()
            _held.append(lock)


def _leave_files() -> None:
    _release_all()
    for index in list(_alive):
        if index._log is not None:
            index._log.leave()  # so that the parent alone holds its lock


def _release_all() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_leave_files)
