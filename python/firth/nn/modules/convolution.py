"""Convolutions of one and of two axes, and these the other way round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from firth.nn import init
from firth.nn.module import Module, Parameter
from firth.nn.operations.convolution import (
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    paddings,
    pair,
    whole,
)
from firth.nn.tape import Tensor


class _Conv(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode must be 'zeros', got {padding_mode!r}")
        self.in_channels = whole(in_channels, f"{name}: in_channels", 1)
        self.out_channels = whole(out_channels, f"{name}: out_channels", 1)
        self.groups = whole(groups, f"{name}: groups", 1)
        for channels in ("in_channels", "out_channels"):
            if getattr(self, channels) % groups:
                raise ValueError(
                    f"{name}: {channels} must be a multiple of groups, {groups}, got "
                    f"{getattr(self, channels)}"
                )
        axes = self.axes
        kernel = pair(kernel_size, axes, f"{name}: kernel_size")[:axes]
        steps = pair(stride, axes, f"{name}: stride")
        dilations = pair(dilation, axes, f"{name}: dilation")
        paddings(padding, kernel, steps, dilations, name)  # refuses what it cannot be
        self.kernel_size, self.stride, self.dilation = kernel, steps[:axes], dilations[:axes]
        self.padding = (
            padding
            if isinstance(padding, str)
            else pair(padding, axes, f"{name}: padding", 0)[:axes]
        )
        seen = in_channels // groups * math.prod(kernel)
        bound = 1 / math.sqrt(seen)
        self.weight = Parameter(np.empty((out_channels, in_channels // groups, *kernel), dtype))
        init.uniform_(self.weight, -bound, bound)
        self.register_parameter("bias", Parameter(np.empty(out_channels, dtype)) if bias else None)
        if bias:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        convolve = conv1d if self.axes == 1 else conv2d
        return convolve(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        named = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        none = (0,) * self.axes
        if self.padding != none:
            named += f", padding={self.padding!r}"
        if self.dilation != (1,) * self.axes:
            named += f", dilation={self.dilation}"
        if self.groups != 1:
            named += f", groups={self.groups}"
        return named if self.bias is not None else f"{named}, bias=False"


class Conv2d(_Conv):
    """A convolution of images: (N, in_channels, H, W) to (N, out_channels, H', W').

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation : int or pair of int
        As of `conv2d`; `padding` also 'valid' or 'same'.
    groups : int
        Divides both numbers of channels.
    bias : bool
    padding_mode : "zeros"
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter, shape (out_channels, in_channels / groups, kh, kw)
    bias : Parameter, shape (out_channels,), or None
        Both uniform within 1 / sqrt(in_channels / groups * kh * kw) at first, as PyTorch has it.
    """

    axes = 2


class Conv1d(_Conv):
    """A convolution of sequences: (N, in_channels, L) to (N, out_channels, L').

    Parameters and attributes are those of `Conv2d`, with one axis: weight has shape (out_channels,
    in_channels / groups, k).
    """

    axes = 1


class _ConvTranspose(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        name, axes = type(self).__name__, self.axes
        self.in_channels = whole(in_channels, f"{name}: in_channels", 1)
        self.out_channels = whole(out_channels, f"{name}: out_channels", 1)
        self.groups = whole(groups, f"{name}: groups", 1)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: in_channels and out_channels must be multiples of groups, {groups}, got "
                f"{in_channels} and {out_channels}"
            )
        if pair(dilation, axes, f"{name}: dilation") != (1, 1):
            raise ValueError(f"{name}: dilation must be 1, got {dilation}")
        kernel = pair(kernel_size, axes, f"{name}: kernel_size")[:axes]
        self.kernel_size, self.stride = kernel, pair(stride, axes, f"{name}: stride")[:axes]
        self.padding = pair(padding, axes, f"{name}: padding", 0)[:axes]
        self.output_padding = pair(output_padding, axes, f"{name}: output_padding", 0)[:axes]
        each = out_channels // groups
        bound = 1 / math.sqrt(each * math.prod(kernel))
        self.weight = Parameter(np.empty((in_channels, each, *kernel), dtype))
        init.uniform_(self.weight, -bound, bound)
        self.register_parameter("bias", Parameter(np.empty(out_channels, dtype)) if bias else None)
        if bias:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        convolve = conv_transpose1d if self.axes == 1 else conv_transpose2d
        return convolve(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding,
            self.groups,
        )  # fmt: skip

    def extra_repr(self) -> str:
        named = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        none = (0,) * self.axes
        if self.padding != none:
            named += f", padding={self.padding}"
        if self.output_padding != none:
            named += f", output_padding={self.output_padding}"
        if self.groups != 1:
            named += f", groups={self.groups}"
        return named if self.bias is not None else f"{named}, bias=False"


class ConvTranspose2d(_ConvTranspose):
    """Images made larger: (N, in_channels, H, W) to (N, out_channels, H', W').

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, output_padding : int or pair of int
        As of `conv_transpose2d`.
    groups : int
        Divides both numbers of channels.
    bias : bool
    dilation : 1
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter, shape (in_channels, out_channels / groups, kh, kw)
    bias : Parameter, shape (out_channels,), or None
        Both uniform within 1 / sqrt(out_channels / groups * kh * kw) at first, as PyTorch has it.
    """

    axes = 2


class ConvTranspose1d(_ConvTranspose):
    """Sequences made longer; as `ConvTranspose2d`, with one axis."""

    axes = 1
