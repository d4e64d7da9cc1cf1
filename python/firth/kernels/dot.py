"""Inner product. N = length of the last axis; leading axes broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel


@kernel
def dot(a: Any, b: Any, *, out: NDArray[Any] | None = None) -> Any:
    """Inner product over the last axis, with broadcasting, as `numpy.vecdot` for real numbers.

    Parameters
    ----------
    a, b : array_like, shapes (..., N), float32 or float64, the same dtype for both
        Leading axes broadcast. Python lists count as float64. A view is taken where the last axis
        is contiguous and the leading ones fold into one, else a copy.
    out : ndarray, shape of the broadcast leading axes, optional
        Receives the result; may overlap ``a`` or ``b``.

    Returns
    -------
    ndarray of the broadcast leading shape and the dtype of the inputs (a NumPy scalar where that
    shape is ()); ``out`` itself where it was given.

    Raises
    ------
    TypeError
        A dtype other than float32 and float64, or two different ones.
    ValueError
        The last axes differ, the leading axes do not broadcast, or ``out`` does not fit.

    Notes
    -----
    Accumulates in the input's dtype, in 4 x lanes partial sums that are added pairwise: the error
    is at most (N / (4 lanes) + 8) * eps * sum(|a_i b_i|). The order depends on N and the ISA level
    only. N = 0 gives 0. NaN and inf propagate.
    """
    return _arrays.deliver(np.einsum("...n,...n->...", np.asarray(a), np.asarray(b)), out)


@dot.prepare
def _(a: Any, b: Any, *, out: NDArray[Any] | None = None) -> tuple[Any, ...]:
    a, b = _arrays.floating("dot", a=a, b=b)
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"dot: a and b must have equal last axes, got shapes {a.shape} and {b.shape}"
        )
    try:
        lead = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    except ValueError:
        raise ValueError(
            f"dot: leading axes of a and b do not broadcast, got shapes {a.shape} and {b.shape}"
        ) from None
    result = _arrays.output("dot", out, lead, a.dtype)
    if out is not None and (
        np.may_share_memory(out, a) or np.may_share_memory(out, b) or not out.flags.c_contiguous
    ):
        result = np.empty(lead, a.dtype)
    return result, _arrays.rows(a, lead), _arrays.rows(b, lead), result.reshape(-1)


@dot.numba
def _(a: Any, b: Any, out: Any) -> None:
    # a, b: (R, N); out: (R,). Four partial sums as in the native kernel: one chain would wait.
    n = a.shape[1]
    for r in range(a.shape[0]):
        sum0 = sum1 = sum2 = sum3 = a.dtype.type(0)
        for i in range(0, n - 3, 4):
            sum0 += a[r, i] * b[r, i]
            sum1 += a[r, i + 1] * b[r, i + 1]
            sum2 += a[r, i + 2] * b[r, i + 2]
            sum3 += a[r, i + 3] * b[r, i + 3]
        for i in range(n - n % 4, n):
            sum0 += a[r, i] * b[r, i]
        out[r] = (sum0 + sum1) + (sum2 + sum3)


@dot.native
def _(level: _native.Level, a: Any, b: Any, out: Any) -> None:
    _native.kernels.dot(level, a, b, out)
