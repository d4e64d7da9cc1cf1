"""Activations: functions of each element, and softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.operations.shapes import axis_of, transpose
from firth.nn.tape import Array, Operation, Spec, Tensor, apply, method

NUMBERS = {
    "none": 0, "relu": 1, "gelu": 2, "gelu_tanh": 3, "silu": 4, "tanh": 6, "sigmoid": 7,
    "leaky_relu": 8, "elu": 9, "step": 10,
}  # fmt: skip
"""Names and the numbers that the native code knows (csrc/activations.h)."""

READ_RESULT = {"none", "relu", "tanh", "sigmoid", "step"}
"""Those whose gradient is computed of their result; others need their argument."""

CURVE = 0.044715
"""Of gelu_tanh: x^3 in the argument of its tanh."""


def function(x: Array, activation: str, slope: float = 0.0) -> Array:
    """f(x); NaN stays, and the limits at -inf and inf."""
    if activation == "none":
        return x
    if activation == "relu":
        return np.where(x < 0, 0, x)
    if activation == "tanh":
        return np.tanh(x)
    if activation == "sigmoid":
        return _sigmoid(x)
    if activation == "leaky_relu":
        return np.where(x > 0, x, slope * x)
    if activation == "elu":
        return np.where(x > 0, x, slope * np.expm1(np.minimum(x, 0)))
    if activation == "step":
        return np.heaviside(x, 1)
    low = np.maximum(x, -1000)  # what is multiplied by an exponential that is 0 far left
    if activation == "silu":
        return np.where(x < 0, low, x) * _sigmoid(x)
    if activation == "gelu":
        return np.where(x > 100, x, low * _normal(x))
    if activation == "gelu_tanh":
        return np.where(x < 0, low, x) * _sigmoid(_gelu_argument(x))
    raise ValueError(f"activation must be one of {[*NUMBERS]}, got {activation!r}")


def gradient(x: Any, y: Any, activation: str, slope: float = 0.0) -> Any:
    """f'(x), of y = f(x) where that is enough; x is then not read.

    With s the logistic function, s' = s (1 - s); with Phi the normal distribution and p its
    density, Phi' = p. The others follow by the rules of products and chains:

        silu       (x s(x))' = s + x s (1 - s)
        gelu       (x Phi(x))' = Phi + x p
        gelu_tanh  (x s(u))' = s + x s (1 - s) u',  u = sqrt(8 / pi) (x + 0.044715 x^3)

    Where a function has a corner the gradient is that from the left: 0 of relu at 0.
    """
    if activation == "relu":
        return np.where(y <= 0, 0, 1)
    if activation == "tanh":
        return 1 - y * y
    if activation == "sigmoid":
        return y * (1 - y)
    if activation == "leaky_relu":
        return np.where(x > 0, 1, slope)
    if activation == "elu":
        return np.where(x > 0, 1, slope * np.exp(np.minimum(x, 0)))
    if activation == "step":
        return np.zeros_like(y)
    cut = np.clip(x, -100, 100)  # beyond, what it is multiplied by is 0
    if activation == "silu":
        return _sigmoid(x) + cut * _sigmoid_slope(x)
    if activation == "gelu":
        return _normal(x) + cut * np.exp(-0.5 * cut * cut) / math.sqrt(2 * math.pi)
    if activation == "gelu_tanh":
        u = _gelu_argument(cut)
        du = math.sqrt(8 / math.pi) * (1 + 3 * CURVE * cut * cut)
        return _sigmoid(u) + cut * du * _sigmoid_slope(u)
    return np.ones_like(y)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)  # type: ignore[no-any-return]


def _sigmoid_slope(x: Array) -> Array:
    """The slope s (1 - s), where neither is rounded to 1."""
    e = np.exp(-np.abs(x))
    return e / (1 + e) ** 2  # type: ignore[no-any-return]


def _normal(x: Array) -> Array:
    """The distribution of a standard normal number."""
    tails = [0.5 * math.erfc(z) for z in (np.asarray(x, np.float64) * -math.sqrt(0.5)).flat]
    return np.array(tails).reshape(x.shape).astype(x.dtype)


def _gelu_argument(x: Array) -> Array:
    return math.sqrt(8 / math.pi) * x * (1 + CURVE * x * x)


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
        if self.activation not in NUMBERS:
            raise ValueError(f"activation must be one of {[*NUMBERS]}, got {self.activation!r}")
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
def relu(input: Tensor) -> Tensor:
    """max(x, 0) of each element, as torch.nn.functional.relu.

    Parameters
    ----------
    input : Tensor, any shape

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError
        `input` is neither float32 nor float64.
    """
    return apply(Activation("relu"), input)


@method
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Gaussian error linear unit (Hendrycks and Gimpel, arXiv:1606.08415): x Phi(x).

    Phi is the distribution of a standard normal number.
    ``approximate="tanh"`` is x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}')
    return apply(Activation("gelu" if approximate == "none" else "gelu_tanh"), input)


@method
def silu(input: Tensor) -> Tensor:
    """Sigmoid linear unit of each element: x / (1 + e^-x). Shapes and errors as `relu`."""
    return apply(Activation("silu"), input)


@method
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent of each element. Shapes and errors as `relu`."""
    return apply(Activation("tanh"), input)


