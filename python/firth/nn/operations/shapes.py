"""Operations that move elements and compute nothing.

Each result element is one input element, so backward moves the gradient the other way, and what was
not taken has a gradient of 0. All of them copy: there are no views.

(Above 500 lines: five operations, and the functions and methods that are a few lines around them.)
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.operations.embedding import embedding, integers
from firth.nn.tape import (
    REAL,
    Array,
    Operation,
    Shape,
    Spec,
    Tensor,
    apply,
    derive,
    fixed,
    method,
    tracked,
)

MOST_AXES = 5  # of an array that the native code takes


def shape_of(x: Array | Shape) -> Shape:
    """The shape of what backward gets: an array, or its shape alone."""
    return x.shape if isinstance(x, np.ndarray) else x


def axis_of(function: str, axis: int, ndim: int, argument: str = "dim") -> int:
    """An axis from the front; negative ones count from the end."""
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        raise ValueError(f"{function}: {argument} must be an axis of {ndim}, got {axis}")
    return index % ndim


@dataclass(frozen=True)
class Reshape(Operation):
    """The same elements in the same order under another shape."""

    shape: Shape

    name: ClassVar[str] = "reshape"
    moves: ClassVar[bool] = True

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        (x,) = inputs
        if len(self.shape) > MOST_AXES:
            raise ValueError(f"reshape: shape may have {MOST_AXES} axes, got {self.shape}")
        if min(self.shape, default=0) < 0 or math.prod(self.shape) != math.prod(x.shape):
            raise ValueError(f"reshape: shape {x.shape} cannot become {self.shape}")
        return [Spec(self.shape)], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        return [inputs[0].reshape(self.shape)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        return [gradients[0].reshape(shape_of(inputs[0]))]


@dataclass(frozen=True)
class Permute(Operation):
    """Axis i of the result is axis ``axes[i]`` of x; backward is the inverse permutation."""

    axes: tuple[int, ...]

    name: ClassVar[str] = "permute"
    moves: ClassVar[bool] = True

    def options(self) -> tuple[float, ...]:
        return self.axes

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        (x,) = inputs
        if sorted(self.axes) != list(range(len(x.shape))):
            raise ValueError(
                f"permute: dims must be the {len(x.shape)} axes in some order, got {self.axes}"
            )
        return [Spec(tuple(x.shape[axis] for axis in self.axes))], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        return [inputs[0].transpose(self.axes)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        return [gradients[0].transpose(np.argsort(self.axes))]


@dataclass(frozen=True)
class Slice(Operation):
    """Of each axis `count` places from `start` on, `step` apart; under `shape`.

    Backward: the gradient goes to these places, and 0 to all others.
    """

    starts: tuple[int, ...]
    steps: tuple[int, ...]
    counts: tuple[int, ...]
    shape: Shape

    name: ClassVar[str] = "slice"
    moves: ClassVar[bool] = True

    def options(self) -> tuple[float, ...]:
        places = zip(self.starts, self.steps, self.counts, strict=True)
        return tuple(number for place in places for number in place)

    def _where(self) -> tuple[slice, ...]:
        places = zip(self.starts, self.steps, self.counts, strict=True)
        return tuple(
            slice(start, start + step * (count - 1) + 1 if count else start, step)
            for start, step, count in places
        )

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        if len(self.shape) > MOST_AXES:
            raise ValueError(f"index: the result may have {MOST_AXES} axes, got {self.shape}")
        return [Spec(self.shape)], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        return [inputs[0][self._where()].reshape(self.shape)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        dx = np.zeros(shape_of(inputs[0]), gradients[0].dtype)
        dx[self._where()] = gradients[0].reshape(self.counts)
        return [dx]


@dataclass(frozen=True)
class Concatenate(Operation):
    """Arrays one after the other along an axis, or, with `new`, along one that they do not have.

    Backward: each has its part of the gradient.
    """

    axis: int
    new: bool = False

    name: ClassVar[str] = "concatenate"
    moves: ClassVar[bool] = True

    def options(self) -> tuple[float, ...]:
        return (self.axis,)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        function = "stack" if self.new else "cat"
        dtypes = {x.dtype for x in inputs if isinstance(x, Spec)}
        if REAL in dtypes and len(dtypes) > 1:
            raise TypeError(
                f"{function}: tensors must have one dtype, got real and whole numbers or masks; "
                "float() makes them real"
            )
        shape, axis = inputs[0].shape, self.axis
        for x in inputs:
            other = x.shape if self.new else (*x.shape[:axis], *shape[axis : axis + 1])
            other += () if self.new else x.shape[axis + 1 :]
            if len(x.shape) != len(shape) or other != shape:
                raise ValueError(
                    f"{function}: tensors must have one shape"
                    f"{'' if self.new else f' but for axis {axis}'}, got {shape} and {x.shape}"
                )
        if self.new and len(shape) == MOST_AXES:
            raise ValueError(f"stack: the result may have {MOST_AXES} axes, got {shape} and one")
        length = len(inputs) if self.new else sum(x.shape[axis] for x in inputs)
        return [Spec((*shape[:axis], length, *shape[axis + (not self.new) :]))], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        join = np.stack if self.new else np.concatenate
        return [join(inputs, axis=self.axis)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        if self.new:
            return list(np.moveaxis(gradients[0], self.axis, 0))
        ends = np.cumsum([shape_of(x)[self.axis] for x in inputs])[:-1]
        return list(np.split(gradients[0], ends, axis=self.axis))


@dataclass(frozen=True)
class Expand(Operation):
    """An axis of one element repeated `count` times.

    Each element has an effect by each repetition, so backward is their sum.
    """

    axis: int
    count: int

    name: ClassVar[str] = "expand"

    def options(self) -> tuple[float, ...]:
        return (self.axis,)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        shape = inputs[0].shape
        return [Spec((*shape[: self.axis], self.count, *shape[self.axis + 1 :]))], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        return [np.repeat(inputs[0], self.count, self.axis)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        return [gradients[0].sum(axis=self.axis, keepdims=True)]


def _view(operation: Operation, input: Tensor) -> Tensor:
    """What PyTorch has a view for: a copy, and one that is not written to."""
    tensor: Tensor = apply(operation, input)
    tensor._part = True
    return tensor


def _shape_of(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape given as one sequence or as several numbers."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    return tuple(operator.index(n) for n in shape)


@method
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements under another shape, of which one length may be -1: what is left.

    Raises
    ------
    ValueError
        The shape has another number of elements.
    """
    wanted = _shape_of(shape)
    if wanted.count(-1) == 1:
        known = -math.prod(wanted)
        if known and math.prod(input.shape) % known == 0:
            rest = math.prod(input.shape) // known
            wanted = tuple(rest if n == -1 else n for n in wanted)
    return _view(Reshape(wanted), input)


