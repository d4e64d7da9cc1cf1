from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import LENGTHS, canary_intact, spiky, with_canary
from firth import kernels
from firth.kernels import _dispatch, log_softmax, softmax

BOTH = pytest.mark.parametrize("function", [softmax, log_softmax], ids=["softmax", "log_softmax"])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def make(function, shape, dtype, axis=-1, seed=0):
    """A gradient, and a result of the forward pass."""
    rng = np.random.default_rng(seed)
    y = function.reference(rng.standard_normal(shape) * 3, axis)
    return spiky(rng, shape, dtype), y.astype(dtype)


def check(function, gradient, y, got, axis=-1):
    """`got` against the reference in long double. A sum of n terms errs by n eps sum|terms|, which
    reaches the result times |y| (log_softmax: e^y); the rest is a few roundings of each part."""
    assert got.shape == y.shape
    assert got.dtype == y.dtype
    wide, result = gradient.astype(np.longdouble), y.astype(np.longdouble)
    want = function.backward.reference(wide, result, axis)
    weight = np.abs(result) if function is softmax else np.exp(result)
    terms = np.abs(wide * result) if function is softmax else np.abs(wide)
    total = terms.sum(axis, keepdims=True)
    info = np.finfo(y.dtype)
    parts = np.abs(wide) * (weight if function is softmax else 1)
    bound = info.eps * ((y.shape[axis] + 8) * weight * total + 4 * parts)
    bound += info.tiny * (1 + total + parts)  # exponentials and products that underflow
    assert (np.abs(got - want) <= bound).all()


@BOTH
@DTYPES
@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(backend, n, dtype, function):
    gradient, y = make(function, (5, n), dtype)
    got = function.backward(gradient, y)
    check(function, gradient, y, got)
    if n > 1:
        assert np.abs(got).max() > 1e-3
        alone = function.backward(gradient[3], y[3])
        check(function, gradient[3], y[3], alone)
        if backend != "numpy":
            assert_array_equal(alone, got[3])
    out, whole = with_canary((5, n), dtype)
    assert function.backward(gradient, y, out=out) is out
    check(function, gradient, y, out)
    assert canary_intact(whole)


@BOTH
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_is_the_derivative(backend, axis, function):
    """Of L = sum(c f(x)) by x: central differences in long double, whose error is of h^2."""
    rng = np.random.default_rng(1)
    x, c = rng.standard_normal((2, 3, 5, 7))
    got = function.backward(c, function.reference(x, axis), axis)
    h = np.longdouble(1e-6)
    for place in np.ndindex(x.shape):
        step = np.zeros(x.shape, np.longdouble)
        step[place] = h
        up, down = (function.reference(x + s, axis) for s in (step, -step))
        assert abs((c * (up - down)).sum() / (2 * h) - got[place]) < 1e-10


@BOTH
@DTYPES
def test_axes_and_layouts(backend, dtype, function):
    for axis in range(-3, 3):
        gradient, y = make(function, (4, 5, 6), dtype, axis)
        check(function, gradient, y, function.backward(gradient, y, axis), axis)
        for out in (np.empty((4, 5, 6), dtype), np.empty((6, 5, 4), dtype).T):
            assert function.backward(gradient, y, axis, out=out) is out
            check(function, gradient, y, out, axis)
    gradient, y = make(function, (40, 70), dtype)
    for change in (
        lambda w: np.repeat(w, 2, axis=-1)[..., ::2],
        lambda w: w[:, ::-1][:, ::-1],
        lambda w: np.concatenate([w, w], axis=1)[:, :70],
        np.asfortranarray,
        lambda w: np.frombuffer(b"0" + w.tobytes(), np.uint8)[1:].view(dtype).reshape(w.shape),
    ):
        check(function, gradient, y, function.backward(change(gradient), change(y)))
    check(function, np.broadcast_to(gradient[0], y.shape), y,
          function.backward(np.broadcast_to(gradient[0], y.shape), y))  # fmt: skip


@BOTH
def test_in_place_and_overlap(backend, function):
    gradient, y = make(function, (20, 33), np.float32)
    want = function.backward(gradient, y)
    for position in (0, 1):
        given = [gradient.copy(), y.copy()]
        assert function.backward(*given, out=given[position]) is given[position]
        assert_array_equal(given[position], want)
        room = np.zeros((22, 40), np.float32)
        given = [gradient, y]
        given[position] = room[:20, :33]
        given[position][...] = (gradient, y)[position]
        function.backward(*given, out=room[1:21, 2:35])
        assert_array_equal(room[1:21, 2:35], want)
        assert not room[21].any()
        assert not room[:, 35:].any()


@BOTH
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 3)])
def test_empty(backend, shape, function):
    for axis in range(len(shape)):
        empty = np.empty(shape, np.float32)
        assert function.backward(empty, empty, axis).shape == shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_gradients_do_not_overflow(backend, dtype):
    big = float(np.finfo(dtype).max)
    gradient = np.array([[big, -big, big, -big]], dtype)
    got = softmax.backward(gradient, np.full((1, 4), 0.25, dtype))
    np.testing.assert_allclose(got, gradient / 4, rtol=1e-6)


@BOTH
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_stays_in_its_slice(backend, value, function):
    gradient, y = make(function, (4, 33), np.float32)
    want = function.backward(gradient, y)
    gradient[1, 32] = value
    got = function.backward(gradient, y)
    assert not np.isfinite(got[1]).all()
    assert_array_equal(got[[0, 2, 3]], want[[0, 2, 3]])


@BOTH
def test_errors(function):
    name = function.backward.reference.__name__
    ones = np.ones((2, 3), np.float32)
    for arguments, error, text in (
        ((ones, ones.astype(np.float64)), TypeError, f"{name}: arguments must have one dtype"),
        ((ones, np.ones((2, 3), np.int64)), TypeError, f"{name}: y must be float32 or float64"),
        ((ones, ones[:1]), ValueError, f"{name}: gradient and y must have one shape"),
        ((ones, ones, 2), np.exceptions.AxisError, f"{name}: axis 2 is out of bounds"),
    ):
        with pytest.raises(error, match=text):
            function.backward(*arguments)
    with pytest.raises(ValueError, match=f"{name}: out must have shape"):
        function.backward(ones, ones, out=ones[:1])


@pytest.mark.parametrize(
    "name", [n for n in kernels.__all__ if isinstance(getattr(kernels, n), _dispatch.Kernel)]
)
def test_only_some_kernels_have_a_gradient(name):
    function = getattr(kernels, name)
    if function in (softmax, log_softmax):
        assert isinstance(function.backward, _dispatch.Kernel)
        assert not hasattr(function.backward, "backward")
        return
    assert not hasattr(function, "backward")


def test_pickled_by_name():
    assert pickle.loads(pickle.dumps(softmax.backward)) is softmax.backward
