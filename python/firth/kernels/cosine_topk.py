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
    """The best rows of each query, best first: scores before indices.

    `firth.search.Matches` has ids first: use the names of the fields.
    """

    scores: NDArray[np.float32]
    indices: NDArray[np.int64]


class _Keys(NamedTuple):
    """Checked keys: rows (N, D) of float32, float16 or int8, the latter with scales (N,)."""

    rows: NDArray[Any]
    scales: NDArray[np.float32] | None

    @property
    def for_numba(self) -> NDArray[np.float32]:
        return _widened(self.rows, self.scales)

    @property
    def native(self) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        half = self.rows.dtype == np.float16  # pybind11 takes the bits of float16
        return self.rows.view(np.uint16) if half else self.rows, self.scales


def _widened(keys: Any, scales: Any) -> NDArray[np.float32]:
    """The values of keys, as float32."""
    rows = np.asarray(keys).astype(np.float32)
    return rows if scales is None else rows * np.asarray(scales, np.float32)[:, None]


@kernel
def row_norms(keys: Any, *, scales: Any = None) -> NDArray[np.float32]:
    """Euclidean norm of each row, for the ``norms`` of `cosine_topk`.

    Parameters
    ----------
    keys : array_like, shape (N, D), float32, float16 or int8
        Python lists count as float32. A view is taken where rows are contiguous, else a copy.
    scales : array_like, shape (N,), float32
        With int8 keys: row r means ``keys[r] * scales[r]``.

    Returns
    -------
    ndarray, shape (N,), float32
        Summed in float64 and rounded once, so that 1e-30 and 1e30 are as good as 1. A norm above
        3.4e38 is inf; a row with NaN or inf has norm NaN or inf.

    Raises
    ------
    TypeError
        ``keys`` has another dtype.
    ValueError
        ``keys`` is not two-dimensional, or ``scales`` do not fit.
    """
    rows = _widened(keys, scales).astype(np.float64)
    with np.errstate(over="ignore"):
        norms: NDArray[np.float32] = np.linalg.norm(rows, axis=1).astype(np.float32)
    return norms


@kernel
def cosine_scores(
    queries: Any, keys: Any, *, norms: Any = None, scales: Any = None, threads: int | None = None
) -> NDArray[np.float32]:
    """All the scores among which `cosine_topk` chooses, with the same bits and the same arguments.

    Returns
    -------
    ndarray, shape (Q, N), or (N,) for a 1-D query, float32
        NaN where there is no cosine.

    Raises
    ------
    TypeError, ValueError
        As `cosine_topk`.
    """
    rows = _widened(keys, scales).astype(np.float64)
    queries = np.asarray(queries).astype(np.float64)
    with np.errstate(all="ignore"):
        lengths = np.sqrt((rows * rows).sum(axis=1))
    if norms is not None:
        lengths[np.isnan(norms)] = np.nan
    scores = np.empty((*queries.shape[:-1], len(rows)), np.float32)
    for place in np.ndindex(queries.shape[:-1]):
        query = queries[place]
        with np.errstate(all="ignore"):
            scale = lengths * np.sqrt(query @ query)
            cosines = (rows * query).sum(axis=1) / scale
        cosines[scale == 0] = 0
        cosines[~np.isfinite(scale)] = np.nan
        scores[place] = np.clip(cosines, -1, 1)
    return scores


