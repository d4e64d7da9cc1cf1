"""Hashed n-grams and means over their rows, against plain Python and gensim."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from conftest import spiky
from firth.words.subwords import ngram_hash, ngrams, subword_ids, subword_means

WORDS = [
    "", "a", "ab", "test", "at the", "at\nthe", "тест", "テスト", "試し", "🚑🚒🚓🚕",
    "</s>", "</S>", "rechtsschutzversicherungsgesellschaften", "é", "e\u0301", "<>", "x" * 300,
]  # fmt: skip
DAMAGED = [b"\x80", b"\xff\xfe", b"ab\xe6", b"\x80\x80a", b"\xd1", b"a\x00b"]
RULES = [(3, 6), (1, 1), (1, 3), (0, 2), (2, 2), (5, 3), (0, 0), (6, 400), (-1, 2), (3, 2**40)]


def encoded() -> list[bytes]:
    return [word.encode() for word in WORDS] + DAMAGED


@pytest.mark.parametrize(("min_n", "max_n"), RULES)
@pytest.mark.parametrize("bucket", [1, 7, 2_000_000, 2**31 - 1])
def test_ids_are_the_hashes_of_the_ngrams(min_n: int, max_n: int, bucket: int) -> None:
    words = encoded()
    offsets, ids = subword_ids(words, min_n, max_n, bucket)
    assert (offsets.dtype, ids.dtype) == (np.int64, np.int32)
    for i, word in enumerate(words):
        want = [ngram_hash(ngram) % bucket for ngram in ngrams(word, min_n, max_n)]
        assert ids[offsets[i] : offsets[i + 1]].tolist() == want, word
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)


def test_ngrams_by_hand() -> None:
    assert ngrams(b"ab", 1, 3) == [b"<a", b"<ab", b"a", b"ab", b"ab>", b"b", b"b>"]
    assert ngrams("é".encode(), 1, 2) == [b"<\xc3\xa9", b"\xc3\xa9", b"\xc3\xa9>"]
    assert ngrams(b"</s>", 1, 6) == []
    assert ngrams(b"", 1, 6) == [b"<>"]
    assert ngrams(b"ab", 3, 2) == []


def test_many_words_on_all_threads() -> None:
    words = [str(i * 7919).encode() for i in range(20_000)]
    offsets, ids = subword_ids(words, 3, 6, 1000)
    for i in (0, 2047, 2048, 9999, 19_999):
        want = [ngram_hash(ngram) % 1000 for ngram in ngrams(words[i], 3, 6)]
        assert ids[offsets[i] : offsets[i + 1]].tolist() == want
    assert ids.min() >= 0
    assert ids.max() < 1000


def test_no_words_and_no_buckets() -> None:
    offsets, ids = subword_ids([], 3, 6, 10)
    assert offsets.tolist() == [0]
    assert len(ids) == 0
    offsets, ids = subword_ids([b"word", b"x"], 3, 6, 0)
    assert offsets.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="bucket must be"):
        subword_ids([b"word"], 3, 6, 2**31)


@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17, 100])
@pytest.mark.parametrize("own", [True, False])
def test_means(dim: int, own: bool) -> None:
    words = encoded() * 30
    offsets, ids = subword_ids(words, 3, 6, 50)
    random = np.random.default_rng(dim)
    buckets = spiky(random, (50, dim), np.float32)
    rows = spiky(random, (len(words), dim), np.float32) if own else None
    got = subword_means(rows, buckets, offsets, ids)
    assert got.dtype == np.float32
    want = subword_means(
        None if rows is None else rows.astype(np.float64),
        buckets.astype(np.float64), offsets, ids,
    )  # fmt: skip
    for i in range(len(words)):
        parts = buckets[ids[offsets[i] : offsets[i + 1]]]
        if rows is not None:
            parts = np.vstack([rows[i], parts])
        # n - 1 additions and a division, each within half a unit of the sum of absolute values
        bound = len(parts) * 2**-24 * np.abs(parts).sum(axis=0, dtype=np.float64)
        assert (np.abs(got[i] - want[i]) <= bound / max(1, len(parts)) + 1e-45).all()
    if not own:
        assert (got[0] == buckets[ids[0]] if offsets[1] == 1 else got[0] == 0).all()


def test_means_of_strided_and_unaligned_matrices() -> None:
    random = np.random.default_rng(0)
    offsets, ids = subword_ids(encoded(), 2, 4, 20)
    buckets = random.random((20, 24), np.float32)
    rows = random.random((len(offsets) - 1, 24), np.float32)
    want = subword_means(rows, buckets, offsets, ids)
    wide = np.full((20, 32), np.nan, np.float32)
    wide[:, :24] = buckets
    odd = np.frombuffer(b"x" + rows.tobytes(), np.uint8)[1:].view(np.float32).reshape(rows.shape)
    assert not odd.flags.aligned or odd.ctypes.data % 4 == 0
    np.testing.assert_array_equal(subword_means(odd, wide[:, :24], offsets, ids), want)
    flipped = np.ascontiguousarray(buckets[::-1])[::-1]
    for strided in (np.asfortranarray(buckets), np.repeat(buckets, 2, 1)[:, ::2], flipped):
        np.testing.assert_array_equal(subword_means(rows, strided, offsets, ids), want)
    strided = np.asfortranarray(rows)
    np.testing.assert_array_equal(subword_means(strided, buckets, offsets, ids), want)


def test_means_of_unpickled_matrices() -> None:
    offsets, ids = subword_ids(encoded(), 2, 4, 20)
    buckets = np.random.default_rng(0).random((20, 24), np.float32)
    unpickled = pickle.loads(pickle.dumps(buckets))
    assert unpickled.dtype is not buckets.dtype  # equal alone
    want = subword_means(None, buckets, offsets, ids)
    np.testing.assert_array_equal(subword_means(None, unpickled, offsets, ids), want)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"ids": np.array([0, 20], np.int32), "offsets": np.array([0, 2])}, IndexError),
        ({"ids": np.array([0, -1], np.int32), "offsets": np.array([0, 2])}, IndexError),
        ({"offsets": np.array([0, 3])}, ValueError),
        ({"offsets": np.array([1, 2])}, ValueError),
        ({"rows": np.zeros((2, 4), np.float32)}, ValueError),
        ({"rows": np.zeros((1, 5), np.float32)}, ValueError),
    ],
)
def test_means_refuse_bad_arrays(change: dict[str, Any], error: type[Exception]) -> None:
    good: dict[str, Any] = {
        "rows": np.zeros((1, 4), np.float32), "buckets": np.zeros((20, 4), np.float32),
        "offsets": np.array([0, 2]), "ids": np.array([0, 19], np.int32),
    }  # fmt: skip
    assert subword_means(**good).shape == (1, 4)
    with pytest.raises(error):
        subword_means(**(good | change))


@pytest.mark.peer
def test_gensim_cuts_and_hashes_alike() -> None:
    inner = pytest.importorskip("gensim.models.fasttext_inner")
    for word in WORDS:
        if word == "</s>":  # fastText gives it none; gensim forgets
            continue
        for low, high in [(3, 6), (1, 3), (2, 2), (5, 3)]:
            assert ngrams(word.encode(), low, high) == inner.compute_ngrams_bytes(word, low, high)
    for ngram in [word.encode() for word in WORDS] + DAMAGED:
        assert ngram_hash(ngram) == inner.ft_hash_bytes(ngram)
