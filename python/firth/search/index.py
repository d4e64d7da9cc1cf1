"""`Index`: the nearest vectors, exactly, while vectors come and go.

What happens in ``add``: the vectors are converted to the storage's numbers and written behind the
last row of the last *segment* (arrays of a fixed number of rows that never move; a new one is
made when the last one is full), and each full block of 32 rows gets int8 codes for the scan. An id
that is there already gets its new row like any other; the old row is marked as dead. Only then one
assignment to ``_state`` shows it all: until then no search sees any of it, and a search that began
earlier never will, since it works on the state that it found.

What happens in ``search``: the state is read once; ids and masks of a filter become *slots* (places
of rows, counted through all segments); native code scans the codes of all rows, with a bound on
what a code can hide, scores what may be among the best from the stored vectors, and sorts by score,
then by *label*. A label is an int64: the id itself, or the number of a str in ``names``.

Which slot has a label: rows that were added with consecutive ids need no table, since their
labels follow from their place (a *run*); others stand in an `IdMap`, which is built when it
is first needed. Writers exclude each other by a lock; a search with neither ids to look up nor
a filter takes none.
"""

from __future__ import annotations

import functools
import operator
import os
import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import active_level
from firth.search import filters
from firth.words.vectors import to_int8

METRICS = ("cosine", "ip", "l2")
STORAGES: dict[str, type[np.generic]] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": np.uint16,  # its bits
    "int8": np.int8,  # with a scale for each row
}
BLOCK = 32  # rows that are coded together
SMALL, LARGE = 1024, 65536  # rows of the segments that fill up bit by bit
CODED_FROM = 1024  # rows from which codes pay
COMPACT_FROM = 1024  # dead rows from which rewriting pays
GROWTH = 4  # coded anew when the index has grown so often since its centre was taken
SAMPLE = 65536  # rows whose mean is the centre


