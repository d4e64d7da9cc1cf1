"""Arithmetic, sums, maxima, matrix products: every backend against NumPy, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import network_checks as checks
from conftest import spiky
from firth import _native
from firth.kernels import _dispatch
from firth.nn.operations import arithmetic
from firth.nn.operations.arithmetic import FUNCTIONS, Combine, Map, Matmul, Maximum, Sum, maxout
from firth.nn.tape import Operation, Tensor, apply

SIZES = [0, 1, 3, 7, 16, 33, 130]  # around vectors of 2 to 16 numbers
TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
NUMBERS = {"clamp": (-0.5, 1.5), "pow": (3.3, 0.0), "reciprocal": (2.5, 0.0)}
POSITIVE = {"log", "sqrt", "pow"}


def of(function: str) -> Map:
    return Map(function, *NUMBERS.get(function, (1.7, 0.0)))


def argument(function: str, n: int, dtype: type) -> np.ndarray:
    x = np.random.default_rng(n).normal(size=n) * 3
    if function in POSITIVE or function == "reciprocal":
        x = np.abs(x) + 0.1
    return x.astype(dtype)


def doubles(operation: Operation, given: list[np.ndarray], found: list) -> None:
    """A second walk adds the same gradients to what is there."""
    tensors = [Tensor(x, requires_grad=True) for x in given]
    for _ in range(2):
        made = apply(operation, *tensors)
        made.backward(checks.output_gradients([made.data])[0])
    for tensor, gradient in zip(tensors, found, strict=True):
        eps = float(np.finfo(gradient.dtype).eps)
        largest = float(np.abs(gradient).max(initial=0))
        np.testing.assert_allclose(tensor.grad, 2 * gradient, rtol=4 * eps, atol=8 * eps * largest)


@TYPES
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("n", SIZES)
def test_map(backend, n, function, dtype):
    x = argument(function, n, dtype)
    outputs, gradients = checks.run(of(function), [x])
    wanted, wanted_gradients = checks.reference(of(function), [x])
    eps = float(np.finfo(dtype).eps)
    # the number is rounded to the dtype, then some operations of an ULP or less each; pow's number
    # is not, and exp's results grow to e^10
    np.testing.assert_allclose(outputs[0], wanted[0], rtol=4 * eps, atol=4 * eps)
    np.testing.assert_allclose(gradients[0], wanted_gradients[0], rtol=6 * eps, atol=16 * eps)
    doubles(of(function), [x], gradients)


@TYPES
def test_exp_and_log_everywhere(backend, dtype):
    info = np.finfo(dtype)
    least, most = float(np.log(info.smallest_subnormal.astype(float))), float(np.log(info.max))
    x = np.concatenate(
        [np.linspace(1.1 * least, most, 5000), [0, -0.0, np.inf, -np.inf, np.nan, 800, -800]]
    ).astype(dtype)
    with np.errstate(all="ignore"):
        wanted = np.exp(x.astype(np.longdouble)).astype(dtype)
    got = Tensor(x).exp().data
    np.testing.assert_allclose(got, wanted, rtol=2 * info.eps, atol=info.smallest_subnormal)
    with np.errstate(all="ignore"):
        x = np.concatenate(
            [np.geomspace(info.tiny, info.max, 5000), [info.smallest_subnormal, info.tiny / 3],
             [1, 1 + info.eps, 1 - info.eps, 0, -0.0, -1, -info.tiny, np.inf, -np.inf, np.nan]]
        ).astype(dtype)  # fmt: skip
        wanted = np.log(x.astype(np.longdouble)).astype(dtype)
    np.testing.assert_allclose(Tensor(x).log().data, wanted, rtol=3 * info.eps)


def test_values_that_are_not_finite(backend):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -2.0])
    got = Tensor(x)
    np.testing.assert_array_equal(got.clamp(-1, 1).data, [np.nan, 1, -1, 0, -1])
    np.testing.assert_array_equal(got.clamp(min=-1).data, [np.nan, np.inf, -1, 0, -1])
    np.testing.assert_array_equal(got.clamp(max=-1).data, [np.nan, -1, -np.inf, -1, -2])
    np.testing.assert_array_equal(got.abs().data, [np.nan, np.inf, np.inf, 0, 2])
    np.testing.assert_array_equal(got.sqrt().data, [np.nan, np.inf, np.nan, 0, np.nan])
    np.testing.assert_array_equal(got.pow(0.5).data[1:4:2], [np.inf, 0])
    np.testing.assert_array_equal(got.reciprocal().data, [np.nan, 0, -0.0, np.inf, -0.5])


SHAPES = [
    ((5,), (5,)), ((3, 4), (4,)), ((4,), (3, 4)), ((2, 3, 5), (3, 5)), ((2, 3, 5), (1, 3, 5)),
    ((3, 5), (1, 5)), ((1, 5), (5,)), ((3, 5), ()), ((), (3, 5)), ((3, 5), (1,)), ((1,), (1, 1)),
    ((1000, 3), (3,)), ((5000,), (1,)), ((300, 70), (70,)), ((9, 700), (700,)), ((0, 3), (3,)),
    ((3,), (0, 3)), ((2, 0), (0,)), ((3000, 1), (1,)), ((), ()), ((1025, 300), (300,)),
]  # fmt: skip


@TYPES
@pytest.mark.parametrize("function", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_combine(backend, shapes, function, dtype):
    rng = np.random.default_rng(1)
    given = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    given[1] = np.asarray(np.where(np.abs(given[1]) < 0.1, 0.5, given[1]), dtype)
    outputs, gradients = checks.run(Combine(function), given)
    wanted, wanted_gradients = checks.reference(Combine(function), given)
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(outputs[0], wanted[0], rtol=2 * eps)
    # sums over the repetitions, of terms of up to 40 (quotients by 0.1, twice), in blocks
    n = max(x.size for x in given) if given[0].size != given[1].size else 1
    for got, want in zip(gradients, wanted_gradients, strict=True):
        largest = 6 * 4 / 0.1**2 if function == "div" else 6 * 6
        np.testing.assert_allclose(got, want, rtol=8 * eps, atol=largest * eps * (1 + n**0.5))
    doubles(Combine(function), given, gradients)


@TYPES
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((5,), None), ((5,), 0), ((3, 4, 6), None), ((3, 4, 6), 0), ((3, 4, 6), 1),
        ((3, 4, 6), 2), ((700, 130), 0), ((700, 130), 1), ((5, 600, 33), 1), ((), None),
        ((200_001,), None), ((0, 3), 0), ((0, 3), None), ((0, 3), 1), ((2, 1, 3), 1),
    ],
)  # fmt: skip
def test_sum(backend, shape, axis, mean, dtype):
    x = spiky(np.random.default_rng(2), shape, dtype)
    for keepdim in (False, True):
        operation = Sum(axis, keepdim, mean)
        outputs, gradients = checks.run(operation, [x])
        wanted, wanted_gradients = checks.reference(operation, [x])
        eps = float(np.finfo(dtype).eps)
        n = x.size if axis is None else shape[axis]
        terms = np.abs(x).astype(float).sum(axis=axis, keepdims=keepdim) / (n if mean and n else 1)
        assert outputs[0].shape == wanted[0].shape
        if n == 0 and mean:
            assert np.isnan(outputs[0]).all()
            assert np.isnan(wanted[0]).all()
        else:
            # at most about 300 additions stand one behind the other
            bound = 4 * eps + 300 * eps * terms if n > 16 else (n + 2) * eps * terms
            assert (np.abs(outputs[0] - wanted[0]) <= bound).all()
        np.testing.assert_allclose(gradients[0], wanted_gradients[0], rtol=2 * eps)
        if n:
            doubles(operation, [x], gradients)


@TYPES
@pytest.mark.parametrize(
    ("shape", "axis", "pieces"),
    [
        ((5,), 0, 0), ((3, 4, 6), 0, 0), ((3, 4, 6), 1, 0), ((3, 4, 6), 2, 0), ((3, 12), 1, 4),
        ((2, 3, 8), 2, 2), ((300, 200), 1, 0), ((0, 3), 1, 0), ((7, 1), 1, 1), ((2, 300), 1, 300),
    ],
)  # fmt: skip
def test_maximum(backend, shape, axis, pieces, dtype):
    x = np.random.default_rng(3).integers(-3, 4, shape).astype(dtype)  # with equals
    outputs, gradients = checks.run(Maximum(axis, pieces), [x])
    wanted, wanted_gradients = checks.reference(Maximum(axis, pieces), [x])
    np.testing.assert_array_equal(outputs[0], wanted[0])
    np.testing.assert_array_equal(gradients[0], wanted_gradients[0])
    doubles(Maximum(axis, pieces), [x], gradients)


def test_the_first_nan_is_the_maximum(backend):
    x = Tensor(np.array([[1.0, np.nan, 3.0, np.nan], [1.0, 2.0, np.inf, -np.inf]]), True)
    y = x.amax(1)
    np.testing.assert_array_equal(y.data, [np.nan, np.inf])
    y.backward([1.0, 1.0])
    np.testing.assert_array_equal(x.grad, [[0, 1, 0, 0], [0, 0, 1, 0]])


@TYPES
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)), ((1, 1), (1, 1)), ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 17, 33), (2, 3, 33, 9)),
        ((2, 3, 4), (4, 5)), ((2, 2, 3, 4), (4, 5)), ((0, 4), (4, 5)), ((3, 0), (0, 5)),
        ((0, 3, 4), (0, 4, 5)), ((64, 130), (130, 65)), ((3, 4), (4, 0)),
        ((40, 20, 30), (40, 30, 10)),
    ],
)  # fmt: skip
def test_matmul(backend, a, b, dtype):
    rng = np.random.default_rng(4)
    given = [rng.normal(size=a).astype(dtype), rng.normal(size=b).astype(dtype)]
    outputs, gradients = checks.run(Matmul(), given)
    wanted, wanted_gradients = checks.reference(Matmul(), given)
    eps = float(np.finfo(dtype).eps)
    # sums of products of numbers of order 1 (below 5)
    np.testing.assert_allclose(outputs[0], wanted[0], atol=8 * max(a[-1], 1) * eps)
    for got, want in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(got, want, atol=8 * (max(a + b) + 1) * 4 * eps)
    doubles(Matmul(), given, gradients)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_of_map(function):
    checks.check_gradients(of(function), [argument(function, 40, np.float64)])


@pytest.mark.parametrize("function", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("shapes", SHAPES[:12], ids=str)
def test_gradients_of_combine(function, shapes):
    rng = np.random.default_rng(0)
    given = [rng.uniform(0.5, 2, size=shape) for shape in shapes]
    checks.check_gradients(Combine(function), given)


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        (Sum(), [(3, 4)]),
        (Sum(1, mean=True), [(3, 4, 5)]),
        (Sum(0, keepdim=True), [(3, 4)]),
        (Maximum(1), [(3, 4)]),
        (Maximum(1, 3), [(2, 6)]),
        (Matmul(), [(3, 4), (4, 2)]),
        (Matmul(), [(2, 3, 4), (2, 4, 2)]),
        (Matmul(), [(2, 3, 4), (4, 2)]),
    ],
)
def test_gradients(operation, given):
    rng = np.random.default_rng(0)
    checks.check_gradients(operation, [rng.normal(size=shape) for shape in given])


def test_operators(backend):
    rng = np.random.default_rng(0)
    x, y = Tensor(rng.normal(size=(2, 3))), Tensor(rng.normal(size=(2, 3)))
    a, b = x.data, y.data
    row = np.array([1, 2, 3])
    pairs = [
        (x + y, a + b), (x - y, a - b), (x * y, a * b), (x / y, a / b), (-x, -a),
        (x + 2, a + 2), (2 + x, 2 + a), (x - 2, a - 2), (2 - x, 2 - a), (x * 3, a * 3),
        (3 * x, 3 * a), (x / 3, a / 3), (x + row, a + row), (row + x, row + a),
        (row * x, row * a), (row - x, row - a), (x / row, a / row), (x * np.float32(2), a * 2),
        (x @ y.transpose(0, 1), a @ b.T), (x @ b.T, a @ b.T), (x.pow(2), a**2), (x[1], a[1]),
        (x.mean(), a.mean()), (x.sum(1), a.sum(1)), (x.mean(-1, True), a.mean(-1, keepdims=True)),
        (x.square().sum((1,)), (a**2).sum(1)),
    ]  # fmt: skip
    for i, (got, want) in enumerate(pairs):
        assert got.dtype == np.float64, i
        np.testing.assert_allclose(got.data, want, rtol=1e-14, atol=1e-15, err_msg=str(i))


def test_one_tensor_as_both_operands(backend):
    x = Tensor(np.array([1.0, -2.0, 3.0]), requires_grad=True)
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [2, -4, 6])
    x.grad = None
    (x - x).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0, 0])


def test_float32_stays_float32():
    x = Tensor(np.ones((2, 3), np.float32))
    for made in (x + 1, x * np.arange(3.0), x.mean(), x / 3, -x, x.pow(1.5), x + np.float64(2)):
        assert made.dtype == np.float32


def test_any_number_of_threads_has_the_same_bits():
    rng = np.random.default_rng(0)
    x, row = spiky(rng, (3000, 401)), spiky(rng, (401,))
    one, two = spiky(rng, (40, 33, 65)), spiky(rng, (40, 65, 31))
    cases = [
        (Combine("mul"), [x, row]), (Combine("div"), [x, row + 100]), (Sum(), [x]),
        (Sum(0), [x]), (Sum(1), [x]), (Matmul(), [one, two]), (Matmul(), [x, x[:401, :50].copy()]),
        (Combine("mul"), [x, row[:1].copy()]),
    ]  # fmt: skip
    before = _native.num_threads()
    found = []
    try:
        for threads in (1, 2):
            _native.set_num_threads(threads)
            found.append([checks.run(operation, given) for operation, given in cases])
    finally:
        _native.set_num_threads(before)
    for (outputs, gradients), (others, other_gradients) in zip(*found, strict=True):
        np.testing.assert_array_equal(outputs[0], others[0])
        for got, other in zip(gradients, other_gradients, strict=True):
            np.testing.assert_array_equal(got, other)


def test_bad_arguments_are_refused():
    x = Tensor(np.ones((2, 3)))
    cases = [
        (lambda: x + Tensor(np.ones(2)), ValueError, r"add: shapes must be equal, or one the end"),
        (
            lambda: x * Tensor(np.ones((2, 2))),
            ValueError,
            "mul: shapes must be equal.*broadcasting than of axes of 1",
        ),
        (lambda: x + Tensor(np.ones(3, np.float32)), TypeError, "combine: tensors must have one"),
        (lambda: x + "a", TypeError, "add: want a tensor, an array of real numbers or a number"),
        (lambda: x + np.array(["a"]), TypeError, "add: want a tensor"),
        (lambda: x @ 3, TypeError, "matmul: want a tensor or an array, got a number"),
        (
            lambda: x @ Tensor(np.float64(1)),
            ValueError,
            "matmul: operands must have 2 axes or more",
        ),
        (lambda: x @ Tensor(np.ones(2)), ValueError, r"matmul: operands must have shapes"),
        (lambda: x @ x, ValueError, r"matmul: operands must have shapes \(..., M, K\)"),
        (lambda: x.sum(2), ValueError, "sum: dim must be an axis of 2, got 2"),
        (lambda: x.mean((0, -2)), ValueError, "mean: dim must be an axis, or different ones"),
        (lambda: Tensor([1, 2]).mean(), TypeError, "mean: want real numbers, got int64"),
        (lambda: x.pow(x), TypeError, "pow: exponent must be a number, got Tensor"),
        (lambda: x.clamp(), ValueError, "clamp: want min, max or both"),
        (lambda: Tensor(np.ones((2, 0))).amax(1), ValueError, "amax: axis 1 of shape"),
        (lambda: maxout(x, 2), ValueError, "maxout: the last axis must be a multiple of 2, got 3"),
        (lambda: maxout(x, 0), ValueError, "maxout: pieces must be positive"),
        (lambda: maxout(Tensor(1.0), 1), ValueError, "maxout: dim must be an axis"),
        (lambda: x.logcumsumexp(0), AttributeError, "Tensor has no 'logcumsumexp'"),
        (lambda: x.norm(3), ValueError, "norm: p must be 1 or 2, got 3"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
    assert arithmetic.add(x, 1).data[0, 0] == 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lengths_and_deviations_of_0_have_a_gradient_of_0(backend, dtype):
    """As PyTorch's: a pair of equal points does not end a training with NaN."""
    given = np.array([[0, 0, 0], [2, 2, 2], [1e-9, 0, 0], [3, 0, 4], [np.inf, 0, 0]], dtype)
    x = Tensor(given, requires_grad=True)
    lengths = x.norm(dim=1)
    np.testing.assert_array_equal(lengths.data[[0, 3, 4]], np.array([0, 5, np.inf], dtype))
    np.testing.assert_allclose(lengths.data[2], dtype(1e-9), rtol=1e-5)
    lengths[:4].sum().backward()
    third = dtype(1 / np.sqrt(3))
    wanted = [[0, 0, 0], [third] * 3, [1, 0, 0], [0.6, 0, 0.8]]
    np.testing.assert_allclose(x.grad[:4], wanted, rtol=1e-5)
    x.grad = None
    x[:2].std(dim=1).sum().backward()
    np.testing.assert_array_equal(x.grad, np.zeros((5, 3)))
    assert np.isnan(Tensor(np.array([1, np.nan], dtype)).norm().item())
    with pytest.raises(TypeError, match="norm: want real numbers, got int64"):
        Tensor([1, 2]).norm()


