"""Softmax and its logarithm along one axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import differentiable, kernel


@kernel
def softmax_backward(
    gradient: ArrayLike, y: ArrayLike, axis: int = -1, *, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Gradient of a loss by the argument of `softmax`: ``y * (gradient - sum(gradient * y))``.

    Parameters
    ----------
    gradient : array_like, any shape of at least one axis, float32 or float64
        The gradient of the loss by ``y``.
    y : array_like, shape and dtype of `gradient`
        The result of `softmax`.
    axis : int
        The axis of the forward pass. Read in place where it is the last and contiguous.
    out : ndarray, shape and dtype of `gradient`, optional
        Receives the result; may be `gradient` or `y` itself, or overlap them.

    Returns
    -------
    ndarray of the shape and dtype of `gradient`; `out` itself where it was given.

    Raises
    ------
    TypeError
        A dtype other than float32 and float64, or different ones.
    numpy.exceptions.AxisError
        There is no such axis (a ValueError).
    ValueError
        Shapes differ, or `out` does not fit.

    Notes
    -----
    The sum of n products errs by at most n eps sum(|gradient * y|). A slice does not depend on
    other slices. NaN and inf propagate within their slice.
    """
    gradient, y = np.asarray(gradient), np.asarray(y)
    total = (gradient * y).sum(axis, keepdims=True)
    delivered: NDArray[Any] = _arrays.deliver(y * gradient - y * total, out)
    return delivered


