"""firth's own file: named arrays, lists of strings and JSON metadata in one checksummed file.

Layout, little-endian::

    8 bytes   magic  93 "FIRTH" 0D 0A
    uint32    version of the layout, 1
    uint32    length of the header
    uint32    CRC-32 of the 16 bytes above and the header
    header    JSON in UTF-8, padded with spaces to a multiple of 64 bytes of the file
    arrays    in the order of the header, C order, each from the next multiple of 64 bytes on
              (zeros between); the file ends with the last byte of the last one

The header is ``{"kind": str, "meta": {...}, "arrays": [{"name", "dtype", "shape", "crc32"}, ...],
"strings": [name, ...]}``. A list of strings ``keys`` is two arrays: ``keys.text`` (uint8, all of
them in UTF-8, one after the other) and ``keys.ends`` (int64, where each one ends).

Offsets and sizes follow from dtypes and shapes and are not stored, so they cannot contradict them.
The alignment lets NumPy map the arrays; nothing in a file is ever executed.

Writing takes one pass: a thread computes the checksums meanwhile, and the header is written last.
The kernel is asked to start writing to disk early, so that the final sync is short.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import json
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError, TruncatedError
from firth.formats.files import Beside, PathLike, atomic

MAGIC = b"\x93FIRTH\r\n"
VERSION = 1
ALIGN = 64
_SYNCED = 1 << 26  # bytes after which the disk begins to write what has come so far
_BLOCK = 1 << 22  # bytes written at a time: they are still in a cache when they are summed
_PREFIX = struct.Struct("<8sIII")
_DTYPES = {"|b1", "|i1", "|u1", *(f"<{kind}{size}" for kind in "iu" for size in (2, 4, 8))}
_DTYPES |= {"<f2", "<f4", "<f8"}

# What a file of each kind holds, and what reads it: for messages.
_VECTORS = "KeyedVectors.load or firth similar"
_KINDS = {
    "keyedvectors": ("word vectors", _VECTORS),
    "fasttextkeyedvectors": ("word vectors with n-grams", _VECTORS),
    "word2vec": ("a Word2Vec model", f"Word2Vec.load, or for its vectors {_VECTORS}"),
    "fasttext": ("a FastText model", f"FastText.load, or for its vectors {_VECTORS}"),
    "glove": ("a GloVe model", f"GloVe.load, or for its vectors {_VECTORS}"),
    "phrases": ("phrases", "Phrases.load"),
    "index": ("an index", "Index.open or firth index"),
    "classifier in training": (
        "the checkpoint of a classifier",
        "fasttext.resume or firth classify train --resume",
    ),
    "objects": ("saved objects", "firth.load"),
    "network in training": ("the checkpoint of a network", "firth.nn.fit with resume=True"),
}


@dataclass(frozen=True)
class Content:
    """What `read` returns."""

    kind: str  # what the file is for, as "keyedvectors"
    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    strings: dict[str, list[str]]


@dataclass(frozen=True)
class Parts:
    """An array for `write` that is produced while it is written, and never whole in memory."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[], Iterable[NDArray[Any]]]  # its content in C order, in parts of any shape


@dataclass(frozen=True)
class _Section:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    crc32: int

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _padding(offset: int) -> int:
    return -offset % ALIGN


def _little_endian(name: str, value: Any) -> Any:
    array = value if isinstance(value, Parts) else np.asarray(value, order="C")
    if isinstance(array, np.ndarray):
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.dtype.str not in _DTYPES:
        raise TypeError(
            f"write: array {name!r} has dtype {array.dtype}, which the file cannot hold"
        )
    return array


