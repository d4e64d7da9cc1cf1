"""A stack of transformer layers in NumPy, in float64: what native code must compute.

Shapes: S = tokens of a text, D = width, H = heads, K = heads of keys, W = width of a head.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.kernels.matmul import matmul
from firth.kernels.norm import layer_norm, rms_norm
from firth.transformer import angles
from firth.transformer.plan import Arrays, Batch, Plan, Result, Weights
from firth.transformer.weights import floats

Array = NDArray[np.float64]


def run(plan: Plan, weights: Weights, batch: Batch) -> Result:
    """All states and attentions of a batch, in float64, rounded to float32 at the end."""
    batch = angles.with_rows(plan, batch)
    texts = [_text(plan, weights, batch, b) for b in range(len(batch))]
    states = [
        np.concatenate([np.empty((0, plan.width)), *(states[i] for states, _ in texts)])
        for i in range(plan.layers + 1)
    ]
    rounded = [state.astype(np.float32) for state in states]
    attentions = [
        [attention[i].astype(np.float32) for _, attention in texts] for i in range(plan.layers)
    ]
    return Result(rounded[-1], rounded, attentions)


def _text(plan: Plan, weights: Weights, batch: Batch, b: int) -> tuple[list[Array], list[Array]]:
    """States (S, D) and attentions (H, S, S) of one text."""
    here = slice(batch.offsets[b], batch.offsets[b + 1])
    ids, outside = batch.ids[here], weights.outside
    count = len(ids)
    positions: NDArray[Any] = np.arange(count) + plan.position_offset
    if batch.positions is not None:
        positions = batch.positions[here]
    x = plan.embedding_factor * floats(outside["tokens"], ids).astype(np.float64)
    if "positions" in outside:
        x = x + outside["positions"][positions]
    if "types" in outside:
        x = x + outside["types"][0 if batch.types is None else batch.types[here]]
    x = norm(plan, outside, "embedding", x)
    if "projection.weight" in outside:
        x = linear(outside, "projection", x)

    seen = np.ones((count, count), bool) if batch.mask is None else batch.mask[b].copy()
    if batch.seen is not None:
        seen &= batch.seen[here]
    if plan.causal:
        seen &= np.tri(count, dtype=bool)
    distance = np.arange(count) - np.arange(count)[:, None]  # of the key from the query
    bias = np.zeros((plan.heads, count, count))
    if "relative" in outside:
        buckets = relative_buckets(distance, len(outside["relative"]), plan.distances)
        bias = outside["relative"].astype(np.float64)[buckets].transpose(2, 0, 1)

    memory, memory_seen = np.empty((0, plan.memory)), np.empty(0, bool)
    if batch.memory is not None and batch.memory_offsets is not None:
        there = slice(batch.memory_offsets[b], batch.memory_offsets[b + 1])
        memory = batch.memory[there].astype(np.float64)
        memory_seen = np.ones(len(memory), bool)
        if batch.memory_seen is not None:
            memory_seen = batch.memory_seen[there]

    states, attentions = [x], []
    for i, layer in enumerate(weights.layers):
        near = seen
        if plan.windows and plan.windows[i] >= 0:
            near = seen & (abs(distance) <= plan.windows[i])
        before = norm(plan, layer, "attention.before", x)
        turns = None
        if plan.thetas:
            turns = angles.table(plan, i, positions)
        attended, shares = _attend(plan, layer, "attention", before, before, near, bias, turns)
        x = norm(plan, layer, "attention.after", x + norm(plan, layer, "attention.inner", attended))
        if plan.memory:
            before = norm(plan, layer, "cross.before", x)
            attended, _ = _attend(plan, layer, "cross", before, memory, memory_seen)
            x = norm(plan, layer, "cross.after", x + norm(plan, layer, "cross.inner", attended))
        fed = _feed(plan, layer, norm(plan, layer, "feed.before", x))
        x = norm(plan, layer, "feed.after", x + norm(plan, layer, "feed.inner", fed))
        states.append(x)
        attentions.append(shares)
    states[-1] = norm(plan, outside, "final", states[-1])
    return states, attentions


def _attend(
    plan: Plan,
    layer: Arrays,
    which: str,
    x: Array,
    source: Array,
    seen: NDArray[np.bool_],
    bias: Any = 0.0,
    turns: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Attention of x (S, D) to source (T, D or C), and its shares (H, S, T).

    which: the name of the arrays; turns: cosines and sines of rotary positions (S, rotated / 2).
    A query that sees nothing gets 0.
    """

    def heads(name: str, of: Array, count: int) -> Array:  # (count, S or T, W)
        y = linear(layer, f"{which}.{name}", of)
        if plan.joint_norms and name != "value":
            y = norm(plan, layer, f"{which}.{name}_norm", y)
        y = y.reshape(len(of), count, plan.head_width).transpose(1, 0, 2)
        if not plan.joint_norms and name != "value":
            y = norm(plan, layer, f"{which}.{name}_norm", y)
        if turns is not None and name != "value":
            y = rotate(y, *turns, plan.interleaved)
        return y

    query = heads("query", x, plan.heads)
    shared = plan.heads // plan.key_heads
    key = heads("key", source, plan.key_heads).repeat(shared, axis=0)
    value = heads("value", source, plan.key_heads).repeat(shared, axis=0)
    scores = plan.scale * (query @ key.transpose(0, 2, 1))
    if plan.softcap:
        scores = plan.softcap * np.tanh(scores / plan.softcap)
    scores = np.where(seen, scores + bias, -np.inf)
    best = scores.max(axis=2, keepdims=True, initial=-np.inf)
    powers = np.exp(scores - np.where(best == -np.inf, 0, best))
    total = powers.sum(axis=2, keepdims=True)
    shares: Array = powers / np.where(total == 0, 1, total)
    joined = (shares @ value).transpose(1, 0, 2).reshape(len(x), plan.heads * plan.head_width)
    return linear(layer, f"{which}.out", joined), shares


