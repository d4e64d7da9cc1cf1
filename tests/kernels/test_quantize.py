from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import firth
from conftest import LENGTHS, spiky
from firth import _native
from firth.kernels import matmul, pack, quantize_rows, quantize_weights

BOTH = pytest.mark.parametrize(
    "function", [quantize_rows, quantize_weights], ids=["rows", "weights"]
)
EPS = float(np.finfo(np.float32).eps)


def check(function, x):
    """The codes are within half a step of x, and every number is the reference's, bit for bit.

    Half a step, and what three roundings of a quotient of up to 255 lose: 255 * 3 eps / 2 steps.
    """
    got = function(x)
    codes, scales, others = got
    for one, other in zip(got, function.reference(x), strict=True):
        assert one.dtype == other.dtype
        assert_array_equal(one, other)
        if one.dtype == np.float32:
            assert_array_equal(np.signbit(one), np.signbit(other))
    values = codes * scales.astype(float)[:, None]
    if function is quantize_rows:
        values += others.astype(float)[:, None]
    else:
        assert_array_equal(others, codes.sum(axis=1, dtype=np.float64).astype(np.float32))
        assert np.abs(codes.astype(int)).max(initial=0) <= 127
    half = scales[:, None] * (0.5 + 400 * EPS) + 2.0**-118
    rounding = EPS * np.abs(x).max(axis=1, keepdims=True, initial=0)
    assert (np.abs(values - x) <= half + rounding).all()
    return got


@BOTH
@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(backend, n, function):
    x = spiky(np.random.default_rng(n), (7, n))
    x[1] = np.abs(x[1])
    x[2] = 3.25
    x[3] = np.where(np.arange(n) % 2, -0.0, 0.0)
    codes, scales, _ = check(function, x)
    if n > 1:
        assert (scales[[0, 1, 4, 5, 6]] > 0).all()
        top = codes.astype(int).max(axis=1)
        if function is quantize_rows:
            assert (top[[0, 1, 4, 5, 6]] == 255).all()
            assert (codes.min(axis=1) == 0).all()
            assert scales[2] == 0
        else:
            assert (np.abs(codes.astype(int)).max(axis=1)[[0, 1, 2, 4, 5, 6]] == 127).all()


@BOTH
def test_last_elements_count(backend, function):
    """The greatest and the least number, alone in the last, partial vector."""
    for n in (2, 9, 17, 33, 65):
        for top, low in ((100, 0), (0, -100)):
            x = np.zeros((1, n), np.float32)
            x[0, -1] = top + low
            codes, scales, _ = check(function, x)
            assert scales[0] == np.float32(100) / np.float32(255 if function is quantize_rows
                                                              else 127)  # fmt: skip
            assert codes[0, -1] != codes[0, 0]


@BOTH
def test_ties_go_to_even(backend, function):
    # the step is 1, so that halves are exact
    if function is quantize_rows:
        x = np.float32([[0, 0.5, 1.5, 2.5, 254.5, 255, 100.49999, 100.50001]])
        want = [0, 0, 2, 2, 254, 255, 100, 101]
    else:
        x = np.float32([[127, 0.5, -0.5, 1.5, -1.5, -2.5, 126.5, -126.5]])
        want = [127, 0, 0, 2, -2, -2, 126, -126]
    assert_array_equal(check(function, x).codes[0], want)


@BOTH
@pytest.mark.parametrize("size", [1e-45, 1e-40, 3e-38, 1e-36, 1e-30, 1.0, 1e30, 1.6e38])
def test_magnitudes(backend, size, function):
    x = (np.random.default_rng(1).uniform(-1, 1, (5, 37)) * size).astype(np.float32)
    scales = check(function, x)[1]
    assert ((scales == 0) | (scales >= 2.0**-126)).all()
    assert (scales > 0).all() == (size > 1e-36)


