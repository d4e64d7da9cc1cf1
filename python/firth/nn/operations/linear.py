"""A linear layer with its activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from firth.nn.operations import activation as activations
from firth.nn.tape import Array, Operation, Spec, Tensor, apply, check_real


@dataclass(frozen=True)
class Linear(Operation):
    r"""y = f(z), z = x W^T + b, for x of shape (..., K), W (N, K), b (N).

    Backward. Let dz = dy f'(z), element by element. Element z[i, n] = sum_k x[i, k] W[n, k] + b[n],
    so that x[i, k] has an effect on z[i, n] for all n, by W[n, k]; W[n, k] on z[i, n] for all i, by
    x[i, k]; b[n] on z[i, n] for all i, by 1. Sums over these effects are products of matrices:

        dx = dz W,   dW = dz^T x,   db = sum of the rows of dz.
    """

    activation: str = "none"
    slope: float = 0.0

    name: ClassVar[str] = "linear"
    product: ClassVar[bool] = True
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1)

    @property
    def reads_outputs(self) -> tuple[int, ...]:  # type: ignore[override]
        return (0,) if self.activation in activations.READ_RESULT - {"none"} else ()

    def options(self) -> tuple[float, ...]:
        return activations.NUMBERS[self.activation], self.slope

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, weight, bias = inputs
        for name, given in (("input", x), ("weight", weight), ("bias", bias)):
            check_real("linear", name, given)
        if len(weight.shape) != 2:
            raise ValueError(f"linear: weight must have 2 axes, got shape {weight.shape}")
        if not x.shape or x.shape[-1] != weight.shape[1]:
            raise ValueError(
                f"linear: the last axis of input must be {weight.shape[1]}, got shape {x.shape}"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"linear: bias must have shape {weight.shape[:1]}, got {bias.shape}")
        y = Spec((*x.shape[:-1], weight.shape[0]))
        return [y], [] if self.activation in activations.READ_RESULT else [y]

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, weight, bias = inputs
        z = x @ weight.T + (0 if bias is None else bias)
        y = activations.function(z, self.activation, self.slope)
        return [y], [] if self.activation in activations.READ_RESULT else [z]

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        x, weight, bias = inputs
        dz = gradients[0]
        if self.activation != "none":
            z = saved[0] if saved else None
            dz = dz * activations.gradient(z, outputs[0], self.activation, self.slope)
        rows = dz.reshape(-1, dz.shape[-1])
        return [
            dz @ weight,
            rows.T @ x.reshape(-1, x.shape[-1]),
            None if bias is None else rows.sum(axis=0),
        ]


def linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    slope: float = 0.0,
) -> Tensor:
    """activation(input weight^T + bias).

    Parameters
    ----------
    input : Tensor, shape (..., K)
    weight : Tensor, shape (N, K)
    bias : Tensor, shape (N,), optional
    activation : str, optional
        As `activation`'s; computed with the product.
    slope : float
        Of leaky_relu and elu.

    Returns
    -------
    Tensor, shape (..., N)
    """
    return apply(Linear(activation or "none", slope), input, weight, bias)
