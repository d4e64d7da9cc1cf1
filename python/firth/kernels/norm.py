"""Rows brought to a common size: layer_norm and rms_norm. n = length of the last axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel


@kernel
def layer_norm(
    x: Any,
    gain: Any = None,
    bias: Any = None,
    *,
    eps: float = 1e-5,
    out: NDArray[Any] | None = None,
) -> Any:
    """Rows with mean 0 and variance 1: ``(x - mean) / sqrt(variance + eps) * gain + bias``.

    Parameters
    ----------
    x : array_like, shape (..., n), float32 or float64
        Each row along the last axis on its own. Python lists count as float64.
    gain, bias : array_like, shape (n,), dtype of `x`, optional
    eps : float, at least 0
        Rounded to the dtype of `x`.
    out : ndarray, shape and dtype of `x`, optional
        Receives the result; may be `x` itself, or overlap any argument.

    Returns
    -------
    ndarray of the shape and dtype of `x`; ``out`` itself where it was given.

    Raises
    ------
    TypeError
        A dtype other than float32 and float64, or different ones; ``eps`` is no real number.
    ValueError
        `x` has no axis, `gain`, `bias` or `out` does not fit, ``eps`` is negative or not finite.

    Notes
    -----
    As ``torch.nn.functional.layer_norm`` over one axis (Ba et al., arXiv:1607.06450): the variance
    is the mean of ``(x - mean)^2``, of differences and not of squares, so a mean that is large
    beside the deviation costs no more digits than `x` itself has lost. Sums are made in the dtype
    of `x`, in an order that depends on n and the ISA level only: a row has the same bits in any
    batch. With k = n eps' (eps' that of the dtype) the mean errs by at most k mean|x|, and the
    result by that in units of the deviation, and by k of itself.

    Nothing is done against overflow: differences beyond about 1e19 have squares beyond float32,
    and give 0. NaN and inf make a row NaN. A row that does not vary has the result 0, or, where
    ``eps`` is below the square of its mean's rounding, that rounding as its deviation.
    """
    x = np.asarray(x)
    n = x.shape[-1]
    rest = x - x.sum(-1, keepdims=True) / n
    variance = (rest * rest).sum(-1, keepdims=True) / n
    result = rest / np.sqrt(variance + x.dtype.type(eps))
    if gain is not None:
        result = result * np.asarray(gain)
    if bias is not None:
        result = result + np.asarray(bias)
    return _arrays.deliver(result, out)


@kernel
def rms_norm(
    x: Any, gain: Any = None, *, eps: float = 1e-6, out: NDArray[Any] | None = None
) -> Any:
    """Rows with a mean square of 1: ``x / sqrt(mean(x^2) + eps) * gain``.

    Parameters
    ----------
    x : array_like, shape (..., n), float32 or float64
        Each row along the last axis on its own. Python lists count as float64.
    gain : array_like, shape (n,), dtype of `x`, optional
    eps : float, at least 0
        Rounded to the dtype of `x`.
    out : ndarray, shape and dtype of `x`, optional
        Receives the result; may be `x` itself, or overlap any argument.

    Returns
    -------
    ndarray of the shape and dtype of `x`; ``out`` itself where it was given.

    Raises
    ------
    TypeError, ValueError
        As `layer_norm`.

    Notes
    -----
    As ``torch.nn.functional.rms_norm`` over one axis (Zhang and Sennrich, arXiv:1910.07467). The
    result errs by at most n eps' of itself, eps' that of the dtype; the order of sums is as for
    `layer_norm`. Nothing is done against overflow: numbers beyond about 1e19 have squares beyond
    float32, and give 0. NaN makes a row NaN; inf becomes NaN, and what is finite beside it 0.
    """
    x = np.asarray(x)
    square = (x * x).sum(-1, keepdims=True) / x.shape[-1]
    result = x / np.sqrt(square + x.dtype.type(eps))
    if gain is not None:
        result = result * np.asarray(gain)
    return _arrays.deliver(result, out)


def _prepare(
    function: str, x: Any, eps: float, out: NDArray[Any] | None, **columns: Any
) -> tuple[Any, ...]:
    """The result; then x as rows, the columns (gain, bias), eps, and the result as rows."""
    given = {name: value for name, value in columns.items() if value is not None}
    x, *arrays = _arrays.floating(function, x=x, **given)
    if x.ndim == 0:
        raise ValueError(f"{function}: x must have an axis, got shape ()")
    for name, array in zip(given, arrays, strict=True):
        if array.shape != x.shape[-1:]:
            raise ValueError(
                f"{function}: {name} must have shape {x.shape[-1:]}, got {array.shape}"
            )
    eps = _arrays.factor(function, "eps", eps, x.dtype)
    if eps < 0:
        raise ValueError(f"{function}: eps must be at least 0, got {eps}")
    result, filled = _arrays.row_output(function, out, x.shape, x.dtype, x, *arrays)
    packed = dict(zip(given, map(np.ascontiguousarray, arrays), strict=True))
    factors = (packed.get(name) for name in columns)
    return result, _arrays.rows(x, x.shape[:-1]), *factors, eps, filled


@layer_norm.prepare
def _(
    x: Any,
    gain: Any = None,
    bias: Any = None,
    *,
    eps: float = 1e-5,
    out: NDArray[Any] | None = None,
) -> tuple[Any, ...]:
    return _prepare("layer_norm", x, eps, out, gain=gain, bias=bias)


@rms_norm.prepare
def _(
    x: Any, gain: Any = None, *, eps: float = 1e-6, out: NDArray[Any] | None = None
) -> tuple[Any, ...]:
    return _prepare("rms_norm", x, eps, out, gain=gain)


@layer_norm.for_numba
def _(x: Any, gain: Any, bias: Any, eps: float, out: Any) -> tuple[Any, ...]:
    gain = np.ones(x.shape[1], x.dtype) if gain is None else gain
    bias = np.full(x.shape[1], -0.0, x.dtype) if bias is None else bias  # y + -0.0 is y
    return np.array(x, order="C"), gain, bias, x.dtype.type(eps), out


@layer_norm.numba
def _(x: Any, gain: Any, bias: Any, eps: Any, out: Any) -> None:
    # x, out: (R, n); gain, bias: (n,). Everything in the dtype of x; np.divide, since Python's
    # division raises by 0.
    n = x.shape[1]
    for r in range(x.shape[0] if n else 0):
        mean = square = x.dtype.type(0)
        for i in range(n):
            mean += x[r, i]
        mean /= x.dtype.type(n)
        for i in range(n):
            square += (x[r, i] - mean) * (x[r, i] - mean)
        factor = np.divide(x.dtype.type(1), np.sqrt(square / x.dtype.type(n) + eps))
        for i in range(n):
            out[r, i] = (x[r, i] - mean) * factor * gain[i] + bias[i]


@rms_norm.for_numba
def _(x: Any, gain: Any, eps: float, out: Any) -> tuple[Any, ...]:
    gain = np.ones(x.shape[1], x.dtype) if gain is None else gain
    return np.array(x, order="C"), gain, x.dtype.type(eps), out


@rms_norm.numba
def _(x: Any, gain: Any, eps: Any, out: Any) -> None:
    # As above.
    n = x.shape[1]
    for r in range(x.shape[0] if n else 0):
        square = x.dtype.type(0)
        for i in range(n):
            square += x[r, i] * x[r, i]
        factor = np.divide(x.dtype.type(1), np.sqrt(square / x.dtype.type(n) + eps))
        for i in range(n):
            out[r, i] = x[r, i] * factor * gain[i]


@layer_norm.native
def _(level: _native.Level, x: Any, gain: Any, bias: Any, eps: float, out: Any) -> None:
    _native.kernels.layer_norm(level, x, gain, bias, eps, out)


@rms_norm.native
def _(level: _native.Level, x: Any, gain: Any, eps: float, out: Any) -> None:
    _native.kernels.rms_norm(level, x, gain, eps, out)
