from __future__ import annotations

import functools
import re
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import firth
from attentions import check, exact, make, wanted, within
from conftest import BFLOAT16_BACKENDS, on_backend, spiky
from firth import _native
from firth.kernels import _arrays, _dispatch
from firth.kernels import scaled_dot_product_attention as attention
from processes import printed

# Around the panels of queries (8, 16, 32), the blocks (128) and the register tiles, odd numbers of
# keys (pairs of bfloat16), and nothing at all.
SIZES = [
    (1, 1, 1, 1), (1, 5, 4, 3), (3, 2, 8, 9), (7, 33, 16, 15), (8, 16, 17, 33), (9, 127, 6, 14),
    (31, 128, 64, 64), (32, 129, 5, 7), (33, 64, 32, 2), (65, 300, 24, 40), (130, 257, 64, 31),
    (129, 131, 400, 20), (0, 5, 4, 3), (4, 0, 4, 3), (4, 5, 0, 3), (4, 5, 3, 0),
]  # fmt: skip


@pytest.fixture(params=BFLOAT16_BACKENDS)
def backend(request):
    """Both ways of multiplying bfloat16 at v4x are tested here."""
    yield from on_backend(request.param)


@functools.cache
def known(sizes, causal, dtype):
    """What every backend must give for these."""
    return wanted(*make((2,), sizes, dtype), is_causal=causal)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_sizes(backend, sizes, causal, dtype):
    q, k, v = make((2,), sizes, dtype)
    got = attention(q, k, v, is_causal=causal)
    within(got, *known(sizes, causal, dtype))
    if min(sizes) > 0:
        assert np.abs(exact(got)).max() > 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["bool", "float32", "own"])
@pytest.mark.parametrize("shape", [(2, 3, 40, 150), (40, 150), (2, 1, 1, 150), (3, 40, 1)])
def test_masks(backend, shape, kind, dtype):
    q, k, v = make((2, 3), (40, 150, 16, 24), dtype)
    rng = np.random.default_rng(1)
    mask = rng.random(shape) < 0.6
    if kind != "bool":
        mask = np.where(mask, rng.standard_normal(shape) * 3, -np.inf).astype(np.float32)
        if kind == "own" and dtype == "bfloat16":
            mask = _arrays.narrow_bfloat16(mask)
    check(q, k, v, attention(q, k, v, mask), mask)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fully_masked_queries_give_zero(backend, dtype):
    q, k, v = make((2,), (35, 140, 8, 5), dtype)
    mask = np.ones((35, 140), bool)
    mask[[0, 3, 34]] = False
    mask[4, :130] = False  # nothing in the first block of keys
    got = attention(q, k, v, mask)
    assert not exact(got)[:, [0, 3, 34]].any()
    assert exact(got)[:, 4].any()
    check(q, k, v, got, mask)
    additive = np.where(mask, np.float32(0), np.float32(-np.inf))
    got = attention(q, k, v, additive)
    assert not exact(got)[:, [0, 3, 34]].any()
    check(q, k, v, got, mask)


