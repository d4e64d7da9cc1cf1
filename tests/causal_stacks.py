"""Random causal stacks, as generators have them, for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.transformer import Plan, Weights
from stored import random_matrix

TOKENS, MEMORY = 50, 96
PLAN = Plan(
    width=256, layers=2, heads=6, key_heads=2, head_width=48, hidden=512, activation="silu",
    norm="rms", epsilon=1e-5, causal=True, positions=2048, thetas=(1e4, 1e4),
)  # fmt: skip
# As a decoder of T5: it attends to a memory, and has biases of distances in place of angles.
DECODER = dataclasses.replace(
    PLAN, thetas=(), positions=0, key_heads=6, memory=MEMORY, distances=40
)


def make(plan: Plan, kinds: tuple[str, ...] = ("F32",), bias: bool = False) -> Weights:
    """Random weights; with biases of distances where the plan has a memory."""
    rng = np.random.default_rng(3)
    queries, keys = plan.heads * plan.head_width, plan.key_heads * plan.head_width
    shapes = {
        "attention.query": (queries, plan.width),
        "attention.key": (keys, plan.width),
        "attention.value": (keys, plan.width),
        "attention.out": (plan.width, queries),
        "feed.gate": (plan.hidden, plan.width),
        "feed.up": (plan.hidden, plan.width),
        "feed.down": (plan.width, plan.hidden),
    }
    if plan.memory:
        shapes |= {
            "cross.query": (queries, plan.width),
            "cross.key": (keys, plan.memory),
            "cross.value": (keys, plan.memory),
            "cross.out": (plan.width, queries),
        }
    layers = []
    for _ in range(plan.layers):
        layer: dict[str, Any] = {}
        for i, (name, shape) in enumerate(shapes.items()):
            kind = kinds[i % len(kinds)]
            if kind.endswith("_K") and shape[1] % 256:
                kind = "Q5_0"
            layer[f"{name}.weight"] = random_matrix(rng, kind, *shape)
            if bias:
                layer[f"{name}.bias"] = rng.standard_normal(shape[0]).astype(np.float32) / 4
        for name in ("attention.before", "feed.before", *["cross.before"] * bool(plan.memory)):
            layer[f"{name}.gain"] = (1 + rng.standard_normal(plan.width) / 8).astype(np.float32)
        layers.append(layer)
    outside = {
        "tokens": random_matrix(rng, kinds[0], TOKENS, plan.width),
        "final.gain": (1 + rng.standard_normal(plan.width) / 8).astype(np.float32),
    }
    if plan.memory:
        outside["relative"] = rng.standard_normal((32, plan.heads)).astype(np.float32)
    return Weights(outside, layers)


def memory_of(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, MEMORY)).astype(np.float32)


def ids_of(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, TOKENS, count).tolist()
