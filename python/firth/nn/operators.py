"""Operators and methods of tensors, under PyTorch's names; operations' pages register them.

What PyTorch's tensors have and these do not is refused by its name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from firth.nn.device import device

Function = TypeVar("Function", bound=Callable[..., Any])

_methods: dict[str, Callable[..., Any]] = {}

_REFUSED = {
    "as_strided": "there are no views",
    "bfloat16": "tensors are float32 or float64; see firth.nn.bfloat16_products",
    "cuda": "there is only the CPU",
    "grad_fn": "the tape is not shown; repr names the operation that made a tensor",
    "half": "tensors are float32 or float64",
    "int": "whole numbers are int64: long()",
    "mps": "there is only the CPU",
    "register_hook": "gradients have no hooks; retain_grad() keeps one",
    "sparse_resize_": "there are no sparse tensors",
    "to_sparse": "there are no sparse tensors",
    "xpu": "there is only the CPU",
}


def method(function: Function, name: str | None = None) -> Function:
    """Make a function of a tensor a method too, under its name or another."""
    _methods[name or function.__name__] = function
    return function


def call(name: str, tensor: Any, *arguments: Any) -> Any:
    """Call a method that an operation's page has registered."""
    if name not in _methods:
        raise TypeError(f"Tensor: there is no operation {name}")
    return _methods[name](tensor, *arguments)


class Operators:
    """What a tensor has beside its array, its gradient and its place on the tape."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        function = _methods.get(name)
        if function is None:
            why = _REFUSED.get(name)
            raise AttributeError(
                f"Tensor has no {name!r}: {why}"
                if why
                else f"Tensor has no {name!r}; methods that it has: {sorted(_methods)}"
            )
        return functools.partial(function, self)

    @property
    def T(self) -> Any:
        """A matrix with its axes exchanged; ValueError for more axes."""
        return call("t", self)

    @property
    def device(self) -> device:
        """The CPU."""
        return device()

    def __add__(self, other: Any) -> Any:
        return call("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return call("sub", self, other)

    def __rsub__(self, other: Any) -> Any:
        return call("add", call("neg", self), other)

    def __mul__(self, other: Any) -> Any:
        return call("mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return call("div", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return call("mul", call("reciprocal", self), other)

    def __floordiv__(self, other: Any) -> Any:
        return call("floor_divide", self, other)

    def __mod__(self, other: Any) -> Any:
        return call("remainder", self, other)

    def __pow__(self, other: Any) -> Any:
        return call("pow", self, other)

    def __rpow__(self, other: Any) -> Any:
        return call("rpow", self, other)

    def __neg__(self) -> Any:
        return call("neg", self)

    def __abs__(self) -> Any:
        return call("abs", self)

    def __matmul__(self, other: Any) -> Any:
        return call("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return call("rmatmul", self, other)

    def __getitem__(self, where: Any) -> Any:
        return call("index", self, where)

    def __setitem__(self, where: Any, value: Any) -> None:
        call("set_item", self, where, value)

    # In place where nothing of a gradient depends on it, else a new tensor takes the name.

    def __iadd__(self, other: Any) -> Any:
        return call("in_place", self, "add", other)

    def __isub__(self, other: Any) -> Any:
        return call("in_place", self, "sub", other)

    def __imul__(self, other: Any) -> Any:
        return call("in_place", self, "mul", other)

    def __itruediv__(self, other: Any) -> Any:
        return call("in_place", self, "div", other)

    # Comparisons are of elements. So where tensors are told apart, `is` does it, and sets and
    # dicts of tensors go by identity.

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Any:
        return call("eq", self, other)

    def __ne__(self, other: object) -> Any:
        return call("ne", self, other)

    def __lt__(self, other: Any) -> Any:
        return call("lt", self, other)

    def __le__(self, other: Any) -> Any:
        return call("le", self, other)

    def __gt__(self, other: Any) -> Any:
        return call("gt", self, other)

    def __ge__(self, other: Any) -> Any:
        return call("ge", self, other)

    def __and__(self, other: Any) -> Any:
        return call("logical_and", self, other)

    def __or__(self, other: Any) -> Any:
        return call("logical_or", self, other)

    def __invert__(self) -> Any:
        return call("logical_not", self)
