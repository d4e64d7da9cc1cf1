"""Losses of elements and of pairs: differences, probabilities given as logits, distances.

(Above 500 lines: two operations, and the losses that are a few lines around them.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.operations.arithmetic import cosine_similarity, mean, minimum, norm, real, sum
from firth.nn.tape import (
    Array,
    Operation,
    Shape,
    Spec,
    Tensor,
    apply,
    check_real,
    fixed,
    tracing,
)

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
"""Names of reductions and the numbers that the native code knows."""


def check_reduction(function: str, reduction: str) -> None:
    """Raise ValueError where there is no such reduction."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{function}: reduction must be none, mean or sum, got {reduction!r}")


def reduced(losses: Array, reduction: str) -> Array:
    """Losses, their mean (NaN where there are none, as in PyTorch), or their sum."""
    if reduction == "none":
        return losses
    found: Array = losses.sum() / (losses.size if reduction == "mean" else 1)
    return found


def constant(function: str, name: str, x: Any) -> Tensor | None:
    """An argument that has no gradient."""
    if x is None:
        return None
    tensor = x if isinstance(x, Tensor) else Tensor(x)
    if tensor.requires_grad or tensor._record is not None:
        raise TypeError(f"{function}: {name} has no gradient, pass {name}.detach()")
    return tensor


def _spread(gradient: Array, shape: Shape, reduction: str) -> Array:
    """The gradient by each loss."""
    size = max(1, math.prod(shape))
    return np.broadcast_to(gradient / size if reduction == "mean" else gradient, shape)


def _alike(function: str, x: Any, target: Any) -> None:
    check_real(function, "input", x)
    check_real(function, "target", target)
    if target.shape != x.shape:
        raise ValueError(
            f"{function}: target must have the shape of input, {x.shape}, got {target.shape}"
        )


