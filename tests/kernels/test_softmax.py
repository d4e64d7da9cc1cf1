from __future__ import annotations

import functools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import LENGTHS, canary_intact, spiky, ulp_error, with_canary
from firth.kernels import _dispatch, log_softmax, softmax

BOTH = pytest.mark.parametrize("function", [softmax, log_softmax], ids=["softmax", "log_softmax"])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
ULP = 8  # what the docstrings promise


def check(function, x, got, axis=-1, want=None):
    """`got` against the reference in long double: ULP for float32 and float64 alike."""
    assert got.shape == x.shape
    assert got.dtype == x.dtype
    if want is None:
        want = function.reference(x.astype(np.longdouble), axis)
    assert_array_equal(np.isnan(got), np.isnan(want))
    finite = np.isfinite(want)
    assert_array_equal(got[~finite], want[~finite].astype(got.dtype))
    with np.errstate(invalid="ignore"):
        distance = x.max(axis, keepdims=True, initial=-np.inf) - x
    got, want, distance = got[finite], want[finite], distance[finite]
    unit = np.abs(want) if function is softmax else np.maximum(np.abs(want), 1)
    spacing = np.spacing(unit.astype(got.dtype)).astype(np.longdouble)
    allowed = np.full(want.shape, ULP, np.longdouble)
    backend = _dispatch.active()
    if backend == "numpy" or (backend == "numba" and x.dtype == np.float64):
        # x - max rounds by half a unit of the distance, which is a relative error of the
        # exponential; a sum along an axis that is not the last may round once a term.
        allowed += distance + x.shape[axis]
    assert (np.abs(got - want) <= allowed * spacing).all()


@BOTH
@DTYPES
@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(backend, n, dtype, function):
    x = spiky(np.random.default_rng(n), (5, n), dtype)
    got = function(x)
    check(function, x, got)
    if n and function is softmax:
        assert np.abs(got.sum(-1) - 1).max() < (n + 8) * np.finfo(dtype).eps
        assert (got > 0.01).any()
    along_columns = np.ascontiguousarray(x.T)
    check(function, along_columns, function(along_columns, 0), 0)


@BOTH
@DTYPES
@pytest.mark.parametrize("columns", LENGTHS[1:])
def test_columns(backend, columns, dtype, function):
    x = spiky(np.random.default_rng(columns), (3, 6, columns), dtype)
    check(function, x, function(x, 1), 1)
    out, whole = with_canary(x.shape, dtype)
    assert function(x, axis=1, out=out) is out
    check(function, x, out, 1)
    assert canary_intact(whole)


@BOTH
@DTYPES
def test_every_axis(backend, dtype, function):
    x = spiky(np.random.default_rng(1), (3, 4, 5, 6), dtype)
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)):
        view = x.transpose(order)
        for axis in range(-4, 4):
            check(function, view, function(view, axis), axis)
    check(function, x[0, 0, 0], function(x[0, 0, 0]))


LAYOUTS = {
    "step": lambda w: w[:, ::2],
    "reversed rows": lambda w: w[::-1],
    "reversed": lambda w: w[:, ::-1],
    "every second row": lambda w: w[::2, :35],
    "fortran": np.asfortranarray,
    "broadcast": lambda w: np.broadcast_to(w[0], (4, w.shape[1])),
    "fields": lambda w: w.reshape(6, 35, 2)[..., 1],
    "not folding": lambda w: np.stack([w, w])[:, ::2, :33],
}


@BOTH
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [-1, 0])
def test_layouts(backend, layout, axis, function):
    whole = spiky(np.random.default_rng(2), (6, 70))
    x = LAYOUTS[layout](whole)
    before = x.copy()
    check(function, before, function(x, axis), axis)
    for out in (np.empty(x.shape, x.dtype), np.empty(x.shape[::-1], x.dtype).T,
                np.empty((*x.shape, 2), x.dtype)[..., 1]):  # fmt: skip
        assert function(x, axis, out=out) is out
        check(function, before, out, axis)
    assert_array_equal(x, before)


@BOTH
def test_unaligned_and_read_only(backend, function):
    whole = spiky(np.random.default_rng(3), (6, 70))
    raw = np.zeros(whole.nbytes + 1, np.uint8)
    shifted = raw[1:].view(np.float32).reshape(whole.shape)
    shifted[:] = whole
    check(function, whole, function(shifted))
    function(shifted, out=shifted)
    check(function, whole, shifted)
    whole.flags.writeable = False
    check(function, whole, function(whole))


@BOTH
@DTYPES
@pytest.mark.parametrize("axis", [-1, 0])
def test_in_place_and_overlap(backend, dtype, axis, function):
    x = spiky(np.random.default_rng(4), (20, 131), dtype)
    expected = function(x, axis)
    for view in (
        lambda w: w[:20, :131],
        lambda w: w[2:, 3:],
        lambda w: w[1:21, 5:136],
    ):
        room = np.full((22, 140), 7, dtype)
        given = room[:20, :131]
        given[...] = x
        out = view(room)[:20, :131]
        function(given, axis, out=out)
        assert_array_equal(out, expected)
        written = np.zeros(room.shape, bool)
        written[:20, :131] = view(written)[:20, :131] = True
        assert (room[~written] == 7).all()
    twisted = np.array(x[:20, :20])
    function(twisted, axis, out=twisted.T)
    check(function, x[:20, :20], twisted.T, axis)


@BOTH
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("place", [0, 15, 16, 32])
@pytest.mark.parametrize(
    "value", [np.inf, -np.inf, np.nan, -np.nan, 3e38, -3e38, 1e-45, 1e10, -2000]
)
def test_values(backend, value, place, axis, function):
    x = spiky(np.random.default_rng(5), (33, 33))
    x[place, place] = value
    x[1, 2] = -np.inf
    check(function, x, function(x, axis), axis)
    check(function, x.astype(np.float64), function(x.astype(np.float64), axis), axis)


