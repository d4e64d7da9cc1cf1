"""Checks of array arguments that several kernels share; errors name the function and argument."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def floating(function: str, **arrays: Any) -> list[NDArray[Any]]:
    """Arrays of one common dtype, float32 or float64, in native byte order.

    Raises TypeError where an argument has another dtype or the dtypes differ. Nothing is converted:
    a silent copy of a large array, or a silent loss of precision, would be worse than the error.
    """
    checked = []
    dtypes = set()
    for name, value in arrays.items():
        array = np.asarray(value)
        if isinstance(value, (list, tuple, float, int)):
            array = array.astype(np.float64)
        if array.dtype not in (np.float32, np.float64) or not array.dtype.isnative:
            raise TypeError(
                f"{function}: {name} must be float32 or float64 in native byte order, "
                f"got {array.dtype}"
            )
        checked.append(array)
        dtypes.add(array.dtype)
    if len(dtypes) > 1:
        got = ", ".join(
            f"{name} {array.dtype}" for name, array in zip(arrays, checked, strict=True)
        )
        raise TypeError(f"{function}: arguments must have one dtype, got {got}")
    return checked


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


def deliver(result: Any, out: NDArray[Any] | None) -> Any:
    """What the caller gets: ``out`` filled if there is one, else the result (0-d as a scalar)."""
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
    return np.broadcast_to(array, (*lead, n)).reshape(math.prod(lead), n)


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
