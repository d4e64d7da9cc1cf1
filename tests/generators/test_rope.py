"""Rotary positions of configurations, old and new, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth.generators.architectures import find
from firth.transformer.plan import Plan, Scaling


def plan_of(**fields: Any) -> Plan:
    values = {
        "model_type": "llama", "hidden_size": 32, "num_attention_heads": 4,
        "num_hidden_layers": 2, "max_position_embeddings": 128,
    }  # fmt: skip
    architecture, config = find(values | fields)
    return architecture.plan(config)


def scaling_of(**fields: Any) -> Scaling:
    found = plan_of(**fields).scaling[0]
    assert found is not None
    return found


def test_none() -> None:
    assert plan_of().thetas == (10000.0, 10000.0)
    assert plan_of(rope_theta=500.0).thetas == (500.0, 500.0)
    assert plan_of(rope_parameters={"rope_theta": 70.0, "rope_type": "default"}).thetas[0] == 70
    for kind in ("default", "dynamic"):
        found = plan_of(rope_scaling={"rope_type": kind, "factor": 2.0})
        assert (found.scaling, found.long_after, found.rotated) == ((), 0, 8)
    phi = {"model_type": "phi3", "pad_token_id": 0}
    assert plan_of(**phi, partial_rotary_factor=0.5).rotated == 4
    assert plan_of(**phi, head_dim=80, partial_rotary_factor=0.4).rotated == 32
    assert plan_of(partial_rotary_factor=0.5).rotated == 8  # as transformers' Llama


def test_how_many_positions_there_are() -> None:
    """What the file says, or more where the trained positions times the factor are more."""
    linear = {"rope_type": "linear", "factor": 8}
    assert plan_of(rope_scaling=linear).positions == 1024
    trained = {"original_max_position_embeddings": 16}
    assert plan_of(rope_scaling=linear | trained).positions == 128
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    qwen = {"model_type": "qwen2", "num_key_value_heads": 2, "max_position_embeddings": 32768}
    assert plan_of(**qwen, rope_scaling=yarn).positions == 131072
    assert plan_of(rope_scaling={"rope_type": "dynamic", "factor": 8}).positions == 128
    assert plan_of(rope_scaling={"rope_type": "linear", "factor": 1e6}).positions == 1 << 20


@pytest.mark.parametrize("field", ["rope_scaling", "rope_parameters"])
def test_linear(field: str) -> None:
    for name in ("type", "rope_type"):
        assert scaling_of(**{field: {name: "linear", "factor": 3}}) == Scaling((3.0,) * 4)


def test_llama3() -> None:
    """Theta 100, 8 dimensions: pairs that turn 16, 5, 1.6 and 0.5 times in 100 tokens."""
    found = scaling_of(
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 100,
        },
    )  # fmt: skip
    share = (100 / (20 * np.pi) - 1) / 3  # of the third pair, between 1 and 4 turns
    want = (1.0, 1.0, 1 / ((1 - share) / 8 + share), 8.0)
    np.testing.assert_allclose(found.divisors, want, rtol=1e-12)
    assert found.factor == 1.0


def test_yarn() -> None:
    given = {
        "rope_type": "yarn", "rope_theta": 100.0, "factor": 8.0,
        "original_max_position_embeddings": 100, "beta_fast": 4.0, "beta_slow": 1.0,
    }  # fmt: skip
    found = scaling_of(rope_parameters=given)
    # Pair i turns 100 / (2 pi 10^(i / 2)) times: 4 times at i = 1.2, once at 2.4; whole: 1 and 3.
    np.testing.assert_allclose(found.divisors, (1.0, 1.0, 1 / (0.5 / 8 + 0.5), 8.0))
    assert found.factor == pytest.approx(0.1 * np.log(8) + 1)
    low, high = 2 * np.log10(100 / (8 * np.pi)), 2 * np.log10(100 / (2 * np.pi))
    part = (2 - low) / (high - low)
    found = scaling_of(rope_parameters=given | {"truncate": False, "attention_factor": 1.5})
    np.testing.assert_allclose(found.divisors, (1.0, 1.0, 1 / (part / 8 + 1 - part), 8.0))
    assert found.factor == 1.5
    warm = scaling_of(rope_parameters=given | {"mscale": 2.0, "mscale_all_dim": 1.0}).factor
    assert warm == pytest.approx((0.2 * np.log(8) + 1) / (0.1 * np.log(8) + 1))


@pytest.mark.parametrize("name", ["longrope", "su"])
def test_longrope(name: str) -> None:
    short, long = [1.0, 1.1, 1.2, 1.3], [1.0, 2.0, 3.0, 4.0]
    given = {"rope_type": name, "short_factor": short, "long_factor": long}
    found = plan_of(rope_scaling=given, original_max_position_embeddings=32)
    root = (1 + np.log(4) / np.log(32)) ** 0.5  # four times as many positions
    assert found.long_after == 32
    assert found.scaling[0] == Scaling(tuple(short), pytest.approx(root), tuple(long))
    same = plan_of(rope_scaling=given | {"long_factor": short, "attention_factor": 1.0})
    assert (same.long_after, same.scaling[0]) == (0, Scaling(tuple(short)))


GEMMA = {
    "model_type": "gemma3_text", "num_hidden_layers": 7, "head_dim": 8, "sliding_window": 5,
}  # fmt: skip


def test_layers_with_windows_have_angles_of_their_own() -> None:
    near = tuple(i != 5 for i in range(7))
    plans = [
        plan_of(**GEMMA, rope_theta=700.0, rope_local_base_freq=70.0,
                rope_scaling={"rope_type": "linear", "factor": 8.0}),
        plan_of(**GEMMA, rope_parameters={
            "full_attention": {"rope_theta": 700.0, "rope_type": "linear", "factor": 8.0},
            "sliding_attention": {"rope_theta": 70.0, "rope_type": "default"},
        }),
    ]  # fmt: skip
    for found in plans:
        assert found.windows == tuple(4 if one else -1 for one in near)
        assert found.thetas == tuple(70.0 if one else 700.0 for one in near)
        assert found.scaling == tuple(None if one else Scaling((8.0,) * 4) for one in near)
    kinds = ["full_attention"] * 6 + ["sliding_attention"]
    assert plan_of(**GEMMA, layer_types=kinds).windows == (-1,) * 6 + (4,)
    assert plan_of(**GEMMA).thetas[4:6] == (10_000.0, 1_000_000.0)
