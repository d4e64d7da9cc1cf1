"""Activations and softmax: every backend against the page's NumPy, gradients, accuracy, limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

import network_checks as checks
from conftest import spiky
from firth import _native
from firth.kernels import _dispatch
from firth.nn.modules import activation as modules
from firth.nn.operations import activation as page
from firth.nn.operations.activation import Activation, Softmax
from firth.nn.tape import Tensor, apply

SLOPES = {"leaky_relu": 0.1, "elu": 0.7}
SMOOTH = ["none", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"]
EACH = pytest.mark.parametrize("activation", [*page.NUMBERS])
SIZES = [0, 1, 3, 7, 16, 33, 130]  # around vectors of 2 to 16 numbers
TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def operation(activation: str) -> Activation:
    return Activation(activation, SLOPES.get(activation, 0.0))


def tolerance(x: np.ndarray, activation: str, dtype: type) -> np.ndarray:
    """Some eps of the result's terms, each at most of the size of x (1 where x is small), and for
    gelu_tanh and gelu what the rounding of the exponent makes of them: |exponent| eps."""
    exponent = x * x / 2 if activation == "gelu" else np.abs(x + 0.045 * x**3)
    grows = activation in ("gelu", "gelu_tanh")
    units = 8 + (4 * np.minimum(exponent, 110) if grows else 0)
    return units * float(np.finfo(dtype).eps) * np.maximum(np.abs(x), 1)


@TYPES
@EACH
@pytest.mark.parametrize("n", SIZES)
def test_activation(backend, n, activation, dtype):
    x = spiky(np.random.default_rng(n), (n,), dtype)
    outputs, gradients = checks.run(operation(activation), [x])
    wanted, wanted_gradients = checks.reference(operation(activation), [x])
    wide = x.astype(float)
    bound = tolerance(wide, activation, dtype)
    assert outputs[0].dtype == dtype
    assert (np.abs(outputs[0] - wanted[0]) <= bound).all()
    # slopes are at most 1.2, gradients are multiplied by normal numbers (below 6)
    assert (np.abs(gradients[0] - wanted_gradients[0]) <= 6 * bound).all()


@TYPES
@EACH
def test_the_gradient_is_added_to_what_is_there(backend, activation, dtype):
    x = spiky(np.random.default_rng(0), (37,), dtype)
    alone = Tensor(x, requires_grad=True)
    apply(operation(activation), alone).backward(np.ones(37))
    twice = Tensor(x, requires_grad=True)
    for _ in range(2):
        apply(operation(activation), twice).backward(np.ones(37))
    np.testing.assert_array_equal(twice.grad, 2 * alone.grad)


@TYPES
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "elu"])
def test_few_units_in_the_last_place(backend, activation, dtype):
    """No cancellation near 0: relative errors, over all magnitudes, against long doubles."""
    sizes = np.geomspace(1e-30, 80, 4000)
    x = np.concatenate([-sizes, sizes]).astype(dtype)
    got = apply(Activation(activation, 1.0), Tensor(x)).data
    wide = x.astype(np.longdouble)
    e = np.exp(-np.abs(wide))
    wanted = {
        "tanh": lambda: np.tanh(wide),
        "sigmoid": lambda: np.where(wide < 0, e, 1) / (1 + e),
        "elu": lambda: np.where(wide > 0, wide, np.expm1(np.minimum(wide, 0))),
    }[activation]()
    units = np.abs(got - wanted) / (np.spacing(np.abs(got)).astype(np.longdouble))
    assert float(units.max()) <= 4  # without fma (SSE2) half a unit more for each product


@TYPES
@EACH
def test_limits(backend, activation, dtype):
    big = 0.9 * float(np.finfo(dtype).max)
    x = np.array([np.nan, np.inf, -np.inf, big, -big, 0, 200, -200], dtype)
    outputs, gradients = checks.run(operation(activation), [x], [np.ones(8)])
    with np.errstate(all="ignore"):
        wanted = page.function(x.astype(float), activation, SLOPES.get(activation, 0.0))
        slopes = page.gradient(x.astype(float), wanted, activation, SLOPES.get(activation, 0.0))
    np.testing.assert_allclose(outputs[0], wanted, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(gradients[0], slopes, rtol=1e-6, atol=1e-37)


@EACH
def test_gradients(activation):
    # not at corners: there is no slope
    x = np.random.default_rng(1).normal(size=(5, 7)) * 2
    checks.check_gradients(operation(activation), [x])


def test_corners():
    zero = Tensor(np.zeros(1), requires_grad=True)
    zero.relu().backward([1.0])
    assert zero.grad[0] == 0
    assert page.step(Tensor([-1.0, 0.0, 2.0])).data.tolist() == [0, 1, 1]


@TYPES
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 3, 33), (0, 4), (700, 130)])
def test_softmax(backend, shape, log, dtype):
    x = spiky(np.random.default_rng(5), shape, dtype)
    outputs, gradients = checks.run(Softmax(log), [x])
    wanted, wanted_gradients = checks.reference(Softmax(log), [x])
    eps = float(np.finfo(dtype).eps)
    largest = 1 + float(np.abs(wanted[0]).max(initial=0))
    n = shape[-1]
    # 6: normal gradients; their sum over n; log_softmax errs by eps of its own size
    np.testing.assert_allclose(outputs[0], wanted[0], atol=8 * eps * largest)
    np.testing.assert_allclose(gradients[0], wanted_gradients[0], atol=8 * 6 * n * eps * largest)


def test_softmax_rows_sum_to_one_and_add_gradients(backend):
    x = Tensor(np.random.default_rng(2).normal(size=(4, 33)), requires_grad=True)
    y = x.softmax(-1)
    np.testing.assert_allclose(y.data.sum(axis=-1), 1, rtol=1e-14)
    (y + y).backward(np.eye(4, 33))
    twice = x.grad.copy()
    x.grad = None
    x.softmax().backward(2 * np.eye(4, 33))
    np.testing.assert_allclose(twice, x.grad, atol=1e-16)


@pytest.mark.parametrize("log", [False, True])
def test_gradients_of_softmax(log):
    checks.check_gradients(Softmax(log), [np.random.default_rng(1).normal(size=(3, 7))])


@pytest.mark.parametrize("threads", [2])
def test_any_number_of_threads_has_the_same_bits(threads):
    x = spiky(np.random.default_rng(1), (500, 401))
    found = []
    before = _native.num_threads()
    try:
        for count in (1, threads):
            _native.set_num_threads(count)
            for one in (Activation("gelu"), Softmax()):
                found.append(checks.run(one, [x]))
    finally:
        _native.set_num_threads(before)
    for (out, grad), (other, other_grad) in zip(found[:2], found[2:], strict=True):
        np.testing.assert_array_equal(out[0], other[0])
        np.testing.assert_array_equal(grad[0], other_grad[0])


def test_modules():
    x = Tensor(np.random.default_rng(0).normal(size=(4, 6)))
    pairs = [
        (modules.ReLU(), page.relu(x)),
        (modules.GELU(), page.gelu(x)),
        (modules.GELU("tanh"), page.gelu(x, "tanh")),
        (modules.SiLU(), page.silu(x)),
        (modules.Tanh(), page.tanh(x)),
        (modules.Sigmoid(), page.sigmoid(x)),
        (modules.LeakyReLU(0.3), page.leaky_relu(x, 0.3)),
        (modules.ELU(0.5), page.elu(x, 0.5)),
        (modules.Softmax(-1), page.softmax(x)),
        (modules.LogSoftmax(1), page.log_softmax(x)),
        (modules.Step(), page.step(x)),
    ]
    for module, wanted in pairs:
        np.testing.assert_array_equal(module(x).data, wanted.data)
        assert repr(module).startswith(type(module).__name__)
        assert module.state_dict() == {}


def test_maxout_is_the_greatest_of_linear_pieces():
    module = modules.Maxout(5, 3, 4, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(7, 5))
    weight, bias = module.state_dict()["weight"], module.state_dict()["bias"]
    pieces = (x @ weight.T + bias).reshape(7, 4, 3)
    np.testing.assert_allclose(module(Tensor(x)).data, pieces.max(axis=1), rtol=1e-12)
    assert math.isclose(np.abs(weight).max(), 1 / math.sqrt(5), rel_tol=0.2)


def test_bad_arguments_are_refused():
    x = Tensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match="softmax: dim must be an axis of 2, got 2"):
        x.softmax(2)
    with pytest.raises(ValueError, match="log_softmax: dim must be an axis, got None"):
        x.log_softmax(None)
    with pytest.raises(ValueError, match="softmax: input must have an axis"):
        Tensor(1.0).softmax(-1)
    with pytest.raises(ValueError, match='gelu: approximate must be "none" or "tanh"'):
        x.gelu("erf")
    with pytest.raises(ValueError, match="activation must be one of"):
        apply(Activation("swish"), x)
    x = Tensor([-1.0])
    assert modules.ReLU(inplace=True)(x).item() == 0
    assert x.item() == -1


X = np.ones((2, 3), np.float32)
BAD_CALLS = [
    ("activation", (1, 0), [X], [np.ones((3, 2), np.float32)]),
    ("activation", (5, 0), [X], [X]),
    ("activation", (1.5, 0), [X], [X]),
    ("activation", (1,), [X], [X]),
    ("activation", (1, 0), [None], [X]),
    ("activation", (1, 0), [X.astype(np.uint8)], [X]),
    ("activation", (1, 0), [X], [X.astype(np.int64)]),
    ("softmax", (0,), [X], [np.ones((3, 2), np.float32)]),
    ("softmax", (), [X], [X]),
    ("softmax", (0,), [X[0, 0]], [X[0, 0]]),
    ("softmax", (0,), [X.astype(bool)], [X]),
    ("softmax", (0,), [(2, 3)], [X]),
]


@pytest.mark.parametrize("call", BAD_CALLS)
def test_the_native_code_refuses_what_does_not_fit(call):
    name, options, inputs, outputs = call
    level = _dispatch.levels["base"]
    inputs = [np.array(x) if isinstance(x, np.floating) else x for x in inputs]
    outputs = [np.array(x) for x in outputs]
    with pytest.raises(ValueError, match="do not fit"):
        _native.nn.forward(level, name, options, inputs, outputs, [], f64=False)


def test_the_native_code_refuses_to_go_back_without_what_it_reads():
    level = _dispatch.levels["base"]
    for name, options, inputs, outputs in [
        ("activation", (3, 0), [(2, 3)], [X]),  # reads x
        ("activation", (6, 0), [X], [(2, 3)]),  # reads y
        ("softmax", (0,), [X], [(2, 3)]),
    ]:
        with pytest.raises(ValueError, match="do not fit"):
            _native.nn.backward(
                level, name, options, inputs, outputs, [], [X], [X.copy()], add=0, f64=False
            )
