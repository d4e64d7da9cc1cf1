from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import LENGTHS, canary_intact, spiky, with_canary
from firth.kernels import gated
from firth.kernels.matmul import ACTIVATIONS

EACH = pytest.mark.parametrize("activation", ACTIVATIONS)


def check(got, gate, up, activation):
    """8 ULP of the activation, as matmul promises it (more for gelu_tanh, and without fma), and the
    product's rounding. Where the exponential is below the least normal number it is 0."""
    assert got.dtype == np.float32
    rounded = gated.reference(gate, up, activation)
    finite = np.isfinite(rounded)
    assert_array_equal(got[~finite], rounded[~finite])
    got, z, up = got[finite], gate[finite].astype(float), up[finite].astype(float)
    want = gated.reference(z, up, activation)
    units = 9 + 4 * np.abs(z + 0.044715 * z**3) + z * z
    error = np.minimum(units * float(np.finfo(np.float32).eps), 1) * np.abs(want)
    assert (
        np.abs(got - want) <= error + 200 * float(np.finfo(np.float32).tiny) * (1 + abs(up))
    ).all()


@EACH
@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(backend, n, activation):
    rng = np.random.default_rng(n)
    gate, up = spiky(rng, (5, n)), spiky(rng, (5, n))
    got = gated(gate, up, activation)
    check(got, gate, up, activation)
    out, whole = with_canary((5, n))
    assert gated(gate, up, activation, out=out) is out
    assert_array_equal(out, got)
    assert canary_intact(whole)


def test_silu_is_the_default(backend):
    gate, up = spiky(np.random.default_rng(1), (2, 3, 33))
    assert_array_equal(gated(gate, up), gated(gate, up, "silu"))
    np.testing.assert_allclose(
        gated(gate, up), up * (gate / (1 + np.exp(-gate.astype(float)))), rtol=1e-5
    )


@EACH
def test_values(backend, activation):
    values = np.float32([np.nan, np.inf, -np.inf, 0, -0.0, 1e-37, 3e38, -3e38, 80, -80, 200, -200])
    gate, up = (x.ravel().copy() for x in np.meshgrid(values, values))
    check(gated(gate, up, activation), gate, up, activation)


@EACH
def test_layouts(backend, activation):
    rng = np.random.default_rng(2)
    both = spiky(rng, (20, 66))
    halves = both[:, :33], both[:, 33:]  # of one product, read in place
    want = gated(*(half.copy() for half in halves), activation)
    assert_array_equal(gated(*halves, activation), want)
    assert_array_equal(gated(halves[0], halves[1].copy(), activation), want)
    assert_array_equal(gated(np.asfortranarray(halves[0]), halves[1], activation), want)
    assert_array_equal(gated(halves[0][::-1], halves[1][::-1], activation), want[::-1])
    assert_array_equal(gated(halves[0][:, ::-1], halves[1][:, ::-1], activation)[:, ::-1], want)
    assert_array_equal(
        gated(*(half.reshape(4, 5, 33) for half in halves), activation), want.reshape(4, 5, 33)
    )
    once = np.broadcast_to(halves[1][3], (20, 33))
    assert_array_equal(gated(halves[0], once, activation)[3], want[3])
    for place in (0, 1):
        given = [half.copy() for half in halves]
        assert gated(*given, activation, out=given[place]) is given[place]
        assert_array_equal(given[place], want)
    room = np.zeros((21, 33), np.float32)
    room[:20] = halves[0]
    gated(room[:20], halves[1], activation, out=room[1:])
    assert_array_equal(room[1:], want)
    given = both.copy()
    gated(given[:, :33], given[:, 33:], activation, out=given[:, 33:])
    assert_array_equal(given[:, 33:], want)
    assert_array_equal(given[:, :33], halves[0])


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
def test_empty(backend, shape):
    x = np.empty(shape, np.float32)
    assert gated(x, x).shape == shape


@pytest.mark.parametrize(
    ("gate", "up", "options", "error", "text"),
    [
        ("f8", "f4", {}, TypeError, "gate must be float32"),
        ("f4", "i4", {}, TypeError, "up must be float32"),
        ("f4", "f4", {"activation": "tanh"}, ValueError, "activation must be one of .*got 'tanh'"),
        ("f4", "f4", {"out": np.empty((3, 2), "f4")}, ValueError, "out must have shape"),
    ],
)
def test_errors(gate, up, options, error, text):
    with pytest.raises(error, match=f"^gated: {text}"):
        gated(np.ones((2, 3), gate), np.ones((2, 3), up), **options)


def test_shapes_that_differ():
    ones = np.ones((2, 3), np.float32)
    for gate, up in ((ones, ones[:1]), (ones, ones[0]), (np.float32(1), np.float32(1))):
        with pytest.raises(ValueError, match=r"^gated: gate and up must have one shape"):
            gated(gate, up)
