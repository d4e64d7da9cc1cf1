"""Gated linear units: the activation of one projection times another. n = length of a row."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel
from firth.kernels.matmul import ACTIVATIONS, activated


@kernel
def gated(
    gate: Any,
    up: Any,
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] | None = "silu",
    *,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """``activation(gate) * up``, what is between the layers of a gated feed-forward block.

    Parameters
    ----------
    gate, up : array_like, shape (..., n), float32
        Halves of a wider array (one product for both) are read in place.
    activation : {"silu", "gelu", "gelu_tanh", "relu"}, optional
        Those of `matmul`, with its errors; None leaves `gate` as it is.
    out : ndarray, shape of `gate`, float32, optional
        Receives the result; may be `gate` or `up` itself, or overlap them.

    Returns
    -------
    ndarray of the shape of `gate`, float32; ``out`` itself where it was given.

    Raises
    ------
    TypeError
        Another dtype.
    ValueError
        Shapes differ, `out` does not fit, or `activation` is unknown.

    Notes
    -----
    Shazeer, "GLU variants improve transformer" (arXiv:2002.05202). NaN and inf propagate, 0 * inf
    among them: the activation of -inf is 0.
    """
    z = np.asarray(gate, np.float32)
    if activation is not None:
        z = activated(z.astype(np.float64), activation).astype(np.float32)
    return _arrays.deliver(z * np.asarray(up, np.float32), out)  # type: ignore[no-any-return]


@gated.prepare
def _(
    gate: Any,
    up: Any,
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] | None = "silu",
    *,
    out: NDArray[np.float32] | None = None,
) -> tuple[Any, ...]:
    gate = _arrays.numbers("gated", "gate", gate, "float32")
    up = _arrays.numbers("gated", "up", up, "float32")
    if gate.ndim == 0 or gate.shape != up.shape:
        raise ValueError(
            f"gated: gate and up must have one shape, with an axis, got {gate.shape} and {up.shape}"
        )
    if activation not in ACTIVATIONS:
        raise ValueError(f"gated: activation must be one of {ACTIVATIONS}, got {activation!r}")
    result, filled = _arrays.row_output("gated", out, gate.shape, np.float32, gate, up)
    lead = gate.shape[:-1]
    one, other = _arrays.rows(gate, lead), _arrays.rows(up, lead)
    if one.strides[0] != other.strides[0]:
        one, other = np.ascontiguousarray(one), np.ascontiguousarray(other)
    return result, one, other, ACTIVATIONS.index(activation), filled


@gated.for_numba
def _(gate: Any, up: Any, activation: int, out: Any) -> tuple[Any, ...]:
    return np.array(gate, order="C"), np.array(up, order="C"), activation, out


@gated.numba
def _(gate: Any, up: Any, activation: Any, out: Any) -> None:
    # gate, up, out: (R, n). The activations are those of matmul's page, in float64.
    for r in range(gate.shape[0]):
        for i in range(gate.shape[1]):
            z = float(gate[r, i])
            if activation == 1:
                z = 0.0 if z < 0 else z
            elif activation == 2:
                tail = 0.5 * math.erfc(abs(z) * math.sqrt(0.5))
                if z < 0:
                    z = max(z, -1000.0) * tail
                elif z <= 100:
                    z -= z * tail
            elif activation > 2:
                u = z
                if activation == 3:
                    u = math.sqrt(8 / math.pi) * z * (1 + 0.044715 * z * z)
                e = math.exp(-abs(u))
                z = (max(z, -1000.0) * e if z < 0 else z) / (1 + e)
            out[r, i] = np.float32(z) * up[r, i]


@gated.native
def _(level: _native.Level, gate: Any, up: Any, activation: int, out: Any) -> None:
    _native.kernels.gated(level, gate, up, activation, out)
