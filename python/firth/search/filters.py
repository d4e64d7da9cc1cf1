"""``filter`` and ``exclude`` of a search, converted to rows of one state of an index.

A choice of rows is given as ids, as a mask of booleans, or as a packed mask (uint8). Native code
takes sorted slots, or a bitmap over slots. `parse` checks and distinguishes the forms,
`Choices.resolve` converts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.search.arguments import checked_ids
from firth.search.state import State

Rows = NDArray[np.int64] | NDArray[np.uint8]  # sorted slots, or a bitmap over slots


class Choices(NamedTuple):
    """Different choices of rows, and which of them each query has (-1: none)."""

    where: str  # begins errors
    choices: list[Any]  # checked ids, or masks (bool, or packed in uint8)
    of_query: NDArray[np.int64] | None

    def id_lists(self) -> list[Any]:
        """The choices that are ids."""
        return [choice for choice in self.choices if not _is_mask(choice)]

    def resolve(self, state: State, slots: Iterator[NDArray[np.int64]]) -> list[Rows]:
        """Sorted slots or a bitmap over slots for each choice.

        ``slots`` yields those of one list of ids after the other, -1 for unknown ids.
        ValueError where a mask has another length than the index has rows.
        """
        return [
            self._bitmap(choice, state) if _is_mask(choice) else _ascending(next(slots))
            for choice in self.choices
        ]

    def _bitmap(self, mask: NDArray[Any], state: State) -> NDArray[np.uint8]:
        packed = mask.dtype == np.uint8
        length = -(-state.live // 8) if packed else state.live
        if len(mask) != length:
            what = "a packed mask (uint8)" if packed else "a mask"
            raise ValueError(
                f"{self.where}: {what} of {state.live} rows must have length {length}, "
                f"got {len(mask)}"
            )
        return state.bitmap(mask)


def _is_mask(choice: Any) -> bool:
    return isinstance(choice, np.ndarray) and choice.dtype in (np.bool_, np.uint8)


def _ascending(slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Slots without -1, each once, in order."""
    if len(slots) and slots.min() < 0:
        slots = slots[slots >= 0]
    if not (slots[1:] > slots[:-1]).all():
        slots = np.sort(slots)
        slots = slots[np.append(True, slots[1:] != slots[:-1])]
    return slots


def _array(given: Any) -> Any:
    """Arrays of other libraries (a tensor, a column of a table) as NumPy's; others unchanged."""
    foreign = hasattr(given, "__array__") and not isinstance(given, (np.ndarray, np.generic))
    return np.asarray(given) if foreign else given


def _several(one: Any) -> bool:
    return isinstance(one, (list, tuple, Set, range)) or (
        isinstance(one, np.ndarray) and one.ndim > 0
    )


def _choice(where: str, given: Any) -> Any:
    """One choice of rows, checked as far as possible without a state."""
    if isinstance(given, (list, tuple)) and given and isinstance(given[0], (bool, np.bool_)):
        given = np.asarray(given)
    if _is_mask(given):
        if given.ndim != 1:
            raise ValueError(f"{where}: a mask must be 1-D, got shape {given.shape}")
        return given
    return checked_ids(where, given)[0]


def parse(where: str, given: Any, queries: int) -> Choices:
    """The choices of rows for a number of queries.

    ValueError where there is neither one for all queries nor one for each.
    """
    if given is None:
        return Choices(where, [], None)
    if callable(given):
        raise TypeError(
            f"{where} must be ids or a mask, not a function: choose before, as by "
            "[id for id in index if wanted(id)]"
        )
    given = _array(given)
    if isinstance(given, (list, tuple)) and given and _array(given[0]) is not given[0]:
        given = [_array(one) for one in given]
    if isinstance(given, np.ndarray) and (given.ndim == 2 or given.dtype == object):
        given = list(given)
    each = isinstance(given, (list, tuple)) and given and (given[0] is None or _several(given[0]))
    if not each:
        return Choices(where, [_choice(where, given)], np.zeros(queries, np.int64))
    if len(given) != queries:
        raise ValueError(
            f"{where} must be one choice of rows or one for each of {queries} queries, "
            f"got {len(given)}"
        )
    choices: list[Any] = []
    of_query = np.full(queries, -1, np.int64)
    for query, one in enumerate(given):
        if one is not None:
            of_query[query] = len(choices)
            choices.append(_choice(where, one))
    return Choices(where, choices, of_query)


def most(chosen: dict[str, Any], live: int) -> int:
    """A bound on the number of rows that a query can find; a greater k would waste memory."""
    of = chosen["filter_of"]
    if of is None or (of < 0).any():
        return live
    sizes = [
        int(np.bitwise_count(one).sum()) if one.dtype == np.uint8 else len(one)
        for one in chosen["filters"]
    ]
    return min(live, max(sizes, default=live))


def part(chosen: dict[str, Any], queries: Any) -> dict[str, Any]:
    """The choices of some of the queries (a slice or places), and no others."""
    result = {}
    for name, of_name in (("filters", "filter_of"), ("exclusions", "exclusion_of")):
        result[name], result[of_name] = chosen[name], chosen[of_name]
        if chosen[of_name] is not None:
            of = chosen[of_name][queries]
            used = np.unique(of[of >= 0])
            result[name] = [chosen[name][number] for number in used.tolist()]
            result[of_name] = np.where(of < 0, -1, np.searchsorted(used, of))
    return result
