"""Means of gathered rows. N = ids, B = bags, V = rows of the table, D = their length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel


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
    table : ndarray, shape (V, D), float32, float16, ``ml_dtypes.bfloat16`` or int8
        Widened to float32 on the fly. A view is taken where each row is contiguous, else a copy.
    offsets : array_like of int, shape (B + 1,)
        Bag b holds ``ids[offsets[b]:offsets[b + 1]]`` (torch: ``include_last_offset=True``).
    rows : array_like of int, optional
        An id stands for ``table[rows[id]]``; without it for ``table[id]``.
    weights : array_like of float, optional
        ``weights[id]`` multiplies the row of an id. The mean divides by the number of ids, not by
        the sum of their weights.
    normalize : bool, optional
        Divide each mean by its length + 1e-32.
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
        An id that is negative or has no row, no entry in ``rows`` or none in ``weights``.

    Notes
    -----
    Accumulates in float32 in the order of the ids, by fma where the level has it: the error of an
    element of the mean is at most (n + 1) * eps * sum(|weight * value|) / n for n ids. A bag's
    result depends on the bag alone.
    """
    ids, offsets = np.asarray(ids), np.asarray(offsets)
    wide = np.asarray(table)
    if wide.dtype != np.float64:
        wide = wide.astype(np.float32)
    result: Any = np.zeros((len(offsets) - 1, wide.shape[1]), wide.dtype)
    for b in range(len(result)):
        bag = ids[offsets[b] : offsets[b + 1]]
        if len(bag):
            picked = wide[bag if rows is None else np.asarray(rows)[bag]]
            if weights is not None:
                picked = picked * np.asarray(weights)[bag, None]
            result[b] = picked.mean(axis=0)
    if normalize:
        result /= np.linalg.norm(result, axis=1, keepdims=True) + wide.dtype.type(1e-32)
    delivered: NDArray[np.float32] = _arrays.deliver(result, out)
    return delivered


class _Table:
    """The table as each backend wants it: Numba has no 16-bit floats on the CPU."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.bfloat16 = array.dtype.name == "bfloat16"
        self.bits = array.view(np.uint16) if array.itemsize == 2 else array

    @property
    def for_numba(self) -> NDArray[np.float32]:
        return self.array.astype(np.float32)


def _integers(name: str, value: Any, dtype: type) -> NDArray[Any]:
    array = np.asarray(value)
    if array.size == 0:
        array = array.astype(dtype)
    if array.dtype.kind not in "iu":
        raise TypeError(f"embedding_bag: {name} must be integers, got {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"embedding_bag: {name} must have one axis, got shape {array.shape}")
    if array.dtype == dtype:
        return np.ascontiguousarray(array)
    limits = np.iinfo(dtype)
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise IndexError(f"embedding_bag: {name} out of range")
    return np.ascontiguousarray(array, dtype)


def _check_range(name: str, array: NDArray[Any], end: int, what: str) -> None:
    if array.size and not 0 <= array.min() <= array.max() < end:
        raise IndexError(
            f"embedding_bag: {name} must be at least 0 and below {end} ({what}), "
            f"got {array.min()} to {array.max()}"
        )


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
    table = np.asarray(table)
    if table.dtype.name not in ("float32", "float16", "bfloat16", "int8") or (
        not table.dtype.isnative
    ):
        raise TypeError(
            "embedding_bag: table must be float32, float16, bfloat16 or int8 in native byte order, "
            f"got {table.dtype}"
        )
    if table.ndim != 2:
        raise ValueError(f"embedding_bag: table must have two axes, got shape {table.shape}")
    ids = _integers("ids", ids, np.int32)
    offsets = _integers("offsets", offsets, np.int64)
    if (
        not len(offsets)
        or offsets[0] != 0
        or offsets[-1] != len(ids)
        or (np.diff(offsets) < 0).any()
    ):
        raise ValueError(f"embedding_bag: offsets must rise from 0 to the {len(ids)} ids")
    if rows is not None:
        rows = _integers("rows", rows, np.int32)
        _check_range("rows", rows, len(table), "rows of the table")
    _check_range(
        "ids",
        ids,
        len(table) if rows is None else len(rows),
        "rows" if rows is not None else "table",
    )
    if weights is not None:
        weights = np.ascontiguousarray(weights, np.float32)
        if weights.ndim != 1:
            raise ValueError(
                f"embedding_bag: weights must have one axis, got shape {weights.shape}"
            )
        _check_range("ids", ids, len(weights), "weights")
    result = _arrays.output("embedding_bag", out, (len(offsets) - 1, table.shape[1]), np.float32)
    if not result.flags.c_contiguous:
        raise ValueError("embedding_bag: out must be C-contiguous")
    table = _Table(_arrays.rows(table, table.shape[:1]))
    return result, ids, table, offsets, rows, weights, bool(normalize), result


@embedding_bag.numba
def _(
    ids: Any, table: Any, offsets: Any, rows: Any, weights: Any, normalize: bool, out: Any
) -> None:
    # ids: (N,); table: (V, D); offsets: (B + 1,); rows, weights: (I,) or None; out: (B, D)
    out[:] = 0
    for b in range(out.shape[0]):
        count = np.float32(offsets[b + 1] - offsets[b])
        for i in range(offsets[b], offsets[b + 1]):
            row = ids[i]
            weight = np.float32(1)
            if weights is not None:
                weight = weights[ids[i]]
            if rows is not None:
                row = rows[ids[i]]
            for d in range(out.shape[1]):
                out[b, d] += weight * table[row, d]
        square = np.float32(0)
        for d in range(out.shape[1]):
            if count > 0:
                out[b, d] /= count
            square += out[b, d] * out[b, d]
        if normalize:
            norm = np.sqrt(square) + np.float32(1e-32)
            for d in range(out.shape[1]):
                out[b, d] /= norm


@embedding_bag.native
def _(
    level: _native.Level,
    ids: Any,
    table: Any,
    offsets: Any,
    rows: Any,
    weights: Any,
    normalize: bool,
    out: Any,
) -> None:
    level.embedding_bag(table.bits, table.bfloat16, ids, offsets, rows, weights, normalize, out)
