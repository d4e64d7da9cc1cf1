"""safetensors: named arrays behind a JSON header.

Layout, little-endian::

    uint64   length of the header
    header   JSON: {name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {...}}
    data     C order, begin and end counted from here; the arrays fill it without gap or overlap
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

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
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if len(start) < 8:
            raise TruncatedError("ends within its first 8 bytes", path, len(start))
        length = int.from_bytes(start, "little")
        if start[:1] == b"{" or length > 100_000_000:  # the format's own limit
            raise FormatError(f"is not a safetensors file: a header of {length} bytes", path, 0)
        if length > size - 8:
            raise TruncatedError(f"ends within its header of {length} bytes", path, size)
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            entries = sorted((_entry(name, entry) for name, entry in header.items()), key=_begin)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError(f"malformed header: {error}", path, 8) from None
        arrays, data = {}, 8 + length
        end = 0
        for name, dtype, shape, begin, stop in entries:
            if begin != end:
                raise FormatError(f"array {name!r} does not start where the last ends", path, 8)
            end = stop
            if end > size - data:
                raise TruncatedError(f"ends within array {name!r}", path, size)
            flat = np.fromfile(file, np.uint8, end - begin).view(dtype)
            try:
                arrays[name] = flat.reshape(shape)
            except ValueError as error:  # no bytes, but axes beyond what NumPy can count
                raise FormatError(f"array {name!r}: {error}", path, 8) from None
        if end != size - data:
            raise FormatError("goes on behind its last array", path, data + end)
    return arrays


def _entry(name: str, entry: Any) -> tuple[str, np.dtype[Any], tuple[int, ...], int, int]:
    """Name, dtype, shape, begin and end, of which the sizes are known to agree."""
    dtype, shape = _dtype(entry["dtype"]), entry["shape"]
    begin, end = entry["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError(f"{name!r} has sizes that are no counts")
    if end - begin != math.prod(shape) * dtype.itemsize or len(shape) > 32:
        raise ValueError(f"{name!r} of shape {shape} and {dtype} does not take {end - begin} bytes")
    return name, dtype, tuple(shape), begin, end


def _begin(entry: tuple[str, np.dtype[Any], tuple[int, ...], int, int]) -> tuple[int, int]:
    return entry[3:]  # an empty array comes before the one that starts at the same place


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
