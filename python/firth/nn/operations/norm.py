"""Norms over the last axes, layer_norm and rms_norm, and over groups of channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.operations.batch_norm import batch_norm
from firth.nn.operations.shapes import reshape
from firth.nn.tape import Array, Operation, Shape, Spec, Tensor, apply, fixed


def _check(function: str, x: Any, axes: int, **factors: Any) -> list[Spec]:
    """The result's spec; ValueError where the inputs do not fit."""
    shape = x.shape[len(x.shape) - axes :]
    if axes == 0 or axes > len(x.shape) or 0 in shape:
        raise ValueError(f"{function}: input must have axes to normalise, got shape {x.shape}")
    for name, factor in factors.items():
        if factor is not None and factor.shape != shape:
            raise ValueError(f"{function}: {name} must have shape {shape}, got {factor.shape}")
    return [Spec(x.shape)]


def _rows(x: Array, axes: int) -> Array:
    """Rows of what is normalised together."""
    return x.reshape(-1, math.prod(x.shape[x.ndim - axes :]))


def _backward(
    h: Array, factor: Array, dy: Array, weight: Array | None, centred: bool
) -> tuple[Array, Array, Array]:
    """Gradients by rows, weight and bias; h: the rows normalised, factor: (rows, 1)."""
    a = dy if weight is None else dy * weight.reshape(-1)
    rest = a - a.mean(axis=1, keepdims=True) if centred else a
    dx = factor * (rest - h * (a * h).mean(axis=1, keepdims=True))
    return dx, (dy * h).sum(axis=0), dy.sum(axis=0)


@dataclass(frozen=True)
class LayerNorm(Operation):
    """y = h w + b, h = (x - m) f, f = 1 / sqrt(v + eps): m the mean, v the variance of a row.

    A row is what the last `axes` axes hold, n numbers; w and b have their shape or are None.

    Backward. With a = dy w, the gradient by h, and <.> the mean over the row: x_j has an effect on
    h_j by f, on all h_i by m (dm/dx_j = 1 / n, dh_i/dm = -f), and on all by v (dv/dx_j = 2 (x_j -
    m) / n, dh_i/dv = -h_i / (2 (v + eps)) = -h_i f^2 / 2). The sums over i of the last two are
    -f <a> and -f h_j <a h>, so that

        dx = f (a - <a> - h <a h>),   dw = sum over rows of dy h,   db = sum over rows of dy.
    """

    eps: float = 1e-5
    axes: int = 1

    name: ClassVar[str] = "layer_norm"
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1)

    def options(self) -> tuple[float, ...]:
        return self.eps, self.axes

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, weight, bias = inputs
        result = _check(self.name, x, self.axes, weight=weight, bias=bias)
        row = Spec(x.shape[: len(x.shape) - self.axes])
        return result, [row, row]

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, weight, bias = inputs
        rows = _rows(x, self.axes)
        mean = rows.mean(axis=1, keepdims=True)
        factor = 1 / np.sqrt(((rows - mean) ** 2).mean(axis=1, keepdims=True) + self.eps)
        y = ((rows - mean) * factor).reshape(x.shape)
        y = y if weight is None else y * weight
        return [y if bias is None else y + bias], [mean, factor]

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        x, weight, bias = inputs
        mean, factor = saved
        h = (_rows(x, self.axes) - mean) * factor
        dx, dw, db = _backward(h, factor, _rows(gradients[0], self.axes), weight, True)
        return [
            dx.reshape(x.shape),
            None if weight is None else dw.reshape(weight.shape),
            None if bias is None else db.reshape(x.shape[x.ndim - self.axes :]),
        ]


@dataclass(frozen=True)
class RMSNorm(Operation):
    """y = h w, h = x f, f = 1 / sqrt(<x^2> + eps), <.> the mean over a row.

    A row is what the last `axes` axes hold; w has their shape or is None.

    Backward. As of `LayerNorm`, but nothing depends on a mean: with a = dy w,

        dx = f (a - h <a h>),   dw = sum over rows of dy h.
    """

    eps: float
    axes: int = 1

    name: ClassVar[str] = "rms_norm"
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1)

    def options(self) -> tuple[float, ...]:
        return self.eps, self.axes

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, weight = inputs
        result = _check(self.name, x, self.axes, weight=weight)
        return result, [Spec(x.shape[: len(x.shape) - self.axes])]

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, weight = inputs
        rows = _rows(x, self.axes)
        factor = 1 / np.sqrt((rows**2).mean(axis=1, keepdims=True) + self.eps)
        y = (rows * factor).reshape(x.shape)
        return [y if weight is None else y * weight], [factor]

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        x, weight = inputs
        factor = saved[0]
        h = _rows(x, self.axes) * factor
        dx, dw, _ = _backward(h, factor, _rows(gradients[0], self.axes), weight, False)
        return [dx.reshape(x.shape), None if weight is None else dw.reshape(weight.shape)]