@BOTH
@DTYPES
@pytest.mark.parametrize("axis", [-1, 0])
def test_extreme_slices(backend, dtype, axis, function):
    big = float(np.finfo(dtype).max)
    for n in (1, 5, 37, 200):
        for slice_ in (
            np.full(n, -np.inf), np.full(n, np.inf), np.full(n, -big), np.full(n, big),
            np.full(n, 0.1), np.full(n, 1000.0), np.full(n, np.nan),
            np.linspace(-1100, 3, n), np.linspace(-110, 0, n), np.linspace(150, 300, n),
            np.linspace(1900, 2100, n), np.linspace(-900, -10, n), np.linspace(-255, 255, n),
            np.where(np.arange(n) == n // 2, 0, -1e9), np.geomspace(1e-40, 1, n),
        ):  # fmt: skip
            x = np.tile(slice_, (3, 1)).astype(dtype)
            x = x if axis else x.T.copy()
            check(function, x, function(x, axis), axis)


def test_exact_results(backend):
    assert_array_equal(softmax(np.zeros((3, 64), np.float32)), np.float32(1 / 64))
    one_hot = np.full((2, 70), -1e9, np.float32)
    one_hot[:, 68] = 4.7
    assert_array_equal(softmax(one_hot), (one_hot > 0).astype(np.float32))
    assert_array_equal(softmax(np.array([[0.1], [-300.3]])), 1)
    assert softmax([0.0, 0.0]).dtype == np.float64


@pytest.mark.slow
@BOTH
@DTYPES
def test_stated_ulp_over_a_wide_sample(backend, dtype, function):
    """The promise of the docstring: scales from 0.01 to 300, offsets up to 1e6, all lengths."""
    for x, want in wide_sample(function, dtype):
        check(function, x, function(x), want=want)
        x = np.ascontiguousarray(x.T)
        check(function, x, function(x, 0), 0, want.T)


@functools.cache
def wide_sample(function, dtype):
    """Arrays and the reference in slow long doubles, for every backend."""
    rng = np.random.default_rng(6)
    sample = []
    for n in (2, 3, 16, 17, 100, 1000, 5000, 50257):
        for scale in (0.01, 1, 5, 30, 300) if n < 50257 else (5, 300):
            for offset in (0, -40, 250, 1e6) if n < 50257 else (0, 250):
                x = (rng.standard_normal((max(2, 6000 // n), n)) * scale + offset).astype(dtype)
                sample.append((x, function.reference(x.astype(np.longdouble))))
    return sample


@functools.cache
def large(dtype):
    """48 MB, in rows that are not aligned."""
    columns = 10007
    rows = 48 * 2**20 // (columns * np.dtype(dtype).itemsize)
    return spiky(np.random.default_rng(7), (rows, columns), dtype)


@BOTH
@DTYPES
def test_large_outputs_pass_the_caches(backend, dtype, function):
    """More than 32 MB of output: stored past the caches, in rows that are not aligned."""
    x = large(dtype)
    out, whole = with_canary(x.shape, dtype)
    function(x, out=out)
    assert canary_intact(whole)
    for r in (0, 1, 2, 3, len(x) // 2, len(x) - 1):
        check(function, x[r], out[r])
        assert ulp_error(out[r], function(x[r]).astype(np.longdouble)) <= 1


@BOTH
def test_rows_do_not_depend_on_company_or_threads(backend, function):
    x = spiky(np.random.default_rng(8), (3000, 57))
    together = function(x)
    assert_array_equal(together, np.array([function(row) for row in x]))
    x = np.ascontiguousarray(x.T)
    assert_array_equal(function(x, 0)[:, 1000:1003], function(x[:, 1000:1003], 0))


@BOTH
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 3)])
def test_empty(backend, shape, function):
    for axis in range(len(shape)):
        assert function(np.empty(shape, np.float32), axis).shape == shape


@BOTH
def test_errors(function):
    name = function.reference.__name__
    for x, error, text in (
        (np.ones(3, np.int64), TypeError, f"{name}: x must be float32 or float64"),
        (np.ones(3, ">f4"), TypeError, f"{name}: x must be .* native byte order"),
        (np.float64(1), ValueError, f"{name}: axis -1 is out of bounds"),
    ):
        with pytest.raises(error, match=text):
            function(x)
    with pytest.raises(np.exceptions.AxisError, match=f"{name}: axis 2 is out of bounds"):
        function(np.ones((2, 2)), 2)
    for out in (np.zeros(2), np.zeros(3, np.float32), [0.0, 0.0, 0.0]):
        with pytest.raises((TypeError, ValueError), match=f"{name}: out"):
            function(np.ones(3), out=out)
        assert not np.any(out)


@pytest.mark.peer
@BOTH
def test_against_torch(backend, function):
    torch = pytest.importorskip("torch")
    peer = getattr(torch, function.reference.__name__)
    rng = np.random.default_rng(9)
    cases = [(spiky(rng, (7, 130)), -1), (spiky(rng, (7, 130)), 0), (spiky(rng, (3, 4, 5)), 1)]
    special = np.array(
        [[np.inf, 1], [-np.inf, 1], [-np.inf, -np.inf], [np.nan, 1], [1e38, -1e38]], np.float32
    )
    for x, axis in [*cases, (special, -1)]:
        want = peer(torch.from_numpy(x).double(), axis).numpy()
        got = function(x, axis)
        assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_allclose(got, want, rtol=1e-4 if backend == "numpy" else 1e-6, atol=1e-6)
