from __future__ import annotations

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.testing import assert_array_equal

import firth
from conftest import LENGTHS, spiky
from firth.kernels import cosine_topk, row_norms

EPS = float(np.finfo(np.float32).eps)


def brute_force(queries, keys):
    """Cosines (Q, N) in float64; NaN where there is none. Shares no code with the reference."""
    q, x = queries.astype(np.longdouble), keys.astype(np.longdouble)
    with np.errstate(all="ignore"):
        lengths = np.sqrt((x * x).sum(axis=1))
        scale = np.sqrt((q * q).sum(axis=1))[:, None] * lengths
        cosines = np.where(scale == 0, 0, np.einsum("qd,nd->qn", q, x) / np.where(scale, scale, 1))
    cosines[~np.isfinite(scale)] = np.nan
    return cosines.astype(np.float64)


def score_tolerance(d):
    """Bound on the error of a score of at most 1: sums in float64, each of D + 2 operations, and
    one rounding to float32, half a unit in the last place."""
    return EPS / 2 + 4 * (d + 2) * 2.0**-53


def check(queries, keys, k, got):
    """`got` against brute force: the right scores in each place, real scores of the rows named,
    order, ties by index, padding."""
    want = brute_force(queries, keys)
    tolerance = score_tolerance(keys.shape[1])
    scores, indices = got
    assert scores.dtype == np.float32
    assert indices.dtype == np.int64
    assert scores.shape == indices.shape == (len(queries), min(k, len(keys)))
    for row, score, index in zip(want, scores, indices, strict=True):
        valid = np.sort(row[~np.isnan(row)])[::-1][:k]
        assert_array_equal(index[len(valid) :], -1)
        assert np.isnan(score[len(valid) :]).all()
        score, index = score[: len(valid)], index[: len(valid)]
        assert len(set(index.tolist())) == len(index)
        assert (np.abs(score) <= 1).all()
        assert (np.abs(score - row[index]) <= tolerance).all()
        assert (np.abs(score - valid) <= tolerance).all()
        assert (score[1:] <= score[:-1]).all()
        assert (np.diff(index)[score[1:] == score[:-1]] > 0).all()


@pytest.mark.parametrize("d", LENGTHS)
def test_lengths(backend, d):
    rng = np.random.default_rng(d)
    queries, keys = spiky(rng, (5, d)), spiky(rng, (70, d))
    got = cosine_topk(queries, keys, 9)
    check(queries, keys, 9, got)
    assert d < 2 or np.ptp(got.scores) > 0


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 12, 13, 15, 16, 17, 127, 128, 129, 300, 1000])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9])
def test_numbers_of_rows_and_queries(backend, n, count):
    rng = np.random.default_rng(n)
    queries, keys = spiky(rng, (count, 33)), spiky(rng, (n, 33))
    for k in (0, 1, 7, n, n + 5):
        check(queries, keys, k, cosine_topk(queries, keys, k))


def test_one_query_gives_one_dimension(backend):
    rng = np.random.default_rng(0)
    queries, keys = spiky(rng, (3, 20)), spiky(rng, (50, 20))
    together = cosine_topk(queries, keys, 4)
    single = cosine_topk(queries[1], keys, 4)
    assert single.scores.shape == single.indices.shape == (4,)
    assert_array_equal(single.scores, together.scores[1])
    assert_array_equal(single.indices, together.indices[1])
    assert cosine_topk(queries[1], keys, 0).scores.shape == (0,)


def test_ties_and_duplicates_by_lower_index(backend):
    rng = np.random.default_rng(1)
    # Copies scaled by powers of two have the same bits of score; they come in all blocks.
    few = spiky(rng, (3, 40))
    keys = few[rng.integers(0, 3, 2000)] * np.exp2(rng.integers(-3, 4, (2000, 1))).astype("f")
    scores, indices = cosine_topk(few, keys, 900)
    check(few, keys, 900, (scores, indices))
    for i in range(3):
        same = np.flatnonzero(scores[i] == scores[i, 0])
        assert len(same) > 300
        assert_array_equal(indices[i][same], np.sort(indices[i][same]))
        assert indices[i, 0] == np.flatnonzero(np.abs(scores[i, 0] - keys @ few[i] / (
            np.linalg.norm(keys, axis=1) * np.linalg.norm(few[i]))) < 1e-5)[0]  # fmt: skip
    equal = cosine_topk(few[0], np.ones((5000, 40), np.float32), 10)
    assert_array_equal(equal.indices, np.arange(10))


