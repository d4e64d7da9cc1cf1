"""Stacks of layers in native code against the reference, for plans of every kind.

More than 500 lines, since all tests share the makers of plans, weights and batches.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import firth
from conftest import BACKENDS, REQUIRED, unavailable
from firth.formats.blocks import BlockArray, block_type, quantize
from firth.kernels import _dispatch, quantize_rows, quantize_weights, rotary_table, use
from firth.transformer import Batch, Plan, Stack, Weights, angles, reference
from firth.transformer.plan import Scaling
from firth.transformer.stack import POOLINGS, pooled


@pytest.fixture(params=[name for name in BACKENDS if name != "numba"])  # stacks have no such code
def code(request):
    """Run the test on each backend that a stack has."""
    if reason := unavailable(request.param):
        pytest.fail(reason) if request.param in REQUIRED else pytest.skip(reason)
    with _dispatch.use(request.param):
        yield request.param


LENGTHS = [5, 1, 33, 0, 17, 2, 9, 64]
PLAIN = Plan(width=24, layers=2, heads=3, hidden=40)


def linear(rng, outputs, inputs, bias=True):
    found = {"weight": rng.standard_normal((outputs, inputs)) / inputs**0.5}
    if bias:
        found["bias"] = rng.standard_normal(outputs) / 4
    return found


def norm(rng, n, bias=True):
    found = {"gain": 1 + rng.standard_normal(n) / 8}
    if bias:
        found["bias"] = rng.standard_normal(n) / 8
    return found


def flat(parts):
    return {
        f"{name}.{kind}": np.asarray(array, np.float32)
        for name, arrays in parts.items()
        for kind, array in arrays.items()
    }


def make_layer(rng, plan, norms=("after",), bias=True, gated=False, head_norms=False):
    queries, keys = plan.heads * plan.head_width, plan.key_heads * plan.head_width
    parts = {
        "attention.query": linear(rng, queries, plan.width, bias),
        "attention.key": linear(rng, keys, plan.width, bias),
        "attention.value": linear(rng, keys, plan.width, bias),
        "attention.out": linear(rng, plan.width, queries, bias),
        "feed.up": linear(rng, plan.hidden, plan.width, bias),
        "feed.down": linear(rng, plan.width, plan.hidden, bias),
    }
    if plan.memory:
        parts["cross.query"] = linear(rng, queries, plan.width, bias)
        parts["cross.key"] = linear(rng, keys, plan.memory, bias)
        parts["cross.value"] = linear(rng, keys, plan.memory, bias)
        parts["cross.out"] = linear(rng, plan.width, queries, bias)
    if gated:
        parts["feed.gate"] = linear(rng, plan.hidden, plan.width, bias)
    with_bias = bias and plan.norm == "layer"
    for name in norms:
        parts[f"attention.{name}"] = norm(rng, plan.width, with_bias)
        if plan.memory:
            parts[f"cross.{name}"] = norm(rng, plan.width, with_bias)
        parts[f"feed.{name}"] = norm(rng, plan.width, with_bias)
    if head_norms:
        parts["attention.query_norm"] = norm(rng, plan.head_width, False)
        parts["attention.key_norm"] = norm(rng, plan.head_width, False)
    return flat(parts)


def make(plan, seed=0, embedding=None, positions=80, types=2, relative=0, final=False, **layer):
    rng = np.random.default_rng(seed)
    width = embedding or plan.width
    outside = {"tokens": rng.standard_normal((50, width)).astype(np.float32)}
    if positions:
        outside["positions"] = rng.standard_normal((positions, width)).astype(np.float32)
    if types:
        outside["types"] = rng.standard_normal((types, width)).astype(np.float32)
    parts = {"embedding": norm(rng, width, plan.norm == "layer")}
    if embedding:
        parts["projection"] = linear(rng, plan.width, width)
    if final:
        parts["final"] = norm(rng, plan.width, plan.norm == "layer")
    if relative:
        outside["relative"] = rng.standard_normal((relative, plan.heads)).astype(np.float32)
    return Weights(
        outside | flat(parts), [make_layer(rng, plan, **layer) for _ in range(plan.layers)]
    )


def make_batch(lengths=LENGTHS, seed=1, types=True):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n = int(offsets[-1])
    return Batch(
        rng.integers(0, 50, n).astype(np.int32),
        offsets,
        types=rng.integers(0, 2, n).astype(np.int32) if types else None,
    )


KINDS = {
    "bert": (PLAIN, {}),
    "one layer, wide heads": (Plan(width=24, layers=1, heads=2, hidden=7, head_width=20), {}),
    "no layers": (Plan(width=24, layers=0, heads=3, hidden=40), {}),
    "relu, no types": (dataclasses.replace(PLAIN, activation="relu"), {"types": 0}),
    "roberta": (dataclasses.replace(PLAIN, position_offset=2), {}),
    "albert, electra": (PLAIN, {"embedding": 10}),
    "mpnet": (PLAIN, {"relative": 32, "types": 0}),
    "gpt": (
        dataclasses.replace(PLAIN, causal=True, activation="gelu_tanh"),
        {"norms": ("before",), "final": True},
    ),
    "modernbert": (
        dataclasses.replace(PLAIN, thetas=(160.0, 10.0), positions=70, windows=(-1, 3)),
        {"norms": ("before",), "final": True, "bias": False, "gated": True, "positions": 0},
    ),
    "llama": (
        Plan(
            width=32, layers=2, heads=4, hidden=48, key_heads=2, activation="silu", norm="rms",
            epsilon=1e-6, causal=True, thetas=(100.0, 100.0), positions=64, interleaved=True,
        ),
        {
            "norms": ("before",), "final": True, "bias": False, "gated": True, "positions": 0,
            "types": 0,
        },
    ),
    "gemma": (
        Plan(
            width=32, layers=2, heads=4, hidden=48, key_heads=1, head_width=16, norm="rms",
            activation="gelu_tanh", epsilon=1e-6, causal=True, thetas=(100.0, 20.0), positions=64,
            windows=(4, -1), embedding_factor=5.5, scale=0.3,
        ),
        {
            "norms": ("before", "inner"), "final": True, "bias": False, "gated": True,
            "positions": 0, "types": 0, "head_norms": True,
        },
    ),
    "angles of long texts": (
        Plan(
            width=32, layers=2, heads=4, hidden=48, causal=True, thetas=(50.0, 50.0), positions=64,
            rotated=6, long_after=16,
            scaling=(Scaling((1.0, 1.5, 2.0), 1.2, (1.0, 4.0, 7.0)), Scaling((2.0, 2.0, 2.0))),
        ),
        {"positions": 0, "types": 0},
    ),
    "part of a head is rotated": (
        Plan(width=36, layers=1, heads=3, hidden=20, thetas=(50.0,), rotated=4, positions=64),
        {"positions": 0},
    ),
    "mpnet with windows": (
        dataclasses.replace(PLAIN, windows=(2, -1), distances=20), {"relative": 8},
    ),
}  # fmt: skip


def tolerance(plan):
    """Bound on the error of a state: of order 1, after the products of all layers.

    A sum of n products of order 1 / sqrt(n) errs by at most n eps sqrt(n); a layer has four of
    them, one behind the other, whose errors add up (norms and residuals keep their size).
    """
    n = max(plan.width, plan.hidden, plan.heads * plan.head_width)
    return 4 * (plan.layers + 1) * n**1.5 * float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("kind", KINDS)
def test_native_code_computes_what_the_reference_says(code, kind):
    plan, options = KINDS[kind]
    weights, batch = make(plan, **options), make_batch(types=options.get("types") != 0)
    want = reference.run(plan, weights, batch)
    got = Stack(plan, weights).run(batch, states=True, attentions=True)
    within = tolerance(plan)
    assert got.hidden.shape == (sum(LENGTHS), plan.width)
    assert got.hidden.dtype == np.float32
    assert len(got.states) == plan.layers + 1
    for ours, theirs in zip(got.states, want.states, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=within * max(1, abs(theirs).max()))
    np.testing.assert_array_equal(got.hidden, got.states[-1])
    assert len(got.attentions) == plan.layers
    for layer, expected in zip(got.attentions, want.attentions, strict=True):
        for one, text, length in zip(layer, expected, LENGTHS, strict=True):
            assert one.shape == (plan.heads, length, length)
            np.testing.assert_allclose(one, text, rtol=0, atol=within)


@pytest.mark.parametrize("kind", ["bert", "mpnet", "modernbert", "gemma", "mpnet with windows"])
@pytest.mark.parametrize("what", ["padding", "holes", "masks", "masks and holes", "nothing seen"])
def test_keys_that_are_not_seen(kind, what):
    plan, options = KINDS[kind]
    weights, batch = make(plan, **options), make_batch(types=options.get("types") != 0)
    rng = np.random.default_rng(2)
    n = sum(LENGTHS)
    seen = masks = None
    if what == "padding":
        seen = np.concatenate([np.arange(m) < (m + 1) // 2 for m in LENGTHS])
    elif what == "nothing seen":
        seen = np.zeros(n, bool)
    elif "holes" in what:
        seen = rng.random(n) < 0.7
    if "masks" in what:
        masks = [rng.random((m, m)) < 0.6 for m in LENGTHS]
    batch = dataclasses.replace(batch, seen=seen, mask=masks)
    want = reference.run(plan, weights, batch)
    got = Stack(plan, weights).run(batch, attentions=True)
    within = tolerance(plan)
    np.testing.assert_allclose(
        got.hidden, want.hidden, rtol=0, atol=within * max(1, abs(want.hidden).max())
    )
    for layer, expected in zip(got.attentions, want.attentions, strict=True):
        for one, text in zip(layer, expected, strict=True):
            np.testing.assert_allclose(one, text, rtol=0, atol=within)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("kind", ["bert", "albert, electra", "mpnet", "modernbert", "gemma"])
def test_a_text_has_the_same_bits_in_any_company(kind, precision):
    plan, options = KINDS[kind]
    weights = make(plan, **options)
    stack = Stack(plan, weights, precision)
    lengths = [*LENGTHS, 60, 1, 1, 40, *range(30)]
    batch = make_batch(lengths, types=options.get("types") != 0)
    ends = batch.offsets
    try:
        firth.set_num_threads(1)
        alone = stack.run(batch).hidden
        for threads in (2, 3, 7):
            firth.set_num_threads(threads)
            np.testing.assert_array_equal(stack.run(batch).hidden, alone)
            for b in (0, 2, 3, len(lengths) - 1):
                here = slice(ends[b], ends[b + 1])
                one = Batch(
                    batch.ids[here],
                    np.array([0, lengths[b]]),
                    types=None if batch.types is None else batch.types[here],
                )
                np.testing.assert_array_equal(stack.run(one).hidden, alone[here])
    finally:
        firth.set_num_threads(2)


MEMORIES = [9, 3, 0, 5, 1, 40, 2, 17]  # vectors that each text of LENGTHS attends to
DECODERS = {
    "transformer": (dataclasses.replace(PLAIN, memory=20, causal=True, activation="relu"), {}),
    "t5": (
        dataclasses.replace(PLAIN, memory=24, causal=True, norm="rms", epsilon=1e-6),
        {"norms": ("before",), "final": True, "bias": False, "gated": True, "relative": 32},
    ),
    "shared keys, rotary": (
        Plan(
            width=32, layers=2, heads=4, hidden=48, key_heads=2, thetas=(50.0, 50.0), positions=64,
            memory=7,
        ),
        {"norms": ("before", "inner"), "positions": 0},
    ),
}  # fmt: skip


def remembering(plan, batch, seen=None, seed=5):
    offsets = np.concatenate([[0], np.cumsum(MEMORIES)]).astype(np.int64)
    rng = np.random.default_rng(seed)
    memory = rng.standard_normal((sum(MEMORIES), plan.memory)).astype(np.float32)
    flags = None if seen is None else rng.random(sum(MEMORIES)) < seen
    return dataclasses.replace(batch, memory=memory, memory_offsets=offsets, memory_seen=flags)


@pytest.mark.parametrize("seen", [None, 0.6, 0.0])
@pytest.mark.parametrize("kind", DECODERS)
def test_cross_attention(code, kind, seen):
    plan, options = DECODERS[kind]
    weights = make(plan, **options)
    batch = remembering(plan, make_batch(), seen)
    want = reference.run(plan, weights, batch)
    got = Stack(plan, weights).run(batch)
    within = 2 * tolerance(plan)  # six products a layer in place of four
    np.testing.assert_allclose(
        got.hidden, want.hidden, rtol=0, atol=within * max(1, abs(want.hidden).max())
    )
    without = Stack(plan, weights).run(make_batch())  # nothing to attend to
    np.testing.assert_allclose(
        without.hidden,
        reference.run(plan, weights, make_batch()).hidden,
        rtol=0,
        atol=within * max(1, abs(want.hidden).max()),
    )
    if seen != 0.0:
        assert abs(without.hidden - got.hidden).max() > 0.1


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("kind", DECODERS)
def test_a_text_that_remembers_has_the_same_bits_in_any_company(kind, precision):
    plan, options = DECODERS[kind]
    weights = make(plan, **options)
    stack, batch = Stack(plan, weights, precision), remembering(plan, make_batch(), 0.7)
    exact = reference.run(plan, weights, batch).hidden
    try:
        firth.set_num_threads(1)
        all_texts = stack.run(batch).hidden
        assert abs(all_texts - exact).mean() < 0.05
        for threads in (1, 2, 3):
            firth.set_num_threads(threads)
            np.testing.assert_array_equal(stack.run(batch).hidden, all_texts)
            for b in range(len(LENGTHS)):
                here = slice(batch.offsets[b], batch.offsets[b + 1])
                there = slice(batch.memory_offsets[b], batch.memory_offsets[b + 1])
                one = Batch(
                    batch.ids[here], np.array([0, LENGTHS[b]]), batch.types[here],
                    memory=batch.memory[there], memory_offsets=np.array([0, MEMORIES[b]]),
                    memory_seen=batch.memory_seen[there],
                )  # fmt: skip
                np.testing.assert_array_equal(stack.run(one).hidden, all_texts[here])
    finally:
        firth.set_num_threads(2)


@pytest.mark.peer
@pytest.mark.parametrize("norm_first", [False, True])
def test_cross_attention_is_that_of_pytorch(norm_first):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.TransformerDecoderLayer(
        24, 3, 40, dropout=0.0, batch_first=True, norm_first=norm_first, layer_norm_eps=1e-5
    )
    theirs = torch.nn.TransformerDecoder(layer, 2).eval()
    for parameter in theirs.parameters():  # biases and gains are 0 and 1 before
        torch.nn.init.normal_(parameter, std=0.2)
    plan = dataclasses.replace(PLAIN, activation="relu", epsilon=1e-5, memory=24, causal=True)
    names = {
        "self_attn.out_proj": "attention.out", "multihead_attn.out_proj": "cross.out",
        "linear1": "feed.up", "linear2": "feed.down",
    }  # fmt: skip
    place = "before" if norm_first else "after"
    layers = []
    for one in theirs.layers:
        arrays = {name: array.numpy() for name, array in one.state_dict().items()}
        mine = {}
        for theirs_name, name in names.items():
            for kind in ("weight", "bias"):
                mine[f"{name}.{kind}"] = arrays[f"{theirs_name}.{kind}"]
        for theirs_name, name in (("self_attn", "attention"), ("multihead_attn", "cross")):
            for kind in ("weight", "bias"):
                parts = np.split(arrays[f"{theirs_name}.in_proj_{kind}"], 3)
                for part, array in zip(("query", "key", "value"), parts, strict=True):
                    mine[f"{name}.{part}.{kind}"] = array
        for number, name in enumerate(("attention", "cross", "feed"), 1):
            mine[f"{name}.{place}.gain"] = arrays[f"norm{number}.weight"]
            mine[f"{name}.{place}.bias"] = arrays[f"norm{number}.bias"]
        layers.append(mine)
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((50, 24)).astype(np.float32)
    memory = rng.standard_normal((11, 24)).astype(np.float32)
    ids = rng.integers(0, 50, 17).astype(np.int32)
    unseen = np.arange(11) > 7
    with torch.inference_mode():
        want = theirs(
            torch.from_numpy(tokens[ids])[None],
            torch.from_numpy(memory)[None],
            tgt_mask=torch.nn.Transformer.generate_square_subsequent_mask(17),
            tgt_is_causal=True,
            memory_key_padding_mask=torch.from_numpy(unseen)[None],
        )[0].numpy()
    batch = Batch(
        ids, np.array([0, 17]), memory=memory, memory_offsets=np.array([0, 11]),
        memory_seen=~unseen,
    )  # fmt: skip
    got = Stack(plan, Weights({"tokens": tokens}, layers)).run(batch).hidden
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * max(1, abs(want).max()))


def test_shared_layers_are_packed_once():
    weights = make(PLAIN)
    both = Weights(weights.outside, [weights.layers[0], weights.layers[0]])
    shared, apart = Stack(PLAIN, both), Stack(PLAIN, weights)
    assert shared.native.nbytes * 2 == apart.native.nbytes
    batch = make_batch()
    np.testing.assert_allclose(
        shared.run(batch).hidden,
        reference.run(PLAIN, both, batch).hidden,
        rtol=0,
        atol=4 * tolerance(PLAIN),
    )


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling(pooling):
    plan, options = KINDS["bert"]
    stack, batch = Stack(plan, make(plan, **options)), make_batch()
    rng = np.random.default_rng(3)
    for seen in (None, rng.random(sum(LENGTHS)) < 0.6):
        batch = dataclasses.replace(batch, seen=seen)
        got = stack.pool(batch, pooling)
        want = pooled(batch, stack.run(batch).hidden, pooling)
        eps = float(np.finfo(np.float32).eps)
        sums = max(LENGTHS) ** 1.5 * abs(want).max()
        np.testing.assert_allclose(got, want, rtol=0, atol=eps * sums)
        assert not got[LENGTHS.index(0)].any()


LINEAR = reference.linear
PRODUCTS = {
    "attention.query": 0, "attention.key": 0, "attention.value": 0, "attention.out": 1,
    "feed.gate": 2, "feed.up": 2, "feed.down": 3,
}  # fmt: skip


def coded(stack):
    """`reference.linear` of what the codes of int8 stand for, in float64."""
    apart = {
        (id(layer), name): stack.apart[i][number]
        for i, layer in enumerate(stack.weights.layers)
        for name, number in PRODUCTS.items()
    }

    def linear(arrays, name, x, activation=None):
        weight, rest = arrays[f"{name}.weight"], np.ascontiguousarray(x, np.float32)
        kept = apart.get((id(arrays), name), [])
        others = np.setdiff1d(np.arange(x.shape[1]), kept)
        middles = weight[:, others].max(1) / 2 + weight[:, others].min(1) / 2
        codes, scales, _ = quantize_weights(weight[:, others] - middles[:, None])
        rows, steps, lows = quantize_rows(np.ascontiguousarray(rest[:, others]))
        new, values = weight.astype(np.float64), rest.astype(np.float64)
        new[:, others] = middles[:, None] + scales[:, None].astype(np.float64) * codes
        values[:, others] = lows[:, None] + steps[:, None].astype(np.float64) * rows
        stands_for = {"w.weight": new}
        if f"{name}.bias" in arrays:
            stands_for["w.bias"] = arrays[f"{name}.bias"]
        return LINEAR(stands_for, "w", values, activation)

    return linear


@pytest.mark.parametrize("kind", ["bert", "gemma", "albert, electra"])
def test_int8_rounds_weights_and_tokens_and_nothing_else(monkeypatch, kind):
    # relu: that gelu errs by 4e-5 where bytes follow would move many codes by one.
    plan = dataclasses.replace(KINDS[kind][0], width=48, hidden=96, activation="relu")
    options = KINDS[kind][1]
    weights, batch = make(plan, **options), make_batch(types=options.get("types") != 0)
    # One input of a product that dwarfs the others, as trained models have them.
    name = "attention.after.gain" if kind == "bert" else "feed.before.gain"
    if name in weights.layers[0]:
        weights.layers[0][name][7] *= 30
    exact = reference.run(plan, weights, batch).hidden
    best = Stack(plan, weights, "int8").run(batch).hidden
    with use("native:base"):  # where bfloat16 is fast, attention rounds to it too
        stack = Stack(plan, weights, "int8")
        got = stack.run(batch).hidden
    if name in weights.layers[0]:
        assert 7 in stack.apart[0][2]
    monkeypatch.setattr(reference, "linear", coded(stack))
    want = reference.run(plan, stack.weights, batch).hidden
    # Where float32 falls on the other side of a border, a code differs by one: rarely.
    error = abs(got - want)
    assert np.median(error) < tolerance(plan) / 8
    assert error.mean() < abs(want - exact).mean() / 4
    assert 0 < abs(got - exact).mean() < 0.03
    assert 0 < abs(best - exact).mean() < 0.03


def test_layers_that_share_weights_share_what_is_apart():
    weights = make(PLAIN)
    both = Weights(weights.outside, [weights.layers[0], weights.layers[0]])
    stack = Stack(PLAIN, both, "int8")
    stack.run(make_batch())
    first, second = stack.apart
    assert first == second
    assert [len(channels) for channels in first] == [4, 4, 4, 4]


def test_bfloat16_is_near(code):
    plan, options = KINDS["bert"]
    weights, batch = make(plan, **options), make_batch()
    exact = reference.run(plan, weights, batch).hidden
    got = Stack(plan, weights, "bfloat16").run(batch).hidden
    least = 0 if code == "numpy" else 1e-6  # the reference rounds nothing
    assert least <= abs(got - exact).mean() < 0.02  # 2^-9 an operand


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.array([50], np.int32)}, "ids: 50 is not in"),
        ({"ids": np.array([-1], np.int32)}, "ids: -1 is not in"),
        ({"types": np.array([2], np.int32)}, "types: 2 is not in"),
        ({"positions": np.array([80], np.int32)}, "positions: 80 is not in"),
        ({"offsets": np.array([0, 2])}, "offsets must not decrease or pass the last token"),
    ],
)
def test_numbers_that_no_table_has(change, message):
    stack = Stack(PLAIN, make(PLAIN))
    batch = Batch(np.array([1], np.int32), np.array([0, 1]))
    with pytest.raises(ValueError, match=message):
        stack.run(dataclasses.replace(batch, **change))


def test_a_text_that_is_too_long():
    stack = Stack(PLAIN, make(PLAIN))
    assert stack.most_tokens == 80
    assert stack.run(make_batch([80])).hidden.shape == (80, 24)
    with pytest.raises(ValueError, match="a text of 81 tokens, positions are for 80"):
        stack.run(make_batch([3, 81]))
    plan, options = KINDS["llama"]
    rotary = Stack(plan, make(plan, **options))
    assert rotary.most_tokens == 64
    with pytest.raises(ValueError, match="a text of 65 tokens, positions are for 64"):
        rotary.run(make_batch([65], types=False))


def test_nothing_to_do():
    stack = Stack(PLAIN, make(PLAIN))
    empty = Batch(np.empty(0, np.int32), np.zeros(1, np.int64))
    assert stack.run(empty).hidden.shape == (0, 24)
    assert stack.pool(empty, "mean").shape == (0, 24)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"width": 25}, "3 heads do not divide"),
        ({"heads": 0}, "heads must be at least 1"),
        ({"key_heads": 2, "head_width": 8}, "2 key_heads do not divide 3 heads"),
        ({"activation": "swish"}, "activation must be in"),
        ({"norm": "batch"}, "norm must be"),
        ({"thetas": (1.0,), "positions": 4}, "thetas must have 2 values"),
        ({"thetas": (1.0, 1.0)}, "number of positions"),
        ({"thetas": (1.0, 1.0), "positions": 4, "rotated": 3}, "rotated must be even"),
        ({"rotated": 9}, "at most W"),
        ({"windows": (1,)}, "windows must have 2 values"),
        ({"scaling": (None,)}, "scaling must have 2 values"),
        ({"scaling": (None, Scaling((1.0,) * 3))}, "scaling must have 4 divisors"),
        ({"scaling": (None, Scaling((1.0,) * 4, long=(1.0,)))}, "scaling must have 4 divisors"),
    ],
)
def test_plans_that_cannot_be(plan, message):
    given = {"width": 24, "layers": 2, "heads": 3, "hidden": 40} | plan
    with pytest.raises(ValueError, match=message):
        Plan(**given)


def test_weights_that_do_not_fit():
    weights = make(PLAIN)
    layer = dict(weights.layers[1])
    del layer["feed.up.weight"]
    with pytest.raises(ValueError, match=r"layer 1: feed.up.weight is missing"):
        Stack(PLAIN, Weights(weights.outside, [weights.layers[0], layer]))
    layer = weights.layers[1] | {"feed.up.weight": np.zeros((40, 23), np.float32)}
    with pytest.raises(ValueError, match=r"layer 1: feed.up.weight must have shape \(40, 24\)"):
        Stack(PLAIN, Weights(weights.outside, [weights.layers[0], layer]))
    with pytest.raises(ValueError, match="2 layers are planned, 1 are there"):
        Stack(PLAIN, Weights(weights.outside, weights.layers[:1]))
    with pytest.raises(ValueError, match=r"unknown arrays \['wordz'\]"):
        Stack(PLAIN, Weights({**weights.outside, "wordz": np.zeros(3)}, weights.layers))
    outside = {k: v for k, v in weights.outside.items() if k != "embedding.gain"}
    with pytest.raises(ValueError, match=r"embedding\.bias stands alone"):
        Stack(PLAIN, Weights(outside, weights.layers))
    with pytest.raises(ValueError, match="precision must be one of"):
        Stack(PLAIN, weights, "float64")
    with pytest.raises(ValueError, match="pooling"):
        Stack(PLAIN, weights).pool(make_batch(), "average")


ROTARY = Plan(
    width=4, layers=1, heads=1, hidden=4, causal=True, thetas=(10.0,), positions=40, long_after=10,
    scaling=(Scaling((1.0, 4.0), 2.0, (2.0, 8.0)),),
)  # fmt: skip


def test_angles_by_hand():
    assert angles.count(ROTARY) == 50
    cosines, sines = angles.table(ROTARY, 0, np.array([3, 9, 10, 13, 49]))
    positions = np.array([3, 9, 0, 3, 39])
    slower = np.array([1, 1, 2, 2, 2])  # long texts turn half as fast
    for pair, (rate, divisor) in enumerate([(1.0, 1.0), (10**-0.5, 4.0)]):
        turned = positions * rate / divisor / slower
        np.testing.assert_allclose(cosines[:, pair], 2 * np.cos(turned), rtol=1e-12)
        np.testing.assert_allclose(sines[:, pair], 2 * np.sin(turned), rtol=1e-12)
    batch = make_batch([3, 0, 12])
    rows = angles.with_rows(ROTARY, batch).positions
    np.testing.assert_array_equal(rows, [*range(3), *range(10, 22)])
    unscaled = dataclasses.replace(ROTARY, long_after=0, scaling=())
    assert angles.with_rows(unscaled, batch) is batch
    for one, other in zip(
        angles.table(unscaled, 0, np.arange(40)), rotary_table(40, 4, 10.0), strict=True
    ):
        np.testing.assert_array_equal(one.astype(np.float32), other)


def test_a_text_longer_than_its_positions(code):
    stack = Stack(ROTARY, make(ROTARY, positions=0))
    with pytest.raises(ValueError, match="a text of 41 tokens, positions are for 40"):
        stack.run(make_batch([41]))


BOUNDED = Plan(width=4, layers=1, heads=2, hidden=4, softcap=0.5)


def test_softcap_by_hand():
    weights = make(BOUNDED, positions=0, types=0, norms=())
    weights.outside.pop("embedding.gain")
    weights.outside.pop("embedding.bias")
    batch = make_batch([5], types=False)
    layer, x = weights.layers[0], weights.outside["tokens"][batch.ids]
    query, key = (
        x @ layer[f"attention.{name}.weight"].T + layer[f"attention.{name}.bias"]
        for name in ("query", "key")
    )
    scores = np.einsum("qhw,khw->hqk", query.reshape(5, 2, 2), key.reshape(5, 2, 2)) / 2**0.5
    assert abs(scores).max() > 0.5
    powers = np.exp(0.5 * np.tanh(scores / 0.5))
    with use("numpy"):
        shares = Stack(BOUNDED, weights).run(batch, attentions=True).attentions[0][0]
    np.testing.assert_allclose(shares, powers / powers.sum(2, keepdims=True), rtol=1e-5)


def test_joint_norms_by_hand():
    plan = Plan(width=4, layers=1, heads=2, hidden=4, norm="rms", joint_norms=True, key_heads=1)
    weights = make(plan, positions=0, types=0, norms=())
    weights.outside.pop("embedding.gain")
    gains = {"query": np.float32([1, 2, 3, 4]), "key": np.float32([5, 6])}
    layer = weights.layers[0] | {f"attention.{n}_norm.gain": g for n, g in gains.items()}
    batch = make_batch([5], types=False)
    x, normed = weights.outside["tokens"][batch.ids].astype(np.float64), {}
    for name, gain in gains.items():
        y = x @ layer[f"attention.{name}.weight"].T + layer[f"attention.{name}.bias"]
        normed[name] = gain * y / (y**2).mean(1, keepdims=True) ** 0.5
    scores = np.einsum("qhw,kw->hqk", normed["query"].reshape(5, 2, 2), normed["key"]) / 2**0.5
    powers = np.exp(scores - scores.max(2, keepdims=True))
    with use("numpy"):
        stack = Stack(plan, Weights(weights.outside, [layer]))
        shares = stack.run(batch, attentions=True).attentions[0][0]
    np.testing.assert_allclose(shares, powers / powers.sum(2, keepdims=True), atol=1e-6)


def test_blocks_are_weights(code):
    rng = np.random.default_rng(0)
    plan = Plan(width=32, layers=1, heads=2, hidden=32)
    weights = make(plan)
    blocks = BlockArray(
        quantize(rng.standard_normal((50, 32)), block_type("Q8_0")), block_type("Q8_0")
    )
    up = BlockArray(quantize(rng.standard_normal((32, 32)), block_type("Q4_1")), block_type("Q4_1"))
    found = Weights(
        weights.outside | {"tokens": blocks}, [weights.layers[0] | {"feed.up.weight": up}]
    )
    wide = Weights(
        weights.outside | {"tokens": blocks.dequantize()},
        [weights.layers[0] | {"feed.up.weight": up.dequantize()}],
    )
    batch = make_batch()
    want = Stack(plan, wide).run(batch).hidden
    np.testing.assert_array_equal(Stack(plan, found).run(batch).hidden, want)
    np.testing.assert_array_equal(
        reference.run(plan, found, batch).hidden, reference.run(plan, wide, batch).hidden
    )