def write(
    path: PathLike,
    kind: str,
    arrays: Mapping[str, Any],
    meta: Mapping[str, Any] | None = None,
    strings: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a file, atomically: a failed or killed write leaves the old one.

    Parameters
    ----------
    path : path-like
    kind : str
        What the file is for; `read` checks it.
    arrays : mapping of str to array_like or Parts
        Any shape; bool, integers and floats of 1 to 8 bytes.
    meta : mapping, optional
        What JSON can hold.
    strings : mapping of str to sequence of str, optional

    Raises
    ------
    TypeError
        An array of another dtype, an item of ``strings`` that is not a str, or metadata that JSON
        cannot hold.
    OSError
        The disk is full, the folder is missing, ...
    """
    parts = {name: _little_endian(name, value) for name, value in arrays.items()}
    for name, values in (strings or {}).items():
        # surrogatepass: words read with errors="surrogateescape" come back as they were
        encoded = [value.encode("utf-8", "surrogatepass") for value in values]
        parts[f"{name}.text"] = np.frombuffer(b"".join(encoded), np.uint8)
        ends = np.fromiter(map(len, encoded), np.int64, len(encoded)).cumsum()
        parts[f"{name}.ends"] = _little_endian(name, ends)
    sums = dict.fromkeys(parts, 0)

    def header(checksums: Mapping[str, int]) -> bytes:
        entries = [
            {"name": name, "dtype": part.dtype.str, "shape": part.shape, "crc32": checksums[name]}
            for name, part in parts.items()
        ]
        content = {
            "kind": kind,
            "meta": dict(meta or {}),
            "arrays": entries,
            "strings": list(strings or {}),
        }
        return json.dumps(content, separators=(",", ":"), default=_plain).encode()

    def add(name: str, block: memoryview) -> None:
        sums[name] = zlib.crc32(block, sums[name])

    length = len(header(dict.fromkeys(parts, 0xFFFFFFFF)))  # the longest checksums
    length += _padding(_PREFIX.size + length)

    def head() -> bytes:
        text = header(sums).ljust(length)
        checked = _PREFIX.pack(MAGIC, VERSION, length, 0)[:16]
        return checked + struct.pack("<I", zlib.crc32(text, zlib.crc32(checked))) + text

    with atomic(path) as file:
        final = not file.seekable()  # a pipe: the checksums have to be known before
        if final:
            for name, part in parts.items():
                for block in _blocks(part):
                    add(name, block)
        offset = started = file.write(head())
        with (
            contextlib.closing(Beside("firth-checksum")) as summing,
            contextlib.closing(Beside("firth-writing")) as syncing,
        ):
            for name, part in parts.items():
                offset += file.write(bytes(_padding(offset)))
                for block in _blocks(part):
                    if not final:
                        summing.start(functools.partial(add, name, block))
                    file.write(block)
                    offset += len(block)
                    if offset - started >= _SYNCED and (not syncing.waiting or syncing.ready):
                        syncing.take()  # the failure of the one before must not be lost
                        syncing.start(functools.partial(_sync, file))
                        started = offset
                    if summing.waiting > 8:  # bounds the memory of arrays produced by parts
                        summing.take()
            for thread in (summing, syncing):
                while thread.waiting:
                    thread.take()
        if not final:
            file.seek(0)
            file.write(head())


def _blocks(part: NDArray[Any] | Parts) -> Iterator[memoryview]:
    """The bytes of an array, a few megabytes at a time."""
    given = 0
    for array in part.make() if isinstance(part, Parts) else (part,):
        if array.dtype != part.dtype:
            raise TypeError(f"write: a part has dtype {array.dtype}, wanted {part.dtype}")
        given += array.size
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for start in range(0, flat.size, _BLOCK):
            yield flat[start : start + _BLOCK].data
    if given != math.prod(part.shape):
        raise ValueError(f"write: parts of {given} numbers in all, wanted shape {part.shape}")


def _sync(file: BinaryIO) -> None:
    """Sync the file to disk. The kernel reports a failure only once, so it must not be lost."""
    try:
        getattr(os, "fdatasync", os.fsync)(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe or a device
            raise


def read(
    path: PathLike,
    kind: str | None = None,
    *,
    mmap: Literal["r", "c"] | None = None,
    verify: bool | None = None,
    decode: bool = True,
) -> Content:
    """Read a file that `write` wrote.

    Parameters
    ----------
    path : path-like
    kind : str, optional
        Refuse a file of another kind.
    mmap : {"r", "c"}, optional
        Map the arrays instead of reading them: "r" read-only, "c" copy on write (changes stay in
        memory). Lists of strings are always read, but for ``decode=False``.
    verify : bool, optional
        Compare the arrays with their checksums. The default is to do so unless they are mapped,
        since it reads every byte. The header and decoded strings are always verified.
    decode : bool
        False leaves lists of strings as the two arrays that they are in the file.

    Raises
    ------
    FormatError
        Not a firth file, another kind, a wrong checksum, ...; ``TruncatedError``, which is also an
        EOFError, where the file ends too early.
    """
    if mmap not in (None, "r", "c"):
        raise ValueError(f'read: mmap must be None, "r" or "c", got {mmap!r}')
    verify = mmap is None if verify is None else verify
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        header, sections, offset = _read_header(file, path, size)
        if kind is not None and header["kind"] != kind:
            raise FormatError(mismatch(header["kind"], kind), path)
        named = header["strings"] if decode else ()
        lists = {f"{name}.{part}" for name in named for part in ("text", "ends")}
        arrays = {}
        for section in sections:
            start = offset + _padding(offset)
            array: NDArray[Any]
            listed = section.name in lists
            if mmap is None or listed or not section.size:
                array = _read_array(file, path, section, start)
            else:
                # Through the open file: ``path`` may have been replaced by now.
                array = np.memmap(file, section.dtype, mmap, start, section.shape)
            if verify or listed:
                file.seek(offset)
                if any(file.read(start - offset)):
                    raise FormatError("bytes between two arrays are not zero", path, offset)
            if (verify or listed) and zlib.crc32(array.data) != section.crc32:
                raise FormatError(
                    f"array {section.name!r} does not match its checksum", path, start
                )
            arrays[section.name] = array
            offset = start + section.size
    strings = {name: _strings(path, name, arrays) for name in named}
    return Content(header["kind"], header["meta"], arrays, strings)


def _plain(value: Any) -> Any:
    """A NumPy number (a caller may pass one as a parameter) as a Python number."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r} cannot be saved")


