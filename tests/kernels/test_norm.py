from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import firth
from conftest import LENGTHS, canary_intact, spiky, with_canary
from firth import _native
from firth.kernels import layer_norm, rms_norm

BOTH = pytest.mark.parametrize("function", [layer_norm, rms_norm], ids=["layer_norm", "rms_norm"])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def make(function, shape, dtype, seed=0):
    """x and the gain, and for layer_norm the bias."""
    rng = np.random.default_rng(seed)
    columns = 2 if function is layer_norm else 1
    gains = [spiky(rng, shape[-1:], dtype) for _ in range(columns)]
    return spiky(rng, shape, dtype) + dtype(0.5), gains


def check(function, got, x, *columns, eps=None):
    """`got` against the reference in long double.

    A sum of n terms errs by n eps' of the sum of magnitudes, eps' being the dtype's, twice the
    unit; so the mean errs by m = n eps' mean|x|, the mean square of what is left by (n + 3) eps' of
    itself and m^2 (and what underflows), its root by half as much of itself. A handful of roundings
    of each part follow.
    """
    assert got.shape == x.shape
    assert got.dtype == x.dtype
    option = {} if eps is None else {"eps": eps}
    wide = x.astype(np.longdouble)
    factors = [c.astype(np.longdouble) for c in columns]
    want = function.reference(wide, *factors, **option)
    n, info = x.shape[-1], np.finfo(x.dtype)
    error = float(info.eps)
    gain = np.abs(factors[0]) if columns else np.ones(n)
    bias = np.abs(factors[1]) if len(columns) > 1 else np.zeros(n)
    if function is layer_norm:
        mean = n * error * np.abs(wide).mean(-1, keepdims=True)
        rest = wide - wide.mean(-1, keepdims=True)
        eps = 1e-5 if eps is None else eps
    else:
        mean = np.zeros((*x.shape[:-1], 1))
        rest = wide
        eps = 1e-6 if eps is None else eps
    square = (rest * rest).mean(-1, keepdims=True) + eps
    y = np.abs(rest) / np.sqrt(square)
    relative = (n / 2 + 6) * error + (mean * mean + float(info.tiny)) / square
    bound = (mean / np.sqrt(square) + y * relative) * (1 + n * error) * gain
    bound += 2 * error * (np.abs(want) + bias) + float(info.tiny)
    assert (np.abs(got - want) <= bound).all()


@BOTH
@DTYPES
@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(backend, n, dtype, function):
    x, columns = make(function, (5, n), dtype)
    for given in (columns, columns[:1], []):
        if n:
            check(function, function(x, *given), x, *given)
        else:
            assert function(x, *given).shape == (5, 0)
    if function is layer_norm and n:
        got = layer_norm(x, bias=columns[1])
        check(function, got, x, np.ones(n, dtype), columns[1])
    if n > 1:
        alone = function(x[3], *columns)
        check(function, alone, x[3], *columns)
        got = function(x, eps=0.0)
        assert np.abs((got * got).mean(-1) - 1).max() < 2 * (n + 10) * np.finfo(dtype).eps
    out, whole = with_canary((5, n), dtype)
    assert function(x, *columns, out=out) is out
    assert_array_equal(out, function(x, *columns))
    assert canary_intact(whole)


@BOTH
@DTYPES
def test_shapes_layouts_and_eps(backend, dtype, function):
    whole, columns = make(function, (40, 70), dtype)
    raw = np.frombuffer(b"0" + whole.tobytes(), np.uint8)[1:].view(dtype).reshape(whole.shape)
    for x in (whole, whole[::2], whole[::-1], whole[:, ::-1], np.asfortranarray(whole), raw,
              np.broadcast_to(whole[1], (3, 70)), whole.reshape(2, 20, 70),
              whole.reshape(2, 20, 70).swapaxes(0, 1), whole[3]):  # fmt: skip
        before = x.copy()
        for eps in (0.0, 0.5):
            check(function, function(x, *columns, eps=eps), before, *columns, eps=eps)
        assert_array_equal(x, before)
    x, (gain, *bias) = whole[:, ::2], columns
    check(function, function(x, gain[::2], *[b[::-2] for b in bias]), x.copy(),
          gain[::2], *[b[::-2] for b in bias])  # fmt: skip
    for out in (np.empty((70, 40), dtype).T, np.empty((40, 140), dtype)[:, ::2]):
        assert function(whole, *columns, out=out) is out
        check(function, out, whole, *columns)


