"""Rows of a table by their ids."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.tape import Array, Operation, Spec, Tensor, apply, check_values


def integers(
    function: str, name: str, ids: Any, classes: int, ignore_index: int | None = None
) -> Array:
    """Integers as int64; ValueError where one is no class, with its place."""
    array = ids.data if isinstance(ids, Tensor) else np.asarray(ids)
    if array.dtype.kind not in "iu" and (array.size or isinstance(ids, Tensor)):
        raise TypeError(f"{function}: {name} must hold integers, got {array.dtype}")
    # the array itself where it is as it must be: a compiled step tells the batch's by identity
    array = np.ascontiguousarray(array, np.int64) if array.ndim else array.astype(np.int64)
    check_values(array, functools.partial(_in_range, function, name, classes, ignore_index))
    return array


def _in_range(
    function: str, name: str, classes: int, ignore_index: int | None, array: Array
) -> None:
    # as unsigned numbers, negative ones are the greatest
    if not array.size or array.view(np.uint64).max() < classes:
        return
    wrong = (array < 0) | (array >= classes)
    if ignore_index is not None:
        wrong &= array != ignore_index
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = f"[{', '.join(map(str, at))}]" if at else ""
        allowed = f"from 0 to {classes - 1}"
        if ignore_index is not None:
            allowed += f" or ignore_index {ignore_index}"
        raise ValueError(f"{function}: {name}{place} is {array[at]}, must be {allowed}")


@dataclass(frozen=True)
class Embedding(Operation):
    """y[...] = W[ids[...]], for ids (...) and W (rows, n).

    Backward. W[r] has an effect on y wherever ids is r, by 1: dW[r] is the sum of dy there, in the
    order of the places. The row `padding` gets none.
    """

    padding: int = -1

    name: ClassVar[str] = "embedding"
    reads_inputs: ClassVar[tuple[int, ...]] = (0,)

    def options(self) -> tuple[float, ...]:
        return (self.padding,)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        ids, weight = inputs
        if len(weight.shape) != 2:
            raise ValueError(f"embedding: weight must have 2 axes, got shape {weight.shape}")
        if ids.dtype != np.int64:
            raise TypeError(f"embedding: input must be int64, got {ids.dtype or 'real numbers'}")
        return [Spec((*ids.shape, weight.shape[1]))], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        ids, weight = inputs
        return [weight[ids]], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        ids, weight = inputs
        shape = getattr(weight, "shape", weight)  # it may be known alone
        dweight = np.zeros(shape, gradients[0].dtype)
        counts = ids != self.padding
        np.add.at(dweight, ids[counts], gradients[0][counts])
        return [None, dweight]


def embedding(input: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of `weight` by their ids.

    Parameters
    ----------
    input : array_like of int, shape (...)
        From 0 to rows - 1.
    weight : Tensor, shape (rows, n)
    padding_idx : int, optional
        The row that gets no gradient; negative ones count from the end.

    Returns
    -------
    Tensor, shape (..., n)

    Raises
    ------
    ValueError
        An id is no row (its place is named), or `padding_idx` is none.
    TypeError
        `input` does not hold integers.
    """
    rows = weight.shape[0] if weight.ndim else 0
    ids = integers("embedding", "input", input, rows)
    return apply(Embedding(padding_row(padding_idx, rows)), ids, weight)


def padding_row(padding_idx: int | None, rows: int) -> int:
    """The row of a padding index, -1 without one."""
    if padding_idx is None:
        return -1
    if not -rows <= padding_idx < rows:
        raise ValueError(
            f"embedding: padding_idx must be from {-rows} to {rows - 1}, got {padding_idx}"
        )
    return padding_idx % rows
