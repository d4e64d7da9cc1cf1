"""Nearest rows by cosine. Q = queries, N = keys (database rows), D = length of a vector."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel


class TopK(NamedTuple):
    """The best rows of each query, best first."""

    scores: NDArray[np.float32]
    indices: NDArray[np.int64]


@kernel
def row_norms(keys: Any) -> NDArray[np.float32]:
    """Euclidean norm of each row, for the ``norms`` of `cosine_topk`.

    Parameters
    ----------
    keys : array_like, shape (N, D), float32
        Python lists count as float32. A view is taken where rows are contiguous, else a copy.

    Returns
    -------
    ndarray, shape (N,), float32
        Relative error at most (D / 32 + 4) eps. Squares that would leave float32's range are
        summed in double, so that 1e-30 and 1e30 are as good as 1. A norm above 3.4e38 is inf; a
        row with NaN or inf has norm NaN or inf.

    Raises
    ------
    TypeError
        ``keys`` is not float32.
    ValueError
        ``keys`` is not two-dimensional.
    """
    rows = np.asarray(keys).astype(np.float64)
    with np.errstate(over="ignore"):
        norms: NDArray[np.float32] = np.linalg.norm(rows, axis=1).astype(np.float32)
    return norms


@kernel
def cosine_topk(queries: Any, keys: Any, k: int, *, norms: Any = None) -> TopK:
    """The k rows of ``keys`` with the highest cosine to each query: exact, sorted, reproducible.

    The score of query q and row x is q . x / (|q| |x|), within [-1, 1].

    Parameters
    ----------
    queries : array_like, shape (Q, D) or (D,), float32
    keys : array_like, shape (N, D), float32
        Rows at any stride; copied only where a row is not contiguous. Neither array needs to be
        normalised. Python lists count as float32.
    k : int
        How many rows to return, at least 0. Where k exceeds N, N columns are returned.
    norms : array_like, shape (N,), float32, optional
        Euclidean norms of ``keys`` as `row_norms` gives them; with these the result has the same
        bits as without. A row whose norm is NaN or inf is left out. Norms that are not those of the
        rows (beyond rounding) give an unspecified choice of rows.

    Returns
    -------
    TopK
        ``scores`` (Q, min(k, N)) float32 and ``indices`` (Q, min(k, N)) int64, by descending score,
        equal scores by ascending index; 1-D arrays (min(k, N),) for a 1-D query.

        A zero row scores 0, and so does every row for a zero query. Rows that contain NaN or inf,
        and rows whose norm exceeds float32's range, have no cosine and are never returned; for a
        query with NaN or inf no row is. Only where this leaves fewer than min(k, N) rows do the
        last columns hold index -1 and score NaN.

    Raises
    ------
    TypeError
        An array is not float32, or ``k`` is not an integer.
    ValueError
        Shapes do not fit, or ``k`` is negative.

    Notes
    -----
    A score errs by at most (D / 16 + 8) eps. Its bits depend on the query, the row and the ISA
    level alone (v3 and above agree): not on the other queries, on the place of the row, or on
    threads. Norms below 1e-37 are denormal or nearly so and lose precision with their bits.
    """
    rows = np.asarray(keys).astype(np.float64)
    queries = np.asarray(queries).astype(np.float64)
    norms = np.asarray(row_norms.reference(keys) if norms is None else norms).astype(np.float64)
    count = min(k, len(rows))
    lead = queries.shape[:-1]
    scores = np.full((*lead, count), np.nan, np.float32)
    indices = np.full((*lead, count), -1, np.int64)
    for place in np.ndindex(lead):
        query = queries[place]
        length = np.sqrt(query @ query)
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = norms * length
            cosines = (rows @ query) / scale
        cosines[scale == 0] = 0
        cosines[~np.isfinite(scale)] = np.nan
        rounded = np.clip(cosines, -1, 1).astype(np.float32)
        best = np.argsort(-rounded, kind="stable")[:count]  # NaN last, equal ones by index
        best = best[~np.isnan(rounded[best])]
        scores[place][: len(best)] = rounded[best]
        indices[place][: len(best)] = best
    return TopK(scores, indices)


def _float32(function: str, name: str, value: Any, ndim: tuple[int, ...]) -> NDArray[np.float32]:
    array = np.asarray(value)
    if isinstance(value, (list, tuple)):
        array = array.astype(np.float32)
    if array.dtype != np.float32 or not array.dtype.isnative:
        raise TypeError(
            f"{function}: {name} must be float32 in native byte order, got {array.dtype}"
        )
    if array.ndim not in ndim:
        wanted = " or ".join(f"{n}-D" for n in ndim)
        raise ValueError(f"{function}: {name} must be {wanted}, got shape {array.shape}")
    return array


@row_norms.prepare
def _(keys: Any) -> tuple[Any, ...]:
    keys = _float32("row_norms", "keys", keys, (2,))
    norms = np.empty(len(keys), np.float32)
    return norms, _arrays.rows(keys, keys.shape[:1]), norms


@row_norms.numba
def _(keys: Any, norms: Any) -> None:
    # keys: (N, D); norms: (N,). Four partial sums: one chain would wait.
    n = keys.shape[1]
    for r in range(keys.shape[0]):
        sum0 = sum1 = sum2 = sum3 = 0.0
        for i in range(0, n - 3, 4):
            sum0 += np.float64(keys[r, i]) ** 2
            sum1 += np.float64(keys[r, i + 1]) ** 2
            sum2 += np.float64(keys[r, i + 2]) ** 2
            sum3 += np.float64(keys[r, i + 3]) ** 2
        for i in range(n - n % 4, n):
            sum0 += np.float64(keys[r, i]) ** 2
        norms[r] = np.float32(np.sqrt((sum0 + sum1) + (sum2 + sum3)))


@row_norms.native
def _(level: _native.Level, keys: Any, norms: Any) -> None:
    level.row_norms(keys, norms)


@cosine_topk.prepare
def _(queries: Any, keys: Any, k: int, *, norms: Any = None) -> tuple[Any, ...]:
    queries = _float32("cosine_topk", "queries", queries, (1, 2))
    keys = _float32("cosine_topk", "keys", keys, (2,))
    if queries.shape[-1] != keys.shape[1]:
        raise ValueError(
            "cosine_topk: queries and keys must have equal last axes, "
            f"got shapes {queries.shape} and {keys.shape}"
        )
    k = operator.index(k)
    if k < 0:
        raise ValueError(f"cosine_topk: k must not be negative, got {k}")
    if norms is not None:
        norms = _float32("cosine_topk", "norms", norms, (1,))
        if norms.shape != keys.shape[:1]:
            raise ValueError(
                f"cosine_topk: norms must have shape {keys.shape[:1]}, got {norms.shape}"
            )
        norms = _arrays.rows(norms, ())[0]
    count = min(k, len(keys))
    lead = queries.shape[:-1]
    scores, indices = np.empty((*lead, count), np.float32), np.empty((*lead, count), np.int64)
    return (
        TopK(scores, indices),
        _arrays.rows(queries, lead),
        _arrays.rows(keys, keys.shape[:1]),
        norms,
        scores.reshape(-1, count) if count else scores.reshape(0, 0),
        indices.reshape(-1, count) if count else indices.reshape(0, 0),
    )


@cosine_topk.numba
def _(queries: Any, keys: Any, norms: Any, scores: Any, indices: Any) -> None:
    # queries: (Q, D); keys: (N, D); norms: (N,) or None; scores, indices: (Q, k), or (0, 0).
    n = keys.shape[1]
    k = scores.shape[1]
    for q in range(scores.shape[0]):
        length = 0.0
        for i in range(n):
            length += np.float64(queries[q, i]) ** 2
        length = np.sqrt(length)
        scores[q] = np.nan
        indices[q] = -1
        found = 0
        for r in range(keys.shape[0]):
            dot0 = dot1 = square0 = square1 = 0.0
            for i in range(0, n - 1, 2):
                x0, x1 = np.float64(keys[r, i]), np.float64(keys[r, i + 1])
                dot0 += np.float64(queries[q, i]) * x0
                dot1 += np.float64(queries[q, i + 1]) * x1
                square0 += x0 * x0
                square1 += x1 * x1
            if n % 2:
                x0 = np.float64(keys[r, n - 1])
                dot0 += np.float64(queries[q, n - 1]) * x0
                square0 += x0 * x0
            norm = np.float32(np.sqrt(square0 + square1)) if norms is None else norms[r]
            scale = np.float64(norm) * length
            if not np.isfinite(scale):
                continue
            cosine = (dot0 + dot1) / scale if scale > 0 else 0.0
            if np.isnan(cosine):
                continue
            score = np.float32(min(1.0, max(-1.0, cosine)))
            if found == k and score <= scores[q, k - 1]:
                continue
            # Insert behind the rows that are not worse: they have lower indices.
            if found < k:
                found += 1
            place = found - 1
            while place > 0 and scores[q, place - 1] < score:
                scores[q, place] = scores[q, place - 1]
                indices[q, place] = indices[q, place - 1]
                place -= 1
            scores[q, place] = score
            indices[q, place] = r


@cosine_topk.native
def _(level: _native.Level, queries: Any, keys: Any, norms: Any, scores: Any, indices: Any) -> None:
    level.cosine_topk(queries, keys, norms, scores, indices)