def test_zero_rows_and_zero_queries_score_zero(backend):
    rng = np.random.default_rng(2)
    keys = -np.abs(spiky(rng, (300, 21)))
    keys[[7, 200]] = 0
    keys[9] = -0.0
    query = np.ones(21, np.float32)
    scores, indices = cosine_topk(query, keys, 5)
    assert_array_equal(indices[:3], [7, 9, 200])
    assert_array_equal(scores[:3], 0)
    assert (scores[3:] < 0).all()
    scores, indices = cosine_topk(np.zeros(21, np.float32), keys, 5)
    assert_array_equal(scores, 0)
    assert_array_equal(indices, np.arange(5))
    assert not np.signbit(scores).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 16, 32])
def test_rows_that_are_not_finite_are_never_returned(backend, value, place):
    rng = np.random.default_rng(3)
    queries, keys = spiky(rng, (6, 33)), spiky(rng, (40, 33))
    queries[0] = 0
    keys[[0, 3, 39], place] = value
    keys[5] = value
    got = cosine_topk(queries, keys, 40)
    check(queries, keys, 40, got)
    assert_array_equal(got.indices[:, -4:], -1)
    assert not np.isin(got.indices, [0, 3, 5, 39]).any()
    got = cosine_topk(queries, keys[[0, 3]], 1)
    assert_array_equal(got.indices, -1)
    assert np.isnan(got.scores).all()
    queries[2, place] = value
    check(queries, keys, 7, cosine_topk(queries, keys, 7))
    keys[:] = 0
    assert_array_equal(cosine_topk(queries, keys, 3).indices[:, 0], [0, 0, -1, 0, 0, 0])


@pytest.mark.parametrize("exponent", [-37, -30, -20, 0, 20, 30, 37])
def test_cosine_is_free_of_scale(backend, exponent):
    rng = np.random.default_rng(4)
    queries, keys = rng.standard_normal((3, 50), "f"), rng.standard_normal((60, 50), "f")
    scale = 10.0 ** rng.integers(-30, 31, (60, 1))
    scale[::2] = 10.0**exponent
    keys = (keys * scale).astype(np.float32)
    queries = (queries * 10.0**exponent).astype(np.float32)
    check(queries, keys, 60, cosine_topk(queries, keys, 60))
    lengths = np.sqrt((keys.astype(np.float64) ** 2).sum(axis=1))
    assert (np.abs(row_norms(keys) / lengths - 1) <= (50 / 32 + 4) * EPS).all()


def test_norms_beyond_float32(backend):
    keys = np.full((3, 4), 3e38, np.float32)
    keys[1] = 1
    keys[2, 0] = 0
    scores, indices = cosine_topk(keys[1], keys, 3)
    assert_array_equal(indices, [0, 1, 2])
    assert_array_equal(scores, np.float32([1, 1, np.sqrt(0.75)]))
    assert_array_equal(row_norms(keys), [np.inf, 2, np.inf])


def test_score_never_exceeds_one(backend):
    rng = np.random.default_rng(5)
    keys = spiky(rng, (500, 100))
    scores, indices = cosine_topk(keys, keys, 1)
    assert (scores <= 1).all()
    assert_array_equal(scores, 1)
    assert_array_equal(indices[:, 0], np.arange(500))
    assert cosine_topk(-keys, keys, 500).scores.min() >= -1


