from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import firth
from conftest import canary_intact, spiky, sum_tolerance, with_canary
from firth import _native
from firth.kernels import _arrays, matmul, pack

# Around the register tiles (6 or 14 rows; 8, 16 or 32 columns), the blocks of rows (224), of
# columns (128) and of K (384; 768 for bfloat16), and odd K, where a pair of bfloat16 is half empty.
SIZES = [
    (1, 1, 1), (1, 31, 2), (1, 200, 33), (2, 33, 7), (3, 64, 385), (5, 7, 9), (6, 8, 16),
    (7, 9, 17), (13, 32, 64), (14, 65, 3), (15, 97, 130), (29, 130, 767), (33, 17, 769),
    (57, 300, 100), (225, 31, 40), (300, 161, 801), (0, 5, 3), (4, 0, 3), (4, 5, 0),
]  # fmt: skip


def bits(x):
    """bfloat16 bits of float32 values, rounded to nearest even; NaN stays."""
    whole = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (whole + 0x7FFF + ((whole >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


def operands(m, n, k, dtype, seed=0):
    rng = np.random.default_rng(seed)
    a, b = spiky(rng, (m, k)), spiky(rng, (k, n))
    return (bits(a), bits(b)) if dtype == "bfloat16" else (a, b)


def exact(x):
    return _arrays.widen_bfloat16(x).astype(np.float64)


def check(a, b, got):
    """`got` against NumPy in float64, within the bound on a sum of K products."""
    want = np.matmul(exact(a), exact(b))
    bound = sum_tolerance(np.matmul(np.abs(exact(a)), np.abs(exact(b))), a.shape[1])
    assert got.dtype == np.float32
    assert got.shape == want.shape
    assert (np.abs(got - want) <= bound).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_sizes(backend, m, n, k, dtype):
    a, b = operands(m, n, k, dtype)
    transposed = np.ascontiguousarray(b.T)
    results = [matmul(a, b), matmul(a, transposed.T), matmul(a, pack(b))]
    results.append(matmul(a, pack(transposed, transposed=True)))
    for got in results:
        check(a, b, got)
        if backend != "numpy":  # NumPy's BLAS chooses its order of summation by layout
            assert_array_equal(got, results[0])
    if m and n and k:
        assert np.abs(results[0]).max() > 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_same_bits_in_any_batch_and_with_any_threads(backend, dtype):
    if backend == "numpy":
        matmul(*operands(1, 1, 1, dtype))
        return  # its BLAS promises no such thing
    a, b = operands(61, 230, 801, dtype)
    together = matmul(a, b)
    packed = pack(b)
    for begin, end in ((0, 1), (60, 61), (3, 5), (7, 36), (0, 61)):
        assert_array_equal(matmul(a[begin:end], packed), together[begin:end])
    for begin, end in ((0, 1), (200, 230), (31, 33), (5, 229)):
        assert_array_equal(matmul(a, b[:, begin:end]), together[:, begin:end])
    before = _native.num_threads()
    try:
        for count in (1, 2, 3, 8):
            firth.set_num_threads(count)
            assert_array_equal(matmul(a, b), together)
            assert_array_equal(matmul(a, packed), together)
    finally:
        firth.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layouts(backend, dtype):
    whole_a, whole_b = operands(40, 70, 50, dtype)
    for a in (whole_a, whole_a[::2], whole_a[::-1], whole_a[:, ::-1], np.asfortranarray(whole_a)):
        check(a, whole_b, matmul(a, whole_b))
    for b in (whole_b[:, ::2], whole_b[:, 3:60], whole_b[::-1], np.asfortranarray(whole_b)):
        check(whole_a, b, matmul(whole_a, b))
        check(whole_a, b, matmul(whole_a, pack(b)))
    raw = np.zeros(whole_b.nbytes + 1, np.uint8)
    shifted = raw[1:].view(whole_b.dtype).reshape(whole_b.shape)
    shifted[:] = whole_b
    shifted.flags.writeable = False
    check(whole_a, whole_b, matmul(whole_a, shifted))
    check(shifted.T, whole_b, matmul(shifted.T, whole_b))


def test_out_and_canary(backend):
    a, b = operands(19, 41, 23, "float32")
    out, whole = with_canary((19, 41))
    assert matmul(a, b, out=out) is out
    check(a, b, out)
    assert canary_intact(whole)
    square, other = operands(33, 33, 33, "float32")
    expected = np.empty((33, 33), np.float32)
    matmul(square, other, out=expected)
    overlapping = square.copy()
    assert_array_equal(matmul(overlapping, other, out=overlapping), expected)
    strided = np.zeros((33, 66), np.float32)[:, ::2]
    assert_array_equal(matmul(square, other, out=strided), expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 15, 32])
def test_non_finite(backend, value, place, dtype):
    a, b = np.ones((3, 33), np.float32), np.ones((33, 35), np.float32)
    a[1, place] = value
    b[place, 34] = value
    with np.errstate(invalid="ignore"):  # some of OpenBLAS's kernels make inf * 0 on the way
        want = np.matmul(a, b)
    if dtype == "bfloat16":
        a, b = bits(a), bits(b)
    assert_array_equal(matmul(a, b), want)


def test_ml_dtypes(backend):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    a, b = operands(9, 35, 21, "bfloat16")
    typed = [x.view(ml_dtypes.bfloat16) for x in (a, b)]
    assert_array_equal(matmul(*typed), matmul(a, b))
    assert_array_equal(matmul(typed[0], pack(typed[1])), matmul(a, b))
    assert_array_equal(exact(a), typed[0].astype(np.float64))


@pytest.mark.parametrize(
    ("a", "b", "error", "text"),
    [
        (
            np.ones((2, 3)),
            np.ones((3, 2)),
            TypeError,
            "a must be float32, bfloat16 or uint16",
        ),
        (np.ones((2, 3), "f4"), np.ones((3, 2)), TypeError, "matmul: b must be float32"),
        (np.ones((2, 3), ">f4"), np.ones((3, 2), "f4"), TypeError, "native byte order"),
        (np.ones((2, 3), "f4"), np.ones((3, 2), "u2"), TypeError, "one dtype"),
        (np.ones(3, "f4"), np.ones((3, 2), "f4"), ValueError, "2 axes"),
        (np.ones((2, 3), "f4"), np.ones((2, 3), "f4"), ValueError, "inner axes"),
    ],
)
def test_errors(a, b, error, text):
    with pytest.raises(error, match=text):
        matmul(a, b)


def test_pack_errors():
    with pytest.raises(TypeError, match="pack: b must be float32"):
        pack(np.ones((2, 3)))
    with pytest.raises(ValueError, match="pack: b must have 2 axes"):
        pack(np.ones(3, np.float32))
