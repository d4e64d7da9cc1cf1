"""Backward against HIPS autograd, which differentiates the NumPy of forward on the same page.

What autograd cannot follow (writing into arrays, loops that do) is compared with differences alone:
the operations' own tests do that for all. Here that list is stated, so that it cannot grow unseen.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

from firth.nn import functional as F
from firth.nn import operations, tape
from firth.nn.tape import Operation, Tensor
from network_cases import CASES

pytestmark = pytest.mark.peer
autograd = pytest.importorskip("autograd")

PAGES = [
    importlib.import_module(f"firth.nn.operations.{page.name}")
    for page in pkgutil.iter_modules(operations.__path__)
]
BEYOND = {"activation", "gru", "info_nce", "linear_cross_entropy", "lstm", "rnn", "rotary"}
"""Their forward writes into arrays, or calls erf."""

ACTIVATIONS = {
    f"activation: {name}": (function, [CASES["activation"][1][0]])
    for name, function in {
        "elu": F.elu, "gelu_tanh": lambda x: F.gelu(x, "tanh"), "leaky_relu": F.leaky_relu,
        "relu": F.relu, "sigmoid": F.sigmoid, "silu": F.silu, "tanh": F.tanh,
    }.items()
}  # fmt: skip


class Numpy:
    """autograd's NumPy, with what it lacks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(autograd.numpy, name)

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        return x  # all is float64

    def pad(self, x: Any, widths: Any, mode: str = "constant", **given: Any) -> Any:
        return autograd.numpy.pad(x, widths, mode, **given)

    def take_along_axis(self, x: Any, places: Any, axis: int) -> Any:
        grid = list(np.indices(places.shape))
        grid[axis] = places
        return x[tuple(grid)]


def called(name: str, monkeypatch: Any) -> tuple[Operation, list[Any], int]:
    """The operation of a case, with its inputs in float64 and its seed."""
    found: list[tuple[Operation, tuple[Any, ...]]] = []

    def listing(apply: Any) -> Any:
        def listed(operation: Operation, *inputs: Any) -> Any:
            found.append((operation, inputs))
            return apply(operation, *inputs)

        return listed

    for page in PAGES:
        for name_of in {"apply", "apply_all"} & set(vars(page)):
            monkeypatch.setattr(page, name_of, listing(getattr(tape, name_of)))
    function, arrays = {**CASES, **ACTIVATIONS}[name]
    function(*[Tensor(x.astype(np.float64)) for x in arrays])
    operation, inputs = next(one for one in found if one[0].name == name.split(":")[0])
    return operation, [x.data if isinstance(x, Tensor) else x for x in inputs], 5


@pytest.mark.parametrize("name", sorted({**CASES, **ACTIVATIONS}))
def test_backward_is_what_autograd_finds(name, monkeypatch):
    operation, inputs, seed = called(name, monkeypatch)
    outputs, saved = operation.forward(*inputs, seed=seed)
    rng = np.random.default_rng(1)
    gradients = [rng.normal(size=np.shape(y)) for y in outputs]
    wanted = operation.backward(inputs, outputs, saved, gradients, seed)
    real = [i for i, gradient in enumerate(wanted) if gradient is not None]
    for page in PAGES:
        if hasattr(page, "np"):
            monkeypatch.setattr(page, "np", Numpy())

    def total(*given: Any) -> Any:
        whole = list(inputs)
        for i, x in zip(real, given, strict=True):
            whole[i] = x
        made, _ = operation.forward(*whole, seed=seed)
        return sum(autograd.numpy.sum(y * g) for y, g in zip(made, gradients, strict=True))

    def found() -> Any:
        return autograd.grad(total, tuple(range(len(real))))(*[inputs[i] for i in real])

    if name in BEYOND:
        with pytest.raises((TypeError, ValueError, AttributeError, UserWarning)):
            found()
        return
    for i, gradient in zip(real, found(), strict=True):
        np.testing.assert_allclose(gradient, wanted[i], rtol=1e-9, atol=1e-9)
