"""The linear operation: every backend against the page's NumPy, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest

import network_checks as checks
from firth import nn
from firth.nn.operations.linear import Linear, linear
from firth.nn.tape import Tensor

SIZES = [(1, 1, 1), (3, 5, 2), (17, 33, 9), (64, 130, 65), (0, 4, 3)]


def inputs(rows: int, k: int, n: int, dtype: type, bias: bool = True) -> list[np.ndarray | None]:
    rng = np.random.default_rng(rows + k)
    return [
        rng.normal(size=(rows, k)).astype(dtype),
        rng.normal(size=(n, k)).astype(dtype),
        rng.normal(size=n).astype(dtype) if bias else None,
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["none", "relu", "tanh"])
@pytest.mark.parametrize("size", SIZES)
def test_linear(backend, size, activation, dtype):
    given = inputs(*size, dtype)
    operation = Linear(activation)
    outputs, gradients = checks.run(operation, given)
    wanted, wanted_gradients = checks.reference(operation, given)
    eps = np.finfo(dtype).eps
    # sums of k (rows) products of numbers of order 1: each rounding is eps of a partial sum
    np.testing.assert_allclose(outputs[0], wanted[0], rtol=8 * eps, atol=8 * size[1] * eps)
    for got, want in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(got, want, rtol=8 * eps, atol=8 * sum(size) * 4 * eps)


@pytest.mark.parametrize("size", SIZES[:4])
def test_gradients_of_linear(size):
    checks.check_gradients(Linear("tanh"), inputs(*size, np.float64))
    checks.check_gradients(Linear(), inputs(*size, np.float64, bias=False))


def test_bad_shapes_are_refused():
    x = Tensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match="linear: the last axis of input must be 4, got shape"):
        linear(x, Tensor(np.ones((2, 4))))
    with pytest.raises(ValueError, match="linear: weight must have 2 axes"):
        linear(x, Tensor(np.ones(3)))
    with pytest.raises(ValueError, match="linear: bias must have shape"):
        linear(x, Tensor(np.ones((2, 3))), Tensor(np.ones(3)))
    with pytest.raises(TypeError, match="linear: tensors must have one dtype"):
        linear(x, Tensor(np.ones((2, 3), np.float32)))


def test_the_gradient_that_backward_is_given_stays(backend):
    """It is not copied: nothing may be added to it, now or when gradients add up later."""
    leaf = Tensor(np.arange(6, dtype=np.float32).reshape(2, 3), requires_grad=True)
    given = np.ones((2, 3), np.float32)
    for tensor in (leaf, leaf, leaf + leaf.detach(), leaf * 2.0):
        tensor.backward(given)
    np.testing.assert_array_equal(given, np.ones((2, 3)))
    np.testing.assert_array_equal(leaf.grad, np.full((2, 3), 5.0))
    assert not np.shares_memory(leaf.grad, given)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.float64])
def test_other_numbers_are_refused(dtype):
    """Native code would read their bytes as float32."""
    layer, x = nn.Linear(3, 2), np.ones((4, 3), dtype)
    for given in (x, nn.Tensor(x)):
        for module in (layer, lambda x: nn.MultiheadAttention(3, 1)(x, x, x)):
            with pytest.raises(TypeError, match=r"hold real numbers|have one dtype"):
                module(given)
