"""The transportation problem (earth mover's distance), exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native


def transport_cost(costs: NDArray[Any], supply: Sequence[int], demand: Sequence[int]) -> float:
    """The least cost of moving one distribution to another, each of total weight 1.

    Parameters
    ----------
    costs : array_like (N, M)
        At least 0; of moving the weight 1 from i to j.
    supply, demand : sequence of N, and of M, whole numbers
        Supply of each i and demand of each j, above 0; each is divided by its sum.

    Returns
    -------
    float
        NaN where a cost is not finite.

    Raises
    ------
    ValueError
        Shapes do not fit, a number or cost is negative, or a sum is 0.
    """
    costs = np.ascontiguousarray(costs, np.float64)
    amounts = [np.array(side, np.int64) for side in (supply, demand)]
    if costs.shape != (amounts[0].size, amounts[1].size):
        raise ValueError(
            f"transport_cost: costs must have shape {(amounts[0].size, amounts[1].size)}, "
            f"got {costs.shape}"
        )
    sums = [int(side.sum()) for side in amounts]
    if min(sums) <= 0 or any((side < 0).any() for side in amounts) or (costs < 0).any():
        raise ValueError("transport_cost: numbers must be positive and costs not negative")
    if not np.isfinite(costs).all():
        return float("nan")
    # Whole numbers of one sum, and costs near 1, so that nothing is lost to rounding or overflows.
    _, exponent = np.frexp(costs.max())
    near_one = np.ldexp(costs, -exponent)
    total = _native.words.transport(near_one, amounts[0] * sums[1], amounts[1] * sums[0])
    return float(np.ldexp(total / sums[0] / sums[1], exponent))