@BOTH
def test_in_place_and_overlap(backend, function):
    x, columns = make(function, (20, 33), np.float32)
    want = function(x, *columns)
    given = x.copy()
    assert function(given, *columns, out=given) is given
    assert_array_equal(given, want)
    room = np.full((22, 33), 7, np.float32)
    room[:20] = x
    function(room[:20], *columns, out=room[1:21])
    assert_array_equal(room[1:21], want)
    assert (room[21] == 7).all()
    for place in range(len(columns)):  # the first row that is written is the gain, or the bias
        room = x.copy()
        room[0] = columns[place]
        kept = room.copy()
        given = [room[0] if i == place else c for i, c in enumerate(columns)]
        function(room, *given, out=room)
        assert_array_equal(room, function(kept, *columns))


@BOTH
@pytest.mark.parametrize("n", [5, 33, 200])
def test_values(backend, n, function):
    x, columns = make(function, (4, n), np.float32)
    x[2] = np.float32(1e-30)
    x[3] = np.linspace(-1e18, 1e18, n)
    check(function, function(x, *columns), x, *columns)
    good = function(x)
    for value in (np.nan, np.inf, -np.inf):
        x[1, n - 2] = value
        got = function(x)
        want = function.reference(x)
        assert_array_equal(np.isnan(got), np.isnan(want))
        assert_array_equal(got[1][~np.isnan(want[1])], 0)  # rms_norm: finite beside inf
        assert_array_equal(got[[0, 2, 3]], good[[0, 2, 3]])
    # what float32 does: squares beyond it are inf, and the result 0
    assert_array_equal(function(np.float32([[1e30, -1e30, 2e30]])), 0)
    assert_array_equal(function(np.zeros((2, n), np.float32)), 0)
    assert np.isnan(function(np.zeros((2, n), np.float32), eps=0)).all()


def test_a_large_mean_costs_no_variance(backend):
    """Differences, not a difference of squares, which would have no digit left here."""
    rest = np.random.default_rng(1).standard_normal((3, 300))
    x = (rest + 4096).astype(np.float32)
    got = layer_norm(x, eps=0.0)
    check(layer_norm, got, x, eps=0.0)
    assert np.abs(got.std(-1) - 1).max() < 1e-3


@BOTH
@DTYPES
def test_rows_do_not_depend_on_company_or_threads(backend, dtype, function):
    x, columns = make(function, (3000, 57), dtype)
    together = function(x, *columns)
    if backend == "numpy":
        return  # it promises no such thing
    assert_array_equal(together, np.array([function(row, *columns) for row in x]))
    before = _native.num_threads()
    try:
        for count in (1, 3):
            firth.set_num_threads(count)
            assert_array_equal(function(x, *columns), together)
    finally:
        firth.set_num_threads(before)


@BOTH
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 3)])
def test_empty(backend, shape, function):
    assert function(np.empty(shape, np.float32)).shape == shape


@BOTH
def test_errors(function):
    name = function.reference.__name__
    x = np.ones((2, 3), np.float32)
    for arguments, options, error, text in (
        ((np.ones(3, np.int64),), {}, TypeError, "x must be float32 or float64"),
        ((np.float32(1),), {}, ValueError, "x must have an axis"),
        ((x, np.ones(3)), {}, TypeError, "arguments must have one dtype"),
        ((x, np.ones(2, "f4")), {}, ValueError, r"gain must have shape \(3,\), got \(2,\)"),
        ((x, x), {}, ValueError, r"gain must have shape \(3,\), got \(2, 3\)"),
        ((x,), {"eps": -1e-9}, ValueError, "eps must be at least 0, got -1e-09"),
        ((x,), {"eps": np.nan}, ValueError, "eps must be finite in float32"),
        ((x,), {"eps": "1"}, TypeError, "eps must be a finite real number"),
        ((x,), {"out": np.empty((2, 3))}, ValueError, "out must have shape"),
    ):
        with pytest.raises(error, match=f"^{name}: {text}"):
            function(*arguments, **options)
    with pytest.raises(ValueError, match=r"^layer_norm: bias must have shape \(3,\)"):
        layer_norm(x, bias=np.ones(4, np.float32))


@pytest.mark.peer
@BOTH
def test_against_torch(backend, function):
    functional = pytest.importorskip("torch.nn.functional")
    torch = pytest.importorskip("torch")
    peer = getattr(functional, function.reference.__name__)
    for n in (1, 33, 384):
        x, columns = make(function, (7, n), np.float32)
        for given in (columns, []):
            for eps in (1e-5, 1e-12):
                tensors = [torch.from_numpy(a).double() for a in (x, *given)]
                want = peer(tensors[0], (n,), *tensors[1:], eps=eps).numpy()
                got = function(x, *given, eps=eps)
                if n == 1 and eps < 1e-6 and function is layer_norm:
                    continue  # nothing but the rounding of the mean
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    special = np.float32([[np.inf, 1, 2], [np.nan, 1, 2], [1e-30, 2e-30, 3e-30]])
    want = peer(torch.from_numpy(special), (3,), eps=1e-5).numpy()
    assert_array_equal(np.isnan(function(special, eps=1e-5)), np.isnan(want))