@method
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e^-x) of each element, the logistic function. Shapes and errors as `relu`."""
    return apply(Activation("sigmoid"), input)


@method
def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Positive x as they are, others times `negative_slope`. Shapes and errors as `relu`."""
    return apply(Activation("leaky_relu", float(negative_slope)), input)


@method
def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Positive x as they are, of others alpha (e^x - 1) (Clevert et al., arXiv:1511.07289).

    Shapes and errors as `relu`.
    """
    return apply(Activation("elu", float(alpha)), input)


@method
def step(input: Tensor) -> Tensor:
    """1 where x >= 0, else 0; its gradient is 0. Shapes and errors as `relu`."""
    return apply(Activation("step"), input)


@dataclass(frozen=True)
class Softmax(Operation):
    """y = e^x / s, s = sum(e^x), along the last axis; with `log`, y = x - log(s).

    Backward. dy_j/dx_i = y_j ([i = j] - y_i), since s depends on x_i by e^x_i. The sum of its
    products with the gradients g by y is

        dx_i = y_i (g_i - sum_j g_j y_j);   of the logarithm, dx_i = g_i - e^y_i sum_j g_j.
    """

    log: bool = False

    name: ClassVar[str] = "softmax"
    reads_outputs: ClassVar[tuple[int, ...]] = (0,)

    def options(self) -> tuple[float, ...]:
        return (self.log,)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        (x,) = inputs
        if not x.shape:
            raise ValueError("softmax: input must have an axis, got a single number")
        return [Spec(x.shape)], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        (x,) = inputs
        z = x - x.max(axis=-1, keepdims=True, initial=-np.inf)
        total = np.exp(z).sum(axis=-1, keepdims=True)
        return [z - np.log(total) if self.log else np.exp(z) / total], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        g, y = gradients[0], outputs[0]
        if self.log:
            return [g - np.exp(y) * g.sum(axis=-1, keepdims=True)]
        return [y * (g - (g * y).sum(axis=-1, keepdims=True))]


def _along(function: str, log: bool, x: Tensor, dim: int | None) -> Tensor:
    if dim is None:
        raise ValueError(f"{function}: dim must be an axis, got None")
    last = x.ndim - 1
    axis = axis_of(function, dim, x.ndim) if x.ndim else last  # Softmax refuses a single number
    if axis == last:
        return apply(Softmax(log), x)
    return transpose(apply(Softmax(log), transpose(x, axis, last)), axis, last)


@method
def softmax(input: Tensor, dim: int | None = -1) -> Tensor:
    """e^x / sum(e^x) along an axis; the last is the fastest.

    Parameters
    ----------
    input : Tensor, one axis or more
    dim : int
        PyTorch guesses an axis where none is given; here it is the last, and None is refused.

    Returns
    -------
    Tensor, shape and dtype of `input`
        NaN where all along the axis are -inf.

    Raises
    ------
    ValueError
        `dim` is no axis.
    TypeError
        `input` is neither float32 nor float64.
    """
    return _along("softmax", False, input, dim)


@method
def log_softmax(input: Tensor, dim: int | None = -1) -> Tensor:
    """The logarithm of `softmax`, x - log(sum(e^x)), along an axis.

    Exact also where softmax rounds to 0. Parameters, shapes and errors are those of `softmax`.
    """
    return _along("log_softmax", True, input, dim)
