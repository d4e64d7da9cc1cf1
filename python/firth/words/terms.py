"""Texts to counts of their terms: by native code, or by the steps of a vectorizer in Python.

Both number terms in the order of their first occurrence.
"""

from __future__ import annotations

import functools
import operator
import unicodedata
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth import _native

BATCH = 1 << 22  # characters that are counted at a time

Step = Callable[[Any], Any]


class Rows(NamedTuple):
    """Text t has the terms ids[offsets[t] : offsets[t + 1]], each as often as counts say."""

    offsets: NDArray[np.int64]
    ids: NDArray[np.int32]
    counts: NDArray[Any]


class Counted(NamedTuple):
    """Terms by their number, the rows of texts, and the numbers (n_terms,) sorted by term."""

    terms: Collection[Any]
    rows: Rows
    order: NDArray[np.int32] | None  # only where there is no vocabulary


def counted_natively(
    counts: _native.text.TermCounts,
    texts: Iterable[str],
    page: Callable[[int], tuple[NDArray[np.uint32], list[int]]],
    vocabulary: Mapping[Any, int] | None,
) -> Counted:
    """Terms of texts; ``page`` says what 256 code points become.

    Where texts are long beside a vocabulary, native code leaves out what it does not have, and the
    terms are its own. Otherwise it would take longer to go through it than through all terms.
    """
    known = False
    for number, (batch, size) in enumerate(batches(texts)):
        if number == 0 and vocabulary is not None and size > 4 * len(vocabulary):
            known = {*map(type, vocabulary)} == {str}
            if known:
                counts.know(list(vocabulary))
        while missing := counts.add(batch):
            for index in missing:
                counts.set_page(index, *page(index))
    rows = Rows(*counts.rows())
    if vocabulary is None:
        return Counted(counts.terms(), rows, counts.order())
    return Counted(vocabulary if known else counts.terms(), rows, None)


def batches(texts: Iterable[str]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Texts of some `BATCH` characters together, and how many they have."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH:
            yield tuple(batch), size
            batch, size = [], 0
    yield tuple(batch), size


def counted_by(
    analyze: Callable[[Any], Iterable[Any]], documents: Iterable[Any], sort: bool
) -> Counted:
    """Terms that a callable makes of each document; any that a dict can have as keys."""
    numbers: dict[Any, int] = {}
    offsets, ids, counts = [0], array("i"), array("i")
    for document in documents:
        row: dict[int, int] = {}
        for term in analyze(document):
            number = numbers.setdefault(term, len(numbers))
            row[number] = row.get(number, 0) + 1
        ids.extend(row)
        counts.extend(row.values())
        offsets.append(len(ids))
    terms = list(numbers)
    order = np.array(sorted(numbers.values(), key=terms.__getitem__), np.int32) if sort else None
    rows = Rows(np.array(offsets), np.array(ids, np.int32), np.array(counts, np.int32))
    return Counted(terms, rows, order)


def row_numbers(rows: Rows) -> NDArray[np.int64]:
    """The text of each id."""
    return np.repeat(np.arange(len(rows.offsets) - 1), np.diff(rows.offsets))


def in_turn(document: Any, steps: list[Step]) -> Any:
    """What the steps make of a document, one after the other."""
    for step in steps:
        document = step(document)
    return document


def preprocessor(lowercase: bool, strip_accents: str | Step | None) -> Step:
    """What changes a text before it is cut."""
    steps: list[Step] = [operator.methodcaller("lower")] if lowercase else []
    if strip_accents is not None:
        steps.append(strip_accents if callable(strip_accents) else STRIP[strip_accents])
    return functools.partial(in_turn, steps=steps)


def _without_accents(text: str) -> str:
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _to_ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


STRIP = {"ascii": _to_ascii, "unicode": _without_accents}


@functools.lru_cache(maxsize=1024)
def page(
    number: int, lowercase: bool, strip_accents: str | None
) -> tuple[NDArray[np.uint32], list[int]]:
    """What the code points from 256 * number on become, as `TermCounts.set_page` takes it.

    Lower-casing (but for the capital sigma), and decomposing followed by dropping what combines,
    change each code point on its own.
    """
    change = preprocessor(lowercase, strip_accents)
    entries = np.zeros(256, np.uint32)
    more: list[int] = []
    for i in range(256):
        codes = [
            ord(c) | (c.isalnum() or c == "_") << 24 | c.isspace() << 25
            for c in change(chr(256 * number + i))
        ]
        if len(codes) == 1:
            entries[i] = codes[0]
        else:
            entries[i] = 1 << 31 | len(more) << 5 | len(codes)
            more += codes
    return entries, more