@kernel
def cosine_topk(
    queries: Any,
    keys: Any,
    k: int,
    *,
    norms: Any = None,
    scales: Any = None,
    threads: int | None = None,
) -> TopK:
    """The k rows of ``keys`` with the highest cosine to each query: exact, sorted, reproducible.

    The score of query q and row x is q . x / (|q| |x|), within [-1, 1].

    Parameters
    ----------
    queries : array_like, shape (Q, D) or (D,), float32
    keys : array_like, shape (N, D), float32, float16 or int8
        Rows at any stride; copied only where a row is not contiguous. Neither array needs to be
        normalised. Python lists count as float32. Smaller numbers than float32 are widened block by
        block in cache; the scores are those of the same values in float32, bit for bit.
    k : int
        How many rows to return, at least 0. Where k exceeds N, N columns are returned.
    norms : array_like, shape (N,), float32, optional
        A row whose norm is NaN is left out; other numbers change nothing, since a score takes the
        norm of its row in float64.
    scales : array_like, shape (N,), float32
        Only with int8 keys, and required there: row r means ``keys[r] * scales[r]``.
    threads : int, optional
        Greatest number of threads, at least 1 (see `firth.set_num_threads`).

    Returns
    -------
    TopK
        ``scores`` (Q, min(k, N)) float32, then ``indices`` (Q, min(k, N)) int64 (`Index.search`
        gives ids first, then scores: take the fields by name), by descending score,
        equal scores by ascending index; 1-D arrays (min(k, N),) for a 1-D query.

        A zero row scores 0, and so does every row for a zero query. Rows that contain NaN or inf
        have no cosine and are never returned; for a query with NaN or inf no row is. Only where
        this leaves fewer than min(k, N) rows do the last columns hold index -1 and score NaN.

    Raises
    ------
    TypeError
        An array has another dtype, or ``k`` or ``threads`` is not an integer.
    ValueError
        Shapes do not fit, ``k`` is negative, or ``threads`` is less than 1.

    Notes
    -----
    A score is the cosine in float64, rounded once to float32: products of float32 are exact in
    float64, and sums have one order on every level. So it is the nearest float32 but for about one
    in 2^28, a row's score with itself is 1, magnitudes from denormals to 3e38 are as good as 1, and
    its bits depend on the query and the row alone: not on the ISA level, the other queries, the
    place of the row, or threads. The Numba version may differ in the last bit.

    A first pass decides which rows may be among the best: cosines in float32, or from 28 queries on
    byte codes. The bounds in csrc/kernels/near_rows.cpp and in `byte_codes` guarantee the same
    result.
    """
    cosines = cosine_scores.reference(queries, keys, norms=norms, scales=scales)
    *lead, n = cosines.shape
    count = min(k, n)
    scores = np.full((*lead, count), np.nan, np.float32)
    indices = np.full((*lead, count), -1, np.int64)
    for place in np.ndindex(*lead):
        best = np.argsort(-cosines[place], kind="stable")[:count]  # NaN last, equal ones by index
        best = best[~np.isnan(cosines[place][best])]
        scores[place][: len(best)] = cosines[place][best]
        indices[place][: len(best)] = best
    return TopK(scores, indices)


def _float32(function: str, name: str, value: Any, ndim: tuple[int, ...]) -> NDArray[np.float32]:
    array = _arrays.numbers(function, name, value, "float32")
    if array.ndim not in ndim:
        expected = " or ".join(f"{n}-D" for n in ndim)
        raise ValueError(f"{function}: {name} must be {expected}, got shape {array.shape}")
    return array


def _keys(function: str, keys: Any, scales: Any) -> _Keys:
    rows = _arrays.numbers(function, "keys", keys, "float32", "float16", "int8")
    if rows.ndim != 2:
        raise ValueError(f"{function}: keys must be 2-D, got shape {rows.shape}")
    if (rows.dtype == np.int8) != (scales is not None):
        raise ValueError(f"{function}: scales belong to int8 keys alone, got {rows.dtype} keys")
    if scales is not None:
        scales = _one_a_row(function, "scales", scales, rows)
    return _Keys(_arrays.rows(rows, rows.shape[:1]), scales)


def _one_a_row(function: str, name: str, value: Any, rows: NDArray[Any]) -> NDArray[np.float32]:
    value = _float32(function, name, value, (1,))
    if value.shape != rows.shape[:1]:
        raise ValueError(f"{function}: {name} must have shape {rows.shape[:1]}, got {value.shape}")
    whole = value.flags.c_contiguous and value.flags.aligned
    return value if whole else np.array(value, order="C")


@row_norms.prepare
def _(keys: Any, *, scales: Any = None) -> tuple[Any, ...]:
    checked = _keys("row_norms", keys, scales)
    norms = np.empty(len(checked.rows), np.float32)
    return norms, checked, norms


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
    rows, scales = keys.native
    _native.kernels.row_norms(level, rows, scales, norms)