def _feed(plan: Plan, layer: Arrays, x: Array) -> Array:
    if "feed.gate.weight" not in layer:
        return linear(layer, "feed.down", linear(layer, "feed.up", x, plan.activation))
    gate = linear(layer, "feed.gate", x, plan.activation)
    return linear(layer, "feed.down", gate * linear(layer, "feed.up", x))


def linear(arrays: Arrays, name: str, x: Array, activation: Any = None) -> Array:
    """activation(x W^T + b)."""
    weight = floats(arrays[f"{name}.weight"]).astype(np.float64)
    bias = arrays.get(f"{name}.bias")
    return matmul.reference(
        x, weight.T, bias=None if bias is None else bias.astype(np.float64), activation=activation
    )


def norm(plan: Plan, arrays: Arrays, name: str, x: Array) -> Array:
    """The norm of that name along the last axis, or x where there is none."""
    gain, bias = arrays.get(f"{name}.gain"), arrays.get(f"{name}.bias")
    if gain is None:
        return x
    gain = gain.astype(np.float64)
    normed: Array
    if plan.norm == "rms":
        normed = rms_norm.reference(x, gain, eps=plan.epsilon)
    else:
        bias = None if bias is None else bias.astype(np.float64)
        normed = layer_norm.reference(x, gain, bias, eps=plan.epsilon)
    return normed


def rotate(x: Array, cos: Array, sin: Array, interleaved: bool) -> Array:
    """Turn pairs of the first dimensions of x (heads, S, W): `kernels.rotary` in float64.

    cos, sin: (S, rotated / 2).
    """
    half = cos.shape[1]
    rotated = 2 * half
    first = slice(0, rotated, 2) if interleaved else slice(0, half)
    second = slice(1, rotated, 2) if interleaved else slice(half, rotated)
    turned = x.copy()
    turned[..., first] = x[..., first] * cos - x[..., second] * sin
    turned[..., second] = x[..., second] * cos + x[..., first] * sin
    return turned


def relative_buckets(distance: NDArray[Any], buckets: int, most: int) -> NDArray[np.intp]:
    """The bucket of each distance of a key from its query (Raffel et al., arXiv:1910.10683).

    Half of the buckets are for keys behind the query. In each half the first half of the buckets
    is a distance each; the others grow as logarithms up to ``most``.
    """
    half = buckets // 2
    exact = half // 2
    far = np.abs(distance)
    with np.errstate(divide="ignore"):
        # float32, as PyTorch computes it: some distances fall on a border
        steps = np.log(far.astype(np.float32) / np.float32(exact)) / np.float32(
            np.log(most / exact)
        )
        grown = exact + np.where(far < exact, 0, steps * (half - exact)).astype(np.intp)
    size = np.where(far < exact, far, np.minimum(grown, half - 1))
    return np.where(distance > 0, half, 0) + size
