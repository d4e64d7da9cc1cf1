"""What users give as ``filter`` and ``exclude``, made into rows of one snapshot of an index.

A choice of rows is given as ids, as a mask of booleans, or as a packed mask (uint8). The search
wants sorted slots, or a bitmap over slots. `parse` tells the forms apart; `resolve` makes the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from firth.search.index import State


class Choices(NamedTuple):
    """Different choices of rows, and which of them each query has (-1: none)."""

    choices: list[Any]  # ids (a list or an array), or masks (bool, or packed in uint8)
    of_query: NDArray[np.int64]


def _one(name: str, given: Any) -> Any:
    """One choice of rows: an array of bool, uint8 or integers, or a list of str."""
    if isinstance(given, (str, int, np.integer)):
        given = [given]
    if isinstance(given, (Set, range)):
        given = list(given)
    if isinstance(given, (list, tuple)):
        if any(isinstance(one, str) for one in given):
            return list(given)
        given = np.array(given) if len(given) else np.empty(0, np.int64)
    array = np.asarray(given)
    if array.ndim != 1:
        raise ValueError(f"{name}: one choice of rows must be 1-D, got shape {array.shape}")
    if array.dtype.kind in "UO":
        return array.tolist()
    return array


def parse(name: str, given: Any, queries: int) -> Choices | None:
    """The choices of rows for so many queries; None for no choice at all.

    Raises
    ------
    ValueError
        Neither one choice for all queries nor one for each.
    """
    if given is None:
        return None
    if isinstance(given, np.ndarray) and given.ndim == 2:
        given = list(given)
    each = isinstance(given, (list, tuple)) and any(
        one is None or isinstance(one, (list, tuple, np.ndarray, Set, range)) for one in given
    )
    if not each:
        return Choices([_one(name, given)], np.zeros(queries, np.int64))
    if len(given) != queries:
        raise ValueError(f"{name}: want one choice of rows for each of {queries} queries, "
                         f"got {len(given)}")  # fmt: skip
    choices: list[Any] = []
    of_query = np.full(queries, -1, np.int64)
    for query, one in enumerate(given):
        if one is not None:
            of_query[query] = len(choices)
            choices.append(_one(name, one))
    return Choices(choices, of_query) if choices else None


def is_mask(choice: Any) -> bool:
    """Whether a parsed choice goes by position among the live rows, not by id."""
    return isinstance(choice, np.ndarray) and choice.dtype in (np.bool_, np.uint8)


def resolve(
    name: str, wanted: Choices, state: State, of_ids: Iterator[NDArray[np.int64]]
) -> list[NDArray[Any]]:
    """Sorted slots (int64) or a bitmap over slots (uint8) for each choice.

    ``of_ids`` gives the slots of one list of ids after the other, -1 for ids that are not there.
    ValueError where a mask has another length than the index has rows.
    """
    return [
        _bitmap(name, choice, state) if is_mask(choice) else _ascending(next(of_ids))
        for choice in wanted.choices
    ]


def _bitmap(name: str, mask: NDArray[Any], state: State) -> NDArray[np.uint8]:
    packed = mask.dtype == np.uint8
    length = -(-state.live // 8) if packed else state.live
    if len(mask) != length:
        what = "a packed mask (uint8)" if packed else "a mask"
        raise ValueError(
            f"{name}: {what} for {state.live} rows must have length {length}, got {len(mask)}"
        )
    return state.bitmap(mask)


def _ascending(slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Slots without -1, each once, in order."""
    slots = slots[slots >= 0]
    return slots if (slots[1:] > slots[:-1]).all() else np.unique(slots)