@method
def view(input: Tensor, *shape: Any) -> Tensor:
    """As `reshape`; a copy, since there are no views."""
    return reshape(input, *shape)


@method
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """One axis in place of those from `start_dim` to `end_dim`."""
    if not input.ndim:
        return reshape(input, 1)
    start = axis_of("flatten", start_dim, input.ndim, "start_dim")
    end = axis_of("flatten", end_dim, input.ndim, "end_dim")
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} is behind end_dim {end_dim}")
    shape = input.shape
    return reshape(input, *shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


@method
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Several axes in place of one; of their lengths one may be -1: what is left.

    Raises
    ------
    ValueError
        The lengths do not make up that of the axis.
    """
    axis = axis_of("unflatten", dim, input.ndim)
    parts, n = list(_shape_of((tuple(sizes),))), input.shape[axis]
    if parts.count(-1) == 1 and (known := -math.prod(parts)):
        parts[parts.index(-1)] = n // known
    if min(parts, default=0) < 0 or math.prod(parts) != n:
        raise ValueError(f"unflatten: sizes must make up the length {n}, got {tuple(sizes)}")
    return reshape(input, *input.shape[:axis], *parts, *input.shape[axis + 1 :])


@method
def squeeze(input: Tensor, dim: int | None = None) -> Tensor:
    """Without an axis of one element, or without all of these."""
    if dim is None:
        return reshape(input, tuple(n for n in input.shape if n != 1))
    axis = axis_of("squeeze", dim, input.ndim)
    if input.shape[axis] != 1:
        return input
    return reshape(input, input.shape[:axis] + input.shape[axis + 1 :])


@method
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With one more axis of one element."""
    axis = axis_of("unsqueeze", dim, input.ndim + 1)
    return reshape(input, (*input.shape[:axis], 1, *input.shape[axis:]))


@method
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Axes in another order: axis i of the result is axis ``dims[i]`` of the input."""
    axes = _shape_of(dims)
    return _view(Permute(tuple(axis_of("permute", d, input.ndim, "dims") for d in axes)), input)


@method
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    axes = list(range(input.ndim))
    one = axis_of("transpose", dim0, input.ndim, "dim0")
    other = axis_of("transpose", dim1, input.ndim, "dim1")
    axes[one], axes[other] = other, one
    return _view(Permute(tuple(axes)), input)


@method
def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Axes of one element repeated, to the lengths given; -1 keeps one. New axes may lead.

    A copy, since there are no views. The gradient is the sum over the repetitions.

    Raises
    ------
    ValueError
        An axis that has more than one element would change.
    """
    wanted = _shape_of(sizes)
    new = len(wanted) - input.ndim
    shape = (1,) * new + input.shape
    wanted = tuple(n if w == -1 else w for n, w in zip(shape, wanted, strict=False))
    if new < 0 or any(n not in (1, w) or w < 0 for n, w in zip(shape, wanted, strict=True)):
        raise ValueError(f"expand: shape {input.shape} cannot become {_shape_of(sizes)}")
    if input.dtype.kind != "f":
        input._look("expand")
        return Tensor(np.broadcast_to(input.data, wanted))
    x = reshape(input, shape) if new else input
    for axis, n in enumerate(wanted):
        if x.shape[axis] != n:
            x = _view(Expand(axis, n), x)
    return x


@method
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """As `expand`, to the shape of another tensor."""
    return expand(input, *other.shape)


@method
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """As `reshape`, to the shape of another tensor."""
    return reshape(input, *other.shape)


@method
def t(input: Tensor) -> Tensor:
    """A matrix with its axes exchanged.

    Raises
    ------
    ValueError
        More than 2 axes.
    """
    if input.ndim > 2:
        raise ValueError(f"T: want a matrix, got shape {input.shape}; see transpose and permute")
    return transpose(input, 0, 1) if input.ndim == 2 else input


@method
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The parts along an axis, without it."""
    lead = (slice(None),) * axis_of("unbind", dim, input.ndim)
    return tuple(index(input, (*lead, i)) for i in range(input.shape[dim]))


def as_indices(where: Any) -> Any:
    """Indices as NumPy takes them: tensors of whole numbers or masks are arrays."""
    if isinstance(where, tuple):
        return tuple(as_indices(one) for one in where)
    if isinstance(where, Tensor):
        where._look("index")
        if where.dtype.kind == "f":
            raise TypeError(
                f"index: tensors must hold whole numbers or be masks, got {where.dtype}"
            )
        return where.data if where.ndim or where.dtype.kind == "b" else int(where.data)
    if isinstance(where, list):
        return np.array([as_indices(one) for one in where])
    return where


def _is_plain(one: Any) -> bool:
    whole = isinstance(one, (int, np.integer)) and not isinstance(one, (bool, np.bool_))
    return whole or one is None or one is Ellipsis or isinstance(one, slice)


def _taken(input: Tensor, where: Any) -> Tensor:
    """Elements that arrays of whole numbers or masks say: rows of a table, see `embedding`."""
    input._look("index")
    if not tracked(input):
        return Tensor(input.data[where])
    if isinstance(where, np.ndarray) and where.dtype.kind == "i":
        ids = np.arange(input.shape[0])[where]
        rows = embedding(ids, reshape(input, input.shape[0], -1))
        return reshape(rows, *ids.shape, *input.shape[1:])
    ids = np.arange(input.data.size).reshape(input.shape)[where]
    return reshape(embedding(ids, reshape(input, -1, 1)), ids.shape)


@method
def index(input: Tensor, where: Any) -> Tensor:
    """``input[where]`` for integers, slices with positive steps, ..., None, and arrays of these.

    Arrays or tensors of whole numbers, or masks, take what NumPy takes.

    Raises
    ------
    TypeError
        Something else.
    IndexError
        An integer out of range, or more indices than axes.
    ValueError
        A step that is not positive.
    """
    where = as_indices(where)
    given = where if isinstance(where, tuple) else (where,)
    if any(isinstance(one, np.ndarray) for one in given):
        return _taken(input, where)
    for one in given:
        if not _is_plain(one):
            raise TypeError(
                "index: want integers, slices, ..., None, or arrays of whole numbers or masks, "
                f"got {type(one).__name__}"
            )
    used = sum(one is not None and one is not Ellipsis for one in given)
    if used > input.ndim:
        raise IndexError(f"index: {used} indices for {input.ndim} axes")
    if sum(one is Ellipsis for one in given) > 1:
        raise IndexError("index: ... may stand once")
    rest = (slice(None),) * (input.ndim - used)
    if Ellipsis in given:
        at = given.index(Ellipsis)
        given = (*given[:at], *rest, *given[at + 1 :])
    else:
        given = (*given, *rest)
    starts: list[int] = []
    steps: list[int] = []
    counts: list[int] = []
    shape: list[int] = []
    for one in given:
        if one is None:
            shape.append(1)
            continue
        length = input.shape[len(starts)]
        if isinstance(one, slice):
            step = 1 if one.step is None else operator.index(one.step)
            if step < 1:
                raise ValueError(f"index: steps must be positive, got {step}")
            places = range(*one.indices(length))
            starts.append(places.start if places else 0)
            steps.append(step)
            counts.append(len(places))
            shape.append(len(places))
            continue
        if not -length <= one < length:
            raise IndexError(
                f"index: {one} is out of range of axis {len(starts)}, which has {length}"
            )
        starts.append(int(one) % length)
        steps.append(1)
        counts.append(1)
    return _view(Slice(tuple(starts), tuple(steps), tuple(counts), tuple(shape)), input)


@method
def index_select(input: Tensor, dim: int, index: Any) -> Tensor:
    """The parts at places along an axis.

    Parameters
    ----------
    input : Tensor
    dim : int
    index : array_like of int, shape (n,)
        From 0 on; a place may come more than once.

    Raises
    ------
    ValueError
        There is no such place, or `index` has more axes.
    TypeError
        `index` does not hold integers.
    """
    axis = axis_of("index_select", dim, input.ndim)
    ids = integers("index_select", "index", index, input.shape[axis])
    if ids.ndim > 1:
        raise ValueError(f"index_select: index must have one axis, got shape {ids.shape}")
    if input.dtype.kind != "f":
        input._look("index_select")
        return Tensor(np.take(input.data, np.atleast_1d(ids), axis))
    x = transpose(input, 0, axis)
    rows = embedding(ids, reshape(x, x.shape[0], math.prod(x.shape[1:])))
    return transpose(reshape(rows, ids.size, *x.shape[1:]), 0, axis)


MOST_TENSORS = 64  # that the native code takes at once


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after the other along an axis; their other axes must be equal."""
    return _joined("cat", list(tensors), dim, new=False)


def concatenate(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """As `cat`."""
    return cat(tensors, dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    return _joined("stack", list(tensors), dim, new=True)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one below the other; a vector is a row, a single number a row of one."""
    return cat([x if x.ndim > 1 else reshape(x, 1, -1) for x in tensors], 0)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side, along axis 1; vectors one after the other."""
    parts = [x if x.ndim else reshape(x, 1) for x in tensors]
    return cat(parts, 0 if parts and parts[0].ndim == 1 else 1)


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """More places before and behind axes, the last axis first, filled with a number.

    Parameters
    ----------
    input : Tensor
    pad : sequence of int
        (before, behind) the last axis, then the one before it, and so on; negative ones cut off.
    mode : "constant"
    value : float, optional
        By default 0.

    Raises
    ------
    ValueError
        Another mode; an odd number of places, or more than axes; more is cut off than is there.
    """
    counts = _shape_of((tuple(pad),))
    if mode != "constant":
        raise ValueError(f"pad: mode must be 'constant', got {mode!r}")
    if len(counts) % 2 or len(counts) > 2 * input.ndim:
        raise ValueError(
            f"pad: pad must have two numbers for each of at most {input.ndim} axes, got {counts}"
        )
    x = input
    for i in range(0, len(counts), 2):
        axis, before, behind = input.ndim - 1 - i // 2, counts[i], counts[i + 1]
        lead, n = (slice(None),) * axis, input.shape[axis]
        first, last = max(0, -before), n - max(0, -behind)
        if first > last:
            raise ValueError(f"pad: {counts[i : i + 2]} cuts off more than the {n} of axis {axis}")
        if last - first < n:
            x = index(x, (*lead, slice(first, last)))
        x = _extended(x, axis, max(0, before), max(0, behind), value or 0)
    return x


def _extended(x: Tensor, axis: int, before: int, behind: int, value: float) -> Tensor:
    """With so many places more along an axis."""
    if not before and not behind:
        return x
    if x.dtype.kind != "f":
        widths = [(0, 0)] * axis + [(before, behind)] + [(0, 0)] * (x.ndim - axis - 1)
        return Tensor(derive(x.data, lambda a: np.pad(a, widths, constant_values=value)))
    shape = x.shape
    ends = [
        Tensor(fixed(np.full((*shape[:axis], n, *shape[axis + 1 :]), value, x.dtype)))
        for n in (before, behind)
    ]
    return cat([part for part in (ends[0], x, ends[1]) if part.shape[axis]], axis)


def _joined(function: str, tensors: list[Tensor], dim: int, new: bool) -> Tensor:
    if not tensors:
        raise ValueError(f"{function}: tensors must not be empty")
    axis = axis_of(function, dim, tensors[0].ndim + new)
    if len(tensors) > MOST_TENSORS:
        parts = [tensors[i : i + MOST_TENSORS] for i in range(0, len(tensors), MOST_TENSORS)]
        return cat([_joined(function, part, axis, new) for part in parts], axis)
    return apply(Concatenate(axis, new), *tensors)


@method
def flip(input: Tensor, *dims: Any) -> Tensor:
    """The elements in reverse along the axes given."""
    for dim in _shape_of(dims):
        axis = axis_of("flip", dim, input.ndim, "dims")
        back = np.arange(input.shape[axis])[::-1]
        input = index(input, (*(slice(None),) * axis, back))
    return input


@method
def repeat(input: Tensor, *sizes: Any) -> Tensor:
    """Copies one after the other, as many along each axis as given; new axes may lead."""
    counts = _shape_of(sizes)
    if len(counts) < input.ndim or min(counts, default=0) < 0:
        raise ValueError(f"repeat: sizes must be {input.ndim} or more counts, got {counts}")
    x = reshape(input, (1,) * (len(counts) - input.ndim) + input.shape)
    for axis, n in enumerate(counts):
        x = cat([x] * n, axis) if n else index(x, (*(slice(None),) * axis, slice(0, 0)))
    return x


@method
def split(
    tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Parts along an axis: of one length, the last shorter, or of the lengths given."""
    axis = axis_of("split", dim, tensor.ndim)
    length, asked = tensor.shape[axis], split_size_or_sections
    if isinstance(asked, (int, np.integer)):
        if asked < 1:
            raise ValueError(f"split: split_size_or_sections must be positive, got {asked}")
        sizes = [min(asked, length - start) for start in range(0, length, asked)] or [0]
    else:
        sizes = [operator.index(n) for n in asked]
    if sum(sizes) != length or min(sizes, default=0) < 0:
        raise ValueError(f"split: sections must add up to {length}, got {sizes}")
    ends = np.cumsum(sizes)
    lead = (slice(None),) * axis
    return tuple(
        index(tensor, (*lead, slice(int(end) - size, int(end))))
        for size, end in zip(sizes, ends, strict=True)
    )


@method
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of one length along an axis, the last shorter."""
    if chunks < 1:
        raise ValueError(f"chunk: chunks must be positive, got {chunks}")
    length = input.shape[axis_of("chunk", dim, input.ndim)]
    return split(input, max(1, -(-length // chunks)), dim)
