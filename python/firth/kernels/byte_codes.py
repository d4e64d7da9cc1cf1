"""Byte codes of rows, and which rows may reach a score: the first pass of exact search."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel

BLOCK = 32  # rows of a block
_QUERY_ERROR = 1 / 128  # what B takes |w| / |t e| to be
_METRICS = ("cosine", "ip", "l2")


class ByteCodes(NamedTuple):
    """Rows (N, D) as `byte_codes` makes them: B = ceil(N / 32) blocks, U = ceil(D / 4) units.

    Attributes
    ----------
    codes : ndarray (B, U, 32, 4) uint8
        The code of element 4 u + i of row 32 b + r, plus 128, at [b, u, r, i].
    bounds : ndarray (B, 3, 32) float32
        Scale, bias and bound of each row; the bound is NaN for padding.
    centre : ndarray (D,) float32
    metric : str
    rows : int
        N.
    """

    codes: NDArray[np.uint8]
    """(B, U, 32, 4): the code of element 4 u + i of row 32 b + r, plus 128, at [b, u, r, i]."""
    bounds: NDArray[np.float32]
    """(B, 3, 32): scale s, bias b and bound B of each row; B is NaN for padding."""
    centre: NDArray[np.float32]
    """(D,)"""
    metric: str
    rows: int
    """N"""

    @property
    def for_numba(self) -> tuple[Any, ...]:
        """What the Numba versions take."""
        return self.codes, self.bounds, self.centre, _METRICS.index(self.metric)


@kernel
def byte_codes(rows: Any, centre: Any = None, metric: str = "cosine") -> ByteCodes:
    """Code rows as signed bytes around a centre, with a bound on what that loses.

    Parameters
    ----------
    rows : array_like, shape (N, D), float32
        Finite numbers.
    centre : array_like, shape (D,), float32, optional
        The mean of the rows (cosine: of the rows divided by their norms) gives the best codes; any
        other gives right ones. Zeros by default.
    metric : {"cosine", "ip", "l2"}
        What the codes are for: cosine, inner product, or minus the squared distance.

    Returns
    -------
    ByteCodes

    Raises
    ------
    TypeError, ValueError
        Another dtype, shape or metric.

    Notes
    -----
    A score f(q, x) is the cosine (p = q / |q|, y = x / |x|), the inner product (p = q / |q|, y = x,
    all divided by |q|) or minus the squared distance (p = q, y = x), in float64, rounded once to
    float32. With the centre m, p' = p - m and y' = y - m::

        cosine, ip     p.y      = p'.y' + m.y' + p.m              bias  b = m.y'
        l2           -|p - y|^2 = 2 (p'.y' - |y'|^2 / 2) - |p'|^2   bias  b = -|y'|^2 / 2

    A row is coded as y' = s c + r with c in [-127, 127], a query as p' = t e + w. Then, by Cauchy
    and Schwarz::

        p'.y' = s t (c.e) + t e.r + w.y'  <=  s t (c.e) + |t e| |r| + |w| |y'|

    where c.e is an exact sum of integers (below 2^31 up to 66,000 dimensions). So a row scores T or
    more only if ::

        s (c.e) + b / t + (F / t) B  >=  (T' - const) / t                                (1)

    with B = |r| + k |y'| beside the row (k = 1/128, a usual |w| / |t e|) and
    F = max(|t e|, |w| / k) beside the query: F B >= |t e| |r| + |w| |y'|.

    Rounding. T' is T - 2^-24 |T| - 2^-149 for the rounding of f to float32, less what its float64
    sums can be wrong by: 2^-36 (cosine), 2^-36 |m| and 2^-18 more in F (ip: in units of |y'|),
    2^-30 |T| (l2). The left side of (1) is computed in float32 with at most eight roundings of
    2^-24, hence within 2^-21 of |s (c.e)| + |b / t| + F B / t. Since |r| <= |y'| and |s c| <=
    |y'| + |r|, the first is at most 2 |y'| F / t. So B is stored as (1 + 2^-18) (|r| + k |y'|) +
    2^-19 |y'|, and b as b + 2^-20 |b|: more than these roundings, and both rounded up. y' itself
    is computed in float64 within 2^-53 (|y| + |m|) an element: 2^-48 |m| more in B, and that times
    |y'| more in b. Products may be denormal in float32: the right side is 2^-140 lower. The test is
    not strict, so that rows of equal score stay together. Where |y'| exceeds 2^36 or |b| 2^80 the
    test could overflow: B is inf, and the row passes always.

    The idea of a bound beside quantised vectors is that of the VA-file (Weber et al., 1998) and of
    FEXIPRO (Li et al., 2017); the rounding terms, which make the result identical and not only
    nearly so, and the centring of both sides are firth's.
    """
    rows = np.asarray(rows).astype(np.float64)
    n, d = rows.shape
    mean = np.zeros(d) if centre is None else np.asarray(centre).astype(np.float64)
    y = rows
    if metric == "cosine":
        norms = np.sqrt((rows * rows).sum(axis=1))
        y = rows / np.where(norms > 0, norms, 1)[:, None]
    y = y - mean
    scale = _up(np.abs(y).max(axis=1, initial=0) / 127)
    scale[scale < 2.0**-120] = 0
    steps = np.where(scale > 0, scale, 1).astype(np.float64)[:, None]
    codes = np.rint(np.where(scale[:, None] > 0, y / steps, 0))
    lost = np.linalg.norm(y - codes * scale[:, None], axis=1)
    length = np.linalg.norm(y, axis=1)
    slack = 2.0**-48 * np.linalg.norm(mean)
    bias = -(length**2) / 2 if metric == "l2" else y @ mean
    far = (length > 2.0**36) | (np.abs(bias) > 2.0**80)  # the test could overflow: always True
    bias[far] = length[far] = lost[far] = 0
    bias = _up(bias + 2.0**-20 * np.abs(bias) + slack * length)
    bound = _up((1 + 2.0**-18) * (lost + _QUERY_ERROR * length) + 2.0**-19 * length + slack)
    scale[far], bias[far], bound[far] = 0, 0, np.inf
    result = _empty(n, d, centre, metric)
    bytes_ = np.full((len(result.codes) * BLOCK, result.codes.shape[1] * 4), 128, np.uint8)
    bytes_[:n, :d] = codes + 128
    blocks, units = result.codes.shape[:2]
    result.codes[:] = bytes_.reshape(blocks, BLOCK, units, 4).swapaxes(1, 2)
    for i, (values, padding) in enumerate(((scale, 0), (bias, 0), (bound, np.nan))):
        padded = np.full(len(bytes_), padding, np.float32)
        padded[:n] = values
        result.bounds[:, i] = padded.reshape(-1, BLOCK)
    return result


@kernel
def may_reach(queries: Any, coded: ByteCodes, scores: Any) -> NDArray[np.bool_]:
    """Which rows may reach a score, judged by their codes: no row that does is missed.

    Parameters
    ----------
    queries : array_like, shape (Q, D), float32
        Finite numbers.
    coded : ByteCodes
        Of N rows, with at most 66,000 dimensions.
    scores : array_like, shape (Q,), float32
        One for each query; see `byte_codes` for what a score is.

    Returns
    -------
    ndarray, shape (Q, N), bool
        True for every row that scores ``scores[q]`` or more, and for some others. Which others
        depends on the level (queries are coded with 8 or 7 bits); that none is missed does not.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape.
    """
    queries = np.asarray(queries).astype(np.float64)
    d = queries.shape[1]
    blocks, units = coded.codes.shape[:2]
    plain = coded.codes.swapaxes(1, 2).reshape(blocks * BLOCK, units * 4)[: coded.rows, :d]
    codes = plain.astype(np.float64) - 128
    scale, bias, bound = coded.bounds.swapaxes(0, 1).reshape(3, -1)[:, : coded.rows].astype(float)
    centre = coded.centre.astype(np.float64)
    reach = np.ones((len(queries), coded.rows), bool)
    for q, (query, score) in enumerate(zip(queries, np.asarray(scores, np.float64), strict=True)):
        norm = np.sqrt(query @ query)
        p = query if coded.metric == "l2" else query / norm if norm > 0 else query
        rest = p - centre
        step = np.abs(rest).max(initial=0) / 127
        if norm == 0 or not 2.0**-40 <= step <= 2.0**30:
            continue  # no codes: every row may
        e = np.rint(rest / step)
        length, lost = np.linalg.norm(e) * step, np.linalg.norm(rest - e * step)
        factor = max(length, lost / _QUERY_ERROR)
        least = score - abs(score) * 2.0**-23.99 - 2.0**-149
        if coded.metric == "l2":
            least = (least - abs(least) * 2.0**-30 + (rest @ rest) * (1 - 2.0**-40)) / 2
        else:
            factor += 2.0**-18
            size = np.linalg.norm(centre) if coded.metric == "ip" else 2
            least = least / (norm if coded.metric == "ip" else 1) - p @ centre - 2.0**-36 * size
        reach[q] = scale * step * (codes @ e) + bias + factor * bound >= least
    return reach


def _up(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The nearest float32, or one a little above where that is less."""
    near = values.astype(np.float32)
    above = near + np.abs(near) * np.float32(2.0**-22) + np.float32(2.0**-149)
    return np.where(near < values, above, near)


def _empty(n: int, d: int, centre: Any, metric: str) -> ByteCodes:
    blocks = -(-n // BLOCK)
    mean = np.zeros(d, np.float32) if centre is None else np.asarray(centre, np.float32)
    return ByteCodes(
        np.empty((blocks, -(-d // 4), BLOCK, 4), np.uint8),
        np.empty((blocks, 3, BLOCK), np.float32),
        np.ascontiguousarray(mean),
        metric,
        n,
    )


def _float32(function: str, name: str, value: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    array = _arrays.numbers(function, name, value, "float32")
    if array.ndim != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
    ):
        expected = ", ".join("any" if extent is None else str(extent) for extent in shape)
        raise ValueError(f"{function}: {name} must have shape ({expected}), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{function}: {name} must be finite")
    return np.ascontiguousarray(array)


@byte_codes.prepare
def _(rows: Any, centre: Any = None, metric: str = "cosine") -> tuple[Any, ...]:
    if metric not in _METRICS:
        raise ValueError(f"byte_codes: metric must be one of {_METRICS}, got {metric!r}")
    rows = _float32("byte_codes", "rows", rows, (None, None))
    if centre is not None:
        centre = _float32("byte_codes", "centre", centre, rows.shape[1:])
    n, d = rows.shape
    result = _empty(n, d, centre, metric)
    return result, rows, result


@byte_codes.numba
def _(rows: Any, result: Any) -> None:
    codes, bounds, centre, metric = result
    n, d = rows.shape
    codes[:] = 128
    bounds[:] = 0
    middle = 0.0
    for i in range(d):
        middle += np.float64(centre[i]) ** 2
    slack = 2.0**-48 * np.sqrt(middle)
    for r in range(codes.shape[0] * 32):
        block, lane = r // 32, r % 32
        if r >= n:
            bounds[block, 2, lane] = np.nan
            continue
        square = 0.0
        for i in range(d):
            square += np.float64(rows[r, i]) ** 2
        unit = 1.0
        if metric == 0 and square > 0:
            unit = 1 / np.sqrt(square)
        most = 0.0
        for i in range(d):
            most = max(most, abs(rows[r, i] * unit - centre[i]))
        scale = np.float32(most / 127)
        if scale < most / 127:
            scale += scale * np.float32(2.0**-22) + np.float32(2.0**-149)
        if scale < 2.0**-120:
            scale = np.float32(0)
        lost, length, product = 0.0, 0.0, 0.0
        for i in range(d):
            y = rows[r, i] * unit - np.float64(centre[i])
            code = np.rint(y / scale) if scale > 0 else 0.0
            codes[block, i // 4, lane, i % 4] = np.uint8(code + 128)
            lost += (y - code * scale) ** 2
            length += y * y
            product += y * centre[i]
        lost, length = np.sqrt(lost), np.sqrt(length)
        bias = -0.5 * length * length if metric == 2 else product
        far = length > 2.0**36 or abs(bias) > 2.0**80
        bias += 2.0**-20 * abs(bias) + slack * length
        bound = (1 + 2.0**-18) * (lost + length / 128) + 2.0**-19 * length + slack
        if far:
            scale, bias, bound = np.float32(0), 0.0, np.inf
        bounds[block, 0, lane] = scale
        for place, value in ((1, bias), (2, bound)):
            near = np.float32(value)
            if near < value:
                near += abs(near) * np.float32(2.0**-22) + np.float32(2.0**-149)
            bounds[block, place, lane] = near


@byte_codes.native
def _(level: _native.Level, rows: Any, result: ByteCodes) -> None:
    _native.kernels.code_rows(
        level, rows, None, result.metric, result.centre, result.codes, result.bounds
    )


@may_reach.prepare
def _(queries: Any, coded: ByteCodes, scores: Any) -> tuple[Any, ...]:
    queries = _float32("may_reach", "queries", queries, (None, len(coded.centre)))
    scores = _float32("may_reach", "scores", scores, (len(queries),))
    reach = np.empty((len(queries), coded.rows), bool)
    return reach, queries, coded, scores, reach


@may_reach.numba
def _(queries: Any, coded: Any, scores: Any, reach: Any) -> None:
    codes, bounds, centre, metric = coded
    count, d = queries.shape
    e = np.empty(d)
    middle = 0.0
    for i in range(d):
        middle += np.float64(centre[i]) ** 2
    for q in range(count):
        square = 0.0
        for i in range(d):
            square += np.float64(queries[q, i]) ** 2
        norm = np.sqrt(square)
        unit = 1.0
        if metric != 2 and norm > 0:
            unit = 1 / norm
        most, product, rest_square = 0.0, 0.0, 0.0
        for i in range(d):
            rest = queries[q, i] * unit - np.float64(centre[i])
            most = max(most, abs(rest))
            product += queries[q, i] * unit * centre[i]
            rest_square += rest * rest
        step = most / 127
        if norm == 0 or step < 2.0**-40 or step > 2.0**30:
            reach[q] = True
            continue
        length, lost = 0.0, 0.0
        for i in range(d):
            rest = queries[q, i] * unit - np.float64(centre[i])
            e[i] = np.rint(rest / step)
            length += e[i] * e[i]
            lost += (rest - e[i] * step) ** 2
        factor = max(np.sqrt(length) * step, np.sqrt(lost) * 128)
        score = np.float64(scores[q])
        least = score - abs(score) * 2.0**-23.99 - 2.0**-149
        if metric == 2:
            least = (least - abs(least) * 2.0**-30 + rest_square * (1 - 2.0**-40)) / 2
        else:
            factor += 2.0**-18
            size = np.sqrt(middle) if metric == 1 else 2.0
            least = least / (norm if metric == 1 else 1.0) - product - 2.0**-36 * size
        for r in range(reach.shape[1]):
            total = 0.0
            for i in range(d):
                total += (np.float64(codes[r // 32, i // 4, r % 32, i % 4]) - 128) * e[i]
            scale = np.float64(bounds[r // 32, 0, r % 32])
            bias = np.float64(bounds[r // 32, 1, r % 32])
            bound = np.float64(bounds[r // 32, 2, r % 32])
            reach[q, r] = scale * step * total + bias + factor * bound >= least


@may_reach.native
def _(level: _native.Level, queries: Any, coded: ByteCodes, scores: Any, reach: Any) -> None:
    _native.kernels.may_reach(
        level,
        queries,
        coded.metric,
        coded.codes,
        coded.bounds,
        coded.centre,
        coded.rows,
        scores,
        reach,
    )
