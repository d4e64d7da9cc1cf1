"""safetensors: named arrays behind a JSON header.

Layout, little-endian::

    uint64   length of the header
    header   JSON: {name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {...}}
    data     C order, begin and end counted from here; the arrays fill it without gap or overlap
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError, TruncatedError
from firth.formats.files import PathLike, atomic
from firth.optional import needs

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "|b1"}
_DTYPES |= {f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}


def _dtype(name: Any) -> Any:
    if name == "BF16":
        return np.dtype(needs("ml_dtypes", "safetensors.read: bfloat16").bfloat16)
    if name not in _DTYPES:
        raise ValueError(f"dtype {name!r} is not supported")
    return np.dtype(_DTYPES[name])


def read(path: PathLike) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name, read into memory.

    Raises
    ------
    FormatError
        The file is malformed; ``TruncatedError``, which is also an EOFError, where it ends too
        early.
    ImportError
        An array is bfloat16 and ml_dtypes is not installed.
    """
    with open(path, "rb") as file:
        entries, _ = _header(file, path)
        return {
            entry.name: _shaped(np.fromfile(file, np.uint8, entry.end - entry.begin), entry, path)
            for entry in entries
        }


def mapped(path: PathLike) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name, read-only: its pages, which are read when they are touched.

    Nothing is copied but arrays that are not aligned to their items, which no common writer makes.
    The file must not be shortened while an array lives.

    Raises
    ------
    FormatError, ImportError
        As `read`.
    """
    with open(path, "rb") as file:
        entries, data = _header(file, path)
        pages = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    arrays = {}
    for entry in entries:
        array = _shaped(pages[data + entry.begin : data + entry.end], entry, path)
        if not array.flags.aligned:
            array = array.copy()
            array.flags.writeable = False
        arrays[entry.name] = array
    return arrays


class _Entry(NamedTuple):
    """An array in the header, of which the sizes are known to agree."""

    begin: int  # begin and end first: entries are sorted, an empty array before what begins there
    end: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def _header(file: BinaryIO, path: PathLike) -> tuple[list[_Entry], int]:
    """The entries in the order of their bytes, all within the file, and where the data begins."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if len(start) < 8:
        raise TruncatedError("ends within its first 8 bytes", path, len(start))
    length = int.from_bytes(start, "little")
    if start == b"version ":
        raise FormatError("is a pointer of Git LFS, not the file: `git lfs pull` fetches it", path)
    if start[:1] == b"{" or length > 100_000_000:  # the format's own limit
        raise FormatError(f"is not a safetensors file: a header of {length} bytes", path, 0)
    if length > size - 8:
        raise TruncatedError(f"ends within its header of {length} bytes", path, size)
    try:
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        entries = sorted(_entry(name, entry) for name, entry in header.items())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError(f"malformed header: {error}", path, 8) from None
    data, end = 8 + length, 0
    for entry in entries:
        if entry.begin != end:
            raise FormatError(f"array {entry.name!r} does not start where the last ends", path, 8)
        end = entry.end
        if end > size - data:
            raise TruncatedError(f"ends within array {entry.name!r}", path, size)
    if end != size - data:
        raise FormatError("goes on behind its last array", path, data + end)
    return entries, data


def _shaped(flat: NDArray[np.uint8], entry: _Entry, path: PathLike) -> NDArray[Any]:
    try:
        return flat.view(entry.dtype).reshape(entry.shape)
    except ValueError as error:  # no bytes, but axes beyond what NumPy can count
        raise FormatError(f"array {entry.name!r}: {error}", path, 8) from None


def _entry(name: str, entry: Any) -> _Entry:
    dtype, shape = _dtype(entry["dtype"]), entry["shape"]
    begin, end = entry["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError(f"{name!r} has sizes that are no counts")
    if end - begin != math.prod(shape) * dtype.itemsize or len(shape) > 32:
        raise ValueError(f"{name!r} of shape {shape} and {dtype} does not take {end - begin} bytes")
    return _Entry(begin, end, name, dtype, tuple(shape))


def write(path: PathLike, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays, atomically: a failed or killed write leaves the old file.

    Raises
    ------
    TypeError
        An array of a dtype that the format does not know.
    """
    header, parts, end = {}, [], 0
    # The widest first, so that each is aligned to its item size.
    for name, value in sorted(arrays.items(), key=lambda item: -item[1].itemsize):
        array = np.asarray(value, order="C")
        if array.dtype.name == "bfloat16":
            dtype = "BF16"
        else:
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            if array.dtype not in _NAMES:
                raise TypeError(f"write: array {name!r} has dtype {array.dtype}")
            dtype = _NAMES[array.dtype]
        offsets = [end, end := end + array.nbytes]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": offsets}
        parts.append(array)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in parts:
            file.write(array.view(np.uint8).data if array.dtype.name == "bfloat16" else array.data)
