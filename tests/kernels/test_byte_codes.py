from __future__ import annotations

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.testing import assert_array_equal

from conftest import LENGTHS, spiky
from firth.kernels import _dispatch, byte_codes, may_reach, use

METRICS = ["cosine", "ip", "l2"]


def scores_of(queries, rows, metric):
    """Scores (Q, N) by their definition: extended precision, rounded once to float32."""
    with np.errstate(over="ignore"):
        return _scores_of(queries, rows, metric)


def _scores_of(queries, rows, metric):
    q, x = queries.astype(np.longdouble), rows.astype(np.longdouble)
    if metric == "l2":
        return -((q[:, None] - x[None]) ** 2).sum(axis=2).astype(np.float32)
    products = q @ x.T
    if metric == "ip":
        return products.astype(np.float32)
    lengths = np.sqrt((q * q).sum(axis=1))[:, None] * np.sqrt((x * x).sum(axis=1))
    return np.clip(products / np.where(lengths, lengths, 1), -1, 1).astype(np.float32)


def mean_of(rows, metric):
    if metric == "cosine":
        lengths = np.linalg.norm(rows.astype(float), axis=1)
        rows = rows / np.where(lengths, lengths, 1)[:, None]
    return rows.astype(float).mean(axis=0).astype(np.float32)


