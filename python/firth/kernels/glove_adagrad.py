"""GloVe: AdaGrad steps over a batch of co-occurrence records.

V = words, V' = context words, D = dimensions, B = records of the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import kernel


@kernel
def glove_adagrad(
    words: NDArray[Any],
    contexts: NDArray[Any],
    rows: Any,
    columns: Any,
    log_counts: Any,
    weights: Any,
    learning_rate: float = 0.05,
    grad_clip: float = 100.0,
) -> float:
    """Update ``words`` and ``contexts`` in place, record after record; return their cost before.

    For the record (i, j) with log count l and weight f(x), vectors w = ``words[i, 0, :D]`` and
    c = ``contexts[j, 0, :D]``, biases behind them (at D) and sums S of squared steps before their
    division, g and h below, in the second plane::

        diff = w . c + b_i + b_j - l          cost += f(x) diff^2 / 2
        g = clip(f(x) diff c) learning_rate   w -= g / sqrt(S),  S += g^2     (c with the old w)
        h = f(x) diff                         b -= h / sqrt(S),  S += h^2     (both biases)

    Parameters
    ----------
    words : ndarray, shape (V, 2, D + 1), float32, the last axis contiguous
    contexts : ndarray, shape (V', 2, D + 1), float32, likewise, not overlapping ``words``
        The second plane must be positive; GloVe starts it with ones.
    rows : integer array, shape (B,), rows of ``words``
    columns : integer array, shape (B,), rows of ``contexts``
    log_counts, weights : array_like, shape (B,), float32, finite
    learning_rate : float
        Of the vectors. The biases take a rate of 1 and no clip, as in glove.c.
    grad_clip : float
        Each gradient component of a vector is clipped to +-grad_clip.

    Returns
    -------
    float
        The cost summed over the batch, each part from right before its own update.

    Raises
    ------
    TypeError
        ``words`` or ``contexts`` is not a float32 array, or indices are not integers.
    ValueError
        Shapes do not fit, an array is read-only or overlaps the other, a number is not finite, or
        ``learning_rate`` or ``grad_clip`` is not positive.
    IndexError
        An index is out of range. All checks come before the first update.

    Notes
    -----
    1 / sqrt is within 4e-7 (relative) natively. Source: Pennington, Socher, Manning 2014, "GloVe:
    Global Vectors for Word Representation", with AdaGrad as in Stanford's ``glove.c``.
    """
    cost = 0.0
    for i, j, log_count, weight in zip(rows, columns, log_counts, weights, strict=True):
        (w, w_sums), (c, c_sums) = words[i], contexts[j]
        diff = w[:-1] @ c[:-1] + w[-1] + c[-1] - log_count
        step = weight * diff
        cost += 0.5 * float(step) * float(diff)
        for theta, sums, gradient in (
            (w, w_sums, np.clip(step * c[:-1], -grad_clip, grad_clip) * learning_rate),
            (c, c_sums, np.clip(step * w[:-1], -grad_clip, grad_clip) * learning_rate),
        ):  # both gradients are taken before the first update
            gradient = np.append(gradient, step)
            theta -= gradient / np.sqrt(sums)
            sums += gradient**2
    return cost


def _state(name: str, value: Any) -> NDArray[np.float32]:
    array = _arrays.updated("glove_adagrad", name, value)
    if array.ndim != 3 or array.shape[1] != 2 or array.shape[2] < 2:
        raise ValueError(f"glove_adagrad: {name} must have shape (V, 2, D + 1), got {array.shape}")
    row, plane, step = array.strides
    least = 4 * array.shape[2]
    if array.size and (step != 4 or plane < least or row < plane + least or row % 4 or plane % 4):
        raise ValueError(f"glove_adagrad: {name} must have contiguous rows, got {array.strides=}")
    return array


def _numbers(name: str, value: Any) -> NDArray[np.float32]:
    array = _arrays.numbers("glove_adagrad", name, value, "float32")
    if not np.isfinite(array).all():
        raise ValueError(f"glove_adagrad: {name} must be finite")
    return np.ascontiguousarray(array)


@glove_adagrad.prepare
def _(
    words: NDArray[Any],
    contexts: NDArray[Any],
    rows: Any,
    columns: Any,
    log_counts: Any,
    weights: Any,
    learning_rate: float = 0.05,
    grad_clip: float = 100.0,
) -> tuple[Any, ...]:
    words, contexts = _state("words", words), _state("contexts", contexts)
    if words.shape[2] != contexts.shape[2]:
        raise ValueError(
            f"glove_adagrad: words and contexts must have one D, got {words.shape[2] - 1} "
            f"and {contexts.shape[2] - 1}"
        )
    if np.may_share_memory(words, contexts):
        raise ValueError("glove_adagrad: words and contexts must not overlap")
    rows = _arrays.indices("glove_adagrad", "rows", rows, 0, len(words))
    columns = _arrays.indices("glove_adagrad", "columns", columns, 0, len(contexts))
    log_counts, weights = _numbers("log_counts", log_counts), _numbers("weights", weights)
    shapes = [a.shape for a in (rows, columns, log_counts, weights)]
    if rows.ndim != 1 or len(set(shapes)) > 1:
        raise ValueError(
            f"glove_adagrad: rows, columns, log_counts, weights must be (B,), got {shapes}"
        )
    if not 0 < learning_rate < np.inf:
        raise ValueError(f"glove_adagrad: learning_rate must be positive, got {learning_rate}")
    if not grad_clip > 0:
        raise ValueError(f"glove_adagrad: grad_clip must be positive, got {grad_clip}")
    rate, clip = float(learning_rate), float(grad_clip)
    return None, words, contexts, rows, columns, log_counts, weights, rate, clip


@glove_adagrad.numba
def _(
    words: Any,
    contexts: Any,
    rows: Any,
    columns: Any,
    log_counts: Any,
    weights: Any,
    learning_rate: float,
    grad_clip: float,
) -> float:
    dim = words.shape[2] - 1
    rate, limit = np.float32(learning_rate), np.float32(grad_clip)
    cost = 0.0
    for r in range(len(rows)):
        w, c = words[rows[r]], contexts[columns[r]]
        diff = w[0, dim] + c[0, dim] - log_counts[r]
        for d in range(dim):
            diff += w[0, d] * c[0, d]
        step = weights[r] * diff
        cost += 0.5 * np.float64(step) * np.float64(diff)
        for d in range(dim):
            g_w = min(max(step * c[0, d], -limit), limit) * rate
            g_c = min(max(step * w[0, d], -limit), limit) * rate
            w[0, d] -= g_w / np.sqrt(w[1, d])
            c[0, d] -= g_c / np.sqrt(c[1, d])
            w[1, d] += g_w * g_w
            c[1, d] += g_c * g_c
        w[0, dim] -= step / np.sqrt(w[1, dim])
        c[0, dim] -= step / np.sqrt(c[1, dim])
        w[1, dim] += step * step
        c[1, dim] += step * step
    return cost


@glove_adagrad.native
def _(
    level: _native.Level,
    words: Any,
    contexts: Any,
    rows: Any,
    columns: Any,
    log_counts: Any,
    weights: Any,
    learning_rate: float,
    grad_clip: float,
) -> float:
    return _native.kernels.glove_adagrad(
        level, words, contexts, rows, columns, log_counts, weights, learning_rate, grad_clip
    )
