"""GloVe by blocks of the matrix, without a cluster: what `firth.distributed.glove` does there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from blockwise import SETTINGS, blocks_of, trained, write_corpus
from firth import GloVe
from firth.distributed import splits
from firth.distributed.cooccurrences import Work
from firth.distributed.glove_blocks import Job, expected_pairs, number_of_parts, rounds, schedule
from firth.words.cooccurrences import cooccurrences


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "corpus.txt"
    write_corpus(path)
    return path


@pytest.mark.parametrize("symmetric", [True, False])
def test_one_part_is_training_on_one_machine(corpus, symmetric):
    settings = SETTINGS | {"symmetric": symmetric, "epochs": 3}
    one = GloVe(corpus_file=corpus, **settings)
    for budget in (1 << 16, 1 << 30):
        other = trained(GloVe(**settings), corpus, 1, budget)
        np.testing.assert_allclose(other.epoch_losses, one.epoch_losses, rtol=1e-12)  # their sums
        assert_array_equal(other.wv.vectors, one.wv.vectors)


@pytest.mark.parametrize("parts", [2, 6])
@pytest.mark.parametrize("symmetric", [True, False])
def test_blocks_learn_as_much_as_one_machine(corpus, symmetric, parts):
    """And results do not depend on bands and budgets."""
    settings = SETTINGS | {"symmetric": symmetric, "epochs": 12}
    one = GloVe(corpus_file=corpus, **settings)
    many = trained(GloVe(**settings), corpus, parts)
    # Another order of the pairs: over seeds, costs on one machine have a standard deviation of 1 %.
    np.testing.assert_allclose(many.epoch_losses[-1], one.epoch_losses[-1], rtol=0.03)
    assert many.epoch_losses[-1] < 0.6 * many.epoch_losses[0]
    again = trained(GloVe(**settings), corpus, parts, 1 << 16, workers=5)
    assert_array_equal(again.wv.vectors, many.wv.vectors)
    other = trained(GloVe(**settings, seed=2), corpus, parts)
    assert np.abs(other.wv.vectors - many.wv.vectors).max() > 0.01


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("parts", [1, 2, 6])
def test_every_pair_is_in_one_block(corpus, symmetric, parts):
    model = GloVe(**SETTINGS, symmetric=symmetric)
    model.build_vocab(corpus_file=corpus)
    size = len(model.wv)
    work = Work([], 2, 2, 1 << 16)
    found = np.zeros((size, size))
    for (row, column), bands_of in blocks_of(model, corpus, parts, work).items():
        for records, units in bands_of:
            assert units[:, 2].sum() == len(records)
            for _, offset, count, first_row, first_column, rows, columns in units.tolist():
                places = records[offset : offset + count, 0]
                r, c = places & 0xFFFF, places >> 16
                assert (r < rows).all()
                assert (c < columns).all()
                logs = records[offset : offset + count, 1].view(np.float32)
                r, c = (first_row + r) * parts + row, (first_column + c) * parts + column
                if symmetric:  # which half it is depends on the order of the words
                    r, c = np.maximum(r, c), np.minimum(r, c)
                assert not found[r, c].any()
                found[r, c] = np.exp(logs)
                assert first_row + rows <= len(range(row, size, parts))
                assert first_column + columns <= len(range(column, size, parts))
    with splits.lines(splits.plan("test", corpus)[0]) as text:
        ids = text.encode(model.wv.index_to_key, model.wv.key_to_index)
    want = np.zeros((size, size))
    for first, (lengths, columns, values) in cooccurrences(
        ids, size, window=model.window, symmetric=symmetric
    ):
        want[np.repeat(np.arange(first, first + len(lengths)), lengths), columns] = values
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_rounds():
    """Each pair of parts once, and each part once in a round."""
    for parts in (2, 4, 6, 20):
        found = rounds(parts)
        assert len(found) == parts - 1
        for one in found:
            assert sorted(itertools.chain(*one)) == list(range(parts))
        assert sorted(itertools.chain(*found)) == list(itertools.combinations(range(parts), 2))
    assert rounds(1) == [[(0,)]]


@pytest.mark.parametrize("parts", [1, 2, 8])
def test_schedule(parts):
    """Each block once in an epoch; epochs and seeds have their own order."""
    for symmetric in (True, False):
        blocks = [
            block
            for job in itertools.chain(*schedule(parts, 1, 0))
            for block in job.blocks(symmetric)
        ]
        want = [(a, b) for a in range(parts) for b in range(parts) if a >= b or not symmetric]
        assert sorted(blocks) == want
    if parts == 8:
        orders = {str(schedule(parts, seed, epoch)) for seed in (1, 2) for epoch in range(3)}
        assert len(orders) == 6
    assert Job((1, 3), inner=True).blocks(True) == [(1, 1), (3, 3), (3, 1)]


def test_number_of_parts():
    assert number_of_parts(10**6, 1e6, 1, 1 << 30) == 1
    assert number_of_parts(10**6, 1e6, 4, 1 << 30) == 8
    assert number_of_parts(31, 1e6, 4, 1 << 30) == 1
    assert number_of_parts(100, 1e3, 40, 1 << 30) == 6
    for pairs in (1e8, 1e9, 1e12):
        for workers in (1, 3):
            parts = number_of_parts(10**6, pairs, workers, 1 << 30)
            assert parts % 2 == 0
            assert parts >= 2 * workers
            assert 12 * pairs * 4 / parts**2 <= 1 << 29


def test_expected_pairs():
    rng = np.random.default_rng(0)
    ids = (rng.zipf(1.5, 20000) - 1) % 3000
    counts = np.bincount(ids, minlength=3000)
    ids = ids.astype(np.int32)
    for symmetric in (True, False):
        ((_, rows),) = cooccurrences(ids, 3000, window=5, symmetric=symmetric)
        found = expected_pairs(counts, 5, symmetric)
        assert abs(found / len(rows[1]) - 1) < 0.1, "these words do not depend on one another"
