"""InfoNCE: which of a batch's keys belongs to each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.tape import Array, Operation, Spec, Tensor, apply


def _unit(x: Array) -> tuple[Array, Array]:
    """Rows over their lengths, and 1 / lengths; 0 for a row of zeros."""
    lengths = np.sqrt((x * x).sum(axis=1))
    inverses = np.where(lengths == 0, 0, 1 / np.where(lengths == 0, 1, lengths))
    return x * inverses[:, None], inverses


def _rows(z: Array) -> tuple[Array, Array]:
    """-log softmax(z)_i of each row i, and its gradient by that row."""
    rest = z - z.max(axis=1, keepdims=True, initial=-np.inf)
    logs = rest - np.log(np.exp(rest).sum(axis=1, keepdims=True))
    diagonal = np.arange(len(z))
    gradient = np.exp(logs)
    gradient[diagonal, diagonal] -= 1
    return -logs[diagonal, diagonal], gradient


@dataclass(frozen=True)
class InfoNCE(Operation):
    """The mean over i of -log softmax(z_i)_i, z_ij = cos(q_i, k_j) / temperature.

    For queries (m, d) and keys (n, d), n >= m: key i is query i's, all others are not (van den Oord
    et al., arXiv:1807.03748). `symmetric` (m = n): the mean of that and of the same for keys that
    look for their queries. The cosine with a vector of zeros is 0.

    Backward. Let G be the gradient by the cosines: (softmax(z_i)_j - [i = j]) / (m temperature),
    where symmetric the mean of that and of the columns'. With unit vectors u = q / |q| and v, the
    cosines are U V^T, so dU = G V and dV = G^T U. du/dq = (1 - u u^T) / |q|, so that

        dq = (du - u <u, du>) / |q|,   and so for keys; 0 for a vector of zeros.
    """

    temperature: float = 0.05
    symmetric: bool = False

    name: ClassVar[str] = "info_nce"

    def options(self) -> tuple[float, ...]:
        return self.temperature, self.symmetric

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        queries, keys = inputs
        for name, x in (("queries", queries), ("keys", keys)):
            if len(x.shape) != 2:
                raise ValueError(f"info_nce: {name} must have 2 axes, got shape {x.shape}")
        (m, width), (n, other) = queries.shape, keys.shape
        if width != other:
            raise ValueError(
                f"info_nce: keys must be as long as queries, {width}, got shape {keys.shape}"
            )
        if n < m or (self.symmetric and n > m):
            many = f"{m}" if self.symmetric else f"at least {m}"
            raise ValueError(f"info_nce: keys must be {many}, as queries are, got {n}")
        kept = [queries.shape, keys.shape, (m,), (n,), (m, n)]
        return [Spec(())], [Spec(shape) for shape in kept]

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        (u, over), (v, under) = map(_unit, inputs)
        z = u @ v.T / self.temperature
        losses, by = _rows(z)
        if self.symmetric:
            others, columns = _rows(z.T)
            losses, by = (losses + others) / 2, (by + columns.T) / 2
        by = by / (max(1, len(u)) * self.temperature)
        return [losses.sum() / len(losses)], [u, v, over, under, by]

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        u, v, over, under, by = saved
        found: list[Array | None] = []
        for h, dh, inverses in ((u, by @ v, over), (v, by.T @ u, under)):
            rest = dh - h * (h * dh).sum(axis=1, keepdims=True)
            found.append(gradients[0] * rest * inverses[:, None])
        return found


def info_nce(
    queries: Tensor, keys: Tensor, temperature: float = 0.05, *, symmetric: bool = False
) -> Tensor:
    """The mean cross-entropy of each query's own key among all keys, by their cosines.

    Parameters
    ----------
    queries : Tensor, shape (B, D)
    keys : Tensor, shape (B, D), or (B + more, D)
        Key i belongs to query i; those behind the B-th to nobody (hard negatives).
    temperature : float, above 0
        By which cosines are divided.
    symmetric : bool
        Whether the loss is the mean of this one and the one of keys that look for their queries.

    Returns
    -------
    Tensor, shape ()
        NaN for an empty batch.

    Raises
    ------
    ValueError
        A shape does not fit, or `temperature` is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"info_nce: temperature must be above 0, got {temperature}")
    return apply(InfoNCE(temperature, symmetric), queries, keys)
