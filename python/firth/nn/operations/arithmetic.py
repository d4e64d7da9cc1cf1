"""Arithmetic of elements, sums and products of matrices.

There is no general broadcasting: of two tensors one may have the shape of the end of the other's (a
bias, positions of a sequence), and stands for its repetition. The functions repeat axes of one
element first (`expand`), which copies. Whole numbers and masks have no gradient: NumPy computes
them.

Above 500 lines: four operations, each short, and the functions that share them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.operations.shapes import (
    axis_of,
    cat,
    expand,
    index,
    reshape,
    shape_of,
    squeeze,
    stack,
)
from firth.nn.tape import Array, Operation, Shape, Spec, Tensor, apply, derive, fixed, method

FUNCTIONS = (
    "scale", "shift", "quotient", "reciprocal", "exp", "log", "sqrt", "square", "abs", "clamp",
    "pow",
)  # fmt: skip
"""In the order of the native code's numbers (csrc/kernels/list_activation.h)."""


@dataclass(frozen=True)
class Map(Operation):
    """y = f(x) of each element, with numbers a and b; dx = dy f'(x).

    ==========  =========================  ====================
    function    f(x)                       f'(x)
    ==========  =========================  ====================
    scale       x a                        a
    shift       x + a                      1
    quotient    x / a                      1 / a
    reciprocal  a / x                      -a / x^2
    exp         e^x                        y
    log         log(x)                     1 / x
    sqrt        x^(1/2)                    1 / (2 y)
    square      x^2                        2 x
    abs         |x|                        sign(x), 0 at 0
    clamp       min(max(x, a), b)          1 from a to b, else 0
    pow         x^a                        a x^(a - 1)
    ==========  =========================  ====================
    """

    function: str
    a: float = 0.0
    b: float = 0.0

    name: ClassVar[str] = "map"

    @property
    def reads_inputs(self) -> tuple[int, ...]:  # type: ignore[override]
        reads = ("reciprocal", "log", "square", "abs", "clamp", "pow")
        return (0,) if self.function in reads else ()

    @property
    def reads_outputs(self) -> tuple[int, ...]:  # type: ignore[override]
        return (0,) if self.function in ("exp", "sqrt") else ()

    def options(self) -> tuple[float, ...]:
        return FUNCTIONS.index(self.function), self.a, self.b

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        return [Spec(inputs[0].shape)], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        x, a = inputs[0], self.a
        functions: dict[str, Callable[[], Array]] = {
            "scale": lambda: x * a, "shift": lambda: x + a, "quotient": lambda: x / a,
            "reciprocal": lambda: a / x, "exp": lambda: np.exp(x), "log": lambda: np.log(x),
            "sqrt": lambda: np.sqrt(x), "square": lambda: x * x, "abs": lambda: np.abs(x),
            "clamp": lambda: np.minimum(np.maximum(x, a), self.b), "pow": lambda: x**a,
        }  # fmt: skip
        return [functions[self.function]()], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        x, y, dy, a = inputs[0], outputs[0], gradients[0], self.a
        functions: dict[str, Callable[[], Array]] = {
            "scale": lambda: dy * a, "shift": lambda: dy, "quotient": lambda: dy / a,
            "reciprocal": lambda: -dy * (a / x) / x, "exp": lambda: dy * y, "log": lambda: dy / x,
            "sqrt": lambda: 0.5 * dy / y, "square": lambda: dy * 2 * x,
            "abs": lambda: dy * np.sign(x),
            "clamp": lambda: np.where((x >= a) & (x <= self.b), dy, 0),
            "pow": lambda: dy * a * x ** (a - 1) if a else np.zeros_like(dy),
        }  # fmt: skip
        return [functions[self.function]()]


