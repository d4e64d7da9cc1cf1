"""Search, pairs and groups of vectors, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from firth import community_detection, paraphrase_mining, semantic_search
from firth.encoders import cos_sim, dot_score, paraphrase_mining_embeddings

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((60, 8), np.float32)
QUERIES = RNG.standard_normal((7, 8), np.float32)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (
        x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1)[:, None] for x in (a, b)
    )
    return a @ b.T


@pytest.mark.parametrize("score", [cos_sim, dot_score])
def test_semantic_search(score):
    want = cosines(QUERIES, ROWS) if score is cos_sim else QUERIES.astype(np.float64) @ ROWS.T
    got = semantic_search(QUERIES, ROWS, top_k=5, score_function=score)
    for found, row in zip(got, want, strict=True):
        assert [one["corpus_id"] for one in found] == np.argsort(-row)[:5].tolist()
        np.testing.assert_allclose([one["score"] for one in found], np.sort(row)[:-6:-1], rtol=1e-5)
    assert len(semantic_search(QUERIES[0], ROWS, top_k=100)[0]) == 60
    assert semantic_search(QUERIES, ROWS[:0]) == [[]] * 7
    with pytest.raises(ValueError, match="score_function"):
        semantic_search(QUERIES, ROWS, score_function=np.dot)


def test_pairs():
    scores = cosines(ROWS, ROWS)
    upper = np.triu_indices(60, 1)
    order = np.argsort(-scores[upper])[:100]
    got = paraphrase_mining_embeddings(ROWS, max_pairs=100, top_k=59)
    assert [one[1:] for one in got] == np.stack(upper, 1)[order].tolist()
    np.testing.assert_allclose([one[0] for one in got], scores[upper][order], rtol=1e-5)
    near = paraphrase_mining_embeddings(ROWS, top_k=1)
    np.fill_diagonal(scores, -2)
    best = {(min(i, j), max(i, j)) for i, j in enumerate(scores.argmax(1).tolist())}
    assert {(i, j) for _, i, j in near} == best
    assert paraphrase_mining_embeddings(ROWS[:1]) == []
    same = paraphrase_mining_embeddings(np.ones((9, 4), np.float32), top_k=2)
    assert all(i < j for _, i, j in same)


def test_pairs_of_texts():
    class Model:
        def encode(self, texts, **options):
            assert options["prompt_name"] == "query"
            return ROWS[: len(texts)]

    assert paraphrase_mining(Model(), "abc", prompt_name="query") == paraphrase_mining_embeddings(
        ROWS[:3]
    )


def test_groups():
    centres = RNG.standard_normal((3, 8))
    sizes = [12, 7, 3]
    rows = np.concatenate(
        [c + 0.05 * RNG.standard_normal((n, 8)) for c, n in zip(centres, sizes, strict=True)]
    )
    place = RNG.permutation(len(rows))
    groups = community_detection(rows[place], 0.9, 5, batch_size=4)
    assert [len(group) for group in groups] == [12, 7]
    assert [sorted(place[group]) for group in groups] == [list(range(12)), list(range(12, 19))]
    assert (
        community_detection(rows[:0]) == community_detection(rows[:4], min_community_size=5) == []
    )
