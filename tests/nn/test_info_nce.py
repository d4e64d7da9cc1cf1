"""InfoNCE: every backend against the page's NumPy, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest

import firth
import network_checks as checks
from firth import _native
from firth.kernels._dispatch import active_level
from firth.nn.operations.info_nce import InfoNCE, info_nce
from firth.nn.tape import Tensor

SIZES = [(1, 1, 1), (2, 2, 3), (9, 14, 17), (65, 65, 33), (0, 0, 4), (0, 3, 4)]


def inputs(m: int, n: int, k: int, dtype: type) -> list[np.ndarray]:
    rng = np.random.default_rng(m + k)
    return [rng.normal(size=(rows, k)).astype(dtype) for rows in (m, n)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("size", "symmetric"),
    [*((s, False) for s in SIZES), *((s, True) for s in SIZES if s[0] == s[1])],
)
def test_info_nce(backend, size, symmetric, dtype):
    operation, given = InfoNCE(0.1, symmetric), inputs(*size, dtype)
    outputs, gradients = checks.run(operation, given)
    wanted, wanted_gradients = checks.reference(operation, given)
    # cosines: k products; 10 times as large in the softmax, over n keys
    tolerance = 10 * (8 + size[2] + size[1]) * np.finfo(dtype).eps
    np.testing.assert_allclose(outputs[0], wanted[0], rtol=tolerance, atol=tolerance)
    for got, want in zip(gradients, wanted_gradients, strict=True):
        scale = max(1, float(np.abs(want).max(initial=0)))
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("symmetric", [False, True])
def test_gradients(symmetric):
    checks.check_gradients(InfoNCE(0.5, symmetric), inputs(5, 5, 7, np.float64))
    checks.check_gradients(InfoNCE(0.05), inputs(4, 9, 7, np.float64))


def test_by_hand_and_zeros(backend):
    eye = np.eye(3)
    loss = info_nce(Tensor(5 * eye), Tensor(0.1 * eye), 1.0, symmetric=True)
    assert loss.item() == pytest.approx(np.log(np.e + 2) - 1, rel=1e-14)
    zero = Tensor(np.array([[0.0, 0], [1, 0]]), requires_grad=True)
    loss = info_nce(zero, Tensor(np.eye(2)), 1.0)
    loss.backward()
    assert not zero.grad[0].any()
    assert np.isfinite(zero.grad).all()
    assert loss.item() == pytest.approx(
        (np.log(2) + np.log(np.e + 1)) / 2
    )  # cosines (0, 0), (1, 0)
    zero.grad = None
    doubled = info_nce(zero, zero, 1.0)  # one tensor as both
    doubled.backward()
    assert np.isfinite(zero.grad).all()


def test_threads_do_not_change_bits():
    given, found = inputs(200, 200, 130, np.float32), []
    before = firth.info().threads
    try:
        for threads in (1, 2):
            firth.set_num_threads(threads)
            outputs, gradients = checks.run(InfoNCE(0.1, True), given)
            found.append([*outputs, *gradients])
    finally:
        firth.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert one.tobytes() == two.tobytes()


def test_bad_input_is_refused():
    x = Tensor(np.ones((3, 2)))
    with pytest.raises(
        ValueError, match=r"info_nce: keys must be as long as queries, 2, got shape"
    ):
        info_nce(x, Tensor(np.ones((3, 4))))
    with pytest.raises(ValueError, match=r"info_nce: keys must be at least 3, as queries are, got"):
        info_nce(x, Tensor(np.ones((2, 2))))
    with pytest.raises(ValueError, match=r"info_nce: keys must be 3, as queries are, got 4"):
        info_nce(x, Tensor(np.ones((4, 2))), symmetric=True)
    with pytest.raises(ValueError, match=r"info_nce: queries must have 2 axes, got shape \(2,\)"):
        info_nce(Tensor(np.ones(2)), x)
    with pytest.raises(ValueError, match=r"info_nce: temperature must be above 0, got 0"):
        info_nce(x, x, 0)


def test_native_code_refuses_what_does_not_fit():
    x = np.ones((2, 3))

    def kept():
        return [np.zeros(s) for s in ((2, 3), (2, 3), 2, 2, (2, 2))]

    def forward(options, inputs, saved):
        _native.nn.forward(
            active_level(), "info_nce", options, inputs, [np.zeros(())], saved, f64=True
        )

    forward((0.1, 0), [x, x], kept())
    for options, inputs, saved in [
        ((0.1,), [x, x], kept()),
        ((0, 0), [x, x], kept()),
        ((0.1, 2), [x, x], kept()),
        ((0.1, 0), [x, np.ones((2, 4))], kept()),
        ((0.1, 0), [x, np.ones((1, 3))], kept()),
        ((0.1, 0), [x, (2, 3)], kept()),
        ((0.1, 0), [x, x], kept()[:4]),
        ((0.1, 0), [x, x], [*kept()[:4], np.zeros((2, 3))]),
        ((0.1, 0), [x, x], [*kept()[:4], None]),
        ((0.1, 0), [x, x], [*kept()[:2], np.zeros(3), *kept()[3:]]),
    ]:
        with pytest.raises(ValueError, match="do not fit info_nce"):
            forward(options, inputs, saved)
