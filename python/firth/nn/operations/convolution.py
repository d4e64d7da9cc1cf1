"""Convolutions of one and of two axes, with their activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.arguments import integer
from firth.nn.operations import activation as activations
from firth.nn.operations.shapes import expand, index_select, pad, permute, reshape
from firth.nn.tape import Array, Operation, Spec, Tensor, apply, fixed

Pair = tuple[int, int]


@dataclass(frozen=True)
class Convolution(Operation):
    r"""y = f(z) for x of shape (N, C, H, W), weight (O, C / groups, kh, kw), bias (O).

    z[n, o, p, q] = b[o] + sum_c,i,j weight[o, c, i, j] x[n, c, p s + i d - top, q s + j d - left]

    with strides s and dilations d of each axis, where x outside of its edges is 0 and c runs over
    the channels of o's group. x, weight and y without their last axis: W and kw are 1.

    Backward. Let dz = dy f'(z), element by element. A tap (i, j) sees x through a window: the
    matrix x_ij of shape (C, N H' W') that holds the pixel which the tap meets for each pixel of the
    result. In these terms z = sum_ij W_ij x_ij + b is a sum of linear layers, W_ij = weight[:, :,
    i, j], so that

        dW_ij = dz x_ij^T,   dx_ij = W_ij^T dz,   db = sum of dz over N H' W',

    and a pixel of x, which several windows show at different places, gets the sum of these: dx is
    dx_ij put back, through the same window, for each tap.
    """

    activation: str = "none"
    slope: float = 0.0
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    """Zeros before and after H, before and after W."""
    dilation: Pair = (1, 1)
    groups: int = 1

    name: ClassVar[str] = "convolution"
    product: ClassVar[bool] = True
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1)

    @property
    def reads_outputs(self) -> tuple[int, ...]:  # type: ignore[override]
        return (0,) if self.activation in activations.READ_RESULT - {"none"} else ()

    def options(self) -> tuple[float, ...]:
        return (
            activations.NUMBERS[self.activation], self.slope, *self.stride, *self.padding[0],
            *self.padding[1], *self.dilation, self.groups,
        )  # fmt: skip

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, weight, bias = inputs
        name, axes = self._name(weight), len(weight.shape)
        if axes not in (3, 4):
            raise ValueError(f"conv: weight must have 3 or 4 axes, got shape {weight.shape}")
        if len(x.shape) != axes:
            raise ValueError(f"{name}: input must have {axes} axes, got shape {x.shape}")
        if 0 in (*weight.shape, *x.shape[1:]):
            raise ValueError(
                f"{name}: only the batch may be empty, got input {x.shape}, weight {weight.shape}"
            )
        if x.shape[1] != weight.shape[1] * self.groups:
            raise ValueError(
                f"{name}: input must have {weight.shape[1] * self.groups} channels (weight's "
                f"second axis times groups), got shape {x.shape}"
            )
        if weight.shape[0] % self.groups:
            raise ValueError(
                f"{name}: weight's first axis must be a multiple of groups, {self.groups}, got "
                f"shape {weight.shape}"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"{name}: bias must have shape {weight.shape[:1]}, got {bias.shape}")
        sizes = self._sizes(x.shape, weight.shape)
        if min(sizes) < 1:
            raise ValueError(
                f"{name}: the kernel {weight.shape[2:]} with its dilation is larger than the "
                f"padded input, {x.shape[2:]} with padding {self.padding[: axes - 2]}"
            )
        y = Spec((x.shape[0], weight.shape[0], *sizes[: axes - 2]))
        return [y], [] if self.activation in activations.READ_RESULT else [y]

    @staticmethod
    def _name(weight: Any) -> str:
        return f"conv{len(weight.shape) - 2}d"

    def _sizes(self, x: Sequence[int], weight: Sequence[int]) -> tuple[int, ...]:
        """H' and W'."""
        return tuple(
            (size + sum(pads) - step * (taps - 1) - 1) // stride + 1
            for size, taps, pads, stride, step in zip(
                (*x[2:], 1), (*weight[2:], 1), self.padding, self.stride, self.dilation,
                strict=False,
            )
        )  # fmt: skip

    def _windows(self, padded: Array, weight: Array) -> Iterator[tuple[int, int, Array]]:
        """Each tap and what it sees: (N, groups, C / groups, H', W'), a view."""
        n, channels, height, width = padded.shape
        apart = padded.reshape(n, self.groups, channels // self.groups, height, width)
        (sy, sx), (dy, dx) = self.stride, self.dilation
        for i in range(weight.shape[3]):
            for j in range(weight.shape[4]):
                rows = slice(i * dy, height - (weight.shape[3] - 1 - i) * dy, sy)
                columns = slice(j * dx, width - (weight.shape[4] - 1 - j) * dx, sx)
                yield i, j, apart[..., rows, columns]

    def _prepared(self, x: Array, weight: Array) -> tuple[Array, Array]:
        """The padded input, and the weight by groups, both with H and W."""
        x = x.reshape(*x.shape, 1) if x.ndim == 3 else x
        weight = weight.reshape(*weight.shape, 1) if weight.ndim == 3 else weight
        padded = np.pad(x, ((0, 0), (0, 0), *self.padding))
        return padded, weight.reshape(self.groups, -1, *weight.shape[1:])

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, weight, bias = inputs
        padded, w = self._prepared(x, weight)
        z: Any = 0.0
        for i, j, window in self._windows(padded, w):
            z = z + np.einsum("goc,ngchw->ngohw", w[..., i, j], window)
        z = z.reshape(self.results(x, weight, bias)[0][0].shape)
        if bias is not None:
            z = z + bias.reshape(-1, *[1] * (z.ndim - 2))
        y = activations.function(z, self.activation, self.slope)
        return [y], [] if self.activation in activations.READ_RESULT else [z]

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        x, weight, bias = inputs
        dz = gradients[0]
        if self.activation != "none":
            z = saved[0] if saved else None
            dz = dz * activations.gradient(z, outputs[0], self.activation, self.slope)
        padded, w = self._prepared(x, weight)
        dpadded, dw = np.zeros_like(padded), np.empty_like(w)
        into = self._windows(dpadded, w)
        for (i, j, window), (_, _, dwindow) in zip(self._windows(padded, w), into, strict=True):
            apart = dz.reshape(len(x), *w.shape[:2], *window.shape[3:])
            dw[..., i, j] = np.einsum("ngohw,ngchw->goc", apart, window)
            dwindow += np.einsum("goc,ngohw->ngchw", w[..., i, j], apart)
        (top, _), (left, _) = self.padding
        size = (*x.shape[2:], 1)
        dx = dpadded[:, :, top : top + size[0], left : left + size[1]]
        return [
            dx.reshape(x.shape),
            dw.reshape(weight.shape),
            None if bias is None else dz.sum(axis=(0, *range(2, dz.ndim))),
        ]


def pair(value: Any, axes: int, name: str, least: int = 1) -> Pair:
    """A number for each of two axes: of a number, or of one for each of `axes`; `name` says whose.

    The second of one axis is the W that is not there: 1, or 0 where that is allowed.
    """
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    if len(values) != axes:
        raise ValueError(f"{name} must be an integer or {axes} of them, got {value!r}")
    first, second = (*(integer(name, x, least) for x in values), least)[:2]
    return first, second


def paddings(
    padding: Any, kernel: Sequence[int], stride: Pair, dilation: Pair, name: str
) -> tuple[Pair, Pair]:
    """Zeros before and after each axis, of PyTorch's argument; `name` says whose."""
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding != "same":
            raise ValueError(
                f"{name}: padding must be integers, 'valid' or 'same', got {padding!r}"
            )
        if stride != (1, 1):
            raise ValueError(f"{name}: padding 'same' needs stride 1, got {stride}")
        sums = [step * (taps - 1) for step, taps in zip(dilation, (*kernel, 1)[:2], strict=True)]
        (y, x) = sums
        return (y // 2, y - y // 2), (x // 2, x - x // 2)
    y, x = pair(padding, len(kernel), f"{name}: padding", 0)
    return (y, y), (x, x)


def _conv(
    name: str, axes: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any,
    padding: Any, dilation: Any, groups: int, activation: str | None, slope: float,
) -> Tensor:  # fmt: skip
    if weight.ndim != 2 + axes:
        raise ValueError(f"{name}: weight must have {2 + axes} axes, got shape {weight.shape}")
    steps = pair(stride, axes, f"{name}: stride")
    dilations = pair(dilation, axes, f"{name}: dilation")
    operation = Convolution(
        activation or "none",
        slope,
        steps,
        paddings(padding, weight.shape[2:], steps, dilations, name),
        dilations,
        integer(f"{name}: groups", groups, 1),
    )
    return apply(operation, input, weight, bias)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    slope: float = 0.0,
) -> Tensor:
    """activation(input * weight + bias), a convolution as networks have it: unflipped kernels.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    weight : Tensor, shape (O, C / groups, kh, kw)
    bias : Tensor, shape (O,), optional
    stride, dilation : int or pair of int
    padding : int, pair of int, 'valid' or 'same'
        Zeros around H and W. 'same': as many as leave H and W as they are, of an odd number the
        larger half behind.
    groups : int
        Each of as many groups of results sees its own group of channels.
    activation : str, optional
        As `activation`'s; computed with the product.
    slope : float
        Of leaky_relu and elu.

    Returns
    -------
    Tensor, shape (N, O, H', W')
    """
    return _conv(
        "conv2d", 2, input, weight, bias, stride, padding, dilation, groups, activation, slope
    )


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    slope: float = 0.0,
) -> Tensor:
    """activation(input * weight + bias) of sequences, as torch.nn.functional.conv1d.

    Parameters
    ----------
    input : Tensor, shape (N, C, L)
    weight : Tensor, shape (O, C / groups, k)
    bias : Tensor, shape (O,), optional
    stride, padding, dilation, groups, activation, slope
        As of `conv2d`, for one axis.

    Returns
    -------
    Tensor, shape (N, O, L')
        L' = floor((L + 2 padding - dilation (k - 1) - 1) / stride) + 1.

    Raises
    ------
    ValueError
        A shape or an option does not fit.
    """
    return _conv(
        "conv1d", 1, input, weight, bias, stride, padding, dilation, groups, activation, slope
    )


