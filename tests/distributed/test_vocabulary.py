"""Counting words in splits: the same as in one go, without a cluster."""

from __future__ import annotations

import gzip
import itertools
import os

import numpy as np
import pytest

import firth
from firth.distributed import splits
from firth.distributed.vocabulary import chosen, count_split, merge, packed, unpacked
from firth.words.corpus import WordCounts

TEXT = (
    b"the cat sat\n\nthe dog sat on the mat\r\n  \n"
    + "naïve café 日本\n".encode()
    + b"a word in a line that is much longer than a split " * 5
    + b"\nb a b a c\nthe end"
)


def counted(paths, size):
    return [count_split(split) for split in splits.plan("test", paths, size)]


def same(one, two):
    assert one.words == two.words
    np.testing.assert_array_equal(one.counts, two.counts)
    assert one.counts.dtype == np.int64
    assert (one.total_words, one.sentences) == (two.total_words, two.sentences)


@pytest.mark.parametrize("size", [1, 3, 10, 100, 1 << 20])
def test_splits_merged_are_the_whole(tmp_path, size):
    packed_text = " ".join(TEXT.decode().split()[::-1]).encode()
    files = {
        "a.txt": b"\xef\xbb\xbf" + TEXT, "b.txt.gz": gzip.compress(packed_text), "c.txt": b"\n\n",
        "d.txt": b"later cat\n", "e.txt": b"",
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    plain = [gzip.decompress(data) if ".gz" in name else data for name, data in files.items()]
    whole = tmp_path / "whole"
    whole.write_bytes(b"\n".join([plain[0].removeprefix(b"\xef\xbb\xbf"), *plain[1:]]))
    paths = [str(tmp_path / "[ab].*"), f"file://{tmp_path}/c.txt", tmp_path / "d.txt"]
    found = merge(counted([*paths, tmp_path / "e.txt"], size))
    (want,) = counted(whole, 1 << 30)
    same(found, want)
    for min_count in (0, 1, 2, 5):
        model = firth.Word2Vec(min_count=min_count, vector_size=2)
        model.build_vocab(corpus_file=whole)
        vocab = chosen("test", found, min_count)
        assert vocab.index_to_key == model.wv.index_to_key
        assert vocab.key_to_index == model.wv.key_to_index
        np.testing.assert_array_equal(vocab.counts, model.wv.expandos["count"])
        assert vocab.total_words == model.corpus_total_words
        assert vocab.sentences == model.corpus_count
        other = firth.Word2Vec(min_count=min_count, vector_size=2)
        other.build_vocab_from_freq(vocab.word_freq, corpus_count=vocab.sentences)
        assert other.wv.index_to_key == model.wv.index_to_key
        np.testing.assert_array_equal(other.wv.vectors, model.wv.vectors)
        assert other.corpus_total_words == model.corpus_total_words


def random_counts(rng):
    words = [f"w{i}" for i in rng.permutation(30)[: rng.integers(0, 30)]]
    counts = rng.integers(1, 9, len(words))
    return WordCounts(words, counts, int(counts.sum()), int(rng.integers(9)))


def test_merging_is_associative():
    rng = np.random.default_rng(0)
    for _ in range(20):
        parts = [random_counts(rng) for _ in range(7)]
        want = merge(parts)
        order = {}
        for word in itertools.chain(*(part.words for part in parts)):
            order.setdefault(word, None)
        assert want.words == list(order)
        for cut in range(1, 7):
            same(merge([merge(parts[:cut]), merge(parts[cut:])]), want)
        same(unpacked(packed(want)), want)
    nothing = WordCounts([], np.empty(0, np.int64), 0, 0)
    same(merge([nothing, nothing]), nothing)
    same(unpacked(packed(nothing)), nothing)


def test_what_is_wrong_with_a_corpus_is_said(tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"good\n\xff\xfe bad\n")
    with pytest.raises(ValueError, match=r"bad\.txt: b'\\xff\\xfe' is not UTF-8 text"):
        counted(bad, 4)
    nothing = merge([])
    with pytest.raises(RuntimeError, match=r"^test: no word occurs min_count=5 times: the corpus"):
        chosen("test", nothing, 5)
    plan = splits.plan("test", bad)
    bad.write_bytes(b"other\n")
    os.utime(bad, (1, 1))
    with pytest.raises(RuntimeError, match=r"bad\.txt: the file changed"):
        count_split(plan[0])
