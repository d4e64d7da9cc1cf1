"""Norms over the last axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from firth.nn.module import Module, Parameter
from firth.nn.operations.norm import layer_norm, normal_shape, rms_norm
from firth.nn.tape import Tensor


class LayerNorm(Module):
    """Rows with mean 0 and variance 1, times weight, plus bias.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Of the last axes, which make a row.
    eps : float
    elementwise_affine, bias : bool
        Whether there are weight and bias; bias only where there is weight.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter, shape normalized_shape, or None
        1 and 0 at first.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = normal_shape("LayerNorm", normalized_shape)
        self.eps = eps
        affine = elementwise_affine
        self.register_parameter("weight", Parameter(np.ones(shape, dtype)) if affine else None)
        self.register_parameter(
            "bias", Parameter(np.zeros(shape, dtype)) if affine and bias else None
        )

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class RMSNorm(Module):
    """Rows with a mean square of 1, times weight.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Of the last axes, which make a row.
    eps : float, optional
        By default that of the dtype.
    elementwise_affine : bool
        Whether there is a weight.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter, shape normalized_shape, or None
        1 at first.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = normal_shape("RMSNorm", normalized_shape)
        self.eps = eps
        self.register_parameter(
            "weight", Parameter(np.ones(shape, dtype)) if elementwise_affine else None
        )

    def forward(self, input: Tensor) -> Tensor:
        return rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"
