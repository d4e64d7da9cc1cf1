"""Checks of kernels' arguments; errors name the function and the argument.

Numbers: an array is used without conversion or refused. A silent copy of a large array, or loss of
precision, would be worse than the error, which says how to convert. Lists, tuples and Python
numbers have no dtype: they take that of the arrays beside them, else float64 where the kernel knows
it and float32 where it does not. A factor as ``scale`` is a finite real number (`factor`).

Indices: copied, and the copy is checked and used, so another thread that writes to the caller's
array meanwhile cannot send a kernel out of bounds.
"""

from __future__ import annotations

import math
import numbers as numbers_of_python
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from firth.arguments import shortened

_FLOATING = {np.dtype(np.float32), np.dtype(np.float64)}


def numbers(function: str, name: str, value: Any, *dtypes: str) -> NDArray[Any]:
    """`value` as an array of one of ``dtypes``, in native byte order; lists as the first of them.

    TypeError where it is an array of another dtype, or does not hold numbers.
    """
    if type(value) is np.ndarray:  # the usual case: dtype.name takes microseconds
        dtype = value.dtype
        if dtype.type.__name__ in dtypes and dtype.isnative:
            return value
    if _torch_bfloat16(value):
        bits = f", or its bits, {name}.view(torch.uint16)" if "uint16" in dtypes else ""
        raise TypeError(
            f"{function}: {name} must be {_either(dtypes)}, got {value.dtype}: "
            f"pass {name}.float(){bits}"
        )
    if not _untyped(value):
        array = np.asarray(value)
        if array.dtype.name in dtypes and array.dtype.isnative:
            return array
        curable = array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"
        cure = f": pass {name}.astype(np.{dtypes[0]})" if curable else ""
        raise TypeError(
            f"{function}: {name} must be {_either(dtypes)} in native byte order, "
            f"got {array.dtype}{cure}"
        )
    try:
        array = np.asarray(value)
        if array.dtype.name in dtypes:
            return array
        if array.dtype.kind not in "biuf":
            raise TypeError(f"its dtype is {array.dtype}")
        with np.errstate(over="ignore"):  # beyond float32: inf
            return array.astype(dtypes[0])
    except (TypeError, ValueError, OverflowError) as error:  # ragged lists, strings, huge integers
        raise TypeError(f"{function}: {name} must hold numbers: {error}") from None


def floating(function: str, **arrays: Any) -> list[NDArray[Any]]:
    """Arrays of one common dtype, float32 or float64; TypeError where there is none."""
    given = list(arrays.values())
    if {type(array) for array in given} == {np.ndarray}:
        dtypes = {array.dtype for array in given}
        if len(dtypes) == 1 and dtypes <= _FLOATING:
            return given  # as most calls are
    typed = {
        name: numbers(function, name, value, "float32", "float64")
        for name, value in arrays.items()
        if not _untyped(value)
    }
    dtypes = {array.dtype.name for array in typed.values()} or {"float64"}
    if len(dtypes) > 1:
        got = ", ".join(f"{name} {array.dtype}" for name, array in typed.items())
        raise TypeError(f"{function}: arguments must have one dtype, got {got}")
    return [
        typed[name] if name in typed else numbers(function, name, value, *dtypes)
        for name, value in arrays.items()
    ]


def factor(function: str, name: str, value: Any, dtype: DTypeLike) -> float:
    """`value` as a float; TypeError where it is no real number, ValueError where not finite."""
    real = isinstance(value, numbers_of_python.Real)
    if not (real and abs(value) <= float(np.finfo(dtype).max)):
        wanted = f"finite in {np.dtype(dtype)}" if real else "a finite real number"
        kind = ValueError if real else TypeError
        raise kind(f"{function}: {name} must be {wanted}, got {shortened(value)}")
    return float(value)


def indices(
    function: str, name: str, value: Any, low: int, end: int, dtype: DTypeLike = np.int64
) -> NDArray[Any]:
    """A contiguous copy of integers in [low, end), of the same shape.

    TypeError for another dtype (of an empty array any will do), IndexError for an index out of
    range.
    """
    array = np.array(value)
    if array.size == 0:
        return np.empty(array.shape, dtype)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{function}: {name} must be integers, got {array.dtype}")
    if not (low <= array.min() and array.max() < end):
        bad = array[(array < low) | (array >= end)].flat[0]
        raise IndexError(f"{function}: {name} must be in [{low}, {end}), got {bad}")
    return np.ascontiguousarray(array, dtype)


def updated(function: str, name: str, value: Any) -> NDArray[np.float32]:
    """`value` itself, where a kernel may update it in place: float32, writeable and aligned."""
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{function}: {name} must be a float32 array, which is updated in place, "
            f"got {type(value).__name__}"
        )
    array = numbers(function, name, value, "float32")
    if not array.flags.writeable or not array.flags.aligned:
        raise ValueError(f"{function}: {name} must be writeable and aligned")
    return array


