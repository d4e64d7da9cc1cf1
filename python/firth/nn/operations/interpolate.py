"""Sequences and images in other sizes, by repeating elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from firth.nn.operations.shapes import expand, index, reshape
from firth.nn.tape import Tensor


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
) -> Tensor:
    """Each axis behind the channels in another size: elements repeated, or only each nth taken.

    Parameters
    ----------
    input : Tensor, shape (N, C, L) or (N, C, H, W)
    size : int or sequence of int, optional
        Of the result.
    scale_factor : float or sequence of float, optional
        By what sizes are multiplied; this or `size`. A size is a multiple of the other one.
    mode : "nearest"

    Returns
    -------
    Tensor, shape (N, C, ...)

    Raises
    ------
    ValueError
        Another mode, a size that is no multiple, both of `size` and `scale_factor` or none.
    """
    if mode != "nearest":
        raise ValueError(f"interpolate: mode must be 'nearest', got {mode!r}")
    if input.ndim not in (3, 4):
        raise ValueError(f"interpolate: input must have 3 or 4 axes, got shape {input.shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    given: Any = scale_factor if size is None else size
    axes = input.ndim - 2
    values = list(given) if isinstance(given, Sequence) else [given] * axes
    if len(values) != axes:
        raise ValueError(f"interpolate: want a number for each of {axes} axes, got {given}")
    for axis, value in enumerate(values, 2):
        before = input.shape[axis]
        after = int(value if size is not None else math.floor(before * value))
        if min(before, after) < 1 or max(before, after) % min(before, after):
            raise ValueError(
                f"interpolate: a size must be a multiple of the other one, got {before} and {after}"
            )
        if after < before:
            input = index(input, (*(slice(None),) * axis, slice(None, None, before // after)))
        elif after > before:
            lead, tail = input.shape[: axis + 1], input.shape[axis + 1 :]
            rows = reshape(input, math.prod(lead), 1, math.prod(tail))
            rows = expand(rows, -1, after // before, -1)
            input = reshape(rows, *lead[:-1], after, *tail)
    return input
