"""Answers of shards put together: those of one `Index` with all rows.

A shard's rows are sorted by score, then label, where labels are those of the index of all ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.search.matches import Matches, MatchesInRange


class ShardedMatches(Matches):
    """What `ShardedIndex.search` found: `firth.search.Matches` of the shards that answered."""

    missing: tuple[int, ...] = ()  # numbers of shards that did not answer


class ShardedMatchesInRange(MatchesInRange):
    """What `ShardedIndex.search_range` found, of the shards that answered."""

    missing: tuple[int, ...] = ()  # numbers of shards that did not answer


def merged(
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]], queries: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """The k best of what shards found: labels and scores (Q, <= k), counts (Q,).

    ``parts``: labels and scores (Q, m) of each, sorted by score, then label, with NaN at the end
    where a query found fewer. So is the result, but for what is beyond ``counts``.
    """
    if not queries:
        return np.empty((0, k), np.int64), np.empty((0, k), np.float32), np.empty(0, np.int64)
    every = [np.empty((queries, 0), np.int64), *(labels for labels, _ in parts)]
    labels = np.concatenate(every, axis=1)
    scores = np.concatenate([np.empty((queries, 0), np.float32), *(s for _, s in parts)], axis=1)
    none = np.isnan(scores)
    counts = np.minimum(labels.shape[1] - none.sum(axis=1), k)
    if len(parts) > 1:
        keys = np.where(none, np.float32(np.inf), -scores)
        order = np.argsort(keys, axis=1, kind="stable")
        sorted_keys = np.take_along_axis(keys, order, axis=1)
        equal = np.flatnonzero((sorted_keys[:, 1:] == sorted_keys[:, :-1]).any(axis=1))
        if len(equal):
            order[equal] = np.lexsort((labels[equal], keys[equal], none[equal]), axis=1)
        labels = np.take_along_axis(labels, order[:, :k], axis=1)
        scores = np.take_along_axis(scores, order[:, :k], axis=1)
    return labels[:, :k], scores[:, :k], counts


def ranges(
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]], queries: int
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float32]]]:
    """All that shards found: labels and scores of each query.

    ``parts``: labels and scores of all queries of a shard in a row, and how many each has (Q,).
    """
    labels: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    ends = [np.append(0, np.cumsum(counts)) for *_, counts in parts]
    for query in range(queries):
        here = [slice(end[query], end[query + 1]) for end in ends]
        found = zip(parts, here, strict=True)
        some = np.concatenate([np.empty(0, np.int64), *(part[0][rows] for part, rows in found)])
        found = zip(parts, here, strict=True)
        score = np.concatenate([np.empty(0, np.float32), *(part[1][rows] for part, rows in found)])
        order = np.lexsort((some, -score))
        labels.append(some[order])
        scores.append(score[order])
    return labels, scores


def sums(stats: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The sums of `Index.stats`, without the last search."""
    total = {
        name: sum(one[name] for one in stats)
        for name in ("rows", "dead", "coded", "segments", "cells")
    }
    probes = [one["probe"] for one in stats if one["probe"] is not None]
    return {
        **total,
        "probe": sum(probes) if probes else None,
        "bytes": {
            name: sum(one["bytes"][name] for one in stats) for name in ("vectors", "codes", "other")
        },
    }
