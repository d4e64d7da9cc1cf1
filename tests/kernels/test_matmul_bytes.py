"""Products of bytes: exact sums in int32, by every backend and level, and what becomes of them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import firth
from conftest import MATMUL_SIZES, canary_intact, with_canary
from firth import _native
from firth.kernels import matmul, pack

LEFT = pytest.mark.parametrize("left", [np.uint8, np.int8])


def operands(m, n, k, left, seed=0):
    """Of the whole range, its ends among them."""
    rng = np.random.default_rng(seed)
    ends = np.iinfo(left)
    a = rng.integers(ends.min, ends.max + 1, (m, k), left)
    a[rng.random(a.shape) < 0.1] = ends.max
    a[rng.random(a.shape) < 0.1] = ends.min
    b = rng.integers(-128, 128, (k, n), np.int8)
    b[rng.random(b.shape) < 0.1] = -128
    return a, b


def exact(a, b):
    return np.matmul(a.astype(np.int64), b.astype(np.int64))


@LEFT
@pytest.mark.parametrize(
    ("m", "n", "k"), [*MATMUL_SIZES, (3, 40, 1540), (17, 33, 4200), (2, 3, 9000)]
)
def test_sizes(backend, m, n, k, left):
    a, b = operands(m, n, k, left)
    want = exact(a, b)
    transposed = np.ascontiguousarray(b.T)
    for got in (
        matmul(a, b), matmul(a, transposed.T), matmul(a, pack(b)), matmul(np.asfortranarray(a), b),
        matmul(a, pack(transposed, transposed=True)), matmul(np.asfortranarray(a), pack(b)),
    ):  # fmt: skip
        assert got.dtype == np.int32
        assert_array_equal(got, want)


@LEFT
def test_sums_wrap_as_those_of_numpy(backend, left):
    k = 70_000 if left == np.uint8 else 140_000
    a = np.full((2, k), np.iinfo(left).max if left == np.uint8 else -128, left)
    b = np.full((k, 3), -128, np.int8)
    whole = exact(a, b)
    assert abs(whole).min() > 2**31
    assert_array_equal(matmul(a, b), whole.astype(np.int32))
    k = {np.uint8: 65_793, np.int8: 131_071}[left]
    assert_array_equal(matmul(a[:, :k], b[:k]), exact(a[:, :k], b[:k]))


def test_layouts_threads_and_out(backend):
    a, b = operands(300, 130, 801, np.uint8)
    want = exact(a, b)
    assert_array_equal(matmul(a[::2], b[:, 3:60]), want[::2, 3:60])
    assert_array_equal(matmul(a[:, ::-1], b[::-1]), want)
    out, whole = with_canary((300, 130), np.int32)
    assert matmul(a, b, out=out) is out
    assert_array_equal(out, want)
    assert canary_intact(whole)
    before = _native.num_threads()
    try:
        for count in (1, 2, 3, 8):
            firth.set_num_threads(count)
            assert_array_equal(matmul(a, b), want)
    finally:
        firth.set_num_threads(before)


def test_packed_for_both_and_copied(backend):
    a, b = operands(20, 40, 70, np.int8)
    positive = (a.astype(np.int16) & 0xFF).astype(np.uint8)
    packed = pack(b)
    for one in (packed, copy.copy(packed), pickle.loads(pickle.dumps(packed))):
        assert_array_equal(matmul(positive, one), exact(positive, b))
        assert_array_equal(matmul(a, one), exact(a, b))


NAMES = ("row_scales", "row_offsets", "column_scales", "column_sums")


def factors(m, n, b, seed=1):
    """Of rows and columns, as coded numbers have them; offsets of both signs."""
    rng = np.random.default_rng(seed)
    scales, offsets, columns = rng.uniform(0.001, 0.1, m), rng.normal(0, 3, m), rng.uniform(0, 1, n)
    whole = scales, offsets, columns, b.sum(axis=0, dtype=np.int64)
    return dict(zip(NAMES, (x.astype(np.float32) for x in whole), strict=True))


def scaled(a, b, given):
    """In float64, and the bound: the sum, two products, their sum and a third product are rounded
    to float32, half an eps each, which the second order of all does not double."""
    rows, offsets, columns, sums = (given[name].astype(np.float64) for name in NAMES)
    one, other = rows[:, None] * exact(a, b), offsets[:, None] * sums
    eps = float(np.finfo(np.float32).eps)
    return (one + other) * columns, 4 * eps * (np.abs(one) + np.abs(other)) * np.abs(columns)


@pytest.mark.parametrize(
    ("m", "n", "k"), [*MATMUL_SIZES, (3, 40, 1540), (17, 33, 4200), (100, 3000, 1700)]
)
def test_scaled(backend, m, n, k):
    a, b = operands(m, n, k, np.uint8)
    given = factors(m, n, b)
    rng = np.random.default_rng(2)
    bias, residual = (rng.normal(0, 9, shape).astype(np.float32) for shape in ((n,), (m, n)))
    product, bound = scaled(a, b, given)
    got = matmul(a, b, **given)
    assert got.dtype == np.float32
    assert (np.abs(got - product) <= bound).all()
    want = np.maximum(product + bias, 0) + residual
    more = float(np.finfo(np.float32).eps) * (np.abs(product) + np.abs(bias) + np.abs(residual))
    options = {**given, "bias": bias, "activation": "relu", "residual": residual}
    whole = matmul(a, b, **options)
    assert (np.abs(whole - want) <= bound + 2 * more).all()
    if m * n * k > 10**8:  # several parts of N and of K: the reference is slow
        return
    if backend != "numba":  # whose arithmetic is float64; all others have the same bits
        assert_array_equal(got, matmul.reference(a, b, **given))
        assert_array_equal(whole, matmul.reference(a, b, **options))
    for right in (pack(b), pack(np.ascontiguousarray(b.T), transposed=True)):
        assert_array_equal(matmul(a, right, **options), whole)
    if m > 2 and n > 4:
        part = {name: x[1:3] if "row" in name else x[3:] for name, x in given.items()}
        assert_array_equal(matmul(a[1:3], b[:, 3:], **part), got[1:3, 3:])


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "silu"])
def test_scaled_and_activated(backend, activation):
    """What matmul makes of the same numbers in float32, which test_matmul.py looks into."""
    a, b = operands(21, 70, 130, np.uint8)
    given = factors(21, 70, b)
    given["column_scales"] /= 500
    z = matmul(a, b, **given)
    assert ((z > -8) & (z < 8)).mean() > 0.5
    want = np.array([
        matmul(row[:, None], np.float32([[1]]), activation=activation)[:, 0] for row in z
    ])  # fmt: skip
    got = matmul(a, b, activation=activation, **given)
    bound = 0 if backend.startswith("native") else 1e-6 * np.abs(z)
    assert (np.abs(got - want) <= bound).all()


def test_scaled_out_threads_and_layouts(backend):
    a, b = operands(300, 130, 801, np.uint8)
    given = factors(300, 130, b)
    residual = np.random.default_rng(3).normal(0, 9, (300, 130)).astype(np.float32)
    want = matmul(a, b, residual=residual, **given)
    out, whole = with_canary((300, 130), np.float32)
    assert matmul(a, b, residual=residual, out=out, **given) is out
    assert_array_equal(out, want)
    assert canary_intact(whole)
    out[...] = residual
    matmul(a, b, residual=out, out=out, **given)
    assert_array_equal(out, want)
    every_second = {name: np.repeat(x, 2)[::2] for name, x in given.items()}
    assert_array_equal(matmul(np.asfortranarray(a), b, residual=residual, **every_second), want)
    given["row_scales"] = out[0, :1].repeat(300)
    kept = {**given, "row_scales": given["row_scales"].copy()}
    room = given["row_scales"][:, None] * np.ones(130, np.float32)
    given["row_scales"] = room[:, 0]  # is overwritten by the first column
    assert_array_equal(matmul(a, b, out=room, **given), matmul(a, b, **kept))
    before = _native.num_threads()
    try:
        for count in (1, 2, 3):
            firth.set_num_threads(count)
            assert_array_equal(matmul(a, b, **kept), room)
    finally:
        firth.set_num_threads(before)


def test_scaled_nan_stays_in_its_row_or_column(backend):
    a, b = operands(20, 40, 70, np.uint8)
    given = factors(20, 40, b)
    want = matmul(a, b, **given)
    given["row_scales"][3] = given["row_offsets"][3] = given["column_scales"][5] = np.nan
    got = matmul(a, b, **given)
    assert np.isnan(got[3]).all()
    assert np.isnan(got[:, 5]).all()
    rest = np.ix_(np.delete(np.arange(20), 3), np.delete(np.arange(40), 5))
    assert_array_equal(got[rest], want[rest])


def test_scaled_lists_are_numbers(backend):
    a, b = operands(3, 4, 5, np.uint8)
    given = factors(3, 4, b)
    lists = {name: x.tolist() for name, x in given.items()}
    np.testing.assert_allclose(matmul(a, b, **lists), matmul(a, b, **given), rtol=1e-6)


FOUR = dict(zip(NAMES, (np.ones(2, "f4"), np.ones(2, "f4"), np.ones(3, "f4"), np.ones(3, "f4")),
                strict=True))  # fmt: skip


@pytest.mark.parametrize(
    ("left", "change", "error", "text"),
    [
        *(("u1", {name: None}, ValueError, "column_sums are for uint8 by int8") for name in NAMES),
        ("i1", {}, ValueError, "row_scales, .* for uint8 by int8, and all of them or none"),
        ("u1", {"row_scales": np.ones(3, "f4")}, ValueError, r"row_scales must have shape \(2,\)"),
        ("u1", {"column_sums": np.ones(2, "f4")}, ValueError, r"column_sums must have shape \(3,"),
        ("u1", {"column_scales": np.ones(3)}, TypeError, "column_scales must be float32"),
        ("u1", {"scale": 2.0}, ValueError, "scale must be 1 beside row_scales"),
        ("u1", {"bias": np.ones(3, "i4")}, TypeError, "bias must be float32"),
        ("u1", {"out": np.ones((2, 3), "i4")}, ValueError, "out must have shape .* dtype float32"),
    ],
)
def test_scaled_refused(left, change, error, text):
    with pytest.raises(error, match=f"^matmul: (.*, )?{text}"):
        matmul(np.ones((2, 4), left), np.ones((4, 3), "i1"), **{**FOUR, **change})


@pytest.mark.parametrize(
    ("a", "b", "options", "error", "text"),
    [
        ("u1", "u1", {}, TypeError, "matmul: b of bytes must be int8, got uint8"),
        ("i1", "u1", {}, TypeError, "matmul: a and b must have one dtype, got int8 and uint8"),
        ("f4", "i1", {}, TypeError, "matmul: a and b must have one dtype, got float32 and int8"),
        ("u1", "f4", {}, TypeError, "matmul: a and b must have one dtype, got uint8 and float32"),
        ("i2", "i2", {}, TypeError, "matmul: b must be .*int8.* got int16"),
        ("i1", "i1", {"scale": 2.0}, ValueError, "take no bias, activation, scale or residual"),
        ("i1", "i1", {"activation": "relu"}, ValueError, "take no bias, activation"),
        ("u1", "i1", {"bias": np.ones(3, "i4")}, ValueError, "take no bias, activation"),
        ("u1", "i1", {"residual": np.ones((2, 3), "i4")}, ValueError, "take no bias, activation"),
        (
            "u1",
            "i1",
            {"out": np.ones((2, 3), "f4")},
            ValueError,
            "out must have shape .* dtype int32",
        ),
    ],
)
def test_refused(a, b, options, error, text):
    with pytest.raises(error, match=text):
        matmul(np.ones((2, 4), a), np.ones((4, 3), b), **options)


def test_pack_refuses_unsigned():
    with pytest.raises(TypeError, match="pack: b of bytes must be int8, got uint8"):
        pack(np.ones((2, 3), np.uint8))
