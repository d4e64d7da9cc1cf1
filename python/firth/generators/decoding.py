"""Token after token: several texts go on together, each with the bits that it would have alone.

One step gives each text what it lacks: a prompt is taken in parts, a text that is being written
gets one token, or several where a guess proves right. Of texts that begin alike one takes the
prompt, and the others wait and share what it has computed. The guess is prompt lookup (Saxena,
github.com/apoorvumang/prompt-lookup-decoding): what followed the last two tokens before. A token
counts only if the model would have chosen it, so that guesses change the speed alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from firth.transformer.cached import Cache, extend, scores
from firth.transformer.stack import Stack

CHUNK = 512  # tokens of prompts in one step
_GUESSED = 4  # tokens of all texts: as few cost little, since weights are read for any; more do not
_LOOKED_UP = 2  # tokens that must have stood there before
_HOPELESS = 0.3  # share of guesses that are right, below which they cost more than they bring

Choose = Callable[[NDArray[np.float32]], tuple[int, str | None]]
"""From the scores of all tokens (V,) to the next one, and "stop" where it ends the text."""


class Text:
    """A text on its way. Made by `Decoder.start`.

    Attributes
    ----------
    ids : list of int
        The prompt and what has been chosen.
    prompt : int
        Tokens of the prompt.
    reused : int
        Of these, those whose keys and values another text had computed.
    finished : "stop", "length", "error" or None
    error : Exception or None
        What the choice of a token has raised; it ends this text alone.
    """

    def __init__(
        self, ids: list[int], cache: Cache, choose: Choose, most: int, guesses: bool, reuse: bool
    ) -> None:
        self.ids, self.cache, self.reuse = ids, cache, reuse
        self.waited = False  # for the prompt of another text
        self.prompt, self.reused = len(ids), len(cache)
        self.finished: str | None = "length" if most == 0 else None
        self.error: Exception | None = None
        self._choose, self._most, self._guesses = choose, most, guesses
        self._places: dict[tuple[int, ...], int] = {}  # where tokens stood last, and what follows
        self._placed = _LOOKED_UP
        self._trust = 1.0  # share of guesses that proved right, of late

    @property
    def left(self) -> int:
        """How many tokens may still come."""
        return self._most - (len(self.ids) - self.prompt)

    def guess(self, most: int) -> list[int]:
        """What may follow: at most so many tokens."""
        if not (self._guesses and most):
            return []
        for at in range(self._placed, len(self.ids)):
            self._places[tuple(self.ids[at - _LOOKED_UP : at])] = at
        self._placed = max(self._placed, len(self.ids))
        place = self._places.get(tuple(self.ids[-_LOOKED_UP:]))
        self._trust = min(1.0, self._trust + 0.02)  # it is tried again some day
        if place is None or self._trust < _HOPELESS:
            return []
        return self.ids[place : place + min(most, self.left - 1)]

    def take(self, found: NDArray[np.float32], guess: Sequence[int]) -> list[int]:
        """New tokens by the scores (1 + G, V) behind the last token and behind each guess."""
        new: list[int] = []
        for i, row in enumerate(found):
            chosen, end = self._choose(row)
            self.ids.append(chosen)
            new.append(chosen)
            self.finished = end or ("length" if self.left == 0 else None)
            if self.finished or (i < len(guess) and guess[i] != chosen):
                break
        if guess:
            self._trust += 0.25 * ((len(new) - 1) / len(guess) - self._trust)
        self.cache.shorten(len(self.ids) - 1)
        return new


class Decoder:
    """Runs texts through a stack.

    Parameters
    ----------
    stack : Stack
        Causal; its head or table of tokens gives the scores.
    softcap : float
        Of the scores, by tanh; 0: none.
    kept : int
        Bytes of keys and values that stay for texts that begin alike.
    """

    def __init__(self, stack: Stack, *, softcap: float = 0.0, kept: int = 1 << 29) -> None:
        self.stack = stack
        self._softcap, self._kept = softcap, kept
        self._caches: OrderedDict[int, Cache] = OrderedDict()  # the least recently used first

    def start(
        self,
        ids: Sequence[int],
        choose: Choose,
        most: int,
        *,
        guesses: bool = True,
        reuse: bool = True,
    ) -> Text:
        """A text of at least one token that `step` continues by at most ``most`` tokens."""
        whole = list(ids)
        cache = self.beginning(whole) if reuse else Cache(self.stack)
        return Text(whole, cache, choose, most, guesses, reuse)

    def scores(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (N, V) of all tokens from states (N, D)."""
        found = scores(self.stack, states)
        return self._softcap * np.tanh(found / self._softcap) if self._softcap else found

    def step(self, texts: Sequence[Text]) -> list[list[int]]:
        """New tokens of each text, which are none while its prompt is taken or when it ended."""
        room, parts, guesses = CHUNK, [], []
        for i, text in enumerate(texts):
            waits = text.finished or self._waits(text, texts[:i])
            part = [] if waits else text.ids[len(text.cache) :]
            guess = text.guess(_GUESSED // len(texts)) if len(part) == 1 else []
            part = part[:room]
            room = max(room - len(part), 1)  # each goes on
            parts.append(part + guess)
            guesses.append(guess)
        counts = [  # of scores: none before the end of the prompt
            1 + len(guess)
            if part and len(text.cache) + len(part) == len(text.ids) + len(guess)
            else 0
            for text, part, guess in zip(texts, parts, guesses, strict=True)
        ]
        found = self.scores(extend(self.stack, parts, [text.cache for text in texts], counts))
        new: list[list[int]] = []
        at = 0
        for text, guess, count in zip(texts, guesses, counts, strict=True):
            new.append([])
            try:
                new[-1] += text.take(found[at : at + count], guess) if count else []
            except Exception as error:
                text.error, text.finished = error, "error"
            at += count
        return new

    def _waits(self, text: Text, before: Sequence[Text]) -> bool:
        """Whether most of a prompt is being computed for another text.

        When it is there, or that one has left, the text goes on from what there is.
        """
        missing = text.prompt - 1 - len(text.cache)
        if missing <= 0 or not text.reuse:
            return False
        for other in before:
            n = min(common(other.ids, text.ids), text.prompt - 1) if other.reuse else 0
            if n - len(text.cache) <= missing / 2:
                continue
            if len(other.cache) >= n:
                text.cache, text.reused = other.cache.first(n), n
                return False
            if not other.finished:
                text.waited = True
                return True
        if text.waited and len(cache := self.beginning(text.ids)) > len(text.cache):
            text.cache, text.reused = cache, len(cache)
        text.waited = False
        return False

    def keep(self, cache: Cache) -> None:
        """Keep the keys and values of a text for others that begin alike."""
        self._caches[id(cache)] = cache
        while len(self._caches) > 1 and sum(c.nbytes for c in self._caches.values()) > self._kept:
            self._caches.popitem(last=False)

    def beginning(self, ids: list[int]) -> Cache:
        """A cache of as many of the first ids as another text has left, but not of all."""
        best, longest = 0, 0
        for key, cache in self._caches.items():
            n = common(cache.ids, ids)
            if n > longest:
                best, longest = key, n
        longest = min(longest, len(ids) - 1)
        if longest == 0:
            return Cache(self.stack)
        self._caches.move_to_end(best)
        return self._caches[best].first(longest)


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two texts have in common from the beginning on."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
