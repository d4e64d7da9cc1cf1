"""What the pages of word windows share: checks of their arguments, and two update rules.

V = words of the vocabulary, D = dimensions, m = inputs, n = outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.kernels import _arrays


def softplus(x: Any) -> Any:
    """log(1 + e^x), stable for any x; -log s(x) is softplus(-x), s(x) is exp(-softplus(-x))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def update_together(
    w_in: NDArray[Any], w_out: NDArray[Any], inputs: Any, outputs: Any, labels: Any, rate: float
) -> float:
    """Every input (m,) meets every output (n,) with its label; all scores come first.

    With U (m x D) and V (n x D) their rows and G (m x n) the steps rate * (label - s(u.v)),
    ``U += G V`` and ``V += G^T U`` with the old U and V, repeated rows as often as they occur.
    """
    u, v = w_in[inputs], w_out[outputs]
    scores = u @ v.T
    steps = rate * (labels - np.exp(-softplus(-scores)))
    np.add.at(w_in, inputs, steps @ v)
    np.add.at(w_out, outputs, steps.T @ u)
    return float(softplus(np.where(labels == 1, -scores, scores)).sum())


def update_in_turn(
    u: NDArray[Any], w_out: NDArray[Any], outputs: Any, labels: Any, rate: float
) -> tuple[NDArray[Any], float]:
    """One input u (D,) meets its outputs (n,) one after another: what u gains, and the loss.

    Each output is updated before the next is scored; where |u.v| >= 6 nothing is updated.
    """
    change, loss = np.zeros_like(u), 0.0
    for output, label in zip(outputs, labels, strict=True):
        score = u @ w_out[output]
        loss += float(softplus(-score if label else score))
        if abs(score) >= 6:
            continue
        step = rate * (label - np.exp(-softplus(-score)))
        change += step * w_out[output]
        w_out[output] += step * u
    return change, loss


def matrices(function: str, **weights: Any) -> tuple[NDArray[Any], ...]:
    """Two matrices that a batch updates: float32, rows contiguous, equal D, without overlap."""
    for name, value in weights.items():
        array = _arrays.updated(function, name, value)
        if array.ndim != 2:
            raise ValueError(f"{function}: {name} must have shape (V, D), got {array.shape}")
        row = 4 * array.shape[1]
        if array.size and (array.strides[1] != 4 or array.strides[0] < row or array.strides[0] % 4):
            raise ValueError(f"{function}: {name} must have contiguous rows, got {array.strides=}")
    (one, first), (two, second) = weights.items()
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{function}: {one} and {two} must have equal D, got {first.shape} and {second.shape}"
        )
    if np.may_share_memory(first, second):
        raise ValueError(f"{function}: {one} and {two} overlap")
    return first, second


def finite(function: str, name: str, value: Any) -> float:
    """A finite number as a float."""
    if not np.isfinite(value):
        raise ValueError(f"{function}: {name} must be finite, got {value}")
    return float(value)
