"""Tokens that follow others: keys and values of a text stay from call to call.

A text's states have the same bits whether its tokens come at once or in parts, alone or beside
others, and on any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels._dispatch import active
from firth.transformer import reference
from firth.transformer.plan import Batch
from firth.transformer.stack import Stack
from firth.transformer.weights import floats


class Cache:
    """Keys and values of a text's tokens in all layers of a stack, and of what they attend to.

    They lie in pages of 64 tokens, which texts with the same beginning share (`first`). Those of
    the memory are computed here, once. Under the numpy backend there are no keys: all is computed
    again.

    Parameters
    ----------
    stack : Stack
        Causal.
    half : bool, optional
        Kept in float16, not float32. None: as the stack says.
    memory : ndarray (M, C) float32, optional
        What the text's tokens attend to, where the stack has cross-attention. None: nothing.

    Attributes
    ----------
    ids : list of int
        The tokens.
    """

    def __init__(
        self,
        stack: Stack,
        *,
        half: bool | None = None,
        memory: NDArray[np.float32] | None = None,
    ) -> None:
        self.ids: list[int] = []
        self._after = stack.plan.long_after
        self._native: _native.transformer.Cache | None = None
        self._memory: NDArray[np.float32] | None = None
        if active() != "numpy":
            rows = None if memory is None else np.ascontiguousarray(memory, np.float32)
            chosen = stack.half_caches if half is None else half
            self._native = _native.transformer.Cache(stack.native, chosen, rows)
        else:
            self._memory = memory

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Cache<{len(self)} tokens, {self.nbytes:,} bytes>"

    @property
    def nbytes(self) -> int:
        """Bytes of its pages, those that it shares included."""
        return self._native.nbytes if self._native is not None else 0

    def first(self, n: int) -> Cache:
        """A cache of the first n tokens, which shares their pages."""
        self._check(n)
        made = Cache.__new__(Cache)
        made.ids, made._after, made._memory = self.ids[:n], self._after, self._memory
        made._native = None
        if self._native is not None:
            made._native = self._native.first(self._left(n))
        return made

    def shorten(self, n: int) -> None:
        """Forget all tokens but the first n."""
        self._check(n)
        if self._native is not None:
            self._native.shorten(self._left(n))
        del self.ids[n:]

    def _left(self, n: int) -> int:
        """Of the first n tokens those whose keys stay: none where angles of a long text go."""
        kept = 0 if self._native is None else len(self._native)
        return 0 if n <= self._after < kept else min(n, kept)

    def _check(self, n: int) -> None:
        if not 0 <= n <= len(self):
            raise ValueError(f"a cache of {len(self)} tokens has no first {n}")


def extend(
    stack: Stack,
    texts: Sequence[Sequence[int]],
    caches: Sequence[Cache],
    last: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """States of new tokens after the last layer and the final norm.

    Parameters
    ----------
    stack : Stack
    texts : sequence of sequences of int
        New tokens of each text.
    caches : sequence of Cache
        Of the same texts, all different; they have the new tokens afterwards.
    last : sequence of int, optional
        Of how many of each text's last new tokens the states are wanted. None: of all.

    Returns
    -------
    ndarray (N, D) float32
        Of these tokens of all texts, one behind the other.

    Raises
    ------
    ValueError
        A token that the stack does not have, or more tokens than positions: then no cache has
        changed.
    """
    if len(texts) != len(caches) or len({id(cache) for cache in caches}) != len(caches):
        raise ValueError("extend: want one cache for each text, all different")
    counts = [len(text) for text in texts] if last is None else last
    if active() == "numpy":
        parts = []
        for text, cache, count in zip(texts, caches, counts, strict=True):
            batch = _batch([*cache.ids, *text], cache._memory)
            found = reference.run(stack.plan, stack.weights, batch).hidden
            parts.append(found[len(found) - count :])
        hidden = np.concatenate([np.zeros((0, stack.plan.width), np.float32), *parts])
    else:
        hidden = _run(stack, texts, caches, counts)
    for text, cache in zip(texts, caches, strict=True):
        cache.ids.extend(int(token) for token in text)
    return hidden


def _run(
    stack: Stack,
    texts: Sequence[Sequence[int]],
    caches: Sequence[Cache],
    counts: Sequence[int],
) -> NDArray[np.float32]:
    after, whole, places = stack.plan.long_after, [], []
    natives: list[_native.transformer.Cache | None] = []
    for text, cache in zip(texts, caches, strict=True):
        native, total = cache._native, len(cache) + len(text)
        assert native is not None
        if after and len(native) <= after < total:  # a long text has other angles from the start
            native.shorten(0)
        past = len(native)
        natives.append(native)
        whole.append([*cache.ids[past:], *text])
        places.append(np.arange(past, total) + (after if after and total > after else 0))
    ends = np.cumsum([0, *(len(text) for text in whole)], dtype=np.int64)
    ids = np.fromiter((token for text in whole for token in text), np.int32, ends[-1])
    positions = np.concatenate([np.empty(0), *places]).astype(np.int32) if after else None
    wanted = np.cumsum([0, *counts], dtype=np.int64)
    return _native.transformer.extend(stack.native, ids, ends, positions, natives, wanted)


def _batch(ids: Sequence[int], memory: NDArray[np.float32] | None) -> Batch:
    offsets = np.array([0, len(ids)], np.int64)
    if memory is None:
        return Batch(np.asarray(ids, np.int32), offsets)
    ends = np.array([0, len(memory)], np.int64)
    return Batch(np.asarray(ids, np.int32), offsets, memory=memory, memory_offsets=ends)


def scores(stack: Stack, states: NDArray[np.float32]) -> NDArray[np.float32]:
    """How likely each token is to follow, before softmax: (N, V) of states (N, D).

    By ``head.weight`` (V, D), or where there is none by the table of tokens.
    """
    if active() == "numpy":
        head = stack.weights.outside.get("head.weight", stack.weights.outside["tokens"])
        found: NDArray[np.float32] = states @ floats(head).T
        return found
    return _native.transformer.scores(stack.native, np.ascontiguousarray(states, np.float32))
