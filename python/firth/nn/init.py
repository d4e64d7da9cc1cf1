"""Initial values of parameters, named as PyTorch's; drawn from `firth.nn.manual_seed`'s stream."""

from __future__ import annotations

import math

from firth.nn.tape import Tensor, generator


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b)."""
    tensor.data[...] = generator().uniform(a, b, tensor.shape)
    return tensor


def fans(tensor: Tensor) -> tuple[int, int]:
    """Inputs and outputs of each element of a weight (outputs, inputs, kernel...)."""
    if tensor.ndim < 2:
        raise ValueError(f"init: a weight must have 2 axes or more, got shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field
