"""GGUF: the files of llama.cpp. Metadata and named arrays, many of these in blocks.

Layout, little-endian, version 3 (2 is the same)::

    "GGUF"   uint32 version, uint64 number of arrays, uint64 number of entries of metadata
    entries  key, uint32 kind, value: a number, a string, or uint32 kind, uint64 count, values
    arrays   name, uint32 axes, uint64 for each axis (the innermost first), uint32 type of blocks,
             uint64 offset from where the data begins
    data     begins at the next multiple of the alignment, as each array does

A string is a uint64 length and bytes. A model may be split over files, which are read together.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import FormatError, TruncatedError
from firth.formats.blocks import TYPES, BlockArray, BlockType
from firth.formats.files import PathLike, atomic
from firth.optional import needs

# Kinds of metadata: numbers, and three more.
_NUMBERS = dict(enumerate(("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4")))
_NUMBERS |= {10: "<u8", 11: "<i8", 12: "<f8"}
_KINDS = {np.dtype(code): kind for kind, code in _NUMBERS.items()}
_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9

# Types of arrays that are no blocks: their weights stand alone.
_PLAIN = {0: "<f4", 1: "<f2", 24: "i1", 25: "<i2", 26: "<i4", 27: "<i8", 28: "<f8"}
_TYPES = {np.dtype(code): number for number, code in _PLAIN.items()}
_BF16 = 30
# What firth does not read, by name for the error.
_UNKNOWN = {
    9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 21: "IQ3_S",
    22: "IQ2_S", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip

# Limits of the format (names and keys) and of sense.
_LONGEST_NAME, _LONGEST_KEY = 64, 65535
_DEEPEST = 4  # arrays of arrays
_MOST_STRINGS = 1 << 24  # in one array: a hundred times a large vocabulary
_LARGEST_ALIGNMENT = 1 << 20
_ALIGNMENT = f"a power of two up to {_LARGEST_ALIGNMENT}"
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class Gguf(NamedTuple):
    """The content of a file, or of all files of a split model.

    Attributes
    ----------
    metadata : dict
        int, float, bool, str; an array is a list of str, an array of NumPy (numbers, bool) or a
        list of arrays. Bytes of strings that are not UTF-8 are surrogates
        (``text.encode("utf-8", "surrogateescape")`` has them back).
    arrays : dict
        Read-only pages of the file: of NumPy where the weights stand alone, else `BlockArray`. The
        first axis is the outermost, as everywhere in firth.
    path : str
    dtypes : dict
        The dtype that a number of the metadata has in the file: ``dtypes[key].type(metadata[key])``
        is written as it was read.
    """

    metadata: dict[str, Any]
    arrays: dict[str, NDArray[Any] | BlockArray]
    path: str
    dtypes: dict[str, np.dtype[Any]]


class Blocks(Protocol):
    """What `write` takes for blocks: a `BlockArray`, or what makes its data when it is asked.

    Attributes
    ----------
    type : BlockType
    shape : (int, int)
        Rows and columns, in weights.
    data : ndarray (rows, bytes a row) uint8
    """

    @property
    def type(self) -> BlockType: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def data(self) -> NDArray[np.uint8]: ...  # noqa: D102


def read(path: PathLike) -> Gguf:
    """The metadata and arrays of a file; nothing of the arrays is read before it is touched.

    Of a model that is split (``...-00001-of-00003.gguf``) any file stands for all. A file must not
    be shortened while an array lives.

    Raises
    ------
    FormatError
        The file is malformed, is of another version or byte order, or has a type that firth does
        not know; ``TruncatedError`` where it ends too early.
    FileNotFoundError
        A file of a split model is missing.
    ImportError
        An array is bfloat16 and ml_dtypes is not installed.
    """
    first = _read_one(path)
    count = first.metadata.get("split.count", 1)
    if type(count) is not int or count <= 1:
        return first
    place = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})\.gguf", os.fspath(path), re.DOTALL)
    if not place or int(place[3]) != count or not 1 <= int(place[2]) <= count:
        raise FormatError(
            f"is one of {count} files; its name must end as -00001-of-{count:05}.gguf", path
        )
    arrays: dict[str, NDArray[Any] | BlockArray] = {}
    for i in range(count):
        name = f"{place[1]}-{i + 1:05}-of-{count:05}.gguf"
        part = _read_one(name)
        if (part.metadata.get("split.no"), part.metadata.get("split.count")) != (i, count):
            raise FormatError(f"is not file {i + 1} of {count}: split.no, split.count", name)
        for key in arrays.keys() & part.arrays.keys():
            raise FormatError(f"array {key!r} stands in two files", name)
        arrays |= part.arrays
        if i == 0:
            first = part
    wanted = first.metadata.get("split.tensors.count", len(arrays))
    if wanted != len(arrays):
        raise FormatError(
            f"split.tensors.count: {wanted} arrays, but the files have {len(arrays)}", path
        )
    metadata = {key: value for key, value in first.metadata.items() if not key.startswith("split.")}
    return Gguf(metadata, arrays, first.path, first.dtypes)


def _read_one(path: PathLike) -> Gguf:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if start[:4] != b"GGUF"[: len(start)]:
            raise FormatError(_other(start), path, 0)
        if size < 24:
            raise TruncatedError("ends within its first 24 bytes", path, size)
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    source = _Source(pages, path)
    source.offset = 4
    version = source.number(_U32)
    if version & 0xFFFF == 0 and version:
        raise FormatError("is big-endian: firth reads little-endian files", path, 4)
    if version not in (2, 3):
        raise FormatError(f"has version {version} of GGUF: firth reads 2 and 3", path, 4)
    # The least that an array and an entry take; the second count must fit behind the first.
    n_arrays, n_entries = source.count(32, "arrays"), source.count(13, "entries of metadata")
    metadata, dtypes = _entries(source, n_entries)
    arrays = _arrays(source, n_arrays, metadata.get("general.alignment", 32))
    return Gguf(metadata, arrays, os.fspath(path), dtypes)


def _other(start: bytes) -> str:
    """What a file is that is no GGUF."""
    if start == b"version ":
        return "is a pointer of Git LFS, not the file: `git lfs pull` fetches it"
    if start[:4] in (b"lmgg", b"fmgg", b"tjgg"):
        return "is of the format before GGUF: convert it with llama.cpp"
    return "is not a GGUF file"


class _Source:
    """Takes numbers and strings out of the bytes of a file, never behind its end."""

    def __init__(self, pages: mmap.mmap, path: PathLike) -> None:
        self.pages, self.path, self.offset, self.size = pages, path, 0, len(pages)

    def error(self, problem: str, offset: int | None = None) -> FormatError:
        return FormatError(problem, self.path, self.offset if offset is None else offset)

    def skip(self, count: int, what: str) -> int:
        """Step over bytes; where they begin."""
        begin = self.offset
        if count > self.size - begin:
            raise TruncatedError(f"ends within {what}", self.path, begin)
        self.offset += count
        return begin

    def number(self, form: struct.Struct, what: str = "a number") -> int:
        found: int = form.unpack_from(self.pages, self.skip(form.size, what))[0]
        return found

    def count(self, least: int, what: str) -> int:
        """The number of things, of which each takes so many bytes at least."""
        begin, count = self.offset, self.number(_U64, f"the number of {what}")
        if count > (self.size - self.offset) // least:
            raise TruncatedError(f"is too short for {count} {what}", self.path, begin)
        return count

    def text(self, what: str, most: int) -> str:
        begin, length = self.offset, self.number(_U64, what)
        if not 0 < length <= most:
            raise self.error(f"{what} of {length} bytes: must have 1 to {most}", begin)
        raw = self.skip(length, what)
        try:
            return self.pages[raw : self.offset].decode()
        except UnicodeDecodeError:
            raise self.error(f"{what} is not UTF-8", raw) from None

    def strings(self, count: int, what: str) -> list[str]:
        """Many strings: what reading a vocabulary takes its time with."""
        found, self.offset = _native.files.read_strings(self.pages, self.offset, count)
        if len(found) < count:
            part = "a string of " if self.size - self.offset >= 8 else ""
            raise TruncatedError(f"ends within {part}{what}", self.path, self.offset)
        return found


def _entries(source: _Source, count: int) -> tuple[dict[str, Any], dict[str, np.dtype[Any]]]:
    metadata: dict[str, Any] = {}
    dtypes: dict[str, np.dtype[Any]] = {}
    for _ in range(count):
        begin = source.offset
        key = source.text("a key", _LONGEST_KEY)
        if key in metadata:
            raise source.error(f"key {key!r} stands there twice", begin)
        kind = source.number(_U32, key)
        if kind in _NUMBERS:
            dtype = dtypes[key] = np.dtype(_NUMBERS[kind])
            at = source.skip(dtype.itemsize, key)
            metadata[key] = np.frombuffer(source.pages, dtype, 1, at)[0].item()
        else:
            metadata[key] = _value(source, kind, key, _DEEPEST)
        if key == "general.alignment" and not (kind == _UINT32 and _is_alignment(metadata[key])):
            problem = f"must be a uint32 and {_ALIGNMENT}, got {metadata[key]!r}"
            raise source.error(f"{key} {problem}", begin)
    return metadata, dtypes


def _is_alignment(number: int) -> bool:
    return 0 < number <= _LARGEST_ALIGNMENT and number & (number - 1) == 0


def _value(source: _Source, kind: int, key: str, depth: int) -> Any:
    """A value that is no single number."""
    if kind == _STRING:
        return source.strings(1, key)[0]
    if kind == _BOOL:
        return source.pages[source.skip(1, key)] != 0
    if kind != _ARRAY:
        raise source.error(f"{key} has kind {kind}, which is none of GGUF's", source.offset - 4)
    begin, kind = source.offset, source.number(_U32, key)
    if kind in _NUMBERS or kind == _BOOL:
        dtype = np.dtype(_NUMBERS.get(kind, "u1"))
        count = source.count(dtype.itemsize, f"numbers of {key}")
        at = source.skip(count * dtype.itemsize, key)
        values = np.frombuffer(source.pages, dtype, count, at)
        return values != 0 if kind == _BOOL else values.copy()  # a copy is aligned
    if kind == _STRING:
        count = source.count(8, f"strings of {key}")
        if count > _MOST_STRINGS:
            raise source.error(f"{key} has {count} strings: firth reads {_MOST_STRINGS}", begin)
        return source.strings(count, key)
    if kind == _ARRAY:
        count = source.count(12, f"arrays of {key}")
        if depth == 1 or count > _MOST_STRINGS:
            raise source.error(f"{key} has arrays nested too deep, or too many", begin)
        return [_value(source, _ARRAY, key, depth - 1) for _ in range(count)]
    raise source.error(f"{key} is an array of kind {kind}, which is none of GGUF's", begin)


class _Entry(NamedTuple):
    """What the file says of an array; its sizes are known to agree."""

    begin: int  # begin and end first: entries are sorted, an empty array before what begins there
    end: int
    name: str
    number: int  # of its type
    shape: tuple[int, ...]


def _arrays(source: _Source, count: int, alignment: int) -> dict[str, NDArray[Any] | BlockArray]:
    entries: dict[str, _Entry] = {}
    for _ in range(count):
        at = source.offset
        entry = _entry(source, alignment)
        if entry.name in entries:
            raise source.error(f"array {entry.name!r} stands there twice", at)
        entries[entry.name] = entry
    data, end, last = -(-source.offset // alignment) * alignment, 0, ""
    for entry in sorted(entries.values()):
        if entry.begin < end:
            raise source.error(f"arrays {last!r} and {entry.name!r} overlap", data + entry.begin)
        if data + entry.end > source.size:
            raise TruncatedError(f"ends within array {entry.name!r}", source.path, source.size)
        end, last = entry.end, entry.name
    pages = np.frombuffer(source.pages, np.uint8)
    return {
        name: _shaped(pages[data + entry.begin : data + entry.end], entry)
        for name, entry in entries.items()
    }


def _entry(source: _Source, alignment: int) -> _Entry:
    name = source.text("the name of an array", _LONGEST_NAME)
    at, axes = source.offset, source.number(_U32, name)
    if not 1 <= axes <= 4:
        raise source.error(f"array {name!r} has {axes} axes: must be 1 to 4", at)
    at = source.offset
    shape = tuple(source.number(_U64, name) for _ in range(axes))[::-1]
    at_type, number = source.offset, source.number(_U32, name)
    at_offset, begin = source.offset, source.number(_U64, name)
    if number in _PLAIN or number == _BF16:
        block, width = 1, np.dtype(_PLAIN.get(number, "<u2")).itemsize
    elif number in TYPES:
        _, _, block, width = TYPES[number]
        if axes != 2:
            raise source.error(
                f"array {name!r} of {TYPES[number].name} has {axes} axes: firth reads blocks of "
                "matrices (no mixtures of experts)",
                at,
            )
    else:
        known = ", ".join(known.name for known in TYPES.values())
        of_type = f"type {_UNKNOWN.get(number, number)}"
        raise source.error(f"array {name!r} has {of_type}: firth reads {known}", at_type)
    if shape[-1] % block:
        raise source.error(f"array {name!r}: rows of {shape[-1]} are no blocks of {block}", at)
    # Empty arrays have sizes too: those that could be, so that products stay small.
    if math.prod(max(1, extent) for extent in shape) // block * width > source.size:
        raise TruncatedError(f"is too short for array {name!r} of shape {shape}", source.path, at)
    if begin % alignment:
        raise source.error(
            f"array {name!r} begins at {begin}, no multiple of {alignment}", at_offset
        )
    if begin > source.size:
        raise TruncatedError(f"ends before array {name!r}", source.path, at_offset)
    return _Entry(begin, begin + math.prod(shape) // block * width, name, number, shape)


def _shaped(flat: NDArray[np.uint8], entry: _Entry) -> NDArray[Any] | BlockArray:
    if entry.number in TYPES and entry.number not in _PLAIN and entry.number != _BF16:
        _, _, block, width = kind = TYPES[entry.number]
        rows, columns = entry.shape
        return BlockArray(flat.reshape(rows, columns // block * width), kind, entry.name)
    if entry.number == _BF16:
        dtype = np.dtype(needs("ml_dtypes", "gguf.read: bfloat16").bfloat16)
    else:
        dtype = np.dtype(_PLAIN[entry.number])
    array: NDArray[Any] = flat.view(dtype).reshape(entry.shape)
    if not array.flags.aligned:  # where general.alignment is less than an item
        array = array.copy()
        array.flags.writeable = False
    return array


# Writing: by ourselves, since the format is these lines, and the package gguf is not atomic and
# would be required.


def write(
    path: PathLike,
    metadata: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any] | Blocks],
) -> None:
    """Write a file, atomically: a failed or killed write leaves the old one.

    Parameters
    ----------
    path : path-like
    metadata : mapping of str to value
        As `read` gives it; an int is written as uint32 where it fits, else as int32 or a wider
        one, a float as float32, a number of NumPy as its dtype says.
    arrays : mapping of str to array of NumPy or `Blocks`
        float32, float16, bfloat16, float64 or signed integers, of 1 to 4 axes; blocks of any type.
        Their data is asked for one after the other.

    Raises
    ------
    TypeError
        A value or an array of a kind that the format does not know.
    ValueError
        A key, a name, the number of axes or the alignment is beyond the format.
    """
    alignment = int(metadata.get("general.alignment", 32))
    if not _is_alignment(alignment):
        raise ValueError(f"gguf.write: general.alignment must be {_ALIGNMENT}, got {alignment}")
    head = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(arrays), len(metadata)))
    for key, value in metadata.items():
        head += _text(key, _LONGEST_KEY)
        head += _packed(key, value)
    offset = 0
    for name, array in arrays.items():
        number, nbytes = _type_and_bytes(name, array)
        head += _text(name, _LONGEST_NAME) + _U32.pack(len(array.shape))
        head += b"".join(_U64.pack(extent) for extent in reversed(array.shape))
        head += _U32.pack(number) + _U64.pack(offset)
        offset += -(-nbytes // alignment) * alignment
    with atomic(path) as file:
        file.write(head + bytes(-len(head) % alignment))
        for array in arrays.values():
            data = np.ascontiguousarray(array if isinstance(array, np.ndarray) else array.data)
            if data.dtype.byteorder == ">":
                data = data.astype(data.dtype.newbyteorder("<"))
            file.write(data.reshape(-1).view(np.uint8).data)
            file.write(bytes(-data.nbytes % alignment))


def _text(text: str, most: int) -> bytes:
    raw = text.encode()
    if not 0 < len(raw) <= most:
        raise ValueError(f"gguf.write: {text!r} must have 1 to {most} bytes, got {len(raw)}")
    return _U64.pack(len(raw)) + raw


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return _U64.pack(len(raw)) + raw


def _packed(key: str, value: Any) -> bytes:
    """Kind and value of an entry."""
    if isinstance(value, bool | np.bool_):
        return _U32.pack(_BOOL) + bytes([bool(value)])
    if isinstance(value, str):
        return _U32.pack(_STRING) + _string(value)
    if isinstance(value, list | np.ndarray):
        return _U32.pack(_ARRAY) + _packed_array(key, value)
    number = value if isinstance(value, np.generic) else _number(value)
    kind = _KINDS.get(number.dtype)
    if kind is None:
        raise TypeError(f"gguf.write: {key!r} is {value!r:.80}, which GGUF has no kind for")
    raw: bytes = number.tobytes()
    return _U32.pack(kind) + raw


def _number(value: Any) -> Any:
    """A number of Python as the kind that llama.cpp expects of most keys."""
    if isinstance(value, float):
        return np.float32(value)
    if isinstance(value, int) and -(1 << 31) <= value < 1 << 32:
        return np.uint32(value) if value >= 0 else np.int32(value)
    return np.asarray(value)  # of 64 bits, or none of GGUF's kinds


def _packed_array(key: str, values: list[Any] | NDArray[Any]) -> bytes:
    """Kind, count and values of an array."""
    if isinstance(values, np.ndarray):
        dtype = values.dtype.newbyteorder("<")
        kind = _BOOL if dtype.kind == "b" else _KINDS.get(dtype)
        if kind is None or values.ndim != 1:
            raise TypeError(f"gguf.write: {key!r} is an array of {dtype}, shape {values.shape}")
        return _U32.pack(kind) + _U64.pack(len(values)) + values.astype(dtype).tobytes()
    if all(isinstance(value, str) for value in values):
        return _U32.pack(_STRING) + _U64.pack(len(values)) + b"".join(map(_string, values))
    if not all(isinstance(value, list | np.ndarray) for value in values):
        raise TypeError(f"gguf.write: {key!r} must be a list of str or an array of numbers")
    parts = b"".join(_packed_array(key, value) for value in values)
    return _U32.pack(_ARRAY) + _U64.pack(len(values)) + parts


def _type_and_bytes(name: str, array: NDArray[Any] | Blocks) -> tuple[int, int]:
    if not isinstance(array, np.ndarray):
        rows, columns = array.shape
        return array.type.number, rows * (columns // array.type.block) * array.type.bytes
    if not 1 <= array.ndim <= 4:
        raise ValueError(f"gguf.write: array {name!r} has {array.ndim} axes: must be 1 to 4")
    if array.dtype.name == "bfloat16":
        return _BF16, array.nbytes
    if array.dtype.newbyteorder("<") not in _TYPES:
        raise TypeError(f"gguf.write: array {name!r} has dtype {array.dtype}")
    return _TYPES[array.dtype.newbyteorder("<")], array.nbytes
