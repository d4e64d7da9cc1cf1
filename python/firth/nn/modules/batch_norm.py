"""Batch norm."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from firth.arguments import integer
from firth.nn.module import Module, Parameter
from firth.nn.operations.batch_norm import batch_norm
from firth.nn.tape import Tensor


class _BatchNorm(Module):
    axes: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.num_features = integer(f"{name}: num_features", num_features, 1)
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"{name}: momentum must be from 0 to 1, or None, got {momentum}")
        if not eps >= 0:
            raise ValueError(f"{name}: eps must be at least 0, got {eps}")
        self.eps, self.momentum, self.affine = eps, momentum, affine
        self.track_running_stats = track_running_stats
        shape = (num_features,)
        self.register_parameter("weight", Parameter(np.ones(shape, dtype)) if affine else None)
        self.register_parameter("bias", Parameter(np.zeros(shape, dtype)) if affine else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", np.zeros(shape, dtype) if tracked else None)
        self.register_buffer("running_var", np.ones(shape, dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in self.axes:
            wanted = " or ".join(map(str, self.axes))
            raise ValueError(
                f"{type(self).__name__}: input must have {wanted} axes, got shape {input.shape}"
            )
        return batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum,
            self.eps,
            num_batches_tracked=self.num_batches_tracked,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch norm of features, (N, C), or of sequences, (N, C, L).

    The result has the input's shape, as torch.nn.BatchNorm1d's. ValueError for other axes or
    channels, and in training for one element a channel.

    Parameters
    ----------
    num_features : int
        C.
    eps, momentum
        As of `batch_norm`.
    affine : bool
        Whether there are weight and bias.
    track_running_stats : bool
        Whether there are running statistics, which `eval` then uses; without them those of the
        batch are used always.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter, shape (C,), or None
        1 and 0 at first.
    running_mean, running_var : ndarray, shape (C,), or None
    num_batches_tracked : int64 array of shape (), or None
        Training changes these three **in place**.
    """

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch norm of images (N, C, H, W), as torch.nn.BatchNorm2d; the result has the input's shape.

    Means and variances are those of a channel over N, H and W. Parameters and attributes are those
    of `BatchNorm1d`. ValueError where the input has not 4 axes, or its second is not
    ``num_features``.
    """

    axes = (4,)