def test_whole_numbers_times_real_ones():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    counts = Tensor(np.array([[1, 0], [2, 1]]))
    np.testing.assert_array_equal((counts @ x).data, counts.data @ x.data)
    np.testing.assert_array_equal((x.T @ counts).data, x.data.T @ counts.data)


X = np.ones((2, 3), np.float32)
ROW = np.ones(3, np.float32)
PLACES = np.zeros(2, np.int64)
MASK = np.ones((2, 3), np.bool_)
BAD_CALLS = [
    ("expand", (0,), [X], [X], []),
    ("expand", (), [X[:1]], [X], []),
    ("expand", (2,), [X[:1]], [X], []),
    ("expand", (1,), [X[:1]], [X], []),
    ("expand", (0,), [X[:1, :2]], [X], []),
    ("expand", (0,), [(1, 3)], [X], []),
    ("masked_fill", (), [X, MASK], [X], []),
    ("masked_fill", (0,), [X], [X], []),
    ("masked_fill", (0,), [X, X], [X], []),
    ("masked_fill", (0,), [X, np.ones((2, 2), np.bool_)], [X], []),
    ("masked_fill", (0,), [X, (2, 3)], [X], []),
    ("masked_fill", (0,), [X, MASK], [ROW], []),
    ("map", (0, 1, 0), [X], [np.ones((3, 2), np.float32)], []),
    ("map", (11, 1, 0), [X], [X], []),
    ("map", (-1, 1, 0), [X], [X], []),
    ("map", (0.5, 1, 0), [X], [X], []),
    ("map", (0, 1), [X], [X], []),
    ("map", (0, 1, 0), [(2, 3)], [X], []),
    ("map", (0, 1, 0), [X.astype(np.uint8)], [X], []),
    ("map", (0, 1, 0), [X], [X], [X]),
    ("combine", (0,), [X, np.ones(2, np.float32)], [X], []),
    ("combine", (0,), [X, X], [ROW], []),
    ("combine", (4,), [X, X], [X], []),
    ("combine", (0,), [X], [X], []),
    ("combine", (0,), [X, None], [X], []),
    ("combine", (0,), [X, (3,)], [X], []),
    ("combine", (0,), [ROW, ROW], [X], []),
    ("combine", (0,), [X, X.astype(np.int64)], [X], []),
    ("sum", (0, 0), [X], [np.ones(2, np.float32)], []),
    ("sum", (2, 0), [X], [ROW], []),
    ("sum", (-2, 0), [X], [ROW], []),
    ("sum", (-1, 0), [X], [ROW], []),
    ("sum", (0,), [X], [ROW], []),
    ("sum", (0, 0), [None], [ROW], []),
    ("sum", (0, 0), [X.astype(bool)], [ROW], []),
    ("maximum", (1, 0), [X], [np.ones(2, np.float32)], []),
    ("maximum", (1, 0), [X], [np.ones(2, np.float32)], [np.ones(2, np.float32)]),
    ("maximum", (1, 0), [X], [np.ones(2, np.float32)], [(2,)]),
    ("maximum", (2, 0), [X], [np.ones(2, np.float32)], [PLACES]),
    ("maximum", (1, 2), [X], [np.ones(2, np.float32)], [PLACES]),
    ("maximum", (1, 0), [X], [ROW], [np.zeros(3, np.int64)]),
    ("maximum", (1, 0), [np.ones((2, 0), np.float32)], [np.ones(2, np.float32)], [PLACES]),
    ("matmul", (), [X, X], [X], []),
    ("matmul", (), [X, ROW], [X], []),
    ("matmul", (), [X, X.T.copy()], [X], []),
    ("matmul", (), [X, None], [np.ones((2, 2), np.float32)], []),
    ("matmul", (1,), [X, X.T.copy()], [np.ones((2, 2), np.float32)], []),
    ("matmul", (), [X, X.T.astype(np.uint8, order="C")], [np.ones((2, 2), np.float32)], []),
    ("matmul", (), [X[None], np.ones((2, 3, 2), np.float32)], [np.ones((1, 2, 2), np.float32)], []),
]


