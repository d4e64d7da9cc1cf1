"""Pools: the maximum or the mean of windows, along one axis or two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.operations.convolution import Pair, pair
from firth.nn.tape import Array, Operation, Spec, Tensor, apply


@dataclass(frozen=True)
class _Pool(Operation):
    """What both kinds share: windows over H and W of x of shape (N, C, H, W), or without W."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    function: ClassVar[str]

    def options(self) -> tuple[float, ...]:
        return (*self.kernel, *self.stride, *self.padding, *self.dilation)

    def _result(self, x: Any) -> Spec:
        axes = len(x.shape) - 2
        name = f"{self.function}{axes}d"
        if axes not in (1, 2):
            raise ValueError(f"{self.function}: input must have 3 or 4 axes, got shape {x.shape}")
        if 0 in x.shape[1:]:
            raise ValueError(f"{name}: only the batch may be empty, got shape {x.shape}")
        for taps, pads in zip(self.kernel, self.padding, strict=True):
            if pads > taps // 2:
                raise ValueError(
                    f"{name}: padding must be at most half of the kernel, got {pads} of {taps}"
                )
        sizes = self._sizes(x.shape)
        if min(sizes) < 1:
            raise ValueError(
                f"{name}: the kernel {self.kernel[:axes]} with its dilation is larger than the "
                f"padded input, {x.shape[2:]} with padding {self.padding[:axes]}"
            )
        return Spec((*x.shape[:2], *sizes[:axes]))

    def _sizes(self, x: Sequence[int]) -> tuple[int, ...]:
        """H' and W'."""
        return tuple(
            (size + 2 * pads - step * (taps - 1) - 1) // stride + 1
            for size, taps, pads, stride, step in zip(
                (*x[2:], 1)[:2], self.kernel, self.padding, self.stride, self.dilation, strict=True
            )
        )

    def _windows(self, x: Array, fill: float) -> tuple[Array, list[Array]]:
        """The input with `fill` around it, and what each tap sees: (N, C, H', W'), views of it."""
        (top, left) = self.padding
        planes = x.reshape(*x.shape[:2], *(*x.shape[2:], 1)[:2])
        padded = np.pad(planes, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=fill)
        return padded, list(self._taps(padded, self._sizes(x.shape)))

    def _taps(self, padded: Array, sizes: Sequence[int]) -> Iterator[Array]:
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                starts = (i * self.dilation[0], j * self.dilation[1])
                rows, columns = (
                    slice(start, start + (size - 1) * stride + 1, stride)
                    for start, size, stride in zip(starts, sizes, self.stride, strict=True)
                )
                yield padded[:, :, rows, columns]

    def _unpadded(self, padded: Array, shape: Sequence[int]) -> Array:
        (top, left) = self.padding
        height, width = (*shape[2:], 1)[:2]
        return padded[:, :, top : top + height, left : left + width].reshape(shape)


@dataclass(frozen=True)
class MaxPool(_Pool):
    """y = the maximum of each window; the pixels around x are in no window.

    The number of the tap that gave it, row by row, is kept: the first of equal ones, and the last
    that is no number, if there is one. Backward: the maximum is a copy of that pixel, so the
    pixel gets the sum of dy over all windows whose maximum it is; others change nothing and get 0.
    """

    name: ClassVar[str] = "max_pool"
    function: ClassVar[str] = "max_pool"

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        y = self._result(inputs[0])
        return [y], [Spec(y.shape, self._place)]

    @property
    def _place(self) -> Any:
        return np.uint8 if self.kernel[0] * self.kernel[1] <= 256 else np.int64

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        (x,) = inputs
        inside = self._windows(np.ones_like(x), 0)[1]
        shape = self._result(x).shape
        most = np.full((*shape, 1)[:4], -np.inf, x.dtype)
        place = np.full(most.shape, -1, np.int64)
        for tap, (window, there) in enumerate(
            zip(self._windows(x, -np.inf)[1], inside, strict=True)
        ):
            take = (there > 0) & ((place < 0) | (window > most) | np.isnan(window))
            most, place = np.where(take, window, most), np.where(take, tap, place)
        return [most.reshape(shape)], [place.reshape(shape).astype(self._place)]

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        (x,), (place,), (dy,) = inputs, saved, gradients
        shape = x if isinstance(x, tuple) else x.shape
        padded, windows = self._windows(np.zeros(shape, dy.dtype), 0)
        for tap, window in enumerate(windows):
            window += np.where(place == tap, dy, 0).reshape(window.shape)
        return [self._unpadded(padded, shape)]


