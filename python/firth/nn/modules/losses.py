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

    As torch.nn.CrossEntropyLoss, whose order (N, C, ...) is taken, too. The result has shape (),
    with ``"none"`` that of the targets; errors of a call are those of `cross_entropy`.

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
    """-input of each target class, where inputs are log-probabilities, as torch.nn.NLLLoss.

    Input (..., C), or PyTorch's (N, C, ...), of `log_softmax`; targets (...) of int. The result has
    shape (), with ``"none"`` that of the targets, and the input's dtype. `CrossEntropyLoss` of
    logits is the same in one operation. The function is `nll_loss`, which has the errors of a call.

    Parameters
    ----------
    weight : array_like, shape (C,), optional
        Of the classes; a buffer. The mean is divided by the weights of the targets.
    ignore_index : int
        A target that does not count.
    reduction : {"mean", "sum", "none"}
        ValueError for another one.
    dtype : float32 or float64
        Of the weight: that of the network.
    """

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
    """(input - target)^2: the mean, the sum or each, as torch.nn.MSELoss.

    Input a Tensor of any shape, target a Tensor or array_like of the same shape; the result has
    shape (), with ``"none"`` that of the input. The function is `mse_loss`, which has the errors of
    a call.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        ValueError for another one.
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """``|input - target|``: the mean, the sum or each, as torch.nn.L1Loss.

    Shapes are those of `MSELoss`. The function is `l1_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        ValueError for another one.
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.l1_loss(input, target, self.reduction)


class SmoothL1Loss(_Loss):
    """d^2 / (2 beta) where ``|d|`` <= beta, else ``|d|`` - beta / 2; d = input - target.

    As torch.nn.SmoothL1Loss. Shapes are those of `MSELoss`. The function is `smooth_l1_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        ValueError for another one.
    beta : float
        0 is `L1Loss`; below it is a ValueError when the loss is called.
    """

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """d^2 / 2 where ``|d|`` <= delta, else delta (``|d|`` - delta / 2); d = input - target.

    As torch.nn.HuberLoss. Shapes are those of `MSELoss`. The function is `huber_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        ValueError for another one.
    delta : float
        0 or less is a ValueError when the loss is called.
    """

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.huber_loss(input, target, self.reduction, self.delta)


class BCELoss(_Loss):
    """-(y log p + (1 - y) log(1 - p)) of probabilities p and targets y, as torch.nn.BCELoss.

    Input p, from 0 to 1, of any shape; target y of the same shape, from 0 to 1. The result has
    shape (), with ``"none"`` that of the input. A logarithm is -100 at least, as in PyTorch;
    `BCEWithLogitsLoss` is faster and exact. The function is `binary_cross_entropy`, which has the
    errors of a call.

    Parameters
    ----------
    weight : array_like, optional
        Of each loss, its shape the end of the input's; a buffer.
    reduction : {"mean", "sum", "none"}
        ValueError for another one. The mean is over the elements, whatever their weights.
    dtype : float32 or float64
        Of the weight: that of the network.
    """

    def __init__(
        self, weight: Any = None, *, reduction: str = "mean", dtype: Any = np.float32
    ) -> None:
        super().__init__(reduction)
        self._register("weight", weight, dtype)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """-log of the probability of targets from 0 to 1, of which input is the logit.

    Input and target have one shape, any; the result has shape (), with ``"none"`` theirs. As
    torch.nn.BCEWithLogitsLoss; the function is `binary_cross_entropy_with_logits`, which has the
    errors of a call.

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
    """target (log target - input): how far target is from what input has the logarithms of.

    Input log-probabilities of any shape, target of the same shape; the result has shape (), with
    ``"none"`` that of the input. As torch.nn.KLDivLoss; the function is `kl_div`.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}
        "mean" divides by the number of elements; "batchmean", by the length of the first axis, is
        the divergence. ValueError for another one.
    log_target : bool
        Whether targets are logarithms, too.
    """

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__()
        if reduction != "batchmean":
            losses.check_reduction("KLDivLoss", reduction)
        self.reduction, self.log_target = reduction, log_target

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return losses.kl_div(input, target, self.reduction, self.log_target)


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), as torch.nn.TripletMarginLoss.

    Inputs three tensors of one shape (..., D); the result has shape (), with ``"none"`` (...). The
    function is `triplet_margin_loss`, which has the errors of a call.

    Parameters
    ----------
    margin : float
        Above 0.
    p : 1 or 2
        Of the distance d, `pairwise_distance`. PyTorch takes other numbers, too.
    eps : float
        Added to the differences.
    swap : bool
        Take d(positive, negative) in place of d(anchor, negative) where it is less.
    reduction : {"mean", "sum", "none"}
        ValueError for another one.
    """

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
    """1 - cos of pairs whose target is 1, max(0, cos - margin) of those whose target is -1.

    Inputs two tensors of one shape (..., D), targets (...) of 1 and -1; the result has shape (),
    with ``"none"`` (...). As torch.nn.CosineEmbeddingLoss; the function is `cosine_embedding_loss`,
    which has the errors of a call.

    Parameters
    ----------
    margin : float, from -1 to 1
    reduction : {"mean", "sum", "none"}
        ValueError for another one.
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Any) -> Tensor:
        return losses.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)
