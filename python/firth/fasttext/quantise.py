"""Smaller models: rows left out, and the others product-quantised."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.formats.fasttext import Content, Matrix, Quantised


def packed(entries: list[bytes], counts: Any) -> dict[str, Any]:
    """The entries as the fields of a `Content`."""
    return {
        "text": np.frombuffer(b"".join(entries), np.uint8),
        "ends": np.fromiter(map(len, entries), np.int64, len(entries)).cumsum(),
        "counts": np.asarray(counts, np.int64),
    }


def dense_copy(matrix: Matrix) -> NDArray[np.float32]:
    """A copy of the floats; ValueError where the matrix is quantised."""
    if isinstance(matrix, Quantised):
        raise ValueError("Can't get quantized Matrix")
    return np.array(matrix, np.float32)


def _norms(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    squares = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    return np.sqrt(squares).astype(np.float32)  # type: ignore[no-any-return]


def pruned(content: Content, cutoff: int) -> Content:
    """Only the rows of the largest norms, and always that of the end of the line."""
    matrix, words = dense_copy(content.input), content.nwords
    norms = _norms(matrix)
    entries = content.entries()
    if b"</s>" in entries[:words]:
        norms[entries.index(b"</s>")] = np.inf
    kept = np.argsort(-norms, kind="stable")[:cutoff]
    own, ngrams = np.sort(kept[kept < words]), kept[kept >= words]
    places = [*own.tolist(), *range(words, len(entries))]
    pairs = np.stack([ngrams - words, np.arange(len(ngrams))], axis=1)
    return dataclasses.replace(
        content,
        args=dataclasses.replace(content.args),
        **packed([entries[i] for i in places], content.counts[places]),
        pruned=pairs.astype(np.int32),
        input=matrix[np.concatenate([own, ngrams])],
    )


def quantised(matrix: Matrix, dsub: int, qnorm: bool) -> Quantised:
    """The matrix in parts of ``dsub`` columns; with ``qnorm`` of unit rows and their norms."""
    values = dense_copy(matrix)
    norm_codes = norm_centroids = None
    if qnorm:
        norms = _norms(values)
        values /= np.where(norms == 0, np.float32(1), norms)[:, np.newaxis]
        norm_centroids, norm_codes = _native.fasttext.product_quantise(
            norms[:, np.newaxis], 1, 1234
        )
        norm_codes = norm_codes[:, 0].copy()
    centroids, codes = _native.fasttext.product_quantise(values, dsub, 1234)
    return Quantised(codes, centroids, dsub, norm_codes, norm_centroids)