def normal_shape(function: str, normalized_shape: int | Sequence[int]) -> Shape:
    """A shape as a tuple; ValueError where it has no axes."""
    shape = (
        (int(normalized_shape),)
        if isinstance(normalized_shape, int | np.integer)
        else tuple(map(int, normalized_shape))
    )
    if not shape:
        raise ValueError(f"{function}: normalized_shape must have an axis")
    return shape


def _check_shape(function: str, input: Tensor, normalized_shape: int | Sequence[int]) -> int:
    """The number of axes."""
    shape = normal_shape(function, normalized_shape)
    if input.shape[max(0, input.ndim - len(shape)) :] != shape:
        raise ValueError(f"{function}: input must end with the shape {shape}, got {input.shape}")
    return len(shape)


def _check_eps(function: str, eps: float) -> None:
    if not 0 <= eps < math.inf:
        raise ValueError(f"{function}: eps must be at least 0, got {eps}")


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Rows with mean 0 and variance 1, times weight, plus bias.

    Parameters
    ----------
    input : Tensor, shape (..., n1, n2, ...)
    normalized_shape : int or sequence of int
        (n1, n2, ...), that of the last axes, over which mean and variance are taken.
    weight, bias : Tensor, shape normalized_shape, optional
    eps : float, at least 0

    Returns
    -------
    Tensor, shape of `input`

    Raises
    ------
    ValueError
        A shape does not fit, or `eps` is negative.
    """
    axes = _check_shape("layer_norm", input, normalized_shape)
    _check_eps("layer_norm", eps)
    return apply(LayerNorm(eps, axes), input, weight, bias)


def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Rows with a mean square of 1, times weight.

    Parameters
    ----------
    input : Tensor, shape (..., n1, n2, ...)
    normalized_shape : int or sequence of int
        (n1, n2, ...), that of the last axes.
    weight : Tensor, shape normalized_shape, optional
    eps : float, at least 0, optional
        By default that of the dtype, as PyTorch has it.

    Returns
    -------
    Tensor, shape of `input`

    Raises
    ------
    ValueError
        As `layer_norm`.
    """
    axes = _check_shape("rms_norm", input, normalized_shape)
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    _check_eps("rms_norm", eps)
    return apply(RMSNorm(eps, axes), input, weight)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Groups of channels of each sample with mean 0 and variance 1, times weight, plus bias.

    Parameters
    ----------
    input : Tensor, shape (N, C, ...)
    num_groups : int
        Divides C.
    weight, bias : Tensor, shape (C,), optional
    eps : float, at least 0

    Returns
    -------
    Tensor, shape of `input`

    Raises
    ------
    ValueError
        A shape does not fit, or `eps` is negative.
    """
    return _groups("group_norm", input, num_groups, weight, bias, eps)


def instance_norm(
    input: Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel of each sample with mean 0 and variance 1, times weight, plus bias.

    Parameters
    ----------
    input : Tensor, shape (N, C, ...)
    running_mean, running_var, use_input_stats
        PyTorch's; running statistics are refused with ValueError.
    weight, bias : Tensor, shape (C,), optional
    momentum
        PyTorch's; of no effect.
    eps : float, at least 0

    Returns
    -------
    Tensor, shape of `input`

    Raises
    ------
    ValueError
        As `group_norm`; and for running statistics.
    """
    if running_mean is not None or running_var is not None or not use_input_stats:
        raise ValueError("instance_norm: running statistics are not supported")
    channels = input.shape[1] if input.ndim > 1 else 0
    return _groups("instance_norm", input, channels, weight, bias, eps)


def _groups(
    function: str,
    input: Tensor,
    groups: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    _check_eps(function, eps)
    if input.ndim < 2 or groups < 1 or input.shape[1] % groups:
        raise ValueError(
            f"{function}: input must have shape (N, C, ...), C a multiple of {groups}, "
            f"got {input.shape}"
        )
    channels = input.shape[1]
    for name, factor in (("weight", weight), ("bias", bias)):
        if factor is not None and factor.shape != (channels,):
            raise ValueError(
                f"{function}: {name} must have shape {(channels,)}, got {factor.shape}"
            )
    size = math.prod(input.shape[1:]) // groups
    rows = reshape(input, input.shape[0], groups, size)
    normal = reshape(apply(LayerNorm(eps), rows, None, None), *input.shape)
    if weight is None and bias is None:
        return normal
    # batch norm of statistics that are given, 0 and 1, is what remains: a factor and a bias
    mean, variance = (fixed(np.full(channels, x, input.dtype)) for x in (0, 1))
    return batch_norm(normal, mean, variance, weight, bias, eps=0.0)
