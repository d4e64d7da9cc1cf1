"""A log beside a file: records of what has changed since the file was written, in order.

Layout, little-endian::

    8 bytes   magic  93 "FIRLOG" 0A
    uint32    version of the layout, 1
    16 bytes  key of the file that the log belongs to
    uint32    CRC-32 of the 28 bytes above
    records   one after the other

    4 bytes   9D "rec"
    uint32    kind
    uint64    length of the payload
    uint32    CRC-32 of the payload
    uint32    CRC-32 of the log's key, the record's offset (uint64) and the 20 bytes above
    payload

A record is appended by as few writes as possible, so a killed process leaves at most a prefix of
it; the same goes for the header, which is written with the first record. Reading ends at an
incomplete record, as if it had never been written. If complete records follow, the file was damaged
in another way, and that is an error. As a record's checksum covers key and offset, neither bytes
within a payload nor the rest of an older log are ever taken for a record.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from firth.errors import FormatError
from firth.formats.files import PathLike

MAGIC = b"\x93FIRLOG\n"
VERSION = 1
_MARKER = b"\x9drec"
_HEADER = struct.Struct("<8sI16sI")
_RECORD = struct.Struct("<4sIQII")
_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Record:
    """A complete record."""

    offset: int
    kind: int
    payload: bytes | bytearray


class Reader:
    """The records of a log, in order, while another process may append to it.

    Parameters
    ----------
    file : binary file
        Open for reading; at its beginning.
    path : path-like
        For messages.

    Attributes
    ----------
    key : bytes or None
        Of the file that the log belongs to. None: the header is incomplete, so the log is empty.
    end : int
        Offset behind the last record read.

    Raises FormatError for another file and for a damaged header.
    """

    def __init__(self, file: io.BufferedReader, path: PathLike) -> None:
        self._file, self._path = file, path
        self.key: bytes | None = None
        self.end = 0
        header = file.read(_HEADER.size)
        if not MAGIC.startswith(header[: len(MAGIC)]):
            raise FormatError("is not a log of firth", path, 0)
        if len(header) < _HEADER.size:
            return
        _, version, key, checksum = _HEADER.unpack(header)
        if zlib.crc32(header[:-4]) != checksum:
            raise FormatError("header fails its checksum", path, 0)
        if version != VERSION:
            raise FormatError(f"has layout version {version}, this firth reads {VERSION}", path, 8)
        self.key, self.end = key, _HEADER.size

    def __iter__(self) -> Iterator[Record]:
        """The records from here on. FormatError where one is damaged and others follow."""
        while self.key is not None:
            record = self._record()
            if record is None:
                follower = self._follower()
                if follower is None:
                    return
                self._file.seek(self.end)
                record = self._record()  # it may have been half written a moment ago
                if record is None:
                    raise FormatError(
                        f"is damaged: the record of byte {self.end} is not whole, "
                        f"but another one follows at byte {follower}",
                        self._path,
                        self.end,
                    )
            self.end += _RECORD.size + len(record.payload)
            yield record

    def _record(self) -> Record | None:
        """The record at the file's position, which is ``end``, if it is complete."""
        head = self._file.read(_RECORD.size)
        if not self._is_head(head, self.end):
            return None
        _, kind, length, checksum, _ = _RECORD.unpack(head)
        left = os.fstat(self._file.fileno()).st_size - self.end - _RECORD.size
        payload = bytearray(min(length, max(left, 0)))
        if self._file.readinto(payload) < length or zlib.crc32(payload) != checksum:
            return None
        return Record(self.end, kind, payload)

    def _is_head(self, head: bytes, offset: int) -> bool:
        """Whether these bytes are the head of a record at this place of this log."""
        if len(head) < _RECORD.size or not head.startswith(_MARKER):
            return False
        assert self.key is not None
        return bool(_RECORD.unpack(head)[-1] == _head_checksum(self.key, offset, head[:-4]))

    def _follower(self) -> int | None:
        """Offset of the head of a record somewhere behind ``end``."""
        self._file.seek(self.end + 1)
        offset, data = self.end + 1, b""
        while block := self._file.read(_MEGABYTE):
            data += block
            at = data.find(_MARKER)
            while at >= 0:
                if self._is_head(data[at : at + _RECORD.size], offset + at):
                    return offset + at
                at = data.find(_MARKER, at + 1)
            rest = min(len(data), _RECORD.size - 1)
            offset += len(data) - rest
            data = data[len(data) - rest :]
        return None


class Writer:
    """Appends records to a log.

    Parameters
    ----------
    file : raw binary file
        Open for writing.
    key : bytes
        16 bytes.

    It does not track where the log ends: the caller does, and can take back a record by `rewind`.
    """

    def __init__(self, file: io.FileIO, key: bytes) -> None:
        self._file, self._key = file, key

    def append(self, end: int, kind: int, parts: list[Any]) -> int:
        """Write a record at offset ``end``, the end of the log so far (0: a new one).

        ``parts`` are the bytes of its payload, as buffers, one after another. Returns the new end.
        When this returns, the record outlives the process (not yet the machine: sync the file). If
        it fails, the log is unchanged.
        """
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        length = checksum = 0
        for view in views:
            length += len(view)
            checksum = zlib.crc32(view, checksum)
        header = b""
        if end == 0:
            header = _HEADER.pack(MAGIC, VERSION, self._key, 0)[:-4]
            header += struct.pack("<I", zlib.crc32(header))
        offset = end + len(header)
        head = _RECORD.pack(_MARKER, kind, length, checksum, 0)[:-4]
        head += struct.pack("<I", _head_checksum(self._key, offset, head))
        if length < _MEGABYTE:
            pieces = [memoryview(header + head + b"".join(views))]
        else:
            pieces = [memoryview(header + head), *views]
        try:
            self._file.seek(end)
            for piece in pieces:
                while len(piece):  # a write may take less, before a disk is full for good
                    piece = piece[self._file.write(piece) :]
        except BaseException:
            with contextlib.suppress(OSError):  # the rest is incomplete, and will be overwritten
                self.rewind(end)
            raise
        return offset + _RECORD.size + length

    def rewind(self, end: int) -> None:
        """Remove what was written after ``end``."""
        self._file.truncate(end)


def is_empty(end: int) -> bool:
    """Whether a log that ends there has no record."""
    return end <= _HEADER.size


def _head_checksum(key: bytes, offset: int, head: bytes) -> int:
    return zlib.crc32(head, zlib.crc32(key + struct.pack("<Q", offset)))
