"""Tokens behind tokens: the same bits in parts as at once, and what the reference computes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import firth
from causal_stacks import DECODER, PLAN, TOKENS, ids_of, make, memory_of
from conftest import BACKENDS, REQUIRED, unavailable
from firth import _native
from firth.formats.blocks import BlockArray, block_type, dequantize, quantize
from firth.kernels import _dispatch
from firth.transformer import Batch, Stack, reference
from firth.transformer.cached import Cache, extend, scores
from firth.transformer.plan import Scaling
from firth.transformer.weights import floats
from stored import BLOCKS, halves_of

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


def at_once(stack: Stack, ids: list[int], half: bool | None = None) -> np.ndarray:
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
    np.testing.assert_allclose(at_once(stack, ids, half=True), want, atol=8e-3, rtol=0)
    np.testing.assert_array_equal(at_once(stack, ids), at_once(stack, ids, half=False))


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


def rounded(x: np.ndarray, most: int) -> np.ndarray:
    """Numbers as whole multiples of the greatest of 32 over `most`."""
    blocks = x.reshape(len(x), -1, 32)
    top = abs(blocks).max(-1, keepdims=True)
    top = np.maximum(top, np.float32(1e-20))
    whole = np.rint(blocks * (np.float32(most) / top))
    return (whole * (top / np.float32(most)).astype(np.float64)).reshape(x.shape)


@pytest.mark.parametrize("kind", ["F32", "F16", *BLOCKS])
@pytest.mark.parametrize(("precision", "most"), [("stored", 8127), ("stored_int8", 127)])
def test_a_product_with_rounded_inputs(level, kind, precision, most):
    stack = Stack(PLAN, make(PLAN, (kind,)), precision)
    table = floats(stack.weights.outside["tokens"]).astype(np.float64)
    if precision == "stored_int8" and kind in ("F32", "F16"):
        q8_0 = block_type("Q8_0")
        table = dequantize(quantize(table.astype(np.float32), q8_0), q8_0).astype(np.float64)
    elif kind in ("F32", "F16"):
        most = 0
    rng = np.random.default_rng(1)
    states = rng.standard_normal((37, PLAN.width)).astype(np.float32)
    states[3, 7] = 500  # and its neighbours few steps
    states[5, :40] = 0
    given = rounded(states, most) if most else states.astype(np.float64)
    exact = given @ table.T
    sizes = abs(given) @ abs(table).T
    assert (abs(scores(stack, states) - exact) <= 2e-6 * sizes).all()


@pytest.mark.parametrize("kind", BLOCKS)
def test_inputs_of_any_codes_have_exact_sums(level, kind):
    """The largest codes against the largest digits: sums of 16 bits must hold them."""
    weights = make(PLAN, (kind,))
    blocks = weights.outside["tokens"]

    def filled(byte: int) -> BlockArray:
        data = np.array(blocks.data).reshape(len(blocks), -1, blocks.type.bytes)
        kept = data[..., halves_of(kind)]
        data[:] = byte
        data[..., halves_of(kind)] = kept
        return BlockArray(data.reshape(blocks.data.shape), blocks.type)

    states = np.full((9, PLAN.width), 0.75, np.float32)
    states[1::2] *= -1
    states[4, ::2] *= -1
    tables = [filled(byte) for byte in (0x00, 0x55, 0xFF)]
    largest = np.max([abs(floats(table)) for table in tables], axis=0).astype(np.float64)
    for table in tables:
        weights.outside["tokens"] = table
        for precision, most in (("stored", 8127), ("stored_int8", 127)):
            found = scores(Stack(PLAN, weights, precision), states)
            exact = rounded(states, most) @ floats(table).T.astype(np.float64)
            assert (abs(found - exact) <= 2e-6 * (abs(states) @ largest.T)).all()


MIXED = ("Q4_1", "Q6_K", "Q8_0", "F16", "Q4_K", "Q4_K", "IQ4_NL")


@pytest.mark.parametrize("change", [{}, *OTHERS])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "stored", "stored_int8"])
def test_parts_and_company_change_no_bit(level, precision, change):
    plan = dataclasses.replace(PLAN, **change)
    weights = make(plan, MIXED if precision.startswith("stored") else ("F32",))
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


@pytest.mark.parametrize("precision", ["float32", "stored", "stored_int8"])
def test_states_of_the_last_tokens_alone(level, precision):
    stack = Stack(PLAN, make(PLAN, MIXED if precision != "float32" else ("F32",)), precision)
    texts = [ids_of(n, n) for n in (90, 1, 64, 13)]
    caches = [Cache(stack) for _ in texts]
    whole = extend(stack, texts, caches)
    starts = np.cumsum([0, *(len(text) for text in texts)])
    for last in ([1, 1, 1, 1], [0, 1, 5, 0], [0, 0, 0, 0], [90, 1, 64, 13]):
        others = [Cache(stack) for _ in texts]
        found = extend(stack, texts, others, last)
        rows = [row for end, n in zip(starts[1:], last, strict=True) for row in range(end - n, end)]
        np.testing.assert_array_equal(found, whole[rows])
        following = [[3, 4]] * len(texts)  # and the caches are whole
        np.testing.assert_array_equal(
            extend(stack, following, others),
            extend(stack, following, [cache.first(len(cache)) for cache in caches]),
        )


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


@pytest.mark.parametrize(
    ("kinds", "bias", "precision", "half"),
    [
        (("F32",), False, "stored", False), (("F16",), False, "stored", False),
        (("F32",), False, "float32", False), (("Q4_1",), False, "stored", True),
        (("F16", "Q8_0"), False, "stored", True), (("Q4_1",), True, "stored", False),
        (("F16",), False, "stored_int8", True), (("F32",), True, "int8", False),
    ],
)  # fmt: skip
def test_how_keys_are_kept(kinds, bias, precision, half):
    assert Stack(PLAN, make(PLAN, kinds, bias), precision).half_caches is half


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


@pytest.mark.parametrize("memory", [memory_of(0), memory_of(7), memory_of(90), None])
def test_what_is_attended_to_and_biases_of_distances(level, memory):
    stack, ids = Stack(DECODER, make(DECODER)), ids_of(150)
    given = memory_of(0) if memory is None else memory
    batch = Batch(
        np.array(ids, np.int32), np.array([0, 150]), memory=given,
        memory_offsets=np.array([0, len(given)]),
    )  # fmt: skip
    want = reference.run(stack.plan, stack.weights, batch).hidden
    for half, atol in ((False, 2e-4), (True, 8e-3)):
        found = extend(stack, [ids], [Cache(stack, half=half, memory=memory)])
        np.testing.assert_allclose(found, want, atol=atol, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "stored"])
def test_a_memory_in_parts_and_company(level, precision):
    weights = make(DECODER, MIXED if precision == "stored" else ("F32",))
    stack, before = Stack(DECODER, weights, precision), _native.num_threads()
    texts = [ids_of(n, n) for n in (600, 90, 1, 64)]
    memories = [memory_of(n, n) for n in (5, 600, 64, 1)]
    alone = [
        extend(stack, [ids], [Cache(stack, memory=memory)])
        for ids, memory in zip(texts, memories, strict=True)
    ]
    try:
        for count in (1, 5):
            firth.set_num_threads(count)
            caches = [Cache(stack, memory=memory) for memory in memories]
            found = extend(stack, texts, caches)
            np.testing.assert_array_equal(found, np.concatenate(alone))
    finally:
        firth.set_num_threads(before)
    root = Cache(stack, memory=memories[1])
    for n in (0, 40):  # texts that begin alike share the memory
        branches = [root.first(n), root.first(n)]
        for begin, end in ((n, n + 1), (n + 1, 70), (70, 90)):
            found = extend(stack, [texts[1][begin:end], texts[0][begin:end]], branches)
            np.testing.assert_array_equal(found[: end - begin], alone[1][begin:end])
        extend(stack, [texts[1][n : n + 40]], [root])


def test_the_numpy_backend_gives_the_reference():
    plan = dataclasses.replace(PLAN, layers=1, thetas=(1e4,))
    with _dispatch.use("numpy"):
        stack = Stack(plan, make(plan, MIXED), "stored")
        ids, cache = ids_of(20), Cache(stack)
        parts = [extend(stack, [part], [cache]) for part in (ids[:13], ids[13:])]
        np.testing.assert_array_equal(np.concatenate(parts), wanted(stack, ids))
        assert scores(stack, parts[0]).shape == (13, TOKENS)
        stack, memory = Stack(DECODER, make(DECODER)), memory_of(9)
        whole, root = Cache(stack, memory=memory), Cache(stack, memory=memory)
        want = extend(stack, [ids], [whole])
        extend(stack, [ids[:13]], [root])
        np.testing.assert_array_equal(extend(stack, [ids[13:]], [root.first(13)]), want[13:])
        assert not np.allclose(extend(stack, [ids], [Cache(stack)]), want, atol=0.1)


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
