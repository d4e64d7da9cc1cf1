"""Rotary position embedding: pairs of numbers of each head turn by an angle of their position."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.arguments import check_real, check_whole
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel


def rotary_table(
    positions: int, rotated: int, theta: float = 10000.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines of the positions 0, 1, ..., positions - 1.

    Parameters
    ----------
    positions : int
    rotated : int, even
        How many numbers of a head turn.
    theta : float
        Base of the angles: pair i turns by ``position * theta ** (-2 i / rotated)``.

    Returns
    -------
    two ndarrays, shape (positions, rotated / 2), float32
        Computed in float64 and rounded once.
    """
    return _tables(np.arange(positions), rotated, theta)


def _tables(
    positions: NDArray[Any], rotated: int, theta: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rates = float(theta) ** (-np.arange(0, rotated, 2) / rotated)
    angles = positions[:, None] * rates
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@kernel
def rotary(
    x: Any,
    positions: Any,
    *,
    theta: float = 10000.0,
    rotated: int | None = None,
    interleaved: bool = False,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Rotary position embedding (RoPE) of the heads of queries or keys.

    Parameters
    ----------
    x : array_like, shape (..., tokens, heads, head_width), float32
    positions : array_like of int, shape (tokens,) or (..., tokens), from 0
    theta : float, above 0
        Base of the angles.
    rotated : int, even, optional
        The first so many numbers of a head turn, the others stay; all by default.
    interleaved : bool
        Which numbers form pairs: i and i + rotated / 2 (False; as transformers' ``rotate_half``
        and GPT-NeoX), or the neighbours 2 i and 2 i + 1 (True; as GPT-J and Llama in GGUF files).
    out : ndarray, shape of `x`, float32, optional
        Receives the result; may be `x` itself, or overlap it.

    Returns
    -------
    ndarray of the shape of `x`, float32; ``out`` itself where it was given.

    Raises
    ------
    TypeError
        Another dtype; an argument is no number.
    ValueError
        Shapes do not fit, ``theta`` or ``rotated`` is out of range.
    IndexError
        A position is negative or beyond int32.

    Notes
    -----
    Pair i = (a, b) of a token at position p becomes ``(a c - b s, b c + a s)`` with c and s the
    cosine and sine of ``p theta^(-2 i / rotated)`` (Su et al., arXiv:2104.09864). These are
    computed in float64 and rounded to float32 (`rotary_table`); libraries that compute the angle
    in float32 differ by up to 1e-7 p. Each product and sum is rounded to float32, without fma: the
    same bits on every backend. NaN and inf stay in their pair.
    """
    x = np.asarray(x, np.float32)
    whole = x.shape[-1] if rotated is None else int(rotated)
    half = whole // 2
    places = np.asarray(positions).reshape(-1)
    cosines, sines = (
        table.reshape(*np.shape(positions), 1, half) for table in _tables(places, whole, theta)
    )
    one, other = (
        (slice(0, whole, 2), slice(1, whole, 2))
        if interleaved
        else (slice(0, half), slice(half, whole))
    )
    a, b = x[..., one], x[..., other]
    result = x.copy()
    result[..., one] = a * cosines - b * sines
    result[..., other] = b * cosines + a * sines
    return _arrays.deliver(result, out)  # type: ignore[no-any-return]


@rotary.prepare
def _(
    x: Any,
    positions: Any,
    *,
    theta: float = 10000.0,
    rotated: int | None = None,
    interleaved: bool = False,
    out: NDArray[np.float32] | None = None,
) -> tuple[Any, ...]:
    x = _arrays.numbers("rotary", "x", x, "float32")
    if x.ndim < 3:
        raise ValueError(
            f"rotary: x must have shape (..., tokens, heads, head_width), got {x.shape}"
        )
    *lead, heads, width = x.shape
    whole = width if rotated is None else rotated
    check_whole("rotary: rotated", whole, 0, width)
    if whole % 2:
        raise ValueError(f"rotary: rotated must be even, got {whole}")
    check_real("rotary: theta", theta, above=True)
    places = _arrays.indices("rotary", "positions", positions, 0, 2**31)
    if places.shape not in ((lead[-1],), tuple(lead)):
        raise ValueError(
            f"rotary: positions must have shape ({lead[-1]},) or {tuple(lead)}, got {places.shape}"
        )
    used, rows = np.unique(np.broadcast_to(places, lead), return_inverse=True)
    result, filled = _arrays.row_output("rotary", out, x.shape, np.float32, x)
    if result is not x:
        np.copyto(result, x)
    turned = filled.reshape(math.prod(lead), heads, width)
    table = _tables(used, whole, theta)
    return result, turned, *table, rows.reshape(-1).astype(np.int32), bool(interleaved)


@rotary.numba
def _(x: Any, cosines: Any, sines: Any, rows: Any, interleaved: Any) -> None:
    # x: (R, heads, width), changed in place; cosines, sines: (P, rotated / 2); rows: (R,)
    half = cosines.shape[1]
    for r in range(x.shape[0]):
        for h in range(x.shape[1]):
            for i in range(half):
                one, other = (2 * i, 2 * i + 1) if interleaved else (i, i + half)
                c, s = cosines[rows[r], i], sines[rows[r], i]
                a, b = x[r, h, one], x[r, h, other]
                x[r, h, one] = a * c - b * s
                x[r, h, other] = b * c + a * s


@rotary.native
def _(level: _native.Level, x: Any, cosines: Any, sines: Any, rows: Any, interleaved: bool) -> None:
    _native.kernels.rotary(level, x, cosines, sines, rows, interleaved)