def check(queries, rows, metric, centre=None):
    """No row is missed at any score that one of the rows has, and at the floats beside it."""
    scores = scores_of(queries, rows, metric)
    coded = byte_codes(rows, centre, metric)
    order = np.sort(scores, axis=1)[:, ::-1]
    for place in {0, 1, 9, len(rows) // 2, len(rows) - 1}:
        if place < len(rows):
            wanted = order[:, place]
            for least in (wanted, np.nextafter(wanted, np.float32(-np.inf))):
                if not np.isfinite(least).all():
                    continue
                missed = (scores >= least[:, None]) & ~may_reach(queries, coded, least)
                assert not missed.any(), f"place {place}: {np.argwhere(missed)[:5]}"
    return coded, scores


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", LENGTHS)
def test_no_row_is_missed(backend, d, metric):
    rng = np.random.default_rng(d)
    rows, queries = spiky(rng, (70, d)), spiky(rng, (5, d))
    check(queries, rows, metric)
    check(queries, rows, metric, mean_of(rows, metric))
    check(queries, rows, metric, spiky(rng, (d,)))


@pytest.mark.parametrize("count", [1, 5, 6, 7, 12, 13, 31])
@pytest.mark.parametrize("d", [1, 4, 30, 65, 130])
def test_levels_with_vnni_find_the_same(d, count):
    """The same integers, compared with the same arithmetic."""
    here = [name for name in ("v4x", "v3x", "v3x_emulated") if name in _dispatch.levels]
    if len(here) < 2:
        pytest.skip("this machine does not run two of them")
    rng = np.random.default_rng(d * count)
    rows = rng.standard_normal((150, d)).astype(np.float32)
    queries = rng.standard_normal((count, d)).astype(np.float32)
    coded = byte_codes(rows, None, "ip")
    least = np.quantile(queries @ rows.T, 0.9, axis=1).astype(np.float32)
    found = []
    for level in here:
        with use(f"native:{level}"):
            found.append(may_reach(queries, coded, least))
    for one in found[1:]:
        assert_array_equal(one, found[0])
    assert 0.05 < found[0].mean() < 0.6


@pytest.mark.parametrize("d", LENGTHS)
@pytest.mark.parametrize("metric", METRICS)
def test_codes_are_those_of_the_reference(backend, d, metric):
    rng = np.random.default_rng(d)
    rows = spiky(rng, (67, d))
    rows[[3, 66]] = 0
    centre = mean_of(rows, metric)
    got, want = byte_codes(rows, centre, metric), byte_codes.reference(rows, centre, metric)
    # a number half way between two codes may go either way: sums have another order
    different = got.codes.astype(int) - want.codes
    assert np.abs(different).max(initial=0) <= 1
    assert np.count_nonzero(different) <= 2 + different.size // 1000
    assert_array_equal(np.isnan(got.bounds), np.isnan(want.bounds))
    # the same formula in float64, rounded up within 2^-22
    assert np.allclose(got.bounds, want.bounds, rtol=2.0**-20, atol=2.0**-40, equal_nan=True)
    assert d < 2 or len(np.unique(got.codes)) > 10


def hard_cases(rng):
    """Queries and rows on which a bound that forgets something would miss a row."""
    rows, queries = spiky(rng, (300, 61)), spiky(rng, (8, 61))
    yield "near one another", queries, rows[:1] + spiky(rng, (300, 61)) * np.float32(1e-5)
    yield "near the queries", queries, queries[rng.integers(0, 8, 300)] * np.float32(1 + 1e-6)
    one_huge = rows.copy()
    one_huge[np.arange(300), rng.integers(0, 61, 300)] = 1e6
    yield "one huge component", queries, one_huge
    huge_query = queries.copy()
    huge_query[:, 5] = -3e7
    yield "a huge component of the queries", huge_query, rows
    yield "both", huge_query, one_huge
    yield "denormal", queries, (rows * np.float32(1e-42)).astype(np.float32)
    yield "denormal queries", (queries * np.float32(1e-42)).astype(np.float32), rows
    yield "constant rows", queries, np.full((300, 61), 0.1, np.float32)
    yield "constant rows and queries", np.full((2, 61), 3, np.float32), np.full((40, 61), 3, "f")
    yield "far from the origin", queries + np.float32(1e4), rows + np.float32(1e4)
    scaled = (rows * np.exp2(rng.integers(-90, 90, (300, 1)))).astype(np.float32)
    yield "of all magnitudes", queries, scaled
    yield (
        "zeros",
        np.vstack([queries[:2], np.zeros((1, 61), "f")]),
        rows * (rng.random((300, 1)) < 0.5),
    )
    ulp = np.tile(np.abs(queries[0]), (300, 1))
    ulp[np.arange(300), rng.integers(0, 61, 300)] *= np.float32(1 + 2e-7)
    yield "one unit apart", np.abs(queries), ulp
    half = np.zeros((300, 61), np.float32)  # every component half way between two codes
    half[:, 0] = 127
    half[:, 1:] = rng.integers(-126, 126, (300, 60)) + 0.5
    yield "half way between codes", half[:8].copy(), half
    yield "opposite", -rows[:8].copy(), rows
    signs = np.sign(rng.standard_normal((300, 61))).astype(np.float32)
    yield "signs", signs[:8].copy(), signs


@pytest.mark.parametrize("metric", METRICS)
def test_hard_cases(backend, metric):
    for seed in range(3):
        for case, queries, rows in hard_cases(np.random.default_rng(seed)):
            rows = rows.astype(np.float32)
            for centre in (None, mean_of(rows, metric)):
                try:
                    check(queries, rows, metric, centre)
                except AssertionError as error:
                    raise AssertionError(f"{case}: {error}") from None


@pytest.mark.parametrize("sign", [1, -1])
def test_66_000_dimensions_at_the_edge_of_32_bits(backend, sign):
    """Products of the greatest codes everywhere: the sum is as large as it can be."""
    rng = np.random.default_rng(0)
    rows = rng.choice(np.float32([-1, 1]), (33, 66_000))
    rows[1:20] = np.where(rng.random((19, 66_000)) < 0.001, -rows[:1], rows[:1])
    queries = sign * rows[:2]
    _, scores = check(queries, rows, "cosine")
    assert abs(scores[0, 0]) == 1
    if backend != "numpy":
        assert_array_equal(
            may_reach(queries, byte_codes(rows), np.float32([0.9, 0.9])), scores >= 0.9
        )


components = st.sampled_from([0.0, 1.0, -1.0, 0.5, 127.0, 1e-20, -3e5, 1e-44, 0.1, 1 + 2.0**-23])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_rows(backend, data):
    d = data.draw(st.integers(1, 12))
    queries = data.draw(arrays.arrays(np.float32, (3, d), elements=components))
    rows = data.draw(arrays.arrays(np.float32, (20, d), elements=components))
    centre = data.draw(arrays.arrays(np.float32, d, elements=components))
    for metric in METRICS:
        check(queries, rows, metric, centre)


@pytest.mark.parametrize("metric", METRICS)
def test_few_others_pass(backend, metric):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((2000, 64)).astype(np.float32) + np.float32(0.2)
    queries = rng.standard_normal((4, 64)).astype(np.float32) + np.float32(0.2)
    scores = scores_of(queries, rows, metric)
    tenth = np.sort(scores, axis=1)[:, -10]
    passed = may_reach(queries, byte_codes(rows, mean_of(rows, metric), metric), tenth)
    # ten must; with 7 bits for the queries some 40 more do
    assert (passed.sum(axis=1) >= 10).all()
    assert (passed.sum(axis=1) <= 100).all()


def test_without_the_bound_rows_are_missed(backend):
    """The bound is needed: without it the checks above fail."""
    rng = np.random.default_rng(2)
    rows, queries = spiky(rng, (4000, 24)), spiky(rng, (40, 24))
    coded = byte_codes(rows)
    coded.bounds[:, 2] = 0
    scores = scores_of(queries, rows, "cosine")
    least = np.sort(scores, axis=1)[:, -100]
    missed = (scores >= least[:, None]) & ~may_reach(queries, coded, least)
    assert missed.sum() > 10


def test_errors():
    rows = np.ones((3, 4), np.float32)
    with pytest.raises(TypeError, match="byte_codes: rows must be float32"):
        byte_codes(rows.astype(np.float64))
    with pytest.raises(ValueError, match="byte_codes: rows must be finite"):
        byte_codes(rows * np.float32(np.nan))
    with pytest.raises(ValueError, match="byte_codes: centre must have shape"):
        byte_codes(rows, rows[0, :3])
    with pytest.raises(ValueError, match="byte_codes: metric must be one of"):
        byte_codes(rows, None, "dot")
    with pytest.raises(ValueError, match="may_reach: queries must have shape"):
        may_reach(rows[:, :3], byte_codes(rows), rows[:, 0])
    with pytest.raises(ValueError, match="may_reach: scores must have shape"):
        may_reach(rows, byte_codes(rows), rows[:2, 0])