def is_end(shape: Shape, of: Shape) -> bool:
    """Whether a shape, without the axes of 1 that lead it, is the end of another."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return len(shape) <= len(of) and shape == of[len(of) - len(shape) :]


def _sum_to(gradient: Array, shape: Shape) -> Array:
    """The gradient by what was repeated: the sum over its repetitions."""
    n = math.prod(shape)
    if n == gradient.size:
        return gradient.reshape(shape)
    return gradient.reshape(-1, n).sum(axis=0).reshape(shape) if n else np.zeros(shape)


@dataclass(frozen=True)
class Combine(Operation):
    """y = a + b, a - b, a b or a / b; of the operands one may be repeated.

    Backward, element by element: (dy, dy), (dy, -dy), (dy b, dy a) and (dy / b, -dy y / b). An
    element that is repeated has an effect by each repetition, so its gradient is their sum.
    """

    function: str

    name: ClassVar[str] = "combine"

    @property
    def product(self) -> bool:  # type: ignore[override]
        return self.function == "mul"

    @property
    def reads_inputs(self) -> tuple[int, ...]:  # type: ignore[override]
        return {"mul": (0, 1), "div": (1,)}.get(self.function, ())

    @property
    def reads_outputs(self) -> tuple[int, ...]:  # type: ignore[override]
        return (0,) if self.function == "div" else ()

    def options(self) -> tuple[float, ...]:
        return (("add", "sub", "mul", "div").index(self.function),)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        a, b = inputs[0].shape, inputs[1].shape
        if is_end(b, a) and len(b) <= len(a):
            return [Spec(a)], []
        if is_end(a, b) and len(a) <= len(b):
            return [Spec(b)], []
        raise ValueError(
            f"{self.function}: shapes must be equal, or one the end of the other, got {a} and {b}; "
            "there is no other broadcasting than of axes of 1"
        )

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        a, b = inputs
        functions = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
        return [functions[self.function](a, b)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        (a, b), y, dy = inputs, outputs[0], gradients[0]
        functions = {
            "add": lambda: (dy, dy), "sub": lambda: (dy, -dy), "mul": lambda: (dy * b, dy * a),
            "div": lambda: (dy / b, -dy * y / b),
        }  # fmt: skip
        da, db = functions[self.function]()
        return [_sum_to(da, shape_of(a)), _sum_to(db, shape_of(b))]


@dataclass(frozen=True)
class Sum(Operation):
    """The sum over an axis or, where that is None, over all; or the mean.

    Each element has an effect of 1 (of 1 / n), so backward repeats the gradient.
    """

    axis: int | None = None
    keepdim: bool = False
    mean: bool = False

    name: ClassVar[str] = "sum"

    def options(self) -> tuple[float, ...]:
        return -1 if self.axis is None else self.axis, self.mean

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        return [Spec(reduced(inputs[0].shape, self.axis, self.keepdim))], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        (x,) = inputs
        total = np.sum(x, axis=self.axis, keepdims=self.keepdim)
        return [total / self._count(x.shape) if self.mean else total], []

    def _count(self, shape: Shape) -> np.float64:
        n = math.prod(shape) if self.axis is None else shape[self.axis]
        return np.float64(n)  # a mean of nothing is NaN

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        shape = shape_of(inputs[0])
        dy = gradients[0] / max(self._count(shape), 1) if self.mean else gradients[0]
        return [np.broadcast_to(dy.reshape(reduced(shape, self.axis, True)), shape)]


def reduced(shape: Shape, axis: int | None, keepdim: bool) -> Shape:
    """A shape without an axis, or without all of them."""
    if axis is None:
        return (1,) * len(shape) if keepdim else ()
    return shape[:axis] + ((1,) if keepdim else ()) + shape[axis + 1 :]


@dataclass(frozen=True)
class Maximum(Operation):
    """The greatest along an axis; or, with `pieces`, at each place of as many equal pieces of it.

    The first of equals has the whole effect: the gradient goes to it, and 0 to others. Its place is
    what forward keeps.
    """

    axis: int
    pieces: int = 0
    keepdim: bool = False

    name: ClassVar[str] = "maximum"

    def options(self) -> tuple[float, ...]:
        return self.axis, self.pieces

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        shape = inputs[0].shape
        n = shape[self.axis]
        if self.pieces and n % self.pieces:
            raise ValueError(f"maxout: the last axis must be a multiple of {self.pieces}, got {n}")
        if n == 0:
            raise ValueError(f"amax: axis {self.axis} of shape {shape} has no elements")
        if self.pieces:
            shape = (*shape[: self.axis], n // self.pieces, *shape[self.axis + 1 :])
        else:
            shape = reduced(shape, self.axis, self.keepdim)
        return [Spec(shape)], [Spec(shape, np.int64)]

    def _pieces(self, shape: Shape) -> Shape:
        """The shape with the pieces as an axis of their own."""
        n = self.pieces or shape[self.axis]
        return (*shape[: self.axis], n, shape[self.axis] // n, *shape[self.axis + 1 :])

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        (x,) = inputs
        (out,), _ = self.results(x)
        winners = x.reshape(self._pieces(x.shape)).argmax(axis=self.axis, keepdims=True)
        y = np.take_along_axis(x.reshape(self._pieces(x.shape)), winners, self.axis)
        return [y.reshape(out.shape)], [winners.reshape(out.shape)]

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        shape = shape_of(inputs[0])
        pieces = self._pieces(shape)
        one = reduced(pieces, self.axis, True)
        dx = np.zeros(pieces, gradients[0].dtype)
        np.put_along_axis(dx, saved[0].reshape(one), gradients[0].reshape(one), self.axis)
        return [dx.reshape(shape)]


@dataclass(frozen=True)
class Matmul(Operation):
    r"""y = a b for matrices a (..., M, K) and b (..., K, N) or (K, N).

    Backward. y[i, j] = sum_k a[i, k] b[k, j], so a[i, k] has an effect on y[i, j] for all j, by
    b[k, j], and b[k, j] for all i, by a[i, k]:  da = dy b^T,  db = a^T dy, the latter summed over
    the leading axes where b has none.
    """

    name: ClassVar[str] = "matmul"
    product: ClassVar[bool] = True
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        a, b = inputs[0].shape, inputs[1].shape
        if len(a) < 2 or len(b) < 2:
            raise ValueError(f"matmul: operands must have 2 axes or more, got shapes {a} and {b}")
        if a[-1] != b[-2] or (len(b) > 2 and a[:-2] != b[:-2]):
            raise ValueError(f"matmul: operands must have shapes (..., M, K) and (..., K, N) or "
                             f"(K, N), got {a} and {b}")  # fmt: skip
        return [Spec((*a[:-1], b[-1]))], []

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        return [inputs[0] @ inputs[1]], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        a, b = inputs
        dy = gradients[0]
        if b.ndim == 2:
            m = math.prod(a.shape[:-1])
            return (
                [dy @ b.T, a.reshape(m, -1).T @ dy.reshape(m, -1)]
                if a.size
                else [np.zeros(a.shape), np.zeros(b.shape)]
            )
        return [dy @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ dy]


# ---- functions ----------------------------------------------------------------------------------


def _map(function: str, x: Tensor, a: float = 0.0, b: float = 0.0) -> Tensor:
    if x.dtype.kind != "f":
        x = real(x, np.float32)  # exp, log, ... of whole numbers, as in PyTorch
    return apply(Map(function, float(a), float(b)), x)


def _operand(function: str, value: Any, beside: Tensor) -> Tensor | float:
    """A number, a tensor, or an array as one of the dtype of the other operand."""
    if isinstance(value, Tensor):
        return value if value.dtype.kind == "f" else real(value, beside.dtype)
    if isinstance(value, (int, float, np.integer, np.floating)):
        return float(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return Tensor(value.astype(beside.dtype))
    raise TypeError(
        f"{function}: want a tensor, an array of real numbers or a number, "
        f"got {type(value).__name__}"
    )


def real(input: Tensor, dtype: Any) -> Tensor:
    """Whole numbers or a mask as real numbers."""
    return Tensor(derive(input.data, lambda x: x.astype(dtype)))


def whole(function: str, computed: Callable[..., Any], *operands: Any) -> Tensor:
    """What NumPy computes of whole numbers and masks."""
    arrays = []
    for x in operands:
        if isinstance(x, Tensor):
            x._look(function)
        elif not isinstance(x, (int, np.integer, np.ndarray)):
            raise TypeError(
                f"{function}: want a tensor, an array of real numbers or a number, "
                f"got {type(x).__name__}"
            )
        arrays.append(x.data if isinstance(x, Tensor) else x)
    return Tensor(computed(*arrays))


def _is_real(x: Any) -> bool:
    return isinstance(x, (float, np.floating)) or getattr(x, "dtype", np.dtype(int)).kind == "f"


_WHOLE: dict[str, Callable[..., Any]] = {"add": np.add, "sub": np.subtract, "mul": np.multiply}


def _combine(function: str, one: str, a: Tensor, b: Any) -> Tensor:
    if a.dtype.kind != "f":
        if function in _WHOLE and not _is_real(b):
            return whole(function, _WHOLE[function], a, b)
        a = real(a, b.dtype if isinstance(b, Tensor) and _is_real(b) else np.float32)
    other = _operand(function, b, a)
    if isinstance(other, float):
        return _map(one, a, -other if function == "sub" else other)
    return apply(Combine(function), *_fitting(a, other))


def _fitting(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors with their axes of one element repeated where `Combine` needs it."""
    if is_end(b.shape, a.shape) or is_end(a.shape, b.shape):
        return a, b
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return a, b  # which Combine refuses
    return expand(a, *shape), expand(b, *shape)


