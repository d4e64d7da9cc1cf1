"""Shapes of arrays as a module."""

from __future__ import annotations

from firth.nn.module import Module
from firth.nn.operations.shapes import flatten
from firth.nn.tape import Tensor


class Flatten(Module):
    """The function `flatten`: one axis for each sample, where nothing else is asked for.

    Parameters
    ----------
    start_dim, end_dim : int
        The first and the last of the axes that become one.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
