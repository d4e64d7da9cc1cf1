from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import LENGTHS, canary_intact, spiky, with_canary
from firth.kernels import to_bfloat16


def check(got, x):
    """Against the package ml_dtypes, bit for bit but for the payload of NaN."""
    assert got.dtype == np.uint16
    assert got.shape == x.shape
    nan = np.isnan(x)
    with np.errstate(over="ignore", invalid="ignore"):
        want = x.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert_array_equal(got[~nan], want[~nan])
    assert np.isnan(got[nan].view(ml_dtypes.bfloat16).astype(np.float32)).all()
    assert_array_equal(got[nan] >> 15, np.signbit(x[nan]))
    assert (got[nan] & 0x40).all(), "quiet"


@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(backend, n):
    x = spiky(np.random.default_rng(n), (5, n))
    check(to_bfloat16(x), x)
    out, whole = with_canary((5, n), np.uint16)
    assert to_bfloat16(x, out=out) is out
    check(out, x)
    assert canary_intact(whole)


def test_every_upper_half_and_edges_of_rounding(backend):
    """All signs, exponents and digits, followed by what rounds down, up, and is a tie."""
    upper = np.arange(2**16, dtype=np.uint32) << 16
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        x = (upper | np.uint32(lower)).view(np.float32)
        check(to_bfloat16(x), x)


def test_layouts_and_overlap(backend):
    whole = spiky(np.random.default_rng(1), (20, 70))
    raw = np.frombuffer(b"0" + whole.tobytes(), np.uint8)[1:].view(np.float32).reshape(20, 70)
    for x in (whole[::2], whole[:, ::2], whole[::-1], np.asfortranarray(whole), raw, whole[0],
              whole.reshape(2, 10, 70), np.broadcast_to(whole[0], (3, 70))):  # fmt: skip
        check(to_bfloat16(x), x)
    want = to_bfloat16(whole)
    out = np.empty((70, 20), np.uint16).T
    assert to_bfloat16(whole, out=out) is out
    assert_array_equal(out, want)
    own = whole.copy()
    to_bfloat16(own, out=own.view(np.uint16)[:, :70])
    assert_array_equal(own.view(np.uint16)[:, :70], want)
    assert to_bfloat16(np.float32(1)) == to_bfloat16(1.0) == 0x3F80


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
def test_empty(backend, shape):
    assert to_bfloat16(np.empty(shape, np.float32)).shape == shape


def test_errors():
    with pytest.raises(TypeError, match=r"^to_bfloat16: x must be float32"):
        to_bfloat16(np.ones(3))
    with pytest.raises(ValueError, match=r"^to_bfloat16: out must have shape"):
        to_bfloat16(np.ones(3, np.float32), out=np.ones(3, np.float32))
