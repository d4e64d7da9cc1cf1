"""Byte codes of word vectors, for repeated queries.

`cosine_topk` has to read every row. With a quarter more memory the bytes of `byte_codes` are read
instead, and only the rows that may be among the best: the same result, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.kernels import active
from firth.search import segments
from firth.search.segments import Segment

_FROM_ROWS = 8192  # below, a search is fast enough anyway
_FROM_QUESTIONS = 16  # what coding costs, in queries that become faster


def pays(vectors: NDArray[Any], questions: int) -> bool:
    """Whether codes pay off after this number of queries to these vectors."""
    return (
        questions >= _FROM_QUESTIONS
        and len(vectors) >= _FROM_ROWS
        and 0 < vectors.shape[1] <= 66_000
        and vectors.dtype != np.float64
        and vectors.flags.c_contiguous
        and active().startswith("native")
    )


def code(vectors: NDArray[Any], scales: NDArray[np.float32] | None) -> Segment:
    """Rows (V, D) of float32, float16, or int8 with scales, with their codes."""
    segment = segments.Segment(vectors, rows=len(vectors), scales=scales)
    return segments.coded(segment, "cosine", segments.centre_of([segment], "cosine"))


def topk(
    segment: Segment,
    queries: NDArray[np.float32],
    k: int,
    norms: NDArray[Any],
    threads: int | None,
) -> list[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Scores and rows of the (at most) k best of each query; a row whose norm is NaN is out."""
    left_out = np.isnan(norms)
    filters, filter_of = [], None
    if left_out.any():
        filters = [np.packbits(~left_out, bitorder="little")]
        filter_of = np.zeros(len(queries), np.int64)
    rows, scores, counts, _ = segments.search(
        [segment.native], "cosine", queries, k, filters=filters, filter_of=filter_of,
        threads=threads,
    )  # fmt: skip
    return [(scores[q, :count], rows[q, :count]) for q, count in enumerate(counts.tolist())]
