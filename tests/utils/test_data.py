"""Orders and batches of data sets, and generators of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import firth
from firth.utils import data
from firth.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

NUMBERS = list(range(10))


def seeded(seed: int = 7) -> firth.Generator:
    return firth.Generator().manual_seed(seed)


def test_a_generator_has_a_stream_of_its_own():
    firth.manual_seed(1)
    drawn = [
        lambda **how: firth.randn(2, 3, **how),
        lambda **how: firth.rand(4, **how),
        lambda **how: firth.randint(0, 9, (5,), **how),
        lambda **how: firth.randperm(6, **how),
        lambda **how: firth.normal(1.0, 2.0, (3,), **how),
        lambda **how: firth.multinomial(firth.ones(5), 3, **how),
        lambda **how: firth.zeros(3).normal_(**how),
        lambda **how: firth.zeros(3).uniform_(-1, 1, **how),
    ]
    for draw in drawn:
        generator = seeded()
        first = draw(generator=generator)
        assert not firth.equal(first, draw(generator=generator)) or first.ndim == 0
        assert firth.equal(first, draw(generator=seeded()))
    after = firth.randn(3)
    firth.manual_seed(1)
    assert firth.equal(after, firth.randn(3))  # the common stream was not drawn from
    generator = firth.Generator("cpu")
    assert generator.initial_seed() == generator._seed
    assert generator.seed() == generator.initial_seed()


def test_samplers():
    order = list(RandomSampler(NUMBERS, generator=seeded()))
    assert sorted(order) == NUMBERS
    assert order != NUMBERS
    again = RandomSampler(NUMBERS, generator=seeded())
    assert list(again) == order
    assert list(again) != order
    assert len(RandomSampler(NUMBERS)) == 10
    assert len(list(RandomSampler(NUMBERS, num_samples=25))) == 25
    assert sorted(RandomSampler(NUMBERS, num_samples=20)) == sorted(2 * NUMBERS)
    drawn = list(RandomSampler(NUMBERS, replacement=True, num_samples=1000))
    assert len(drawn) == 1000
    assert set(drawn) == set(NUMBERS)
    assert sorted(SubsetRandomSampler([5, 2, 9])) == [2, 5, 9]
    assert len(SubsetRandomSampler([5, 2, 9])) == 3
    weighted = WeightedRandomSampler([0, 3.0, 1.0], 4000, generator=seeded())
    counts = np.bincount(list(weighted), minlength=3)
    assert counts[0] == 0
    assert abs(counts[1] - 3000) < 5 * np.sqrt(4000 * 0.75 * 0.25)  # 5 deviations
    assert sorted(WeightedRandomSampler([1, 2, 0, 1], 3, replacement=False)) == [0, 1, 3]
    batches = BatchSampler(data.SequentialSampler(NUMBERS), 4, drop_last=False)
    assert list(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(batches) == 3
    assert list(BatchSampler(NUMBERS, 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_loaders_take_samplers_and_generators():
    rows = TensorDataset(firth.arange(10.0), firth.arange(10))
    (x, y), *_ = DataLoader(rows, 3, sampler=SubsetRandomSampler([4, 1, 8]))
    assert sorted(y.tolist()) == [1, 4, 8]
    assert x.tolist() == y.tolist()
    loader = DataLoader(rows, batch_sampler=[[3, 1], [2]])
    assert [y.tolist() for _, y in loader] == [[3, 1], [2]]
    assert len(loader) == 2
    orders = [
        [y.tolist() for _, y in DataLoader(rows, 4, shuffle=True, generator=seeded(seed))]
        for seed in (7, 7, 8)
    ]
    assert orders[0] == orders[1] != orders[2]
    parts = random_split(NUMBERS, [6, 4], generator=seeded())
    assert parts[0].indices == random_split(NUMBERS, [0.6, 0.4], seeded())[0].indices
    assert sorted(part[i] for part in parts for i in range(len(part))) == NUMBERS
    weighted = DataLoader(NUMBERS, 5, sampler=WeightedRandomSampler([0] * 9 + [1], 10))
    assert [batch.tolist() for batch in weighted] == [[9] * 5] * 2


def test_bad_arguments_are_refused():
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: firth.Generator().manual_seed(-1), ValueError, "seed must be a whole number"),
        (lambda: firth.Generator("cuda"), ValueError, "firth runs on the CPU only"),
        (lambda: firth.randn(3, generator=3), TypeError, "randn: generator must be a firth.Gen"),
        (lambda: RandomSampler(NUMBERS, num_samples=0), ValueError, "num_samples must be"),
        (lambda: DataLoader(NUMBERS, generator=np.random), TypeError, "DataLoader: generator must"),
        (lambda: WeightedRandomSampler([0, 0], 1), ValueError, "weights must be one axis"),
        (lambda: WeightedRandomSampler([-1, 2], 1), ValueError, "weights must be one axis"),
        (lambda: WeightedRandomSampler([1, 0], 2, False), ValueError, "num_samples is greater"),
        (lambda: BatchSampler(NUMBERS, 0, False), ValueError, "batch_size must be"),
        (lambda: DataLoader(NUMBERS, shuffle=True, sampler=[1]), ValueError, "exclude each other"),
        (lambda: DataLoader(NUMBERS, 2, batch_sampler=[[1]]), ValueError, "excludes batch_size"),
        (lambda: iter(data.Sampler()), NotImplementedError, "Sampler has no __iter__"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
