"""Products of bytes: exact sums in int32, by every backend and level."""

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
