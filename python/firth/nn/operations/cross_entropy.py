"""Cross-entropy of classes: of logits, of log-probabilities, and of a linear layer's logits.

The class axis is the last one, so that a model of language passes logits (B, T, C) and ids (B, T)
as they are. That is PyTorch's order for (N, C); its (N, C, T) is permuted first.

(Above 500 lines: three operations that share targets, weights and reduction, and the five losses
that users call, with their contracts.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn import tape
from firth.nn.operations.activation import log_softmax
from firth.nn.operations.arithmetic import mul, neg, sum
from firth.nn.operations.embedding import integers
from firth.nn.operations.losses import REDUCTIONS, check_reduction, constant, total
from firth.nn.operations.shapes import permute
from firth.nn.tape import Array, Operation, Spec, Tensor, apply


def _check_targets(function: str, shape: tuple[int, ...], target: Any, shift: bool = False) -> None:
    """That a target is a class for each row of an array of this shape."""
    if not shape or target.shape != shape[:-1]:
        raise ValueError(
            f"{function}: target must have the shape of input without its last axis, "
            f"{shape[:-1]}, got {target.shape}"
        )
    if target.dtype != np.int64:
        raise TypeError(f"{function}: target must be int64, got {target.dtype or 'real numbers'}")
    if shape[-1] == 0:
        raise ValueError(f"{function}: input has no classes, shape {shape}")
    if shift and len(shape) < 2:
        raise ValueError(f"{function}: ids must have an axis, got shape ()")


def _check_weight(function: str, classes: int, weight: Any) -> None:
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"{function}: weight must have shape {(classes,)}, got {weight.shape}")


def _labels(target: Array, shift: bool, ignore_index: int) -> tuple[Array, Array]:
    """The class of each row, and whether it counts; 0 where it does not."""
    if shift:
        following = np.full_like(target, ignore_index)
        following[..., :-1] = target[..., 1:]
        target = following
    counts = target.reshape(-1) != ignore_index
    return np.where(counts, target.reshape(-1), 0), counts


def _own(labels: Array, counts: Array, weight: Array | None) -> Array:
    """The weight of each row: that of its class, 0 where it does not count."""
    if weight is None:
        return counts.astype(np.float64)
    return np.where(counts, weight[labels], 0.0)


def _reduce(losses: Array, own: Array, reduction: str, shape: tuple[int, ...]) -> Array:
    if reduction == "none":
        return losses.reshape(shape)
    total: Array = losses.sum() / (own.sum() if reduction == "mean" else 1)
    return total


def _each(gradient: Array, own: Array, reduction: str) -> Array:
    """The gradient by each row's loss."""
    total = own.sum() if reduction == "mean" else 1
    return np.broadcast_to(gradient.reshape(-1) / (total or 1), own.shape)


def _softmax(x: Array) -> tuple[Array, Array]:
    """Rows' softmax and its logarithm."""
    rest = x - x.max(axis=-1, keepdims=True)
    logs = rest - np.log(np.exp(rest).sum(axis=-1, keepdims=True))
    return np.exp(logs), logs


def _losses(
    logs: Array, labels: Array, own: Array, weight: Array | None, smoothing: float
) -> Array:
    """The loss of each row."""
    losses: Array = -own * logs[np.arange(len(labels)), labels]
    if smoothing > 0:
        every = -(logs if weight is None else logs * weight).sum(axis=-1)
        losses = (1 - smoothing) * losses + smoothing / logs.shape[-1] * every
    return losses


