"""Activations as modules.

PyTorch's ``inplace`` is taken and changes nothing: the input stays as it is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from firth.nn import init
from firth.nn.module import Module, Parameter
from firth.nn.operations import activation as functions
from firth.nn.operations.arithmetic import maxout
from firth.nn.operations.linear import linear
from firth.nn.tape import Tensor


class ReLU(Module):
    """max(x, 0) of each element, as torch.nn.ReLU; the function is `relu`.

    Input and result have one shape, any, and one dtype, float32 or float64; TypeError for others.

    Parameters
    ----------
    inplace : bool
        PyTorch's; of no effect.
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return functions.relu(input)


class GELU(Module):
    """x Phi(x) of each element, as torch.nn.GELU; the function is `gelu`.

    Input and result have one shape, any, and one dtype, float32 or float64; TypeError for others.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Phi, the distribution of a standard normal number, itself or by a tanh. Another name is a
        ValueError when the module is called.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return functions.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x / (1 + e^-x) of each element, as torch.nn.SiLU; the function is `silu`.

    Input and result have one shape, any, and one dtype, float32 or float64; TypeError for others.

    Parameters
    ----------
    inplace : bool
        PyTorch's; of no effect.
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return functions.silu(input)


class Tanh(Module):
    """Hyperbolic tangent of each element, as torch.nn.Tanh; the function is `tanh`.

    Input and result have one shape, any, and one dtype, float32 or float64; TypeError for others.
    """

    def forward(self, input: Tensor) -> Tensor:
        return functions.tanh(input)


class Sigmoid(Module):
    """1 / (1 + e^-x) of each element, as torch.nn.Sigmoid; the function is `sigmoid`.

    Input and result have one shape, any, and one dtype, float32 or float64; TypeError for others.
    """

    def forward(self, input: Tensor) -> Tensor:
        return functions.sigmoid(input)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope x, as torch.nn.LeakyReLU; the function is `leaky_relu`.

    Input and result have one shape, any, and one dtype, float32 or float64; TypeError for others.

    Parameters
    ----------
    negative_slope : float
    inplace : bool
        PyTorch's; of no effect.
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return functions.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """x where x > 0, else alpha (e^x - 1), as torch.nn.ELU; the function is `elu`.

    Input and result have one shape, any, and one dtype, float32 or float64; TypeError for others.

    Parameters
    ----------
    alpha : float
    inplace : bool
        PyTorch's; of no effect.
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return functions.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class Step(Module):
    """1 where x >= 0, else 0: the threshold of the perceptron; the function is `step`.

    Input and result have one shape, any, and one dtype, float32 or float64; TypeError for others.
    The gradient is 0 everywhere, so nothing below it learns. PyTorch has no such module.
    """

    def forward(self, input: Tensor) -> Tensor:
        return functions.step(input)


class Softmax(Module):
    """e^x / sum(e^x) along an axis, as torch.nn.Softmax; the function is `softmax`.

    Input and result have one shape, of one axis or more, and one dtype, float32 or float64;
    TypeError for others.

    Parameters
    ----------
    dim : int
        The axis whose numbers add up to 1. PyTorch guesses one by default, here it is the last.
        What is no axis of the input is a ValueError when the module is called.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return functions.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """x - log(sum(e^x)) along an axis, as torch.nn.LogSoftmax; the function is `log_softmax`.

    Input and result have one shape, of one axis or more, and one dtype, float32 or float64;
    TypeError for others.

    Parameters
    ----------
    dim : int
        The axis whose probabilities add up to 1. PyTorch guesses one by default, here it is the
        last. What is no axis of the input is a ValueError when the module is called.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return functions.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Maxout(Module):
    """The greatest of several linear functions, for each feature of the result.

    Input (..., in_features) to (..., out_features); the function is `maxout`. ValueError for pieces
    below 1, and for another last axis of the input.

    Parameters
    ----------
    in_features, out_features, pieces : int
    bias : bool
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter, shape (pieces * out_features, in_features)
    bias : Parameter, shape (pieces * out_features,), or None
        One piece after the other; both as `Linear`'s at first.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        pieces: int,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.pieces = in_features, out_features, pieces
        if pieces < 1:
            raise ValueError(f"Maxout: pieces must be positive, got {pieces}")
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        rows = pieces * out_features
        self.weight = Parameter(np.empty((rows, in_features), dtype))
        init.uniform_(self.weight, -bound, bound)
        self.register_parameter("bias", Parameter(np.empty(rows, dtype)) if bias else None)
        if bias:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return maxout(linear(input, self.weight, self.bias), self.pieces)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"pieces={self.pieces}"
        )
