"""Pools: every backend against the page's NumPy, gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import firth
import network_checks as checks
from firth import _native
from firth.kernels._dispatch import active_level
from firth.nn.modules import pooling as modules
from firth.nn.operations import pooling
from firth.nn.operations.pooling import AvgPool, MaxPool
from firth.nn.tape import Tensor

# x, kernel, stride, padding
SHAPES = [
    ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0)),
    ((1, 2, 7, 70), (2, 2), (2, 2), (0, 0)),  # a row and a column are in no window
    ((2, 2, 5, 66), (2, 2), (2, 2), (0, 0)),
    ((2, 3, 9, 7), (3, 3), (2, 2), (1, 1)),
    ((2, 3, 9, 7), (3, 2), (1, 3), (1, 0)),  # windows that overlap
    ((1, 1, 6, 5), (1, 2), (4, 2), (0, 1)),
    ((3, 5, 7, 9), (7, 9), (7, 9), (0, 0)),  # the whole plane
    ((1, 2, 40, 40), (17, 16), (3, 4), (2, 0)),  # 272 taps: a byte is too small
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0)),
    ((2, 3, 17), (3, 1), (2, 1), (1, 0)),
    ((2, 3, 130), (2, 1), (2, 1), (0, 0)),
]
DILATED = [
    ((2, 3, 9, 8), (2, 3), (2, 1), (1, 1), (2, 3)),
    ((2, 3, 17), (3, 1), (1, 1), (1, 0), (3, 1)),
]


def numbers(shape: tuple, dtype: type) -> np.ndarray:
    """Numbers of which no two are equal, also in float32."""
    rng = np.random.default_rng(sum(shape))
    return (rng.permutation(int(np.prod(shape))) / 64 - 3).reshape(shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [*SHAPES, *DILATED], ids=str)
def test_max_pool(backend, shape, dtype):
    operation = MaxPool(*shape[1:])
    outputs, gradients = checks.run(operation, [numbers(shape[0], dtype)])
    wanted, wanted_gradients = checks.reference(operation, [numbers(shape[0], dtype)])
    np.testing.assert_array_equal(outputs[0], wanted[0])
    # a pixel of several windows: a sum of at most as many gradients of order 1
    eps = np.finfo(dtype).eps
    most = int(np.prod(shape[1]))
    np.testing.assert_allclose(gradients[0], wanted_gradients[0], rtol=eps, atol=8 * most * eps)


@pytest.mark.parametrize("count_pad", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_avg_pool(backend, shape, dtype, count_pad):
    x = np.random.default_rng(1).normal(size=shape[0]).astype(dtype)
    operation = AvgPool(*shape[1:], (1, 1), count_pad)
    outputs, gradients = checks.run(operation, [x])
    wanted, wanted_gradients = checks.reference(operation, [x])
    # means of numbers of order 1: a sum of n of them errs by n eps at most, over n
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(outputs[0], wanted[0], rtol=8 * eps, atol=8 * eps)
    most = int(np.prod(shape[1]))
    np.testing.assert_allclose(gradients[0], wanted_gradients[0], rtol=8 * eps, atol=8 * most * eps)


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0][0]], ids=str)
def test_gradients_of_pools(shape):
    checks.check_gradients(MaxPool(*shape[1:]), [numbers(shape[0], np.float64)])
    x = [np.random.default_rng(1).normal(size=shape[0])]
    checks.check_gradients(AvgPool(*shape[1:]), x)
    checks.check_gradients(AvgPool(*shape[1:], (1, 1), False), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_numbers_nan_and_infinities(backend, dtype):
    """The first of equal ones gets the gradient, NaN is a maximum, as PyTorch has it."""
    nan, inf = np.nan, np.inf
    x = np.array([[1, 1, 5, nan, -inf, -inf], [1, 1, nan, 7, -inf, -inf]], dtype)
    x = np.tile(x, (1, 1, 1, 12))  # whole vectors and a part of one
    for operation in (MaxPool((2, 2), (2, 2)), MaxPool((2, 2), (2, 2), (1, 0))):
        x4 = x.reshape(1, 1, 2, -1)
        tensor = Tensor(x4, requires_grad=True)
        y = firth.nn.tape.apply(operation, tensor)
        wanted, place = operation.forward(x4, seed=0)
        np.testing.assert_array_equal(y.data, wanted[0])
        dy = np.arange(1.0, 1 + y.data.size, dtype=dtype).reshape(y.shape)
        y.backward(dy)
        (dx,) = operation.backward([x4], wanted, place, [dy], 0)
        np.testing.assert_array_equal(tensor.grad, dx)
    np.testing.assert_array_equal(wanted[0][0, 0, 0, :3], [1, nan, -inf])


def test_gradients_are_added_to_what_is_there(backend):
    for operation in (MaxPool((2, 2), (2, 2)), MaxPool((3, 3), (1, 1)), AvgPool((2, 2), (2, 2))):
        x = Tensor(numbers((2, 2, 9, 41), np.float64), requires_grad=True)
        seen = []
        for _ in range(2):
            made = firth.nn.tape.apply(operation, x)
            made.backward(np.ones(made.shape))
            seen.append(x.grad.copy())
        np.testing.assert_allclose(seen[1], 2 * seen[0], rtol=1e-14)


def test_functions_and_modules(backend):
    x = Tensor(numbers((2, 3, 8, 6), np.float32))
    row = Tensor(numbers((2, 3, 9), np.float32))
    two, one = (2, 2), (2, 1)
    for made, operation, given in [
        (modules.MaxPool2d(2)(x), MaxPool(two, two), x),
        (modules.MaxPool2d((3, 2), 1, (1, 0))(x), MaxPool((3, 2), (1, 1), (1, 0)), x),
        (modules.MaxPool1d(2, 3)(row), MaxPool(one, (3, 1)), row),
        (modules.MaxPool1d(2, dilation=3)(row), MaxPool(one, one, (0, 0), (3, 1)), row),
        (modules.AvgPool2d(2)(x), AvgPool(two, two), x),
        (modules.AvgPool1d(2, 2, 1)(row), AvgPool(one, one, (1, 0)), row),
        (
            modules.AvgPool2d(2, padding=1, count_include_pad=False)(x),
            AvgPool(two, two, (1, 1), (1, 1), False),
            x,
        ),
    ]:
        (wanted,), _ = operation.forward(given.data, seed=0)
        np.testing.assert_allclose(made.data, wanted, rtol=1e-6, atol=1e-6)
    for pool in (modules.AdaptiveAvgPool2d(1), modules.AdaptiveAvgPool2d((1, 1))):
        np.testing.assert_allclose(
            pool(x).data, x.data.mean((2, 3), keepdims=True), rtol=1e-5, atol=1e-5
        )
    made = modules.AdaptiveAvgPool1d(1)(row)
    np.testing.assert_allclose(made.data, row.data.mean(2, keepdims=True), rtol=1e-5)
    assert repr(modules.MaxPool2d(2)) == (
        "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1)"
    )


def test_same_bits_on_any_number_of_threads():
    x = numbers((16, 8, 33, 34), np.float32)
    before = _native.num_threads()
    try:
        for operation in (
            MaxPool((2, 2), (2, 2)),
            MaxPool((3, 3), (2, 2)),
            AvgPool((3, 3), (1, 1)),
        ):
            made = []
            for threads in (1, 2):
                firth.set_num_threads(threads)
                outputs, gradients = checks.run(operation, [x])
                made.append([*outputs, *gradients])
            for a, b in zip(*made, strict=True):
                np.testing.assert_array_equal(a, b)
    finally:
        firth.set_num_threads(before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: pooling.max_pool1d(x, 2), "max_pool1d: input must have 3 axes, got shape"),
        (lambda x: pooling.max_pool2d(x, 9), r"max_pool2d: the kernel \(9, 9\) with its dilation"),
        (lambda x: pooling.max_pool2d(x, 2, padding=2), "max_pool2d: padding must be at most half"),
        (lambda x: pooling.avg_pool2d(x, 0), "avg_pool2d: kernel_size must be at least 1"),
        (lambda x: pooling.avg_pool2d(x, 2, (1, 2, 3)), "avg_pool2d: stride must be an integer or"),
        (lambda x: pooling.max_pool2d(x, 2, ceil_mode=True), "max_pool2d: ceil_mode must be False"),
        (lambda x: pooling.adaptive_avg_pool2d(x, 2), "adaptive_avg_pool2d: output_size must be 1"),
        (lambda x: modules.MaxPool2d(2, return_indices=True), "MaxPool2d: return_indices must be"),
        (lambda x: modules.AvgPool2d(2, ceil_mode=True), "AvgPool2d: ceil_mode must be False"),
        (
            lambda x: pooling.max_pool2d(Tensor(np.ones((1, 2, 0, 4))), 2, padding=1),
            "max_pool2d: only the batch may be empty",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(Tensor(np.ones((1, 2, 8, 8))))


class TestNative:
    """What keeps memory safe: calls that do not fit are refused."""

    GOOD = (2, 2, 2, 2, 0, 0, 1, 1)

    @pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"options": (2, 2, 2, 2, 0, 0, 1)},
            {"options": (0, 2, 2, 2, 0, 0, 1, 1)}, {"options": (2, 2, 0, 2, 0, 0, 1, 1)},
            {"options": (2, 2, 2, 2, -1, 0, 1, 1)}, {"options": (2, 2, 2, 2, 0, 0, 0, 1)},
            {"options": (2, 2, 2, 2, 0, 0, 1, 0.5)}, {"options": (2, 2, 2, 2, 2.0**31, 0, 1, 1)},
            {"options": (2, 2, 2, float("nan"), 0, 0, 1, 1)}, {"options": (9, 2, 2, 2, 0, 0, 1, 1)},
            {"options": (2, 2, 1, 2, 0, 0, 1, 1)}, {"options": (2, 2, 2, 2, 2, 2, 3, 3)},
            {"x": np.ones((1, 2, 8))}, {"x": np.ones((1, 3, 8, 8))}, {"x": np.ones((1, 2, 0, 8))},
            {"x": None}, {"x": np.ones((1, 2, 8, 8), np.int64)}, {"y": np.ones((1, 2, 4, 3))},
            {"y": np.ones((1, 2, 4, 4), np.int64)},
        ],
        ids=str,
    )  # fmt: skip
    def test_forward(self, name, arguments):
        options = arguments.get("options", self.GOOD)
        x, y = arguments.get("x", np.ones((1, 2, 8, 8))), arguments.get("y", np.ones((1, 2, 4, 4)))
        saved = [np.zeros((1, 2, 4, 4), np.uint8)] if name == "max_pool" else []
        more = (1,) if name == "avg_pool" else ()

        def call() -> None:
            _native.nn.forward(active_level(), name, (*options, *more), [x], [y], saved, f64=True)

        if not arguments:
            return call()
        with pytest.raises(ValueError, match=f"do not fit {name}"):
            call()

    @pytest.mark.parametrize(
        "place",
        [
            None, np.zeros((1, 2, 4, 4), np.int64), np.zeros((1, 2, 4, 3), np.uint8),
            np.zeros((1, 2, 4, 4)), (1, 2, 4, 4),
        ],
        ids=lambda p: str(getattr(p, "dtype", p)) + str(getattr(p, "shape", "")),
    )  # fmt: skip
    def test_places_of_maxima(self, place):
        x, y = np.ones((1, 2, 8, 8)), np.ones((1, 2, 4, 4))
        with pytest.raises(ValueError, match="do not fit max_pool"):
            _native.nn.forward(active_level(), "max_pool", self.GOOD, [x], [y], [place], f64=True)
        with pytest.raises(ValueError, match="do not fit max_pool"):
            _native.nn.backward(
                active_level(), "max_pool", self.GOOD, [x], [y], [place], [y], [x], add=0, f64=True
            )

    def test_places_outside_get_nothing(self):
        for kernel, kind in ((2, np.uint8), (20, np.int64)):
            options = (kernel, kernel, 1, 1, kernel // 2, kernel // 2, 1, 1)
            size = 8 + 1 if kernel == 2 else 8 + 20 - 20 + 1
            place = np.full((1, 1, size, size), 255 if kind == np.uint8 else -1, kind)
            dx = np.empty((1, 1, 8, 8))
            _native.nn.backward(
                active_level(), "max_pool", options, [dx.shape], [place.shape], [place],
                [np.ones(place.shape)], [dx], add=0, f64=True,
            )  # fmt: skip
            np.testing.assert_array_equal(dx, 0)

    @pytest.mark.parametrize("missing", ["dy", "dx"])
    @pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
    def test_backward(self, name, missing):
        y = np.ones((1, 2, 4, 4))
        saved = [np.zeros(y.shape, np.uint8)] if name == "max_pool" else []
        with pytest.raises(ValueError, match=f"do not fit {name}"):
            _native.nn.backward(
                active_level(), name, (*self.GOOD, 1)[: 8 if saved else 9], [(1, 2, 8, 8)],
                [y.shape], saved, [None if missing == "dy" else y],
                [None if missing == "dx" else np.ones((1, 2, 8, 8))], add=0, f64=True,
            )  # fmt: skip
