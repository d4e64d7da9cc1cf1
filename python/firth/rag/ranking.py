"""Which passages answer a question: by meaning, by words, or by both.

Both: cosines and BM25 scores are brought to a common scale, each by the best and the last of its
best hundred, and added. That keeps how much better one passage is than another, which ranks alone
throw away: on questions of other collections than those of our benchmark the right document came
first more often than by reciprocal rank fusion (Bruch, Gai and Ingber, 2023, found the same).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from firth.rag.state import Floats, Ints, Memory, State

Mode = Literal["hybrid", "dense", "keyword"]
MODES = ("hybrid", "dense", "keyword")
_DEPTH = 100  # passages of each ranking that are joined, at least


@dataclass
class Passage:
    """A passage that a search found.

    Attributes
    ----------
    document : str
        The name of the document: of a file its path, with "#3" for the third row of a table.
    text : str
        ``document's text[start:end]``.
    score : float
        What passages are sorted by; comparable within one search only: a cosine in mode "dense",
        BM25 of passage and document in mode "keyword", the sum of both, each scaled to at most 1,
        in mode "hybrid"; with a model that reranks, its score.
    start, end : int
        Characters of the document's text.
    metadata : dict
        The document's.
    title, heading : str
        What the passage stands under.
    cosine : float, optional
        With the question, where vectors were compared.
    """

    document: str
    text: str
    score: float
    start: int
    end: int
    metadata: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    heading: str = ""
    cosine: float | None = None


@dataclass
class Found:
    """Ids of passages, best first, with scores and cosines (NaN where there is none)."""

    ids: Ints
    scores: Floats
    cosines: Floats


def by_meaning(state: State, vector: Floats, k: int, rows: Ints | None) -> tuple[Ints, Floats]:
    """Rows of the passages with the largest cosines, and these."""
    allowed = None if rows is None else state.passages[rows]
    ids, scores = state.index.search(vector, k, filter=allowed)
    places = np.searchsorted(state.passages, ids)
    places[places == len(state.passages)] = 0
    known = np.flatnonzero(state.passages[places] == ids) if len(state.passages) else places
    return places[known], scores[known]  # without passages that came after this state


def by_words(scores: Floats, k: int, rows: Ints | None) -> Ints:
    """Rows of the k largest scores above 0, in order; of equal ones the first row first."""
    rows = np.flatnonzero(scores > 0) if rows is None else rows[scores[rows] > 0]
    if 0 < k < len(rows):
        least = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
        rows = rows[scores[rows] >= least]
    return rows[np.argsort(-scores[rows], kind="stable")][:k]


def rank(
    memory: Memory, state: State, text: str, vector: Floats | None, mode: Mode, k: int, where: Any
) -> Found:
    """The best passages of a state."""
    rows = memory.chosen(state, where)
    if not len(state.passages):
        return Found(state.passages[:0], np.zeros(0, np.float32), np.zeros(0, np.float32))
    depth = max(k, _DEPTH)
    if vector is None:
        scores = memory.keyword_scores(state, text)
        best = by_words(scores, k, rows)
        return Found(state.passages[best], scores[best], np.full(len(best), np.nan, np.float32))
    near, cosines = by_meaning(state, vector, depth, rows)
    if mode == "dense":
        return Found(state.passages[near[:k]], cosines[:k], cosines[:k])
    scores = memory.keyword_scores(state, text)
    worded = by_words(scores, depth, rows)
    fused = np.zeros(len(state.passages), np.float32)
    fused[near] += scaled(cosines)
    fused[worded] += scaled(scores[worded])
    either = np.union1d(near, worded)
    best = either[np.argsort(-fused[either], kind="stable")][:k]
    known = np.full(len(state.passages), np.nan, np.float32)
    known[near] = cosines
    return Found(state.passages[best], fused[best], known[best])


def scaled(scores: Floats) -> Floats:
    """Scores, best first, from 1 for the best to 0 for the hundredth, or for a score of 0."""
    if not len(scores):
        return scores
    last = scores[_DEPTH - 1] if len(scores) >= _DEPTH else np.float32(0)
    if scores[0] <= last:
        return np.ones_like(scores)
    part: Floats = np.clip((scores - last) / (scores[0] - last), 0, 1).astype(np.float32)
    return part
