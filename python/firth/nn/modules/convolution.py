"""Convolutions of one and of two axes, and these the other way round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from firth.arguments import integer
from firth.nn import init
from firth.nn.module import Module, Parameter
from firth.nn.operations.convolution import (
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    paddings,
    pair,
)
from firth.nn.tape import Tensor


class _Weighted(Module):
    """What both directions have: channels, groups, kernels, and how they are shown."""

    axes: ClassVar[int]

    def _begin(
        self, in_channels: int, out_channels: int, groups: int, kernel_size: Any, stride: Any
    ) -> None:
        name, axes = type(self).__name__, self.axes
        self.in_channels = integer(f"{name}: in_channels", in_channels, 1)
        self.out_channels = integer(f"{name}: out_channels", out_channels, 1)
        self.groups = integer(f"{name}: groups", groups, 1)
        for channels in ("in_channels", "out_channels"):
            if getattr(self, channels) % groups:
                raise ValueError(
                    f"{name}: {channels} must be a multiple of groups, {groups}, got "
                    f"{getattr(self, channels)}"
                )
        self.kernel_size = pair(kernel_size, axes, f"{name}: kernel_size")[:axes]
        self.stride = pair(stride, axes, f"{name}: stride")[:axes]

    def _add_weights(self, shape: tuple[int, ...], bias: bool, dtype: Any) -> None:
        """Uniform within 1 / sqrt of how many numbers of weight one channel sees."""
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = Parameter(np.empty(shape, dtype))
        init.uniform_(self.weight, -bound, bound)
        more = Parameter(np.empty(self.out_channels, dtype)) if bias else None
        self.register_parameter("bias", more)
        if bias:
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        shown = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        shown.append(f"stride={self.stride}")
        usual = {"padding": 0, "output_padding": 0, "dilation": 1}
        for name, value in usual.items():
            if getattr(self, name, value) not in (value, (value,) * self.axes):
                shown.append(f"{name}={getattr(self, name)!r}")
        if self.groups != 1:
            shown.append(f"groups={self.groups}")
        return ", ".join(shown if self.bias is not None else [*shown, "bias=False"])


class _Conv(_Weighted):
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
        name, axes = type(self).__name__, self.axes
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode must be 'zeros', got {padding_mode!r}")
        self._begin(in_channels, out_channels, groups, kernel_size, stride)
        steps, dilations = pair(stride, axes, ""), pair(dilation, axes, f"{name}: dilation")
        paddings(padding, self.kernel_size, steps, dilations, name)  # refuses what it cannot be
        self.dilation = dilations[:axes]
        self.padding = (
            padding
            if isinstance(padding, str)
            else pair(padding, axes, f"{name}: padding", 0)[:axes]
        )
        self._add_weights((out_channels, in_channels // groups, *self.kernel_size), bias, dtype)

    def forward(self, input: Tensor) -> Tensor:
        convolve = conv1d if self.axes == 1 else conv2d
        return convolve(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Conv2d(_Conv):
    """A convolution of images: (N, in_channels, H, W) to (N, out_channels, H', W').

    As torch.nn.Conv2d; H' = floor((H + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1.
    ValueError for other axes or channels.

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

    As torch.nn.Conv1d; L' = floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1.

    Parameters and attributes are those of `Conv2d`, with one axis: weight has shape (out_channels,
    in_channels / groups, k).
    """

    axes = 1


class _ConvTranspose(_Weighted):
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
        self._begin(in_channels, out_channels, groups, kernel_size, stride)
        if pair(dilation, axes, f"{name}: dilation") != (1, 1):
            raise ValueError(f"{name}: dilation must be 1, got {dilation}")
        self.padding = pair(padding, axes, f"{name}: padding", 0)[:axes]
        self.output_padding = pair(output_padding, axes, f"{name}: output_padding", 0)[:axes]
        self._add_weights((in_channels, out_channels // groups, *self.kernel_size), bias, dtype)

    def forward(self, input: Tensor) -> Tensor:
        convolve = conv_transpose1d if self.axes == 1 else conv_transpose2d
        return convolve(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding,
            self.groups,
        )  # fmt: skip


class ConvTranspose2d(_ConvTranspose):
    """Images made larger: (N, in_channels, H, W) to (N, out_channels, H', W').

    As torch.nn.ConvTranspose2d; H' = (H - 1) stride - 2 padding + kernel_size + output_padding.
    ValueError for other axes or channels, or a dilation above 1.

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
    """Sequences made longer: (N, in_channels, L) to (N, out_channels, L').

    As torch.nn.ConvTranspose1d. L' = (L - 1) stride - 2 padding + kernel_size + output_padding.
    Parameters, attributes and errors are those of `ConvTranspose2d` with one axis: weight has shape
    (in_channels, out_channels / groups, kernel_size).
    """

    axes = 1
