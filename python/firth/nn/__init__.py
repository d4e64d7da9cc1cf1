"""Networks that train: PyTorch's names over fat operations in native code."""

from firth.nn.operations.linear import linear
from firth.nn.tape import Tensor

__all__ = ["Tensor", "linear"]
