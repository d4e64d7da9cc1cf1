"""Values looked at, moved between dtypes, and written in place: what is no operation of the tape.

Maxima are one (`firth.nn.operations.arithmetic.Maximum`), their places have no gradient; sin, cos,
cumsum and gather have theirs by operations that there are.

(Above 500 lines: some forty functions and methods, each a few lines.)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, overload

import numpy as np

from firth.nn.device import check_device
from firth.nn.device import device as _device
from firth.nn.dtypes import dtype_of
from firth.nn.generator import Generator, numbers_of
from firth.nn.operations.arithmetic import add, amax, clamp, div, mul, neg, sub, times, whole
from firth.nn.operations.embedding import embedding
from firth.nn.operations.masks import looked_at, masked_fill
from firth.nn.operations.shapes import (
    as_indices,
    axis_of,
    cat,
    expand,
    index,
    pad,
    reshape,
    squeeze,
    unsqueeze,
)
from firth.nn.tape import Array, Tensor, derive, method, tracing, tracked, wrote


def _values(function: str, input: Any) -> Array:
    return np.asarray(looked_at(function, input))


# ---- places and orders --------------------------------------------------------------------------


@method
def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The place of the greatest, along an axis or of all in C order; the first of equals."""
    return Tensor(np.argmax(_values("argmax", input), axis=dim, keepdims=keepdim))


@method
def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The place of the least, as `argmax`."""
    return Tensor(np.argmin(_values("argmin", input), axis=dim, keepdims=keepdim))


class Found(NamedTuple):
    """Values, and their places along the axis."""

    values: Tensor
    indices: Tensor


@overload
def max(input: Any, dim: None = None, keepdim: bool = False) -> Tensor: ...
@overload
def max(input: Any, dim: int, keepdim: bool = False) -> Found: ...
@method
def max(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The greatest of all; or, along an axis, the greatest and their places.

    Returns
    -------
    Tensor, or (values, indices)
    """
    input = input if isinstance(input, Tensor) else Tensor(input)
    if dim is None:
        if input.dtype.kind == "f":
            return amax(reshape(input, -1), 0)
        return whole("max", np.max, input)
    if isinstance(dim, Tensor):
        raise TypeError("max: dim must be an axis; where(a > b, a, b) is that of two tensors")
    axis = axis_of("max", dim, input.ndim)
    places = argmax(input, axis, keepdim)
    if input.dtype.kind == "f":
        return Found(amax(input, axis, keepdim), places)
    return Found(whole("max", lambda x: x.max(axis=axis, keepdims=keepdim), input), places)