@BOTH
@pytest.mark.parametrize("place", [0, 15, 32, 36])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite(backend, value, place, function):
    x = spiky(np.random.default_rng(2), (5, 37))
    whole = function(x)
    x[3, place] = value
    got = function(x)
    rest = [0, 1, 2, 4]
    for one, other in zip(got, whole, strict=True):
        assert_array_equal(one[rest], other[rest])
    assert (got.codes[3] == 0).all()
    assert np.isnan(got.scales[3])
    if function is quantize_rows:
        assert np.isnan(got.offsets[3])
    else:
        assert got.sums[3] == 0


def test_a_range_beyond_float32(backend):
    got = quantize_rows(np.float32([[3e38, -3e38, 0], [3e38, 0, 1]]))
    assert_array_equal(np.isnan(got.scales), [True, False])
    assert_array_equal(np.isnan(got.offsets), [True, False])
    assert_array_equal(got.codes, [[0, 0, 0], [255, 0, 0]])
    assert quantize_weights(np.float32([[3e38, -3e38]])).codes.tolist() == [[127, -127]]


@BOTH
def test_layouts_and_threads(backend, function):
    whole = spiky(np.random.default_rng(3), (4000, 66))
    together = function(whole)
    raw = np.frombuffer(b"0" + whole.tobytes(), np.uint8)[1:].view(np.float32).reshape(4000, 66)
    for x in (whole[::7], whole[::-1], whole[:9, ::-1], np.asfortranarray(whole[:9]), raw[:9],
              whole[:9, 5:40]):  # fmt: skip
        before = x.copy()
        check(function, x)
        assert_array_equal(x, before)
    for r in (0, 17, 3999):
        for one, other in zip(function(whole[r : r + 1]), together, strict=True):
            assert_array_equal(one[0], other[r])
    before = _native.num_threads()
    try:
        for count in (1, 3):
            firth.set_num_threads(count)
            for one, other in zip(function(whole), together, strict=True):
                assert_array_equal(one, other)
    finally:
        firth.set_num_threads(before)


@BOTH
@pytest.mark.parametrize("shape", [(0, 3), (0, 0), (2, 0)])
def test_empty(backend, shape, function):
    codes, scales, others = function(np.empty(shape, np.float32))
    assert codes.shape == shape
    assert_array_equal(scales, np.zeros(shape[0]))
    assert_array_equal(others, np.zeros(shape[0]))


@BOTH
def test_errors(function):
    name = function.reference.__name__
    for x, error, text in (
        (np.ones((2, 3)), TypeError, ". must be float32"),
        (np.ones(3, np.float32), ValueError, r". must have 2 axes, got shape \(3,\)"),
    ):
        with pytest.raises(error, match=f"^{name}: {text}"):
            function(x)


def test_a_product_of_what_was_coded(backend):
    """What the codes stand for multiplies as x and w do, within half a step on either side."""
    rng = np.random.default_rng(4)
    x, w = spiky(rng, (21, 130)), spiky(rng, (35, 130))
    x[4, 7] = np.nan
    rows, weights = quantize_rows(x), quantize_weights(w)
    got = matmul(
        rows.codes, pack(weights.codes, transposed=True), row_scales=rows.scales,
        row_offsets=rows.offsets, column_scales=weights.scales, column_sums=weights.sums,
    )  # fmt: skip
    assert got.dtype == np.float32
    assert_array_equal(np.isnan(got), np.isnan(x).any(axis=1)[:, None] | np.zeros(35, bool))
    fine = np.delete(np.arange(21), 4)
    x, scales, got = x[fine], rows.scales[fine], got[fine]
    lost = scales[:, None] / 2 * np.abs(w).sum(axis=1)
    lost = lost + (np.abs(x).sum(axis=1)[:, None] + 130 * scales[:, None] / 2) * weights.scales / 2
    assert (np.abs(got - x.astype(float) @ w.T) <= 1.01 * lost).all()
    assert np.abs(got).max() > 100
