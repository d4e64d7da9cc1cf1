"""The angles of rotary positions (Su et al., arXiv:2104.09864), as rows of cosines and sines.

Row r is position r. Where long texts have other angles than short ones, theirs are further rows:
position p of a long text is row ``long_after + p``.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.transformer.plan import Batch, Plan

Table = NDArray[np.float64]


def count(plan: Plan) -> int:
    """How many rows there are."""
    return plan.positions + (plan.long_after if plan.long_after < plan.positions else 0)


def table(plan: Plan, layer: int, rows: NDArray[Any]) -> tuple[Table, Table]:
    """Cosines and sines of some rows of a layer, (rows, rotated / 2).

    Pair i turns by position / (theta^(2 i / rotated) divisor_i).
    """
    scaling = plan.scaling[layer] if plan.scaling else None
    rates = np.float64(plan.thetas[layer]) ** (-np.arange(0, plan.rotated, 2) / plan.rotated)
    positions = rows[:, None]
    if scaling is None:
        return np.cos(positions * rates), np.sin(positions * rates)
    angles = positions * (rates / np.array(scaling.divisors))
    if plan.long_after and scaling.long:
        far = (positions - plan.long_after) * (rates / np.array(scaling.long))
        angles = np.where(positions < plan.long_after, angles, far)
    return scaling.factor * np.cos(angles), scaling.factor * np.sin(angles)


def with_rows(plan: Plan, batch: Batch) -> Batch:
    """The batch, with rows as positions where long texts have other angles than short ones.

    Raises
    ------
    ValueError
        A text is too long.
    """
    if not plan.long_after:
        return batch
    rows: list[NDArray[Any]] = [np.empty(0, np.int32)]
    for begin, end in pairwise(batch.offsets):
        tokens = int(end - begin)
        if tokens > plan.positions:
            raise ValueError(
                f"Stack.run: a text of {tokens} tokens, positions are for {plan.positions}"
            )
        own = np.arange(tokens) if batch.positions is None else batch.positions[begin:end]
        rows.append(own + (plan.long_after if tokens > plan.long_after else 0))
    return dataclasses.replace(batch, positions=np.concatenate(rows).astype(np.int32))
