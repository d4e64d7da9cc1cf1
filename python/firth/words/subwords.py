"""Character n-grams of words as fastText hashes them, and the vectors made of their rows.

N = words, B = buckets, D = dimensions of a vector. Sources: Bojanowski et al. 2017, and fastText's
Dictionary::computeSubwords and Dictionary::hash.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from firth import _native


def ngrams(word: bytes, min_n: int, max_n: int) -> list[bytes]:
    """The n-grams of ``<word>`` in UTF-8, of min_n to max_n code points, by start, then length.

    A lone ``<`` or ``>`` is not an n-gram, and ``</s>``, the end of a line, has no n-grams.
    """
    if word == b"</s>":
        return []
    text = b"<" + word + b">"
    starts = [i for i, byte in enumerate(text) if byte & 0xC0 != 0x80] + [len(text)]
    points = len(starts) - 1
    return [
        text[starts[first] : starts[first + n]]
        for first in range(points)
        for n in range(max(1, min_n), min(max_n, points - first) + 1)
        if not (n == 1 and first in (0, points - 1))
    ]


def ngram_hash(ngram: bytes) -> int:
    """32-bit FNV-1a over signed bytes (fastText's, sign extension included)."""
    value = 2166136261
    for byte in ngram:
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return value


def subword_ids(
    words: Sequence[bytes], min_n: int, max_n: int, bucket: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Buckets of the n-grams of each word: ``ngram_hash(ngram) % bucket`` of `ngrams`.

    Returns
    -------
    offsets : ndarray (N + 1,), int64
        Word i has ``ids[offsets[i]:offsets[i + 1]]``.
    ids : ndarray, int32
    """
    ends = np.fromiter(map(len, words), np.int64, len(words)).cumsum()
    # Beyond 32 bits there are no longer words; numbers below 0 mean the same as 0.
    low, high = (min(max(int(n), 0), 2**31 - 2) for n in (min_n, max_n))
    return _native.words.subword_ids(b"".join(words), ends, low, high, bucket)


def subword_means(
    rows: NDArray[np.floating] | None,
    buckets: NDArray[np.floating],
    offsets: NDArray[np.int64],
    ids: NDArray[np.int32],
) -> NDArray[np.floating]:
    """Mean of each word's row and the rows of its n-grams.

    Parameters
    ----------
    rows : ndarray (N, D) or None
        The words' own rows; None for words that have none.
    buckets : ndarray (B, D)
        Fastest with contiguous rows.
    offsets, ids
        As `subword_ids` returns them.

    Returns
    -------
    ndarray (N, D), of the dtype of ``buckets``
        Zeros for a word without any row. Summed in float32 in the order of the ids, as gensim.
    """
    count, dim = len(offsets) - 1, buckets.shape[1]
    if buckets.dtype == np.float32 and (rows is None or rows.dtype == np.float32):
        if not _contiguous_rows(buckets):
            buckets, ids = np.take(buckets, ids, axis=0), np.arange(len(ids), dtype=np.int32)
        if rows is not None and not _contiguous_rows(rows):
            rows = np.ascontiguousarray(rows)
        means: NDArray[np.floating] = np.empty((count, dim), np.float32)
        _native.words.subword_means(rows, buckets, offsets, ids, means)
        return means
    means = np.zeros((count, dim), buckets.dtype)
    for i, (first, last) in enumerate(itertools.pairwise(offsets)):
        parts = [] if rows is None else [rows[i]]
        parts += list(buckets[ids[first:last]])
        if parts:
            means[i] = np.sum(parts, axis=0) / len(parts)
    return means


def _contiguous_rows(matrix: NDArray[np.floating]) -> bool:
    return bool(matrix[:1].flags.c_contiguous and matrix.strides[0] >= 0)