def test_norms_given_and_computed_agree_bit_for_bit(backend):
    rng = np.random.default_rng(6)
    queries, keys = spiky(rng, (5, 37)), spiky(rng, (700, 37))
    keys[[3, 50]] *= np.float32(1e-30)
    keys[[8, 60]] *= np.float32(1e30)
    keys[9] = np.nan
    norms = row_norms(keys)
    given, computed = cosine_topk(queries, keys, 30, norms=norms), cosine_topk(queries, keys, 30)
    assert_array_equal(given.scores, computed.scores)
    assert_array_equal(given.indices, computed.indices)
    norms[given.indices[0, 0]] = np.nan  # a row can be left out this way
    assert given.indices[0, 0] not in cosine_topk(queries, keys, 30, norms=norms).indices
    spread = np.repeat(norms, 2)[::2]
    assert_array_equal(
        cosine_topk(queries, keys, 3, norms=spread), cosine_topk(queries, keys, 3, norms=norms)
    )


def test_layouts(backend):
    rng = np.random.default_rng(7)
    whole = spiky(rng, (60, 70))
    queries = spiky(rng, (3, 35))
    for keys in (whole[:, ::2], whole[::2, :35], whole[::-1, :35], whole[:, 34::-1],
                 np.asfortranarray(whole)[:, :35]):  # fmt: skip
        got = cosine_topk(queries, keys, 5)
        want = cosine_topk(queries.copy(), np.ascontiguousarray(keys), 5)
        assert_array_equal(got.scores, want.scores)
        assert_array_equal(got.indices, want.indices)
        check(queries, keys, 5, got)
        check(keys, keys, 5, cosine_topk(keys, keys, 5))
    raw = np.zeros(whole.nbytes + 1, np.uint8)
    shifted = raw[1:].view(np.float32).reshape(whole.shape)
    shifted[:] = whole
    check(whole, whole, 4, cosine_topk(shifted, shifted, 4))
    raw = np.zeros(4 * 60 + 1, np.uint8)
    norms = raw[1:].view(np.float32)
    norms[:] = row_norms(shifted)
    whole.flags.writeable = norms.flags.writeable = False
    check(whole, whole, 4, cosine_topk(whole, whole, 4, norms=norms))


def test_lists_are_float32(backend):
    got = cosine_topk([1.0, 0.0], [[0.0, 2.0], [3.0, 0.0]], 2)
    assert_array_equal(got.indices, [1, 0])
    assert_array_equal(got.scores, [1, 0])


def test_scores_do_not_depend_on_company(backend):
    rng = np.random.default_rng(8)
    queries, keys = spiky(rng, (70, 97)), spiky(rng, (3000, 97))
    keys[1000:1500] = keys[:500]  # equal rows score the same at any place
    together = cosine_topk(queries, keys, 12)
    for i in (0, 1, 2, 3, 37, 69):
        alone = cosine_topk(queries[i], keys, 12)
        assert_array_equal(together.scores[i], alone.scores)
        assert_array_equal(together.indices[i], alone.indices)
        part = cosine_topk(queries[max(0, i - 5) : i + 1], keys[:2500], 3000)
        place = {int(j): s for j, s in zip(part.indices[-1], part.scores[-1], strict=True)}
        for j, s in zip(alone.indices, alone.scores, strict=True):
            assert int(j) >= 2500 or place[int(j)] == s


def test_result_does_not_depend_on_threads(backend):
    rng = np.random.default_rng(9)
    queries, keys = spiky(rng, (40, 97)), spiky(rng, (9000, 97))
    keys[5000:6000] = keys[1000:2000]
    threads = firth.info().threads
    results = []
    try:
        for count in (1, 2, 3, 7):
            firth.set_num_threads(count)
            results.append([cosine_topk(queries, keys, 25), cosine_topk(queries[0], keys, 25)])
    finally:
        firth.set_num_threads(threads)
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            assert_array_equal(got.scores, want.scores)
            assert_array_equal(got.indices, want.indices)


