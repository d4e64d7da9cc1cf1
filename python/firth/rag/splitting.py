"""Documents cut into passages: at most so many tokens, along headings, paragraphs and sentences.

A passage is a slice of its document: `Span` has the characters, and nothing is changed in them.
Within a section (what stands under one heading) each cut is made at the strongest place of the
second half of what still fits: between paragraphs, else sentences, lines, words, tokens.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Where a text can be cut, the strongest first; a place is the end of a match.
_PLACES = re.compile(
    r"(?P<paragraph>\n[^\S\n]*\n\s*)"
    r"|(?P<sentence>(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？]))"
    r"|(?P<line>\n\s*)"
)
_STRENGTH = {"paragraph": 3, "sentence": 2, "line": 1}
_WORD = re.compile(r"\s+")
# Characters of a passage for each of its tokens, at most: more than passages of ordinary text come
# near to. WordPiece makes a single unknown token of any word of more than 100 letters.
_LONGEST = 16


class Section(NamedTuple):
    """A part of a document: from ``start`` to the next one's, under a heading (may be empty)."""

    start: int
    heading: str


class Span(NamedTuple):
    """A passage: ``document[start:end]``, with ``tokens`` tokens, under a heading."""

    start: int
    end: int
    tokens: int
    heading: str


def split(
    text: str, sections: Sequence[Section], tokens: Sequence[int], size: int, overlap: int
) -> list[Span]:
    """The passages of a document, in order.

    Parameters
    ----------
    text : str
    sections : sequence of Section
        In order; the first one begins at 0. None: one section without a heading.
    tokens : sequence of int
        Where each token of the text begins, in order.
    size : int
        Tokens of a passage, at most; a single character may have more. A passage has at most 16
        characters for each, too.
    overlap : int
        Tokens that a passage repeats of the one before it in its section, at most, and 16
        characters for each; less than half of size.

    Returns
    -------
    list of Span
        Without white space at their ends; none is empty.
    """
    if not sections or sections[0].start > 0:
        sections = [Section(0, ""), *sections]
    found = []
    ends = [section.start for section in sections[1:]] + [len(text)]
    for section, end in zip(sections, ends, strict=True):
        for start, stop in _cuts(text, section.start, end, tokens, size, overlap):
            count = bisect_left(tokens, stop) - bisect_left(tokens, start)
            found.append(Span(start, stop, count, section.heading))
    return found


def _cuts(
    text: str, start: int, end: int, tokens: Sequence[int], size: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """Passages of a section, trimmed."""
    places: list[int] = []
    strengths: list[int] = []
    for match in _PLACES.finditer(text, start, end):
        if start < match.end() < end:
            places.append(match.end())
            strengths.append(_STRENGTH[str(match.lastgroup)])
    while start < end:
        first = bisect_left(tokens, start)
        # The character behind the last one that fits.
        most = _behind(tokens, first, size, start, end)
        stop = end
        if most < end:
            half = _behind(tokens, first, size // 2, start, end)
            stop = _best(text, start, half, most, places, strengths)
        trimmed = text[start:stop]
        left = len(trimmed) - len(trimmed.lstrip())
        if trimmed := trimmed.strip():
            yield start + left, start + left + len(trimmed)
        if stop == end:
            return
        start = _again(text, start, stop, tokens, overlap, places)


def _behind(tokens: Sequence[int], first: int, count: int, start: int, end: int) -> int:
    """Where so many tokens from the first one on end, or the characters that may stand for them."""
    stop = tokens[first + count] if first + count < len(tokens) else end
    return min(stop, start + _LONGEST * count)


def _best(
    text: str, start: int, half: int, most: int, places: list[int], strengths: list[int]
) -> int:
    """Where to cut: between ``half`` and ``most``."""
    some = range(bisect_right(places, half), bisect_right(places, most))
    if some:
        return places[max(some, key=lambda i: (strengths[i], i))]
    words = [match.end() for match in _WORD.finditer(text, half, most)]
    return words[-1] if words else max(most, start + 1)


def _again(
    text: str, start: int, stop: int, tokens: Sequence[int], overlap: int, places: list[int]
) -> int:
    """Where the next passage begins: at most ``overlap`` tokens before ``stop``."""
    if overlap == 0:
        return stop
    last = bisect_left(tokens, stop) - overlap
    least = max(start + 1, stop - _LONGEST * overlap, tokens[last] if last >= 0 else 0)
    at = bisect_left(places, least)
    if at < len(places) and places[at] < stop:
        return places[at]
    match = _WORD.search(text, least - 1, stop)
    return match.end() if match else stop
