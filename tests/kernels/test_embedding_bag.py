from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import LENGTHS, canary_intact, spiky, sum_tolerance, with_canary
from firth.kernels import embedding_bag

DTYPES = ["float32", "float16", "bfloat16", "int8"]


def table(rng: np.random.Generator, shape: tuple[int, int], dtype: str) -> np.ndarray:
    if dtype == "int8":
        return rng.integers(-128, 128, shape, np.int8)
    if dtype == "bfloat16":
        return spiky(rng, shape).astype(pytest.importorskip("ml_dtypes").bfloat16)
    return spiky(rng, shape).astype(dtype)


def bags(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids, and offsets with empty bags at the start, in the middle and at the end."""
    lengths = np.array([0, 1, 2, 0, 3, 17, 130, 5, 0])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return rng.integers(0, rows, offsets[-1]), offsets


def check(got, ids, matrix, offsets, **options):
    """Against float64, within the bound on a sum of n products and a division."""
    wide = np.asarray(matrix).astype(np.float64)
    want = embedding_bag.reference(ids, wide, offsets, **options)
    sizes = np.maximum(np.diff(offsets), 1)[:, None]
    absolute = {**options, "normalize": False}
    if "weights" in options:
        absolute["weights"] = np.abs(options["weights"])
    terms = embedding_bag.reference(ids, np.abs(wide), offsets, **absolute)
    for b, n in enumerate(sizes[:, 0]):
        bound = sum_tolerance(terms[b], n + 1)
        if options.get("normalize"):
            # The mean's error and that of its length, both relative to the length, and roundings
            # of D squares, root and quotient.
            length = np.linalg.norm(
                embedding_bag.reference(ids, wide, offsets, **{**options, "normalize": False})[b]
            )
            own = sum_tolerance(terms[b], n + 1)
            eps = np.finfo(np.float32).eps
            bound = (own + np.linalg.norm(own)) / max(length, 1e-30) + (wide.shape[1] + 4) * eps
        assert (np.abs(got[b] - want[b]) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", LENGTHS)
def test_lengths(backend, dim, dtype):
    rng = np.random.default_rng(dim)
    rows = table(rng, (40, dim), dtype)
    ids, offsets = bags(rng, 40)
    got = embedding_bag(ids, rows, offsets)
    assert got.shape == (9, dim)
    assert got.dtype == np.float32
    check(got, ids, rows, offsets)
    assert not got[np.diff(offsets) == 0].any()
    if dim:
        assert np.abs(got).max() > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_numbers_of_a_format_are_widened_exactly(backend, dtype):
    bits = np.arange(65536, dtype=np.uint16)
    if dtype == "int8":
        rows = np.arange(-128, 128).astype(np.int8)
    elif dtype == "bfloat16":
        rows = bits.view(pytest.importorskip("ml_dtypes").bfloat16)
    elif dtype == "float16":
        rows = bits.view(np.float16)
    else:
        rows = np.array([0.0, -0.0, 1e-45, 3e38, np.inf, -np.inf, np.nan], np.float32)
    rows = rows.reshape(1, -1)
    # The sum starts from +0, which swallows the sign of -0.
    with np.errstate(invalid="ignore"):  # signalling NaN
        assert_array_equal(embedding_bag([0], rows, [0, 1]), rows.astype(np.float32))


def test_rows_weights_and_length(backend):
    rng = np.random.default_rng(1)
    rows = spiky(rng, (12, 37))
    ids, offsets = bags(rng, 40)
    mapping, weights = rng.integers(0, 12, 40), spiky(rng, (40,))
    for options in ({"rows": mapping}, {"rows": mapping, "weights": weights},
                    {"rows": mapping, "weights": weights, "normalize": True}):  # fmt: skip
        check(embedding_bag(ids, rows, offsets, **options), ids, rows, offsets, **options)
    few = ids % 12
    for options in ({"weights": weights}, {"normalize": True}):
        check(embedding_bag(few, rows, offsets, **options), few, rows, offsets, **options)
    lengths = np.linalg.norm(embedding_bag(few, rows, offsets, normalize=True), axis=1)
    np.testing.assert_allclose(lengths, np.diff(offsets) > 0, rtol=1e-6)  # 37 roundings at most


@pytest.mark.parametrize("dtype", DTYPES)
def test_length_is_right_at_both_ends_of_the_range(backend, dtype):
    """Rows k * 2^e that are exact in their format, down to its smallest number."""
    exponents = {
        "float32": [-149, -140, -126, -100, -63, 0, 63, 64, 100, 125],
        "bfloat16": [-133, -126, -100, -63, 0, 63, 64, 100, 125],
        "float16": [-24, -14, 0, 13],
        "int8": [-149, -126, -100, -63, 0, 63, 64, 100, 120],  # by the weights
    }[dtype]
    rng = np.random.default_rng(6)
    parts = rng.integers(-3, 4, (len(exponents), 37)).astype(np.float64)
    powers = np.ldexp(1.0, exponents)
    want = parts / np.linalg.norm(parts, axis=1, keepdims=True)
    rows, options = parts * powers[:, None], {}
    if dtype == "int8":
        rows, options = parts.astype(np.int8), {"weights": powers.astype(np.float32)}
    elif dtype == "bfloat16":
        rows = rows.astype(pytest.importorskip("ml_dtypes").bfloat16)
    else:
        rows = rows.astype(dtype)
    ids, offsets = np.arange(len(rows)), np.arange(len(rows) + 1)
    got = embedding_bag(ids, rows, offsets, normalize=True, **options)
    # float64 up to the last rounding
    np.testing.assert_allclose(got, want, rtol=np.finfo(np.float32).eps, atol=0)
    assert not embedding_bag([0], rows[:1] * 0, [0, 1], normalize=True).any()


@pytest.mark.parametrize("dim", [1, 4, 37, 300])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
def test_a_mean_is_inf_only_where_it_is_beyond_float32(backend, dtype, dim):
    """Sums and products beyond float32, of means within it; with and without length 1."""
    value, weight = {
        "float32": (3e38, 1.0),
        "bfloat16": (3e38, 1.0),
        "float16": (60000, 5e33),
        "int8": (100, 3e36),
    }[dtype]
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    rows = np.full((5, dim), value).astype(kind)
    rows[3] = -rows[3]
    rows[4] = 1
    # A sum that overflows, one that overflows on its way to 0, lone rows, and an ordinary bag.
    ids, offsets = np.array([0, 1, 2, 0, 1, 3, 3, 0, 0, 4]), [0, 3, 7, 8, 9, 10]
    weights = np.float32([weight] * 4 + [1])
    want = weights.astype(np.float64)[ids] * rows[ids, 0].astype(np.float64)
    want = np.float32([want[a:b].mean() for a, b in itertools.pairwise(offsets)])
    got = embedding_bag(ids, rows, offsets, weights=weights)
    assert np.isfinite(want).all()
    np.testing.assert_allclose(got, np.repeat(want[:, None], dim, 1), rtol=1e-6, atol=0)
    assert_array_equal(got[4], embedding_bag([4], rows, [0, 1])[0])
    unit = embedding_bag(ids, rows, offsets, weights=weights, normalize=True)
    expected = np.sign(want)[:, None] * np.full(dim, dim**-0.5)
    np.testing.assert_allclose(unit, expected, rtol=1e-6, atol=0)
    # A mean beyond float32 is inf, with a length of 1 a direction again; inf itself stays.
    huge = np.full(5, 3e38, np.float32)
    if dtype != "int8":
        rows[2, 0] = np.inf
        assert np.isinf(embedding_bag([2, 0], rows, [0, 2])[0, 0])
        assert np.isnan(embedding_bag([2], rows, [0, 1], normalize=True)[0, 0])
    assert np.isposinf(embedding_bag([0, 1], rows, [0, 2], weights=huge)).all()
    direction = embedding_bag([0, 1], rows, [0, 2], weights=huge, normalize=True)
    np.testing.assert_allclose(direction, np.full((1, dim), dim**-0.5), rtol=1e-6)


def test_layouts(backend):
    rng = np.random.default_rng(2)
    whole = spiky(rng, (20, 70))
    ids, offsets = bags(rng, 10)
    for rows in (whole[:, :33], whole[::2, 3:40], whole[::-1], whole[:, ::2], whole.T[:20].T):
        got = embedding_bag(ids, rows, offsets)
        assert_array_equal(got, embedding_bag(ids, np.ascontiguousarray(rows), offsets))
        check(got, ids, rows, offsets)
    whole.flags.writeable = False
    check(embedding_bag(list(ids), whole, list(offsets)), ids, whole, offsets)


def test_out_and_canary(backend):
    rng = np.random.default_rng(3)
    rows = spiky(rng, (20, 33))
    ids, offsets = bags(rng, 20)
    out, whole = with_canary((9, 33))
    assert embedding_bag(ids, rows, offsets, out=out, normalize=True) is out
    assert canary_intact(whole)
    assert_array_equal(out, embedding_bag(ids, rows, offsets, normalize=True))


def test_a_bag_does_not_depend_on_company_or_threads(backend):
    rng = np.random.default_rng(4)
    rows = spiky(rng, (500, 257))
    lengths = rng.integers(0, 30, 1000)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(0, 500, offsets[-1])
    together = embedding_bag(ids, rows, offsets, normalize=True)
    for b in range(0, 1000, 37):
        bag = ids[offsets[b] : offsets[b + 1]]
        assert_array_equal(embedding_bag(bag, rows, [0, len(bag)], normalize=True)[0], together[b])


def test_empty(backend):
    assert embedding_bag([], np.ones((3, 4), np.float32), [0]).shape == (0, 4)
    assert not embedding_bag([], np.ones((0, 4), np.float32), [0, 0]).any()


ROWS = np.ones((3, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (([0], ROWS.astype(np.float64), [0, 1]), {}, TypeError, "table must be float32"),
        (([0], ROWS.astype(">f4"), [0, 1]), {}, TypeError, "native byte order"),
        (([0], ROWS[0], [0, 1]), {}, ValueError, "two axes"),
        (([0.0], ROWS, [0, 1]), {}, TypeError, "ids must be integers"),
        (([[0]], ROWS, [0, 1]), {}, ValueError, "one axis"),
        (([0], ROWS, [0, 2]), {}, ValueError, "offsets must rise"),
        (([0], ROWS, [1, 1]), {}, ValueError, "offsets must rise"),
        (([0, 1], ROWS, [0, 2, 1, 2]), {}, ValueError, "offsets must rise"),
        (([0], ROWS, []), {}, ValueError, "offsets must rise"),
        (([3], ROWS, [0, 1]), {}, IndexError, r"ids must be in \[0, 3\), got 3"),
        (([-1], ROWS, [0, 1]), {}, IndexError, r"ids must be in \[0, 3\), got -1"),
        (([2**40], ROWS, [0, 1]), {}, IndexError, r"ids must be in \[0, 3\), got"),
        (([1], ROWS, [0, 1]), {"rows": [0]}, IndexError, r"ids must be in \[0, 1\)"),
        (([0], ROWS, [0, 1]), {"rows": [3]}, IndexError, r"rows must be in \[0, 3\)"),
        (([2], ROWS, [0, 1]), {"weights": [1.0, 2.0]}, IndexError, r"ids \(each has a weight\)"),
        (([2], ROWS, [0, 1]), {"weights": [[1.0]]}, ValueError, "weights must have one axis"),
        (([2], ROWS, [0, 1]), {"out": np.zeros((1, 3), np.float32)}, ValueError, "out must"),
        (([2], ROWS, [0, 1]), {"out": np.zeros((1, 4))}, ValueError, "out must"),
    ],
)
def test_errors(arguments, options, error, text):
    with pytest.raises(error, match=f"embedding_bag: .*{text}"):
        embedding_bag(*arguments, **options)


@pytest.mark.peer
def test_is_torchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    rows = spiky(rng, (50, 64))
    ids, offsets = bags(rng, 50)
    want = torch.nn.functional.embedding_bag(
        torch.from_numpy(ids), torch.from_numpy(rows), torch.from_numpy(offsets), mode="mean",
        include_last_offset=True,
    ).numpy()  # fmt: skip
    # Both sum in float32: twice the bound of one.
    terms = embedding_bag.reference(ids, np.abs(rows).astype(np.float64), offsets)
    for b, n in enumerate(np.diff(offsets)):
        assert (
            np.abs(embedding_bag(ids, rows, offsets)[b] - want[b])
            <= 2 * sum_tolerance(terms[b], n + 1)
        ).all()