@kernel
def log_softmax_backward(
    gradient: ArrayLike, y: ArrayLike, axis: int = -1, *, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Gradient of a loss by the argument of `log_softmax`: ``gradient - exp(y) sum(gradient)``.

    Parameters, results, errors and notes are those of `softmax_backward`, with ``y`` the result of
    `log_softmax`. Where exp(y) is below the least normal number it counts as 0.
    """
    gradient, y = np.asarray(gradient), np.asarray(y)
    total = gradient.sum(axis, keepdims=True)
    delivered: NDArray[Any] = _arrays.deliver(gradient - np.exp(y) * total, out)
    return delivered


@differentiable(softmax_backward)
def softmax(x: ArrayLike, axis: int = -1, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Softmax along one axis: ``exp(x) / sum(exp(x))``, computed so that nothing overflows.

    Parameters
    ----------
    x : array_like, any shape of at least one axis, float32 or float64
        Any strides; read in place where `out` has the same order of axes in memory. Python lists
        count as float64.
    axis : int
        The axis whose slices sum to 1.
    out : ndarray, shape and dtype of `x`, optional
        Receives the result; may be `x` itself, or overlap it.

    Returns
    -------
    ndarray of the shape and dtype of `x` (and of its memory order, where it is new); `out` itself
    where it was given.

    Raises
    ------
    TypeError
        A dtype other than float32 and float64.
    numpy.exceptions.AxisError
        `x` has no such axis (a ValueError).
    ValueError
        `out` does not fit.

    Notes
    -----
    The native kernel errs by at most 8 ULP, whatever the distance to the maximum: it shifts
    exponents instead of rounding ``x - max``. Results that are denormal are kept. The Numba version
    computes in float64. The NumPy reference (and Numba's for float64) rounds ``x - max``, which
    adds about ``|x - max|`` units, and its sum up to one for each element.

    A slice that holds NaN or +inf, or nothing but -inf, is NaN; -inf beside a finite number is 0;
    an empty axis gives an empty result. Source of the method: Dukhan and Ablavatski, "Two-Pass
    Softmax Algorithm" (2020), whose representation the native kernel uses.
    """
    x = np.asarray(x)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf, max - (-max)
        terms = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
        delivered: NDArray[Any] = _arrays.deliver(terms / terms.sum(axis, keepdims=True), out)
        return delivered


@differentiable(log_softmax_backward)
def log_softmax(x: ArrayLike, axis: int = -1, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Logarithm of `softmax` along one axis: ``x - log(sum(exp(x)))``, without overflow.

    Parameters
    ----------
    x : array_like, any shape of at least one axis, float32 or float64
        As for `softmax`.
    axis : int
        The axis over which the exponentials are summed.
    out : ndarray, shape and dtype of `x`, optional
        Receives the result; may be `x` itself, or overlap it.

    Returns
    -------
    ndarray of the shape and dtype of `x` (and of its memory order, where it is new); `out` itself
    where it was given.

    Raises
    ------
    TypeError
        A dtype other than float32 and float64.
    numpy.exceptions.AxisError
        `x` has no such axis (a ValueError).
    ValueError
        `out` does not fit.

    Notes
    -----
    The native kernel errs by at most 8 ULP of the result, or of 1 where the result is closer to 0
    (log(1 + tiny) is only as good as 1 + tiny). NaN, inf and empty axes as for `softmax`, except
    that -inf beside a finite number stays -inf.
    """
    x = np.asarray(x)
    # inf - inf, max - (-max), the sum of nothing
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        shifted = x - x.max(axis, keepdims=True, initial=-np.inf)
        result = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
        delivered: NDArray[Any] = _arrays.deliver(result, out)
        return delivered


def _prepare(
    function: str, x: Any, axis: int, out: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The result, and views of x and the result as (outer, n, columns), `axis` in the middle."""
    (x,) = _arrays.floating(function, x=x)
    axis = normalize_axis_index(axis, x.ndim, function)
    result = np.empty_like(x) if out is None else _arrays.output(function, out, x.shape, x.dtype)
    if out is not None:
        same = x.ctypes.data == out.ctypes.data and x.strides == out.strides
        if not out.flags.aligned or (not same and np.may_share_memory(x, out)):
            result = np.empty_like(x)
    views = _views(x, result, axis) if x.flags.aligned else None
    if views is None:
        # The layouts do not fit together, or neither `axis` nor another one is contiguous: then
        # work in place on the result, or on a new array that is delivered to it.
        if _views(result, result, axis) is None:
            result = np.empty(x.shape, x.dtype)
        np.copyto(result, x)
        views = _views(result, result, axis)
        assert views is not None
    return result, *views


def _views(
    x: NDArray[Any], out: NDArray[Any], axis: int
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Views of x and out as (outer, n, columns) with `axis` in the middle, or None.

    Either columns = 1 and out is contiguous along `axis`, or x and out are along the columns.
    """
    if x.size == 0:
        return x.reshape(0, 1, 1), out.reshape(0, 1, 1)
    n, item = x.shape[axis], x.itemsize
    others = [i for i in range(x.ndim) if i != axis and x.shape[i] > 1]
    others.sort(key=lambda i: -abs(out.strides[i]))
    groups: list[tuple[list[int], int, tuple[int, int]]] = []  # axes that fold: size, strides
    for i in others:
        axes, size, strides = [i], x.shape[i], (x.strides[i], out.strides[i])
        if groups and groups[-1][2] == (size * strides[0], size * strides[1]):
            outer_axes, outer_size, _ = groups.pop()
            axes, size = outer_axes + axes, outer_size * size
        groups.append((axes, size, strides))
    columns_axes: list[int] = []
    columns = 1
    if n == 1 or out.strides[axis] != item:
        if groups and groups[-1][2] == (item, item):
            columns_axes, columns, _ = groups.pop()
        elif n > 1:
            return None
    if len(groups) > 1:
        return None
    outer_axes, outer = groups[0][:2] if groups else ([], 1)
    ones = [i for i in range(x.ndim) if i != axis and x.shape[i] == 1]
    order, shape = (*ones, *outer_axes, axis, *columns_axes), (outer, n, columns)
    return x.transpose(order).reshape(shape), out.transpose(order).reshape(shape)


@softmax.prepare
def _(x: Any, axis: int = -1, *, out: NDArray[Any] | None = None) -> tuple[Any, ...]:
    return _prepare("softmax", x, axis, out)


@log_softmax.prepare
def _(x: Any, axis: int = -1, *, out: NDArray[Any] | None = None) -> tuple[Any, ...]:
    return _prepare("log_softmax", x, axis, out)


@softmax.for_numba
@log_softmax.for_numba
def _(x: Any, out: Any) -> tuple[Any, ...]:
    return np.array(x, np.float64, order="C"), out


@softmax.numba
def _(x: Any, out: Any) -> None:
    # x, out: (outer, n, columns). In float64, where float32's x - top is exact, or nearly so.
    for o in range(x.shape[0]):
        for c in range(x.shape[2]):
            top = -np.inf
            for i in range(x.shape[1]):
                top = max(top, x[o, i, c])
            total = 0.0
            for i in range(x.shape[1]):
                total += np.exp(x[o, i, c] - top)
            for i in range(x.shape[1]):
                out[o, i, c] = np.exp(x[o, i, c] - top) / total


@log_softmax.numba
def _(x: Any, out: Any) -> None:
    # As above; no second exponential.
    for o in range(x.shape[0]):
        for c in range(x.shape[2]):
            top = -np.inf
            for i in range(x.shape[1]):
                top = max(top, x[o, i, c])
            total = 0.0
            for i in range(x.shape[1]):
                total += np.exp(x[o, i, c] - top)
            log_total = np.log(total)
            for i in range(x.shape[1]):
                out[o, i, c] = (x[o, i, c] - top) - log_total


@softmax.native
def _(level: _native.Level, x: Any, out: Any) -> None:
    _native.kernels.softmax(level, x, out)


@log_softmax.native
def _(level: _native.Level, x: Any, out: Any) -> None:
    _native.kernels.log_softmax(level, x, out)


# ---- gradients -----------------------------------------------------------------------------------


def _prepare_backward(
    function: str, gradient: Any, y: Any, axis: int, out: NDArray[Any] | None
) -> tuple[NDArray[Any], ...]:
    """The result, and gradient, y and the result as rows (outer, n) along `axis`."""
    gradient, y = _arrays.floating(function, gradient=gradient, y=y)
    if gradient.shape != y.shape:
        raise ValueError(
            f"{function}: gradient and y must have one shape, got {gradient.shape} and {y.shape}"
        )
    axis = normalize_axis_index(axis, y.ndim, function)
    result = _arrays.output(function, out, y.shape, y.dtype)
    moved = [np.moveaxis(x, axis, -1) for x in (gradient, y, result)]
    lead = moved[0].shape[:-1]
    overlaps = out is not None and any(
        np.may_share_memory(out, x) and (out.ctypes.data, out.strides) != (x.ctypes.data, x.strides)
        for x in (gradient, y)
    )
    if overlaps or not (moved[2].flags.c_contiguous and moved[2].flags.aligned):
        moved[2] = np.empty(moved[2].shape, y.dtype)
    views = [_arrays.rows(x, lead) for x in moved[:2]]
    views.append(moved[2].reshape(math.prod(lead), y.shape[axis]))
    if out is None or not np.may_share_memory(views[2], out):
        result = np.moveaxis(views[2].reshape(moved[2].shape), -1, axis)
    return result, *views


@softmax_backward.prepare
def _(gradient: Any, y: Any, axis: int = -1, *, out: NDArray[Any] | None = None) -> tuple[Any, ...]:
    return _prepare_backward("softmax_backward", gradient, y, axis, out)


@log_softmax_backward.prepare
def _(gradient: Any, y: Any, axis: int = -1, *, out: NDArray[Any] | None = None) -> tuple[Any, ...]:
    return _prepare_backward("log_softmax_backward", gradient, y, axis, out)


@softmax_backward.for_numba
@log_softmax_backward.for_numba
def _(gradient: Any, y: Any, out: Any) -> tuple[Any, ...]:
    return *(np.array(x, np.float64, order="C") for x in (gradient, y)), out


@softmax_backward.numba
def _(gradient: Any, y: Any, out: Any) -> None:
    # gradient, y, out: (rows, n). Sums in float64.
    for r in range(y.shape[0]):
        total = 0.0
        for i in range(y.shape[1]):
            total += gradient[r, i] * y[r, i]
        for i in range(y.shape[1]):
            out[r, i] = y[r, i] * (gradient[r, i] - total)


@log_softmax_backward.numba
def _(gradient: Any, y: Any, out: Any) -> None:
    # As above.
    for r in range(y.shape[0]):
        total = 0.0
        for i in range(y.shape[1]):
            total += gradient[r, i]
        for i in range(y.shape[1]):
            out[r, i] = gradient[r, i] - np.exp(y[r, i]) * total


@softmax_backward.native
def _(level: _native.Level, gradient: Any, y: Any, out: Any) -> None:
    _native.kernels.softmax_backward(level, gradient, y, out)


@log_softmax_backward.native
def _(level: _native.Level, gradient: Any, y: Any, out: Any) -> None:
    _native.kernels.log_softmax_backward(level, gradient, y, out)
