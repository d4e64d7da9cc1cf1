"""Rows of word vectors as bytes, for those who ask again and again.

`cosine_topk` has to read every row. With a quarter more memory the bytes of `byte_codes` are read
instead, and only the rows that may be among the best: the same result, bit for bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import active, row_norms
from firth.kernels._dispatch import active_level
from firth.kernels.byte_codes import BLOCK

_FROM_ROWS = 8192  # below, a search takes no time that one would notice
_FROM_QUESTIONS = 16  # what coding costs, in questions that it makes faster
_SAMPLE = 8192  # rows whose mean is the centre


class CodedRows(NamedTuple):
    """Rows (V, D) with their codes, as `Level.search` wants them."""

    vectors: NDArray[Any]
    scales: NDArray[np.float32] | None
    codes: NDArray[np.uint8]
    bounds: NDArray[np.float32]
    centre: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[Any], scales: NDArray[np.float32] | None) -> CodedRows:
        """Code the rows (float32, float16, or int8 with scales)."""
        count, dim = vectors.shape
        blocks = count // BLOCK
        some = slice(None, None, max(1, count // _SAMPLE))
        rows = vectors[some].astype(np.float32)
        norms = row_norms(rows).astype(np.float64)
        known = (norms > 0) & np.isfinite(norms)
        unit = rows[known] / norms[known, None]
        centre = unit.mean(axis=0) if len(unit) else np.zeros(dim)
        coded = cls(
            vectors,
            scales,
            np.empty((blocks, -(-dim // 4), BLOCK, 4), np.uint8),
            np.empty((blocks, 3, BLOCK), np.float32),
            centre.astype(np.float32),
        )
        whole = slice(0, blocks * BLOCK)
        active_level().code_rows(
            vectors[whole], None if scales is None else scales[whole], "cosine", coded.centre,
            coded.codes, coded.bounds,
        )  # fmt: skip
        return coded

    def topk(
        self, queries: NDArray[np.float32], k: int, norms: NDArray[Any], threads: int | None
    ) -> list[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Scores and rows of the (at most) k best of each query; a row whose norm is NaN is out."""
        left_out = np.isnan(norms)
        filters, filter_of = [], None
        if left_out.any():
            filters = [np.packbits(~left_out, bitorder="little")]
            filter_of = np.zeros(len(queries), np.int64)
        segment = _native.Segment(
            self.vectors, scales=self.scales, rows=len(self.vectors), first_slot=0,
            codes=self.codes, bounds=self.bounds, coded=len(self.codes) * BLOCK,
            centre=self.centre,
        )  # fmt: skip
        rows, scores, counts, _ = active_level().search(
            [segment], "cosine", queries, k, 0, filters, filter_of, [], None,
            threads=_native.num_threads() if threads is None else threads,
        )  # fmt: skip
        return [(scores[q, :count], rows[q, :count]) for q, count in enumerate(counts.tolist())]


def pays(vectors: NDArray[Any], questions: int) -> bool:
    """Whether codes pay after so many questions to these vectors."""
    return (
        questions >= _FROM_QUESTIONS
        and len(vectors) >= _FROM_ROWS
        and 0 < vectors.shape[1] <= 66_000
        and vectors.dtype != np.float64
        and vectors.flags.c_contiguous
        and active().startswith("native")
    )
