"""Known words that are spelt like a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Container, Sequence
from typing import Any


def did_you_mean(word: Any, words: Sequence[Any], known: Container[Any]) -> str:
    """A hint at words that are spelt alike, as "; did you mean king, kin?", or nothing.

    Looks at the first 100,000 ``words`` only, the most frequent ones; ``known`` holds all of them.
    """
    if not isinstance(word, str):
        return ""
    candidates = [
        other
        for other in words[:100_000]
        if isinstance(other, str) and abs(len(other) - len(word)) <= 2
    ]
    close = [word.lower()] if word.lower() != word and word.lower() in known else []
    close += [one for one in difflib.get_close_matches(word, candidates, 4) if one not in close]
    return f"; did you mean {', '.join(close)}?" if close else ""
