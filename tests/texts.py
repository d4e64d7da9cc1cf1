"""Counts and ids of corpora, as the trainers get them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.words import corpus


def counted(text: Any) -> corpus.WordCounts:
    """The result of `Corpus.count` for a file or lists of tokens."""
    with corpus.opened("test", *_of(text)) as opened:
        return opened.count()


def encoded(text: Any, words: list[Any]) -> NDArray[np.int32]:
    """Ids of a file or of lists of tokens: places in ``words``."""
    with corpus.opened("test", *_of(text)) as opened:
        return opened.encode(words, {word: i for i, word in enumerate(words)})


def _of(text: Any) -> tuple[Any, Any]:
    return (None, text) if isinstance(text, Path) else (text, None)
