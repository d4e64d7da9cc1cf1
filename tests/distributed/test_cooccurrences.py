"""Counting pairs in splits and bands: the same as in one go, without a cluster."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest

from firth.distributed import splits
from firth.distributed.cooccurrences import (
    Counting,
    Work,
    bands,
    by_bands,
    count_splits,
    dealt_ids,
    divided,
    joined_fingerprint,
    part_starts,
    summed,
)
from firth.distributed.vocabulary import joined, parted
from firth.words.cooccurrences import cooccurrences
from firth.words.corpus import opened
from firth.words.training import fingerprint

VOCABULARY = [f"w{i}" for i in range(60)]
WORDS = joined(VOCABULARY)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A file, its ids, and how often each word occurs."""
    path = tmp_path_factory.mktemp("texts") / "corpus.txt"
    rng = np.random.default_rng(0)
    path.write_text(
        "\n".join(
            " ".join(f"w{rank}" for rank in (rng.zipf(1.3, rng.integers(0, 30)) - 1) % 70)
            for _ in range(200)
        )
    )
    with opened("test", None, path) as text:
        ids = text.encode(VOCABULARY, {word: row for row, word in enumerate(VOCABULARY)})
    return path, ids, np.bincount(np.where(ids < 0, ~ids, ids), minlength=60)


def whole(ids, counting):
    """All rows on one machine."""
    waves = cooccurrences(
        dealt_ids(ids, 60, counting.parts), 60, window=counting.window,
        symmetric=counting.symmetric, distance_weighting=counting.distance_weighting,
    )  # fmt: skip
    ((_, rows),) = waves
    return rows


@pytest.mark.parametrize("memory", [1 << 16, 1 << 30], ids=["tiny", "whole"])
@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("symmetric", [True, False])
def test_counts_are_those_of_one_machine(corpus, symmetric, parts, memory):
    path, ids, counts = corpus
    for size, window, weighting in ((37, 15, True), (1000, 25, True), (1 << 20, 4, False)):
        plan = splits.plan("test", path, size)
        work = Work(plan, 2, 2, memory)
        cuts = bands(counts, window, symmetric, work, parts=parts, block=3)
        counting = Counting(window, symmetric, weighting, memory, parts, cuts)
        runs = [plan[i : i + 3] for i in range(0, len(plan), 3)]
        checksums, *found = zip(*(count_splits(run, WORDS, counting) for run in runs), strict=True)
        assert joined_fingerprint(checksums) == fingerprint(ids)
        got = [divided(summed(counting, band), counting) for band in found]
        assert [len(rows[0]) for rows in got] == np.diff(cuts).tolist()
        for one, two in zip(zip(*got, strict=True), whole(ids, counting), strict=True):
            np.testing.assert_array_equal(np.concatenate(one), two)
            assert one[0].dtype == two.dtype


def test_a_text_without_known_words(tmp_path):
    (tmp_path / "other").write_text("unknown words\n")
    plan = splits.plan("test", tmp_path / "other")
    cuts = np.array([0, 10, 60])
    counting = Counting(5, True, True, 1 << 20, 1, cuts)
    checksum, *found = count_splits(plan, WORDS, counting)
    assert checksum == (0, 0)
    assert [len(rows[0]) for rows in found] == [10, 50]
    assert not any(len(rows[1]) for rows in found)
    assert not len(summed(counting, [found[0], found[0]])[1])


def test_bands():
    counts = np.sort(np.random.default_rng(0).zipf(1.2, 5000) % 10**6)[::-1]
    for parts, symmetric, memory in itertools.product((1, 4), (True, False), (1 << 20, 1 << 40)):
        work = Work([], 3, 3, memory)
        cuts = bands(counts, 10, symmetric, work, parts=parts, block=16)
        starts = part_starts(5000, parts)
        assert (np.diff(cuts) > 0).all()
        assert set(starts.tolist()) <= set(cuts.tolist())
        part = np.searchsorted(starts, cuts, "right") - 1
        assert not ((cuts - starts[part]) % 16).any()
        assert len(cuts) > 12
        dealt = np.concatenate([counts[i::parts] for i in range(parts)])
        bound = np.minimum(
            dealt * (20 if symmetric else 10), np.arange(1, 5001) if symmetric else 5000
        )
        entries = np.add.reduceat(bound, cuts[:-1])
        fits = (12 * entries <= memory / 8) | (np.diff(cuts) == 16)
        assert fits.all()


def test_bands_of_waves():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 5, 40)
    columns = np.arange(lengths.sum(), dtype=np.int32)
    ends = np.concatenate([[0], np.cumsum(lengths)])

    def cut(cuts):
        return [
            (lengths[a:b], columns[ends[a] : ends[b]], 0.5 * columns[ends[a] : ends[b]])
            for a, b in itertools.pairwise(cuts)
        ]

    for waves in ([0, 40], [0, 1, 2, 30, 40], list(range(41))):
        for cuts in ([0, 40], [0, 7, 8, 31, 40], list(range(41))):
            got = list(by_bands(cut(waves), np.array(cuts)))
            for one, two in zip(got, cut(cuts), strict=True):
                for x, y in zip(one, two, strict=True):
                    np.testing.assert_array_equal(x, y)


def test_words_are_dealt_like_cards():
    ids = np.array([0, 1, 2, 3, 4, ~5, ~6, 0], np.int32)
    assert part_starts(7, 3).tolist() == [0, 3, 5, 7]
    assert dealt_ids(ids, 7, 3).tolist() == [0, 3, 5, 1, 4, ~6, ~2, 0]
    assert dealt_ids(ids, 7, 1) is ids


def test_fingerprints_are_joined():
    rng = np.random.default_rng(0)
    for cuts in ([], [0], [1, 1, 7], [100, 5000]):
        ids = rng.integers(-100, 100, 5001).astype(np.int32)
        pieces = [(len(x), zlib.crc32(x.data)) for x in np.split(ids, cuts)]
        assert joined_fingerprint(pieces) == fingerprint(ids)


def test_words_with_line_ends_keep_their_rows():
    """Such a vocabulary comes from lists; in a file the word does not occur."""
    assert parted(joined(["a", "b\nc", "d"])) == ["a", "b c", "d"]
