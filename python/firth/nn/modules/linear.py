"""Linear layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from firth.arguments import integer
from firth.nn import init
from firth.nn.module import Module, Parameter
from firth.nn.operations.linear import linear
from firth.nn.tape import Tensor


class Linear(Module):
    """y = x W^T + b.

    Input (..., in_features) to (..., out_features), of the weight's dtype, as torch.nn.Linear.
    ValueError for another last axis, TypeError for another dtype.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None
        Both uniform within 1 / sqrt(in_features) at first, as PyTorch has it.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = np.float32
    ) -> None:
        super().__init__()
        self.in_features = integer("Linear: in_features", in_features, 0)
        self.out_features = integer("Linear: out_features", out_features, 0)
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.weight = Parameter(np.empty((out_features, in_features), dtype))
        init.uniform_(self.weight, -bound, bound)
        self.register_parameter("bias", Parameter(np.empty(out_features, dtype)) if bias else None)
        if bias:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, {bias=}"
