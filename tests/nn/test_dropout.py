"""Dropout: one mask on every backend, its share and independence, the gradient with the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

import network_checks as checks
from conftest import LENGTHS
from firth import _native
from firth.kernels import _dispatch
from firth.nn.modules.dropout import Dropout as Module
from firth.nn.operations.dropout import BLOCK, Dropout, dropout, stays
from firth.nn.tape import Tensor, manual_seed

TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@TYPES
@pytest.mark.parametrize("n", [*LENGTHS, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77])
def test_dropout(backend, n, dtype):
    rng = np.random.default_rng(n)
    x = Tensor(rng.normal(size=n).astype(dtype), requires_grad=True)
    manual_seed(n)
    y = dropout(x, 0.3)
    manual_seed(n)
    from firth.nn.tape import generator

    mask = stays(int(generator().integers(1 << 63)), n, 0.3)
    wanted = np.where(mask, x.data.astype(float) / 0.7, 0)
    # the scale and the product are rounded
    np.testing.assert_allclose(y.data, wanted, rtol=2 * float(np.finfo(dtype).eps))
    np.testing.assert_array_equal(y.data != 0, mask)
    dy = rng.normal(size=n).astype(dtype)
    y.backward(dy)
    np.testing.assert_allclose(
        x.grad, np.where(mask, dy.astype(float) / 0.7, 0), rtol=2 * float(np.finfo(dtype).eps)
    )
    y = dropout(x, 0.3)
    before = x.grad.copy()
    y.backward(dy)  # added
    np.testing.assert_allclose(
        x.grad - before,
        np.where(y.data != 0, dy / 0.7, 0),
        atol=1e-5 if dtype == np.float32 else 1e-14,
    )


def test_gradients():
    checks.check_gradients(Dropout(0.4), [np.random.default_rng(0).normal(size=(5, 7))], seed=11)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_the_share_that_goes(p):
    n = 400_000
    for seed in (0, 1, 2**63 - 1):
        gone = n - int(stays(seed, n, p).sum())
        assert abs(gone - n * p) <= 5 * math.sqrt(n * p * (1 - p))


def test_masks_are_independent():
    """Correlations between neighbours, at powers of 2, and between seeds are those of chance."""
    n = 1 << 20
    one = stays(123, n, 0.5) * 2.0 - 1
    bound = 5 / math.sqrt(n)
    for lag in (1, 2, 3, 7, 16, 256, BLOCK, 2 * BLOCK, 1 << 16):
        assert abs(float((one[lag:] * one[:-lag]).mean())) <= 1.1 * bound, lag
    for seed in (124, 125, 122, 123 + 0x9E3779B97F4A7C15 % 2**63, 1 << 62):
        other = stays(seed, n, 0.5) * 2.0 - 1
        assert abs(float((one * other).mean())) <= bound
    # runs: blocks of 64 have the variance of a binomial distribution
    counts = (one > 0).reshape(-1, 64).sum(axis=1)
    assert abs(counts.var() / 16 - 1) < 0.05


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_none_and_all(backend, p):
    x = np.random.default_rng(0).normal(size=1000)
    x[0] = np.nan
    outputs, gradients = checks.run(Dropout(p), [x])
    if p:
        assert (outputs[0] == 0).all()
        assert (gradients[0] == 0).all()
    else:
        np.testing.assert_array_equal(outputs[0], x)


def test_any_number_of_threads_and_the_same_seed_have_the_same_bits():
    x = Tensor(np.random.default_rng(0).normal(size=(700, 999)))
    before = _native.num_threads()
    found = []
    try:
        for threads in (1, 2):
            _native.set_num_threads(threads)
            manual_seed(5)
            found.append([dropout(x, 0.2).data for _ in range(2)])
    finally:
        _native.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0][0] != found[0][1]).any()  # the next call draws others


def test_module():
    x = Tensor(np.ones((50, 50)))
    module = Module(0.25)
    assert repr(module) == "Dropout(p=0.25)"
    assert set(np.unique(module(x).data)) == {0, 1 / 0.75}
    assert module.eval()(x) is x
    assert Module(0.0)(x) is x


def test_bad_arguments_are_refused():
    x = Tensor(np.ones(3))
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"dropout: p must be in \[0, 1\]"):
            x.dropout(p)
        with pytest.raises(ValueError, match=r"Dropout: p must be in \[0, 1\]"):
            Module(p)
    x = Tensor(np.ones(50))
    Module(inplace=True)(x)
    assert (x.data == 1).all()


X = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("options", "inputs", "outputs"),
    [
        ((0.5,), [X], [np.ones((3, 2), np.float32)]),
        ((1.5,), [X], [X]),
        ((math.nan,), [X], [X]),
        ((), [X], [X]),
        ((0.5,), [None], [X]),
        ((0.5,), [(2, 3)], [X]),
        ((0.5,), [X.astype(np.uint8)], [X]),
        ((0.5,), [X], [X.astype(np.int64)]),
    ],
)
def test_the_native_code_refuses_what_does_not_fit(options, inputs, outputs):
    outputs = [x.copy() for x in outputs]
    with pytest.raises(ValueError, match="do not fit"):
        _native.nn.forward(
            _dispatch.levels["base"], "dropout", options, inputs, outputs, [], f64=False
        )
