"""`Index`: the nearest vectors, exactly, while vectors come and go.

The class has the arguments, documentation and results. The content of an index is in a `Table`
(`firth.search.table`: how additions and removals work), on disk in `firth.search.storage`.

What happens in ``search``: the table's state is read once; ids and masks of a filter become
*slots* (numbers of rows, counted through all segments); native code scans the codes of all rows
with a bound on their error, scores those that may be among the best from the stored vectors, and
sorts by score, then by *label*: the id itself, or the number of a str.
"""

from __future__ import annotations

import copy
import functools
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.search import batches, convert, filters
from firth.search import storage as storage_module
from firth.search.arguments import (
    checked_ids,
    checked_probe,
    float_rows,
    real_rows,
    thresholds,
    whole,
)
from firth.search.matches import Matches, MatchesInRange, padded
from firth.search.segments import store
from firth.search.table import Table
from firth.search.tuning import Tuning, tune

FIXED = ("dim", "metric", "storage", "cells", "ids", "id_type")
ELSEWHERE = {  # attributes of other libraries, which users may try to set
    **dict.fromkeys(("nprobe", "probe"), "give search(..., probe=) or use tune()"),
    **dict.fromkeys(("ef", "efSearch", "hnsw"), "there is no graph; see Index(cells=) and tune()"),
    "k": "give it to search()",
}
EXACT_SHARE = 32  # native searches for more than one row in EXACT_SHARE are exact, cells or not


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
        rows on (below, a full scan is fast enough). A search then visits the groups that are
        nearest to the query, and is exact within these: see `search` and `tune`. Default: none,
        every search is exact.

    Notes
    -----
    Many threads may search while one adds or removes: each search sees the index as it was when it
    began. Ids are either all int or all str. ``index[id]``, ``id in index``, ``len(index)`` and
    ``for id in index`` do as in a dict from ids to vectors.

    Examples
    --------
    >>> import firth
    >>> index = firth.Index(2)
    >>> index.add([[1, 0], [0, 2], [3, 3]], ids=["east", "north", "north-east"])
    ['east', 'north', 'north-east']
    >>> index.search([1.0, 0.1], k=2).ids
    array(['east', 'north-east'], dtype=object)
    """

    __slots__ = ("__weakref__", "_last", "_table")

    def __init__(
        self,
        dim: int,
        metric: Literal["cosine", "ip", "l2"] = "cosine",
        storage: Literal["float32", "float16", "bfloat16", "int8"] = "float32",
        *,
        cells: Any = None,
    ) -> None:
        self._table = Table(dim, metric, storage, cells)
        self._last: tuple[int, ...] = (0, 0, 0)  # the work of the last search

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED:
            raise AttributeError(f"Index: {name} is fixed when the index is made")
        if name in ELSEWHERE:
            raise AttributeError(f"Index: there is no {name} to set: {ELSEWHERE[name]}")
        super().__setattr__(name, value)

    # What is in it

    @property
    def dim(self) -> int:
        """Length of a vector; fixed when the index is made."""
        return self._table.dim

    @property
    def metric(self) -> str:
        """How a row is scored: "cosine", "ip" or "l2"; fixed when the index is made."""
        return self._table.metric

    @property
    def storage(self) -> str:
        """How vectors are kept: "float32", "float16", "bfloat16" or "int8"; it cannot be set."""
        return self._table.storage

    @property
    def cells(self) -> Any:
        """How many cells the index has, or is to have: "auto", an int or None."""
        return self._table.cells

    def __len__(self) -> int:
        return self._table.state.live

    def __repr__(self) -> str:
        cells = "" if self.cells is None else f", cells={self.cells!r}"
        return (
            f"firth.Index(dim={self.dim}, metric={self.metric!r}, storage={self.storage!r}{cells}) "
            f"of {len(self)} vectors"
        )

    def __iter__(self) -> Iterator[Any]:
        """The ids, in the order of `ids`, as they are when it begins."""
        return iter(self.ids if self.id_type is str else self.ids.tolist())

    def __getitem__(self, id: Any) -> NDArray[np.float32]:
        """The stored vector of one id (dim,), or of several (n, dim): `get`."""
        return self.get(id)

    @property
    def id_type(self) -> type | None:
        """``int`` or ``str``: what ids are; None as long as nothing has been added."""
        return self._table.state.id_type

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle or copy: all of an index, in memory."""
        if self._table.log is not None:
            raise TypeError(f"an index in a file is not pickled: open {self._table.log.path} there")
        table = self._table
        return {
            "dim": table.dim,
            "metric": table.metric,
            "storage": table.storage,
            "cells": table.cells,
            "state": table.state.apart(),
        }

    def __setstate__(self, taken: dict[str, Any]) -> None:
        state = taken.pop("state")
        self.__init__(**taken)  # type: ignore[misc]
        self._table.state = state

    def __copy__(self) -> Index:
        return copy.deepcopy(self)  # two that share arrays would both write to them

    def __contains__(self, id: Any) -> bool:
        try:
            self._table.look_up("in", checked_ids("in: id", [id])[0])
        except FormatError:  # a damaged file says nothing of what it holds
            raise
        except (KeyError, TypeError, ValueError):
            return False
        return True

    @property
    def ids(self) -> Any:
        """All ids in the order of rows, which masks go by: int64 array, or list of str."""
        state = self._table.checked_state()
        labels = state.live_labels()
        return labels if state.names is None else state.ids(labels).tolist()

    def get(self, ids: Any) -> NDArray[np.float32]:
        """The stored vectors of ids (n, dim), or of one id (dim,), as a float32 copy.

        KeyError for an unknown id.
        """
        wanted, single = checked_ids("get: ids", ids)
        state, _, slots = self._table.look_up("get", wanted)
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
        work = dict(zip(("coded", "survivors", "scored"), self._last, strict=True))
        return {**self._table.stats(), "last_search": work}

    # Changing it

    def add(self, vectors: Any, ids: Any = None) -> Any:
        """Add vectors, or replace those of existing ids.

        Parameters
        ----------
        vectors : array_like (n, dim), or (dim,) for one
            float32, float16, float64, bfloat16 or integers, of any layout, in native byte order.
        ids : n int or n str, or one with one vector; optional
            Default: consecutive numbers from the greatest id so far + 1, or from 0. Where an id
            occurs more than once, its last vector counts, as in a dict.

        Returns
        -------
        ndarray (n,) int64, or list of str; one id for one vector
            The ids.

        Raises
        ------
        TypeError
            Wrong dtype; int ids for an index of str, or the reverse.
        ValueError
            Wrong shape; NaN, infinity or a number out of the storage's range (the error names
            the row). Nothing is added.
        """
        rows, single = real_rows("add: vectors", vectors, self.dim)
        given: Any = None
        if ids is not None:
            given, _ = checked_ids("add: ids", ids)
            if len(given) != len(rows):
                raise ValueError(
                    f"add: ids must be one for each of {len(rows)} vectors, got {len(given)}"
                )
        with self._table.writing:
            self._table.mend()
            labels, names = self._table.new_labels(given, len(rows))
            self._table.append(labels, names, functools.partial(store, rows, self.storage))
        given = labels if given is None else given
        if not single:
            return given
        return given[0] if isinstance(given, list) else int(given[0])

    def remove(self, ids: Any) -> None:
        """Remove ids (n int or n str, or one). KeyError for an unknown id; then nothing is removed.

        The space is free after `compact`.
        """
        wanted, _ = checked_ids("remove: ids", ids)
        with self._table.writing:
            self._table.mend()
            _, labels, _ = self._table.look_up("remove", wanted)
            self._table.remove(np.unique(labels))

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
            Fewer come back where fewer rows are allowed.
        filter, exclude : optional
            The only rows that may be found, and rows that may not. One choice for all queries, or
            a list (or 2-D array) with one, or None, for each. A choice is a list, set or array of
            ids, of which unknown ones are ignored; or a boolean mask
            (len(index),) in the order of `ids`; or such a mask packed in uint8 with the lowest
            bit first, as by ``np.packbits(mask, bitorder="little")``. An array of uint8 is always
            a packed mask.
        probe : int, at least 1, or "all"; optional
            In an index with cells, how many each query visits; "all": the exact result. Default:
            the number that `tune` chose; before that, one with a recall of about 0.95 at k = 10.
            Where fewer than k rows are found there, that query visits all of them.

        Returns
        -------
        Matches
            ``ids, scores``, in this order.

        Raises
        ------
        TypeError, ValueError
            As `add`; a mask of another length, or not as many choices as queries.
        """
        wanted, single = float_rows("search: queries", queries, self.dim)
        k = whole("search: k", k, 0)
        if probe is not None:
            probe = checked_probe(probe, self.cells)
        state, chosen = self._table.chosen("search", len(wanted), filter, exclude)
        k = min(k, filters.most(chosen, state.live))
        visited = None
        if state.cells is not None and probe != "all":
            visited = state.cells.visited(wanted, probe or state.cells.probe)
        labels, scores, counts, self._last = batches.best(
            state, self.metric, wanted, k, chosen, visited
        )
        if visited is not None and len(few := np.flatnonzero(counts < k)):
            labels[few], scores[few], counts[few], _ = batches.best(
                state, self.metric, wanted[few], k, filters.part(chosen, few), None
            )
        return padded(state, labels, scores, counts, single)

    def search_range(
        self, queries: Any, threshold: Any, *, filter: Any = None, exclude: Any = None
    ) -> MatchesInRange:
        """All rows that score at least ``threshold``, best first; exact, with cells too.

        Parameters
        ----------
        queries, filter, exclude
            As in `search`.
        threshold : float, or array_like (Q,)
            One for all queries, or one for each.

        Returns
        -------
        MatchesInRange
            ``ids, scores``: arrays for one query, lists of Q arrays for many.
        """
        wanted, single = float_rows("search_range: queries", queries, self.dim)
        least = thresholds("search_range: threshold", threshold, len(wanted))
        state, chosen = self._table.chosen("search_range", len(wanted), filter, exclude)
        labels, scores, self._last = batches.in_range(state, self.metric, wanted, least, chosen)
        ids = [state.ids(some) for some in labels]
        return MatchesInRange(ids[0], scores[0]) if single else MatchesInRange(ids, scores)

    def tune(self, recall: float = 0.95, k: int = 10, queries: Any = None) -> Tuning:
        """Find the least number of cells to visit for a recall, and visit that many from now on.

        Parameters
        ----------
        recall : float, above 0 and at most 1
            The part of the true k best that are to be found, on average.
        k : int, at least 1
        queries : array_like (Q, dim), optional
            Typical queries, not rows of the index: some hundreds at least. Default: 1024 rows of
            the index, which do not count among their own results. Queries that are unlike the rows
            (questions, say, where the rows are paragraphs) need more cells than this default finds.

        Returns
        -------
        Tuning
            ``probe``, and ``steps``: every trial with its ``probe``, measured ``recall``, the
            ``queries_per_second`` of all queries at once, and the share of all ``rows`` that a
            query is compared with. Prints as a table.

        Raises
        ------
        ValueError
            No cells (yet); an argument out of range, or queries that `search` would refuse.
        """
        if not 0 < recall <= 1:
            raise ValueError(f"tune: recall must be above 0 and at most 1, got {recall}")
        k = whole("tune: k", k, 1)
        wanted = None
        if queries is not None:
            wanted, _ = float_rows("tune: queries", queries, self.dim)
            if len(wanted) == 0:
                raise ValueError("tune: queries must be at least one")
        with self._table.writing:
            self._table.mend()
            state = self._table.checked_state()
            if state.cells is None:
                raise ValueError(f"tune: {self!r} has no cells" + (" yet" if self.cells else ""))
            if k >= state.live // EXACT_SHARE:
                most = state.live // EXACT_SHARE
                raise ValueError(f"tune: k must be below {most}, where cells pay, got {k}")
            cells, tuning = tune(state.segments, state.version, state.cells, recall, k, wanted)
            with self._table.publishing:
                self._table.state = replace(state, cells=cells)
            if self._table.log is not None:
                self._table.log.compact_if_due(self._table)
        return tuning

    to_faiss = convert.to_faiss
    to_usearch = convert.to_usearch
    to_hnswlib = convert.to_hnswlib

    # Files

    def save(self, path: PathLike) -> None:
        """Write a copy to a file, atomically; `open` opens it.

        The index itself stays where it is, in memory or in its own file; to save that is to
        `compact`. Others may search and change the index meanwhile.

        BlockingIOError if ``path`` is an index that is open for writing.
        """
        if self._table.log is not None and os.path.realpath(path) == self._table.log.path:
            self.compact()
        else:
            storage_module.save(path, self._table)

    @classmethod
    def open(
        cls, path: PathLike, mode: str = "r+", mmap: bool = True, *, verify: bool = False
    ) -> Index:
        """Open a file that `save` wrote, and the log beside it, ``<path>.log``; also `load`.

        An addition or removal has been written to the log when the call returns, so it survives
        the end of the process, however it ends. After `flush` it survives a power failure too. When
        the log has outgrown the file, `compact` is called automatically.

        Parameters
        ----------
        path : path-like
        mode : {"r+", "r"}
            "r+": for one process, which may change it; "r": for any number of processes, which see
            the index as it was when they opened it.
        mmap : bool
            Map the file instead of reading it: then only its header is read now, and processes
            share the memory. A mapped file may be replaced, but must never be changed in place
            (``cp`` over it, ``truncate``): the system kills a process that reads beyond its end
            (SIGBUS). Calls that find the file shorter raise FormatError.
        verify : bool
            Compare a mapped file with its checksums, which reads it once. What is read is always
            compared.

        Raises
        ------
        BlockingIOError
            Mode "r+", and another process has it open for writing.
        FormatError
            Another kind of file, or a damaged one. An incomplete record at the end of the log is
            not damage: a killed process has left it.
        """
        index = cls.__new__(cls)
        index._table = storage_module.open_table(path, mode, mmap, verify)
        index._last = (0, 0, 0)
        return index

    load = open

    def flush(self) -> None:
        """Sync all changes to the disk, so that they survive a power failure.

        io.UnsupportedOperation for an index that is in memory only.
        """
        if self._table.log is None:
            raise io.UnsupportedOperation(
                "flush: the index is in memory only; save it and go on with Index.open(path)"
            )
        with self._table.writing:
            self._table.mend()
            self._table.log.flush(self._table)

    def compact(self) -> None:
        """Free the space of removed rows. A file is rewritten, and its log is empty then."""
        with self._table.writing:
            self._table.mend()
            if self._table.log is None:
                self._table.compact_memory()
            else:
                self._table.log.compact(self._table)

    def close(self) -> None:
        """Sync all changes, and let others open the file for writing.

        The index can still be searched, but not changed. No effect on an index in memory.
        """
        with self._table.writing:
            if self._table.log is not None:
                self._table.mend()
                log = self._table.log
                self._table.log = storage_module.Refusing(log.path, "the index was closed")
                log.close(self._table)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
