"""Dropout as a module."""

from __future__ import annotations

from firth.nn.module import Module
from firth.nn.operations.dropout import dropout
from firth.nn.tape import Tensor


class Dropout(Module):
    """The function `dropout` in training, nothing in use.

    Input and result have one shape, any, as of torch.nn.Dropout. ValueError for a p that is not in
    [0, 1].

    Parameters
    ----------
    p : float
        The probability with which an element becomes 0.
    inplace : bool
        PyTorch's; it changes nothing, the input stays as it is.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be in [0, 1], got {p}")
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
