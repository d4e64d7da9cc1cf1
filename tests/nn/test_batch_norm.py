"""Batch norm: every backend against the page's NumPy, gradients, state, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import firth
import network_checks as checks
from firth import _native
from firth.kernels._dispatch import active_level
from firth.nn.modules.batch_norm import BatchNorm1d, BatchNorm2d
from firth.nn.operations.batch_norm import BatchNorm, batch_norm
from firth.nn.tape import Tensor

SHAPES = [(2, 1), (5, 3), (33, 70), (4, 3, 7), (2, 5, 3, 3), (3, 2, 9, 17), (2, 33, 1), (2, 2, 70)]


def numbers(shape: tuple, dtype: type) -> list[np.ndarray]:
    """x, weight, bias, running mean and variance."""
    rng = np.random.default_rng(sum(shape))
    x = rng.normal(size=shape) * 2 + 3
    if x.size == 2 * shape[1]:  # two that are close have a variance of rounding errors
        x[1] = x[0] + 4
    channels = [rng.normal(size=shape[1]) for _ in range(3)]
    return [a.astype(dtype) for a in (x, *channels, rng.uniform(0.5, 2, shape[1]))]


def run(operation: BatchNorm, given: list, affine: bool, dy: np.ndarray) -> list:
    """y, gradients by x, weight and bias."""
    x, weight, bias, *rest = given
    tensors = [Tensor(a.copy(), requires_grad=True) for a in (x, weight, bias)]
    if not affine:
        tensors[1:] = [None, None]
    y = firth.nn.tape.apply(operation, *tensors, *rest)
    y.backward(dy)
    return [y.data, *(t.grad for t in tensors if t is not None)]


def close(got, want, dtype: type, n: int) -> None:
    # Sums of n numbers of order 1 to 10, divided by n or compared with results of order n; of the
    # numbers' differences to a mean of order 3 each errs by 3 eps.
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(got, want, rtol=32 * eps, atol=64 * eps * max(1, n**0.5))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm(backend, shape, dtype, training, affine):
    given = numbers(shape, dtype)
    given.append(np.array(4, np.int64))
    wide = [a.astype(np.float64) if a.dtype == dtype else a.copy() for a in given]
    dy = np.random.default_rng(0).normal(size=shape)
    operation = BatchNorm(training)
    got = run(operation, given, affine, dy.astype(dtype))
    if not affine:
        wide[1:3] = [None, None]
    n = given[0].size // shape[1]
    outputs, saved = operation.forward(*wide, seed=0)
    wanted = operation.backward(wide, outputs, saved, [dy.astype(dtype).astype(float)], 0)
    for a, b in zip(got, [outputs[0], *(w for w in wanted if w is not None)], strict=True):
        close(a, b, dtype, n)
    for a, b in zip(given[3:5], wide[3:5], strict=True):
        close(a, b, dtype, n)
    assert given[5] == wide[5] == 4 + training


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_gradients_of_batch_norm(shape):
    x, weight, bias, *_ = numbers(shape, np.float64)
    checks.check_gradients(BatchNorm(), [x, weight, bias, None, None, None])
    checks.check_gradients(BatchNorm(eps=0.5), [x, None, None, None, None, None])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_with_running_statistics(shape):
    x, weight, bias, mean, variance = numbers(shape, np.float64)

    class InUse(BatchNorm):
        """As it is without training, as a function of the first three."""

        def forward(self, *inputs, seed):
            return super().forward(*inputs, mean, variance, None, seed=seed)

        def backward(self, inputs, outputs, saved, gradients, seed):
            given = (*inputs, mean, variance, None)
            return super().backward(given, outputs, saved, gradients, seed)[:3]

    checks.check_gradients(InUse(training=False), [x, weight, bias])


def test_momentum_none_is_the_mean_of_all(backend):
    layer = BatchNorm2d(3, momentum=None)
    rng = np.random.default_rng(1)
    batches = [rng.normal(size=(4, 3, 5, 6)).astype(np.float32) for _ in range(3)]
    for batch in batches:
        layer(Tensor(batch))
    means = [b.mean((0, 2, 3)) for b in batches]
    variances = [b.var((0, 2, 3), ddof=1) for b in batches]
    np.testing.assert_allclose(layer.running_mean, np.mean(means, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.running_var, np.mean(variances, 0), rtol=1e-5)
    assert layer.num_batches_tracked == 3


def test_module(backend):
    layer = BatchNorm1d(4)
    state = layer.state_dict()
    assert list(state) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert state["num_batches_tracked"].shape == ()
    assert state["num_batches_tracked"].dtype == np.int64
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    layer(Tensor(x))
    assert state["num_batches_tracked"] == 1  # in place
    np.testing.assert_allclose(state["running_mean"], 0.1 * x.mean(0), rtol=1e-5, atol=1e-7)
    before = {name: array.copy() for name, array in state.items()}
    layer.eval()
    y = layer(Tensor(x))
    wanted = (x - state["running_mean"]) / np.sqrt(state["running_var"] + 1e-5)
    np.testing.assert_allclose(y.data, wanted, rtol=1e-5, atol=1e-6)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    other = BatchNorm1d(4)
    other.load_state_dict(state)
    assert other.num_batches_tracked == 1
    assert layer.double().running_mean.dtype == np.float64
    assert layer(Tensor(x.astype(np.float64))).dtype == np.float64
    assert repr(layer) == (
        "BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"
    )


def test_without_running_statistics(backend):
    layer = BatchNorm2d(3, affine=False, track_running_stats=False)
    assert not layer.state_dict()
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    training = layer(Tensor(x)).data
    np.testing.assert_array_equal(layer.eval()(Tensor(x)).data, training)
    np.testing.assert_allclose(training.mean((0, 2, 3)), 0, atol=1e-6)


def test_an_empty_batch(backend):
    layer = BatchNorm2d(3)
    x = Tensor(np.ones((0, 3, 4, 5), np.float32), requires_grad=True)
    y = layer(x)
    y.backward(np.ones(y.shape))
    assert y.shape == x.grad.shape == (0, 3, 4, 5)
    np.testing.assert_array_equal(layer.weight.grad, 0)
    np.testing.assert_array_equal(layer.running_mean, 0)
    np.testing.assert_array_equal(layer.running_var, 1)


@pytest.mark.parametrize("shape", [(200, 130), (8, 33, 20, 21)])
def test_same_bits_on_any_number_of_threads(shape):
    given = numbers(shape, np.float32)
    before = _native.num_threads()
    try:
        made = []
        for threads in (1, 2):
            firth.set_num_threads(threads)
            copies = [a.copy() for a in given]
            made.append(run(BatchNorm(), [*copies, None], True, given[0]) + copies[3:])
    finally:
        firth.set_num_threads(before)
    for a, b in zip(*made, strict=True):
        np.testing.assert_array_equal(a, b)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((3,), {}, "batch_norm: input must have 2 or more axes, got shape"),
        ((3, 0), {}, "batch_norm: only the batch may be empty, got shape"),
        ((3, 4), {"weight": Tensor(np.ones(3))}, r"batch_norm: weight must have shape \(4,\), got"),
        ((3, 4), {"bias": Tensor(np.ones((4, 1)))}, "batch_norm: bias must have shape"),
        ((3, 4), {"running_mean": np.ones(5)}, "batch_norm: running_mean must have shape"),
        ((3, 4), {"running_var": None}, "batch_norm: running_mean and running_var are given both"),
        ((3, 4), {"running_mean": None, "running_var": None, "training": False}, "are needed if"),
        ((3, 4), {"momentum": 2.0}, "batch_norm: momentum must be from 0 to 1, or None, got 2"),
        ((3, 4), {"momentum": None}, "batch_norm: momentum None needs the number of batches"),
        ((3, 4), {"eps": -1.0}, "batch_norm: eps must be at least 0, got -1"),
        ((1, 4), {}, "batch_norm: in training a channel needs more than one element"),
        ((3, 4), {"running_mean": read_only(np.ones(4))}, "batch_norm: running_mean is read-only"),
        ((3, 4), {"num_batches_tracked": np.zeros(2, np.int64)}, "num_batches_tracked must be an"),
    ],
)
def test_what_does_not_fit_is_refused(shape, arguments, message):
    arguments = {
        "running_mean": np.ones(4), "running_var": np.ones(4), "training": True, **arguments,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        batch_norm(Tensor(np.ones(shape)), **arguments)


def test_modules_refuse():
    with pytest.raises(ValueError, match="BatchNorm1d: input must have 2 or 3 axes, got shape"):
        BatchNorm1d(3)(Tensor(np.ones((1, 3, 4, 4))))
    with pytest.raises(ValueError, match="BatchNorm2d: num_features must be at least 1"):
        BatchNorm2d(0)
    with pytest.raises(ValueError, match="BatchNorm2d: momentum must be from 0 to 1"):
        BatchNorm2d(3, momentum=-1)
    with pytest.raises(TypeError, match="batch_norm: running_mean must be float64, got float32"):
        batch_norm(Tensor(np.ones((2, 3))), np.ones(3, np.float32), np.ones(3, np.float32))


class TestNative:
    """What keeps memory safe: calls that do not fit are refused."""

    @staticmethod
    def arrays() -> dict:
        return {
            "x": np.ones((3, 4, 5)), "weight": np.ones(4), "bias": np.ones(4),
            "mean": np.ones(4), "variance": np.ones(4), "batches": np.zeros((), np.int64),
        }  # fmt: skip

    @pytest.mark.parametrize(
        "changed",
        [
            {},
            {"options": (1, 0.1)}, {"options": (1, 2.0, 1e-5)}, {"options": (1, 0.1, -1.0)},
            {"options": (1, 0.1, float("nan"))},
            {"options": (1, float("nan"), 1e-5), "batches": None},
            {"options": (0, 0.1, 1e-5), "mean": None, "variance": None},
            {"x": np.ones(3)}, {"x": np.ones((3, 5, 5))}, {"x": None}, {"x": (3, 4, 5)},
            {"x": np.ones((3, 4, 0))}, {"x": np.ones((3, 4, 5), np.int64)},
            *({name: bad} for name in ("weight", "bias", "mean", "variance")
              for bad in (np.ones(3), np.ones((4, 1)), np.ones(4, np.int64), (4,))),
            {"mean": None}, {"variance": None},
            {"batches": np.zeros(2, np.int64)}, {"batches": np.zeros(())}, {"batches": ()},
            {"y": np.ones((3, 4, 4))}, {"y": np.ones((3, 4, 5), np.int64)},
            {"saved": [np.ones(4)]}, {"saved": [np.ones(4), np.ones(3)]},
            {"saved": [np.ones(4), np.ones(4, np.int64)]}, {"saved": [(4,), np.ones(4)]},
        ],
        ids=str,
    )  # fmt: skip
    def test_forward(self, changed):
        arrays = self.arrays()
        inputs = [changed.get(name, array) for name, array in arrays.items()]

        def call() -> None:
            _native.nn.forward(
                active_level(), "batch_norm", changed.get("options", (1, 0.1, 1e-5)), inputs,
                [changed.get("y", np.ones((3, 4, 5)))],
                changed.get("saved", [np.ones(4), np.ones(4)]), f64=True,
            )  # fmt: skip

        if not changed:
            return call()
        with pytest.raises(ValueError, match="do not fit batch_norm"):
            call()

    @pytest.mark.parametrize("bad", ["dy", "x", "weight", "saved", "gradient of mean"])
    def test_backward(self, bad):
        given = [None if bad == name else a for name, a in self.arrays().items()]
        if bad in ("x", "weight"):  # not kept
            given[0 if bad == "x" else 1] = self.arrays()[bad].shape
        into = [np.empty((3, 4, 5)), np.empty(4), np.empty(4), None, None, None]
        if bad.startswith("gradient"):
            into[3] = np.empty(4)
        with pytest.raises(ValueError, match="do not fit batch_norm"):
            _native.nn.backward(
                active_level(), "batch_norm", (1, 0.1, 1e-5), given, [(3, 4, 5)],
                [np.ones(4), (4,) if bad == "saved" else np.ones(4)],
                [None if bad == "dy" else np.ones((3, 4, 5))], into, add=0, f64=True,
            )  # fmt: skip
