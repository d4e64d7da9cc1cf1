"""firth.Index."""

from __future__ import annotations

import numpy as np

import firth


def test_first_steps():
    index = firth.Index(2)
    assert index.add([[1, 0], [0, 2], [3, 3]]).tolist() == [0, 1, 2]
    assert index.search([1.0, 0.1], k=2).ids.tolist() == [0, 2]
    index.remove(0)
    index.add([1, 3], 1)
    assert index.ids.tolist() == [2, 1]
    np.testing.assert_array_equal(index.get([1, 2]), [[1, 3], [3, 3]])
