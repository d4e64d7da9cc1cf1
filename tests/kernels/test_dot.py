from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import LENGTHS, canary_intact, spiky, sum_tolerance, with_canary
from firth.kernels import dot


def check(a, b, got):
    """`got` against the float64 reference, within the bound on a sum of n products."""
    want = dot.reference(a.astype(np.float64), b.astype(np.float64))
    terms = dot.reference(np.abs(a).astype(np.float64), np.abs(b).astype(np.float64))
    bound = sum_tolerance(terms, a.shape[-1], a.dtype.type)
    assert (np.abs(np.asarray(got, np.float64) - want) <= bound).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(backend, n, dtype):
    rng = np.random.default_rng(n)
    a, b = spiky(rng, (5, n), dtype), spiky(rng, (5, n), dtype)
    got = dot(a, b)
    assert got.shape == (5,)
    assert got.dtype == dtype
    check(a, b, got)
    if n:
        assert np.abs(got).max() > 0


@pytest.mark.parametrize(
    ("left", "right"),
    [((7,), (7,)), ((3, 7), (7,)), ((7,), (3, 7)), ((4, 1, 7), (5, 7)), ((2, 3, 7), (2, 3, 7)),
     ((2, 1, 7), (1, 3, 7)), ((0, 7), (7,)), ((3, 0, 7), (3, 1, 7))],
)  # fmt: skip
def test_broadcasting(backend, left, right):
    rng = np.random.default_rng(0)
    a, b = spiky(rng, left), spiky(rng, right)
    got = dot(a, b)
    assert np.shape(got) == np.vecdot(a, b).shape
    check(a, b, got)


def test_layouts(backend):
    rng = np.random.default_rng(1)
    whole = spiky(rng, (6, 70))
    for a in (whole[:, ::2], whole[::2, :35], whole[::-1, :35], whole[:, 34::-1],
              np.asfortranarray(whole)[:, :35]):  # fmt: skip
        b = spiky(rng, (35,))
        check(a, b, dot(a, b))
    raw = np.zeros(whole.nbytes + 1, np.uint8)
    shifted = raw[1:].view(np.float32).reshape(whole.shape)
    shifted[:] = whole
    check(whole, whole, dot(shifted, shifted))
    whole.flags.writeable = False
    check(whole, whole, dot(whole, whole))


def test_out_and_canary(backend):
    rng = np.random.default_rng(2)
    a, b = spiky(rng, (9, 33)), spiky(rng, (9, 33))
    out, whole = with_canary((9,))
    assert dot(a, b, out=out) is out
    check(a, b, out)
    assert canary_intact(whole)
    expected = dot(a, b)
    overlapping = a[:, 0]
    dot(a, b, out=overlapping)
    assert_array_equal(overlapping, expected)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 15, 16, 32])
def test_non_finite(backend, value, place):
    a, b = np.ones((1, 33), np.float32), np.ones((1, 33), np.float32)
    a[0, place] = value
    assert_array_equal(dot(a, b), dot.reference(a, b))


def test_rows_do_not_depend_on_company_or_threads(backend):
    rng = np.random.default_rng(3)
    a, b = spiky(rng, (3000, 257)), spiky(rng, (257,))
    together = dot(a, b)
    assert_array_equal(together, np.array([dot(row, b) for row in a]))


def test_scalar_result_and_lists(backend):
    got = dot([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert isinstance(got, np.float64)
    assert got == 32.0


@pytest.mark.parametrize(
    ("a", "b", "error", "text"),
    [
        (np.ones(3, np.int64), np.ones(3), TypeError, "dot: a must be float32 or float64"),
        (np.ones(3, ">f4"), np.ones(3, ">f4"), TypeError, "native byte order"),
        (np.ones(3, np.float32), np.ones(3), TypeError, "one dtype"),
        (np.ones(3), np.ones(4), ValueError, "equal last axes"),
        (np.ones((2, 3)), np.ones((3, 3)), ValueError, "do not broadcast"),
        (np.float64(1), np.ones(3), ValueError, "equal last axes"),
    ],
)
def test_errors(a, b, error, text):
    with pytest.raises(error, match=text):
        dot(a, b)


def test_bad_out_is_refused_untouched():
    a = np.ones((2, 3))
    for out, error in (
        (np.zeros(3), ValueError),
        (np.zeros(2, np.float32), ValueError),
        ([0.0, 0.0], TypeError),
    ):
        with pytest.raises(error, match="dot: out"):
            dot(a, a, out=out)
        assert not np.any(out)
    out = np.zeros(2)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        dot(a, a, out=out)
