"""One shard of a sharded index: what an actor does. Knows no Ray.

Each shard counts the changes that it has made, whether it has a part in them or not, and says in
each answer how many these were: answers of shards belong together if their numbers are the same.
"""

from __future__ import annotations

import time
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.distributed.shard_files import Change
from firth.search.index import Index
from firth.search.segments import Segment
from firth.search.table import Table

# Writes its file; follows another actor, which writes; or reads a file that is to stay as it is.
Role = Literal["write", "follow", "read"]


class Unopened(RuntimeError):
    """The shard has no index: opening it has failed."""


class Mark(NamedTuple):
    """Which content of which file it is."""

    key: str  # of the file; a rewritten one has another
    end: int  # of the log
    rows: int


class Shard:
    """An `Index` in a file, for one program that asks from elsewhere."""

    def __init__(self) -> None:
        self._opened: Index | None = None
        self._version = 0  # changes so far
        self._problem = "it was not opened"

    def open(
        self, path: str, role: Role, version: int, mark: Mark | None, verify: bool, patience: float
    ) -> Mark:
        """Open a file, or once more.

        Parameters
        ----------
        path, verify
            As of `Index.open`.
        role : {"write", "follow", "read"}
            A follower makes the same changes in memory that the one that writes makes.
        version : int
            The number of changes that are in the file.
        mark : Mark, optional
            What is wanted; RuntimeError if the file has changed since.
        patience : float
            Seconds in which a program that has been ended may still have it open for writing.
        """
        self._opened = None
        try:
            index = self._index_in(path, role, verify, time.monotonic() + patience)
            found = _mark(index)
            if mark is not None and found != mark:
                raise RuntimeError(f"{path} has changed since it was opened for reading")
        except Exception as error:
            self._problem = f"{type(error).__name__}: {error}"
            raise
        if role == "follow":
            index._table.log = None  # what it adds is in memory
        self._opened, self._version = index, version
        return found

    @staticmethod
    def _index_in(path: str, role: Role, verify: bool, until: float) -> Index:
        while True:
            try:
                return Index.open(path, "r+" if role == "write" else "r", verify=verify)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.1)

    @property
    def _index(self) -> Index:
        if self._opened is None:
            raise Unopened(self._problem)
        return self._opened

    def change(self, part: Change | None, version: int) -> Mark:
        """Make a part of a change, or none, and sync it to disk.

        Making it once more is the same as making it once, if there was no other one in between.
        """
        index = self._index
        if part is not None:
            make(index._table, part)
            if index._table.log is not None:
                index.flush()
        self._version = version
        return _mark(index)

    # What follows returns the number of changes besides

    def search(
        self, queries: NDArray[np.float32], k: int, filter: Any, exclude: Any, probe: Any
    ) -> tuple[int, Any]:
        """`Index.search`: ids and scores (Q, <= k), and the work."""
        index = self._index
        found = index.search(queries, k, filter=filter, exclude=exclude, probe=probe)
        return self._version, (found.ids, found.scores, index._last)

    def search_range(
        self, queries: NDArray[np.float32], threshold: NDArray[np.float32], filter: Any,
        exclude: Any,
    ) -> tuple[int, Any]:  # fmt: skip
        """`Index.search_range`: ids and scores of all queries in a row, their numbers, the work."""
        index = self._index
        ids, scores = index.search_range(queries, threshold, filter=filter, exclude=exclude)
        counts = np.array([len(one) for one in scores], np.int64)
        found = np.concatenate([*ids, np.empty(0, np.int64)][: max(1, len(ids))])
        every = np.concatenate([*scores, np.empty(0, np.float32)])
        return self._version, (found, every, counts, index._last)

    def get(self, ids: Any) -> tuple[int, NDArray[np.float32]]:
        """`Index.get`."""
        return self._version, self._index.get(ids)

    def stats(self) -> tuple[int, dict[str, Any]]:
        """`Index.stats`."""
        return self._version, self._index.stats()

    def tune(self, recall: float, k: int, queries: Any) -> tuple[int, Any]:
        """`Index.tune`; the file is rewritten where it is more than once its size."""
        index = self._index
        tuning = index.tune(recall, k, queries)
        return self._version, (tuning, _mark(index))

    def compact(self) -> tuple[int, Mark]:
        """`Index.compact`."""
        self._index.compact()
        return self._version, _mark(self._index)

    def save(self, path: str) -> tuple[int, None]:
        """`Index.save`."""
        self._index.save(path)
        return self._version, None

    def close(self) -> None:
        """`Index.close`."""
        index, self._opened, self._problem = self._opened, None, "it was closed"
        if index is not None:
            index.close()


def _mark(index: Index) -> Mark:
    table = index._table
    return Mark(table.key.hex(), table.state.log_end, table.state.live)


def make(table: Table, change: Change) -> None:
    """Make a change in an index: as if each row had just been added, whatever was there."""
    with table.writing:
        table.mend()
        if change.vectors is not None:
            labels, names = table.new_labels(change.ids, len(change.ids))

            def fill(segment: Segment, rows: slice, part: slice) -> None:
                """As they were stored."""
                assert change.vectors is not None
                segment.vectors[rows] = change.vectors[part]
                if segment.scales is not None and change.scales is not None:
                    segment.scales[rows] = change.scales[part]

            table.append(labels, names, fill)
            return
        with table.publishing:
            labels = table._labels("remove: ids", change.ids)
            found = table.find(labels)
        table.remove(np.unique(labels[found >= 0]))
