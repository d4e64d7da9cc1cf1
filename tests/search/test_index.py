"""firth.Index against a dict of vectors that is searched by brute force in float64."""

from __future__ import annotations

import numpy as np

import firth
from search import reference


def test_first_steps():
    index = firth.Index(2)
    assert index.add([[1, 0], [0, 2], [3, 3]]).tolist() == [0, 1, 2]
    assert index.search([1.0, 0.1], k=2).ids.tolist() == [0, 2]
    index.remove(0)
    index.add([1, 3], 1)
    assert index.ids.tolist() == [2, 1]
    np.testing.assert_array_equal(index.get([1, 2]), [[1, 3], [3, 3]])


def test_filter_and_exclude_of_each_query():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((3000, 20)).astype(np.float32)
    queries = rng.standard_normal((7, 20)).astype(np.float32)
    index = firth.Index(20)
    index.add(rows)
    allowed = [rng.permutation(3000)[: 100 + 400 * q] for q in range(7)]
    excluded = [rng.permutation(3000)[: 500 * q] for q in range(7)]
    found = index.search(queries, 10, filter=allowed, exclude=excluded)
    for q, query in enumerate(queries):
        scores = reference.scores("cosine", query, rows.astype(np.float64))
        ids = np.setdiff1d(allowed[q], excluded[q])
        best = ids[np.lexsort((ids, -scores[ids]))[:10]]
        assert found.ids[q].tolist() == best.tolist()
        np.testing.assert_array_equal(found.scores[q], scores[best])
