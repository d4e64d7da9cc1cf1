"""Shapes of arrays as modules."""

from __future__ import annotations

from collections.abc import Sequence

from firth.nn.module import Module
from firth.nn.operations.interpolate import interpolate
from firth.nn.operations.shapes import flatten, unflatten
from firth.nn.tape import Tensor


class Flatten(Module):
    """The function `flatten`: one axis for each sample, where nothing else is asked for.

    (N, C, H, W) to (N, C H W) by default, as torch.nn.Flatten; ValueError for axes that there are
    not.

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


class Unflatten(Module):
    """The function `unflatten`: several axes in place of one.

    As torch.nn.Unflatten: (3, 8) to (3, 2, 4) by ``Unflatten(1, (2, 4))``. ValueError where the
    lengths do not make up that of the axis.

    Parameters
    ----------
    dim : int
    unflattened_size : sequence of int
        Their lengths, of which one may be -1: what is left.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        return unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Upsample(Module):
    """The function `interpolate`: sequences and images in another size.

    (N, C, L) or (N, C, H, W) to other L, or H and W. As torch.nn.Upsample in this mode, for sizes
    that are multiples of the other one; ValueError for others.

    Parameters
    ----------
    size : int or sequence of int, optional
    scale_factor : float or sequence of float, optional
        This or ``size``.
    mode : "nearest"
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
    ) -> None:
        super().__init__()
        if mode != "nearest":
            raise ValueError(f"Upsample: mode must be 'nearest', got {mode!r}")
        self.size, self.scale_factor, self.mode = size, scale_factor, mode

    def forward(self, input: Tensor) -> Tensor:
        return interpolate(input, self.size, self.scale_factor, self.mode)

    def extra_repr(self) -> str:
        given = f"size={self.size}" if self.size else f"scale_factor={self.scale_factor}"
        return f"{given}, mode={self.mode!r}"
