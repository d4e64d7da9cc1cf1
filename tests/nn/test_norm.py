"""Norms over the last axes: every backend against the page's NumPy, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import firth
import network_checks as checks
from firth import _native
from firth.kernels._dispatch import active_level
from firth.nn.modules.norm import LayerNorm, RMSNorm
from firth.nn.operations.norm import LayerNorm as LayerNormOperation
from firth.nn.operations.norm import RMSNorm as RMSNormOperation
from firth.nn.operations.norm import layer_norm, rms_norm
from firth.nn.tape import Tensor

# (rows, normalised axes): around vectors, and rows around the blocks of 16 and more
SHAPES = [
    ((1,), (1,)), ((3,), (2,)), ((17,), (33,)), ((2, 5), (7, 3)), ((2000,), (5,)), ((70,), (130,)),
    ((0,), (4,)), ((), (65,)), ((1030,), (16,)),
]  # fmt: skip


def inputs(rows: tuple[int, ...], shape: tuple[int, ...], dtype: type, count: int) -> list:
    rng = np.random.default_rng(sum(rows) + sum(shape))
    x = (3 * rng.normal(size=(*rows, *shape)) + 1).astype(dtype)
    more = [rng.normal(size=shape).astype(dtype) for _ in range(2)]
    return [x, *(more[i] if i < count else None for i in range(2))]


def compare(operation, given: list, dtype: type, rows: tuple[int, ...], n: int) -> None:
    """Against the page's NumPy in float64.

    Averages of n numbers, each of which errs by n eps of their mean size at most; sums over rows of
    products of order 1 (a row's own results are of order sqrt(n) at most).
    """
    outputs, gradients = checks.run(operation, given)
    wanted, wanted_gradients = checks.reference(operation, given)
    eps = np.finfo(dtype).eps
    each = 4 * (8 + n) * eps * max(1, float(np.abs(wanted[0]).max(initial=0)))
    np.testing.assert_allclose(outputs[0], wanted[0], rtol=8 * eps, atol=each)
    for got, want in zip(gradients, wanted_gradients, strict=True):
        if want is None:
            assert got is None
            continue
        scale = max(1, float(np.abs(want).max(initial=0)))
        tolerance = each * (scale if got.shape == given[0].shape else max(1, int(np.prod(rows))))
        np.testing.assert_allclose(got, want, rtol=8 * eps, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "shape"), SHAPES)
def test_norms(backend, rows, shape, dtype):
    n = int(np.prod(shape))
    for count in range(3):
        x, weight, bias = inputs(rows, shape, dtype, count)
        # eps of 0.1: a row of few numbers may vary little, and its factor be large
        compare(LayerNormOperation(0.1, len(shape)), [x, weight, bias], dtype, rows, n)
        compare(RMSNormOperation(0.1, len(shape)), [x, weight], dtype, rows, n)
    x, _, bias = inputs(rows, shape, dtype, 2)
    compare(LayerNormOperation(0.1, len(shape)), [x, None, bias], dtype, rows, n)


@pytest.mark.parametrize("shape", [(1,), (5,), (3, 4)])
def test_gradients(shape):
    for count in range(3):
        x, weight, bias = inputs((2, 3), shape, np.float64, count)
        checks.check_gradients(LayerNormOperation(1e-5, len(shape)), [x, weight, bias])
        checks.check_gradients(RMSNormOperation(1e-6, len(shape)), [x, weight])


def test_gradients_are_added_and_may_be_some_only(backend):
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(40, 9)), rng.normal(size=9), rng.normal(size=9)
    dy = rng.normal(size=(40, 9))
    whole = [Tensor(a, requires_grad=True) for a in (x, w, b)]
    layer_norm(whole[0], 9, whole[1], whole[2]).backward(dy)
    once = [t.grad.copy() for t in whole]
    layer_norm(whole[0], 9, whole[1], whole[2]).backward(dy)
    for tensor, first in zip(whole, once, strict=True):
        np.testing.assert_allclose(tensor.grad, 2 * first, rtol=1e-13, atol=1e-13)
    for i in range(3):
        some = [Tensor(a, requires_grad=i == j) for j, a in enumerate((x, w, b))]
        layer_norm(some[0], 9, some[1], some[2]).backward(dy)
        assert some[i].grad.tobytes() == once[i].tobytes()
        assert all(t.grad is None for j, t in enumerate(some) if j != i)


def test_large_means_and_nan(backend):
    x = np.array([[1e4, 1e4 + 1, 1e4 - 1, 1e4]], np.float32)
    y = layer_norm(Tensor(x), 4)
    np.testing.assert_allclose(y.data, np.sqrt([[0, 2, 2, 0]]) * [[1, 1, -1, 1]], atol=1e-4)
    y = layer_norm(Tensor(np.array([[1, np.nan], [1, 2]])), 2).data
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()
    constant = Tensor(np.full((1, 3), 7.0), requires_grad=True)
    y = layer_norm(constant, 3)
    assert not y.data.any()
    y.backward(np.ones((1, 3)))
    assert not constant.grad.any()


def test_threads_do_not_change_bits():
    given = inputs((2048,), (130,), np.float32, 2)
    found = []
    before = firth.info().threads
    try:
        for threads in (1, 2):
            firth.set_num_threads(threads)
            outputs, gradients = checks.run(LayerNormOperation(), given)
            more, others = checks.run(RMSNormOperation(1e-6), given[:2])
            found.append([*outputs, *gradients, *more, *others])
    finally:
        firth.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert one.tobytes() == two.tobytes()


def test_modules():
    x = Tensor(np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32))
    norm = LayerNorm([3, 4], eps=0.1)
    assert list(norm.state_dict()) == ["weight", "bias"]
    assert norm.weight.shape == (3, 4)
    np.testing.assert_array_equal(norm(x).data, layer_norm(x, (3, 4), eps=0.1).data)
    assert list(LayerNorm(4, bias=False).state_dict()) == ["weight"]
    assert not LayerNorm(4, elementwise_affine=False).state_dict()
    norm = RMSNorm(4)
    np.testing.assert_array_equal(norm(x).data, rms_norm(x, 4).data)
    assert repr(LayerNorm(4)) == "LayerNorm((4,), eps=1e-05)"


def test_bad_input_is_refused():
    x = Tensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"layer_norm: input must end with the shape \(4,\), got"):
        layer_norm(x, 4)
    with pytest.raises(ValueError, match=r"rms_norm: input must end with the shape \(1, 2, 3\)"):
        rms_norm(x, (1, 2, 3))
    with pytest.raises(ValueError, match=r"layer_norm: weight must have shape \(3,\), got \(2,\)"):
        layer_norm(x, 3, Tensor(np.ones(2)))
    with pytest.raises(ValueError, match=r"layer_norm: bias must have shape \(3,\), got \(2,\)"):
        layer_norm(x, 3, Tensor(np.ones(3)), Tensor(np.ones(2)))
    with pytest.raises(ValueError, match=r"layer_norm: eps must be at least 0, got -1"):
        layer_norm(x, 3, eps=-1)
    with pytest.raises(ValueError, match=r"rms_norm: eps must be at least 0, got nan"):
        rms_norm(x, 3, eps=np.nan)
    with pytest.raises(ValueError, match=r"layer_norm: normalized_shape must have an axis"):
        layer_norm(x, ())
    with pytest.raises(ValueError, match=r"layer_norm: input must have axes to normalise, got sha"):
        layer_norm(Tensor(np.ones((2, 0))), 0)


def test_native_code_refuses_what_does_not_fit():
    x, y, w, row = np.ones((2, 3)), np.zeros((2, 3)), np.ones(3), np.zeros(2)

    def forward(options, inputs, outputs, saved, name="layer_norm"):
        _native.nn.forward(active_level(), name, options, inputs, outputs, saved, f64=True)

    forward((1e-5, 1), [x, w, None], [y], [row, row])
    forward((1e-5, 1), [x, w], [y], [row], "rms_norm")
    for options, inputs, outputs, saved in [
        ((1e-5,), [x, w, None], [y], [row, row]),
        ((-1, 1), [x, w, None], [y], [row, row]),
        ((1e-5, 0), [x, w, None], [y], [row, row]),
        ((1e-5, 1.5), [x, w, None], [y], [row, row]),
        ((1e-5, 3), [x, w, None], [y], [row, row]),
        ((1e-5, 2), [x, w, None], [y], [row, row]),
        ((1e-5, 1), [x, np.ones(2), None], [y], [row, row]),
        ((1e-5, 1), [x, w, np.ones((3, 1))], [y], [row, row]),
        ((1e-5, 1), [x, w, (3,)], [y], [row, row]),
        ((1e-5, 1), [x, w.astype(np.int64), None], [y], [row, row]),
        ((1e-5, 1), [x, w], [y], [row, row]),
        ((1e-5, 1), [(2, 3), w, None], [y], [row, row]),
        ((1e-5, 1), [x, w, None], [y[:1]], [row, row]),
        ((1e-5, 1), [x, w, None], [y], [row]),
        ((1e-5, 1), [x, w, None], [y], [row, np.zeros(3)]),
        ((1e-5, 1), [np.ones((2, 0)), None, None], [np.ones((2, 0))], [row, row]),
    ]:
        with pytest.raises(ValueError, match="do not fit layer_norm"):
            forward(options, inputs, outputs, saved)
    with pytest.raises(ValueError, match="do not fit layer_norm"):
        _native.nn.backward(
            active_level(), "layer_norm", (1e-5, 1), [x, (3,), None], [(2, 3)], [row, row], [x],
            [y, None, None], add=0, f64=True,
        )  # fmt: skip