@overload
def min(input: Any, dim: None = None, keepdim: bool = False) -> Tensor: ...
@overload
def min(input: Any, dim: int, keepdim: bool = False) -> Found: ...
@method
def min(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The least, as `max`."""
    found = max(neg(input if isinstance(input, Tensor) else Tensor(input)), dim, keepdim)
    return Found(neg(found[0]), found[1]) if isinstance(found, tuple) else neg(found)


@method
def amin(input: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """The least along an axis; the gradient goes to the first of equals."""
    return neg(amax(neg(input), dim, keepdim))


@method
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True) -> Found:
    """The k greatest (or least) along an axis, in order, and their places."""
    axis = axis_of("topk", dim, input.ndim)
    if not 0 <= k <= input.shape[axis]:
        raise ValueError(f"topk: k must be from 0 to {input.shape[axis]}, got {k}")
    order = argsort(input, axis, descending=largest)
    places = index(order, (*(slice(None),) * axis, slice(0, k)))
    return Found(gather(input, axis, places), places)


@method
def argsort(input: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """The places of the elements in order along an axis; equal ones as they come."""
    values = _values("argsort", input)
    if not descending:
        return Tensor(np.argsort(values, axis=dim, kind="stable"))
    # of the reverse, so that equal ones stay as they come
    back = np.flip(np.argsort(np.flip(values, dim), axis=dim, kind="stable"), dim)
    return Tensor(values.shape[dim] - 1 - back)


@method
def sort(input: Tensor, dim: int = -1, descending: bool = False) -> Found:
    """The elements in order along an axis, and their places."""
    order = argsort(input, dim, descending)
    return Found(gather(input, dim, order), order)


@method
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The elements at places along an axis, which `index` has for each element of the result.

    Raises
    ------
    IndexError
        A place is out of range.
    ValueError
        The axes do not fit.
    """
    at = _places("gather", input, dim, index)
    if not tracked(input):
        return Tensor(_values("gather", input)[at])
    ids = np.arange(math.prod(input.shape)).reshape(input.shape)[at]
    return reshape(embedding(ids, reshape(input, -1, 1)), ids.shape)


def _places(function: str, input: Tensor, dim: int, index: Any) -> tuple[Any, ...]:
    """What takes the elements at places along an axis, for NumPy."""
    places = _values(function, index)
    axis = axis_of(function, dim, input.ndim)
    others = [i for i in range(input.ndim) if i != axis]
    if places.ndim != input.ndim or not all(places.shape[i] <= input.shape[i] for i in others):
        raise ValueError(
            f"{function}: index must have the axes of input, {input.shape}, got {places.shape}"
        )
    if places.dtype.kind not in "iu":
        raise TypeError(f"{function}: index must hold whole numbers, got {places.dtype}")
    if places.size and not (places.min() >= 0 and places.max() < input.shape[axis]):
        raise IndexError(
            f"{function}: index must be from 0 to {input.shape[axis] - 1}, got {places.min()} to "
            f"{places.max()}"
        )
    at: list[Any] = list(np.ogrid[tuple(slice(n) for n in places.shape)])
    at[axis] = places
    return tuple(at)


def multinomial(
    input: Any,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Places drawn by their weights, of each row.

    From `firth.manual_seed`'s numbers, or those of a `firth.Generator`.

    Raises
    ------
    ValueError
        Weights are negative, not finite or all 0, or too few to be drawn without replacement.
    """
    weights = _values("multinomial", input).astype(np.float64)
    rows = np.atleast_2d(weights)
    if not (np.isfinite(rows).all() and (rows >= 0).all() and (rows.sum(-1) > 0).all()):
        raise ValueError("multinomial: input must hold weights, not negative and not all 0")
    if not replacement and ((rows > 0).sum(-1) < num_samples).any():
        raise ValueError("multinomial: num_samples is greater than the number of weights above 0")
    numbers = numbers_of("multinomial", generator)
    drawn = [
        numbers.choice(len(row), num_samples, replace=replacement, p=row / row.sum())
        for row in rows
    ]
    return Tensor(np.array(drawn).reshape(*weights.shape[:-1], num_samples))


# ---- functions without a gradient here ----------------------------------------------------------


def _constant(function: str, computed: Callable[..., Any]) -> Callable[..., Tensor]:
    def constant(input: Any, *arguments: Any, **options: Any) -> Tensor:
        if tracked(input):
            raise TypeError(f"{function}: has no gradient here; detach() the input")
        values = _values(function, input)
        result = computed(values, *arguments, **options)
        narrow = result.dtype.kind == "f" and values.dtype != np.float64
        return Tensor(result.astype(np.float32) if narrow else result)

    constant.__name__ = constant.__qualname__ = function
    constant.__doc__ = f"NumPy's ``{function}``; its input may not require a gradient."
    return method(constant)


def _remainder(x: Array, other: Any) -> Any:
    return np.remainder(x, _values("remainder", other))


def _floor_divide(x: Array, other: Any) -> Any:
    return np.floor_divide(x, _values("floor_divide", other))


def _curve(
    function: str, computed: Callable[[Array], Array], slope: Callable[[Array], Array]
) -> Callable[..., Tensor]:
    """A function of each element whose gradient is that of its tangent: f(x) + f'(x) (x - x)."""

    def curve(input: Any) -> Tensor:
        x = input if isinstance(input, Tensor) else Tensor(input)
        values = _values(function, x)
        values = values if values.dtype.kind == "f" else values.astype(np.float32)
        made = Tensor(computed(values))
        if not tracked(x):
            return made
        return add(mul(sub(x, x.detach()), Tensor(slope(values))), made)

    curve.__name__ = curve.__qualname__ = function
    curve.__doc__ = f"``{function}`` of x in radians; a compiled step cannot have it."
    return method(curve)


sin = _curve("sin", np.sin, np.cos)
cos = _curve("cos", np.cos, lambda x: -np.sin(x))


@method
def cumsum(input: Any, dim: int) -> Tensor:
    """The sum of all up to each, along an axis."""
    x = input if isinstance(input, Tensor) else Tensor(input)
    axis = axis_of("cumsum", dim, x.ndim)
    if x.dtype.kind != "f":
        return Tensor(derive(x.data, lambda a: np.cumsum(a, axis=axis)))
    if not tracked(x) and not tracing():
        return Tensor(np.cumsum(x.data, axis=axis))
    lead, n, step = (slice(None),) * axis, x.shape[axis], 1
    while step < n:  # each has the sum of the last `step`, and then of twice as many
        behind = index(x, (*lead, slice(0, n - step)))
        x = add(x, pad(behind, [0, 0] * (x.ndim - axis - 1) + [step, 0]))
        step *= 2
    return x


sign = _constant("sign", np.sign)
floor = _constant("floor", np.floor)
round = _constant("round", np.round)
remainder = _constant("remainder", _remainder)
floor_divide = _constant("floor_divide", _floor_divide)


def one_hot(input: Any, num_classes: int = -1) -> Tensor:
    """Rows of 0 with a 1 at the place of each class.

    Raises
    ------
    TypeError
        The input does not hold whole numbers.
    ValueError
        A class is out of range.
    """
    ids = _values("one_hot", input)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"one_hot: input must hold whole numbers, got {ids.dtype}")
    n = int(ids.max(initial=-1)) + 1 if num_classes == -1 else num_classes
    if ids.size and not (ids.min() >= 0 and ids.max() < n):
        raise ValueError(
            f"one_hot: classes must be from 0 to {n - 1}, got {ids.min()} to {ids.max()}"
        )
    return Tensor((ids[..., None] == np.arange(n)).astype(np.int64))


# ---- dtypes and devices -------------------------------------------------------------------------


@method
def to(input: Tensor, *given: Any, dtype: Any = None, device: Any = None, **how: Any) -> Tensor:
    """The tensor in another dtype; the device must be the CPU.

    Raises
    ------
    TypeError
        A tensor with a gradient would change its dtype.
    ValueError
        Another device.
    """
    for one in given:
        if isinstance(one, Tensor):
            dtype = one.dtype
        elif isinstance(one, (str, _device)):
            device = one
        else:
            dtype = one
    check_device(device)
    if unknown := sorted(how.keys() - {"non_blocking", "copy"}):
        raise TypeError(f"to: unknown arguments {unknown}")
    if dtype is None or dtype_of("to", dtype) == input.dtype:
        return input
    if tracked(input):
        raise TypeError("to: a tensor with a gradient keeps its dtype; detach() it")
    if input.dtype.kind != "f":
        return Tensor(derive(input.data, lambda x: x.astype(dtype)))
    return Tensor(_values("to", input).astype(dtype))


for _name, _dtype in {
    "float": np.float32, "double": np.float64, "long": np.int64, "bool": np.bool_,
}.items():  # fmt: skip
    method(functools.partial(to, dtype=np.dtype(_dtype)), _name)


@method
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """In the dtype of another tensor."""
    return to(input, other.dtype)


@method
def cpu(input: Tensor) -> Tensor:
    """The tensor itself: there is only the CPU."""
    return input


@method
def contiguous(input: Tensor) -> Tensor:
    """The tensor itself: all are contiguous."""
    return input


@method
def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.data.size


@method
def dim(input: Tensor) -> int:
    """The number of axes."""
    return input.ndim


@method
def requires_grad_(input: Tensor, requires_grad: bool = True) -> Tensor:
    """Whether `backward` shall compute its gradient; the tensor itself.

    Raises
    ------
    RuntimeError
        An operation made it.
    """
    if input._record is not None:
        raise RuntimeError("requires_grad_: an operation made this tensor; detach() it")
    if requires_grad and input.dtype.kind != "f":
        raise TypeError(f"requires_grad_: only real numbers have gradients, got {input.dtype}")
    input.requires_grad = bool(requires_grad)
    return input


# ---- in place -----------------------------------------------------------------------------------


def _writable(function: str, input: Tensor) -> None:
    """Raise RuntimeError where writing to a tensor is not what PyTorch would do."""
    input._look(function)
    if input._part:
        raise RuntimeError(
            f"{function}: this tensor is a copy of a part of another, there are no views; write to "
            "that one, x[i, j] = value, or to a clone()"
        )
    if tracked(input):
        made = "was made by an operation" if input._record else "requires a gradient"
        raise RuntimeError(
            f"{function}: a tensor that {made} changes in place inside of no_grad() only"
        )


@method
def in_place(input: Tensor, function: str, other: Any) -> Tensor:
    """``input += other`` and the like.

    Where a gradient flows to either, or the input is a copy of a part of another tensor, the result
    is a new tensor, which takes the name.
    """
    computed: Callable[..., Tensor] = {"add": add, "sub": sub, "mul": mul, "div": div}[function]
    if tracked(input) and input._record is None:
        _writable(function, input)
    if tracked(input) or tracked(other) or input._part:
        return computed(input, other)
    _writable(function, input)
    made = computed(input.detach(), other)
    if made.shape != input.shape or (made.dtype.kind == "f" and input.dtype.kind != "f"):
        raise ValueError(
            f"{function}: the result has shape {made.shape} and {made.dtype}, "
            f"the tensor {input.shape} and {input.dtype}"
        )
    input.data[...] = made.data
    wrote(input.data)
    return input


@method
def set_item(input: Tensor, where: Any, value: Any) -> None:
    """``input[where] = value``.

    A value with a gradient may be written at one place of an axis, as in ``outputs[t] = output``.

    Raises
    ------
    RuntimeError
        The tensor is a copy of a part of another, or has a gradient itself.
    TypeError
        A value with a gradient is written elsewhere.
    """
    if tracked(value):
        _replace(input, where, value)
        return
    _writable("set_item", input)
    input.data[as_indices(where)] = _values("set_item", value)
    wrote(input.data)


def _is_all(one: Any) -> bool:
    return one is Ellipsis or (isinstance(one, slice) and one == slice(None))


def _replace(input: Tensor, where: Any, value: Tensor) -> None:
    """What is before, the value, and what is behind it, under the name of the tensor."""
    if input._part or input.requires_grad:
        _writable("set_item", input)
    where = as_indices(where if isinstance(where, tuple) else (where,))
    if (used := sum(one is not Ellipsis for one in where)) > input.ndim:
        raise IndexError(f"set_item: {used} indices for {input.ndim} axes")
    while len(where) > 1 and _is_all(where[-1]):
        where = where[:-1]  # as x[:, t, :] has them
    axis = len(where) - 1
    lead, at = where[:-1], where[-1]
    whole_axes = all(_is_all(one) and one is not Ellipsis for one in lead)
    if not whole_axes or not isinstance(at, (int, np.integer)):
        raise TypeError(
            "set_item: a value with a gradient is written as x[i] = value or x[:, i] = value; "
            "stack() makes a tensor of several"
        )
    if not -input.shape[axis] <= at < input.shape[axis]:
        raise IndexError(f"set_item: {at} is out of range of axis {axis} of {input.shape}")
    at = at % input.shape[axis]
    place = input.shape[:axis] + input.shape[axis + 1 :]
    while value.ndim > len(place) and value.shape[0] == 1:
        value = squeeze(value, 0)
    if value.shape != place:
        try:
            value = expand(value, *place)
        except ValueError:
            raise ValueError(
                f"set_item: value must have the shape of the place, {place}, or axes of 1 there, "
                f"got {value.shape}"
            ) from None
    before = index(input, (*lead, slice(0, at)))
    behind = index(input, (*lead, slice(at + 1, None)))
    made = cat([before, unsqueeze(value, axis), behind], axis)
    input.data, input._record, input._output = made.data, made._record, made._output


def _writer(name: str, write: Callable[..., Any]) -> None:
    def written(input: Tensor, *given: Any, **named: Any) -> Tensor:
        _writable(name, input)
        write(input, *given, **named)
        wrote(input.data)
        return input

    method(written, name)


def _filled(x: Tensor, mask: Any, value: Any) -> None:
    x.data[...] = masked_fill(x.detach(), mask, value).data


def _clamped(x: Tensor, min: Any = None, max: Any = None) -> None:
    x.data[...] = clamp(x.detach(), min, max).data


def _scattered(x: Tensor, dim: int, index: Any, src: Any = None, *, value: Any = None) -> None:
    at, given = _places("scatter_", x, dim, index), _source("scatter_", x, index, src, value)
    x.data[at] = given


def _added(x: Tensor, dim: int, index: Any, src: Any) -> None:
    at, given = _places("scatter_add_", x, dim, index), _source("scatter_add_", x, index, src)
    np.add.at(x.data, at, given)


def _source(function: str, x: Tensor, index: Any, src: Any, value: Any = None) -> Any:
    """What is written at the places of `index`: numbers for each, or one."""
    if (src is None) == (value is None):
        raise TypeError(f"{function}: want either src or value")
    if tracked(src):
        raise TypeError(f"{function}: a value with a gradient cannot be written; detach() it")
    given = _values(function, value if src is None else src)
    if not given.ndim:
        return given
    shape = np.shape(_values(function, index))
    if given.ndim != len(shape) or any(a < b for a, b in zip(given.shape, shape, strict=True)):
        raise ValueError(f"{function}: src must have the axes of index, {shape}, got {given.shape}")
    return given[tuple(slice(n) for n in shape)]


def _uniform(x: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Any = None) -> None:
    x.data[...] = numbers_of("uniform_", generator).uniform(a, b, x.shape)


def _normal(x: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> None:
    x.data[...] = numbers_of("normal_", generator).normal(mean, std, x.shape)


_writer("masked_fill_", _filled)
_writer("scatter_", _scattered)
_writer("scatter_add_", _added)
_writer("clamp_", _clamped)
_writer("uniform_", _uniform)
_writer("normal_", _normal)
_writer("zero_", lambda x, *_: x.data.fill(0))
_writer("fill_", lambda x, value: x.data.fill(value))
_writer("copy_", lambda x, source: np.copyto(x.data, _values("copy_", source)))
_writer("add_", lambda x, other, alpha=1: in_place(x, "add", times(other, alpha)))
_writer("sub_", lambda x, other, alpha=1: in_place(x, "sub", times(other, alpha)))
_writer("mul_", lambda x, other: in_place(x, "mul", other))
_writer("div_", lambda x, other: in_place(x, "div", other))
