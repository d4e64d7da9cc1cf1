"""`BatchEncoding`: what a tokenizer's call returns, with transformers' names.

A dict whose values are lists, arrays or tensors, and methods that follow a token to its characters
and words, and back. What these need is worked out when the first of them is asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from firth.optional import needs
from firth.tokenizers.rows import Encoding, Rows


class CharSpan(NamedTuple):
    """The characters ``text[start:end]``, two ints."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """The tokens from ``start`` up to ``end``, which is not one of them."""

    start: int
    end: int


class BatchEncoding(dict[str, Any]):
    """The rows of a call, by name: ``input_ids``, ``attention_mask``, and what was asked for.

    Values are also attributes. An index gives a row as an `Encoding`, a slice a dict of slices.
    The methods take the number of a row, which can be left out where there is one row.

    Parameters
    ----------
    data : dict, optional
    rows : Rows, optional
        What the methods read; without it they raise ValueError.
    """

    def __init__(self, data: Any = None, rows: Rows | None = None) -> None:
        super().__init__(data or {})
        self._rows = rows
        self._encodings: dict[int, Encoding] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getitem__(name)
        except KeyError:
            raise AttributeError(f"the encoding has no {name!r}, only {list(self)}") from None

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.items()}
        return self._row(key) if isinstance(key, int) else super().__getitem__(key)

    def __reduce__(self) -> Any:
        return BatchEncoding, (dict(self), self._rows)

    def _row(self, index: int) -> Encoding:
        if self._rows is None:
            raise ValueError("only what a tokenizer's call returns knows tokens, words and offsets")
        if index not in self._encodings:
            self._encodings[index] = self._rows.row(index)
        return self._encodings[index]

    @property
    def data(self) -> dict[str, Any]:
        """The values as a plain dict."""
        return dict(self)

    def to(self, device: Any) -> BatchEncoding:
        """Move tensors of PyTorch to a device; other values stay as they are."""
        for name, value in self.items():
            self[name] = value.to(device) if hasattr(value, "to") else value
        return self

    def convert_to_tensors(self, tensor_type: str | None = None) -> BatchEncoding:
        """Make all values arrays ("np") or tensors ("pt"), and return this encoding."""
        if tensor_type is not None:
            for name, value in self.items():
                self[name] = as_tensor(value, name, tensor_type)
        return self

    # From tokens to characters and words

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row."""
        return self._row(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row the word of its text, or None for special tokens and padding."""
        return self._row(batch_index).word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row 0 for the first text, 1 for the second, None for neither."""
        return self._row(batch_index).sequence_ids

    def token_to_sequence(self, batch_or_token: int, token: int | None = None) -> int | None:
        """Which text of its row a token belongs to."""
        row, at = self._chosen(batch_or_token, token)
        return row.sequence_ids[at]

    def token_to_word(self, batch_or_token: int, token: int | None = None) -> int | None:
        """Which word of its text a token belongs to."""
        row, at = self._chosen(batch_or_token, token)
        return row.word_ids[at]

    def token_to_chars(self, batch_or_token: int, token: int | None = None) -> CharSpan | None:
        """The characters of a token; None for special tokens."""
        row, at = self._chosen(batch_or_token, token)
        return None if row.sequence_ids[at] is None else CharSpan(*row.offsets[at])

    # From characters and words to tokens

    def char_to_token(
        self, batch_or_char: int, char: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The token that a character of a text is in; None where it is in none."""
        row, at = self._chosen(batch_or_char, char)
        return next(
            (
                i
                for i, ((start, end), sequence) in enumerate(
                    zip(row.offsets, row.sequence_ids, strict=True)
                )
                if sequence == sequence_index and start <= at < end
            ),
            None,
        )

    def char_to_word(
        self, batch_or_char: int, char: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The word that a character of a text is in; None where it is in none."""
        row, _ = self._chosen(batch_or_char, char)
        at = self.char_to_token(batch_or_char, char, sequence_index)
        return None if at is None else row.word_ids[at]

    def word_to_tokens(
        self, batch_or_word: int, word: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word of a text; None where it has none."""
        row, at = self._chosen(batch_or_word, word)
        found = [
            i
            for i, both in enumerate(zip(row.word_ids, row.sequence_ids, strict=True))
            if both == (at, sequence_index)
        ]
        return TokenSpan(found[0], found[-1] + 1) if found else None

    def word_to_chars(
        self, batch_or_word: int, word: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word of a text; None where it has no token."""
        row, _ = self._chosen(batch_or_word, word)
        found = self.word_to_tokens(batch_or_word, word, sequence_index)
        if found is None:
            return None
        return CharSpan(row.offsets[found.start][0], row.offsets[found.end - 1][1])

    def _chosen(self, first: int, second: int | None) -> tuple[Encoding, int]:
        """The row and the place in it: one number is a place in the first row."""
        return (self._row(0), first) if second is None else (self._row(first), second)


def as_tensor(value: Any, name: str, tensor_type: str) -> Any:
    """A value as an array ("np": of int64, or of such arrays where lengths differ) or tensor."""
    if tensor_type == "np" and isinstance(value, np.ndarray):
        return value
    if tensor_type == "pt" and type(value).__module__ == "torch":
        return value
    ragged = isinstance(value, (list, tuple)) and len(set(map(_length, value))) > 1
    if tensor_type == "np":
        if ragged:
            return _of_objects([np.asarray(row) for row in value])
        return np.asarray(value, None if np.size(value) else np.int64)
    if tensor_type != "pt":
        raise ValueError(f"return_tensors must be 'np', 'pt' or None, got {tensor_type!r}")
    torch = needs("torch", "return_tensors='pt'")
    if ragged:
        raise ValueError(
            f"the rows of {name!r} have different lengths, of which no tensor can be made: "
            "use padding=True, and truncation=True for long texts"
        )
    array = np.asarray(value, None if np.size(value) else np.int64)
    if array.dtype == np.float64 and not isinstance(value, np.ndarray):
        array = array.astype(np.float32)  # what torch makes of Python's numbers
    return torch.from_numpy(np.ascontiguousarray(array))


def _length(row: Any) -> int:
    return len(row) if isinstance(row, (list, tuple, np.ndarray)) else -1


def _of_objects(rows: list[Any]) -> Any:
    out = np.empty(len(rows), object)
    out[:] = rows
    return out
