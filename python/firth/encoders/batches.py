"""Texts to batches of tokens for the engine, of a third of a second each.

The next texts are tokenized by a thread of its own while the engine computes; a call of the engine
ends often enough for Ctrl-C and the progress bar. Results do not depend on how texts are batched.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import warn
from firth.formats.files import Beside
from firth.progress import progress_bar
from firth.transformer.plan import Batch
from firth.transformer.stack import Stack

Tokens = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32] | None]
"""Ids (N,), where texts start, with N at the end (B + 1,), and types (N,) or None."""

_CHARACTERS = 200_000  # that are tokenized at once: some 10 ms, tens of thousands of tokens
_TEXTS = 4096
_SECONDS = 0.35  # of a call: the two threads of the last texts are seldom ready at once
_PATIENCE = 3.0  # seconds after which a bar is shown that was not asked for
_FEWEST, _MOST = 256, 1 << 17  # tokens of a call


def batches(
    stack: Stack,
    encode: Callable[[int, int], Tokens],
    sizes: Sequence[int],
    label: str,
    progress: bool | None,
) -> Generator[tuple[slice, Batch], None, None]:
    """Batches of all texts in their order, and which texts are in each.

    Parameters
    ----------
    stack : Stack
        That runs them: its size is a first guess of how long a token takes.
    encode : function
        The tokens of texts ``begin`` to ``end``; called by another thread.
    sizes : sequence of int
        Characters of each text.
    label : str
        Of the progress bar.
    progress : bool or None
        Whether there is a bar; None: on a terminal, when the work takes long.
    """
    _native.keep_threads_awake()  # they wake while the first texts are tokenized
    chunks = list(pairwise(_cuts(sizes)))
    beside = Beside("firth-tokenizing") if len(chunks) > 1 else None
    budget, began = _guess(stack), time.monotonic()
    bar = progress_bar(len(sizes), "text", label, True) if progress else None
    try:
        if beside:
            beside.start(partial(encode, *chunks[0]))
        for i, (begin, end) in enumerate(chunks):
            if beside is None:
                tokens = encode(begin, end)
            else:
                tokens = beside.take()
                if i + 1 < len(chunks):
                    beside.start(partial(encode, *chunks[i + 1]))
            first = 0
            while first < end - begin:
                last = _last(tokens[1], first, budget)
                started = time.monotonic()
                yield slice(begin + first, begin + last), _part(tokens, first, last)
                now = time.monotonic()
                count = int(tokens[1][last] - tokens[1][first])
                if count >= _FEWEST:
                    rate = count / max(now - started, 1e-6)
                    budget = int(min(max(rate * _SECONDS, _FEWEST, budget / 2), budget * 2, _MOST))
                if bar is None and progress is None and now - began > _PATIENCE:
                    bar = progress_bar(len(sizes), "text", label, None, begin + first)
                if bar is not None:
                    bar.update(last - first)
                first = last
    finally:
        if bar is not None:
            bar.__exit__()
        if beside is not None:
            beside.close()


def _guess(stack: Stack) -> int:
    """Tokens of the first call, if a core did 15 billion multiplications a second."""
    return int(min(max(1e10 / max(stack.multiplications, 1), _FEWEST), _MOST))


def _cuts(sizes: Sequence[int]) -> list[int]:
    """Where to cut texts into chunks that are tokenized at once."""
    cuts, characters = [0], 0
    for i, size in enumerate(sizes):
        if i > cuts[-1] and (characters + size > _CHARACTERS or i - cuts[-1] >= _TEXTS):
            cuts.append(i)
            characters = 0
        characters += size
    return [*cuts, len(sizes)] if len(sizes) else []


def _last(offsets: NDArray[np.int64], first: int, budget: int) -> int:
    """The end of the batch that begins at text ``first``: what is left, in equal parts."""
    left = int(offsets[-1] - offsets[first])
    aim = left / max(1, round(left / budget))
    last = int(np.searchsorted(offsets, offsets[first] + aim, "right")) - 1
    return min(max(last, first + 1), len(offsets) - 1)


def _part(tokens: Tokens, first: int, last: int) -> Batch:
    ids, offsets, types = tokens
    begin, end = offsets[first], offsets[last]
    return Batch(
        ids[begin:end],
        offsets[first : last + 1] - begin,
        None if types is None else types[begin:end],
    )


class Packing:
    """Tokenizes parts of a list of texts, or of pairs; counts those that were too long.

    Parameters
    ----------
    tokenizer : AutoTokenizer
    texts : sequence of str
    pairs : sequence of str, optional
        The second text of each pair.
    most : int or None
        Tokens of a text, special ones included.
    types : bool
        Whether the model knows types.
    """

    def __init__(
        self,
        tokenizer: Any,
        texts: Sequence[str],
        pairs: Sequence[str] | None,
        most: int | None,
        types: bool,
    ) -> None:
        self._tokenizer, self._texts, self._pairs = tokenizer, texts, pairs
        self._most, self._types = most, types
        self.truncated = 0

    def __call__(self, begin: int, end: int) -> Tokens:
        """The tokens of texts ``begin`` to ``end``."""
        ids, offsets, types, truncated = self._tokenizer.encode_packed(
            self._texts[begin:end],
            None if self._pairs is None else self._pairs[begin:end],
            self._most,
        )
        self.truncated += truncated
        return ids, offsets, types if self._types else None

    def report(self) -> bool:
        """Warn of texts that were cut, if any; whether it did."""
        if self.truncated:
            what = "texts" if self._pairs is None else "pairs"
            warn(
                f"{self.truncated:,} of {len(self._texts):,} {what} have more than {self._most} "
                "tokens, of which the first count (max_seq_length); this is said once"
            )
        return self.truncated > 0


def checked_text(where: str, text: Any) -> str:
    """A text that can be tokenized: lone surrogates become U+FFFD. TypeError where it is none."""
    if not isinstance(text, str):
        raise TypeError(f"{where}: a text must be str, got {type(text).__name__}")
    return str(text) if text.isascii() else _SURROGATE.sub("\ufffd", text)


_SURROGATE = re.compile("[\ud800-\udfff]")
