"""Losses of elements: every backend against the page's NumPy, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import firth
import network_checks as checks
from firth import _native
from firth.kernels._dispatch import active_level
from firth.nn.module import Parameter
from firth.nn.modules.losses import BCEWithLogitsLoss, HuberLoss, L1Loss, MSELoss, SmoothL1Loss
from firth.nn.operations import losses
from firth.nn.operations.losses import BinaryCrossEntropyWithLogits, DifferenceLoss
from firth.nn.tape import Operation, Tensor, apply

SHAPES = [(), (1,), (3,), (5, 7), (2, 3, 65), (0, 4), (1, 4097), (129, 130)]
KINDS = [("square", 1.0, 1.0), ("absolute", 1.0, 1.0), ("huber", 0.7, 1.0), ("huber", 0.7, 1 / 0.7)]
REDUCTIONS = ["mean", "sum", "none"]


def pair(shape: tuple[int, ...], dtype: type) -> list[np.ndarray]:
    rng = np.random.default_rng(len(shape) + sum(shape))
    return [np.asarray(rng.normal(size=shape), dtype) for _ in range(2)]


def run(operation: Operation, *inputs: np.ndarray | None) -> list[np.ndarray]:
    """The output and the gradient by the first input; others are constants."""
    tensors = [None if x is None else Tensor(x) for x in inputs]
    tensors[0].requires_grad = True
    y = apply(operation, *tensors)
    y.backward(checks.output_gradients([y.data])[0])
    return [y.data, tensors[0].grad]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("kind", "delta", "factor"), KINDS)
def test_difference_loss(backend, kind, delta, factor, reduction, dtype):
    for shape in SHAPES:
        given = pair(shape, dtype)
        operation = DifferenceLoss(kind, reduction, delta, factor)
        outputs, gradients = checks.run(operation, given)
        wanted, wanted_gradients = checks.reference(operation, given)
        # Terms of order 1: a difference, a product, a factor are one rounding each. A sum is made
        # in float64 of chains of at most 32 terms.
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(outputs[0], wanted[0], rtol=40 * eps, atol=8 * eps)
        for got, want in zip(gradients, wanted_gradients, strict=True):
            np.testing.assert_allclose(got, want, rtol=8 * eps, atol=8 * eps)


def test_whole_numbers_and_masks_are_no_targets():
    x, whole = Tensor(np.ones(3, np.float32)), firth.tensor([1, 0, 1])
    message = r": target must hold real numbers, got (int64|bool); float\(\) makes them real"
    for loss in (losses.mse_loss, losses.l1_loss, losses.huber_loss, losses.smooth_l1_loss,
                 losses.binary_cross_entropy_with_logits):  # fmt: skip
        for target in (whole, whole == 1):
            with pytest.raises(TypeError, match=loss.__name__ + message):
                loss(x, target)
    with pytest.raises(TypeError, match="logits: pos_weight must hold real numbers, got int64"):
        losses.binary_cross_entropy_with_logits(x, x, pos_weight=whole)
    with pytest.raises(TypeError, match="mse_loss: input must hold real numbers, got int64"):
        losses.mse_loss(whole, x)
    with pytest.raises(TypeError, match="kl_div: input must hold real numbers, got int64"):
        losses.kl_div(whole, x)


def test_what_is_no_probability_is_refused():
    for values, got in (([0.5, 1.5], "0.5 to 1.5"), ([-0.1, 0.5], "-0.1 to 0.5")):
        with pytest.raises(ValueError, match=f"input must be from 0 to 1, as sigmoid.. .* {got}"):
            losses.binary_cross_entropy(Tensor(values), np.ones(2))
    assert np.isnan(losses.binary_cross_entropy(Tensor([np.nan]), np.ones(1)).item())


def weight_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...] | None]:
    return [None, *(shape[i:] for i in range(len(shape) + 1))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_with_logits(backend, reduction, dtype):
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        x, y = 4 * pair(shape, dtype)[0], rng.random(shape).astype(dtype)
        y = np.where(y < 0.3, dtype(0), np.where(y > 0.7, dtype(1), y))
        for w in weight_shapes(shape):
            for p in weight_shapes(shape)[:3]:
                more = [None if s is None else rng.uniform(0.5, 2, s).astype(dtype) for s in (w, p)]
                more = [None if m is None else np.asarray(m, dtype) for m in more]
                given = [x, np.asarray(y, dtype), *more]
                operation = BinaryCrossEntropyWithLogits(reduction)
                found = run(operation, *given)
                want, gradients = checks.reference(operation, given)
                # exp and log within an ULP or two, then as above; logits have the size of 16
                eps = np.finfo(dtype).eps
                np.testing.assert_allclose(found[0], want[0], rtol=40 * eps, atol=64 * eps)
                np.testing.assert_allclose(found[1], gradients[0], rtol=16 * eps, atol=16 * eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_logits_keep_their_digits(backend, dtype):
    x = np.array([-80, -30, -2, 0, 2, 30, 80], dtype)
    for y, sign in ((0.0, 1), (1.0, -1)):
        t = Tensor(x, requires_grad=True)
        loss = losses.binary_cross_entropy_with_logits(t, np.full(7, y), reduction="none")
        loss.backward(np.ones(7))
        wide = sign * x.astype(np.float64)
        eps = np.finfo(dtype).eps  # relative, in the smallest of them too
        right = np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
        np.testing.assert_allclose(loss.data, right, rtol=8 * eps, atol=0)
        np.testing.assert_allclose(t.grad, sign / (1 + np.exp(-wide)), rtol=8 * eps, atol=0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients(reduction):
    x, y = pair((3, 5), np.float64)
    for kind, delta, factor in KINDS:
        checks.check_gradients(DifferenceLoss(kind, reduction, delta, factor), [x, y])
    target = np.random.default_rng(0).random((3, 5)).astype(np.float32)  # float32: constants
    weight, positive = target[0] + 0.5, target + 0.5
    for more in ([None, None], [weight, None], [positive, weight]):
        checks.check_gradients(BinaryCrossEntropyWithLogits(reduction), [x, target, *more])


def test_kinks(backend):
    x = Tensor(np.array([0.0, 1.0, -1.0, 3.0]), requires_grad=True)
    losses.l1_loss(x, np.zeros(4), "sum").backward()
    np.testing.assert_array_equal(x.grad, [0, 1, -1, 1])
    x.grad = None
    loss = losses.huber_loss(x, np.zeros(4), "none", 1.0)
    np.testing.assert_array_equal(loss.data, [0, 0.5, 0.5, 2.5])
    loss.backward(np.ones(4))
    np.testing.assert_array_equal(x.grad, [0, 1, -1, 1])
    smooth = losses.smooth_l1_loss(x, np.zeros(4), "none", 2.0)
    np.testing.assert_array_equal(smooth.data, [0, 0.25, 0.25, 2.0])
    zero = losses.smooth_l1_loss(x, np.zeros(4), "none", 0)
    np.testing.assert_array_equal(zero.data, [0, 1, 1, 3])


def test_nan_and_empty_batches(backend):
    bad, zero = Tensor(np.array([np.nan, 1.0])), np.zeros(2)
    for function in (losses.mse_loss, losses.l1_loss, losses.huber_loss):
        assert np.isnan(function(bad, zero).item())
    assert np.isnan(losses.binary_cross_entropy_with_logits(bad, zero).item())
    empty = Tensor(np.zeros((0, 3)), requires_grad=True)
    loss = losses.mse_loss(empty, np.zeros((0, 3)))
    assert np.isnan(loss.item())
    loss.backward()
    assert empty.grad.shape == (0, 3)
    assert losses.mse_loss(empty, np.zeros((0, 3)), "sum").item() == 0


def test_gradients_add(backend):
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    for _ in range(2):
        losses.mse_loss(x, np.zeros(2), "sum").backward()
    np.testing.assert_array_equal(x.grad, [4, 8])
    losses.mse_loss(x, x, "sum").backward()  # one tensor as both
    np.testing.assert_array_equal(x.grad, [4, 8])


def test_threads_do_not_change_bits():
    x, y = pair((300, 301), np.float32)
    found = []
    before = firth.info().threads
    try:
        for threads in (1, 2):
            firth.set_num_threads(threads)
            found.append(run(DifferenceLoss("square", "mean"), x, y))
            target = (y > 0).astype(np.float32)
            found[-1] += run(BinaryCrossEntropyWithLogits("mean"), x, target, None, y[0])
    finally:
        firth.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert one.tobytes() == two.tobytes()


def test_modules():
    x, y = Tensor(np.array([0.0, 3.0], np.float32)), [0.0, 1.0]
    assert MSELoss()(x, y).item() == 2
    assert L1Loss(reduction="sum")(x, y).item() == 2
    assert HuberLoss(delta=1, reduction="sum")(x, y).item() == 1.5
    assert SmoothL1Loss(beta=4, reduction="sum")(x, y).item() == 0.5
    loss = BCEWithLogitsLoss(weight=[1, 0], pos_weight=2.0)
    assert loss(x, y).item() == pytest.approx(np.log(2) / 2)
    assert list(loss.state_dict()) == ["weight", "pos_weight"]


def test_bad_input_is_refused():
    x = Tensor(np.ones((2, 3)))
    with pytest.raises(
        ValueError, match=r"mse_loss: target must have the shape of input, \(2, 3\)"
    ):
        losses.mse_loss(x, np.ones(3))
    with pytest.raises(ValueError, match=r"l1_loss: reduction must be none, mean or sum, got 'x'"):
        losses.l1_loss(x, x, "x")
    with pytest.raises(ValueError, match=r"huber_loss: delta must be above 0, got 0"):
        losses.huber_loss(x, x, delta=0)
    with pytest.raises(ValueError, match=r"smooth_l1_loss: beta must be at least 0, got -1"):
        losses.smooth_l1_loss(x, x, beta=-1)
    function = losses.binary_cross_entropy_with_logits
    with pytest.raises(ValueError, match=r"the shape of pos_weight must be the end of the input's"):
        function(x, x.detach(), pos_weight=np.ones(2))
    with pytest.raises(TypeError, match=r"target has no gradient, pass target.detach\(\)"):
        function(x, Parameter(np.ones((2, 3))))
    with pytest.raises(TypeError, match=r"difference_loss: tensors must have one dtype"):
        losses.mse_loss(x, Tensor(np.ones((2, 3), np.float32)))


def test_native_code_refuses_what_does_not_fit():
    x, out = np.ones((2, 3)), np.zeros(())

    def forward(name, options, inputs, outputs=None, saved=()):
        _native.nn.forward(active_level(), name, options, inputs, outputs or [out], saved, f64=True)

    forward("difference_loss", (1, 0, 1, 1), [x, x])
    for options, inputs, outputs in [
        ((1, 0, 1), [x, x], [out]),
        ((1, 3, 1, 1), [x, x], [out]),
        ((0, 0, 1, 1), [x, x], [out]),
        ((1, 0, 1, 1), [x, np.ones((3, 2))], [out]),
        ((1, 0, 1, 1), [x, None], [out]),
        ((1, 0, 1, 1), [x, (2, 3)], [out]),
        ((1, 0, 1, 1), [x, np.ones((2, 3), np.int64)], [out]),
        ((1, 0, 1, 1), [x, x], [np.zeros(1)]),
        ((1, 0, 1, 1), [x, x], [None]),
    ]:
        with pytest.raises(ValueError, match="do not fit difference_loss"):
            forward("difference_loss", options, inputs, outputs)
    name = "binary_cross_entropy_with_logits"
    forward(name, (1,), [x, x, None, np.ones(3)])
    for options, inputs in [
        ((), [x, x, None, None]),
        ((1,), [x, x, None]),
        ((1,), [x, x, np.ones(2), None]),
        ((1,), [x, x, None, np.ones((1, 2, 3))]),
        ((1,), [x, x, None, (3,)]),
        ((1,), [x, None, None, None]),
    ]:
        with pytest.raises(ValueError, match=f"do not fit {name}"):
            forward(name, options, inputs)
