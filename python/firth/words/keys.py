"""Keys of vectors in a file: text, and the places of those that are integers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import shortened
from firth.words.vectors import KEY


def keys_as_text(keys: Iterable[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Keys as a file holds them: their text, and the places of those that are integers.

    TypeError for other kinds of keys, and for rows that were allocated but have no key.
    """
    keys = list(keys)
    if missing := sum(key is None for key in keys):
        raise TypeError(
            f"save: {missing:,} of {len(keys):,} rows have no key: count= allocated them, "
            "add_vectors fills them"
        )
    for key in keys:
        if not isinstance(key, KEY):
            raise TypeError(f"save: keys must be str or int, got {shortened(key)}")
    whole = [place for place, key in enumerate(keys) if not isinstance(key, str)]
    return [str(key) for key in keys], np.array(whole, np.int64)


def keys_from_text(text: list[str], whole: NDArray[Any] | None) -> list[Any]:
    """The inverse; TypeError, ValueError or IndexError where the two do not fit together."""
    keys: list[Any] = list(text)
    for place in [] if whole is None else whole.tolist():
        keys[place] = int(text[place])
    return keys
