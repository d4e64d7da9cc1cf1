"""Pools, and images as rows."""

from __future__ import annotations

from collections.abc import Sequence

from firth.nn.module import Module
from firth.nn.operations import pooling
from firth.nn.tape import Tensor

Size = int | Sequence[int]


class _Pool(Module):
    def __init__(
        self, kernel_size: Size, stride: Size | None, padding: Size, ceil_mode: bool
    ) -> None:
        super().__init__()
        if ceil_mode:
            raise ValueError(f"{type(self).__name__}: ceil_mode must be False")
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        if return_indices:
            raise ValueError(f"{type(self).__name__}: return_indices must be False")
        self.dilation = dilation

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dilation={self.dilation}"


class MaxPool2d(_MaxPool):
    """Maxima of windows: (N, C, H, W) to (N, C, H', W').

    As torch.nn.MaxPool2d; H' = floor((H + 2 padding - dilation (kernel_size - 1) - 1) / stride) +
    1. ValueError for other axes, or a kernel that does not fit.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : int or pair of int
        As of `max_pool2d`.
    return_indices, ceil_mode : False
    """

    def forward(self, input: Tensor) -> Tensor:
        return pooling.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation)


class MaxPool1d(_MaxPool):
    """Maxima of windows of sequences, as torch.nn.MaxPool1d: (N, C, L) to (N, C, L').

    L' = floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1. The function is
    `max_pool1d`, which has the errors of a call.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : int
        As of `max_pool1d`; ``stride`` is ``kernel_size`` by default.
    return_indices, ceil_mode : False
        ValueError where not: PyTorch's other choice is not there.
    """

    def forward(self, input: Tensor) -> Tensor:
        return pooling.max_pool1d(input, self.kernel_size, self.stride, self.padding, self.dilation)


class _AvgPool(_Pool):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad


class AvgPool2d(_AvgPool):
    """Means of windows: (N, C, H, W) to (N, C, H', W').

    As torch.nn.AvgPool2d; H' = floor((H + 2 padding - kernel_size) / stride) + 1. ValueError for
    other axes, or a kernel that does not fit.

    Parameters
    ----------
    kernel_size, stride, padding : int or pair of int
    ceil_mode : False
    count_include_pad : bool
        As of `avg_pool2d`.
    """

    def forward(self, input: Tensor) -> Tensor:
        return pooling.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            count_include_pad=self.count_include_pad,
        )


class AvgPool1d(_AvgPool):
    """Means of windows of sequences, as torch.nn.AvgPool1d: (N, C, L) to (N, C, L').

    L' = floor((L + 2 padding - kernel_size) / stride) + 1. The function is `avg_pool1d`, which has
    the errors of a call.

    Parameters
    ----------
    kernel_size, stride, padding : int
        ``stride`` is ``kernel_size`` by default.
    ceil_mode : False
        ValueError where not: PyTorch's other choice is not there.
    count_include_pad : bool
        Whether the zeros beyond the ends count.
    """

    def forward(self, input: Tensor) -> Tensor:
        return pooling.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            count_include_pad=self.count_include_pad,
        )


class _AdaptiveAvgPool(Module):
    def __init__(self, output_size: Size) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of each plane: (N, C, H, W) to (N, C, 1, 1).

    torch.nn.AdaptiveAvgPool2d for this one size; the function is `adaptive_avg_pool2d`.

    Parameters
    ----------
    output_size : 1 or (1, 1)
        Others are a ValueError when the module is called.
    """

    def forward(self, input: Tensor) -> Tensor:
        return pooling.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of each row: (N, C, L) to (N, C, 1).

    torch.nn.AdaptiveAvgPool1d for this one size; the function is `adaptive_avg_pool1d`.

    Parameters
    ----------
    output_size : 1
        Others are a ValueError when the module is called.
    """

    def forward(self, input: Tensor) -> Tensor:
        return pooling.adaptive_avg_pool1d(input, self.output_size)
