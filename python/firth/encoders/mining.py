"""What vectors are good for, over `Index`: search, pairs, groups; as sentence_transformers.util.

n = queries, m = rows of a corpus, D = dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.encoders.similarity import Score, cos_sim, dot_score
from firth.progress import progress_bar
from firth.search import Index

_METRICS: dict[Score, str] = {cos_sim: "cosine", dot_score: "ip"}
_QUERIES = 4096  # that are searched at once


def _rows(where: str, values: Any) -> NDArray[Any]:
    if isinstance(values, list) and values and hasattr(values[0], "shape"):
        values = np.stack([np.asarray(one) for one in values])
    rows = np.asarray(values)
    rows = rows[None] if rows.ndim == 1 and rows.size else rows
    if rows.ndim != 2 and rows.size:
        raise ValueError(f"{where} must be an array (n, D), got shape {rows.shape}")
    return rows


def _index(where: str, rows: NDArray[Any], score_function: Any) -> Index:
    name = getattr(score_function, "__name__", "")
    metric = _METRICS.get(score_function) or {"cos_sim": "cosine", "dot_score": "ip"}.get(name)
    if metric is None:
        raise ValueError(f"{where}: score_function must be cos_sim or dot_score, got {name!r}")
    index = Index(rows.shape[1], metric)  # type: ignore[arg-type]
    index.add(rows)
    return index


def semantic_search(
    query_embeddings: Any,
    corpus_embeddings: Any,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500_000,
    top_k: int = 10,
    score_function: Any = cos_sim,
) -> list[list[dict[str, Any]]]:
    """The best rows of a corpus for each query, exactly.

    Parameters
    ----------
    query_embeddings : array_like (n, D), or (D,) for one
    corpus_embeddings : array_like (m, D)
        For many searches in one corpus keep it in an `Index`, which this makes anew each time.
    query_chunk_size, corpus_chunk_size
        Have no effect.
    top_k : int
    score_function : cos_sim or dot_score
        Of `firth.encoders.similarity`, or sentence-transformers'.

    Returns
    -------
    list of n lists of dict
        ``corpus_id`` and ``score``, best first; equal scores by the id.
    """
    queries = _rows("semantic_search: query_embeddings", query_embeddings)
    corpus = _rows("semantic_search: corpus_embeddings", corpus_embeddings)
    if not queries.size or not corpus.size:
        return [[] for _ in queries]
    index = _index("semantic_search", corpus, score_function)
    found: list[list[dict[str, Any]]] = []
    for begin in range(0, len(queries), _QUERIES):
        ids, scores = index.search(queries[begin : begin + _QUERIES], min(top_k, len(corpus)))
        for some, their in zip(ids.tolist(), scores.tolist(), strict=True):
            pairs = zip(some, their, strict=True)
            found.append([{"corpus_id": i, "score": score} for i, score in pairs])
    return found


def paraphrase_mining(
    model: Any,
    sentences: Any,
    show_progress_bar: bool = False,
    batch_size: int = 32,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: Any = cos_sim,
    truncate_dim: int | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> list[list[Any]]:
    """The most similar pairs of texts.

    Parameters
    ----------
    model : SentenceTransformer
    sentences : iterable of str
    show_progress_bar, batch_size, truncate_dim, prompt_name, prompt
        Of `SentenceTransformer.encode`.
    query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function
        Of `paraphrase_mining_embeddings`.

    Returns
    -------
    list of [score, i, j]
        As `paraphrase_mining_embeddings`.
    """
    vectors = model.encode(
        list(sentences),
        show_progress_bar=show_progress_bar,
        batch_size=batch_size,
        truncate_dim=truncate_dim,
        prompt_name=prompt_name,
        prompt=prompt,
    )
    return paraphrase_mining_embeddings(
        vectors, query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function
    )


def paraphrase_mining_embeddings(
    embeddings: Any,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: Any = cos_sim,
) -> list[list[Any]]:
    """The most similar pairs of vectors.

    Parameters
    ----------
    embeddings : array_like (m, D)
    query_chunk_size, corpus_chunk_size
        Have no effect.
    max_pairs : int
        How many pairs at most.
    top_k : int
        Pairs are of a vector and its ``top_k`` best.
    score_function : cos_sim or dot_score

    Returns
    -------
    list of [score, i, j]
        i < j, best first; equal scores by i and j.
    """
    rows = _rows("paraphrase_mining_embeddings: embeddings", embeddings)
    if len(rows) < 2:
        return []
    index = _index("paraphrase_mining_embeddings", rows, score_function)
    k = min(top_k, len(rows) - 1) + 1  # a vector is among its own best
    best = _Best(max_pairs)
    for begin in range(0, len(rows), _QUERIES):
        ids, scores = index.search(rows[begin : begin + _QUERIES], k)
        own = np.arange(begin, begin + len(ids))[:, None]
        other = ids != own
        other[other.all(axis=1), -1] = False  # more than k equal vectors: the last is one too many
        own = np.broadcast_to(own, ids.shape)[other]
        best.add(scores[other], np.minimum(own, ids[other]), np.maximum(own, ids[other]))
    scores, first, second = best.pairs
    return [list(one) for one in zip(scores.tolist(), first.tolist(), second.tolist(), strict=True)]


class _Best:
    """The best different pairs so far."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.pairs: tuple[NDArray[Any], ...] = (
            np.empty(0, np.float32),
            np.empty(0, np.int64),
            np.empty(0, np.int64),
        )

    def add(self, *new: NDArray[Any]) -> None:
        scores, first, second = (np.concatenate(both) for both in zip(self.pairs, new, strict=True))
        _, kept = np.unique(first << 32 | second, return_index=True)
        scores, first, second = scores[kept], first[kept], second[kept]
        order = np.lexsort((second, first, -scores))[: self._most]
        self.pairs = scores[order], first[order], second[order]


def community_detection(
    embeddings: Any,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
    show_progress_bar: bool = False,
) -> list[list[int]]:
    """Groups of vectors around one of them: those whose cosine with it is at least a threshold.

    Parameters
    ----------
    embeddings : array_like (m, D)
    threshold : float
    min_community_size : int
    batch_size : int
        Vectors that are searched at once; results do not depend on it.
    show_progress_bar : bool

    Returns
    -------
    list of lists of int
        The largest group first; in each the centre first, then by similarity. A vector is in one
        group at most: that of the centre with the most neighbours.
    """
    rows = _rows("community_detection: embeddings", embeddings)
    if not rows.size or len(rows) < min_community_size:
        return []
    index = _index("community_detection", rows, cos_sim)
    found: list[tuple[int, NDArray[Any]]] = []
    with progress_bar(len(rows), "vector", "grouping", show_progress_bar) as bar:
        for begin in range(0, len(rows), batch_size):
            some = index.search_range(rows[begin : begin + batch_size], threshold).ids
            found += [
                (begin + i, ids) for i, ids in enumerate(some) if len(ids) >= min_community_size
            ]
            bar.update(len(some))
    found.sort(key=lambda one: -len(one[1]))
    groups, used = [], np.zeros(len(rows), bool)
    for centre, ids in found:
        left = ids[~used[ids]]
        if not used[centre] and len(left) >= min_community_size:
            group = [centre, *left[left != centre].tolist()]
            groups.append(group)
            used[group] = True
    return sorted(groups, key=lambda group: -len(group))
