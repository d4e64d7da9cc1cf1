"""Several inputs times rows of one weight: every backend against the page's NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import network_checks as checks
from firth import _native
from firth.kernels import _dispatch
from firth.nn import tape
from firth.nn.operations.projections import Projections, projections
from firth.nn.tape import Tensor, apply_all

ROWS = [(4, 4), (3, 10, 1), (33, 17), (1, 5), (64, 64, 64)]


def inputs(rows: tuple[int, ...], dtype: type, bias: bool = True) -> list[np.ndarray | None]:
    rng = np.random.default_rng(len(rows))
    k = 1 + max(rows)
    given = [rng.normal(size=(2, 3 + i, k)).astype(dtype) for i in range(len(rows))]
    weight = rng.normal(size=(sum(rows), k)).astype(dtype)
    return [*given, weight, rng.normal(size=sum(rows)).astype(dtype) if bias else None]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", ROWS)
def test_projections(backend, rows, bias, dtype):
    given = inputs(rows, dtype, bias)
    tensors = [None if x is None else Tensor(x, requires_grad=True) for x in given]
    found = apply_all(Projections(rows), *tensors)
    outputs = [x.data for x in found]
    # what `backward` of something made of all outputs comes to
    tape._run_backward(found[0]._record, [*checks.output_gradients(outputs)], {})
    gradients = [None if t is None else t.grad for t in tensors]
    wanted, expected = checks.reference(Projections(rows), given)
    eps = np.finfo(dtype).eps
    # sums of k products of numbers of order 1, for dx and dW of as many as there are rows
    atol = 32 * eps * (1 + max(rows) + 6)
    for got, want in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=8 * eps, atol=atol)
    for got, want in zip(gradients, expected, strict=True):
        if want is None:
            assert got is None
        else:
            np.testing.assert_allclose(got, want, rtol=8 * eps, atol=atol)


@pytest.mark.parametrize("rows", ROWS)
def test_gradients_of_projections(rows):
    checks.check_gradients(Projections(rows), inputs(rows, np.float64))
    checks.check_gradients(Projections(rows), inputs(rows, np.float64, bias=False))


def test_a_missing_gradient_is_zero(backend):
    given = inputs((3, 4), np.float64)
    tensors = [Tensor(x, requires_grad=True) for x in given if x is not None]
    out = projections(tensors[:2], (3, 4), *tensors[2:])
    out[1].backward(np.ones(out[1].shape))
    assert not tensors[2].grad[:3].any()
    assert not tensors[3].grad[:3].any()
    assert tensors[0].grad is None or not tensors[0].grad.any()
    np.testing.assert_allclose(tensors[3].grad[3:], 8)


def test_bad_shapes_are_refused():
    x, w = Tensor(np.ones((2, 3))), Tensor(np.ones((5, 3)))
    with pytest.raises(ValueError, match="projections: inputs must be 2 or 3"):
        projections([x], [5], w)
    with pytest.raises(ValueError, match=r"projections: weight must have shape \(6, K\)"):
        projections([x, x], [3, 3], w)
    with pytest.raises(ValueError, match="projections: the last axis of input 1 must be 3"):
        projections([x, Tensor(np.ones((2, 4)))], [3, 2], w)
    with pytest.raises(ValueError, match="projections: bias must have shape"):
        projections([x, x], [3, 2], w, Tensor(np.ones(4)))


@pytest.mark.parametrize("forward", [True, False])
def test_native_code_refuses_what_does_not_fit(forward):
    x, w, b = np.ones((2, 3)), np.ones((5, 3)), np.ones(5)
    y = [np.ones((2, 3)), np.ones((2, 2))]
    level = _dispatch.active_level()

    def call(given, out, options=(), saved=()):  # type: ignore[no-untyped-def]
        if forward:
            _native.nn.forward(level, "projections", options, given, out, saved, f64=True)
        else:
            into = [x.copy() if hasattr(x, "copy") else None for x in given]
            _native.nn.backward(
                level, "projections", options, given, out, saved, out, into, add=0, f64=True
            )

    call([x, x, w, b], y)
    call([x, x, w, None], y)
    for case in (
        ([x, w, b], y), ([x, x, w, b], y[:1]), ([x, x, w, b], [y[0], y[0]]),
        ([x, x, w, b[:4]], y), ([x, x, b, b], y), ([x, x[:, :2].copy(), w, b], y),
        ([x, x[:1], w, b], y), ([x, x, w, b], y, (1.0,)), ([x, x, w, b], y, (), [x]),
        ([x, x.shape, w, b], y), ([x, x, w[:4], b[:4]], y), ([w.shape], [y[0]]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"do not fit|do not have the shapes"):
            call(*case)
    if forward:
        with pytest.raises(ValueError, match="do not fit"):
            call([x, x, w.shape, b], y)
