"""float32 rounded to bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel


@kernel
def to_bfloat16(x: Any, *, out: NDArray[np.uint16] | None = None) -> NDArray[np.uint16]:
    """The bits of the nearest bfloat16 numbers, as other kernels take them.

    Parameters
    ----------
    x : array_like, any shape, float32
    out : ndarray, shape of `x`, uint16, optional
        Receives the result; may overlap `x`.

    Returns
    -------
    ndarray of the shape of `x`, uint16; ``out`` itself where it was given. With the package
    ml_dtypes ``.view(ml_dtypes.bfloat16)`` names the type.

    Raises
    ------
    TypeError
        Another dtype.
    ValueError
        `out` does not fit.

    Notes
    -----
    bfloat16 is the upper half of a float32. Ties go to even; what rounds beyond the greatest
    number is inf; NaN stays NaN, quiet, with its sign; denormals are kept. The same bits on every
    backend.
    """
    x = np.asarray(x, np.float32)
    bits = _arrays.narrow_bfloat16(x).reshape(x.shape)
    return _arrays.deliver(bits, out)  # type: ignore[no-any-return]


@to_bfloat16.prepare
def _(x: Any, *, out: NDArray[np.uint16] | None = None) -> tuple[Any, ...]:
    x = _arrays.numbers("to_bfloat16", "x", x, "float32")
    result, filled = _arrays.row_output("to_bfloat16", out, x.shape, np.uint16, x)
    wide = np.atleast_1d(x)
    return result, _arrays.rows(wide, wide.shape[:-1]), filled


@to_bfloat16.for_numba
def _(x: Any, out: Any) -> tuple[Any, ...]:
    return np.array(x, order="C").view(np.uint32), out


@to_bfloat16.numba
def _(x: Any, out: Any) -> None:
    # x: (R, n), the bits; out: (R, n)
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            bits = np.uint32(x[r, i])
            if bits & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000):  # NaN
                out[r, i] = bits >> np.uint32(16) | np.uint32(0x40)
            else:
                even = bits >> np.uint32(16) & np.uint32(1)
                out[r, i] = (bits + np.uint32(0x7FFF) + even) >> np.uint32(16)


@to_bfloat16.native
def _(level: _native.Level, x: Any, out: Any) -> None:
    _native.kernels.to_bfloat16(level, x, out)