def nature(kind: str) -> str:
    """What a file of this kind holds, in words."""
    return _KINDS[kind][0] if kind in _KINDS else repr(kind)


def mismatch(found: str, wanted: str) -> str:
    """The message for a file of another kind; it names what reads such a file."""
    use = f": use {_KINDS[found][1]}" if found in _KINDS else ""
    return f"holds {nature(found)}, not {nature(wanted)}{use}"


def is_container(path: PathLike) -> bool:
    """Whether a file is firth's own, by its first bytes; OSError if missing, False for a folder."""
    if os.path.isdir(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _read_header(
    file: BinaryIO, path: PathLike, size: int
) -> tuple[dict[str, Any], list[_Section], int]:
    """The header, the sections, and the offset behind the header; every size bounded."""
    prefix = file.read(_PREFIX.size)
    if not prefix.startswith(MAGIC[: max(1, len(prefix))]):
        raise FormatError("is not a firth file", path, 0)
    if len(prefix) < _PREFIX.size:
        raise TruncatedError("ends within its first bytes", path, len(prefix))
    _, version, length, checksum = _PREFIX.unpack(prefix)
    if version != VERSION:
        raise FormatError(f"has layout version {version}, this firth reads {VERSION}", path, 8)
    if length > size - _PREFIX.size:
        raise TruncatedError(f"ends within its header of {length} bytes", path, size)
    text = file.read(length)
    if zlib.crc32(text, zlib.crc32(prefix[:16])) != checksum:
        raise FormatError("header fails its checksum", path, _PREFIX.size)
    try:
        header = json.loads(text)
        sections = [_section(entry) for entry in header["arrays"]]
        names = [section.name for section in sections]
        if len(set(names)) < len(names):
            raise ValueError("two arrays have one name")
        if not isinstance(header["kind"], str) or not isinstance(header["meta"], dict):
            raise ValueError("kind or meta has the wrong type")
        if not isinstance(header["strings"], list):
            raise ValueError("strings is not a list")
        for name in header["strings"]:
            if not {f"{name}.text", f"{name}.ends"} <= set(names):
                raise ValueError(f"strings {name!r} have no arrays")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(f"malformed header: {error}", path, _PREFIX.size) from None
    start = end = _PREFIX.size + length
    for section in sections:
        end += _padding(end) + section.size
        if end > size:
            raise TruncatedError(f"ends within array {section.name!r}", path, size)
    if end < size:
        raise FormatError("holds bytes behind its last array", path, end)
    return header, sections, start


def _section(entry: Any) -> _Section:
    name, dtype, shape, crc32 = (entry[field] for field in ("name", "dtype", "shape", "crc32"))
    if not isinstance(name, str) or dtype not in _DTYPES or type(crc32) is not int:
        raise ValueError(f"array {name!r} has a wrong dtype or checksum")
    if not isinstance(shape, list) or len(shape) > 32:
        raise ValueError(f"array {name!r} has a wrong shape")
    if not all(type(extent) is int and extent >= 0 for extent in shape):
        raise ValueError(f"array {name!r} has a wrong shape")
    if math.prod(max(extent, 1) for extent in shape) > 2**60:  # beyond what NumPy can shape
        raise ValueError(f"array {name!r} has a wrong shape")
    return _Section(name, np.dtype(dtype), tuple(shape), crc32)


def _read_array(file: BinaryIO, path: PathLike, section: _Section, start: int) -> NDArray[Any]:
    data = np.empty(section.size, np.uint8)
    file.seek(start)
    if file.readinto(data.data) < section.size:  # type: ignore[attr-defined]
        raise TruncatedError(f"ends within array {section.name!r}", path, start)
    return data.view(section.dtype).reshape(section.shape)


def _strings(path: PathLike, name: str, arrays: dict[str, NDArray[Any]]) -> list[str]:
    text, ends = arrays.pop(f"{name}.text"), arrays.pop(f"{name}.ends")
    if text.dtype != np.uint8 or ends.dtype != np.int64 or text.ndim != 1 or ends.ndim != 1:
        raise FormatError(f"strings {name!r} have arrays of the wrong type", path)
    starts = np.concatenate([np.zeros(1, np.int64), ends])
    if (np.diff(starts) < 0).any() or starts[-1] != text.size:
        raise FormatError(f"strings {name!r} have ends that do not fit their text", path)
    blob, bounds = text.tobytes(), starts.tolist()
    try:
        return [
            blob[start:end].decode("utf-8", "surrogatepass")
            for start, end in itertools.pairwise(bounds)
        ]
    except UnicodeDecodeError as error:
        raise FormatError(f"strings {name!r} are not UTF-8: {error}", path) from None
