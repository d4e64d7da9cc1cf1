from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import spiky
from firth.kernels import rotary, rotary_table

PAIRS = pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "neighbours"])


def turned(x, positions, theta=10000.0, rotated=None, interleaved=False):
    """In complex numbers: pair i of position p times e^(i p theta^(-2 i / rotated))."""
    rotated = x.shape[-1] if rotated is None else rotated
    half = rotated // 2
    places = np.arange(rotated).reshape(half, 2).T if interleaved else np.arange(rotated).reshape(
        2, half
    )  # fmt: skip
    z = x[..., places[0]].astype(float) + 1j * x[..., places[1]]
    rates = theta ** (-2.0 * np.arange(half) / max(rotated, 1))
    z = z * np.exp(1j * np.asarray(positions, float)[..., None, None] * rates)
    want = x.astype(float)
    want[..., places[0]], want[..., places[1]] = z.real, z.imag
    return want


def check(got, x, positions, **options):
    """A product with a rounded cosine, one with a rounded sine, and their sum: 3 roundings each."""
    want = turned(x, positions, **options)
    size = np.abs(x).max(-1, keepdims=True, initial=0)
    assert got.dtype == np.float32
    assert (np.abs(got - want) <= 4 * np.finfo(np.float32).eps * size + 1e-44).all()


@PAIRS
@pytest.mark.parametrize("half", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64])
def test_widths(backend, half, interleaved):
    rng = np.random.default_rng(half)
    for width in (2 * half, 2 * half + 5):
        x = spiky(rng, (6, 3, width))
        positions = [0, 1, 2, 1000, 31, 5]
        options = {"rotated": 2 * half, "interleaved": interleaved}
        got = rotary(x, positions, **options)
        check(got, x, positions, **options)
        assert_array_equal(got[..., 2 * half :], x[..., 2 * half :])
        assert_array_equal(got[0], x[0])
        assert_array_equal(got, rotary.reference(x, positions, **options))  # bit for bit
    assert np.abs(got[1:, :, : 2 * half] - x[1:, :, : 2 * half]).max() > 0.1


@PAIRS
def test_shapes_positions_and_theta(backend, interleaved):
    x = spiky(np.random.default_rng(1), (2, 4, 3, 10))
    rows = np.array([[3, 1, 4, 1], [5, 9, 2, 6]])
    for positions in (rows, rows[0], rows.astype(np.uint8), rows[0].tolist()):
        for theta in (10000.0, 500000, 2.5):
            options = {"theta": theta, "interleaved": interleaved}
            got = rotary(x, positions, **options)
            check(got, x, np.broadcast_to(positions, (2, 4)), **options)
    # a far position costs no table of all positions before it
    got = rotary(x, [2**31 - 1, 0, 0, 7], interleaved=interleaved)
    assert_array_equal(got[:, 1:3], x[:, 1:3])
    lengths = [np.hypot(*np.split(y, 2, -1)) for y in (got, x)]
    if not interleaved:
        np.testing.assert_allclose(*lengths, rtol=1e-5)
    assert_array_equal(rotary(x, rows, rotated=0), x)


@PAIRS
def test_layouts_and_out(backend, interleaved):
    whole = spiky(np.random.default_rng(2), (6, 4, 20))
    positions = np.arange(6)
    raw = np.frombuffer(b"0" + whole.tobytes(), np.uint8)[1:].view(np.float32).reshape(6, 4, 20)
    for x in (whole, whole[..., ::2], whole[:, ::-1], np.asfortranarray(whole), raw,
              np.ascontiguousarray(whole.swapaxes(0, 1)).swapaxes(0, 1)):  # fmt: skip
        want = rotary.reference(x.copy(), positions, interleaved=interleaved)
        before = x.copy()
        assert_array_equal(rotary(x, positions, interleaved=interleaved), want)
        assert_array_equal(x, before)
        for out in (np.empty(x.shape, np.float32), np.empty(x.shape[::-1], np.float32).T):
            assert rotary(x, positions, interleaved=interleaved, out=out) is out
            assert_array_equal(out, want)
    want = rotary(whole, positions, interleaved=interleaved)
    room = np.full((8, 4, 20), 7, np.float32)
    for first in (0, 1):
        room[:6] = whole
        rotary(room[:6], positions, interleaved=interleaved, out=room[first : first + 6])
        assert_array_equal(room[first : first + 6], want)
        assert (room[7] == 7).all()


@PAIRS
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 1e-45])
def test_values(backend, value, interleaved):
    x = np.ones((3, 2, 34), np.float32)
    x[1, 1, 33] = value
    got = rotary(x, [0, 1, 2], interleaved=interleaved)
    assert_array_equal(got, rotary.reference(x, [0, 1, 2], interleaved=interleaved))
    partner = 32 if interleaved else 16
    rest = np.delete(got[1, 1], [partner, 33])
    assert_array_equal(rest, np.delete(got[1, 0], [partner, 33]))


@pytest.mark.parametrize("shape", [(0, 2, 4), (3, 0, 4), (3, 2, 0), (0, 3, 2, 4)])
def test_empty(backend, shape):
    x = np.empty(shape, np.float32)
    assert rotary(x, np.zeros(shape[-3], int)).shape == shape


def test_table():
    cosines, sines = rotary_table(50, 6, theta=100.0)
    assert cosines.shape == sines.shape == (50, 3)
    angles = np.arange(50)[:, None] * np.array([1, 100 ** (-1 / 3), 100 ** (-2 / 3)])
    assert np.abs(cosines - np.cos(angles)).max() < 6e-8
    assert np.abs(sines - np.sin(angles)).max() < 6e-8
    assert cosines.dtype == sines.dtype == np.float32


X = np.ones((2, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((X[0], [0]), {}, ValueError, r"x must have shape \(..., tokens, heads, head_width\)"),
        ((X.astype(float), [0, 1]), {}, TypeError, "x must be float32"),
        ((X, [0, 1, 2]), {}, ValueError, r"positions must have shape \(2,\) or \(2,\)"),
        ((X, [0, -1]), {}, IndexError, r"positions must be in \[0, 2147483648\), got -1"),
        ((X, [0, 2**31]), {}, IndexError, "positions must be in"),
        ((X, [0.0, 1.0]), {}, TypeError, "positions must be integers"),
        ((X, [0, 1]), {"rotated": 3}, ValueError, "rotated must be even, got 3"),
        ((X, [0, 1]), {"rotated": 6}, ValueError, "rotated must be a whole number from 0 to 4"),
        ((X[..., :3], [0, 1]), {}, ValueError, "rotated must be even, got 3"),
        ((X, [0, 1]), {"theta": 0}, ValueError, "theta must be a number above 0"),
        ((X, [0, 1]), {"theta": np.nan}, ValueError, "theta must be a number above 0"),
        ((X, [0, 1]), {"theta": "10000"}, TypeError, "theta must be a number above 0"),
        ((X, [0, 1]), {"out": X[:1]}, ValueError, "out must have shape"),
    ],
)
def test_errors(arguments, options, error, text):
    with pytest.raises(error, match=f"^rotary: {text}"):
        rotary(*arguments, **options)
