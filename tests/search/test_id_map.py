"""IdMap against a dict: labels of any size, replaced, removed and found again."""

from __future__ import annotations

import numpy as np
import pytest

from firth import _native

IdMap = _native.search.IdMap


@pytest.mark.parametrize("stride", [1, 32, 2**20 + 1, 10**15])
def test_as_a_dict(stride):
    rng = np.random.default_rng(stride)
    table, twin = IdMap(), {}
    every = np.arange(-500, 500) * stride
    for _ in range(100):
        labels = rng.integers(-500, 500, rng.integers(0, 200)) * stride
        slots = rng.integers(0, 10**6, len(labels))
        previous = table.set(labels, slots)
        for label, slot, before in zip(labels.tolist(), slots.tolist(), previous, strict=True):
            assert twin.get(label, -1) == before
            twin[label] = slot
        gone = rng.integers(-500, 500, rng.integers(0, 150)) * stride
        table.remove(gone)
        for label in gone.tolist():
            twin.pop(label, None)
        assert len(table) == len(twin)
        assert table.find(every).tolist() == [twin.get(label, -1) for label in every.tolist()]


def test_memory():
    table = IdMap()
    table.set(np.arange(10**5) * 7, np.arange(10**5))
    assert table.nbytes <= 20 * 10**5 + 1000
    for i in range(10**5, 13 * 10**4, 100):
        table.set(np.arange(i, i + 100) * 7, np.arange(i, i + 100))
    assert table.nbytes <= 30 * len(table) + 1000
    assert (table.find(np.arange(13 * 10**4) * 7) == np.arange(13 * 10**4)).all()


def test_extremes_and_refusals():
    table = IdMap()
    ends = np.array([np.iinfo(np.int64).min, -1, 0, np.iinfo(np.int64).max])
    assert table.find(ends).tolist() == [-1] * 4
    table.remove(ends)
    table.set(ends, np.arange(4))
    assert table.find(ends[::-1].copy()).tolist() == [3, 2, 1, 0]
    with pytest.raises(ValueError, match="at least 0"):
        table.set(ends, np.array([0, 1, 2, -1]))
    with pytest.raises(ValueError, match="one slot a label"):
        table.set(ends, np.arange(3))
    with pytest.raises(TypeError):
        table.set(ends.astype(np.int32), np.arange(4))
    assert len(table) == 4