def batches(rng):
    """Queries and keys on which a first pass in lower precision would go wrong if it were trusted:
    many queries, many rows, and among them neighbours closer than bfloat16 can tell."""
    queries, keys = spiky(rng, (40, 121)), spiky(rng, (3000, 121))
    yield "plain", queries, keys
    yield "one query repeated", queries[:1].repeat(20, axis=0), keys
    yield "wide", spiky(rng, (20, 1601)), spiky(rng, (700, 1601))
    near = queries[rng.integers(0, 40, 3000)] + spiky(rng, (3000, 121)) * np.float32(1e-3)
    yield "near the queries", queries, near
    yield "near one another", queries, keys[:1] + spiky(rng, (3000, 121)) * np.float32(1e-5)
    # rows a little better than a crowd, from the first place to the last, in one ulp steps
    crowd = np.tile(np.abs(queries[0]), (3000, 1))
    crowd[np.arange(3000), rng.integers(0, 121, 3000)] *= np.float32(1 + 2e-6)
    yield "a crowd", np.abs(queries), crowd
    yield "equal rows", queries, np.ones((2000, 121), np.float32)
    odd = keys * np.exp2(rng.integers(-120, 115, (3000, 1))).astype(np.float32)
    odd[::7] = 0
    odd[5::11, 3] = np.nan
    odd[6::11, 120] = np.inf
    odd[::13, ::2].view(np.uint32)[:] = 0xFFFFFFFF  # a NaN with every bit set
    odd_queries = queries.copy()
    odd_queries[[0, 20]] = 0
    odd_queries[7, 5] = np.nan
    odd_queries[8] *= np.float32(1e-38)
    yield "odd", odd_queries, odd
    yield "zero queries", np.zeros((40, 121), np.float32), keys


@pytest.mark.parametrize("k", [1, 10, 40])
def test_levels_agree_bit_for_bit(k):
    levels = [name for name in firth.kernels.backends() if name.startswith("native:")]
    assert "native:base" in levels
    for case, queries, keys in batches(np.random.default_rng(10)):
        results = []
        for level in levels:
            with firth.kernels.use(level):
                results.append(cosine_topk(queries, keys, k))
        for other in results[1:]:
            assert_array_equal(other.scores, results[0].scores, err_msg=case)
            assert_array_equal(other.indices, results[0].indices, err_msg=case)


def test_batches_agree_with_single_queries(backend):
    for case, queries, keys in batches(np.random.default_rng(11)):
        together = cosine_topk(queries, keys, 10)
        for i in range(0, len(queries), 7):
            alone = cosine_topk(queries[i], keys, 10)
            assert_array_equal(together.scores[i], alone.scores, err_msg=case)
            assert_array_equal(together.indices[i], alone.indices, err_msg=case)
        check(queries, keys, 10, together)


