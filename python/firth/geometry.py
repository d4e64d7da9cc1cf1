"""Lengths, directions and cosines of vectors, in float64 and of any magnitude.

All code outside the kernels uses these. Squares of finite numbers may leave float64's range;
lengths, directions and cosines here do not suffer from that: 1e-320 and 1e308 are as good as 1.
The result for a row of a block depends on this row only; that for a vector alone, (D,), whose sums
have another order, is equal up to rounding. D = length of a vector.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.kernels import dot

_LEAST, _MOST = 2.0**-450, 2.0**450  # lengths whose squares keep all digits in float64
_NORMAL = {np.dtype(one): float(np.finfo(one).tiny) for one in (np.float32, np.float64)}
_NEAR = 1 - 2.0**-10  # from this cosine on, the distance of the directions is more exact
_PARALLEL = 2.0**-50  # directions that differ by no more differ by their rounding


def lengths(rows: ArrayLike) -> NDArray[np.float64]:
    """Euclidean lengths (...) of rows (..., D), float64; inf only above float64's range.

    A row with NaN or inf has the length NaN or inf.
    """
    exact = _contiguous(rows)
    with np.errstate(over="ignore", under="ignore"):
        squares = dot(exact, exact) if exact.ndim > 1 else _inner(exact, exact)
        found = np.asarray(np.sqrt(squares))
        odd = ~((found >= _LEAST) & (found <= _MOST))
        if odd.any():
            near, exponents = _near_one(exact[odd])
            found[odd] = np.ldexp(np.sqrt(_inner(near, near)), exponents[..., 0])
    return found


def unit(rows: ArrayLike) -> NDArray[np.float64]:
    """Rows (..., D) at length 1, float64; rows of zeros stay, those with NaN or inf have NaN."""
    exact = _contiguous(rows)
    norms = lengths(exact)
    plain = (norms >= _LEAST) & (norms <= _MOST)
    if plain.all():
        return exact / norms[..., None]
    found = exact / np.where(plain, norms, 1)[..., None]
    found[~plain] = _directions(_near_one(exact[~plain])[0])
    return found


def normed(rows: NDArray[Any], norms: ArrayLike) -> NDArray[Any]:
    """Rows (..., D) at length 1 in their own dtype (float16: in float32), by their norms (...).

    Where a norm is zero, denormal or out of range, the row's own numbers decide.
    """
    rows = rows.astype(np.float32) if rows.dtype == np.float16 else rows
    with np.errstate(over="ignore", under="ignore"):
        norms = np.asarray(norms, rows.dtype)
    plain = (norms >= _NORMAL[norms.dtype]) & (norms < np.inf)
    found: NDArray[Any] = rows / np.where(plain, norms, 1)[..., None]
    if not plain.all():
        found[~plain] = unit(rows[~plain])
    return found


def cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Cosine of two vectors (D,): exactly 1 or -1 for parallel ones, 0 where one is all zeros."""
    one, two = _contiguous(a), _contiguous(b)
    with np.errstate(all="ignore"):
        norms = math.sqrt(_inner(one, one)), math.sqrt(_inner(two, two))
        if min(norms) >= _LEAST and max(norms) <= _MOST:
            found = float(_inner(one, two)) / (norms[0] * norms[1])
            if abs(found) < _NEAR:
                return found
    return float(_cosines(_near_one(one)[0][None], _near_one(two)[0])[0])


def cosines(
    query: ArrayLike, rows: ArrayLike, norms: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Cosines (N,) of a vector (D,) with rows (N, D), as `cosine`, each for itself.

    ``norms`` (N,) are the rows' `lengths`, where they are known: a row whose norm is NaN gets NaN.
    """
    vector, rows = _near_one(np.asarray(query, np.float64))[0], _contiguous(rows)
    norms = np.asarray(lengths(rows) if norms is None else norms)
    if not np.isfinite(vector).all():
        return np.full(len(rows), np.nan)
    with np.errstate(all="ignore"):
        found = np.asarray(dot(rows, vector)) / (norms * lengths(vector))
    plain = (norms >= _LEAST) & (norms <= _MOST) & (np.abs(found) < _NEAR)
    again = np.flatnonzero(~plain & ~np.isnan(norms))
    if len(again):
        found[again] = _cosines(_near_one(rows[again])[0], vector)
    return found


def mean(vectors: Any, weights: Any) -> NDArray[np.float64]:
    """Sum (D,) of vectors (N, D) times weights (N,), over the sum of |weights| unless that is 0."""
    exact, factors = np.asarray(vectors, np.float64), np.asarray(weights, np.float64)
    with np.errstate(all="ignore"):
        total, weight = (factors[:, None] * exact).sum(axis=0), np.abs(factors).sum()
        largest = np.abs(total).max(initial=0)
        if not (_LEAST <= largest <= _MOST and _LEAST <= weight <= _MOST):
            near, exponents = _near_one(exact.reshape(-1))
            factors, _ = _near_one(factors)
            total = (factors[:, None] * near.reshape(exact.shape)).sum(axis=0)
            weight = np.abs(factors).sum()
            return np.asarray(np.ldexp(total / (weight or 1), exponents))
        return np.asarray(total / weight)


def distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (N, M) of rows (N, D) from rows (M, D)."""
    return np.stack([lengths(b - row) for row in a])


def distances_of_directions(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (N, M) of the `unit` of rows (N, D) from that of rows (M, D); 0 for parallel."""
    found = distances(unit(a), unit(b))
    found[found <= _PARALLEL] = 0
    return found


def _cosines(rows: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines (N,) of rows (N, D) with a vector (D,), the largest number of each being near 1.

    Those near 1 by |u - v|^2 = 2 - 2 cos: rounding errors in the directions of parallel vectors
    are then squared, and vanish.
    """
    with np.errstate(invalid="ignore"):
        norms = np.sqrt(_inner(rows, rows)) * np.sqrt(_inner(vector, vector))
        found = np.asarray(_inner(rows, vector) / np.where(norms == 0, 1, norms))
    near = np.flatnonzero(np.abs(found) >= _NEAR)
    if len(near):
        signs = np.sign(found[near])
        apart = _directions(rows[near]) - signs[:, None] * _directions(vector)
        found[near] = signs * (1 - _inner(apart, apart) / 2)
    return found


def _directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (..., D), whose largest number is near 1, by their lengths."""
    with np.errstate(invalid="ignore", under="ignore"):
        norms = np.sqrt(_inner(rows, rows))[..., None]
        return rows / np.where(norms == 0, 1, norms)


def _near_one(exact: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Rows (..., D) times powers of two that bring the largest number near 1: a copy, exact.

    And the exponents (..., 1) that undo it.
    """
    _, exponents = np.frexp(np.abs(exact).max(axis=-1, keepdims=True, initial=0))
    with np.errstate(under="ignore"):
        return np.ldexp(exact, -exponents, order="C"), exponents


def _contiguous(rows: ArrayLike) -> NDArray[np.float64]:
    """Rows as float64, one behind the other: NumPy sums in another order where they are not."""
    return np.ascontiguousarray(rows, np.float64)


def _inner(a: NDArray[np.float64], b: NDArray[np.float64]) -> Any:
    """Sums of products over the last axis, as the kernel `dot`, which is slower for few rows."""
    return np.einsum("...d,...d->...", a, b)
