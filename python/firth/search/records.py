"""The records in the log of an index: additions and removals, written and replayed."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats import log
from firth.search.file import File
from firth.search.segments import STORAGES, Segment
from firth.search.table import Table

ADD, REMOVE = 1, 2  # kinds of records
ADDED = struct.Struct("<QQQQ")  # rows, first new label, new names, bytes of their text
_AT_ONCE = 1 << 26  # bytes of additions in the log that are replayed as one


def addition(
    first: int,
    labels: NDArray[np.int64],
    names: Sequence[str],
    parts: list[tuple[Segment, slice]],
) -> list[Any]:
    """The payload of an addition, as `firth.search.table.Log.added` gets it.

    ``first``: the label of the first of ``names``.
    """
    encoded = [name.encode("utf-8", "surrogatepass") for name in names]
    ends = np.fromiter(map(len, encoded), np.int64, len(encoded)).cumsum()
    text = b"".join(encoded)
    payload: list[Any] = [ADDED.pack(len(labels), first, len(names), len(text))]
    payload += [labels, ends, text]
    payload += [segment.vectors[rows].reshape(-1) for segment, rows in parts]
    payload += [segment.scales[rows] for segment, rows in parts if segment.scales is not None]
    return payload


class Foreign(FormatError):
    """The log belongs to another file."""


class _Replaying:
    """In place of the log while it is replayed."""

    def ignore(self, *_: Any) -> int:
        """Nothing to do: the change is in the log already."""
        return 0

    added = removed = rewind = compact_if_due = ignore


def replay(content: File, reader: log.Reader, path: str) -> bool:
    """Replay a log. For that of another file: False if it has nothing new, else `Foreign`."""
    table, state = content.table, content.state
    table.state = state
    if reader.key is None:
        return True
    if reader.key != content.key:
        if reader.key != content.replaces:
            for record in reader:
                raise Foreign(
                    f"belongs to another file than {os.fspath(content.path)} as it is now; "
                    "put that file back, or remove this log, which loses its changes",
                    path,
                    record.offset,
                )
        return False
    table.log = _Replaying()  # type: ignore[assignment]
    additions = _Additions(table)
    try:
        for record in reader:
            offset = record.offset
            if record.kind == ADD:
                additions.read(record)
            elif record.kind == REMOVE:
                additions.replay()
                labels = np.frombuffer(record.payload, np.int64)
                if len(np.unique(labels)) < len(labels) or (table.find(labels) < 0).any():
                    raise ValueError("removes an unknown label")
                table.remove(labels)
            else:
                raise ValueError(f"is of an unknown kind, {record.kind}")
        additions.replay()
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(f"a record {error}", path, offset) from None
    table.log = None
    table.state = replace(table.state, log_end=reader.end)
    return True


class _Additions:
    """Additions that are replayed together: the same as one after the other, only faster."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._next, self._id_type = table.state.next_label, table.state.id_type
        self._clear()

    def _clear(self) -> None:
        self._labels: list[NDArray[np.int64]] = []
        self._vectors: list[NDArray[Any]] = []
        self._scales: list[NDArray[np.float32]] = []
        self._names: list[str] = []
        self._bytes = 0

    def read(self, record: log.Record) -> None:
        """Take a record. ValueError where it does not fit."""
        table, payload = self._table, record.payload
        dtype = np.dtype(STORAGES[table.storage])
        scale = 4 if table.storage == "int8" else 0
        if len(payload) < ADDED.size:
            raise ValueError("is too short")
        rows, first, new, size = ADDED.unpack_from(payload)
        end = ADDED.size + 8 * (rows + new) + size + rows * (table.dim * dtype.itemsize + scale)
        if rows == 0 or end != len(payload):
            raise ValueError(f"has {len(payload)} bytes, wanted {end} for {rows} rows")
        at = ADDED.size
        labels = np.frombuffer(payload, np.int64, rows, at)
        most = int(labels.max())
        named = (self._id_type or (str if new else int)) is str
        if first != self._next or (new and not named):
            raise ValueError(f"adds labels from {first}, wanted {self._next}")
        if named and (labels.min() < 0 or most >= first + new or (new and most != first + new - 1)):
            raise ValueError("adds labels without names")
        at += 8 * rows
        ends = np.frombuffer(payload, np.int64, new, at).tolist()
        at += 8 * new
        text = bytes(payload[at : at + size])
        at += size
        start = 0
        names = []
        for end in ends:
            if not start <= end <= size:
                raise ValueError("has names that do not fit their text")
            names.append(text[start:end].decode("utf-8", "surrogatepass"))
            start = end
        vectors = np.frombuffer(payload, dtype, rows * table.dim, at).reshape(rows, table.dim)
        if scale:
            self._scales.append(np.frombuffer(payload, np.float32, rows, at + vectors.nbytes))
        self._labels.append(labels)
        self._vectors.append(vectors)
        self._names += names
        self._id_type, self._next = str if named else int, max(first, most + 1)
        self._bytes += len(payload)
        if self._bytes > _AT_ONCE:
            self.replay()

    def replay(self) -> None:
        """Do what has been taken."""
        if self._labels:
            vectors = np.concatenate(self._vectors)
            scales = np.concatenate(self._scales) if self._scales else None
            if vectors.dtype == np.uint16:
                finite = vectors & 0x7F80 != 0x7F80
            else:
                finite = np.isfinite(vectors if scales is None else scales)
            if not finite.all():
                raise ValueError("adds numbers that are not finite")

            def fill(segment: Segment, rows: slice, part: slice) -> None:
                """As they were stored."""
                segment.vectors[rows] = vectors[part]
                if scales is not None and segment.scales is not None:
                    segment.scales[rows] = scales[part]

            self._table.append(np.concatenate(self._labels), self._names, fill)
            self._clear()
