"""Rows of ids for a model: texts cut to a length, between special tokens, padded.

B = samples (texts or pairs), R = rows (more than samples where what was cut off becomes rows too),
N = ids of all texts, M = tokens of all rows.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.tokenizers.template import Parts
from firth.tokenizers.tokenizer import Pieces

STRATEGIES = ("longest_first", "only_first", "only_second")
Lengths = Sequence[NDArray[np.int64]]
"""How many ids the first text of each sample has, (B,); the same of the second, if there is one."""


def kept(lengths: Lengths, room: int, strategy: str) -> list[NDArray[np.int64]]:
    """How many ids of each text stay where a sample has room for so many; as `tokenizers` counts.

    Parameters
    ----------
    lengths : sequence of one or two ndarrays, each of shape (B,)
    room : int
        Ids of a sample, special tokens not counted.
    strategy : str
        "longest_first": the shorter text stays whole if it takes at most half of the room.
        "only_first", "only_second": the other text stays whole.

    Raises
    ------
    ValueError
        The other text leaves no room for the one that may be cut.
    """
    if room == 0:
        return [np.zeros_like(one) for one in lengths]
    if strategy == "longest_first":
        one = len(lengths) == 1
        return [np.minimum(lengths[0], room)] if one else _both(lengths[0], lengths[1], room)
    which = 0 if strategy == "only_first" else 1
    total: NDArray[np.int64] = np.sum(lengths, axis=0)
    over = total > room
    if which >= len(lengths):
        if over.any():
            raise ValueError(f"truncation={strategy!r}: there is no second text, only a long first")
        return list(lengths)
    others = total - lengths[which]
    if (over & (others >= room)).any():
        raise ValueError(
            f"truncation={strategy!r}: the {('second', 'first')[which]} text alone takes "
            f"all of the {room} tokens that there is room for"
        )
    found = list(lengths)
    found[which] = np.where(over, room - others, found[which])
    return found


def _both(first: NDArray[np.int64], second: NDArray[np.int64], room: int) -> list[Any]:
    """The lengths of pairs, of which the longer text is cut first."""
    short = np.minimum(first, second)
    long = np.where(short > room, short, np.maximum(short, room - short))
    half = short + long > room
    short = np.where(half, room // 2, short)
    long = np.where(half, room - room // 2, long)
    swapped, fits = first > second, first + second <= room
    sizes = np.where(swapped, long, short), np.where(swapped, short, long)
    return [
        np.where(fits, one, np.minimum(one, size))
        for one, size in zip((first, second), sizes, strict=True)
    ]


def windows(length: int, size: int, stride: int, left: bool) -> list[tuple[int, int]]:
    """The parts of so many ids, from the kept one on, that overlap by ``stride`` ids."""
    if size >= length:
        return [(0, length)]
    if size == 0:
        return [(0, 0), (0, length)]
    if stride >= size:
        raise ValueError(
            f"stride must be below the {size} tokens that max_length leaves to a text, got {stride}"
        )
    found = []
    for moved in range(0, length, size - stride):
        found.append((max(length - moved - size, 0), length - moved) if left
                     else (moved, min(moved + size, length)))  # fmt: skip
        if found[-1][0] == 0 if left else found[-1][1] == length:
            break
    return found


def overflowing(
    lengths: Lengths, sizes: Lengths, stride: int, left: bool
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """All windows of all samples, each window of the one text with each of the other.

    Returns
    -------
    samples : ndarray, shape (R,)
        The sample that a row comes from.
    starts, kept : lists of one or two ndarrays, each of shape (R,)
        Where the windows begin in their texts, and their lengths.
    """
    samples, rows = list[int](), list[tuple[tuple[int, int], ...]]()
    for b in range(len(lengths[0])):
        first, *rest = (
            windows(int(length[b]), int(size[b]), stride, left)
            for length, size in zip(lengths, sizes, strict=True)
        )
        if rest:
            (second,) = rest
            mine: list[Any] = [(first[0], second[0])]
            mine += [(one, other) for one in first[1:] for other in second]
            mine += [(first[0], other) for other in second[1:]]
        else:
            mine = [(one,) for one in first]
        rows += mine
        samples += [b] * len(mine)
    table = np.array(rows, np.int64).reshape(len(rows), len(lengths), 2)
    starts = [table[:, s, 0] for s in range(len(lengths))]
    return np.array(samples, np.int64), starts, [
        table[:, s, 1] - table[:, s, 0] for s in range(len(lengths))
    ]  # fmt: skip


class Layout(NamedTuple):
    """Where ids of texts and special tokens go in rows.

    Attributes
    ----------
    offsets : ndarray, shape (R + 1,), int64
        Row r is ``[offsets[r]:offsets[r + 1]]`` of the tokens.
    own : ndarray, shape (M,), bool
        The tokens that come from texts.
    take : ndarray of int64, or slice
        Which of the N ids these are, in order.
    part_lengths : ndarray, shape (R * P,), int64
        How many tokens each of the P parts has in each row.
    """

    offsets: NDArray[np.int64]
    own: NDArray[np.bool_]
    take: NDArray[np.int64] | slice
    part_lengths: NDArray[np.int64]

    def of_parts(self, values: Sequence[int], dtype: Any) -> NDArray[Any]:
        """A value of each part, for each of its tokens."""
        if len(set(values)) == 1:
            return np.full(len(self.own), values[0], dtype)
        rows = len(self.offsets) - 1
        return np.repeat(np.tile(np.array(values, dtype), rows), self.part_lengths)

    def placed(self, values: NDArray[Any], around: NDArray[Any] | int | None) -> NDArray[Any]:
        """Values of ids (N, ...) for each token, and ``around`` for special tokens."""
        out = np.empty((len(self.own), *values.shape[1:]), values.dtype)
        out[self.own] = values[self.take]
        out[~self.own] = around
        return out


def lay(parts: Parts, starts: Sequence[NDArray[np.int64]], lengths: Lengths) -> Layout:
    """Lay out rows.

    Parameters
    ----------
    parts : tuple of Part, length P
    starts, lengths : sequences of ndarrays, each of shape (R,)
        Where the texts of a row begin among the ids, and how many ids they have.
    """
    rows = len(lengths[0])
    table = np.ones((rows, len(parts)), np.int64)
    for p, part in enumerate(parts):
        if part.sequence >= 0:
            table[:, p] = lengths[part.sequence]
    part_lengths = table.ravel()
    ends = np.cumsum(part_lengths).reshape(table.shape)
    offsets = np.zeros(rows + 1, np.int64)
    offsets[1:] = ends[:, -1]
    own = np.ones(int(offsets[-1]), bool)
    for p, part in enumerate(parts):
        if part.sequence < 0:
            own[ends[:, p] - 1] = False
    order = [part.sequence for part in parts if part.sequence >= 0]
    first = np.stack([starts[s] for s in order], axis=1).ravel()
    count = np.stack([lengths[s] for s in order], axis=1).ravel()
    before = np.cumsum(count) - count
    take: NDArray[np.int64] | slice = slice(int(count.sum()))
    if not np.array_equal(first, before):
        take = np.repeat(first - before, count) + np.arange(int(count.sum()))
    return Layout(offsets, own, take, part_lengths)


def laid_out(
    pieces: Pieces,
    parts: Parts,
    room: int | None,
    truncation: str | None,
    left: bool,
    stride: int | None,
) -> tuple[Layout, NDArray[np.int64], int]:
    """Cut the texts of samples and lay them out.

    Parameters
    ----------
    pieces : Pieces
        Of a text each, or of the two of a pair one after the other.
    parts : tuple of Part
    room : int or None
        Ids of a sample that stay; None: all of them.
    truncation : str or None
        One of `STRATEGIES`.
    left : bool
        Whether texts lose their beginning instead of their end.
    stride : int or None
        Ids that rows share where what was cut off becomes rows too; None: it does not.

    Returns
    -------
    layout : Layout
    samples : ndarray, shape (R,)
        The sample that a row comes from.
    truncated : int
        How many samples were cut.
    """
    per_sample = 1 + max(part.sequence for part in parts)
    every, counts = pieces.offsets[:-1], np.diff(pieces.offsets)
    starts: list[Any] = [every[s::per_sample] for s in range(per_sample)]
    lengths: list[Any] = [counts[s::per_sample] for s in range(per_sample)]
    samples, truncated = np.arange(len(lengths[0])), 0
    if room is None or truncation is None:
        return lay(parts, starts, lengths), samples, truncated
    sizes = kept(lengths, room, truncation)
    cut = [length != size for length, size in zip(lengths, sizes, strict=True)]
    truncated = int(np.count_nonzero(np.any(cut, axis=0)))
    if stride is not None:
        samples, moved, sizes = overflowing(lengths, sizes, stride, left)
        starts = [start[samples] + more for start, more in zip(starts, moved, strict=True)]
    elif left:
        starts = [a + n - m for a, n, m in zip(starts, lengths, sizes, strict=True)]
    return lay(parts, starts, sizes), samples, truncated


def special_ids(parts: Parts, layout: Layout) -> NDArray[np.int32]:
    """The ids of all special tokens, in order: what `Layout.placed` wants around ids."""
    ids = [part.id for part in parts if part.sequence < 0]
    return np.tile(np.array(ids, np.int32), len(layout.offsets) - 1)


class Encoding(NamedTuple):
    """A row, token by token, padding included."""

    ids: list[int]
    type_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    attention_mask: list[int]
    special_tokens_mask: list[int]
    word_ids: list[int | None]
    sequence_ids: list[int | None]


@dataclass
class Rows:
    """The rows of one call of a tokenizer.

    Attributes
    ----------
    parts : tuple of Part
    layout : Layout
    samples : ndarray, shape (R,)
        The sample that a row comes from.
    ids : ndarray, shape (M,), int32
    pieces : callable
        Returns the texts' ids with their places.
    tokens : callable
        Makes tokens of ids.
    width : int or None
        Tokens of a padded row; None without padding. Rows that are longer stay so.
    left : bool
        Whether padding comes first.
    pad_id : int
    """

    parts: Parts
    layout: Layout
    samples: NDArray[np.int64]
    ids: NDArray[np.int32]
    pieces: Callable[[], Pieces]
    tokens: Callable[[list[int]], list[str]]
    width: int | None
    left: bool
    pad_id: int

    def __len__(self) -> int:
        return len(self.samples)

    @functools.cached_property
    def types(self) -> NDArray[np.int32]:
        """The type of each token, (M,)."""
        return self.layout.of_parts([part.type for part in self.parts], np.int32)

    @functools.cached_property
    def _places(self) -> tuple[NDArray[Any], ...]:
        """Spans (M, 2), words (M,) and sequences (M,) of the tokens; -1 where there are none.

        Also tokens (M,) that are not what the vocabulary calls the ids; None otherwise.
        """
        pieces, layout = self.pieces(), self.layout
        names = pieces.tokens if pieces.tokens.size else np.full(len(pieces.ids), None)
        return (
            layout.placed(pieces.spans, 0),
            layout.placed(pieces.words, -1),
            layout.of_parts([part.sequence for part in self.parts], np.int32),
            layout.placed(names, None),
        )

    @property
    def spans(self) -> NDArray[np.int64]:
        """The characters of each token, (M, 2)."""
        return self._places[0]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many tokens each row has, padding included, (R,)."""
        lengths = np.diff(self.layout.offsets)
        return lengths if self.width is None else np.maximum(lengths, self.width)

    def array(self, values: NDArray[Any], fill: int) -> NDArray[np.int64] | None:
        """Values of tokens (M, ...) as an array (R, width, ...); None where rows differ in length.

        ``fill`` is the value of padding.
        """
        lengths = self.lengths
        width = int(lengths.max(initial=0))
        if len(lengths) and lengths.min() != width:
            return None
        real = np.diff(self.layout.offsets)[:, None]
        place = np.arange(width)
        there = place >= width - real if self.left else place < real
        out = np.full((len(lengths), width, *values.shape[1:]), fill, np.int64)
        out[there] = values
        return out

    def lists(self, values: NDArray[Any], fill: int) -> list[list[Any]]:
        """The same as lists, of tuples where a value has several numbers."""
        array = self.array(values, fill)
        rows: list[list[Any]]
        if array is not None:
            rows = array.tolist()
        else:
            flat, offsets = values.tolist(), self.layout.offsets.tolist()
            rows = [flat[a:b] for a, b in itertools.pairwise(offsets)]
            if self.width is not None:  # some rows are longer than that
                blank = [0] * values.shape[1] if values.ndim > 1 else fill
                rows = [self._padded(row, blank) for row in rows]
        return rows if values.ndim == 1 else [[tuple(pair) for pair in row] for row in rows]

    def _padded(self, row: list[Any], blank: Any) -> list[Any]:
        padding = [blank] * ((self.width or 0) - len(row))
        return padding + row if self.left else row + padding

    def row(self, index: int) -> Encoding:
        """One row in full."""
        index = range(len(self))[index]
        own = slice(*self.layout.offsets[index : index + 2].tolist())
        spans, words, sequences, names = (values[own].tolist() for values in self._places)
        ids = self._padded(self.ids[own].tolist(), self.pad_id)
        known = zip(self._padded(names, None), self.tokens(ids), strict=True)
        special = (~self.layout.own[own]).astype(int).tolist()
        return Encoding(
            ids,
            self._padded(self.types[own].tolist(), 0),
            [name if token is None else token for token, name in known],
            [tuple(span) for span in self._padded(spans, (0, 0))],
            self._padded([1] * len(special), 0),
            self._padded(special, 1),
            self._padded([None if word < 0 else word for word in words], None),
            self._padded([None if sequence < 0 else sequence for sequence in sequences], None),
        )
