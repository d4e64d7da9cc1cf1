"""NumPy's .npy files, with the size in their header checked against the file."""

from __future__ import annotations

import math
import os
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from firth.errors import FormatError, TruncatedError
from firth.formats.files import PathLike


def read(path: PathLike, *, mmap: Literal["r", "c"] | None = None) -> NDArray[Any]:
    """Read, or map, an array of numbers, which has the machine's byte order.

    An array of the other order is read, not mapped. FormatError for a file that is not valid or
    holds objects; TruncatedError for one that is shorter than its header says.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        try:
            version = npy.read_magic(file)
            one = version == (1, 0)
            shape, _, dtype = (npy.read_array_header_1_0 if one else npy.read_array_header_2_0)(
                file
            )
            needed = file.tell() + math.prod(shape) * dtype.itemsize
        except Exception as error:  # a damaged header fails in any way
            raise FormatError(f"is not a .npy file: {error}", path, 0) from None
        if dtype.kind not in "biuf" or min(shape, default=0) < 0:
            raise FormatError(f"holds {dtype} of shape {shape}, wanted numbers", path, 0)
        if needed > size:
            raise TruncatedError(f"is too short for {dtype} of shape {shape}", path, size)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode=mmap, allow_pickle=False)
    except (ValueError, OverflowError) as error:  # no bytes, but more rows than an array can have
        raise FormatError(f"holds {dtype} of shape {shape}: {error}", path, 0) from None
    return native(array)


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or a copy in the machine's byte order."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)