@dataclass(frozen=True)
class AvgPool(_Pool):
    """y = the mean of each window.

    Its size is that of the whole window, zeros around x included (`count_pad`), or without them.
    Backward: each pixel of a window has the share 1 / size of its mean, so that it gets the sum of
    dy / size over the windows that it is in.
    """

    count_pad: bool = True

    name: ClassVar[str] = "avg_pool"
    function: ClassVar[str] = "avg_pool"

    def options(self) -> tuple[float, ...]:
        return (*super().options(), self.count_pad)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        return [self._result(inputs[0])], []

    def _shares(self, shape: Sequence[int], dtype: Any) -> Any:
        if self.count_pad:
            return 1 / (self.kernel[0] * self.kernel[1])
        return 1 / sum(self._windows(np.ones((1, 1, *shape[2:]), dtype), 0)[1])

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        (x,) = inputs
        total: Any = sum(self._windows(x, 0)[1])
        return [(total * self._shares(x.shape, x.dtype)).reshape(self._result(x).shape)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        (x,), (dy,) = inputs, gradients
        shape = x if isinstance(x, tuple) else x.shape
        padded, windows = self._windows(np.zeros(shape, dy.dtype), 0)
        for window in windows:
            window += dy.reshape(window.shape) * self._shares(shape, dy.dtype)
        return [self._unpadded(padded, shape)]


def _pairs(name: str, axes: int, kernel: Any, stride: Any, padding: Any) -> tuple[Pair, Pair, Pair]:
    return (
        pair(kernel, axes, f"{name}: kernel_size"),
        pair(kernel if stride is None else stride, axes, f"{name}: stride"),
        pair(padding, axes, f"{name}: padding", 0),
    )


def _max_pool(
    axes: int, input: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Tensor:
    name = f"max_pool{axes}d"
    _check(name, input, axes, ceil_mode)
    pairs = _pairs(name, axes, kernel, stride, padding)
    return apply(MaxPool(*pairs, pair(dilation, axes, f"{name}: dilation")), input)


def _avg_pool(
    axes: int, input: Tensor, kernel: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool,
) -> Tensor:  # fmt: skip
    name = f"avg_pool{axes}d"
    _check(name, input, axes, ceil_mode)
    pairs = _pairs(name, axes, kernel, stride, padding)
    return apply(AvgPool(*pairs, (1, 1), count_include_pad), input)


def _check(name: str, input: Tensor, axes: int, ceil_mode: bool = False) -> None:
    if ceil_mode:
        raise ValueError(f"{name}: ceil_mode must be False, windows that do not fit are left out")
    if input.ndim != axes + 2:
        raise ValueError(f"{name}: input must have {axes + 2} axes, got shape {input.shape}")


def max_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Maxima of windows.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    kernel_size : int or pair of int
    stride : int or pair of int
        By default `kernel_size`: windows side by side.
    padding : int or pair of int
        Up to half of the kernel: how far windows reach over the edges, where nothing is.
    dilation : int or pair of int
    ceil_mode : bool
        False: windows that do not fit are left out.

    Returns
    -------
    Tensor, shape (N, C, H', W')
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool1d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Maxima of windows of sequences, as torch.nn.functional.max_pool1d.

    Parameters
    ----------
    input : Tensor, shape (N, C, L)
    kernel_size, stride, padding, dilation, ceil_mode
        As of `max_pool2d`, for one axis.

    Returns
    -------
    Tensor, shape (N, C, L')
        L' = floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1.

    Raises
    ------
    ValueError
        The input has not 3 axes, the padding is more than half of the kernel, the kernel is larger
        than the padded input, or `ceil_mode` is set.
    """
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Means of windows.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    kernel_size, stride, padding, ceil_mode
        As of `max_pool2d`; there are zeros beyond the edges.
    count_include_pad : bool
        Whether these zeros count.

    Returns
    -------
    Tensor, shape (N, C, H', W')
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool1d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Means of windows of sequences, as torch.nn.functional.avg_pool1d.

    Parameters
    ----------
    input : Tensor, shape (N, C, L)
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As of `avg_pool2d`, for one axis.

    Returns
    -------
    Tensor, shape (N, C, L')
        L' = floor((L + 2 padding - kernel_size) / stride) + 1.

    Raises
    ------
    ValueError
        As `max_pool1d`.
    """
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int]) -> Tensor:
    """The mean of each plane; PyTorch's function of this name for the size 1.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    output_size : 1 or (1, 1)

    Returns
    -------
    Tensor, shape (N, C, 1, 1)

    Raises
    ------
    ValueError
        Another size, or an input that has not 4 axes or is empty but for the batch.
    """
    return _adaptive(2, input, output_size)


def adaptive_avg_pool1d(input: Tensor, output_size: int | Sequence[int]) -> Tensor:
    """The mean of each row; PyTorch's function of this name for the size 1.

    Parameters
    ----------
    input : Tensor, shape (N, C, L)
    output_size : 1

    Returns
    -------
    Tensor, shape (N, C, 1)

    Raises
    ------
    ValueError
        Another size, or an input that has not 3 axes or is empty but for the batch.
    """
    return _adaptive(1, input, output_size)


def _adaptive(axes: int, input: Tensor, output_size: Any) -> Tensor:
    name = f"adaptive_avg_pool{axes}d"
    if pair(output_size, axes, f"{name}: output_size") != (1, 1):
        raise ValueError(f"{name}: output_size must be 1, the mean of all, got {output_size}")
    _check(name, input, axes)
    if 0 in input.shape[1:]:
        raise ValueError(f"{name}: only the batch may be empty, got shape {input.shape}")
    height, width = (*input.shape[2:], 1)[:2]
    return apply(AvgPool((height, width), (height, width)), input)