@dataclass(frozen=True)
class CrossEntropy(Operation):
    """-log softmax(x)_t of the target t of each row x of n classes, or the mean or sum of all.

    With weights w of the classes and a share a of label smoothing, a row's loss is

        L = -(1 - a) w_t log s_t - a / n sum_c w_c log s_c,   s = softmax(x),

    and 0 where t is `ignore_index`. The mean is the sum over that of w_t of the rows that count:
    NaN where none does, as PyTorch's. With `shift`, t is the next id of the sequence (the last axis
    of target), and the last place of each does not count.

    Backward. log s_c = x_c - log(sum_b e^(x_b)), which has the derivative [b = c] - s_b by x_b. So

        dx_b = s_b ((1 - a) w_t + a / n sum_c w_c) - (1 - a) w_t [b = t] - a / n w_b,

    times the gradient by the row's loss; for w = 1 and a = 0 this is s - onehot(t).
    """

    reduction: str = "mean"
    ignore_index: int = -100
    label_smoothing: float = 0.0
    shift: bool = False

    name: ClassVar[str] = "cross_entropy"
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1, 2)

    def options(self) -> tuple[float, ...]:
        return (
            REDUCTIONS[self.reduction], self.ignore_index, self.label_smoothing, self.shift,
        )  # fmt: skip

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, target, weight = inputs
        _check_targets(self.name, x.shape, target, self.shift)
        _check_weight(self.name, x.shape[-1], weight)
        # kept of each row: its maximum, the sum of e^(x - maximum), and what smoothing needs
        return [Spec(target.shape if self.reduction == "none" else ())], [Spec((*target.shape, 3))]

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, target, weight = inputs
        labels, counts = _labels(target, self.shift, self.ignore_index)
        own = _own(labels, counts, weight)
        _, logs = _softmax(x.reshape(-1, x.shape[-1]))
        losses = _losses(logs, labels, own, weight, self.label_smoothing)
        losses = np.where(counts, losses, 0)
        return [_reduce(losses, own, self.reduction, target.shape)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        x, target, weight = inputs
        labels, counts = _labels(target, self.shift, self.ignore_index)
        own = _own(labels, counts, weight)
        each = _each(gradients[0], own, self.reduction)
        dx = _by_logits(
            x.reshape(-1, x.shape[-1]), labels, counts, own, weight, self.label_smoothing, each
        )
        return [dx.reshape(x.shape), None, None]


def _by_logits(
    x: Array,
    labels: Array,
    counts: Array,
    own: Array,
    weight: Array | None,
    smoothing: float,
    each: Array,
) -> Array:
    """The gradient by logits (rows, n), of that by each row's loss."""
    n = x.shape[-1]
    weights = np.ones(n) if weight is None else weight
    first, rest = (1 - smoothing) * own, smoothing / n * weights
    dx = _softmax(x)[0] * (first + rest.sum())[:, None] - rest
    dx[np.arange(len(x)), labels] -= first
    return np.where(counts[:, None], dx * each[:, None], 0)


@dataclass(frozen=True)
class NLLLoss(Operation):
    """-w_t x_t of the target t of each row x of log-probabilities; reduced as `CrossEntropy` is.

    Backward. The loss depends on x_t alone, by -w_t.
    """

    reduction: str = "mean"
    ignore_index: int = -100

    name: ClassVar[str] = "nll_loss"
    reads_inputs: ClassVar[tuple[int, ...]] = (1, 2)

    def options(self) -> tuple[float, ...]:
        return REDUCTIONS[self.reduction], self.ignore_index

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, target, weight = inputs
        _check_targets(self.name, x.shape, target)
        _check_weight(self.name, x.shape[-1], weight)
        return [Spec(target.shape if self.reduction == "none" else ())], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, target, weight = inputs
        labels, counts = _labels(target, False, self.ignore_index)
        own = _own(labels, counts, weight)
        found = x.reshape(-1, x.shape[-1])[np.arange(labels.size), labels]
        losses = np.where(counts, -own * found, 0)
        return [_reduce(losses, own, self.reduction, target.shape)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        x, target, weight = inputs
        shape = getattr(x, "shape", x)  # it may be known alone
        labels, counts = _labels(target, False, self.ignore_index)
        own = _own(labels, counts, weight)
        dx = np.zeros((labels.size, shape[-1]))
        dx[np.arange(labels.size), labels] = -own * _each(gradients[0], own, self.reduction)
        return [dx.reshape(shape), None, None]


@dataclass(frozen=True)
class LinearCrossEntropy(Operation):
    """`CrossEntropy` of the logits z = h W^T + b, which never exist all at once.

    For h (..., K), W (n, K), b (n) or None. Native code makes the logits of some rows, of those
    whose target counts (one in seven where words are masked), their losses and, where `gradients`
    says that somebody wants them, dz of the loss in place of the logits, and of dz the gradients of
    the loss by h, W and b, which it keeps.

    Backward. dz is that of `CrossEntropy`, and what follows is a linear layer's:

        dh = dz W,   dW = dz^T h,   db = sum of the rows of dz.

    They are linear in the gradient by the loss, so those for 1 that forward kept are multiplied by
    it.
    """

    reduction: str = "mean"
    ignore_index: int = -100
    label_smoothing: float = 0.0
    shift: bool = False
    gradients: bool = True

    name: ClassVar[str] = "linear_cross_entropy"

    def options(self) -> tuple[float, ...]:
        return (
            REDUCTIONS[self.reduction], self.ignore_index, self.label_smoothing, self.shift,
            self.gradients,
        )  # fmt: skip

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, weight, bias, target = inputs
        if len(weight.shape) != 2:
            raise ValueError(
                f"{self.name}: linear_weight must have 2 axes, got shape {weight.shape}"
            )
        classes, width = weight.shape
        if not x.shape or x.shape[-1] != width:
            raise ValueError(
                f"{self.name}: the last axis of input must be {width}, got shape {x.shape}"
            )
        if bias is not None and bias.shape != (classes,):
            raise ValueError(
                f"{self.name}: linear_bias must have shape {(classes,)}, got {bias.shape}"
            )
        _check_targets(self.name, (*x.shape[:-1], classes), target, self.shift)
        kept = [x, weight, bias] if self.gradients else []
        return [Spec(())], [Spec(array.shape) for array in kept if array is not None]

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, weight, bias, target = inputs
        labels, counts = _labels(target, self.shift, self.ignore_index)
        own = _own(labels, counts, None)
        rows = x.reshape(-1, x.shape[-1])
        z = rows @ weight.T + (0 if bias is None else bias)
        losses = np.where(
            counts, _losses(_softmax(z)[1], labels, own, None, self.label_smoothing), 0
        )
        loss = _reduce(losses, own, self.reduction, ())
        if not self.gradients:
            return [loss], []
        each = _each(np.ones(()), own, self.reduction)
        dz = _by_logits(z, labels, counts, own, None, self.label_smoothing, each)
        kept = [(dz @ weight).reshape(x.shape), dz.T @ rows]
        return [loss], kept if bias is None else [*kept, dz.sum(axis=0)]

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        found = [gradients[0] * kept for kept in saved]
        return [*found, *[None] * (4 - len(found))]


def _check(function: str, reduction: str, label_smoothing: float) -> None:
    check_reduction(function, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{function}: label_smoothing must be from 0 to 1, got {label_smoothing}")


def _classes_last(function: str, input: Tensor, target: Any) -> Tensor:
    """Logits with the axis of classes last, where it is the second."""
    shape = np.shape(target.data if isinstance(target, Tensor) else target)
    second = (*input.shape[:1], *input.shape[2:])
    if input.ndim < 3 or shape != second:
        return input
    if shape == input.shape[:-1]:
        raise ValueError(
            f"{function}: classes may be in axis 1 or in the last one of input of shape "
            f"{input.shape}; give it as (N, C), with N targets"
        )
    return permute(input, 0, *range(2, input.ndim), 1)


def _classes(input: Tensor) -> int:
    return input.shape[-1] if input.ndim else 0


def cross_entropy(
    input: Tensor,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log of the probability of each row's target class, where logits are given.

    Parameters
    ----------
    input : Tensor, shape (..., C)
        Logits of C classes. PyTorch's order (N, C, ...), with targets (N, ...), is taken too; an
        input that fits both is refused.
    target : array_like of int, shape (...)
        Classes; or real numbers of the shape of `input`, probabilities of the classes, for logits
        (N, C) or (C,).
    weight : Tensor or array_like, shape (C,), optional
        Of the classes; without a gradient. A mean is then divided by the weights of the targets.
    ignore_index : int
        A target that does not count.
    reduction : {"mean", "sum", "none"}
        The mean over the targets that count: NaN where none does, as PyTorch's.
    label_smoothing : float, from 0 to 1
        The share of each target that all classes have in equal parts.

    Returns
    -------
    Tensor, shape (), or that of `target` with ``"none"``

    Raises
    ------
    ValueError
        A target is no class (its place is named), a shape does not fit, an option is none.
    TypeError
        `target` does not hold integers.
    """
    _check("cross_entropy", reduction, label_smoothing)
    if not isinstance(target, Tensor):
        target = np.asarray(target)
    if target.dtype.kind == "f" and target.shape == input.shape:
        return _of_probabilities(input, target, weight, reduction, label_smoothing)
    input = _classes_last("cross_entropy", input, target)
    ids = integers("cross_entropy", "target", target, _classes(input), ignore_index)
    operation = CrossEntropy(reduction, ignore_index, label_smoothing)
    return apply(operation, input, ids, _weight("cross_entropy", weight, input))


def _of_probabilities(
    input: Tensor, target: Any, weight: Any, reduction: str, label_smoothing: float
) -> Tensor:
    """Cross-entropy where all classes of a row have a share of its target."""
    if input.ndim not in (1, 2) or not input.shape[-1]:
        raise ValueError(
            "cross_entropy: input must have shape (N, C) or (C,) where target are probabilities, "
            f"got {input.shape}"
        )
    shares = target if isinstance(target, Tensor) else Tensor(target.astype(input.dtype))
    if label_smoothing:
        shares = shares * (1 - label_smoothing) + label_smoothing / input.shape[-1]
    terms = mul(log_softmax(input, -1), shares)
    factors = _weight("cross_entropy", weight, input)
    if factors is not None:
        _check_weight("cross_entropy", input.shape[-1], factors)
        terms = mul(terms, factors)
    return total(neg(sum(terms, -1)), reduction)


def _weight(function: str, weight: Any, input: Tensor) -> Tensor | None:
    if weight is not None and not isinstance(weight, Tensor):
        weight = np.asarray(weight, input.dtype)
    return constant(function, "weight", weight)


def nll_loss(
    input: Tensor,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-input of each row's target class, as torch.nn.functional.nll_loss.

    Parameters
    ----------
    input : Tensor, shape (..., C)
        Log-probabilities, as `log_softmax` gives them. PyTorch's order (N, C, ...) is taken, too,
        as by `cross_entropy`.
    target : array_like of int, shape (...)
    weight, ignore_index, reduction
        As of `cross_entropy`.

    Returns
    -------
    Tensor, shape (), or that of `target` with ``"none"``

    Raises
    ------
    ValueError, TypeError
        As `cross_entropy`.
    """
    check_reduction("nll_loss", reduction)
    input = _classes_last("nll_loss", input, target)
    ids = integers("nll_loss", "target", target, _classes(input), ignore_index)
    return apply(NLLLoss(reduction, ignore_index), input, ids, _weight("nll_loss", weight, input))


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Any,
    *,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """``cross_entropy(linear(input, linear_weight, linear_bias), target)`` in little memory.

    The logits exist for some rows at a time only, which is what a large vocabulary needs.

    Parameters
    ----------
    input : Tensor, shape (..., K)
    linear_weight : Tensor, shape (C, K)
        May be an embedding's.
    target : array_like of int, shape (...)
    linear_bias : Tensor, shape (C,), optional
    reduction : {"mean", "sum"}
    ignore_index, label_smoothing
        As `cross_entropy`'s.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError, TypeError
        As `cross_entropy`; ValueError also for the reduction ``"none"``.
    """
    return _linear(
        "linear_cross_entropy", input, linear_weight, linear_bias, target, "target", reduction,
        ignore_index, label_smoothing, False,
    )  # fmt: skip


def _linear(
    function: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Any,
    name: str,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
    shift: bool,
) -> Tensor:
    _check(function, reduction, label_smoothing)
    if reduction == "none":
        raise ValueError(f"{function}: reduction must be mean or sum, got 'none'")
    ids = integers(function, name, target, weight.shape[0] if weight.ndim else 0, ignore_index)
    wanted = tape._recording.get() and any(
        x is not None and tape._edge(x) is not None for x in (input, weight, bias)
    )
    operation = LinearCrossEntropy(reduction, ignore_index, label_smoothing, shift, wanted)
    return apply(operation, input, weight, bias, ids)


def masked_lm_loss(
    input: Tensor,
    labels: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    ignore_index: int = -100,
) -> Tensor:
    """The mean cross-entropy of the masked tokens, as BERT is trained.

    Parameters
    ----------
    input : Tensor, shape (B, T, C), or (B, T, K) with `weight`
        Logits, or what a linear layer of `weight` makes logits of (`linear_cross_entropy`).
    labels : array_like of int, shape (B, T)
        The token that was masked, -100 (`ignore_index`) at other places.
    weight : Tensor, shape (C, K), optional
    bias : Tensor, shape (C,), optional

    Returns
    -------
    Tensor, shape ()
        NaN where no token is masked.
    """
    if weight is None:
        return cross_entropy(input, labels, ignore_index=ignore_index)
    return _linear(
        "masked_lm_loss", input, weight, bias, labels, "labels", "mean", ignore_index, 0.0, False
    )


def next_token_loss(
    input: Tensor,
    ids: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    ignore_index: int = -100,
) -> Tensor:
    """The mean cross-entropy of each next token, as GPT is trained.

    Place i is to predict ``ids[..., i + 1]``; the last place of a sequence predicts nothing.

    Parameters
    ----------
    input : Tensor, shape (..., T, C), or (..., T, K) with `weight`
        Logits, or what a linear layer of `weight` makes logits of (`linear_cross_entropy`).
    ids : array_like of int, shape (..., T)
        The tokens that `input` was computed of; those of `ignore_index` are not predicted.
    weight : Tensor, shape (C, K), optional
    bias : Tensor, shape (C,), optional

    Returns
    -------
    Tensor, shape ()
        NaN where there is no next token.
    """
    if weight is not None:
        return _linear(
            "next_token_loss", input, weight, bias, ids, "ids", "mean", ignore_index, 0.0, True
        )
    array = integers("next_token_loss", "ids", ids, _classes(input), ignore_index)
    operation = CrossEntropy("mean", ignore_index, shift=True)
    return apply(operation, input, array, None)