def _conv_transpose(
    name: str, axes: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any,
    padding: Any, output_padding: Any, groups: int, dilation: Any,
) -> Tensor:  # fmt: skip
    """The convolution that would have these strides, the other way round.

    The result at q s + r is, for each r below s, a convolution of its own, with the taps r, r + s,
    and so on. All are one convolution with s times as many results, which then stand in turn.
    """
    steps = pair(stride, axes, f"{name}: stride")
    pads = pair(padding, axes, f"{name}: padding", 0)
    extra = pair(output_padding, axes, f"{name}: output_padding", 0)
    groups = integer(f"{name}: groups", groups, 1)
    if pair(dilation, axes, f"{name}: dilation") != (1, 1):
        raise ValueError(f"{name}: dilation must be 1, got {dilation}")
    if any(more >= step for more, step in zip(extra[:axes], steps, strict=False)):
        raise ValueError(
            f"{name}: output_padding must be less than stride, got {output_padding} and {stride}"
        )
    if input.ndim != 2 + axes or weight.ndim != 2 + axes:
        raise ValueError(
            f"{name}: input and weight must have {2 + axes} axes, got shapes {input.shape} and "
            f"{weight.shape}"
        )
    if input.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ValueError(
            f"{name}: input's channels must be the first axis of weight and a multiple of groups, "
            f"{groups}, got shapes {input.shape} and {weight.shape}"
        )
    channels, each = weight.shape[0], weight.shape[1]
    if bias is not None and bias.shape != (each * groups,):
        raise ValueError(f"{name}: bias must have shape {(each * groups,)}, got {bias.shape}")
    if axes == 1:
        input, weight = reshape(input, *input.shape, 1), reshape(weight, *weight.shape, 1)
    (sy, sx), (ky, kx), (height, width) = steps, weight.shape[2:], input.shape[2:]
    taps_y, taps_x = -(-(ky + extra[0]) // sy), -(-(kx + extra[1]) // sx)
    kernel = pad(weight, (0, taps_x * sx - kx, 0, taps_y * sy - ky))
    kernel = reshape(kernel, channels * each, taps_y, sy, taps_x, sx)
    kernel = _reversed(_reversed(kernel, 1), 3)
    kernel = permute(kernel, 0, 2, 4, 1, 3)
    kernel = reshape(kernel, groups, channels // groups, each * sy * sx, taps_y, taps_x)
    kernel = permute(kernel, 0, 2, 1, 3, 4)
    kernel = reshape(kernel, groups * each * sy * sx, channels // groups, taps_y, taps_x)
    if bias is not None:
        bias = reshape(expand(reshape(bias, -1, 1), -1, sy * sx), -1)
    around = (taps_y - 1, taps_x - 1)
    found = conv2d(input, kernel, bias, padding=around, groups=groups)
    n, (rows, columns) = input.shape[0], found.shape[2:]
    found = permute(reshape(found, n * groups * each, sy, sx, rows, columns), 0, 3, 1, 4, 2)
    found = reshape(found, n, groups * each, rows * sy, columns * sx)
    wanted = [
        (size - 1) * step + k - 2 * p + more
        for size, step, k, p, more in zip(
            (height, width), steps, (ky, kx), pads, extra, strict=True
        )
    ]
    if min(wanted) < 1:
        raise ValueError(
            f"{name}: nothing is left of {input.shape[2 : 2 + axes]} with padding {padding}"
        )
    (py, px), (h, w) = pads, wanted
    found = pad(found, (-px, w + px - columns * sx, -py, h + py - rows * sy))
    return reshape(found, *found.shape[:3]) if axes == 1 else found


def _reversed(x: Tensor, axis: int) -> Tensor:
    n = x.shape[axis]
    return x if n == 1 else index_select(x, axis, fixed(np.arange(n)[::-1].copy()))


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """What `conv2d` is to its input in backward: each pixel puts a kernel into a larger image.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    weight : Tensor, shape (C, O / groups, kh, kw)
    bias : Tensor, shape (O,), optional
    stride : int or pair of int
        How far apart the kernels are put.
    padding : int or pair of int
        What is cut off at each edge.
    output_padding : int or pair of int
        What is added behind; less than the stride.
    groups : int
    dilation : 1

    Returns
    -------
    Tensor, shape (N, O, H', W')
        H' = (H - 1) stride - 2 padding + kh + output_padding.

    Raises
    ------
    ValueError
        A shape or an option does not fit.
    """
    return _conv_transpose(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """What `conv1d` is to its input in backward, as torch.nn.functional.conv_transpose1d.

    Parameters
    ----------
    input : Tensor, shape (N, C, L)
    weight : Tensor, shape (C, O / groups, k)
    bias : Tensor, shape (O,), optional
    stride, padding, output_padding, groups, dilation
        As of `conv_transpose2d`, for one axis.

    Returns
    -------
    Tensor, shape (N, O, L')
        L' = (L - 1) stride - 2 padding + k + output_padding.

    Raises
    ------
    ValueError
        A shape or an option does not fit.
    """
    return _conv_transpose(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip
