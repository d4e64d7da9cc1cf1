"""Lengths, directions and cosines of vectors, in float64 and of any magnitude.

The one home of these outside the kernels. Squares of finite numbers may leave float64's range;
lengths, directions and cosines here do not suffer from it: 1e-320 and 1e308 are as good as 1.
D = length of a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.kernels import dot

_LEAST, _MOST = 2.0**-450, 2.0**450  # lengths whose squares keep all digits in float64
_NEAR = 1 - 2.0**-10  # from this cosine on, the distance of the directions is more exact
_PARALLEL = 2.0**-50  # directions that differ by no more differ by their rounding


def lengths(rows: ArrayLike) -> NDArray[np.float64]:
    """Euclidean lengths (...) of rows (..., D), float64; inf only above float64's range.

    A row with NaN or inf has the length NaN or inf.
    """
    exact = np.asarray(rows, np.float64)
    with np.errstate(over="ignore", under="ignore"):
        found = np.asarray(np.sqrt(dot(exact, exact)))
        odd = ~((found >= _LEAST) & (found <= _MOST))
        if odd.any():
            part, exponents = _near_one(exact[odd])
            found[odd] = np.ldexp(np.sqrt(dot(part, part)), exponents[..., 0])
    return found


def unit(rows: ArrayLike) -> NDArray[np.float64]:
    """Rows (..., D) at length 1, float64; rows of zeros stay, of those with inf NaN remains."""
    return _divided(_near_one(np.asarray(rows, np.float64))[0])


def normed(rows: NDArray[Any], norms: ArrayLike) -> NDArray[Any]:
    """Rows (..., D) at length 1 in their own dtype (float16: in float32), by their norms (...).

    Where a norm is zero, denormal or out of range, the row's own numbers decide.
    """
    rows = rows.astype(np.float32) if rows.dtype == np.float16 else rows
    with np.errstate(over="ignore", under="ignore"):
        norms = np.asarray(norms, rows.dtype)
    plain = (norms >= np.finfo(rows.dtype).tiny) & (norms < np.inf)
    found: NDArray[Any] = rows / np.where(plain, norms, 1)[..., None]
    if not plain.all():
        found[~plain] = unit(rows[~plain])
    return found


def cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Cosine of two vectors (D,): exactly 1 or -1 for parallel ones, 0 where one is all zeros."""
    one, other = (_near_one(np.asarray(vector, np.float64))[0] for vector in (a, b))
    return float(_cosines(one[None], other)[0])


def cosines(
    query: ArrayLike, rows: ArrayLike, norms: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Cosines (N,) of a vector (D,) with rows (N, D), as `cosine`, each for itself.

    ``norms`` (N,) are the rows' `lengths`, where they are known: a row whose norm is NaN gets NaN.
    """
    vector, _ = _near_one(np.asarray(query, np.float64))
    rows = np.asarray(rows, np.float64)
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
    exact, vector_exponent = _whole_near_one(vectors)
    factors, _ = _whole_near_one(weights)
    total = (factors[:, None] * exact).sum(axis=0)
    weight = np.abs(factors).sum()
    with np.errstate(over="ignore", under="ignore"):
        found: NDArray[np.float64] = np.ldexp(total / (weight or 1), vector_exponent)
    return found


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

    Those near 1 by |u - v|^2 = 2 - 2 cos: what rounding takes from the directions of parallel
    vectors is then squared, and vanishes.
    """
    norms = lengths(rows) * lengths(vector)
    with np.errstate(invalid="ignore"):
        found = np.asarray(dot(rows, vector)) / np.where(norms == 0, 1, norms)
    near = np.flatnonzero(np.abs(found) >= _NEAR)
    if len(near):
        signs = np.sign(found[near])
        apart = _divided(rows[near]) - signs[:, None] * _divided(vector)
        found[near] = signs * (1 - dot(apart, apart) / 2)
    return found


def _divided(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (..., D), whose largest number is near 1, by their lengths."""
    norms = lengths(rows)[..., None]
    with np.errstate(invalid="ignore", under="ignore"):
        return rows / np.where(norms == 0, 1, norms)


def _near_one(exact: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Rows (..., D) times powers of two that bring the largest number near 1: a copy, exact.

    And the exponents (..., 1) that undo it.
    """
    _, exponents = np.frexp(np.abs(exact).max(axis=-1, keepdims=True, initial=0))
    with np.errstate(under="ignore"):
        return np.ldexp(exact, -exponents), exponents


def _whole_near_one(values: Any) -> tuple[NDArray[np.float64], Any]:
    """Numbers of any shape times the power of two that brings the largest near 1; its exponent."""
    exact = np.asarray(values, np.float64)
    near, exponents = _near_one(exact.reshape(-1))
    return near.reshape(exact.shape), exponents[0]
