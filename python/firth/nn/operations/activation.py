"""Activations: functions of each element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.tape import Array, Operation, Spec, Tensor, apply, method

NUMBERS = {
    "none": 0, "relu": 1, "gelu": 2, "gelu_tanh": 3, "silu": 4, "tanh": 6, "sigmoid": 7,
    "leaky_relu": 8, "elu": 9, "step": 10,
}  # fmt: skip
"""Names and the numbers that the native code knows (csrc/activations.h)."""

READ_RESULT = {"none", "relu", "tanh", "sigmoid", "step"}
"""Those whose gradient is computed of their result; others need their argument."""


def function(x: Array, activation: str, slope: float = 0.0) -> Array:
    """f(x)."""
    if activation == "relu":
        return np.where(x < 0, 0, x)
    if activation == "tanh":
        return np.tanh(x)
    return x


def gradient(x: Any, y: Any, activation: str, slope: float = 0.0) -> Any:
    """f'(x), of y = f(x) where that is enough; x is then not read."""
    if activation == "relu":
        return np.where(y > 0, 1, 0)
    if activation == "tanh":
        return 1 - y * y
    return np.ones_like(y)


@dataclass(frozen=True)
class Activation(Operation):
    """y = f(x); dx = dy f'(x)."""

    activation: str
    slope: float = 0.0

    name: ClassVar[str] = "activation"

    @property
    def reads_inputs(self) -> tuple[int, ...]:  # type: ignore[override]
        return () if self.activation in READ_RESULT else (0,)

    @property
    def reads_outputs(self) -> tuple[int, ...]:  # type: ignore[override]
        return (0,) if self.activation in READ_RESULT else ()

    def options(self) -> tuple[float, ...]:
        return NUMBERS[self.activation], self.slope

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        (x,) = inputs
        return [Spec(x.shape)], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        return [function(inputs[0], self.activation, self.slope)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        return [gradients[0] * gradient(inputs[0], outputs[0], self.activation, self.slope)]


@method
def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return apply(Activation("relu"), x)  # type: ignore[no-any-return]


@method
def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return apply(Activation("tanh"), x)  # type: ignore[no-any-return]
