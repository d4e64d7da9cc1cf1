"""Sums and means of rows of a table: bags of ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from firth.nn.operations import arithmetic
from firth.nn.operations.embedding import embedding, integers, padding_row
from firth.nn.operations.shapes import index, reshape
from firth.nn.tape import Array, Tensor, derive, fixed, tracing


def embedding_bag(
    input: Any,
    weight: Tensor,
    offsets: Any = None,
    *,
    mode: str = "mean",
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The mean or the sum of the rows of `weight` in each bag of ids; 0 of an empty one.

    Bags are padded to the longest, and each is a product of its shares and its rows.

    Parameters
    ----------
    input : array_like of int, shape (B, n), or (N,) with `offsets`
    weight : Tensor, shape (rows, width)
    offsets : array_like of int, shape (B,), optional
        Where each bag begins in `input`; a compiled step cannot have it.
    mode : {"mean", "sum"}
    per_sample_weights : Tensor, shape of `input`, optional
        Factors of the rows, with "sum".
    include_last_offset : bool
        Whether `offsets` has one number more, where the last bag ends.
    padding_idx : int, optional
        The row that no bag counts, and that gets no gradient.

    Returns
    -------
    Tensor, shape (B, width)

    Raises
    ------
    ValueError
        An id is no row, `offsets` do not rise from 0, a shape does not fit, there is no such mode.
    TypeError
        Ids or offsets are no integers.
    """
    where = "embedding_bag"
    rows = weight.shape[0] if weight.ndim else 0
    ids = integers(where, "input", input, rows)
    padding = padding_row(padding_idx, rows)
    if mode not in ("mean", "sum"):
        raise ValueError(f"{where}: mode must be 'mean' or 'sum', got {mode!r}")
    if ids.ndim not in (1, 2) or (ids.ndim == 2) != (offsets is None):
        raise ValueError(
            f"{where}: input must have 2 axes, or 1 and offsets, got shape {ids.shape}"
        )
    factors = per_sample_weights
    if factors is not None:
        if mode != "sum":
            raise ValueError(f"{where}: per_sample_weights need mode 'sum', got {mode!r}")
        if factors.shape != ids.shape:
            raise ValueError(
                f"{where}: per_sample_weights must have shape {ids.shape}, got {factors.shape}"
            )
    there = np.ones(ids.shape, np.bool_)
    if offsets is not None:
        places, there = _places(where, offsets, len(ids), include_last_offset)
        ids = ids[places] if len(ids) else np.zeros(places.shape, np.int64)
        factors = None if factors is None else index(factors, places)

    def shares(ids: Array) -> Array:
        counts: Array = (there & (ids != padding)).astype(weight.dtype)
        if mode == "mean":
            counts /= np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return counts

    # what padding leaves out depends on the ids, all else on shapes
    parts = Tensor(fixed(shares(ids)) if padding_idx is None else derive(ids, shares))
    if factors is not None:
        parts = arithmetic.mul(factors, parts)
    vectors = embedding(ids, weight, padding_idx)
    bags = arithmetic.matmul(reshape(parts, len(ids), 1, ids.shape[1]), vectors)
    return reshape(bags, len(ids), weight.shape[1])


def _places(where: str, offsets: Any, count: int, last: bool) -> tuple[Array, Array]:
    """The places of each bag's ids, (B, longest), and whether there is one."""
    if tracing():
        raise RuntimeError(
            f"{where}: shapes depend on offsets, which a step that is being compiled cannot have; "
            "give bags of one length, filled up with padding_idx"
        )
    starts = integers(where, "offsets", offsets, count + 1)
    ends = starts[1:] if last else np.append(starts[1:], count)
    starts = starts[: len(ends)]
    lengths = ends - starts
    if starts.ndim != 1 or (len(starts) and starts[0]) or (lengths < 0).any():
        raise ValueError(f"{where}: offsets must rise from 0, got {starts.tolist()}")
    steps = np.arange(lengths.max(initial=0))
    there = steps < lengths[:, None]
    return np.where(there, starts[:, None] + steps, 0), there
