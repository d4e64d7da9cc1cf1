"""Counts and ids of corpora, as the trainers get them; texts of many scripts."""

from __future__ import annotations

import random
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


def of_many_scripts(count: int = 300) -> list[str]:
    """Texts of letters, marks, digits, spaces and cases of many scripts, and broken surrogates."""
    draw = random.Random(5)
    alphabet = (
        "aaabbcdeEF  019_-.'\t\n\x1c\x85\u00a0\u3000éÉßẞİıſΣσςΑαὈ\u0301\u0307\u0345Дд中文字あア한글"
        "\u1100\u1161ﬁ½²٣१𝐀𝒷🙂👩‍💻\u200b\ud800\udfff\U0010ffff\ufdfa\u00a8ǅ"
    )
    return ["".join(draw.choices(alphabet, k=draw.randrange(40))) for _ in range(count)]
