"""Several inputs, each times its own rows of one weight: what attention's inputs go through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.tape import Array, Operation, Spec, Tensor, apply_all, check_real


@dataclass(frozen=True)
class Projections(Operation):
    """y_i = x_i W_i^T + b_i, where W_i and b_i are rows of W (N, K), b (N), `rows` of them each.

    Inputs: x_0, ... (..., K), as many as there are `rows`, at most 3; W; b or None.

    Backward, as of `Linear`:  dx_i = dy_i W_i,  and rows of dW and db are those of
    dW_i = dy_i^T x_i  and  db_i = sum of the rows of dy_i.
    """

    rows: tuple[int, ...]

    name: ClassVar[str] = "projections"

    @property
    def reads_inputs(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(range(len(self.rows) + 1))

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        *given, weight, bias = inputs
        if len(weight.shape) != 2 or weight.shape[0] != sum(self.rows):
            raise ValueError(
                f"projections: weight must have shape ({sum(self.rows)}, K), got {weight.shape}"
            )
        for i, x in enumerate(given):
            check_real("projections", f"input {i}", x)
            if not x.shape or x.shape[-1] != weight.shape[1]:
                raise ValueError(
                    f"projections: the last axis of input {i} must be {weight.shape[1]}, got "
                    f"shape {x.shape}"
                )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(
                f"projections: bias must have shape {weight.shape[:1]}, got {bias.shape}"
            )
        return [Spec((*x.shape[:-1], n)) for x, n in zip(given, self.rows, strict=True)], []

    def _parts(self, x: Array | None) -> list[Any]:
        """Rows of a weight or bias, those of each input."""
        if x is None:
            return [None] * len(self.rows)
        return np.split(x, np.cumsum(self.rows)[:-1])

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        *given, weight, bias = inputs
        parts = zip(given, self._parts(weight), self._parts(bias), strict=True)
        return [x @ w.T + (0 if b is None else b) for x, w, b in parts], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        *given, weight, bias = inputs
        dx: list[Array | None] = []
        dw, db = [], []
        for x, w, dy in zip(given, self._parts(weight), gradients, strict=True):
            dy = np.zeros((*x.shape[:-1], len(w)), w.dtype) if dy is None else dy
            flat = dy.reshape(-1, len(w))
            dx.append(dy @ w)
            dw.append(flat.T @ x.reshape(-1, x.shape[-1]))
            db.append(flat.sum(axis=0))
        return [*dx, np.concatenate(dw), None if bias is None else np.concatenate(db)]


def projections(
    inputs: Sequence[Tensor], rows: Sequence[int], weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Each of two or three inputs times its own rows of a weight, plus those of a bias.

    Parameters
    ----------
    inputs : sequence of Tensor, shape (..., K)
    rows : sequence of int
        How many rows each has; the first ones are those of the first input.
    weight : Tensor, shape (N, K)
    bias : Tensor, shape (N,), optional

    Returns
    -------
    tuple of Tensor, shape (..., rows)
    """
    if not 2 <= len(inputs) <= 3 or len(rows) != len(inputs):
        raise ValueError(
            f"projections: inputs must be 2 or 3, with as many rows, got {len(inputs)} and "
            f"{len(rows)}"
        )
    return apply_all(Projections(tuple(rows)), *inputs, weight, bias)
