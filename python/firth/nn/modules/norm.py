"""Norms over the last axes, and over groups of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from firth.arguments import integer
from firth.nn.module import Module, Parameter
from firth.nn.operations.norm import group_norm, instance_norm, layer_norm, normal_shape, rms_norm
from firth.nn.tape import Tensor


class LayerNorm(Module):
    """Rows with mean 0 and variance 1, times weight, plus bias.

    As torch.nn.LayerNorm: input and result have one shape, which ends with ``normalized_shape``.
    ValueError for other axes. The function is `layer_norm`.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Of the last axes, which make a row.
    eps : float
    elementwise_affine, bias : bool
        Whether there are weight and bias; bias only where there is weight.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter, shape normalized_shape, or None
        1 and 0 at first.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = normal_shape("LayerNorm", normalized_shape)
        self.eps = eps
        affine = elementwise_affine
        self.register_parameter("weight", Parameter(np.ones(shape, dtype)) if affine else None)
        self.register_parameter(
            "bias", Parameter(np.zeros(shape, dtype)) if affine and bias else None
        )

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class RMSNorm(Module):
    """Rows with a mean square of 1, times weight.

    As torch.nn.RMSNorm: input and result have one shape, which ends with ``normalized_shape``.
    ValueError for other axes. The function is `rms_norm`.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Of the last axes, which make a row.
    eps : float, optional
        By default that of the dtype.
    elementwise_affine : bool
        Whether there is a weight.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter, shape normalized_shape, or None
        1 at first.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = normal_shape("RMSNorm", normalized_shape)
        self.eps = eps
        self.register_parameter(
            "weight", Parameter(np.ones(shape, dtype)) if elementwise_affine else None
        )

    def forward(self, input: Tensor) -> Tensor:
        return rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """Groups of channels of each sample with mean 0 and variance 1, times weight, plus bias.

    Input (N, num_channels, ...) and result have one shape, as of torch.nn.GroupNorm. The function
    is `group_norm`.

    Parameters
    ----------
    num_groups, num_channels : int
        Channels are a multiple of groups.
    eps : float
    affine : bool
        Whether there are weight and bias.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter, shape (num_channels,), or None
        1 and 0 at first.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.num_groups = integer("GroupNorm: num_groups", num_groups, 1)
        self.num_channels = integer("GroupNorm: num_channels", num_channels, 1)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_channels must be a multiple of num_groups, {num_groups}, "
                f"got {num_channels}"
            )
        self.eps, self.affine = eps, affine
        _add_factors(self, num_channels, affine, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Input (N, num_channels, ...) normalised, of the same shape; ValueError for another."""
        _check_channels(self, input, self.num_channels)
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class _InstanceNorm(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.num_features = integer(f"{name}: num_features", num_features, 1)
        if track_running_stats:
            raise ValueError(f"{name}: track_running_stats is not supported")
        self.eps, self.affine = eps, affine
        _add_factors(self, num_features, affine, dtype)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != self.axes:
            raise ValueError(
                f"{type(self).__name__}: input must have {self.axes} axes, got shape {input.shape}"
            )
        _check_channels(self, input, self.num_features)
        return instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, affine={self.affine}"


def _add_factors(module: Module, channels: int, affine: bool, dtype: Any) -> None:
    for name, value in (("weight", 1), ("bias", 0)):
        array = np.full(channels, value, dtype)
        module.register_parameter(name, Parameter(array) if affine else None)


def _check_channels(module: Module, input: Tensor, channels: int) -> None:
    if input.ndim < 2 or input.shape[1] != channels:
        raise ValueError(
            f"{type(module).__name__}: input must have {channels} channels, its second axis, got "
            f"shape {input.shape}"
        )


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each sequence, (N, C, L), with mean 0 and variance 1.

    The result has the input's shape, as torch.nn.InstanceNorm1d's. ValueError where the input has
    not 3 axes, or its second is not ``num_features``.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
    momentum
        Of no effect.
    affine : bool
        Whether there are weight and bias.
    track_running_stats : bool
        Must be off.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter, shape (C,), or None
        1 and 0 at first.
    """

    axes = 3


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each image, (N, C, H, W), with mean 0 and variance 1.

    As torch.nn.InstanceNorm2d. The result has the input's shape. Parameters and attributes are
    those of `InstanceNorm1d`. ValueError where the input has not 4 axes, or its second is not
    ``num_features``.
    """

    axes = 4
