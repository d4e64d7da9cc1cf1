"""Rows of ids for a model: texts cut to a length, between special tokens, padded.

Where ids go is worked out in native code (``csrc/engines/text/rows``), for all kinds of tokenizers.

R = rows (more than samples where what was cut off becomes rows too), N = ids of all texts, M =
tokens of all rows.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.tokenizers.template import Parts
from firth.tokenizers.tokenizer import Pieces

STRATEGIES = ("longest_first", "only_first", "only_second")


class Cut(NamedTuple):
    """How the texts of samples are cut.

    Attributes
    ----------
    room : int or None
        Ids of a sample that stay, special tokens not counted; None: all of them.
    truncation : one of `STRATEGIES`
    left : bool
        Whether texts lose their beginning instead of their end.
    stride : int or None
        Ids that rows share where what was cut off becomes rows too; None: it does not.
    """

    room: int | None
    truncation: str
    left: bool
    stride: int | None = None

    def layout(self, offsets: NDArray[np.int64], parts: Parts) -> _native.text.Layout:
        """Where ids and special tokens go; ValueError where a text that is cut has no room.

        Parameters
        ----------
        offsets : ndarray, shape (texts + 1,)
            Of the ids of a text each, or of the two of a pair one after the other.
        parts : tuple of Part
        """
        return _native.text.Layout(offsets, [part.sequence for part in parts], *self)


class Encoding(NamedTuple):
    """A row, token by token, padding included: lists of one length.

    Attributes
    ----------
    ids, type_ids : list of int
    tokens : list of str
    offsets : list of (int, int)
        Characters of the text, from and up to.
    attention_mask, special_tokens_mask : list of int
        0 or 1.
    word_ids, sequence_ids : list of int or None
        None for special tokens and padding.
    """

    ids: list[int]
    type_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    attention_mask: list[int]
    special_tokens_mask: list[int]
    word_ids: list[int | None]
    sequence_ids: list[int | None]


class Field(NamedTuple):
    """What each token of a row has.

    Attributes
    ----------
    values : ndarray, shape (N,), int32, or None
        Those of texts' ids; None where all tokens of a part have one.
    around : list of int
        For each part the value of its special token, or, without ``values``, of its tokens.
    padding : int
    """

    values: NDArray[np.int32] | None
    around: list[int]
    padding: int


@dataclasses.dataclass
class Rows:
    """The rows of one call of a tokenizer.

    Attributes
    ----------
    parts : tuple of Part
    cut : Cut
    ids, offsets : ndarrays
        Of texts, as `Pieces` has them.
    places : callable
        Returns the same pieces with their places.
    tokens : callable
        Makes tokens of ids.
    pad_id : int
    width : int or None
        Tokens of a padded row; None without padding. Rows that are longer stay so.
    left : bool
        Whether padding comes first.
    """

    parts: Parts
    cut: Cut
    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    places: Callable[[], Pieces]
    tokens: Callable[[list[int]], list[str]]
    pad_id: int
    width: int | None = None
    left: bool = False

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def layout(self) -> _native.text.Layout:
        """Where ids and special tokens go."""
        return self.cut.layout(self.offsets, self.parts)

    @functools.cached_property
    def bounds(self) -> NDArray[np.int64]:
        """Row r has the tokens ``[bounds[r]:bounds[r + 1]]``, (R + 1,)."""
        return self.layout.offsets

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def field(self, name: str) -> Field:
        """What the tokens have by a name of a call's result, or as "word_ids", "sequence_ids"."""
        special = [part.sequence < 0 for part in self.parts]
        match name:
            case "input_ids":
                return Field(self.ids, [part.id for part in self.parts], self.pad_id)
            case "token_type_ids":
                return Field(None, [part.type for part in self.parts], 0)
            case "attention_mask":
                return Field(None, [1 for _ in self.parts], 0)
            case "special_tokens_mask":
                return Field(None, [int(one) for one in special], 1)
            case "word_ids":
                return Field(self._pieces.words, [-1 for _ in self.parts], -1)
            case _:
                return Field(None, [part.sequence for part in self.parts], -1)

    @functools.cached_property
    def _pieces(self) -> Pieces:
        return self.places()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many tokens each row has, padding included, (R,)."""
        lengths = np.diff(self.bounds)
        return lengths if self.width is None else np.maximum(lengths, self.width)

    def packed(self, name: str) -> NDArray[Any]:
        """The values of a field for all tokens, one row after the other: (M,), of spans (M, 2)."""
        return self._filled(name, None)

    def _filled(self, name: str, width: int | None) -> NDArray[Any]:
        if name == "offset_mapping":
            return self.layout.fill_spans(self._pieces.spans, width, self.left)
        values, around, padding = self.field(name)
        return self.layout.fill(values, around, width, self.left, padding)

    def array(self, name: str) -> NDArray[np.int64] | None:
        """The same as an array (R, width) or (R, width, 2); None where rows differ in length."""
        width = max(self.layout.longest, self.width or 0)
        uneven = self.width is None or self.width < width
        if uneven and len(self) and np.diff(self.bounds).min() != width:
            return None
        return self._filled(name, width)

    def lists(self, name: str) -> list[list[Any]]:
        """The same as lists, of tuples where a value has several numbers."""
        array = self.array(name)
        rows: list[list[Any]]
        if array is not None:
            rows = array.tolist()
        else:
            flat, bounds = self.packed(name).tolist(), self.bounds.tolist()
            rows = [flat[a:b] for a, b in itertools.pairwise(bounds)]
            if self.width is not None:  # some rows are longer than that
                blank = (0, 0) if name == "offset_mapping" else self.field(name).padding
                rows = [self._padded(row, blank) for row in rows]
        return [[tuple(s) for s in row] for row in rows] if name == "offset_mapping" else rows

    def _padded(self, row: list[Any], blank: Any) -> list[Any]:
        padding = [blank] * ((self.width or 0) - len(row))
        return padding + row if self.left else row + padding

    @functools.cached_property
    def _columns(self) -> tuple[list[NDArray[Any]], NDArray[np.object_]]:
        """What `row` needs of all rows; and the tokens that are not what the vocabulary says."""
        names = self._pieces.tokens
        found = np.full(int(self.bounds[-1]), None)
        if names.size:
            numbers = np.arange(len(self.ids), dtype=np.int32)
            at = self.layout.fill(numbers, [-1 for _ in self.parts], None, False, 0)
            found[at >= 0] = names[at[at >= 0]]
        fields = ("input_ids", "token_type_ids", "offset_mapping", "special_tokens_mask",
                  "word_ids", "sequence_ids")  # fmt: skip
        return [self.packed(name) for name in fields], found

    def row(self, index: int) -> Encoding:
        """One row in full."""
        index = range(len(self))[index]
        own = slice(*self.bounds[index : index + 2].tolist())
        columns, names = self._columns
        ids, types, spans, special, words, sequences = (one[own].tolist() for one in columns)
        real = len(ids)
        ids = self._padded(ids, self.pad_id)
        known = zip(self._padded(names[own].tolist(), None), self.tokens(ids), strict=True)
        return Encoding(
            ids,
            self._padded(types, 0),
            [name if token is None else token for token, name in known],
            [tuple(span) for span in self._padded(spans, (0, 0))],
            self._padded([1] * real, 0),
            self._padded(special, 1),
            self._padded([None if word < 0 else word for word in words], None),
            self._padded([None if sequence < 0 else sequence for sequence in sequences], None),
        )