@dataclass(frozen=True)
class DifferenceLoss(Operation):
    r"""factor f(d), d = input - target element by element, or the mean or sum of all.

    ======== =================================================== ==============================
    kind     f(d)                                                f'(d)
    ======== =================================================== ==============================
    square   d^2                                                 2 d
    absolute \|d\|                                               the sign of d, 0 at 0
    huber    d^2 / 2 where \|d\| <= delta,                       d, cut to [-delta, delta]
             delta (\|d\| - delta / 2) elsewhere
    ======== =================================================== ==============================

    Backward. d has the derivative 1 by input and -1 by target, and each loss depends on its own
    element alone, so that the gradient by input is factor f'(d) times that by the loss (that by the
    mean over the number of elements), and the gradient by target is the same with the other sign.
    """

    kind: str
    reduction: str
    delta: float = 1.0
    factor: float = 1.0
    function: str = "difference_loss"

    name: ClassVar[str] = "difference_loss"
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1)

    def options(self) -> tuple[float, ...]:
        kind = ("square", "absolute", "huber").index(self.kind)
        return REDUCTIONS[self.reduction], kind, self.delta, self.factor

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, target = inputs
        _alike(self.function, x, target)
        return [Spec(x.shape if self.reduction == "none" else ())], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        d = inputs[0] - inputs[1]
        size = np.abs(d)
        if self.kind == "square":
            f = d * d
        elif self.kind == "absolute":
            f = size
        else:
            f = np.where(size > self.delta, self.delta * (size - self.delta / 2), d * d / 2)
        return [reduced(self.factor * f, self.reduction)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        d = inputs[0] - inputs[1]
        if self.kind == "square":
            slope = 2 * d
        elif self.kind == "absolute":
            slope = np.sign(d)
        else:
            slope = np.clip(d, -self.delta, self.delta)
        dx = self.factor * slope * _spread(gradients[0], d.shape, self.reduction)
        return [dx, -dx]


@dataclass(frozen=True)
class BinaryCrossEntropyWithLogits(Operation):
    """w ((1 - y) log(1 + e^x) + p y log(1 + e^-x)), or the mean or sum of all.

    That is -log of the probability of y where 1 has the probability s(x) = 1 / (1 + e^-x), since
    -log s(x) = log(1 + e^-x) and 1 - s(x) = s(-x). w is the weight of an element, p that of its
    positive part; the shape of either is the end of the input's shape.

    Backward. log(1 + e^x) has the derivative e^x / (1 + e^x) = s(x), so that

        dx = w ((1 - y) s(x) - p y s(-x)) times the gradient by the loss.
    """

    reduction: str

    name: ClassVar[str] = "binary_cross_entropy_with_logits"
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)

    def options(self) -> tuple[float, ...]:
        return (REDUCTIONS[self.reduction],)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, target, *weights = inputs
        _alike(self.name, x, target)
        for name, weight in zip(("weight", "pos_weight"), weights, strict=True):
            check_real(self.name, name, weight)
            axes = 0 if weight is None else len(weight.shape)
            if axes > len(x.shape) or (axes and weight.shape != x.shape[-axes:]):
                raise ValueError(
                    f"{self.name}: the shape of {name} must be the end of the input's, {x.shape}, "
                    f"got {weight.shape}"
                )
        return [Spec(x.shape if self.reduction == "none" else ())], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, y, weight, positive = inputs
        common = np.log1p(np.exp(-np.abs(x)))
        p = y if positive is None else positive * y
        losses = (1 - y) * (np.maximum(x, 0) + common) + p * (np.maximum(-x, 0) + common)
        return [reduced(losses if weight is None else weight * losses, self.reduction)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        x, y, weight, positive = inputs
        e = np.exp(-np.abs(x))
        right, left = np.where(x < 0, e, 1) / (1 + e), np.where(x < 0, 1, e) / (1 + e)
        p = y if positive is None else positive * y
        dx = ((1 - y) * right - p * left) * _spread(gradients[0], x.shape, self.reduction)
        return [dx if weight is None else weight * dx, None, None, None]


def _target(function: str, input: Tensor, target: Any) -> Tensor:
    """A target that need not be a tensor, and then has the input's dtype."""
    return target if isinstance(target, Tensor) else Tensor(np.asarray(target, input.dtype))


def mse_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """(input - target)^2: the mean, the sum, or each.

    Parameters
    ----------
    input : Tensor
    target : Tensor or array_like, shape of `input`
        A tensor that requires a gradient gets it.
    reduction : {"mean", "sum", "none"}
        The mean of an empty batch is NaN, as PyTorch's.

    Returns
    -------
    Tensor, shape (), or that of `input` with ``"none"``

    Raises
    ------
    ValueError
        `target` has another shape, or there is no such reduction.
    """
    check_reduction("mse_loss", reduction)
    operation = DifferenceLoss("square", reduction, function="mse_loss")
    return apply(operation, input, _target("mse_loss", input, target))


def l1_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """``|input - target|``: the mean, the sum, or each. The gradient is 0 where both are equal.

    Parameters, shapes and errors are those of `mse_loss`.
    """
    check_reduction("l1_loss", reduction)
    operation = DifferenceLoss("absolute", reduction, function="l1_loss")
    return apply(operation, input, _target("l1_loss", input, target))


def huber_loss(input: Tensor, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2 / 2 for |d| <= delta, else delta (|d| - delta / 2), d = input - target.

    Otherwise as `mse_loss`; ValueError also where `delta` is not above 0.
    """
    check_reduction("huber_loss", reduction)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be above 0, got {delta}")
    operation = DifferenceLoss("huber", reduction, delta, function="huber_loss")
    return apply(operation, input, _target("huber_loss", input, target))


def smooth_l1_loss(
    input: Tensor, target: Any, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """`huber_loss` with delta = beta, over beta; with beta = 0 it is `l1_loss`.

    Otherwise as `mse_loss`; ValueError also where `beta` is negative.
    """
    check_reduction("smooth_l1_loss", reduction)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta must be at least 0, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction)
    operation = DifferenceLoss("huber", reduction, beta, 1 / beta, function="smooth_l1_loss")
    return apply(operation, input, _target("smooth_l1_loss", input, target))


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Any,
    weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """-log of the probability of a target 0 or 1, where 1 has the probability sigmoid(input).

    Parameters
    ----------
    input : Tensor
        Logits.
    target : Tensor or array_like, shape of `input`
        Numbers from 0 to 1; without a gradient.
    weight, pos_weight : Tensor or array_like, optional
        Of each loss, and of its part for the target 1. The shape is the end of the input's; no
        gradient.
    reduction : {"mean", "sum", "none"}
        The mean divides by the number of elements, whatever their weights; of an empty batch it is
        NaN, as PyTorch's.

    Returns
    -------
    Tensor, shape (), or that of `input` with ``"none"``

    Raises
    ------
    TypeError
        An argument beside `input` requires a gradient.
    ValueError
        A shape does not fit, or there is no such reduction.
    """
    name = "binary_cross_entropy_with_logits"
    check_reduction(name, reduction)
    others = {"target": target, "weight": weight, "pos_weight": pos_weight}
    arrays = (
        constant(name, key, x if x is None or isinstance(x, Tensor) else np.asarray(x, input.dtype))
        for key, x in others.items()
    )
    return apply(BinaryCrossEntropyWithLogits(reduction), input, *arrays)


def binary_cross_entropy(
    input: Tensor, target: Any, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """-log of the probability of a target 0 or 1, where 1 has the probability `input`.

    A logarithm is -100 at least, as in PyTorch. Where the probability is a sigmoid's,
    `binary_cross_entropy_with_logits` of what it is computed of is faster and exact.

    Parameters
    ----------
    input : Tensor
        From 0 to 1.
    target : Tensor or array_like, shape of `input`
        Numbers from 0 to 1; without a gradient.
    weight : array_like, optional
        Of each loss.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy_with_logits`; the input is not from 0 to 1 (a compiled step does
        not look).
    """
    name = "binary_cross_entropy"
    check_reduction(name, reduction)
    y = constant(name, "target", _target(name, input, target))
    assert y is not None
    _alike(name, input, y)
    if not tracing() and ((input.data < 0) | (input.data > 1)).any():
        raise ValueError(
            f"{name}: input must be from 0 to 1, as sigmoid() gives it, "
            f"got {input.data.min():g} to {input.data.max():g}"
        )
    least = math.exp(-100)
    losses: Tensor = -(
        y * input.clamp(min=least).log() + (1 - y) * (1 - input).clamp(min=least).log()
    )
    if weight is not None:
        losses = losses * weight
    return total(losses, reduction)


def total(losses: Tensor, reduction: str) -> Tensor:
    """Losses, their mean or their sum."""
    if reduction == "none":
        return losses
    return mean(losses) if reduction == "mean" else sum(losses)


def softplus(input: Tensor) -> Tensor:
    """log(1 + e^x) of each element, without overflow: the loss of a logit whose target is 0.

    The result has shape and dtype of the input; TypeError where that is neither float32 nor
    float64. PyTorch's ``beta`` and ``threshold`` are not there: the curve is exact everywhere.
    """
    zeros = Tensor(fixed(np.zeros(input.shape, input.dtype)))
    return binary_cross_entropy_with_logits(input, zeros, reduction="none")


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) of each element, without overflow. Shapes and errors as `softplus`."""
    ones = Tensor(fixed(np.ones(input.shape, input.dtype)))
    negative = binary_cross_entropy_with_logits(input, ones, reduction="none")
    return -negative  # type: ignore[no-any-return]


def kl_div(input: Tensor, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """How far probabilities are from those that input has the logs of: target (log target - input).

    Parameters
    ----------
    input : Tensor
        Logarithms of probabilities.
    target : Tensor or array_like, shape of `input`
        Probabilities, or their logarithms with `log_target`. A tensor that requires a gradient gets
        it.
    reduction : {"mean", "batchmean", "sum", "none"}
        "batchmean" is the divergence: the sum over the length of the first axis.
    log_target : bool

    Returns
    -------
    Tensor, shape (), or that of `input` with ``"none"``

    Raises
    ------
    TypeError
        `input` has whole numbers.
    ValueError
        `target` has another shape, or there is no such reduction.
    """
    if reduction != "batchmean":
        check_reduction("kl_div", reduction)
    target = _target("kl_div", input, target)
    _alike("kl_div", input, target)
    if input.dtype.kind != "f":
        raise TypeError(
            f"kl_div: input must hold real numbers, got {input.dtype}; float() makes them real"
        )
    if log_target:
        losses: Tensor = target.exp() * (target - input)
    else:  # 0 log 0 is 0
        least = float(np.finfo(input.dtype).tiny)
        losses = target * (target.clamp(min=least).log() - input)
    if reduction == "batchmean":
        mean_of: Tensor = sum(losses) / max(1, input.shape[0] if input.ndim else 1)
        return mean_of
    return total(losses, reduction)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The `norm` along the last axis of x1 - x2 + eps, as torch.nn.functional.pairwise_distance.

    Parameters
    ----------
    x1, x2 : Tensor, shape (..., D)
        Axes of one element are repeated.
    p : 1 or 2
        PyTorch takes other numbers, too.
    eps : float
        Keeps the gradient finite where both are equal.
    keepdim : bool

    Returns
    -------
    Tensor, shape (...), or (..., 1) with `keepdim`

    Raises
    ------
    ValueError
        `p` is neither 1 nor 2, or the shapes do not fit.
    """
    return norm(x1 - x2 + eps, p, -1, keepdim)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """By how much an anchor is not nearer to its positive than to its negative, by the margin.

    Parameters
    ----------
    anchor, positive, negative : Tensor, shape (N, n) or (n,)
    margin : float
    p, eps
        As of `pairwise_distance`.
    swap : bool
        Take the distance of positive and negative where it is less than that of the anchor.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor, shape (), or (N,) with ``"none"``

    Raises
    ------
    ValueError
        The shapes differ, the margin is not above 0, or there is no such reduction.
    """
    check_reduction("triplet_margin_loss", reduction)
    shapes = {x.shape for x in (anchor, positive, negative)}
    if len(shapes) > 1:
        raise ValueError(
            "triplet_margin_loss: anchor, positive and negative must have one shape, got "
            f"{anchor.shape}, {positive.shape} and {negative.shape}"
        )
    if not margin > 0:
        raise ValueError(f"triplet_margin_loss: margin must be above 0, got {margin}")
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    near = pairwise_distance(anchor, positive, p, eps)
    return total((near - far + margin).clamp(min=0), reduction)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cos of pairs whose target is 1, and what cos is above the margin where it is -1.

    Parameters
    ----------
    input1, input2 : Tensor, shape (N, n) or (n,)
    target : Tensor or array_like, shape (N,) or ()
        1 or -1; without a gradient.
    margin : float, from -1 to 1
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor, shape (), or that of `target` with ``"none"``

    Raises
    ------
    ValueError
        A shape does not fit, the margin is out of range, or there is no such reduction.
    """
    check_reduction("cosine_embedding_loss", reduction)
    if not -1 <= margin <= 1:
        raise ValueError(f"cosine_embedding_loss: margin must be from -1 to 1, got {margin}")
    same = _target("cosine_embedding_loss", input1, target)
    if input1.shape != input2.shape or same.shape != input1.shape[:-1]:
        raise ValueError(
            "cosine_embedding_loss: want inputs of one shape and a target for each, got "
            f"{input1.shape}, {input2.shape} and {same.shape}"
        )
    same = same if same.dtype.kind == "f" else real(same, input1.dtype)
    cosines = cosine_similarity(input1, input2, -1)
    alike, apart = 1 - cosines, (cosines - margin).clamp(min=0)
    losses: Tensor = (1 + same) / 2 * alike + (1 - same) / 2 * apart
    return total(losses, reduction)
