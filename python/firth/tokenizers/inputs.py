"""The texts that a tokenizer's call takes, in all forms that transformers has for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from firth.tokenizers.tokenizer import Pieces, Tokenizer


class Samples(NamedTuple):
    """Texts, or texts and their seconds; a text is a string, or a list of words.

    Attributes
    ----------
    firsts : list, length B
    seconds : list, length B, or None
    split : bool
        Whether texts are lists of words.
    single : bool
        Whether the caller gave one text (or pair) instead of several.
    """

    firsts: list[Any]
    seconds: list[Any] | None
    split: bool = False
    single: bool = False

    def pieces(self, tokenizer: Tokenizer, room: int | None, places: bool) -> Pieces:
        """The ids of all texts; of a pair, those of the second text follow those of the first.

        Parameters
        ----------
        tokenizer : Tokenizer
        room : int, optional
            Only so many ids of a sample are kept, from its beginning: one more is enough to know
            that it is longer. Of pairs all are read, since the longer text is cut first.
        places : bool
        """
        texts = self.firsts
        if self.seconds is not None:
            texts = list(itertools.chain.from_iterable(zip(self.firsts, self.seconds, strict=True)))
        if not self.split:
            limit = None if room is None or self.seconds is not None else room + 1
            return tokenizer.encode(texts, limit, places=places)
        counts = [len(words) for words in texts]
        bounds = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(counts, out=bounds[1:])
        found = tokenizer.encode(list(itertools.chain.from_iterable(texts)), places=places)
        words = found.words
        if places:
            numbers = np.arange(bounds[-1]) - np.repeat(bounds[:-1], counts)
            words = np.repeat(numbers, np.diff(found.offsets)).astype(np.int32)
        return found._replace(offsets=found.offsets[bounds], words=words)


def samples(text: Any, text_pair: Any, split: bool) -> Samples:
    """What ``text`` and ``text_pair`` of a call stand for; TypeError or ValueError if nothing."""
    if _is_text(text, split):
        if text_pair is None or (_is_text(text_pair, split) and not text_pair):
            return Samples([text], None, split, True)
        if not _is_text(text_pair, split):
            raise TypeError(f"text_pair must be {_ONE[split]}, as text is, got {_kind(text_pair)}")
        return Samples([text], [text_pair], split, True)
    firsts = _several(text, "text", split)
    if firsts and all(_is_pair(one, split) for one in firsts):
        if text_pair is not None:
            raise ValueError("text_pair must be None, since text has pairs")
        return Samples([one[0] for one in firsts], [one[1] for one in firsts], split)
    _check(firsts, "text", split)
    if text_pair is None:
        return Samples(firsts, None, split)
    seconds = _several(text_pair, "text_pair", split)
    _check(seconds, "text_pair", split)
    if len(firsts) != len(seconds):
        raise ValueError(
            f"text_pair must have {len(firsts)} texts, as text has, not {len(seconds)}"
        )
    return Samples(firsts, seconds, split)


_ONE = {False: "a string", True: "a list of words"}


def _is_text(value: Any, split: bool) -> bool:
    if not split:
        return isinstance(value, str)
    return isinstance(value, (list, tuple)) and (not value or isinstance(value[0], str))


def _is_pair(value: Any, split: bool) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(_is_text(one, split) for one in value)
    )


def _several(value: Any, name: str, split: bool) -> list[Any]:
    if not isinstance(value, (str, bytes, Mapping)) and isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{name} must be {_ONE[split]}, or a list of them, got {_kind(value)}")


def _check(texts: list[Any], name: str, split: bool) -> None:
    if not split and set(map(type, texts)) <= {str}:
        return
    for number, one in enumerate(texts):
        whole = _is_text(one, split)
        if not whole or (split and not all(isinstance(word, str) for word in one)):
            got = f"{_kind(one)} with something else" if whole else _kind(one)
            raise TypeError(f"{name}[{number}] must be {_ONE[split]}, got {got}")


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