@pytest.mark.parametrize(
    ("query", "key", "value"),
    [((), (), ()), ((3,), (3,), (3,)), ((2, 3), (3,), (3,)), ((2, 3), (2, 1), (1, 3)),
     ((1, 3), (4, 3), (4, 1)), ((0, 3), (1, 3), (3,)), ((2, 1, 3), (2, 1), (3,))],
)  # fmt: skip
def test_leading_axes_broadcast(backend, query, key, value):
    rng = np.random.default_rng(2)
    q = rng.standard_normal((*query, 9, 4)).astype(np.float32)
    k = rng.standard_normal((*key, 11, 4)).astype(np.float32)
    v = rng.standard_normal((*value, 11, 5)).astype(np.float32)
    check(q, k, v, attention(q, k, v))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("heads", "of_key", "of_value"), [(6, 2, 2), (6, 6, 6), (4, 1, 1), (6, 3, 2)]
)
def test_grouped_queries(backend, heads, of_key, of_value, dtype):
    q, k, v = make((2, heads), (33, 40, 8, 6), dtype)
    k, v = k[:, :of_key], v[:, :of_value]
    got = attention(q, k, v, enable_gqa=True)
    repeated = [np.repeat(k, heads // of_key, 1), np.repeat(v, heads // of_value, 1)]
    check(q, *repeated, got)
    mask = np.random.default_rng(3).random((2, heads, 33, 40)) < 0.5
    masked = attention(q, k, v, mask, enable_gqa=True)
    check(q, *repeated, masked, mask)
    if backend != "numpy":  # NumPy's BLAS chooses its order of summation by layout
        assert_array_equal(got, attention(q, *repeated))


@pytest.mark.parametrize("scale", [0.0, 0.3, -0.7, 5.0])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scale(backend, scale, dtype):
    q, k, v = make((2,), (20, 50, 8, 8), dtype)
    for causal in (False, True):
        got = attention(q, k, v, is_causal=causal, scale=scale)
        check(q, k, v, got, is_causal=causal, scale=scale)
    mask = np.arange(50)[None] % 3 > 0
    check(q, k, v, attention(q, k, v, mask, scale=scale), mask, scale=scale)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_same_bits_in_any_batch_with_padding_and_threads(backend, dtype):
    if backend == "numpy":
        attention(*make((), (1, 1, 1, 1), dtype))
        return  # its BLAS promises no such thing
    q, k, v = make((3, 4), (200, 170, 32, 32), dtype)
    together = attention(q, k, v)
    causal = attention(q, k, v, is_causal=True)
    assert_array_equal(attention(q[1:2, 2], k[1:2, 2], v[1:2, 2]), together[1:2, 2])
    assert_array_equal(attention(q[:, :, 70:103], k, v), together[:, :, 70:103])
    assert_array_equal(attention(q[0, 0, 7:8], k[0, 0], v[0, 0]), together[0, 0, 7:8])
    assert_array_equal(
        attention(q[..., :100, :], k[..., :100, :], v[..., :100, :], is_causal=True),
        causal[..., :100, :],
    )
    # Longer companions in a batch: keys beyond 130 are padding.
    short = attention(q, k[..., :130, :], v[..., :130, :])
    assert_array_equal(attention(q, k, v, np.arange(170)[None] < 130), short)
    before = _native.num_threads()
    try:
        for count in (1, 2, 3, 8):
            firth.set_num_threads(count)
            assert_array_equal(attention(q, k, v), together)
            assert_array_equal(attention(q, k, v, is_causal=True), causal)
    finally:
        firth.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layouts(backend, dtype):
    q, k, v = make((2, 3), (21, 30, 10, 12), dtype)
    want = attention(q, k, v)
    for change in (
        lambda x: np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2),  # (B, T, H, E) in memory
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
        lambda x: x[:, ::-1][:, ::-1],
        lambda x: np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    ):
        got = attention(*(change(x) for x in (q, k, v)))
        check(q, k, v, got)
        if backend != "numpy":
            assert_array_equal(got, want)
    assert all(x.flags.writeable for x in (q, k, v))


def test_ml_dtypes(backend):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    q, k, v = make((2, 2), (17, 33, 8, 8), "bfloat16")
    got = attention(*(x.view(ml_dtypes.bfloat16) for x in (q, k, v)))
    assert got.dtype == ml_dtypes.bfloat16
    assert_array_equal(got.view(np.uint16), attention(q, k, v))
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    values[:3] = np.nan, np.inf, 0.0
    rounded = values.astype(ml_dtypes.bfloat16)
    assert_array_equal(_arrays.narrow_bfloat16(values)[1:], rounded.view(np.uint16)[1:])


def test_extreme_values(backend):
    q, k, v = make((1,), (40, 260, 8, 8))
    for scores in (1e4, 1e30, 1e-40):  # one-hot weights; overflowing products; denormal ones
        scaled = (q * np.float32(scores)).astype(np.float32)
        got = attention(scaled, k, v)
        finite = np.isfinite(np.matmul(scaled, k.swapaxes(1, 2))).all(axis=-1)
        assert np.isfinite(got[finite]).all()
    equal = attention(np.ones_like(q), np.ones_like(k), v)
    np.testing.assert_allclose(
        equal, np.broadcast_to(v.mean(1, keepdims=True), q.shape), rtol=3e-5, atol=3e-5
    )
    rising = np.linspace(-3e3, 3e3, 260, dtype=np.float32)[None, :, None] * np.ones((1, 1, 8), "f4")
    check(np.ones_like(q), rising, v, attention(np.ones_like(q), rising, v))
    check(np.ones_like(q), -rising, v, attention(np.ones_like(q), -rising, v))


def small_numbers(rng, shape, exponent):
    """Small whole numbers times 2^exponent: their products and sums are exact in float32."""
    return np.ldexp(rng.integers(-3, 4, shape).astype(np.float64), exponent).astype(np.float32)


def chosen(*values):
    return lambda rng, shape: rng.choice(np.array(values, np.float32), shape)


LEAST, TOP = float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)
# Exponents of query and key, the scale, values of the mask, exponent of the values.
EXTREMES = {
    "mask of the least number everywhere": (0, 0, 0.5, chosen(LEAST), 0),
    "mask of the least number, some rows kept": (
        0, 0, 0.5, lambda rng, shape: np.where(rng.random((shape[0], 1)) < 0.5, LEAST, 0.0)
        + np.zeros(shape), 0),
    "mask of -1e38, 0 and -inf": (0, 0, 0.5, chosen(-1e38, 0, -np.inf), 0),
    "mask of -1e38 and -inf": (0, 0, 0.5, chosen(-1e38, -np.inf), 0),
    "mask between -1e38 and -3e38": (0, 0, 0.5, chosen(-1e38, -2.4e38, -3e38, -np.inf), 0),
    "mask between -3e38 and 3e38": (0, 0, 0.5, chosen(-3e38, 3e38, 2e38), 0),
    "mask that takes the score back": (60, 60, 2.0**7, chosen(-(2.0**127), 2.0**127), 0),
    "scores near 1e38": (63, 60, 1.0, None, 0),
    "scores near 1e38, scaled back": (63, 60, 2.0**-124, None, 0),
    "scores of 1e38 and a mask": (63, 60, 2.0**-124, chosen(0, 1, -np.inf), 0),
    "differences beyond float32": (62, 62, 2.0**-126, None, 0),
    "scores beyond float32": (90, 90, 1.0, None, 0),
    "scores beyond float32, scaled back": (70, 70, 2.0**-141, None, 0),
    "scores beyond float32 and a mask": (70, 70, 2.0**-126, chosen(0, -(2.0**14), -np.inf), 0),
    "scaled scores beyond float32": (0, 0, TOP, None, 0),
    "scaled scores beyond float32 and a mask": (0, 0, TOP, chosen(0, LEAST), 0),
    "tiny scores, the largest scale": (-63, -63, TOP, None, 0),
    "tiny scores, the largest scale, and a mask": (-63, -63, TOP, chosen(0, 1, -np.inf), 0),
    "denormal scores": (-70, -70, 2.0**127, None, 0),
    "the least scale": (0, 0, 2.0**-149, None, 0),
    "the least scale and a mask": (0, 0, 2.0**-149, chosen(0, 1, -np.inf), 0),
    "no scale and the largest scores": (63, 63, 0.0, None, 0),
    "largest values": (0, 0, 0.5, None, 126),
    "largest values, negative scale": (0, 0, -0.5, None, 126),
    "least values": (0, 0, 0.5, None, -120),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", EXTREMES)
def test_finite_arguments_have_finite_results(backend, case, dtype):
    """Whatever their size, as in float64. The scores are exact, so what remains is the error of the
    exponents that count (|x| < 100, within 3 eps |x|) and that of the weights (see `check`)."""
    of_query, of_key, scale, make_mask, of_value = EXTREMES[case]
    rng = np.random.default_rng(11)
    q, k = small_numbers(rng, (2, 35, 2), of_query), small_numbers(rng, (2, 200, 2), of_key)
    q[:, 3] = 0  # a usual query beside them
    v = small_numbers(rng, (2, 200, 5), of_value)
    mask = None if make_mask is None else make_mask(rng, (35, 200)).astype(np.float32)
    if dtype == "bfloat16":
        q, k, v = (_arrays.narrow_bfloat16(x) for x in (q, k, v))
    bound = 2.0**-7 if dtype == "bfloat16" else 1e-4
    for causal in (False, True) if mask is None else (False,):
        got = attention(q, k, v, mask, is_causal=causal, scale=scale)
        want = attention.reference(
            exact(q), exact(k), exact(v), mask, is_causal=causal, scale=scale
        )
        assert np.isfinite(want).all()
        assert np.abs(want).max() > 0.01 * np.abs(exact(v)).max()
        assert (np.abs(exact(got) - want) <= bound * np.abs(exact(v)).max()).all()
        if backend != "numpy":
            for i in (0, 3, 34):
                part = mask if mask is None else mask[i : i + 1]
                if causal:
                    part = np.arange(200)[None] <= i
                alone = attention(q[:, i : i + 1], k, v, part, scale=scale)
                assert_array_equal(alone, got[:, i : i + 1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_row_masked_by_the_least_number_is_the_mean(backend, dtype):
    """As padding is masked in practice; no row of it is the same as one without keys."""
    q, k, v = make((1, 1), (3, 200, 8, 8), dtype)
    got = attention(q, k, v, np.full((3, 200), LEAST, np.float32))
    mean = exact(v).mean(axis=-2, keepdims=True)
    size = np.abs(exact(v)).mean(axis=-2, keepdims=True)
    assert (np.abs(exact(got) - mean) <= (2.0**-7 if dtype == "bfloat16" else 3e-5) * size).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 3, 130])
def test_non_finite(backend, value, place):
    q, k, v = (np.ones((1, n, 4), np.float32) for n in (35, 140, 140))
    k[0, place, 1] = value
    with np.errstate(invalid="ignore"):
        want = attention.reference(q, k, v)
        got = attention(q, k, v)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    q, k = np.ones_like(q), np.ones_like(k)
    q[0, 33, 2] = value
    v[0, place, 3] = value
    with np.errstate(invalid="ignore"):
        want = attention.reference(q, k, v)
        got = attention(q, k, v)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def sums(q, k, mask=None, causal=False):
    """log(sum(exp(scores))) in float64, of queries and keys with equal leading axes."""
    scores = np.matmul(exact(q), np.swapaxes(exact(k), -1, -2)) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    return np.logaddexp.reduce(scores, axis=-1)


@functools.cache
def known_sums(sizes, dtype):
    """Masks with what every backend must give for them, within a bound: each score errs by
    (E + 8) eps of its terms, the sum by S eps; the logarithm's slope is 1."""
    q, k, _ = make((2, 3), sizes, dtype)
    rng = np.random.default_rng(1)
    boolean = rng.random((sizes[0], sizes[1])) < 0.6
    boolean[: sizes[0] // 2, : sizes[1] // 2] = False
    boolean[sizes[0] // 3 :][:1] = False
    additive = np.where(boolean, rng.standard_normal(boolean.shape) * 3, -np.inf)
    additive = additive.astype(np.float32)
    eps = float(np.finfo(np.float32).eps)
    size = np.matmul(np.abs(exact(q)), np.swapaxes(np.abs(exact(k)), -1, -2))
    size = size.max(-1, initial=0) / np.sqrt(q.shape[-1])
    weights = 7.6e-5 + 2.0**-9 if dtype == "bfloat16" else 1.5e-7
    bound = (q.shape[-1] + 8) * eps * (size + 20) + (sizes[1] + 4) * eps + weights
    cases = ((None, False), (None, True), (boolean, False), (additive, False))
    return bound, [(mask, causal, sums(q, k, mask, causal)) for mask, causal in cases]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sizes", [*SIZES[:3], *SIZES[6:]])
def test_log_sum_exp(backend, sizes, dtype):
    q, k, v = make((2, 3), sizes, dtype)
    if q.shape[-1] == 0:
        got = attention(q, k, v, return_lse=True)[1]
        np.testing.assert_allclose(
            got, np.log(sizes[1]), atol=1e-4 if dtype == "bfloat16" else 1e-6
        )
        return
    bound, cases = known_sums(sizes, dtype)
    for mask, causal, want in cases:
        out, lse = attention(q, k, v, mask, is_causal=causal, return_lse=True)
        assert lse.dtype == np.float32
        assert lse.shape == q.shape[:-1]
        assert_array_equal(out, attention(q, k, v, mask, is_causal=causal))
        assert_array_equal(np.isneginf(lse), np.isneginf(want))
        kept = np.isfinite(want)
        assert (np.abs(lse[kept] - want[kept]) <= bound[kept]).all()
        if backend != "numpy" and sizes[0] > 2:
            part = mask if mask is None else mask[1:2]
            if not causal:
                assert_array_equal(
                    attention(q[..., 1:2, :], k, v, part, return_lse=True)[1], lse[..., 1:2]
                )


def test_log_sum_exp_of_groups_and_extremes(backend):
    q, k, v = make((2, 6), (33, 40, 8, 6))
    lse = attention(q, k[:, :2], v[:, :2], enable_gqa=True, return_lse=True)[1]
    want = sums(q, np.repeat(k[:, :2], 3, axis=1))
    np.testing.assert_allclose(lse, want, rtol=1e-4, atol=1e-4)
    one = attention(q[0, 0], k[0, 0], v[0, 0], return_lse=True)
    assert one[0].shape == (33, 6)
    assert one[1].shape == (33,)
    # Two halves of the keys merge into the whole by their sums.
    halves = [attention(q, k[..., s, :], v[..., s, :], return_lse=True)
              for s in (slice(0, 17), slice(17, 40))]  # fmt: skip
    whole, total = attention(q, k, v, return_lse=True)
    merged = sum(part * np.exp(each - total)[..., None] for part, each in halves)
    np.testing.assert_allclose(merged, whole, rtol=1e-4, atol=1e-4)
    # Scores beyond float32 on the way: q k = 2^140, times 2^-140.
    big = np.full((3, 1), 2.0**70, np.float32)
    lse = attention(big, big, big, scale=2.0**-140, return_lse=True)[1]
    np.testing.assert_allclose(lse, 1 + np.log(3), rtol=1e-6)
    lse = attention(big, big / 2**70, big, np.full((3, 3), LEAST, np.float32), return_lse=True)[1]
    np.testing.assert_allclose(lse, LEAST, rtol=1e-6)


A, B = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((A.astype(np.float64), B, B), {}, TypeError, "attention: query must be float32"),
        ((A, B, B.astype(np.int32)), {}, TypeError, "attention: value must be float32"),
        ((A, B.astype(np.uint16), B), {}, TypeError, "one dtype"),
        ((A[0], B, B), {}, ValueError, "at least 2 axes"),
        ((A[:, :2], B, B), {}, ValueError, "one depth"),
        ((A, B, B[:3]), {}, ValueError, "one length"),
        ((np.ones((2, 2, 3), "f4"), np.ones((3, 4, 3), "f4"), B), {}, ValueError, "broadcast"),
        ((A, B, B, np.ones((2, 4), np.int32)), {}, TypeError, "attn_mask must be float32 or bool"),
        ((A, B, B, np.ones(4, bool)), {}, ValueError, "attn_mask must have at least 2"),
        ((A, B, B, np.ones((2, 5), bool)), {}, ValueError, "do not broadcast"),
        ((A, B, B, np.ones((2, 4), bool)), {"is_causal": True}, ValueError, "must be None"),
        ((A, B, B), {"enable_gqa": True}, ValueError, "axis of heads"),
        ((np.ones((5, 2, 3), "f4"), np.ones((2, 4, 3), "f4"), np.ones((2, 4, 3), "f4")),
         {"enable_gqa": True}, ValueError, "must divide"),
    ],
)  # fmt: skip
def test_errors(arguments, options, error, text):
    with pytest.raises(error, match=text):
        attention(*arguments, **options)


@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")
@pytest.mark.parametrize(("one", "dtype"), [(1, "float32"), (0x3F80, "uint16")])
def test_memory_stays_far_below_the_scores(one, dtype):
    """L = S = 16384: the scores alone would take 1 GiB in float32."""
    code = f"""
import re, numpy as np
from firth.kernels import scaled_dot_product_attention as attention
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
q, k, v = (np.full((16384, 64), {one}, "{dtype}") for _ in range(3))
attention(q[:300], k, v)
before = peak()
attention(q, k, v)
print(peak() - before)
"""
    assert float(printed(code)) < 48  # MiB: the output (4 MiB), packed keys and values (8), scratch


@pytest.mark.peer
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"scale": 0.2}, {"enable_gqa": True}, {"attn_mask": "bool"},
     {"attn_mask": "float"}, {"attn_mask": "own"}, {"attn_mask": "nothing"},
     {"attn_mask": "nothing", "enable_gqa": True}],
    ids=str,
)  # fmt: skip
def test_equals_torch(backend, options, dtype):
    torch = pytest.importorskip("torch")
    q, k, v = make((2, 6), (70, 150, 32, 32), dtype, seed=5)
    if options.get("enable_gqa"):
        k, v = k[:, :2], v[:, :2]
    mask = {
        "bool": np.random.default_rng(6).random((70, 150)) < 0.5,
        "float": spiky(np.random.default_rng(6), (2, 1, 70, 150)),
        "own": spiky(np.random.default_rng(6), (70, 150)),
        "nothing": np.arange(70)[:, None] % 7 + np.zeros((1, 150)) > 2,
    }.get(options.get("attn_mask", ""))
    if options.get("attn_mask") == "own" and dtype == "bfloat16":
        mask = _arrays.narrow_bfloat16(mask)

    def tensor(x):
        if x is None or x.dtype != np.uint16:
            return None if x is None else torch.from_numpy(x)
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)

    others = {name: value for name, value in options.items() if name != "attn_mask"}
    got = exact(attention(q, k, v, mask, **others))
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *map(tensor, (q, k, v)), attn_mask=tensor(mask), **others
    )
    theirs = theirs.to(torch.float64).numpy()
    if mask is not None and mask.dtype == np.uint16:
        mask = exact(mask)
    want = attention.reference(exact(q), exact(k), exact(v), mask, **others)
    ours_off, theirs_off = np.abs(got - want).max(), np.abs(theirs - want).max()
    # As exact as PyTorch, but for one rounding of the largest value.
    eps = 2.0**-8 if dtype == "bfloat16" else 2.0**-20
    assert ours_off <= 2 * theirs_off + eps * np.abs(want).max()
    assert theirs_off <= 0.05 * np.abs(want).max()
    assert_array_equal((got == 0).all(-1), (theirs == 0).all(-1))


def test_called_by_name():
    q, k, v = make((1,), (3, 4, 5, 6))
    before = _dispatch.calls[f"native:{_dispatch.active_level().name}"]
    check(q, k, v, attention.native(q, k, v))
    assert _dispatch.calls[f"native:{_dispatch.active_level().name}"] == before + 1


def test_arguments_stand_where_pytorch_has_them():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    want = attention(x, x, x, is_causal=True, scale=0.5)
    assert_array_equal(attention(x, x, x, None, 0.0, True, 0.5, False), want)
    for dropout in (0.1, True, np.nan):
        with pytest.raises(ValueError, match="attention: dropout_p must be 0"):
            attention(x, x, x, None, dropout)
    with pytest.raises(TypeError, match="attention: is_causal must be a bool"):
        attention(x, x, x, None, 0.0, 0.5)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf, 1e39])
def test_scale_must_be_finite(scale):
    got = re.escape(repr(scale))
    with pytest.raises(ValueError, match=f"attention: scale must be finite in float32, got {got}"):
        attention(A, B, B, scale=scale)
