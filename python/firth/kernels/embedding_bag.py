"""Means of gathered rows. N = ids, B = bags, V = rows of the table, D = their length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel

NAME = "embedding_bag"


@kernel
def embedding_bag(
    ids: Any,
    table: Any,
    offsets: Any,
    *,
    rows: Any = None,
    weights: Any = None,
    normalize: bool = False,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Mean of the rows of each bag of ids, as ``torch.nn.functional.embedding_bag``.

    Parameters
    ----------
    ids : array_like of int, shape (N,)
    table : array_like, shape (V, D), float32, float16, ``ml_dtypes.bfloat16`` or int8
        Widened to float32 on the fly. A view is taken where each row is contiguous, else a copy.
    offsets : array_like of int, shape (B + 1,)
        Bag b holds ``ids[offsets[b]:offsets[b + 1]]`` (torch: ``include_last_offset=True``).
    rows : array_like of int, optional
        The row of an id is ``table[rows[id]]``; by default ``table[id]``.
    weights : array_like, float32, optional
        ``weights[id]`` multiplies the row of an id. The mean divides by the number of ids, not by
        the sum of their weights.
    normalize : bool, optional
        Divide each mean by its length, which is computed in float64; zeros stay zeros.
    out : ndarray, shape (B, D), float32, C-contiguous, optional
        Receives the result; must not overlap ``table``.

    Returns
    -------
    ndarray, shape (B, D), float32; zeros for a bag without ids.

    Raises
    ------
    TypeError
        A dtype that is not listed.
    ValueError
        Shapes that do not fit, or offsets that do not rise from 0 to N.
    IndexError
        An id that is negative or has no row in the table, no entry in ``rows`` or none in
        ``weights``.

    Notes
    -----
    Accumulates in float32 in the order of the ids, by fma where the level has it: the error of an
    element of the mean is at most (n + 1) * eps * sum(|weight * value|) / n for n ids. A bag's
    result depends on the bag alone. Where that leaves the range of float32, the bag is computed
    again in float64 (the reference and the Numba version always do), so that only a mean beyond
    float32 is inf.
    """
    ids, offsets = np.asarray(ids), np.asarray(offsets)
    wide = np.asarray(table).astype(np.float64)
    result: Any = np.zeros((len(offsets) - 1, wide.shape[1]))
    for b in range(len(result)):
        bag = ids[offsets[b] : offsets[b + 1]]
        if len(bag):
            picked = wide[bag if rows is None else np.asarray(rows)[bag]]
            if weights is not None:
                picked = picked * np.asarray(weights)[bag, None]
            result[b] = picked.mean(axis=0)
    if normalize:
        lengths = np.linalg.norm(result, axis=1, keepdims=True)
        result /= np.where(lengths == 0, 1, lengths)
    if np.asarray(table).dtype != np.float64:  # which is the truth of the tests
        result = result.astype(np.float32)
    delivered: NDArray[np.float32] = _arrays.deliver(result, out)
    return delivered


class _Table:
    """The table in the form for each backend: Numba has no 16-bit floats on the CPU."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.bfloat16 = array.dtype.name == "bfloat16"
        self.bits = array.view(np.uint16) if array.itemsize == 2 else array

    @property
    def for_numba(self) -> NDArray[np.float32]:
        return self.array.astype(np.float32)


def _one_axis(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 1:
        raise ValueError(f"{NAME}: {name} must have one axis, got shape {array.shape}")
    return array


@embedding_bag.prepare
def _(
    ids: Any,
    table: Any,
    offsets: Any,
    *,
    rows: Any = None,
    weights: Any = None,
    normalize: bool = False,
    out: NDArray[np.float32] | None = None,
) -> tuple[Any, ...]:
    table = _arrays.numbers(NAME, "table", table, "float32", "float16", "bfloat16", "int8")
    if table.ndim != 2:
        raise ValueError(f"{NAME}: table must have two axes, got shape {table.shape}")
    every = np.iinfo(np.int64)
    offsets = _one_axis("offsets", _arrays.indices(NAME, "offsets", offsets, every.min, every.max))
    mapping = _one_axis("rows", np.asarray(rows)) if rows is not None else table
    ids = _one_axis("ids", _arrays.indices(NAME, "ids", ids, 0, len(mapping)))
    if (
        not len(offsets)
        or offsets[0] != 0
        or offsets[-1] != len(ids)
        or (np.diff(offsets) < 0).any()
    ):
        raise ValueError(f"{NAME}: offsets must rise from 0 to the {len(ids)} ids")
    picked = ids.astype(np.int32)
    if rows is not None:
        picked = _arrays.indices(NAME, "rows", mapping[ids], 0, len(table), np.int32)
    factors = None
    if weights is not None:
        weights = _one_axis("weights", _arrays.numbers(NAME, "weights", weights, "float32"))
        _arrays.indices(NAME, "ids (each has a weight)", ids, 0, len(weights))
        factors = weights[ids]
    result = _arrays.output(NAME, out, (len(offsets) - 1, table.shape[1]), np.float32)
    if not result.flags.c_contiguous:
        raise ValueError(f"{NAME}: out must be C-contiguous")
    table = _Table(_arrays.rows(table, table.shape[:1]))
    return result, table, picked, factors, offsets, bool(normalize), result


@embedding_bag.numba
def _(table: Any, rows: Any, weights: Any, offsets: Any, normalize: bool, out: Any) -> None:
    # table: (V, D); rows: (N,); weights: (N,) or None; offsets: (B + 1,); out: (B, D)
    means = np.empty(out.shape[1])  # float64, which holds the square of every float32
    for b in range(out.shape[0]):
        means[:] = 0
        count = offsets[b + 1] - offsets[b]
        for i in range(offsets[b], offsets[b + 1]):
            weight = 1.0
            if weights is not None:
                weight = np.float64(weights[i])
            for d in range(out.shape[1]):
                means[d] += weight * np.float64(table[rows[i], d])
        square = 0.0
        for d in range(out.shape[1]):
            if count > 0:
                means[d] /= count
            square += means[d] ** 2
        factor = 1.0
        if normalize and square != 0:
            factor = 1 / np.sqrt(square)
        for d in range(out.shape[1]):
            out[b, d] = np.float32(means[d] * factor)


@embedding_bag.native
def _(
    level: _native.Level,
    table: Any,
    rows: Any,
    weights: Any,
    offsets: Any,
    normalize: bool,
    out: Any,
) -> None:
    _native.kernels.embedding_bag(
        level, table.bits, table.bfloat16, rows, weights, offsets, normalize, out
    )
