"""NumPy twin of the native search: scores every row in float64, in the native order of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Segment:
    """One segment as a snapshot sees it."""

    def __init__(
        self,
        vectors: NDArray[Any],
        *,
        scales: NDArray[Any] | None = None,
        labels: NDArray[Any] | None = None,
        first_label: int = 0,
        died: NDArray[Any] | None = None,
        rows: int,
        first_slot: int,
        codes: NDArray[Any] | None = None,
        bounds: NDArray[Any] | None = None,
        coded: int = 0,
        centre: NDArray[Any] | None = None,
    ) -> None:
        self.vectors, self.scales, self.died = vectors, scales, died
        self.labels, self.first_label = labels, first_label
        self.rows, self.first_slot = rows, first_slot


def values(segment: Segment) -> NDArray[np.float64]:
    """The values of the visible rows."""
    rows = segment.vectors[: segment.rows]
    if rows.dtype == np.uint16:
        rows = (rows.astype(np.uint32) << 16).view(np.float32)
    rows = rows.astype(np.float32)
    if segment.scales is not None:
        rows = rows * segment.scales[: segment.rows, None]
    return rows.astype(np.float64)


def lane_sum(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the last axis: 16 lanes of every 16th term, then the lanes by halving."""
    n = terms.shape[-1]
    padded = np.zeros((*terms.shape[:-1], -(-n // 16) * 16))
    padded[..., :n] = terms
    lanes = np.zeros((*terms.shape[:-1], 16))
    for i in range(0, n, 16):
        lanes += padded[..., i : i + 16]
    for half in (8, 4, 2, 1):
        lanes = lanes[..., :half] + lanes[..., half : 2 * half]
    return lanes[..., 0]


def scores(metric: str, query: NDArray[Any], rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """The score of each row, rounded once."""
    query = query.astype(np.float64)
    with np.errstate(over="ignore"):
        if metric == "l2":
            return np.asarray(-lane_sum((query - rows) ** 2), np.float32)
        sums = lane_sum(query * rows)
        if metric == "ip":
            result: NDArray[np.float32] = sums.astype(np.float32)
            return result
    scale = np.sqrt(lane_sum(query * query)) * np.sqrt(lane_sum(rows * rows))
    cosines = np.divide(sums, scale, out=np.zeros_like(sums), where=scale > 0)
    return np.asarray(np.clip(cosines, -1, 1), np.float32)


def _candidates(
    segments: list[Segment],
    metric: str,
    query: NDArray[Any],
    version: int,
    allowed: NDArray[Any] | None,
    excluded: NDArray[Any] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels and scores of all rows that count, best first."""
    all_labels, all_scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for segment in segments:
        rows = np.arange(segment.rows)
        seen = np.ones(segment.rows, bool)
        if segment.died is not None:
            died = segment.died[: segment.rows]
            seen &= (died == 0) | (died > version)
        for slots, wanted in ((allowed, True), (excluded, False)):
            if slots is None:
                continue
            if slots.dtype == np.uint8:
                at = rows + segment.first_slot
                inside = (slots[at >> 3] >> (at & 7)) & 1 != 0
            else:
                inside = np.isin(rows + segment.first_slot, slots)
            seen &= inside == wanted
        labels = rows + segment.first_label
        if segment.labels is not None:
            labels = segment.labels[: segment.rows]
        all_labels.append(labels[seen])
        all_scores.append(scores(metric, query, values(segment)[seen]))
    found, score = np.concatenate(all_labels), np.concatenate(all_scores)
    order = np.lexsort((found, -score))
    return found[order], score[order]


def _of(filters: list[NDArray[Any]] | None, filter_of: NDArray[Any] | None, q: int) -> Any:
    return (
        None if filters is None or filter_of is None or filter_of[q] < 0 else filters[filter_of[q]]
    )


def search(
    segments: list[Segment],
    metric: str,
    queries: NDArray[np.float32],
    k: int,
    version: int,
    filters: list[NDArray[Any]] | None,
    filter_of: NDArray[np.int64] | None,
    exclusions: list[NDArray[Any]] | None,
    exclusion_of: NDArray[np.int64] | None,
    threads: int,
    exact: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], tuple[Any, ...]]:
    """The k best of each query."""
    labels = np.zeros((len(queries), k), np.int64)
    best = np.zeros((len(queries), k), np.float32)
    counts = np.zeros(len(queries), np.int64)
    for q, query in enumerate(queries):
        found, score = _candidates(
            segments, metric, query, version,
            _of(filters, filter_of, q), _of(exclusions, exclusion_of, q),
        )  # fmt: skip
        counts[q] = count = min(k, len(found))
        labels[q, :count], best[q, :count] = found[:count], score[:count]
    return labels, best, counts, ()


def search_range(
    segments: list[Segment],
    metric: str,
    queries: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    version: int,
    filters: list[NDArray[Any]] | None,
    filter_of: NDArray[np.int64] | None,
    exclusions: list[NDArray[Any]] | None,
    exclusion_of: NDArray[np.int64] | None,
    threads: int,
    exact: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], tuple[Any, ...]]:
    """All rows of each query whose score is at least its threshold."""
    offsets, labels, best = [0], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for q, query in enumerate(queries):
        found, score = _candidates(
            segments, metric, query, version,
            _of(filters, filter_of, q), _of(exclusions, exclusion_of, q),
        )  # fmt: skip
        keep = score >= thresholds[q]
        labels.append(found[keep])
        best.append(score[keep])
        offsets.append(offsets[-1] + int(keep.sum()))
    return np.array(offsets), np.concatenate(labels), np.concatenate(best), ()