class Matches(NamedTuple):
    """What a search found, best first; equal scores by lower id (of str: by first addition).

    For one query arrays (m,), for many arrays (Q, m), or lists of Q arrays where the queries have
    different numbers of matches.
    """

    ids: Any  # int64, or object arrays of str
    scores: Any  # float32


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

    @property
    def capacity(self) -> int:
        """Rows that there is room for."""
        return len(self.vectors)

    @functools.cached_property
    def native(self) -> _native.Segment:
        """The same for native code."""
        return _native.Segment(
            self.vectors, scales=self.scales, labels=self.labels, first_label=self.first_label,
            died=self.died, rows=self.rows, first_slot=self.first_slot, codes=self.codes,
            bounds=self.bounds, coded=self.coded, centre=self.centre,
        )  # fmt: skip

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
    names: list[str] | None = None  # the str of each label; only grows, so states share it
    centre: NDArray[np.float32] | None = None  # of new codes
    centred: int = 0  # rows when it was taken

    @functools.cached_property
    def native(self) -> list[_native.Segment]:
        """The segments for native code."""
        return [segment.native for segment in self.segments]

    @functools.cached_property
    def slots(self) -> int:
        """Slots of all segments."""
        return _end(self.segments)

    @functools.cached_property
    def first_slots(self) -> NDArray[np.int64]:
        """First slot of each segment."""
        return np.array([segment.first_slot for segment in self.segments], np.int64)

    def by_segment(self, slots: NDArray[np.int64]) -> Iterable[tuple[int, NDArray[Any]]]:
        """Numbers of the segments that slots lie in, each with the places of its slots."""
        of = np.searchsorted(self.first_slots, slots, side="right") - 1
        for number in np.unique(of).tolist():
            yield number, np.flatnonzero(of == number)

    @functools.cached_property
    def runs(self) -> tuple[list[Segment], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The segments that begin with a run; its first label (ascending), length, first slot."""
        runs = [segment for segment in self.segments if segment.run]
        table = [(one.first_label, one.run, one.first_slot) for one in runs]
        first, length, slot = np.array(table, np.int64).reshape(-1, 3).T
        return runs, first, length, slot

    def run_slots(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots of labels that follow from the place of their row and are alive; else -1."""
        runs, first, length, slot = self.runs
        slots = np.full(len(labels), -1, np.int64)
        if not runs:
            return slots
        of = np.searchsorted(first, labels, side="right") - 1
        rows = labels - first[of]  # where this overflows it is negative
        here = np.flatnonzero((of >= 0) & (rows >= 0) & (rows < length[of]))
        slots[here] = slot[of[here]] + rows[here]
        for number, segment in enumerate(runs):
            if segment.died is not None:
                mine = here[of[here] == number]
                slots[mine[segment.died[rows[mine]] != 0]] = -1
        return slots

    def live_labels(self) -> NDArray[np.int64]:
        """Labels in the order of slots."""
        return np.concatenate(
            [np.empty(0, np.int64)]
            + [segment.labels_of(segment.alive(self.version)) for segment in self.segments]
        )

    def bitmap(self, mask: NDArray[Any]) -> NDArray[np.uint8]:
        """A mask of the live rows (bool, or packed in uint8) as a bitmap over slots."""
        if mask.dtype == np.uint8:
            mask = np.unpackbits(mask, count=self.live, bitorder="little").view(np.bool_)
        whole = np.zeros(self.slots, np.bool_)
        at = 0
        for segment in self.segments:
            place = segment.first_slot
            alive: Any = segment.alive(self.version) + place
            if len(alive) == segment.rows:
                alive = slice(place, place + segment.rows)
            count = segment.rows if isinstance(alive, slice) else len(alive)
            whole[alive] = mask[at : at + count]
            at += count
        return np.packbits(whole, bitorder="little")

    def floats(self, slots: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
        """The vectors at some slots (len(slots), dim)."""
        values = np.empty((len(slots), dim), np.float32)
        for number, places in self.by_segment(slots):
            segment = self.segments[number]
            values[places] = segment.floats(slots[places] - segment.first_slot)
        return values

    def ids(self, labels: NDArray[np.int64]) -> NDArray[Any]:
        """What users call labels of any shape."""
        if self.names is None:
            return labels
        named = np.empty(labels.shape, object)
        names = self.names
        named.ravel()[:] = [names[label] for label in labels.ravel().tolist()]
        return named


class Log(Protocol):
    """Told of each operation before it shows; an exception leaves the index as it was.

    There are two operations, and to repeat them in order on a fresh index is to have the same ids,
    vectors and answers: ``_append(vectors, labels, names, scales)`` with stored numbers, and
    ``_remove(labels)``. What an addition replaces, and compaction, follow from these.
    """

    def added(
        self, labels: NDArray[np.int64], names: Sequence[str], parts: list[tuple[Segment, slice]]
    ) -> None:
        """Rows were stored at ``parts``, in the order of ``labels``; ``names`` are new labels'."""

    def removed(self, labels: NDArray[np.int64]) -> None:
        """The rows of these labels die."""


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

    Many threads may search while one adds or removes: each search sees the index as it was when it
    began. Ids are either all int or all str.

    >>> import firth
    >>> index = firth.Index(2)
    >>> index.add([[1, 0], [0, 2], [3, 3]], ids=["east", "north", "north-east"])
    ['east', 'north', 'north-east']
    >>> index.search([1.0, 0.1], k=2).ids
    array(['east', 'north-east'], dtype=object)
    """

    def __init__(self, dim: int, metric: str = "cosine", storage: str = "float32") -> None:
        dim = operator.index(dim)
        if dim < 1:
            raise ValueError(f"Index: dim must be at least 1, got {dim}")
        if metric not in METRICS:
            raise ValueError(f"Index: metric must be one of {METRICS}, got {metric!r}")
        if storage not in STORAGES:
            raise ValueError(f"Index: storage must be one of {tuple(STORAGES)}, got {storage!r}")
        self.dim, self.metric, self.storage = dim, metric, storage
        self._state = State()
        self._log: Log | None = None
        self._last: tuple[Any, ...] = ()  # what the last search told of itself
        # Held by a writer from begin to end.
        self._writing = threading.Lock()
        # Held for a moment, by who changes or reads these two together with the state.
        self._publishing = threading.Lock()
        self._map: _native.IdMap | None = None  # labels outside of runs; None: not built yet
        self._label_of: dict[str, int] | None = None  # latest label of each str; None: as above
        _alive.add(self)

    # What is in it

    def __len__(self) -> int:
        return self._state.live

    def __repr__(self) -> str:
        return (
            f"firth.Index(dim={self.dim}, metric={self.metric!r}, storage={self.storage!r}) "
            f"of {len(self)} vectors"
        )

    def __contains__(self, id: Any) -> bool:
        try:
            return bool(self._look_up("in", [id])[1][0] >= 0)
        except (TypeError, ValueError, OverflowError):
            return False

    @property
    def ids(self) -> Any:
        """All ids in the order of rows, which masks go by: int64 array, or list of str."""
        state = self._state
        labels = state.live_labels()
        return labels if state.names is None else state.ids(labels).tolist()

    def get(self, ids: Any) -> NDArray[np.float32]:
        """The stored vectors of ids (n, dim), or of one id (dim,), as float32 copies.

        KeyError where one is not there.
        """
        single = isinstance(ids, (str, int, np.integer))
        state, slots = self._look_up("get", [ids] if single else ids)
        vectors = state.floats(self._all_there(slots, ids), self.dim)
        return vectors[0] if single else vectors

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
        ndarray (n,) int64, or list of str, or one id with one vector
            The ids.

        Raises
        ------
        TypeError
            Wrong dtype; int ids for an index of str, or the reverse.
        ValueError
            Wrong shape; NaN, inf or a number that the storage has no room for (the row is told).
            Nothing is added.
        """
        rows, single = self._rows("add", "vectors", vectors)
        if single and isinstance(ids, (str, int, np.integer)):
            ids = [ids]
        with self._writing:
            labels, names = self._new_labels(ids, len(rows))
            self._append(rows, labels, names)
            given = labels if ids is None or self._state.names is None else _as_list(ids)
        if not single:
            return given
        return given[0] if isinstance(given[0], str) else int(given[0])

    def remove(self, ids: Any) -> None:
        """Remove ids (or one). KeyError where one is not there; then nothing is removed."""
        single = isinstance(ids, (str, int, np.integer))
        with self._writing:
            _, slots, labels = self._look_up_labels("remove", [ids] if single else ids)
            self._all_there(slots, ids)
            self._remove(np.unique(labels))

    # Asking

    def search(
        self, queries: Any, k: int = 10, *, filter: Any = None, exclude: Any = None
    ) -> Matches:
        """The k best rows of each query.

        Parameters
        ----------
        queries : array_like (Q, dim), or (dim,) for one
            Of the same dtypes as in `add`; taken as float32.
        k : int, at least 0
            Fewer come back where fewer rows are allowed; results are never padded.
        filter, exclude : optional
            Which rows may (not) be found. For all queries one choice, or a list (or 2-D array) with
            one (or None) for each. A choice is a list, set or array of ids, where those that the
            index lacks count for nothing; or a boolean mask (len(index),) in the order of `ids`; or
            a mask packed in uint8 (ceil(len(index) / 8),), lowest bit first
            (``np.packbits(mask, bitorder="little")``). uint8 arrays are always packed masks.

        Raises
        ------
        TypeError, ValueError
            As `add`; masks of another length.
        """
        wanted, single = self._queries("search", queries)
        k = operator.index(k)
        if k < 0:
            raise ValueError(f"search: k must be at least 0, got {k}")
        state, chosen = self._chosen("search", len(wanted), filter, exclude)
        labels, scores, counts, self._last = active_level().search(
            state.native, self.metric, wanted, min(k, state.live), state.version, *chosen,
            threads=_native.num_threads(),
        )  # fmt: skip
        if single:
            count = int(counts[0])
            return Matches(state.ids(labels[0, :count]), scores[0, :count])
        most = int(counts.max(initial=0)) if len(counts) else labels.shape[1]
        if (counts == most).all():
            return Matches(state.ids(labels[:, :most]), scores[:, :most])
        return Matches(
            [state.ids(row[:count]) for row, count in zip(labels, counts, strict=True)],
            [row[:count] for row, count in zip(scores, counts, strict=True)],
        )

    def search_range(
        self, queries: Any, threshold: Any, *, filter: Any = None, exclude: Any = None
    ) -> Matches:
        """All rows that score at least ``threshold``, best first.

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
        wanted, single = self._queries("search_range", queries)
        least = np.asarray(threshold, np.float64)
        if least.shape not in ((), (len(wanted),)) or np.isnan(least).any():
            raise ValueError(
                "search_range: threshold must be a number, or one for each query; "
                f"got shape {least.shape}" + (" with NaN" if np.isnan(least).any() else "")
            )
        state, chosen = self._chosen("search_range", len(wanted), filter, exclude)
        offsets, labels, scores, self._last = active_level().search_range(
            state.native, self.metric, wanted, _rounded_up(np.broadcast_to(least, len(wanted))),
            state.version, *chosen, threads=_native.num_threads(),
        )  # fmt: skip
        ids = np.split(state.ids(labels), offsets[1:-1])
        parts = np.split(scores, offsets[1:-1])
        if single:
            return Matches(ids[0], parts[0])
        return Matches(ids[: len(wanted)], parts[: len(wanted)])

    def stats(self) -> dict[str, Any]:
        """Numbers about the index.

        ``rows`` (alive), ``dead`` (removed or replaced, not compacted yet), ``coded`` (rows with
        codes), ``segments``; bytes of ``vectors`` (with scales), of ``codes`` (with bounds) and of
        all ``other`` arrays; ``last_search``: what the last search told of its way.
        """
        state = self._state
        segments = state.segments
        with self._publishing:
            mapped = 0 if self._map is None else self._map.nbytes
        rows = sum(segment.rows for segment in segments)
        return {
            "rows": state.live,
            "dead": rows - state.live,
            "coded": sum(segment.coded for segment in segments),
            "segments": len(segments),
            "bytes_vectors": sum(_bytes(s.vectors, s.scales) for s in segments),
            "bytes_codes": sum(_bytes(s.codes, s.bounds) for s in segments),
            "bytes_other": mapped + sum(_bytes(s.labels, s.died) for s in segments),
            "last_search": self._last,
        }

    # Arguments

    def _rows(self, function: str, name: str, given: Any) -> tuple[NDArray[Any], bool]:
        """Vectors (n, dim) of any real dtype, as a view, and whether one (dim,) was given."""
        array = np.asarray(given)
        if array.size == 0 and isinstance(given, (list, tuple)):
            array = np.empty((0, self.dim), np.float32)
        kind = "f" if array.dtype.name == "bfloat16" else array.dtype.kind
        if kind not in "fiu":
            raise TypeError(f"{function}: {name} must be real numbers, got {array.dtype}")
        if not array.dtype.isnative:
            raise TypeError(
                f"{function}: {name} must be in native byte order, got {array.dtype.str!r}"
            )
        if array.shape not in ((self.dim,), (*array.shape[:1], self.dim)):
            raise ValueError(
                f"{function}: {name} must have shape (n, {self.dim}) or ({self.dim},), "
                f"got {array.shape}"
            )
        return array.reshape(-1, self.dim), array.ndim == 1

    def _queries(self, function: str, given: Any) -> tuple[NDArray[np.float32], bool]:
        """Queries (Q, dim) as float32, and whether one (dim,) was given."""
        rows, single = self._rows(function, "queries", given)
        with np.errstate(over="ignore", invalid="ignore"):
            queries = np.ascontiguousarray(rows, np.float32)
        _refuse_infinite(function, "queries", np.isfinite(queries), rows, 0, "float32")
        return queries, single

    def _labels(self, function: str, ids: Any) -> NDArray[np.int64]:
        """Labels of given ids, -1 of unknown str. Holds `_publishing`."""
        names = self._state.names
        ids = _checked_ids(function, ids)
        if len(ids) == 0:
            return np.empty(0, np.int64)
        if isinstance(ids, list):
            if names is None and self._state.next_label > 0:
                raise TypeError(f"{function}: ids of this index are int, got str")
            known = self._known_names()
            return np.fromiter((known.get(one, -1) for one in ids), np.int64, len(ids))
        if names is not None:
            raise TypeError(f"{function}: ids of this index are str, got {ids.dtype}")
        return np.asarray(ids)

    def _known_names(self) -> dict[str, int]:
        """Latest label of each str, dead or alive. Holds `_publishing`."""
        if self._label_of is None:
            self._label_of = {name: label for label, name in enumerate(self._state.names or ())}
        return self._label_of

    def _new_labels(self, ids: Any, count: int) -> tuple[NDArray[np.int64], list[str]]:
        """Labels of rows to add, and the names of new ones among them."""
        state = self._state
        if ids is None:
            if state.names is not None:
                raise TypeError("add: this index has str ids: give ids")
            if state.next_label + count > 2**63:
                raise ValueError("add: there is no greater id left: give ids")
            return np.arange(count, dtype=np.int64) + state.next_label, []
        ids = _checked_ids("add", ids)
        if len(ids) != count:
            raise ValueError(f"add: want one id for each of {count} vectors, got {len(ids)}")
        with self._publishing:
            labels = self._labels("add", ids)
            if not isinstance(ids, list):
                return labels, []
            # A str that was removed is a new one.
            labels[self._find(labels) < 0] = -1
        new: dict[str, int] = {}
        for place in np.flatnonzero(labels < 0).tolist():
            labels[place] = new.setdefault(ids[place], state.next_label + len(new))
        return labels, list(new)

    def _chosen(
        self, function: str, queries: int, filter: Any, exclude: Any
    ) -> tuple[State, tuple[Any, Any, Any, Any]]:
        """A state, and filters and exclusions in it as native code wants them."""
        given = {"filter": filter, "exclude": exclude}
        wanted = {
            name: filters.parse(f"{function}: {name}", value, queries)
            for name, value in given.items()
        }
        id_lists = [
            choice
            for choices in wanted.values()
            for choice in (choices.choices if choices else ())
            if not filters.is_mask(choice)
        ]
        slots: list[NDArray[np.int64]] = []
        if id_lists:
            with self._publishing:  # the ids as of this very state
                state = self._state
                labels = [self._labels(function, ids) for ids in id_lists]
                found = self._find(np.concatenate(labels))
            slots = np.split(found, np.cumsum([len(part) for part in labels])[:-1])
        else:
            state = self._state
        of_ids = iter(slots)
        result: list[Any] = []
        for name, choices in wanted.items():
            if choices is None:
                result += [[], None]
            else:
                rows = filters.resolve(f"{function}: {name}", choices, state, of_ids)
                result += [rows, choices.of_query]
        filters_, filter_of, exclusions, exclusion_of = result
        return state, (filters_, filter_of, exclusions, exclusion_of)

    def _look_up(self, function: str, ids: Any) -> tuple[State, NDArray[np.int64]]:
        return self._look_up_labels(function, ids)[:2]

    def _look_up_labels(
        self, function: str, ids: Any
    ) -> tuple[State, NDArray[np.int64], NDArray[np.int64]]:
        """A state, the slots of ids in it (-1 where there is none), and their labels."""
        with self._publishing:
            labels = self._labels(function, ids)
            return self._state, self._find(labels), labels

    def _all_there(self, slots: NDArray[np.int64], ids: Any) -> NDArray[np.int64]:
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            first = ids if isinstance(ids, (str, int, np.integer)) else _as_list(ids)[missing[0]]
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise KeyError(f"id {first!r}{more} not in the index")
        return slots

    # From labels to slots; who calls these holds `_publishing`

    def _find(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots of the live rows of labels, -1 where there is none."""
        slots = self._known_labels().find(labels)
        rest = np.flatnonzero(slots < 0)
        if len(rest):
            slots[rest] = self._state.run_slots(labels[rest])
        return slots

    def _known_labels(self) -> _native.IdMap:
        """The slots of live rows outside of runs."""
        if self._map is None:
            self._map = _native.IdMap()
            for segment in self._state.segments:
                if segment.labels is not None:
                    rows = segment.alive(self._state.version)
                    rows = rows[rows >= segment.run]
                    self._map.set(segment.labels[rows], rows + segment.first_slot)
        return self._map

    # The two operations; who calls these holds `_writing`

    def _append(
        self,
        vectors: NDArray[Any],
        labels: NDArray[np.int64],
        names: Sequence[str] = (),
        scales: NDArray[np.float32] | None = None,
    ) -> None:
        """Store vectors (n, dim) under labels (n,) and show them.

        Numbers of any real dtype, or with ``scales`` (n,) int8, or uint16 in a bfloat16 index: as
        they are stored.
        """
        count = len(vectors)
        if count == 0:
            return
        state = self._state
        fresh = int(labels[0]) >= state.next_label and bool((labels[1:] > labels[:-1]).all())
        run = fresh and int(labels[-1]) - int(labels[0]) == count - 1
        segments = list(state.segments)
        places = self._room(segments, count)
        done = 0
        parts = []
        for number, rows in places:
            size = rows.stop - rows.start
            segment = segments[number]
            part = slice(done, done + size)
            self._store(vectors, part, segment, rows, None if scales is None else scales[part])
            segments[number] = _labelled(segment, rows, labels[part], run)
            parts.append((segments[number], rows))
            done += size
        centre, centred = self._code(segments, state)
        if self._log is not None:
            self._log.added(labels, names, parts)

        with self._publishing:
            version = state.version + 1
            slots = np.concatenate(
                [np.arange(rows.start, rows.stop) + s.first_slot for s, rows in parts]
            )
            killed = np.empty(0, np.int64)
            if not fresh:
                killed = self._known_labels().set(labels, slots)
                rest = np.flatnonzero(killed < 0)
                killed[rest] = state.run_slots(labels[rest])
                # A label that stands twice in this call finds its run twice.
                killed = np.unique(killed[killed >= 0])
            elif self._map is not None:
                for segment, rows in parts:
                    if segment.labels is not None:
                        places_ = np.arange(rows.start, rows.stop)
                        self._map.set(segment.labels[places_], places_ + segment.first_slot)
            _kill(segments, killed, version)
            all_names = state.names
            if names:
                all_names = [] if all_names is None else all_names
                all_names.extend(names)
                if self._label_of is not None:
                    self._label_of.update(
                        zip(names, range(state.next_label, len(all_names)), strict=True)
                    )
            self._state = replace(
                state,
                segments=tuple(segments),
                version=version,
                live=state.live + count - len(killed),
                next_label=max(state.next_label, int(labels.max()) + 1),
                names=all_names,
                centre=centre,
                centred=centred,
            )
        self._compact_if_due()

    def _remove(self, labels: NDArray[np.int64]) -> None:
        """Let the rows of distinct labels die; they are all there."""
        if self._log is not None:
            self._log.removed(labels)
        with self._publishing:
            state = self._state
            slots = self._find(labels)
            segments = list(state.segments)
            _kill(segments, slots, state.version + 1)
            self._known_labels().remove(labels)
            self._state = replace(
                state,
                segments=tuple(segments),
                version=state.version + 1,
                live=state.live - len(slots),
            )
        self._compact_if_due()

    def _compact_if_due(self) -> None:
        """Rewrite the rows in memory where more than a quarter of them are dead.

        A row that is rewritten stands for a third of a dead one at least: O(1) for a removal.
        Mapped segments stay as they are.
        """
        segments = [s for s in self._state.segments if s.vectors.flags.writeable]
        dead = sum(segment.dead for segment in segments)
        if dead > COMPACT_FROM and dead > sum(segment.rows for segment in segments) / 4:
            self._compact()

    def _compact(self) -> None:
        """Copy the live rows in memory to one new segment; nothing changes for users."""
        state = self._state
        kept = [s for s in state.segments if not s.vectors.flags.writeable]
        old = [s for s in state.segments if s.vectors.flags.writeable]
        names = state.names
        count = sum(segment.rows - segment.dead for segment in old)
        segments = list(kept)
        new = self._new_segment(-(-count // BLOCK) * BLOCK, _end(kept))
        labels = np.empty(new.capacity, np.int64)
        if count:
            done = 0
            for segment in old:
                alive = segment.alive(state.version)
                step = max(1, 131072 // self.dim)
                for first in range(0, len(alive), step):
                    rows = alive[first : first + step]
                    to = slice(done, done + len(rows))
                    new.vectors[to] = segment.vectors[rows]
                    labels[to] = segment.labels_of(rows)
                    if new.scales is not None and segment.scales is not None:
                        new.scales[to] = segment.scales[rows]
                    done += len(rows)
            segments.append(replace(new, rows=count, labels=labels))
        if names is not None and not kept and self._log is None:
            # Forget the str that are gone; the others keep their order.
            used = np.sort(labels[:count])
            names = [names[label] for label in used.tolist()]
            labels[:count] = np.searchsorted(used, labels[:count])
        centre, centred = self._code(segments, state)
        with self._publishing:
            self._map = self._label_of = None
            self._state = replace(
                state,
                segments=tuple(segments),
                names=names,
                next_label=state.next_label if names is state.names else len(names or ()),
                centre=centre,
                centred=centred,
            )

    # Storing

    def _new_segment(self, capacity: int, first_slot: int) -> Segment:
        return Segment(
            np.empty((capacity, self.dim), STORAGES[self.storage]),
            first_slot=first_slot,
            scales=np.empty(capacity, np.float32) if self.storage == "int8" else None,
        )

    def _room(self, segments: list[Segment], count: int) -> list[tuple[int, slice]]:
        """Where so many new rows go: (number of a segment, rows); appends a segment if need be.

        A large batch gets a segment of its size, small ones share segments that double in size.
        """
        places = []
        if segments and segments[-1].vectors.flags.writeable:
            tail = segments[-1]
            size = min(count, tail.capacity - tail.rows)
            if size:
                places.append((len(segments) - 1, slice(tail.rows, tail.rows + size)))
                count -= size
        if count:
            rows = sum(segment.rows for segment in segments)
            shared = min(LARGE, max(SMALL, rows))
            capacity = -(-max(count, shared) // BLOCK) * BLOCK
            segments.append(self._new_segment(capacity, _end(segments)))
            places.append((len(segments) - 1, slice(0, count)))
        return places

    def _store(
        self,
        vectors: NDArray[Any],
        part: slice,
        segment: Segment,
        rows: slice,
        scales: NDArray[np.float32] | None,
    ) -> None:
        """Write the vectors of ``part`` to rows that no state shows yet; refuse what has no form.

        By a few hundred kilobytes at a time, so that one pass over memory is enough.
        """
        target = segment.vectors[rows]
        if scales is not None and segment.scales is not None:
            target[...] = vectors[part]
            segment.scales[rows] = scales
            return
        if self.storage == "bfloat16" and vectors.dtype == np.uint16:
            target[...] = vectors[part]
            return
        step = max(1, 131072 // self.dim)
        for first in range(0, len(target), step):
            out = target[first : first + step]
            given = vectors[part.start + first : part.start + first + len(out)]
            with np.errstate(over="ignore", invalid="ignore"):
                if self.storage in ("float32", "float16"):
                    out[...] = given
                    finite = np.isfinite(out)
                else:
                    floats = np.asarray(given, np.float32)
                    finite = np.isfinite(floats)
                    if self.storage == "bfloat16":
                        out[...] = _arrays.narrow_bfloat16(floats)
                        finite = out & 0x7F80 != 0x7F80
            _refuse_infinite("add", "vectors", finite, given, part.start + first, self.storage)
            if segment.scales is not None:
                at = rows.start + first
                out[...], segment.scales[at : at + len(out)] = to_int8(floats)

    # Coding

    def _code(
        self, segments: list[Segment], state: State
    ) -> tuple[NDArray[np.float32] | None, int]:
        """Code the full blocks that have no codes, in place of ``segments``.

        Returns the centre of codes and how many rows there were when it was taken: now, if the
        index has outgrown the last one; then all rows are coded anew.
        """
        rows = sum(segment.rows for segment in segments)
        centre, centred = state.centre, state.centred
        level = active_level()
        if rows < CODED_FROM:
            return centre, centred
        if centre is None or rows >= GROWTH * centred:
            centre, centred = _centre(segments, self.metric, self.dim), rows
        for number, segment in enumerate(segments):
            if segment.centre is not centre:
                blocks = segment.capacity // BLOCK
                segment = replace(
                    segment,
                    codes=np.empty((blocks, -(-self.dim // 4), BLOCK, 4), np.uint8),
                    bounds=np.empty((blocks, 3, BLOCK), np.float32),
                    centre=centre,
                    coded=0,
                )
            first, last = segment.coded, segment.rows // BLOCK * BLOCK
            if last > first:
                assert segment.codes is not None and segment.bounds is not None
                blocks_ = slice(first // BLOCK, last // BLOCK)
                level.code_rows(
                    segment.vectors[first:last],
                    None if segment.scales is None else segment.scales[first:last],
                    self.metric, centre, segment.codes[blocks_], segment.bounds[blocks_],
                )  # fmt: skip
                segments[number] = replace(segment, coded=last)
        return centre, centred


def _checked_ids(function: str, ids: Any) -> Any:
    """Ids as an int64 array or as a list of str."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "UO":
        ids = ids.tolist()
    if not isinstance(ids, (np.ndarray, list)):
        ids = list(ids) if isinstance(ids, Iterable) and not isinstance(ids, str) else [ids]
    if isinstance(ids, list) and any(isinstance(one, str) for one in ids):
        for one in ids:
            if not isinstance(one, str):
                raise TypeError(f"{function}: ids must be all int or all str, got {one!r}")
        return ids
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"{function}: ids must have shape (n,), got {array.shape}")
    if len(array) == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{function}: ids must be int (64 bits) or str, got {array.dtype}")
    if array.dtype == np.uint64 and array.max() > np.uint64(2**63 - 1):
        raise ValueError(f"{function}: ids must be below 2**63, got {array.max()}")
    return np.ascontiguousarray(array, np.int64)


def _as_list(ids: Any) -> list[Any]:
    return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)


def _bytes(*arrays: NDArray[Any] | None) -> int:
    return sum(array.nbytes for array in arrays if array is not None)


def _rounded_up(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The least float32 that is not below."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    low = rounded < values
    rounded[low] = np.nextafter(rounded[low], np.float32(np.inf))
    return rounded


def _refuse_infinite(
    function: str,
    name: str,
    finite: NDArray[np.bool_],
    given: NDArray[Any],
    first: int,
    storage: str,
) -> None:
    """ValueError with the number of the first row that is not finite (once stored)."""
    if finite.all():
        return
    row = int(np.flatnonzero(~finite.all(axis=1))[0])
    values = given[row].astype(np.float64)
    what = "numbers beyond the range of " + storage
    if not np.isfinite(values).all():
        what = "NaN" if np.isnan(values).any() else "infinity"
    raise ValueError(f"{function}: row {first + row} of {name} has {what}")


def _end(segments: Sequence[Segment]) -> int:
    """The slot behind all segments."""
    return segments[-1].first_slot + segments[-1].capacity if segments else 0


def _labelled(segment: Segment, rows: slice, labels: NDArray[np.int64], run: bool) -> Segment:
    """The segment with its new rows, grown by labels that no state shows yet.

    ``run``: these are consecutive and greater than all before.
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


def _kill(segments: list[Segment], slots: NDArray[np.int64], version: int) -> None:
    """Mark rows as dead from a version on, in place of ``segments``."""
    if len(slots) == 0:
        return
    for number, places in State(tuple(segments)).by_segment(slots):
        segment = segments[number]
        if segment.died is None:  # zeros: takes memory where it is written
            segment = segments[number] = replace(segment, died=np.zeros(segment.capacity, np.int64))
        assert segment.died is not None
        segment.died[slots[places] - segment.first_slot] = version


def _centre(segments: list[Segment], metric: str, dim: int) -> NDArray[np.float32]:
    """Mean of a sample of the rows (for cosine: of unit length)."""
    total = sum(segment.rows for segment in segments)
    step = -(-total // SAMPLE)
    centre, count = np.zeros(dim), 0
    for segment in segments:
        rows = np.arange(0, segment.rows, step)
        for first in range(0, len(rows), 1024):
            values = segment.floats(rows[first : first + 1024]).astype(np.float64)
            if metric == "cosine":
                norms = np.sqrt((values * values).sum(axis=1, keepdims=True))
                values /= np.where(norms == 0, 1, norms)
            centre += values.sum(axis=0)
            count += len(values)
    return (centre / count).astype(np.float32)


# Fork: a child gets the memory of its parent at one moment. With the locks held, no index is in the
# middle of a change then, and the child can go on with it.
_alive: weakref.WeakSet[Index] = weakref.WeakSet()
_held: list[threading.Lock] = []


def _hold_all() -> None:
    for index in list(_alive):
        for lock in (index._writing, index._publishing):
            lock.acquire()
            _held.append(lock)


def _release_all() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_release_all)
