"""Batch norm: each channel brought to mean 0 and variance 1 over the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.tape import Array, Operation, Spec, Tensor, apply


@dataclass(frozen=True)
class BatchNorm(Operation):
    r"""y = xn weight + bias, xn = (x - m) r, r = 1 / sqrt(v + eps), for x of shape (N, C, ...).

    Each channel has numbers of its own. In training m and v are its mean and variance over the n
    elements of the batch; running ones move to these, by ``momentum`` of the way (None: they are
    the mean over all batches so far), where v is n / (n - 1) as large. Else m and v are the running
    ones. Inputs: x, weight, bias, running mean, running variance (arrays of shape (C,)), number of
    batches (one int64); all but x may be absent. Forward in training **changes the last three**.

    Backward. With g = dy weight, y depends on bias and weight element by element: dbias = sum dy,
    dweight = sum dy xn. Where m and v are constants, dx = g r. In training xn is a function of all
    x of its channel. The derivative of xn_i by x_j is r (delta_ij - 1/n - xn_i xn_j / n): moving
    x_j moves m by 1/n, and v by 2 (x_j - m) / n, so r by -r^3 (x_j - m) / n = -r^2 xn_j / n. So

        dx_j = sum_i g_i dxn_i/dx_j = r (g_j - mean(g) - xn_j mean(g xn)).
    """

    training: bool = True
    momentum: float | None = 0.1
    eps: float = 1e-5

    name: ClassVar[str] = "batch_norm"
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1)

    def options(self) -> tuple[float, ...]:
        return self.training, math.nan if self.momentum is None else self.momentum, self.eps

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, *others, batches = inputs
        if len(x.shape) < 2:
            raise ValueError(f"batch_norm: input must have 2 or more axes, got shape {x.shape}")
        if 0 in x.shape[1:]:
            raise ValueError(f"batch_norm: only the batch may be empty, got shape {x.shape}")
        names = ("weight", "bias", "running_mean", "running_var")
        for name, array in zip(names, others, strict=True):
            if array is not None and array.shape != x.shape[1:2]:
                raise ValueError(
                    f"batch_norm: {name} must have shape {x.shape[1:2]}, got {array.shape}"
                )
        if (others[2] is None) != (others[3] is None):
            raise ValueError("batch_norm: running_mean and running_var are given both or neither")
        if not self.training and others[2] is None:
            raise ValueError("batch_norm: running_mean and running_var are needed if not training")
        if self.training and self.momentum is None and others[2] is not None and batches is None:
            raise ValueError("batch_norm: momentum None needs the number of batches")
        if self.training and x.shape[0] * math.prod(x.shape[2:]) == 1:
            raise ValueError(
                f"batch_norm: in training a channel needs more than one element, got {x.shape}"
            )
        channels = Spec(x.shape[1:2])
        return [Spec(x.shape)], [channels, channels]

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, weight, bias, running_mean, running_var, batches = inputs
        over = (0, *range(2, x.ndim))
        n = x.size // x.shape[1]
        if self.training and batches is not None:
            batches += 1
        if self.training and n:
            m, v = x.mean(axis=over), x.var(axis=over)
            if running_mean is not None:
                rate = self.momentum
                if rate is None:
                    rate = 1 / int(batches)
                running_mean += rate * (m - running_mean)
                running_var += rate * (v * (n / (n - 1)) - running_var)
        elif self.training:
            m = v = np.zeros(x.shape[1], x.dtype)
        else:
            m, v = running_mean.copy(), running_var
        r = 1 / np.sqrt(v + self.eps)
        y = (x - _wide(m, x)) * _wide(r if weight is None else r * weight, x)
        return [y if bias is None else y + _wide(bias, x)], [m, r]

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        x, weight, bias, *_ = inputs
        (m, r), (dy,) = saved, gradients
        over = (0, *range(2, x.ndim))
        xn = (x - _wide(m, x)) * _wide(r, x)
        g = dy if weight is None else dy * _wide(weight, x)
        dx = g
        if self.training and len(x):
            dx = g - g.mean(axis=over, keepdims=True) - xn * (g * xn).mean(axis=over, keepdims=True)
        return [
            dx * _wide(r, x),
            None if weight is None else (dy * xn).sum(axis=over),
            None if bias is None else dy.sum(axis=over),
            None,
            None,
            None,
        ]


def _wide(channels: Array, x: Array) -> Array:
    """Numbers of the channels as they meet x."""
    return channels.reshape(-1, *[1] * (x.ndim - 2))


def batch_norm(
    input: Tensor,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    num_batches_tracked: Array | None = None,
) -> Tensor:
    """(input - mean) / sqrt(variance + eps) * weight + bias, for each channel.

    Parameters
    ----------
    input : Tensor, shape (N, C, ...)
    running_mean, running_var : ndarray of the input's dtype, shape (C,), or None
        Mean and variance if not `training`; else they move towards those of the batch,
        **in place**.
    weight, bias : Tensor, shape (C,), optional
    training : bool
        Whether mean and variance are those of the batch.
    momentum : float from 0 to 1, or None
        How far the running ones move; None: to the mean over all batches, which
        `num_batches_tracked` counts.
    eps : float
    num_batches_tracked : int64 array of one number, optional
        In training 1 is added to it, in place.

    Returns
    -------
    Tensor, shape (N, C, ...)
    """
    if momentum is not None and not 0 <= momentum <= 1:
        raise ValueError(f"batch_norm: momentum must be from 0 to 1, or None, got {momentum}")
    if not eps >= 0:
        raise ValueError(f"batch_norm: eps must be at least 0, got {eps}")
    for name, array in (("running_mean", running_mean), ("running_var", running_var)):
        if array is not None and array.dtype != input.dtype:
            raise TypeError(f"batch_norm: {name} must be {input.dtype}, got {array.dtype}")
    counters = {"num_batches_tracked": num_batches_tracked} if training else {}
    moved = {"running_mean": running_mean, "running_var": running_var} if training else {}
    for name, array in {**moved, **counters}.items():
        if array is not None and not array.flags.writeable:
            raise ValueError(f"batch_norm: {name} is read-only")
    if num_batches_tracked is not None and (
        num_batches_tracked.dtype != np.int64 or num_batches_tracked.size != 1
    ):
        raise ValueError("batch_norm: num_batches_tracked must be an int64 array of one number")
    return apply(
        BatchNorm(training, momentum, eps), input, weight, bias, running_mean, running_var,
        num_batches_tracked,
    )  # fmt: skip