def _search(
    function: str, queries: Any, keys: Any, norms: Any, scales: Any, threads: int | None
) -> tuple[tuple[int, ...], NDArray[np.float32], _Keys, NDArray[np.float32] | None, int]:
    """The checked arguments of a search, led by the shape of the queries."""
    queries = _float32(function, "queries", queries, (1, 2))
    checked = _keys(function, keys, scales)
    if queries.shape[-1] != checked.rows.shape[1]:
        raise ValueError(
            f"{function}: queries and keys must have equal last axes, "
            f"got shapes {queries.shape} and {checked.rows.shape}"
        )
    if norms is not None:
        norms = _one_a_row(function, "norms", norms, checked.rows)
    threads = _native.num_threads() if threads is None else operator.index(threads)
    if threads < 1:
        raise ValueError(f"{function}: threads must be at least 1, got {threads}")
    lead = queries.shape[:-1]
    return lead, _arrays.rows(queries, lead), checked, norms, threads


@cosine_scores.prepare
def _(
    queries: Any, keys: Any, *, norms: Any = None, scales: Any = None, threads: int | None = None
) -> tuple[Any, ...]:
    lead, rows, checked, *more = _search("cosine_scores", queries, keys, norms, scales, threads)
    n = len(checked.rows)
    scores = np.empty((*lead, n), np.float32)
    return scores, rows, checked, *more, scores.reshape(len(rows), n)


@cosine_scores.numba
def _(queries: Any, keys: Any, norms: Any, threads: Any, scores: Any) -> None:
    # queries: (Q, D); keys: (N, D); norms: (N,) or None; scores: (Q, N). As cosine_topk below.
    n = keys.shape[1]
    for q in range(scores.shape[0]):
        length = 0.0
        for i in range(n):
            length += np.float64(queries[q, i]) ** 2
        length = np.sqrt(length)
        for r in range(keys.shape[0]):
            if norms is not None and np.isnan(norms[r]):
                scores[q, r] = np.nan
                continue
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
            scale = np.sqrt(square0 + square1) * length
            if not np.isfinite(scale):
                scores[q, r] = np.nan
            else:
                cosine = (dot0 + dot1) / scale if scale > 0 else 0.0
                scores[q, r] = np.float32(min(1.0, max(-1.0, cosine)))


@cosine_scores.native
def _(level: _native.Level, queries: Any, keys: Any, norms: Any, threads: int, scores: Any) -> None:
    rows, scales = keys.native
    _native.kernels.cosine_scores(level, queries, rows, scales, norms, threads, scores)


@cosine_topk.prepare
def _(
    queries: Any,
    keys: Any,
    k: int,
    *,
    norms: Any = None,
    scales: Any = None,
    threads: int | None = None,
) -> tuple[Any, ...]:
    lead, rows, checked, *more = _search("cosine_topk", queries, keys, norms, scales, threads)
    k = operator.index(k)
    if k < 0:
        raise ValueError(f"cosine_topk: k must not be negative, got {k}")
    count = min(k, len(checked.rows))
    scores, indices = np.empty((*lead, count), np.float32), np.empty((*lead, count), np.int64)
    return (
        TopK(scores, indices),
        rows,
        checked,
        *more,
        scores.reshape(-1, count) if count else scores.reshape(0, 0),
        indices.reshape(-1, count) if count else indices.reshape(0, 0),
    )


@cosine_topk.numba
def _(queries: Any, keys: Any, norms: Any, threads: Any, scores: Any, indices: Any) -> None:
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
            if norms is not None and np.isnan(norms[r]):
                continue
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
            scale = np.sqrt(square0 + square1) * length
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
def _(
    level: _native.Level,
    queries: Any,
    keys: Any,
    norms: Any,
    threads: int,
    scores: Any,
    indices: Any,
) -> None:
    rows, scales = keys.native
    _native.kernels.cosine_topk(level, queries, rows, scales, norms, threads, scores, indices)
