"""Rows as bytes with a scale, for products of bytes. R = rows, n = numbers in each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel


class ByteRows(NamedTuple):
    """Rows (R, n) as `quantize_rows` makes them: ``x ~ offsets + scales * codes``.

    Attributes
    ----------
    codes : ndarray (R, n) uint8
    scales : ndarray (R,) float32
    offsets : ndarray (R,) float32
        The least number of each row.
    """

    codes: NDArray[np.uint8]
    """(R, n)"""
    scales: NDArray[np.float32]
    """(R,)"""
    offsets: NDArray[np.float32]
    """(R,): the least number of each row."""


class ByteWeights(NamedTuple):
    """Weights (R, n) as `quantize_weights` makes them: ``w ~ scales * codes``.

    Attributes
    ----------
    codes : ndarray (R, n) int8
        From -127 to 127.
    scales : ndarray (R,) float32
    sums : ndarray (R,) float32
        Of the codes of each row; exact up to 2^24.
    """

    codes: NDArray[np.int8]
    """(R, n), from -127 to 127"""
    scales: NDArray[np.float32]
    """(R,)"""
    sums: NDArray[np.float32]
    """(R,): of the codes of each row; exact up to 2^24."""


_LEAST = np.float32(2.0**-126)  # scales below it have no inverse


@kernel
def quantize_rows(x: Any) -> ByteRows:
    """Code each row as unsigned bytes between its least number and its greatest.

    Parameters
    ----------
    x : array_like, shape (R, n), float32

    Returns
    -------
    ByteRows
        (codes, scales, offsets). What a product of bytes makes of them: `matmul`, ``row_scales``.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape.

    Notes
    -----
    In float32, each operation rounded, so with the same bits on every backend::

        offset = min(x),  range = max(x) - offset,  scale = range / 255
        code   = nearest_even((x - offset) * (1 / scale))

    ``offset + scale * code`` is within scale / 2 (and the rounding of these operations) of x. A
    scale below 2^-126, that of a row that does not vary among them, is 0, and so are the codes. A
    row with NaN or inf, or whose range is beyond float32, has NaN as scale and offset, and codes 0:
    what is computed with it is NaN. No numbers (n = 0): scale and offset 0.
    """
    x = np.asarray(x, np.float32)
    low = x.min(axis=1) + np.float32(0) if x.shape[1] else np.zeros(len(x), np.float32)
    span = x.max(axis=1) - low if x.shape[1] else low
    scales, inverses = _scales(span / np.float32(255))
    codes = np.rint((x - low[:, None]) * inverses[:, None])
    broken = ~(np.isfinite(x).all(axis=1) & np.isfinite(span))
    scales[broken] = low[broken] = np.nan
    codes[broken] = 0
    return ByteRows(codes.astype(np.uint8), scales, low)


@kernel
def quantize_weights(w: Any) -> ByteWeights:
    """Code each row of weights as signed bytes around 0, with the sum of its codes.

    Parameters
    ----------
    w : array_like, shape (R, n), float32
        A row for each output of a linear layer, as PyTorch stores it.

    Returns
    -------
    ByteWeights
        (codes, scales, sums). The right operand of a product of bytes is ``pack(codes,
        transposed=True)``, with scales and sums as ``column_scales`` and ``column_sums``.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape.

    Notes
    -----
    In float32, each operation rounded, so with the same bits on every backend::

        scale = max|w| / 127,  code = nearest_even(w * (1 / scale))

    ``scale * code`` is within scale / 2 (and the rounding of these operations) of w. A scale below
    2^-126 is 0, and so are the codes. A row with NaN or inf has NaN as scale, and codes 0.
    """
    w = np.asarray(w, np.float32)
    scales, inverses = _scales(np.abs(w).max(axis=1, initial=0) / np.float32(127))
    codes = np.rint(w * inverses[:, None])
    broken = ~np.isfinite(w).all(axis=1)
    scales[broken] = np.nan
    codes[broken] = 0
    sums = codes.sum(axis=1, dtype=np.float64).astype(np.float32)
    return ByteWeights(codes.astype(np.int8), scales, sums)


def _scales(scales: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The scales, and 1 / them, both 0 where that would not be a normal number."""
    scales = np.where(scales < _LEAST, np.float32(0), scales)
    return scales, np.where(scales > 0, np.float32(1) / scales, np.float32(0))


def _rows(function: str, name: str, value: Any) -> NDArray[np.float32]:
    array = _arrays.numbers(function, name, value, "float32")
    if array.ndim != 2:
        raise ValueError(f"{function}: {name} must have 2 axes, got shape {array.shape}")
    return _arrays.rows(array, array.shape[:1])


@quantize_rows.prepare
def _(x: Any) -> tuple[Any, ...]:
    x = _rows("quantize_rows", "x", x)
    scales, offsets = np.empty((2, len(x)), np.float32)
    result = ByteRows(np.empty(x.shape, np.uint8), scales, offsets)
    return result, x, *result


@quantize_weights.prepare
def _(w: Any) -> tuple[Any, ...]:
    w = _rows("quantize_weights", "w", w)
    scales, sums = np.empty((2, len(w)), np.float32)
    result = ByteWeights(np.empty(w.shape, np.int8), scales, sums)
    return result, w, *result


@quantize_rows.for_numba
@quantize_weights.for_numba
def _(x: Any, codes: Any, scales: Any, others: Any) -> tuple[Any, ...]:
    return np.array(x, order="C"), codes, scales, others


@quantize_rows.numba
def _(x: Any, codes: Any, scales: Any, offsets: Any) -> None:
    # x: (R, n). float32 throughout: a constant of Python's would make float64 of it.
    zero = np.float32(0)
    for r in range(x.shape[0]):
        low = high = x[r, 0] if x.shape[1] else zero
        finite = True
        for i in range(x.shape[1]):
            low, high = min(low, x[r, i]), max(high, x[r, i])
            finite &= np.isfinite(x[r, i])
        low += zero
        scale = (high - low) / np.float32(255)
        if not (finite and np.isfinite(scale)):
            scales[r] = offsets[r] = np.nan
            codes[r] = 0
            continue
        if scale < np.float32(2.0**-126):
            scale = zero
        inverse = np.float32(1) / scale if scale > 0 else zero
        scales[r], offsets[r] = scale, low
        for i in range(x.shape[1]):
            codes[r, i] = np.uint8(np.rint((x[r, i] - low) * inverse))


@quantize_weights.numba
def _(w: Any, codes: Any, scales: Any, sums: Any) -> None:
    # As above.
    zero = np.float32(0)
    for r in range(w.shape[0]):
        most, finite, total = zero, True, 0
        for i in range(w.shape[1]):
            most = max(most, abs(w[r, i]))
            finite &= np.isfinite(w[r, i])
        scale = most / np.float32(127)
        if not finite:
            scales[r], sums[r] = np.nan, zero
            codes[r] = 0
            continue
        if scale < np.float32(2.0**-126):
            scale = zero
        inverse = np.float32(1) / scale if scale > 0 else zero
        for i in range(w.shape[1]):
            code = int(np.rint(w[r, i] * inverse))
            codes[r, i] = code
            total += code
        scales[r], sums[r] = scale, total


@quantize_rows.native
def _(level: _native.Level, x: Any, codes: Any, scales: Any, offsets: Any) -> None:
    _native.kernels.quantize_rows(level, x, codes, scales, offsets)


@quantize_weights.native
def _(level: _native.Level, w: Any, codes: Any, scales: Any, sums: Any) -> None:
    _native.kernels.quantize_weights(level, w, codes, scales, sums)
