"""Losses as modules, with PyTorch's arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from firth.nn.module import Module
from firth.nn.operations import cross_entropy as classes
from firth.nn.operations import losses
from firth.nn.tape import Tensor


class _Loss(Module):
    """A loss with a reduction."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        losses.check_reduction(type(self).__name__, reduction)
        self.reduction = reduction

    def _register(self, name: str, array: Any, dtype: Any) -> None:
        """A buffer that was given, or None."""
        self.register_buffer(name, None if array is None else np.array(array, dtype, order="C"))


class CrossEntropyLoss(_Loss):
    """`cross_entropy` of logits (..., C) and classes (...).

    Parameters
    ----------
    weight : array_like, shape (C,), optional
        Of the classes; a buffer.
    ignore_index : int
    reduction : {"mean", "sum", "none"}
    label_smoothing : float
    dtype : float32 or float64
        Of the weight: that of the network.
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(reduction)
        self._register("weight", weight, dtype)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return classes.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Loss):
    """As `CrossEntropyLoss`, of log-probabilities."""

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(reduction)
        self._register("weight", weight, dtype)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return classes.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class MSELoss(_Loss):
    """(input - target)^2, reduced."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """|input - target|, reduced."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.l1_loss(input, target, self.reduction)


class SmoothL1Loss(_Loss):
    """`smooth_l1_loss`: a parabola within beta, straight beyond."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """`huber_loss`: a parabola within delta, straight beyond."""

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.huber_loss(input, target, self.reduction, self.delta)


class BCELoss(_Loss):
    """`binary_cross_entropy` of probabilities; `BCEWithLogitsLoss` is faster and exact."""

    def __init__(
        self, weight: Any = None, *, reduction: str = "mean", dtype: Any = np.float32
    ) -> None:
        super().__init__(reduction)
        self._register("weight", weight, dtype)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """-log of the probability of targets from 0 to 1, of which input is the logit.

    Parameters
    ----------
    weight, pos_weight : array_like, optional
        Of each loss and of its part for the target 1; buffers.
    reduction : {"mean", "sum", "none"}
    dtype : float32 or float64
        Of the weights: that of the network.
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        reduction: str = "mean",
        pos_weight: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(reduction)
        self._register("weight", weight, dtype)
        self._register("pos_weight", pos_weight, dtype)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.binary_cross_entropy_with_logits(
            input, target, self.weight, self.reduction, self.pos_weight
        )


class KLDivLoss(Module):
    """`kl_div`: how far probabilities are from those whose logarithms are given."""

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__()
        if reduction != "batchmean":
            losses.check_reduction("KLDivLoss", reduction)
        self.reduction, self.log_target = reduction, log_target

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.kl_div(input, target, self.reduction, self.log_target)


class TripletMarginLoss(_Loss):
    """`triplet_margin_loss`: an anchor is to be nearer to its positive than to its negative."""

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return losses.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, self.reduction
        )


class CosineEmbeddingLoss(_Loss):
    """`cosine_embedding_loss`: pairs of the target 1 are to be alike, those of -1 are not."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Any) -> Tensor:
        return losses.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)