def times(other: Any, alpha: float) -> Any:
    """What `add` and `sub` take of `other`."""
    return other if alpha == 1 else other * alpha


@method
def add(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """The sum with `alpha` times a tensor, an array or a number.

    Shapes must be equal, or one the end of the other; axes of one element are repeated. So too of
    `sub`, `mul`, `div`.

    Raises
    ------
    ValueError
        The shapes are others.
    TypeError
        Tensors of two dtypes, or no numbers.
    """
    return _combine("add", "shift", input, times(other, alpha))


@method
def sub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """The difference from `alpha` times a tensor, an array or a number; as `add`."""
    return _combine("sub", "shift", input, times(other, alpha))


@method
def mul(input: Tensor, other: Any) -> Tensor:
    """The product with a tensor, an array or a number, element by element; as `add`."""
    return _combine("mul", "scale", input, other)


@method
def div(input: Tensor, other: Any) -> Tensor:
    """The quotient by a tensor, an array or a number; as `add`."""
    return _combine("div", "quotient", input, other)


@method
def neg(input: Tensor) -> Tensor:
    """-x."""
    if input.dtype.kind != "f":
        return whole("neg", np.negative, input)
    return _map("scale", input, -1)


@method
def reciprocal(input: Tensor) -> Tensor:
    """1 / x."""
    return _map("reciprocal", input, 1)


@method
def exp(input: Tensor) -> Tensor:
    """e^x."""
    return _map("exp", input)


@method
def log(input: Tensor) -> Tensor:
    """The natural logarithm: -inf at 0, NaN below."""
    return _map("log", input)


@method
def sqrt(input: Tensor) -> Tensor:
    """The square root; NaN below 0."""
    return _map("sqrt", input)


@method
def square(input: Tensor) -> Tensor:
    """x^2."""
    return _map("square", input)


@method
def abs(input: Tensor) -> Tensor:
    """|x|."""
    if input.dtype.kind != "f":
        return whole("abs", np.abs, input)
    return _map("abs", input)


@method
def pow(input: Tensor, exponent: float) -> Tensor:
    """x^exponent for a number; NaN where that is not real.

    Raises
    ------
    TypeError
        The exponent is no number.
    """
    if not isinstance(exponent, (int, float, np.integer, np.floating)):
        raise TypeError(f"pow: exponent must be a number, got {type(exponent).__name__}")
    if input.dtype.kind != "f":
        if isinstance(exponent, (int, np.integer)) and exponent >= 0:
            return whole("pow", np.power, input, exponent)
        input = real(input, np.float32)
    if exponent == 2:
        return square(input)
    return _map("pow", input, float(exponent))


@method
def rpow(input: Tensor, base: Any) -> Tensor:
    """base^x for a number above 0."""
    if not isinstance(base, (int, float, np.integer, np.floating)) or not base > 0:
        raise ValueError(f"pow: base must be a number above 0, got {base}")
    if input.dtype.kind != "f" and isinstance(base, (int, np.integer)):
        return whole("pow", lambda x: np.power(base, x), input)
    return exp(mul(input, math.log(base)))


@method
def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """Each x moved into [min, max], of which one may be missing; `max` where min is above it."""
    if min is None and max is None:
        raise ValueError("clamp: want min, max or both")
    if input.dtype.kind != "f" and not (_is_real(min) or _is_real(max)):
        return whole("clamp", lambda x: np.clip(x, min, max), input)
    return _map("clamp", input, -np.inf if min is None else min, np.inf if max is None else max)


def _axes(function: str, input: Tensor, dim: Any) -> list[int | None]:
    """Axes to reduce, the last first; None for all at once."""
    if dim is None:
        return [None]
    dims = dim if isinstance(dim, (tuple, list)) else [dim]
    axes = sorted({axis_of(function, d, input.ndim) for d in dims}, reverse=True)
    if len(axes) != len(dims) or not axes:
        raise ValueError(f"{function}: dim must be an axis, or different ones, got {dim}")
    return list(axes)


Axes = int | Sequence[int] | None


@method
def sum(input: Tensor, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """The sum over an axis, or several, or all."""
    for axis in _axes("sum", input, dim):
        if input.dtype.kind == "f":
            input = apply(Sum(axis, keepdim), input)
        else:
            input = whole("sum", lambda x, at=axis: x.sum(axis=at, keepdims=keepdim), input)
    return input


@method
def mean(input: Tensor, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """The mean over an axis, or several, or all; NaN of nothing.

    Raises
    ------
    TypeError
        Whole numbers or a mask.
    """
    if input.dtype.kind != "f":
        raise TypeError(f"mean: want real numbers, got {input.dtype}; float() makes them real")
    for axis in _axes("mean", input, dim):
        input = apply(Sum(axis, keepdim, mean=True), input)
    return input


@method
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The product along an axis, or of all."""
    if input.dtype.kind != "f":
        return whole("prod", lambda x: x.prod(axis=dim, keepdims=keepdim), input)
    if dim is None:
        input, dim = reshape(input, math.prod(input.shape)), 0
    axis = axis_of("prod", dim, input.ndim)
    lead, n = (slice(None),) * axis, input.shape[axis]
    if not n:
        empty = np.ones(reduced(input.shape, axis, keepdim), input.dtype)
        return Tensor(fixed(empty))
    while n > 1:  # one half times the other, so that a 0 is no trouble for gradients
        half = n // 2
        parts = [index(input, (*lead, slice(i * half, (i + 1) * half))) for i in (0, 1)]
        rest = [index(input, (*lead, slice(2 * half, n)))] if n % 2 else []
        input, n = cat([mul(*parts), *rest], axis), n - half
    return input if keepdim else squeeze(input, axis)


def _root(squares: Tensor) -> Tensor:
    """The square root, whose gradient at 0 is 0 and not NaN, as PyTorch's of lengths.

    The least normal number stands for 0 and less; its root, taken off again, is lost in others.
    """
    least = float(np.finfo(squares.dtype).tiny)
    return sub(sqrt(clamp(squares, least)), math.sqrt(least))


@method
def var(
    input: Tensor, dim: int | None = None, unbiased: bool = True, keepdim: bool = False
) -> Tensor:
    """The mean square of the difference from the mean; of n numbers over n - 1 where unbiased."""
    n = math.prod(input.shape) if dim is None else input.shape[axis_of("var", dim, input.ndim)]
    squares = sum(square(sub(input, mean(input, dim, keepdim=True))), dim, keepdim)
    return div(squares, np.float64(n - bool(unbiased)))


@method
def std(
    input: Tensor, dim: int | None = None, unbiased: bool = True, keepdim: bool = False
) -> Tensor:
    """The square root of `var`; where that is 0, so is the gradient."""
    return _root(var(input, dim, unbiased, keepdim))


@method
def norm(input: Tensor, p: float = 2, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """The Euclidean length, or with p = 1 the sum of absolute values.

    Where the length is 0, so is the gradient.

    Raises
    ------
    TypeError
        Whole numbers or a mask.
    ValueError
        Another `p`.
    """
    if input.dtype.kind != "f":
        raise TypeError(f"norm: want real numbers, got {input.dtype}; float() makes them real")
    if p not in (1, 2):
        raise ValueError(f"norm: p must be 1 or 2, got {p}")
    if p == 1:
        return sum(abs(input), dim, keepdim)
    return _root(sum(square(input), dim, keepdim))


@method
def amax(input: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """The greatest along an axis; NaN where there is one.

    The gradient goes to the first of equals (PyTorch divides it among them).
    """
    return apply(Maximum(axis_of("amax", dim, input.ndim), keepdim=keepdim), input)


def _of_two(function: str, a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Two tensors under one shape."""
    a, b = (x if isinstance(x, Tensor) else Tensor(x) for x in (a, b))
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(f"{function}: shapes do not fit, got {a.shape} and {b.shape}") from None
    return expand(a, *shape), expand(b, *shape)


def maximum(input: Any, other: Any) -> Tensor:
    """The greater of two, element by element; NaN where one is.

    The gradient goes to the first of equals (PyTorch divides it among them).
    """
    a, b = _of_two("maximum", input, other)
    if a.dtype.kind != "f" and b.dtype.kind != "f":
        return whole("maximum", np.maximum, a, b)
    return amax(stack([a, b]), 0)


def minimum(input: Any, other: Any) -> Tensor:
    """The lesser of two, as `maximum`."""
    a, b = _of_two("minimum", input, other)
    return neg(maximum(neg(a), neg(b)))


@method
def logsumexp(input: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """log(sum(e^x)) along an axis, without overflow."""
    most = float(np.finfo(np.float32).max)
    top = clamp(amax(input.detach(), dim, keepdim=True), -most, most)  # finite: inf - inf is NaN
    sums = add(log(sum(exp(sub(input, top)), dim, keepdim=True)), top)
    return sums if keepdim else squeeze(sums, dim)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """The input over its `norm` along an axis, or over `eps` where that is less.

    Parameters
    ----------
    input : Tensor
    p : 1 or 2
        Of the norm. PyTorch takes other numbers, too.
    dim : int
    eps : float

    Returns
    -------
    Tensor, shape of `input`

    Raises
    ------
    ValueError
        `p` is neither 1 nor 2, or `dim` is no axis.
    """
    return div(input, clamp(norm(input, p, dim, keepdim=True), eps))


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle of vectors along an axis, whose lengths count as `eps` at least.

    Parameters
    ----------
    x1, x2 : Tensor
        Of one shape, or with axes of one element, which are repeated.
    dim : int
        The axis of the vectors.
    eps : float

    Returns
    -------
    Tensor, that shape without `dim`

    Raises
    ------
    ValueError
        The shapes do not fit, or `dim` is no axis.
    """
    a, b = _of_two("cosine_similarity", x1, x2)
    return sum(mul(normalize(a, 2, dim, eps), normalize(b, 2, dim, eps)), dim)


def maxout(input: Tensor, pieces: int) -> Tensor:
    """The greatest of `pieces` numbers; Goodfellow et al., "Maxout networks" (arXiv:1302.4389).

    Parameters
    ----------
    input : Tensor, shape (..., pieces n)
        One piece after the other, of n numbers each.
    pieces : int

    Returns
    -------
    Tensor, shape (..., n)
    """
    if pieces < 1:
        raise ValueError(f"maxout: pieces must be positive, got {pieces}")
    return apply(Maximum(axis_of("maxout", -1, input.ndim), pieces), input)


@method
def matmul(input: Tensor, other: Any) -> Tensor:
    """The product of matrices (..., M, K) and (..., K, N), or (K, N) for all of the first.

    A vector is a row on the left, a column on the right, and that axis is not in the result.
    Leading axes of one element are repeated.

    Raises
    ------
    ValueError
        A single number, or shapes that do not fit.
    """
    tensor = _operand("matmul", other, input)
    if isinstance(tensor, float):
        raise TypeError("matmul: want a tensor or an array, got a number")
    a, b = input, tensor
    if a.dtype.kind != "f" and b.dtype.kind == "f":
        a = real(a, b.dtype)
    row, column = a.ndim == 1, b.ndim == 1
    a = reshape(a, 1, -1) if row else a
    b = reshape(b, -1, 1) if column else b
    if b.ndim > 2 and a.shape[:-2] != b.shape[:-2] and a.shape[-1:] == b.shape[-2:-1]:
        try:
            lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            pass  # which Matmul refuses
        else:
            a = expand(a, *lead, *a.shape[-2:])
            b = expand(b, *lead, *b.shape[-2:])
    y: Tensor = apply(Matmul(), a, b)
    y = squeeze(y, -1) if column else y
    return squeeze(y, -1 if column else -2) if row else y


@method
def rmatmul(input: Tensor, other: Any) -> Tensor:
    """The product of an array and a tensor."""
    tensor = _operand("matmul", other, input)
    if isinstance(tensor, float):
        raise TypeError("matmul: want a tensor or an array, got a number")
    return matmul(tensor, input)


mm = method(matmul, "mm")
bmm = method(matmul, "bmm")
dot = method(matmul, "dot")


@method
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The products of all elements of two vectors, (M, N)."""
    return matmul(reshape(input, -1, 1), reshape(vec2, 1, -1))


@method
def clone(input: Tensor) -> Tensor:
    """A copy, through which the gradient flows."""
    if input.dtype.kind != "f":
        return whole("clone", np.copy, input)
    return _map("scale", input, 1)