@pytest.mark.parametrize("call", BAD_CALLS)
def test_the_native_code_refuses_what_does_not_fit(call):
    name, options, inputs, outputs, saved = call
    outputs = [x.copy() for x in outputs]
    with pytest.raises(ValueError, match="do not fit"):
        _native.nn.forward(
            _dispatch.levels["base"], name, options, inputs, outputs, saved, f64=False
        )


def test_the_native_code_refuses_to_go_back_without_what_it_reads():
    square = np.ones((2, 2), np.float32)
    for name, options, inputs, output, saved in [
        ("map", (5, 0, 0), [(2, 3)], X, []),
        ("combine", (2,), [(2, 3), X], X, []),
        ("combine", (2,), [X, (2, 3)], X, []),
        ("combine", (3,), [X, (2, 3)], X, []),
        ("maximum", (1, 0), [(2, 3)], np.ones(2, np.float32), [(2,)]),
        ("matmul", (), [(2, 3), np.ones((3, 2), np.float32)], square, []),
        ("matmul", (), [X, (3, 2)], square, []),
    ]:
        into = [np.ones(x if isinstance(x, tuple) else x.shape, np.float32) for x in inputs]
        with pytest.raises(ValueError, match="do not fit"):
            _native.nn.backward(
                _dispatch.levels["base"], name, options, inputs, [output.shape], saved, [output],
                into, add=0, f64=False,
            )  # fmt: skip


def test_a_place_out_of_range_is_skipped():
    """What forward kept is the caller's: no write may go beyond the gradient."""
    for place in (-1, 3, 1 << 40):
        into = np.zeros((2, 3), np.float32)
        _native.nn.backward(
            _dispatch.levels["base"], "maximum", (1, 0), [(2, 3)], [(2,)],
            [np.full(2, place)], [np.ones(2, np.float32)], [into], add=0, f64=False,
        )  # fmt: skip
        assert not into.any()
