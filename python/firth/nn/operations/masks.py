"""Comparisons, which give masks, and what masks fill.

Whether a number is greater than another has no gradient: NumPy compares. What is filled has none
where the mask is true, and its own elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.operations.arithmetic import add, is_end
from firth.nn.operations.shapes import expand, index
from firth.nn.tape import Array, Operation, Shape, Spec, Tensor, apply, derive, fixed, method


def looked_at(function: str, x: Any) -> Any:
    """The array of a tensor whose values are asked for; other things as they are."""
    if isinstance(x, Tensor):
        x._look(function)
        return x.data
    return x


def _compared(function: str, compare: Callable[[Any, Any], Any]) -> Callable[..., Tensor]:
    def compared(input: Any, other: Any) -> Tensor:
        if isinstance(input, Tensor) and input.dtype.kind != "f" and np.isscalar(other):
            return Tensor(derive(input.data, lambda x: np.asarray(compare(x, other), np.bool_)))
        result = compare(looked_at(function, input), looked_at(function, other))
        return Tensor(np.asarray(result, np.bool_))

    compared.__name__ = compared.__qualname__ = function
    compared.__doc__ = f"The mask of where ``{function}`` holds for two tensors or numbers."
    return method(compared)


eq = _compared("eq", np.equal)
ne = _compared("ne", np.not_equal)
lt = _compared("lt", np.less)
le = _compared("le", np.less_equal)
gt = _compared("gt", np.greater)
ge = _compared("ge", np.greater_equal)
logical_and = _compared("logical_and", np.logical_and)
logical_or = _compared("logical_or", np.logical_or)


@method
def logical_not(input: Tensor) -> Tensor:
    """The mask of where the input is false, or 0."""
    if input.dtype.kind != "f":
        return Tensor(derive(input.data, np.logical_not))
    return Tensor(np.logical_not(looked_at("logical_not", input)))


@method
def isnan(input: Tensor) -> Tensor:
    """The mask of where the input is NaN."""
    return Tensor(np.isnan(looked_at("isnan", input)))


@method
def any(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Whether one is true, of all or along an axis."""
    return Tensor(np.any(looked_at("any", input), axis=dim, keepdims=keepdim))


@method
def all(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Whether each is true, of all or along an axis."""
    return Tensor(np.all(looked_at("all", input), axis=dim, keepdims=keepdim))


@method
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one shape and the same elements."""
    return np.array_equal(looked_at("equal", input), looked_at("equal", other))


@method
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether each element differs by no more than ``atol + rtol |other|``."""
    return np.allclose(looked_at("allclose", input), looked_at("allclose", other), rtol, atol)


@dataclass(frozen=True)
class MaskedFill(Operation):
    """y = value where the mask is true, else x; backward: dx = 0 where it is true, else dy."""

    value: float

    name: ClassVar[str] = "masked_fill"
    reads_inputs: ClassVar[tuple[int, ...]] = (1,)

    def options(self) -> tuple[float, ...]:
        return (self.value,)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        return [Spec(inputs[0].shape)], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, mask = inputs  # the mask's shape is the end of x's
        return [np.where(mask, x.dtype.type(self.value), x)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        return [np.where(inputs[1], 0, gradients[0]), None]


def _mask(function: str, mask: Any, shape: Shape) -> Array:
    """A mask for an array of a shape: itself where its shape is the end of this one."""
    array: Array = mask.data if isinstance(mask, Tensor) else np.asarray(mask)
    if array.dtype != np.bool_:
        raise TypeError(f"{function}: mask must be bool, got {array.dtype}")
    if is_end(array.shape, shape):
        return np.ascontiguousarray(array) if array.ndim else array
    try:
        return derive(array, lambda mask: np.broadcast_to(mask, shape))
    except ValueError:
        raise ValueError(
            f"{function}: mask must have the shape of input, {shape}, or axes of 1 there, "
            f"got {array.shape}"
        ) from None


@method
def masked_fill(input: Tensor, mask: Any, value: Any) -> Tensor:
    """A number where the mask is true, the input elsewhere.

    Parameters
    ----------
    input : Tensor
    mask : Tensor or ndarray of bool
        Axes of one element, and missing ones before the first, are repeated.
    value : float

    Raises
    ------
    TypeError
        The mask is not bool, or `value` no number.
    ValueError
        The shapes do not fit.
    """
    if isinstance(value, Tensor):
        value = value.item()
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"masked_fill: value must be a number, got {type(value).__name__}")
    flags = _mask("masked_fill", mask, input.shape)
    if input.dtype.kind != "f":
        return Tensor(np.where(flags, value, looked_at("masked_fill", input)).astype(input.dtype))
    return apply(MaskedFill(float(value)), input, flags)


@method
def masked_select(input: Tensor, mask: Any) -> Tensor:
    """The elements where the mask is true, one after the other; axes of one element are repeated.

    Raises
    ------
    TypeError
        The mask is not bool.
    ValueError
        The shapes do not fit.
    """
    flags = np.asarray(looked_at("masked_select", mask))
    if flags.dtype != np.bool_:
        raise TypeError(f"masked_select: mask must be bool, got {flags.dtype}")
    try:
        shape = np.broadcast_shapes(input.shape, flags.shape)
    except ValueError:
        raise ValueError(
            f"masked_select: shapes do not fit, got {input.shape} and {flags.shape}"
        ) from None
    return index(expand(input, *shape), np.broadcast_to(flags, shape))


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """`input` where the condition is true, `other` elsewhere; either may be a number.

    Raises
    ------
    TypeError
        The condition is not bool, or tensors have two dtypes.
    ValueError
        The shapes do not fit.
    """
    flags: Array = condition.data if isinstance(condition, Tensor) else np.asarray(condition)
    if flags.dtype != np.bool_:
        raise TypeError(f"where: condition must be bool, got {flags.dtype}")
    tensors = [x for x in (input, other) if isinstance(x, Tensor)]
    if not tensors or not _some(x.dtype.kind == "f" for x in tensors):
        looked_at("where", condition)
        return Tensor(np.where(flags, looked_at("where", input), looked_at("where", other)))
    shape = np.broadcast_shapes(flags.shape, *(x.shape for x in tensors))
    parts = []
    for x, gone in ((input, derive(flags, np.logical_not)), (other, flags)):
        if isinstance(x, Tensor):
            parts.append(masked_fill(expand(x, *shape), gone, 0.0))
        else:
            parts.append(Tensor(derive(gone, functools.partial(_number, x, shape, tensors[0]))))
    return add(*parts)  # one of the two is 0


def _number(x: Any, shape: Shape, like: Tensor, gone: Array) -> Array:
    """A number, or an array, where it is not gone, and 0 elsewhere."""
    return np.broadcast_to(np.where(gone, 0, x).astype(like.dtype), shape)


def _some(flags: Any) -> bool:
    return True in flags


def _triangle(function: str, computed: Callable[..., Any], input: Tensor, diagonal: int) -> Tensor:
    if input.ndim < 2:
        raise ValueError(f"{function}: want 2 axes or more, got shape {input.shape}")
    if input.dtype.kind != "f":
        return Tensor(computed(looked_at(function, input), diagonal))
    other = ~computed(np.ones(input.shape[-2:], np.bool_), diagonal)
    return masked_fill(input, fixed(other), 0.0)


@method
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices with 0 above a diagonal."""
    return _triangle("tril", np.tril, input, diagonal)


@method
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices with 0 below a diagonal."""
    return _triangle("triu", np.triu, input, diagonal)
