"""Functions that make tensors, under PyTorch's names.

Real numbers are float32 unless a dtype is given. Random ones are drawn from `manual_seed`'s stream,
or from that of a `Generator`; neither has PyTorch's numbers.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from firth.nn.device import check_device
from firth.nn.dtypes import dtype_of
from firth.nn.generator import Generator, numbers_of
from firth.nn.tape import Array, Shape, Tensor, fixed


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of a copy of numbers; those of Python are float32, int64 or bool."""
    check_device(device)
    if isinstance(data, (list, tuple)):
        data = _numbers(data)
    made = Tensor(data)
    array = made.data if dtype is None else made.data.astype(dtype_of("tensor", dtype))
    return Tensor(array.copy(), requires_grad)


def _numbers(data: Any) -> Any:
    """Nested lists, in which tensors may be."""
    if isinstance(data, (list, tuple)):
        return [_numbers(one) for one in data]
    return data.tolist() if isinstance(data, (Tensor, np.ndarray)) else data


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of numbers; arrays are not copied where their dtype stays."""
    check_device(device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray):
        return Tensor(
            data if dtype is None else data.astype(dtype_of("as_tensor", dtype), copy=False)
        )
    return tensor(data, dtype)


def from_numpy(array: Array) -> Tensor:
    """A tensor around an array, not copied where it is contiguous and of a tensor's dtype."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: want an array of NumPy, got {type(array).__name__}")
    return Tensor(array)


def is_tensor(obj: Any) -> bool:
    """Whether an object is a tensor."""
    return isinstance(obj, Tensor)


def _shape(function: str, size: tuple[Any, ...]) -> Shape:
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    shape = tuple(operator.index(n) for n in size)
    if min(shape, default=0) < 0:
        raise ValueError(f"{function}: size must not be negative, got {shape}")
    return shape


def _made(
    function: str, array: Any, dtype: Any, device: Any, requires_grad: bool = False
) -> Tensor:
    """A tensor of an array that nobody else has."""
    check_device(device)
    return Tensor(np.asarray(array, dtype_of(function, dtype or np.float32)), requires_grad)


def _constant(
    function: str, array: Any, dtype: Any, device: Any, requires_grad: bool = False
) -> Tensor:
    """The same of shapes and numbers alone, so that a compiled step may have it."""
    tensor = _made(function, array, dtype, device, requires_grad)
    fixed(tensor.data)
    return tensor


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """All 0."""
    return _constant("zeros", np.zeros(_shape("zeros", size)), dtype, device, requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """All 1."""
    return _constant("ones", np.ones(_shape("ones", size)), dtype, device, requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """To be filled; all 0 meanwhile."""
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


def full(
    size: Any,
    fill_value: float,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """All one number."""
    kind = dtype or Tensor(fill_value).dtype
    array = np.full(_shape("full", (size,)), fill_value)
    return _constant("full", array, kind, device, requires_grad)


def zeros_like(input: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """All 0, in the shape and dtype of another tensor."""
    return zeros(input.shape, dtype=dtype or input.dtype, device=device)


def ones_like(input: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """All 1, in the shape and dtype of another tensor."""
    return ones(input.shape, dtype=dtype or input.dtype, device=device)


def full_like(input: Tensor, fill_value: float, dtype: Any = None, device: Any = None) -> Tensor:
    """All one number, in the shape and dtype of another tensor."""
    return full(input.shape, fill_value, dtype or input.dtype, device)


def randn_like(input: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """Standard normal, in the shape and dtype of another tensor."""
    return randn(input.shape, dtype=dtype or input.dtype, device=device)


def rand_like(input: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """Uniform in [0, 1), in the shape and dtype of another tensor."""
    return rand(input.shape, dtype=dtype or input.dtype, device=device)


def eye(n: int, m: int | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """1 on the diagonal, 0 elsewhere."""
    return _constant("eye", np.eye(n, m), dtype, device)


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """From `start` (or 0) on, below `end`, in steps; whole numbers where all three are."""
    start, end = (0, start) if end is None else (start, end)
    given = [x.item() if isinstance(x, Tensor) else x for x in (start, end, step)]
    array = np.arange(*given)
    kind = dtype or (np.int64 if array.dtype.kind in "iu" else np.float32)
    return _constant("arange", array, kind, device, requires_grad)


def linspace(
    start: float,
    end: float,
    steps: int,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers from `start` to `end`, both among them."""
    return _constant("linspace", np.linspace(start, end, steps), dtype, device, requires_grad)


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform in [0, 1)."""
    array = numbers_of("rand", generator).random(_shape("rand", size), np.float32)
    return _made("rand", array, dtype, device, requires_grad)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal."""
    array = numbers_of("randn", generator).standard_normal(_shape("randn", size))
    return _made("randn", array, dtype, device, requires_grad)


def normal(mean: float, std: float, size: Any, *, generator: Generator | None = None) -> Tensor:
    """Normal, of a mean and a standard deviation."""
    numbers = numbers_of("normal", generator)
    return _made("normal", numbers.normal(mean, std, _shape("normal", (size,))), None, None)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """Whole numbers from `low` (or 0) on, below `high`: ``randint(high, size)``."""
    if size is None:
        low, high, size = 0, low, high
    array = numbers_of("randint", generator).integers(low, high, _shape("randint", (size,)))
    return _made("randint", array, dtype or np.int64, device)


def randperm(n: int, *, generator: Generator | None = None, device: Any = None) -> Tensor:
    """The numbers from 0 to n - 1 in some order."""
    return _made("randperm", numbers_of("randperm", generator).permutation(n), np.int64, device)


def FloatTensor(data: ArrayLike) -> Tensor:
    """A tensor of float32."""
    return tensor(data, np.float32)


def LongTensor(data: ArrayLike) -> Tensor:
    """A tensor of int64."""
    return tensor(data, np.int64)
