"""Scores of vectors, and their small forms: what sentence_transformers.util has, with arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth.errors import warn
from firth.geometry import distances, lengths, unit

Floats = NDArray[np.float32]
Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")


def _rows(values: Any, dtype: Any = np.float64) -> NDArray[Any]:
    """An array (n, D) of an array, a tensor or a list of them; a single vector gets n = 1."""
    if isinstance(values, list) and values and not isinstance(values[0], (int, float, list)):
        values = np.stack([np.asarray(one) for one in values])
    rows = np.asarray(values)
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2:
        raise ValueError(f"vectors must be an array (n, D) or (D,), got shape {rows.shape}")
    return rows.astype(dtype, copy=False)


def _both(a: Any, b: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, two = _rows(a), _rows(b)
    if one.shape[1] != two.shape[1]:
        raise ValueError(f"vectors must have one length, got {one.shape[1]} and {two.shape[1]}")
    return one, two


def cos_sim(a: Any, b: Any) -> Floats:
    """Cosines of all rows of one with all of the other, as sentence_transformers.util.cos_sim.

    Parameters
    ----------
    a : array_like, tensor, or list of vectors, shape (n, D), or (D,) for n = 1
    b : likewise, (m, D)

    Returns
    -------
    ndarray (n, m) float32
        Summed in float64; 0 with a row of zeros.

    Raises
    ------
    ValueError
        The rows differ in length, or there are more axes.
    """
    one, two = _both(a, b)
    return np.asarray(unit(one) @ unit(two).T, np.float32)


def dot_score(a: Any, b: Any) -> Floats:
    """Products (n, m) float32 of rows (n, D) with rows (m, D), summed in float64.

    Arguments and errors are those of `cos_sim`.
    """
    one, two = _both(a, b)
    return np.asarray(one @ two.T, np.float32)


def euclidean_sim(a: Any, b: Any) -> Floats:
    """Distances (n, m) of rows (n, D) from rows (m, D), negated: the nearest is the greatest."""
    one, two = _both(a, b)
    return np.asarray(-distances(one, two), np.float32)


def manhattan_sim(a: Any, b: Any) -> Floats:
    """Sums (n, m) of the absolute differences of rows (n, D) from rows (m, D), negated."""
    one, two = _both(a, b)
    return np.asarray([-np.abs(two - row).sum(axis=1) for row in one], np.float32)


def pairwise_cos_sim(a: Any, b: Any) -> Floats:
    """Cosines (n,) of rows (n, D), each with its own of (n, D)."""
    one, two = _both(a, b)
    return np.asarray((unit(one) * unit(two)).sum(axis=1), np.float32)


def pairwise_dot_score(a: Any, b: Any) -> Floats:
    """Products (n,) of rows (n, D), each with its own of (n, D)."""
    one, two = _both(a, b)
    return np.asarray((one * two).sum(axis=1), np.float32)


def pairwise_euclidean_sim(a: Any, b: Any) -> Floats:
    """Negated distances (n,) of rows (n, D), each from its own of (n, D)."""
    one, two = _both(a, b)
    return np.asarray(-lengths(one - two), np.float32)


def pairwise_manhattan_sim(a: Any, b: Any) -> Floats:
    """Negated sums (n,) of absolute differences of rows (n, D), each from its own of (n, D)."""
    one, two = _both(a, b)
    return np.asarray(-np.abs(one - two).sum(axis=1), np.float32)


Score = Callable[[Any, Any], Floats]
SIMILARITIES: dict[str, tuple[Score, Score]] = {
    "cosine": (cos_sim, pairwise_cos_sim),
    "dot": (dot_score, pairwise_dot_score),
    "euclidean": (euclidean_sim, pairwise_euclidean_sim),
    "manhattan": (manhattan_sim, pairwise_manhattan_sim),
}
"""All with all, and each with its own, by the names that configurations have."""


def quantize_embeddings(
    embeddings: Any,
    precision: Precision,
    ranges: Any = None,
    calibration_embeddings: Any = None,
) -> NDArray[Any]:
    """Vectors of a byte or a bit a dimension, as sentence-transformers makes them.

    Parameters
    ----------
    embeddings : array_like (n, D) of floats
    precision : {"float32", "int8", "uint8", "binary", "ubinary"}
        int8 and uint8: which of 256 equal steps between the least and the greatest value of its
        dimension a value is in. binary and ubinary: a bit for values above 0, packed with the
        highest bit first; binary is the byte less 128.
    ranges : array_like (2, D), optional
        Least and greatest values.
    calibration_embeddings : array_like (m, D), optional
        Vectors whose ranges are taken, instead of those of ``embeddings``.

    Returns
    -------
    ndarray (n, D) int8 or uint8, or (n, ceil(D / 8)) for bits.

    Raises
    ------
    TypeError, ValueError
        Integers; an unknown precision; ranges of a single vector.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"quantize_embeddings: precision must be one of {PRECISIONS}, got {precision!r}"
        )
    given = np.asarray(embeddings)
    if given.dtype.kind != "f":
        raise TypeError(f"quantize_embeddings: embeddings must be floats, got {given.dtype}")
    values: Floats = given.astype(np.float32, copy=False)
    if precision == "float32":
        return values
    if precision in ("binary", "ubinary"):
        bits = np.packbits(values > 0, axis=-1)
        return bits if precision == "ubinary" else (bits ^ 128).view(np.int8)
    if ranges is None:
        ranges = _ranges(values if calibration_embeddings is None else calibration_embeddings)
    least, greatest = np.asarray(ranges, np.float32)
    steps = (greatest - least) / np.float32(255)
    places = (values - least) / np.where(steps == 0, np.float32(1), steps)
    codes: NDArray[np.uint8] = np.floor(places).clip(0, 255).astype(np.uint8)
    return codes if precision == "uint8" else (codes ^ 128).view(np.int8)


def _ranges(calibration: Any) -> Floats:
    rows = np.asarray(calibration, np.float32)
    if rows.ndim == 1 or len(rows) == 1:
        raise ValueError(
            "quantize_embeddings: one vector has no ranges; give ranges or calibration_embeddings"
        )
    if len(rows) < 100:
        warn(
            f"the ranges of only {len(rows)} vectors are taken for bytes; give ranges or "
            "calibration_embeddings of 100 and more"
        )
    return np.stack([rows.min(axis=0), rows.max(axis=0)])