def readable(value: Any) -> Any:
    """`value` where numbers are converted anyway, with torch's bfloat16 as float32, which is exact.

    NumPy cannot read that dtype; a tensor of it may also be an element of a list.
    """
    if _torch_bfloat16(value):
        return value.float()
    if isinstance(value, (list, tuple)) and value and _torch_bfloat16(value[0]):
        return [readable(one) for one in value]
    return value


def _torch_bfloat16(value: Any) -> bool:
    return str(getattr(value, "dtype", None)) == "torch.bfloat16"


def _untyped(value: Any) -> bool:
    return isinstance(value, (list, tuple, float, int)) and not isinstance(value, np.generic)


def _either(dtypes: tuple[str, ...]) -> str:
    *some, last = dtypes
    return f"{', '.join(some)} or {last}" if some else last


def output(function: str, out: Any, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """`out` checked against shape and dtype and writeable, or a new array where it is None."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{function}: out must be a NumPy array, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"{function}: out must have shape {shape} and dtype {np.dtype(dtype)}, "
            f"got {out.shape} and {out.dtype}"
        )
    if not out.flags.writeable:
        raise ValueError(f"{function}: out is read-only")
    return out


def row_output(
    function: str, out: Any, shape: tuple[int, ...], dtype: DTypeLike, *reads: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`output` for a kernel that goes row by row, and the same seen as rows (R, N).

    A new array where ``out`` is not contiguous, or overlaps one of ``reads`` and is not exactly it:
    what is written could be read later.
    """
    result = output(function, out, shape, dtype)

    def exactly(x: NDArray[Any]) -> bool:
        place = x.ctypes.data, x.strides, x.dtype
        return place == (result.ctypes.data, result.strides, result.dtype)

    safe = all(exactly(x) or not np.may_share_memory(result, x) for x in reads)
    if not (safe and result.flags.c_contiguous and result.flags.aligned):
        result = np.empty(shape, dtype)
    return result, result.reshape(math.prod(shape[:-1]), *(shape[-1:] or (1,)))


def deliver(result: Any, out: NDArray[Any] | None) -> Any:
    """What a kernel returns: ``out``, filled, if given, else the result (0-d as a scalar)."""
    if out is None:
        return result[()] if isinstance(result, np.ndarray) and result.ndim == 0 else result
    if result is not out:
        out[...] = result
    return out


def rows(array: NDArray[Any], lead: tuple[int, ...]) -> NDArray[Any]:
    """`array` (..., N) broadcast to (*lead, N) and seen as rows (R, N), each of them contiguous.

    A view where the layout allows it; else a copy.
    """
    n = array.shape[-1]
    contiguous = n < 2 or array.strides[-1] == array.itemsize
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    if not (contiguous and whole and array.flags.aligned):
        array = np.array(array, order="C")
    if array.shape[:-1] != lead:
        array = np.broadcast_to(array, (*lead, n))
    return array.reshape(math.prod(lead), n)


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name for users of a dtype of which uint16 holds the bits of bfloat16."""
    return "bfloat16" if dtype == np.uint16 else dtype.name


def bfloat16_bits(array: NDArray[Any]) -> NDArray[Any]:
    """The uint16 view of an ``ml_dtypes.bfloat16`` array; every other array unchanged."""
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def widen_bfloat16(array: NDArray[Any]) -> NDArray[Any]:
    """float32 values of an array of bfloat16 bits (uint16); every other array unchanged."""
    if array.dtype != np.uint16:
        return array
    return (array.astype(np.uint32) << 16).view(np.float32)


def narrow_bfloat16(array: NDArray[Any]) -> NDArray[np.uint16]:
    """bfloat16 bits (uint16) of floats, rounded to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(array), (bits >> 16).astype(np.uint16) | np.uint16(0x40), rounded)


def matrix(array: NDArray[Any]) -> NDArray[Any]:
    """`array` (R, C) with contiguous rows or contiguous columns: itself, or a copy."""
    row_major = array.shape[1] < 2 or array.strides[1] == array.itemsize
    column_major = array.shape[0] < 2 or array.strides[0] == array.itemsize
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    if (row_major or column_major) and whole and array.flags.aligned:
        return array
    return np.array(array, order="C")


def to_int8(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Values (..., D) as integers of -127 to 127 times a scale for each row (...,).

    The error of a number is at most half the scale, which is the largest magnitude / 127.
    ValueError for NaN and inf, which cannot be represented.
    """
    if not np.isfinite(values).all():
        raise ValueError("vectors stored as int8 must be finite")
    largest = np.abs(values).max(axis=-1, initial=0)
    scales = np.asarray(largest / np.float32(127), np.float32)
    divisors = np.where(scales == 0, np.float32(1), scales)[..., None]
    # A denormal scale is coarse, so that a quotient may leave the range.
    return np.rint(np.clip(values / divisors, -127, 127)).astype(np.int8), scales
