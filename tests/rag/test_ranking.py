"""Scores are what their formulas say."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from firth import KnowledgeBase
from firth.rag.ranking import by_words, scaled

TEXTS = {
    "a": "the cat sat on the cat mat",
    "b": "a dog ran in the rain " * 3 + "\n\n" + "the cat and the river bank " * 4,
    "c": "money in the bank, rain on the river",
    "d": "",
}


def bm25(words: list[str], texts: list[list[str]], lengths: list[float]) -> list[float]:
    """BM25 with k1 1.2 and b 0.75, word by word."""
    scores, mean = [], sum(lengths) / len(lengths)
    for text, length in zip(texts, lengths, strict=True):
        score = 0.0
        for word in words:
            having, count = sum(word in other for other in texts), text.count(word)
            idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            score += idf * 2.2 * count / (count + 1.2 * (0.25 + 0.75 * length / mean))
        scores.append(score)
    return scores


def test_keyword_scores_are_bm25_of_passage_and_document(kb: KnowledgeBase) -> None:
    kb.add(TEXTS)
    state = kb._memory.state()
    passages = kb._store.rows(
        "SELECT d.name, p.start, p.stop, p.tokens FROM passages p JOIN documents d "
        "ON d.id = p.document ORDER BY p.id"
    )
    assert len(passages) > 5
    texts = [re.findall(r"\w+", TEXTS[name][start:stop]) for name, start, stop, _ in passages]
    lengths = [float(tokens) for *_, tokens in passages]
    query = ["cat", "river"]
    wholes: dict[str, list[str]] = {name: [] for name in TEXTS}
    sums = dict.fromkeys(TEXTS, 0.0)
    for (name, *_), words, length in zip(passages, texts, lengths, strict=True):
        wholes[name] += words
        sums[name] += length
    of_documents = dict(
        zip(TEXTS, bm25(query, list(wholes.values()), list(sums.values())), strict=True)
    )
    wanted = [
        score + of_documents[name] if score else 0
        for score, (name, *_) in zip(bm25(query, texts, lengths), passages, strict=True)
    ]
    assert 0 in wanted
    found = kb._memory.keyword_scores(state, "Where is the CAT at the river?")
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    best = kb.search("cat river", 20, "keyword")
    assert [one.score for one in best] == sorted(found[found > 0].tolist(), reverse=True)


def test_a_hybrid_score_is_the_sum_of_its_parts(kb: KnowledgeBase) -> None:
    kb.add(TEXTS)
    state, query = kb._memory.state(), "the cat at the river"
    dense = {(p.document, p.start): p.score for p in kb.search(query, 50, "dense")}
    words = kb._memory.keyword_scores(state, query)
    keyword = {(p.document, p.start): p.score for p in kb.search(query, 50, "keyword")}
    found = kb.search(query, 50)
    assert len(found) == len(dense) == len(state.passages)
    for one in found:  # fewer than a hundred: a score of 0 is the least
        key = (one.document, one.start)
        score = max(dense[key], 0) / max(dense.values())
        score += keyword.get(key, 0) / words.max()
        assert one.score == pytest.approx(score, rel=1e-4)
        assert one.cosine == pytest.approx(dense[key])


def test_scales() -> None:
    scores = np.linspace(5, 1, 200, dtype=np.float32)
    part = scaled(scores)
    assert (part[0], part[99], part[150]) == (1, 0, 0)
    assert part[50] == pytest.approx((scores[50] - scores[99]) / (5 - scores[99]))
    assert scaled(scores[:50])[49] == pytest.approx(scores[49] / 5)
    assert scaled(np.full(3, -1, np.float32)).tolist() == [1, 1, 1]
    assert len(scaled(scores[:0])) == 0


def test_the_best_of_many_with_ties() -> None:
    scores = np.array([0, 3, 1, 3, 2, 0, 3], np.float32)
    assert by_words(scores, 2, None).tolist() == [1, 3]
    assert by_words(scores, 9, None).tolist() == [1, 3, 6, 4, 2]
    assert by_words(scores, 2, np.array([0, 2, 4, 6])).tolist() == [6, 4]
    assert by_words(scores, 0, None).tolist() == []
