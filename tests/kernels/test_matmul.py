from __future__ import annotations

import copy
import functools
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import firth
from conftest import (
    BFLOAT16_BACKENDS,
    MATMUL_SIZES,
    canary_intact,
    on_backend,
    spiky,
    sum_tolerance,
    with_canary,
)
from firth import _native, kernels
from firth.kernels import _arrays, _dispatch, matmul, pack

L2_OF_SYSTEM = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])


@pytest.fixture(params=BFLOAT16_BACKENDS)
def backend(request):
    """Both ways of multiplying bfloat16 at v4x are tested here."""
    yield from on_backend(request.param)


def bits(x):
    """bfloat16 bits of float32 values, rounded to nearest even; NaN stays."""
    whole = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (whole + 0x7FFF + ((whole >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


def operands(m, n, k, dtype, seed=0):
    rng = np.random.default_rng(seed)
    a, b = spiky(rng, (m, k)), spiky(rng, (k, n))
    if dtype == "float64":  # values that float32 does not hold
        return a.astype(np.float64) * 1.1, b.astype(np.float64) * 1.1
    return (bits(a), bits(b)) if dtype == "bfloat16" else (a, b)


def exact(x):
    """In a type whose own rounding does not count."""
    wide = np.longdouble if x.dtype == np.float64 else np.float64
    return _arrays.widen_bfloat16(x).astype(wide)


def sums_of(a):
    """The dtype of a product."""
    return np.float64 if a.dtype == np.float64 else np.float32


def wanted(a, b):
    """The product in float64, and the bound on the error of a sum of K products."""
    terms = np.matmul(np.abs(exact(a)), np.abs(exact(b)))
    return np.matmul(exact(a), exact(b)), sum_tolerance(terms, a.shape[1], sums_of(a))


def check(a, b, got):
    """`got` against NumPy in float64, within the bound on a sum of K products."""
    within(got, *wanted(a, b), sums_of(a))


def within(got, want, bound, dtype):
    assert got.dtype == dtype
    assert got.shape == want.shape
    assert (np.abs(got - want) <= bound).all()


@functools.cache
def known(m, n, k, dtype):
    """Operands and what is wanted of them, in slow long doubles, by every backend."""
    a, b = operands(m, n, k, dtype)
    return a, b, wanted(a, b)


@DTYPES
@pytest.mark.parametrize(("m", "n", "k"), MATMUL_SIZES)
def test_sizes(backend, m, n, k, dtype):
    a, b, want = known(m, n, k, dtype)
    transposed = np.ascontiguousarray(b.T)
    results = [matmul(a, b), matmul(a, transposed.T), matmul(a, pack(b))]
    results.append(matmul(a, pack(transposed, transposed=True)))
    column_major = np.asfortranarray(a)
    results += [matmul(column_major, b), matmul(column_major, pack(b))]
    for got in results:
        within(got, *want, sums_of(a))
        if backend != "numpy":  # NumPy's BLAS chooses its order of summation by layout
            assert_array_equal(got, results[0])
    if m and n and k:
        assert np.abs(results[0]).max() > 0


@DTYPES
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


@DTYPES
def test_caches_do_not_change_bits(backend, dtype):
    if backend == "numpy":
        matmul(*operands(1, 1, 1, dtype))
        return
    a, b = operands(500, 300, 801, dtype)  # several blocks of rows, of columns and of K
    results = []
    try:
        for size in (0, 1, 1 << 20, 1 << 40):
            _native.set_l2_bytes(size)
            assert 2**18 <= _native.l2_bytes() <= 2**22
            results += [matmul(a, b), matmul(a, pack(b)), matmul(a[:20], b)]
    finally:
        _native.set_l2_bytes(0)
    check(a, b, results[0])
    for i, got in enumerate(results):
        assert_array_equal(got, results[0][:20] if i % 3 == 2 else results[0])


@DTYPES
def test_plain_operand_in_parts(backend, dtype):
    a, b = operands(100, 3000, 1700, dtype)  # 10 MB and more: several parts of N and of K
    bias = np.random.default_rng(1).standard_normal(3000).astype(matmul(a[:1], b[:, :1]).dtype)
    plain = matmul(a, b, bias=bias, activation="relu")
    if backend == "numpy":
        return  # its BLAS chooses its order of summation by layout
    assert_array_equal(plain, matmul(a, pack(b), bias=bias, activation="relu"))
    assert (plain > 0).any()


@pytest.mark.skipif(not L2_OF_SYSTEM.exists(), reason="Linux on x86 only")
def test_size_of_l2_is_the_systems():
    said = int(L2_OF_SYSTEM.read_text().strip().removesuffix("K")) * 1024
    mine = _native.l2_bytes()  # a part where several cores share it
    assert said % mine == 0


@DTYPES
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


@DTYPES
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
    elif dtype == "float64":
        a, b = a.astype(dtype), b.astype(dtype)
    assert_array_equal(matmul(a, b), want)


def test_ml_dtypes(backend):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    a, b = operands(9, 35, 21, "bfloat16")
    typed = [x.view(ml_dtypes.bfloat16) for x in (a, b)]
    assert_array_equal(matmul(*typed), matmul(a, b))
    assert_array_equal(matmul(typed[0], pack(typed[1])), matmul(a, b))
    assert_array_equal(exact(a), typed[0].astype(np.float64))


@DTYPES
def test_transposes_are_read_in_place(backend, dtype):
    """dW = dY^T X and X W^T take no copy of an operand on their way to the kernel."""
    a, b = operands(40, 70, 50, dtype)
    for left in (a, np.asfortranarray(a), np.asfortranarray(a)[3:30], a[:, 5:20]):
        k = left.shape[1]
        for right in (b[:k], np.asfortranarray(b)[:k]):
            _, given_left, given_right, *_ = matmul._prepare(left, right)
            for given, own in ((given_left, left), (given_right, right)):
                assert np.shares_memory(given, own)
                assert given.strides == own.strides
            check(left, right, matmul(left, right))
    gradient, x = operands(300, 40, 33, dtype)[0], operands(300, 33, 50, dtype, 1)[0]
    check(gradient.T, x, matmul(gradient.T, x))
    if not backend.startswith("native"):
        return
    level = _dispatch.active_level()  # the native code itself takes them as they lie
    out = np.empty((33, 50), sums_of(a))
    _native.kernels.matmul(level, gradient.T, x, out, None, 0, 1.0, None)
    check(gradient.T, x, out)
    with pytest.raises(ValueError, match="contiguous along one axis"):
        _native.kernels.matmul(
            level, gradient.T[::2, ::2], x[::2], out[:17].copy(), None, 0, 1.0, None
        )


ACTIVATIONS = [None, "relu", "gelu", "gelu_tanh", "silu"]


def activated(z, activation):
    """In float64, by the formulas of the docstring."""
    z = np.asarray(z, np.float64)
    if activation == "relu":
        return np.maximum(z, 0)
    if activation == "silu":
        return z * np.exp(-np.logaddexp(0, -z))
    if activation == "gelu":
        return z * np.array([math.erfc(x) / 2 for x in (-z * math.sqrt(0.5)).flat]).reshape(z.shape)
    if activation == "gelu_tanh":
        u = math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
        return z * np.exp(-np.logaddexp(0, -2 * u))
    return z


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(backend, activation, dtype):
    """Within the ULP that the docstring states, of a dense sample and of special values."""
    rng = np.random.default_rng(0)
    z = np.concatenate([
        np.linspace(-14, 14, 4001), rng.standard_normal(2000), np.geomspace(1e-30, 100, 300),
        -np.geomspace(1e-30, 100, 300), [0.0, 300.0, -300.0, 1e10, -1e10, 3e38, -3e38],
    ]).astype(dtype)  # fmt: skip
    got = matmul(z[:, None], np.ones((1, 1), dtype), activation=activation)[:, 0]
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        want = activated(z, activation)
    wide = z.astype(np.float64)
    units = np.full(z.shape, 8.0)
    if activation == "gelu_tanh":
        with np.errstate(over="ignore"):
            units += 4 * np.abs(wide + 0.044715 * wide**3)
    if dtype == np.float64:
        # The formulas above, in float64 themselves: their exponents round too.
        with np.errstate(over="ignore"):
            units = units + 4 * wide**2 + 4 * np.abs(wide + 0.044715 * wide**3)
    elif backend == "native:base":
        units = units + wide**2
    info = np.finfo(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        allowed = np.minimum(units * info.eps, 1) * np.abs(want) + 200 * info.tiny
    assert (np.abs(got - want) <= allowed)[np.isfinite(want)].all()
    special = np.array([np.nan, np.inf, -np.inf], dtype)[:, None]
    results = matmul(special, np.ones((1, 1), dtype), activation=activation)[:, 0]
    assert_array_equal(results, [np.nan, np.inf, 0.0 if activation else -np.inf])


def test_gelu_for_results_that_go_on_in_bytes():
    """kGeluNear, which only the engine of transformers asks for: gelu to 4e-5, on every level."""
    z = np.concatenate([np.linspace(-12, 12, 24_001), [1e10, -1e10, 3e38, -3e38]])
    z = z.astype(np.float32)[:, None]
    want, one = activated(z, "gelu"), np.ones((1, 1), np.float32)
    special = np.array([[-np.inf], [np.inf], [np.nan]], np.float32)
    for name in kernels.backends():
        if not name.startswith("native"):
            continue
        with kernels.use(name):
            level = _dispatch.active_level()
        got, results = np.empty_like(z), np.empty_like(special)
        _native.kernels.matmul(level, z, one, got, None, 5, 1.0, None)
        # Of z, what float32 leaves of the polynomial (without fma; 2e-7 with it).
        assert (np.abs(got - want) <= 4e-5 + 4e-6 * np.abs(z)).all(), name
        _native.kernels.matmul(level, special, one, results, None, 5, 1.0, None)
        assert abs(results[0, 0]) < 4e-5
        assert_array_equal(results[1:, 0], [np.inf, np.nan])


@DTYPES
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("m", "n", "k"), [(1, 33, 5), (7, 70, 900), (230, 150, 40), (3, 5, 0)])
def test_epilogue(backend, m, n, k, activation, dtype):
    """activation(scale (a b) + bias) + residual: the error of the sum passes through an activation
    whose slope is below 1.2; then the activation's own (8 ULP), and one rounding a step."""
    a, b = operands(m, n, k, dtype)
    rng = np.random.default_rng(3)
    a, b = (np.where(rng.random(x.shape) < 0.5, x, 0).astype(x.dtype) for x in (a, b))
    bias, residual = (spiky(rng, shape).astype(sums_of(a)) for shape in ((n,), (m, n)))
    scale = 0.125
    got = matmul(a, b, bias=bias, activation=activation, scale=scale, residual=residual)
    assert got.dtype == sums_of(a)
    z = scale * np.matmul(exact(a), exact(b)) + bias
    want = activated(z, activation) + residual
    eps = float(np.finfo(got.dtype).eps)
    terms = np.matmul(np.abs(exact(a)), np.abs(exact(b)))
    of_sum = scale * sum_tolerance(terms, k, got.dtype) + 2 * eps * (np.abs(z) + np.abs(bias))
    units = 10 + (4 * np.abs(z + 0.044715 * z**3) if activation == "gelu_tanh" else 0)
    of_activation = np.minimum(units * eps, 1) * np.abs(activated(z, activation))
    if backend == "native:base" or dtype == "float64":
        of_activation = of_activation * (1 + z * z)
    bound = 1.2 * of_sum + of_activation + 2 * eps * (np.abs(want) + np.abs(residual)) + 1e-37
    assert (np.abs(got - want) <= bound).all()
    if backend != "numpy":
        options = {"activation": activation, "scale": scale}
        assert_array_equal(matmul(a, pack(b), bias=bias, residual=residual, **options), got)
        for i in {0, m // 2, m - 1}:
            alone = matmul(a[i : i + 1], b, bias=bias, residual=residual[i : i + 1], **options)
            assert_array_equal(alone, got[i : i + 1])
        part = slice(n // 3, n)
        columns = matmul(a, b[:, part], bias=bias[part], residual=residual[:, part], **options)
        assert_array_equal(columns, got[:, part])


def test_epilogue_in_place_and_canary(backend):
    a, b = operands(21, 50, 801, "float32")
    x = spiky(np.random.default_rng(1), (21, 50))
    want = matmul(a, b, residual=x, activation="relu", bias=x[0])
    out, whole = with_canary((21, 50))
    out[...] = x
    matmul(a, b, residual=out, activation="relu", bias=out[0], out=out)
    assert_array_equal(out, want)
    assert canary_intact(whole)
    wide = np.repeat(x, 2, axis=1)
    assert_array_equal(
        matmul(a, b, residual=wide[:, ::2], activation="relu", bias=wide[0, ::2]), want
    )


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"bias": np.ones(3, "f4")}, ValueError, r"matmul: bias must have shape \(2,\)"),
        ({"bias": np.ones(2)}, TypeError, "matmul: bias must be float32 .*got float64"),
        ({"residual": np.ones(2, "f4")}, ValueError, r"matmul: residual must have shape \(4, 2\)"),
        ({"residual": np.ones((4, 2), "i4")}, TypeError, "matmul: residual must be float32"),
        ({"activation": "tanh"}, ValueError, "matmul: activation must be one of .*got 'tanh'"),
    ],
)
def test_epilogue_errors(options, error, text):
    with pytest.raises(error, match=text):
        matmul(np.ones((4, 3), "f4"), np.ones((3, 2), "f4"), **options)


@pytest.mark.parametrize(
    ("a", "b", "error", "text"),
    [
        (np.ones((2, 3), "i4"), np.ones((3, 2)), TypeError, "matmul: a must be float32, float64"),
        (np.ones((2, 3), "f4"), np.ones((3, 2), "f2"), TypeError, "matmul: b must be float32"),
        (np.ones((2, 3), "f4"), np.ones((3, 2)), TypeError, "one dtype"),
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
        pack(np.ones((2, 3), np.float16))
    with pytest.raises(ValueError, match="pack: b must have 2 axes"):
        pack(np.ones(3, np.float32))


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_packed_matrix_is_printed_copied_and_pickled(twin):
    b = np.arange(12, dtype=np.float32).reshape(4, 3)
    packed = pack(b, transposed=True)
    assert repr(packed) == "PackedMatrix<(3, 4), float32>"
    assert repr(pack(np.zeros((2, 3), np.uint16))) == "PackedMatrix<(2, 3), bfloat16>"
    other = twin(packed)
    assert other is not packed
    assert repr(other) == repr(packed)
    assert_array_equal(matmul(b, other), matmul(b, packed))