def hard_rows(rng):
    """(case, queries, keys) where a first pass in float32 can't tell the best rows apart."""
    n, d = 4000, 75
    normal, noise = (rng.standard_normal((n, d), dtype=np.float32) for _ in range(2))
    queries = normal[0] + np.float32(1e-4) * normal[1:12]
    # A few near rows: where every eighth row passes, all are scored.
    near = np.where(rng.random((n, 1)) < 0.05, normal[0] + np.float32(1e-3) * noise, normal)
    yield "cosines within rounding errors", queries, near
    yield "the same, longer and shorter", queries, near * 2.0 ** rng.integers(-100, 120, (n, 1))
    yield "denormal rows", queries, near * 2.0 ** rng.integers(-148, -120, (n, 1))
    yield "denormal queries", queries * 2.0**-140, normal
    towards = np.linspace(-1, 1, n)[:, None] * queries[0] + 1e-2 * noise
    yield "each row nearer than the last", queries, towards
    yield "all away from the query", queries, -near
    large = rng.standard_normal((n, d // 2 + 1)) * 2.0 ** rng.integers(0, 20, (n, d // 2 + 1))
    cancels = np.concatenate([large, -large[:, : d // 2]], axis=1)
    yield "large terms that cancel", np.abs(queries[:, :1]) + 1e-3 * queries, cancels
    for value in (np.nan, np.inf, 3e38):
        keys = near.copy()
        keys[::3, 5] = value
        yield f"rows with {value}", queries, keys


@pytest.mark.parametrize("count", [1, 3, 4, 11])
def test_first_pass_misses_no_row(backend, count):
    for case, queries, keys in hard_rows(np.random.default_rng(count)):
        queries, keys = queries[:count].astype(np.float32), keys.astype(np.float32)
        norms = row_norms(keys)
        norms[::7] = np.nan
        scores = firth.kernels.cosine_scores(queries, keys, norms=norms)
        got = cosine_topk(queries, keys, 10, norms=norms)
        for row, found in zip(scores, zip(*got, strict=True), strict=True):
            best = np.argsort(-row, kind="stable")[:10]  # NaN last
            assert_array_equal(found[1], best, err_msg=case)
            assert_array_equal(found[0], row[best], err_msg=case)


# Few distinct values, so that ties, zero rows and parallel rows are common.
components = st.sampled_from([0.0, 0.0, 1.0, -1.0, 2.0, 0.5, 1e-20, -3e15, float("nan")])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_against_brute_force(backend, data):
    d = data.draw(st.integers(0, 40))
    shape = st.tuples(st.integers(0, 30), st.just(d))
    queries = data.draw(arrays.arrays(np.float32, shape, elements=st.floats(-2, 2, width=32)))
    keys = data.draw(arrays.arrays(np.float32, shape, elements=components))
    k = data.draw(st.integers(0, 35))
    with np.errstate(all="ignore"):
        check(queries, keys, k, cosine_topk(queries, keys, k))


@pytest.mark.parametrize(
    ("queries", "keys", "k", "norms", "error", "text"),
    [
        (np.ones(3), np.ones((2, 3), "f"), 1, None, TypeError, "queries must be float32"),
        (np.ones(3, "f"), np.ones((2, 3)), 1, None, TypeError, "keys must be float32"),
        (np.ones(3, ">f4"), np.ones((2, 3), "f"), 1, None, TypeError, "native byte order"),
        (np.ones(3, "f"), np.ones(3, "f"), 1, None, ValueError, "keys must be 2-D"),
        (np.float32(1), np.ones((2, 3), "f"), 1, None, ValueError, "queries must be 1-D or 2-D"),
        (np.ones(4, "f"), np.ones((2, 3), "f"), 1, None, ValueError, "equal last axes"),
        (np.ones(3, "f"), np.ones((2, 3), "f"), -1, None, ValueError, "k must not be negative"),
        (np.ones(3, "f"), np.ones((2, 3), "f"), 1.5, None, TypeError, "integer"),
        (np.ones(3, "f"), np.ones((2, 3), "f"), 1, np.ones(2), TypeError, "norms must be float32"),
        (np.ones(3, "f"), np.ones((2, 3), "f"), 1, np.ones(3, "f"), ValueError, "norms must have"),
    ],
)
def test_errors(queries, keys, k, norms, error, text):
    with pytest.raises(error, match=text):
        cosine_topk(queries, keys, k, norms=norms)


def test_row_norms_errors():
    with pytest.raises(TypeError, match="row_norms: keys must be float32"):
        row_norms(np.ones((2, 3)))
    with pytest.raises(ValueError, match="row_norms: keys must be 2-D"):
        row_norms(np.ones(3, np.float32))


WORDS = ["king", "queen", "man", "woman", "apple"]
VECTORS = np.array(
    [[0.8, 0.65, 0.1], [0.78, 0.66, 0.12], [0.9, 0.1, 0.1], [0.88, 0.12, 0.12], [0.1, 0.8, 0.9]],
    np.float32,
)


def test_five_words(backend):
    scores, indices = cosine_topk(VECTORS, VECTORS, 5)
    assert [WORDS[i] for i in indices[0]] == ["king", "queen", "woman", "man", "apple"]
    assert indices[4, 0] == WORDS.index("apple")
    assert abs(scores[0, 1] - 0.9996) < 1e-4  # king and queen, to the digits of the listing


@pytest.mark.peer
def test_five_words_as_scikit_learn(backend):
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    want = pairwise.cosine_similarity(VECTORS)
    scores, indices = cosine_topk(VECTORS, VECTORS, 5)
    got = np.empty_like(want)
    np.put_along_axis(got, indices, scores, axis=1)
    # both sides are float32 with sums of three products
    assert (np.abs(got - want) <= 2 * score_tolerance(3)).all()


def small(rng, shape, dtype):
    """Keys of the dtype with their scales, and their values in float32."""
    if dtype == np.int8:
        keys = rng.integers(-127, 128, shape).astype(np.int8)
        scales = np.exp2(rng.uniform(-9, 3, len(keys))).astype(np.float32)
        return keys, scales, keys.astype(np.float32) * scales[:, None]
    keys = spiky(rng, shape, np.float16)
    keys[1:3] *= np.float16(2e-6)  # denormals
    keys[5, -1:] = np.inf
    keys[6, :1] = np.nan
    return keys, None, keys.astype(np.float32)


@pytest.mark.parametrize("d", [0, 1, 3, 4, 7, 8, 15, 16, 17, 33, 100, 300])
@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_small_keys_are_their_float32_values(backend, dtype, d):
    rng = np.random.default_rng(d)
    keys, scales, rows = small(rng, (700, d), dtype)
    queries = spiky(rng, (20, d))
    norms = row_norms(keys, scales=scales)
    assert_array_equal(norms, row_norms(rows))
    for given_norms in (None, norms):
        want = cosine_topk(queries, rows, 9)
        got = cosine_topk(queries, keys, 9, norms=given_norms, scales=scales)
        assert_array_equal(got.scores, want.scores)
        assert_array_equal(got.indices, want.indices)
        assert_array_equal(
            firth.kernels.cosine_scores(queries, keys, norms=given_norms, scales=scales),
            firth.kernels.cosine_scores(queries, rows),
        )
    assert d < 2 or np.ptp(want.scores) > 0


@pytest.mark.parametrize("count", [1, 5, 40, 300])
def test_scores_have_the_bits_of_topk(backend, count):
    rng = np.random.default_rng(count)
    queries, keys = spiky(rng, (count, 50)), spiky(rng, (900, 50))
    keys[7] = 0
    keys[8, 3] = np.inf
    scores = firth.kernels.cosine_scores(queries, keys)
    found = cosine_topk(queries, keys, 14)
    assert_array_equal(np.take_along_axis(scores, found.indices, 1), found.scores)
    assert np.isnan(scores[:, 8]).all()
    assert (scores[:, 7] == 0).all()
    single = firth.kernels.cosine_scores(queries[-1], keys[100:200])
    assert single.shape == (100,)
    assert_array_equal(single, scores[-1, 100:200])


def test_threads_and_masked_rows_change_no_bit():
    rng = np.random.default_rng(5)
    queries, keys = spiky(rng, (300, 60)), spiky(rng, (5000, 60))
    norms = row_norms(keys)
    want = cosine_topk(queries, keys, 12)
    for threads in (1, 2, 1000):
        got = cosine_topk(queries, keys, 12, norms=norms, threads=threads)
        assert_array_equal(got.scores, want.scores)
        assert_array_equal(got.indices, want.indices)
    left = np.flatnonzero(rng.random(5000) < 0.4)
    masked = np.full(5000, np.nan, np.float32)
    masked[left] = norms[left]
    got, want = cosine_topk(queries, keys, 12, norms=masked), cosine_topk(queries, keys[left], 12)
    assert_array_equal(got.scores, want.scores)
    assert_array_equal(got.indices, left[want.indices])


def test_what_small_keys_refuse():
    keys, queries = np.ones((3, 4), np.int8), np.ones((1, 4), np.float32)
    for call in (lambda **more: cosine_topk(queries, keys, 1, **more), lambda **more: row_norms(
        keys, **more
    )):  # fmt: skip
        with pytest.raises(ValueError, match="scales belong to int8"):
            call()
        with pytest.raises(ValueError, match=r"scales must have shape \(3,\)"):
            call(scales=np.ones(2, np.float32))
    with pytest.raises(ValueError, match="scales belong to int8"):
        row_norms(queries, scales=np.ones(1, np.float32))
    with pytest.raises(ValueError, match="2-D"):
        row_norms(np.ones(3, np.float16))
    with pytest.raises(ValueError, match="threads must be at least 1"):
        cosine_topk(queries, queries, 1, threads=0)
    with pytest.raises(TypeError, match="must be float32"):
        cosine_topk(queries, np.ones((3, 4), np.int16), 1)
