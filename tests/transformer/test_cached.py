"""Tokens behind tokens: the same bits in parts as at once, and what the reference computes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import firth
from causal_stacks import PLAN, TOKENS, ids_of, make
from conftest import BACKENDS, REQUIRED, unavailable
from firth import _native
from firth.kernels import _dispatch
from firth.transformer import Batch, Stack, reference
from firth.transformer.cached import Cache, extend, scores
from firth.transformer.plan import Scaling
from firth.transformer.weights import floats
from stored import BLOCKS

OTHERS = [
    {"windows": (40, -1)},
    {"softcap": 3.0},
    {"key_heads": 6, "interleaved": True, "head_width": 80},
    {"key_heads": 1, "heads": 2, "head_width": 256, "thetas": ()},
]


@pytest.fixture(params=[name for name in BACKENDS if name.startswith("native:")])
def level(request):
    """Run the test on each level of native code."""
    if reason := unavailable(request.param):
        pytest.fail(reason) if request.param in REQUIRED else pytest.skip(reason)
    with _dispatch.use(request.param):
        yield request.param


def at_once(stack: Stack, ids: list[int], half: bool = True) -> np.ndarray:
    return extend(stack, [ids], [Cache(stack, half=half)])


def wanted(stack: Stack, ids: list[int]) -> np.ndarray:
    batch = Batch(np.array(ids, np.int32), np.array([0, len(ids)]))
    return reference.run(stack.plan, stack.weights, batch).hidden


@pytest.mark.parametrize("change", [{}, *OTHERS])
def test_the_reference_and_float32_caches(level, change):
    plan = dataclasses.replace(PLAN, **change)
    stack = Stack(plan, make(plan))
    ids = ids_of(150)
    want = wanted(stack, ids)
    np.testing.assert_allclose(at_once(stack, ids, half=False), want, atol=2e-4, rtol=0)
    # Keys and values with 11 bits.
    np.testing.assert_allclose(at_once(stack, ids), want, atol=8e-3, rtol=0)


@pytest.mark.parametrize("kind", ["F32", "F16", *BLOCKS])
def test_matrices_as_they_are_stored(level, kind):
    stack = Stack(PLAN, make(PLAN, (kind,), bias=True), "stored")
    ids = ids_of(37)
    want = wanted(stack, ids)
    hidden = at_once(stack, ids, half=False)
    # Inputs are rounded to 14 bits of the greatest of 32.
    np.testing.assert_allclose(hidden, want, atol=4e-3 if kind in BLOCKS else 2e-4, rtol=0)
    table = floats(stack.weights.outside["tokens"])
    found, exact = scores(stack, hidden), hidden.astype(np.float64) @ table.T
    np.testing.assert_allclose(found, exact, atol=4e-3 if kind in BLOCKS else 2e-5, rtol=0)


MIXED = ("Q4_1", "Q6_K", "Q8_0", "F16", "Q4_K", "Q4_K", "IQ4_NL")


@pytest.mark.parametrize("change", [{}, *OTHERS])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "stored"])
def test_parts_and_company_change_no_bit(level, precision, change):
    plan = dataclasses.replace(PLAN, **change)
    weights = make(plan, MIXED if precision == "stored" else ("F32",))
    stack = Stack(plan, weights, precision)
    texts = [ids_of(n, n) for n in (700, 90, 1, 64, 13)]
    alone = [at_once(stack, ids) for ids in texts]
    together = extend(stack, texts, [Cache(stack) for _ in texts])
    np.testing.assert_array_equal(together, np.concatenate(alone))
    for ids, want in zip(texts, alone, strict=True):
        cache, parts, at = Cache(stack), [], 0
        for n in (1, 7, 1, 64, 2, 500, 1000):
            parts.append(extend(stack, [ids[at : at + n]], [cache]))
            at += n
        np.testing.assert_array_equal(np.concatenate(parts), want)
        assert cache.ids == ids


def test_threads_change_no_bit(level):
    stack = Stack(PLAN, make(PLAN, MIXED), "stored")
    ids, before = ids_of(600), _native.num_threads()
    found = []
    try:
        for count in (1, 2, 5):
            firth.set_num_threads(count)
            found.append(at_once(stack, ids))
    finally:
        firth.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_common_beginning_is_shared(level):
    stack = Stack(PLAN, make(PLAN, MIXED), "stored")
    common, ends = ids_of(100), [ids_of(60, 1), ids_of(3, 2)]
    root = Cache(stack)
    extend(stack, [common], [root])
    for n in (100, 64, 37, 0):
        branches = [root.first(n) for _ in ends]
        found = extend(stack, ends, branches)
        want = [at_once(stack, common[:n] + end)[n:] for end in ends]
        np.testing.assert_array_equal(found, np.concatenate(want))
        assert [branch.ids for branch in branches] == [common[:n] + end for end in ends]
    assert root.ids == common
    root.shorten(70)
    np.testing.assert_array_equal(
        extend(stack, [ends[1]], [root]), at_once(stack, common[:70] + ends[1])[70:]
    )


def test_long_texts_have_other_angles_from_the_first_token_on(level):
    rng = np.random.default_rng(0)
    near, far = (tuple(1 + rng.random(24)) for _ in range(2))
    scaling = (Scaling(near, 1.2, far),) * 2
    plan = dataclasses.replace(PLAN, scaling=scaling, long_after=40)
    stack = Stack(plan, make(plan, MIXED), "stored")
    ids, cache, parts = ids_of(90), Cache(stack), []
    for begin, end in ((0, 30), (30, 40), (40, 41), (41, 90)):
        parts.append(extend(stack, [ids[begin:end], ids[:begin]], [cache, Cache(stack)]))
    assert cache.ids == ids
    for end, part in ((40, parts[1][:10]), (41, parts[2][:1]), (90, parts[3][:49])):
        np.testing.assert_array_equal(part, at_once(stack, ids[:end])[-len(part) :])
    np.testing.assert_allclose(
        at_once(stack, ids, half=False), wanted(stack, ids), atol=4e-3, rtol=0
    )
    for n, short in ((60, cache.first(60)), (20, cache.first(20))):
        found = extend(stack, [ids[n : n + 5]], [short])
        np.testing.assert_array_equal(found, at_once(stack, ids[: n + 5])[n:])
    cache.shorten(38)
    np.testing.assert_array_equal(
        extend(stack, [ids[38:40]], [cache]), at_once(stack, ids[:40])[38:]
    )


def test_norms_of_all_heads_in_one(level):
    plan = dataclasses.replace(PLAN, joint_norms=True)
    weights, rng = make(plan), np.random.default_rng(1)
    for layer in weights.layers:
        layer["attention.query_norm.gain"] = rng.random(288).astype(np.float32)
        layer["attention.key_norm.gain"] = rng.random(96).astype(np.float32)
    stack, ids = Stack(plan, weights), ids_of(30)
    want = wanted(stack, ids)
    np.testing.assert_allclose(at_once(stack, ids, half=False), want, atol=2e-4, rtol=0)
    batch = Batch(np.array(ids, np.int32), np.array([0, len(ids)]))
    np.testing.assert_allclose(stack.run(batch).hidden, want, atol=2e-4, rtol=0)


def test_softcap_without_caches(level):
    plan = dataclasses.replace(PLAN, softcap=2.0, windows=(20, -1))
    stack, ids = Stack(plan, make(plan)), ids_of(70)
    batch = Batch(np.array(ids * 2, np.int32), np.array([0, 70, 140]))
    found = stack.run(batch).hidden
    np.testing.assert_allclose(found[:70], wanted(stack, ids), atol=2e-4, rtol=0)
    np.testing.assert_array_equal(found[:70], found[70:])


def test_the_numpy_backend_gives_the_reference():
    plan = dataclasses.replace(PLAN, layers=1, thetas=(1e4,))
    with _dispatch.use("numpy"):
        stack = Stack(plan, make(plan, MIXED), "stored")
        ids, cache = ids_of(20), Cache(stack)
        parts = [extend(stack, [part], [cache]) for part in (ids[:13], ids[13:])]
        np.testing.assert_array_equal(np.concatenate(parts), wanted(stack, ids))
        assert scores(stack, parts[0]).shape == (13, TOKENS)


def test_what_cannot_be_extended():
    stack = Stack(PLAN, make(PLAN))
    cache = Cache(stack)
    extend(stack, [ids_of(10)], [cache])
    for ids, message in (
        ([TOKENS], r"ids: 50 is not in \[0, 50\)"),
        ([-1], r"ids: -1 is not in \[0, 50\)"),
        (ids_of(2039), "a text of 2049 tokens, more than there are positions"),
    ):
        with pytest.raises(ValueError, match=message):
            extend(stack, [ids], [cache])
        assert len(cache) == 10
    with pytest.raises(ValueError, match="one cache for each text, all different"):
        extend(stack, [[1], [2]], [cache, cache])
    for n in (-1, 11):
        with pytest.raises(ValueError, match=f"a cache of 10 tokens has no first {n}"):
            cache.first(n)
        with pytest.raises(ValueError, match="has no first"):
            cache.shorten(n)
    assert extend(stack, [[]], [cache]).shape == (0, PLAN.width)
    assert extend(stack, [], []).shape == (0, PLAN.width)
