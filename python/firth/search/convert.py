"""The vectors of an `Index` as an index of FAISS, usearch or hnswlib; methods of `Index`.

They get the stored vectors as float32, as they were when the call began. Their ids are int: a str
id becomes its place in ``index.ids``. FAISS's is exact, the other two are graphs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.optional import needs
from firth.search.state import State
from firth.search.table import Table

CHUNK = 1 << 24  # numbers passed at a time


class HasTable(Protocol):
    """The part of an `Index` that the methods below use."""

    _table: Table


def _parts(state: State, dim: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Ids (n,) and vectors (n, dim) of all rows, some at a time."""
    step = max(1, CHUNK // dim)
    done = 0
    for segment in state.segments:
        alive = segment.alive(state.version)
        for start in range(0, len(alive), step):
            rows = alive[start : start + step]
            ids = segment.labels_of(rows) if state.names is None else np.arange(len(rows)) + done
            yield ids, segment.floats(rows)
            done += len(rows)


def _refuse_negative(method: str, state: State) -> None:
    least = state.live_labels().min(initial=0)
    if least < 0:
        raise ValueError(f"{method}: id {least} is negative, and its ids are not")


def to_faiss(self: HasTable) -> Any:
    """An exact index of FAISS with these vectors and ids: an IndexIDMap2 of an IndexFlat.

    FAISS has no cosine: with metric "cosine" the rows are brought to length 1 and compared by inner
    product, so its scores are cosines for queries of length 1.

    Returns
    -------
    faiss.IndexIDMap2
        Ids as here; a str id is its place in ``index.ids``.

    Raises
    ------
    ImportError
        faiss-cpu is missing.
    """
    faiss = needs("faiss", "to_faiss", "faiss-cpu")
    kind = faiss.METRIC_L2 if self._table.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    result = faiss.IndexIDMap2(faiss.IndexFlat(self._table.dim, kind))
    for ids, rows in _parts(self._table.checked_state(), self._table.dim):
        if self._table.metric == "cosine":
            length = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
            rows = (rows / np.where(length > 0, length, 1)).astype(np.float32)
        result.add_with_ids(rows, ids)
    return result


def to_usearch(self: HasTable, **options: Any) -> Any:
    """A graph of usearch with these vectors and ids, built on firth's number of threads.

    Parameters
    ----------
    **options
        Of usearch.index.Index, as ``connectivity`` and ``expansion_add``. ``dtype`` is "f32" unless
        given (usearch's own default, "bf16", rounds).

    Returns
    -------
    usearch.index.Index
        Ids as here; a str id is its place in ``index.ids``.

    Raises
    ------
    ImportError
        usearch is missing.
    ValueError
        An id is negative: usearch has none.
    """
    usearch = needs("usearch.index", "to_usearch")
    state = self._table.checked_state()
    _refuse_negative("to_usearch", state)
    metric = {"cosine": "cos", "ip": "ip", "l2": "l2sq"}[self._table.metric]
    result = usearch.Index(ndim=self._table.dim, metric=metric, **{"dtype": "f32", **options})
    for ids, rows in _parts(state, self._table.dim):
        result.add(ids.astype(np.uint64), rows, threads=_native.num_threads())
    return result


def to_hnswlib(self: HasTable, **options: Any) -> Any:
    """A graph of hnswlib with these vectors and ids, built on firth's number of threads.

    Parameters
    ----------
    **options
        Of hnswlib's ``init_index``: ``M``, ``ef_construction``, ``random_seed``,
        ``allow_replace_deleted``, or a greater ``max_elements`` than there are vectors.

    Returns
    -------
    hnswlib.Index
        Ids as here; a str id is its place in ``index.ids``.

    Raises
    ------
    ImportError
        hnswlib is missing.
    ValueError
        An id is negative: hnswlib has none.
    """
    hnswlib = needs("hnswlib", "to_hnswlib")
    state = self._table.checked_state()
    _refuse_negative("to_hnswlib", state)
    result = hnswlib.Index(self._table.metric, self._table.dim)
    result.init_index(**{"max_elements": max(1, state.live), **options})
    result.set_num_threads(_native.num_threads())
    for ids, rows in _parts(state, self._table.dim):
        result.add_items(rows, ids.astype(np.uint64))
    return result
