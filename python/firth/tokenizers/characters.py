"""What BERT's normalizer and pre-tokenizer make of each character, as tables for native code.

The kinds of entries are those of csrc/engines/text/wordpiece.h.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Set
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Normalizer(NamedTuple):
    """The settings of a BertNormalizer."""

    clean: bool
    chinese: bool
    strip: bool
    lower: bool


def page_of(
    page: int, normalizer: Normalizer, starts: Set[int]
) -> tuple[NDArray[np.uint32], list[int]]:
    """The table of the code points from 256 * page on.

    Parameters
    ----------
    page : int
    normalizer : Normalizer
    starts : set of int
        Code points that a reserved text may begin with.

    Returns
    -------
    entries : ndarray, shape (256,), uint32
    more : list of int
        The entries of characters that become several.
    """
    entries, more = np.zeros(256, np.uint32), list[int]()
    for i in range(256):
        text = normalized(chr(256 * page + i), *normalizer)
        if text is None:
            continue
        parts = [entry(c) for c in text]
        if len(parts) == 1:
            entries[i] = parts[0]
        elif parts:
            entries[i] = _SEVERAL << 24 | len(more) << 4 | len(parts)
            more += parts
        else:
            entries[i] = _NOTHING << 24
        if 256 * page + i in starts:
            entries[i] |= 1 << 31
    return entries, more


_NOTHING, _SPACE, _LETTER, _PUNCTUATION, _SEVERAL = range(1, 6)

# Unicode's White_Space, which is what Rust splits at; Python's str.isspace adds four separators.
_SPACES = set("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000")
_SPACES |= {chr(c) for c in range(0x2000, 0x200B)}
_ASCII_PUNCTUATION = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_CHINESE = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def entry(char: str) -> int:
    """How BertPreTokenizer takes a character."""
    if char in _SPACES:
        return _SPACE << 24
    if char in _ASCII_PUNCTUATION or unicodedata.category(char).startswith("P"):
        return _PUNCTUATION << 24 | ord(char)
    return _LETTER << 24 | ord(char)


def normalized(char: str, clean: bool, chinese: bool, strip: bool, lower: bool) -> str | None:
    """What BertNormalizer makes of a character; None where the `tokenizers` package must say.

    The package and Python may know different versions of Unicode. What version 3.2 knew and today's
    Python sees in the same way is the same for all; so are Latin-1 (which changed long ago) and
    symbols such as emoji. The tests compare all code points.
    """
    category = unicodedata.category(char)
    stable = category == unicodedata.ucd_3_2_0.category(char) or char < "\u0100"
    if category in ("Cn", "Cs") or not (stable or (category == "So" and char > "\uffff")):
        return None
    text = char
    if clean:
        if char in "\t\n\r":
            text = " "
        elif category.startswith("C") or char == "\ufffd":
            text = ""
        elif char in _SPACES:
            text = " "
    if chinese and any(first <= ord(char) <= last for first, last in _CHINESE):
        text = f" {char} "
    if strip:
        text = unicodedata.normalize("NFD", text)
        text = "".join(c for c in text if unicodedata.category(c) != "Mn")
        if any(unicodedata.combining(c) for c in text):
            return None  # its place depends on its neighbours
    # One by one: as in the package, no rule looks at the neighbours.
    return "".join(c.lower() for c in text) if lower else text
