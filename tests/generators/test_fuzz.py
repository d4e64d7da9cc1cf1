"""Configurations and metadata with any value at any place: a plan, or a line that says why not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from firth.errors import FormatError
from firth.formats.gguf import Gguf
from firth.generators.architectures import KINDS, find, find_gguf
from firth.generators.gguf import KINDS as IN_GGUF
from firth.generators.marian import PAIRS as MARIAN
from firth.generators.t5 import PAIRS as T5
from firth.transformer.plan import Plan

NUMBERS = [
    0, 1, -1, 2, 3, 7, 31, 255, 2**16, 2**31, 2**63, 10**30, -(2**63), 0.5, 8.0, 1e-320, 1e308,
    float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
OTHERS: list[Any] = [
    None, True, False, "", "a", "8", "\ud800", "linear", "yarn", "longrope", "sliding_attention",
    [], {}, [None], [1.0] * 4, ["full_attention"] * 2, {"a": 0}, {"full_attention": 3},
]  # fmt: skip

SMALL = {
    "vocab_size": 20, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 64, "sliding_window": 9, "use_sliding_window": True,
    "max_window_layers": 1, "rope_theta": 1e4, "rope_local_base_freq": 10.0,
    "query_pre_attn_scalar": 8, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0,
    "layer_types": ["sliding_attention", "full_attention"], "sliding_window_pattern": 2,
    "hidden_act": "silu", "hidden_activation": "gelu", "attention_bias": False, "mlp_bias": False,
    "tie_word_embeddings": True, "partial_rotary_factor": 1.0,
    "original_max_position_embeddings": 32, "n_embd": 32, "n_layer": 2, "n_head": 4,
    "n_positions": 64, "n_inner": 20, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
}  # fmt: skip
FULL = {"factor": 4.0, "rope_theta": 100.0, "original_max_position_embeddings": 16}
ROPES: list[dict[str, Any]] = [
    FULL | {"rope_type": "yarn", "beta_fast": 8.0, "beta_slow": 1.0, "truncate": False,
            "mscale": 1.0, "mscale_all_dim": 0.5, "attention_factor": 1.1},
    FULL | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    FULL | {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4},
    {"full_attention": FULL | {"rope_type": "linear"}, "sliding_attention": {"rope_theta": 9.0}},
]  # fmt: skip


def changed(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """With another value at any place, or without it."""
    for key, value in values.items():
        yield {name: one for name, one in values.items() if name != key}
        for new in (*NUMBERS, *OTHERS):
            yield values | {key: new}
        if isinstance(value, dict):
            for inner in changed(value):
                yield values | {key: inner}


def check(plan: Plan, text: str) -> None:
    """Numbers that a stack can be made of."""
    for number in (plan.epsilon, plan.scale, plan.softcap, *plan.thetas):
        assert np.isfinite(number), text
    for one in plan.scaling:
        assert one is None or np.isfinite([one.factor, *one.divisors, *one.long]).all(), text


@pytest.mark.parametrize("kind", KINDS)
def test_configurations(kind: str) -> None:
    made, messages = 0, []
    for rope in ROPES:
        whole = SMALL | {"model_type": kind, "rope_parameters": rope}
        for values in changed(whole):
            try:
                architecture, config = find(values, "config.json")
                check(architecture.plan(config), json.dumps(values))
                made += 1
            except FormatError as error:
                messages.append(str(error))
    assert min(made, len(messages)) > 500
    assert [text for text in messages if "config.json: " not in text or "\n" in text] == []


BASE = {
    "block_count": 2, "context_length": 64, "embedding_length": 32, "feed_forward_length": 64,
    "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 8,
    "attention.value_length": 8, "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.layer_norm_epsilon": 1e-5, "attention.sliding_window": 9,
    "attention.sliding_window_pattern": 2, "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0, "rope.freq_base": 100.0, "rope.freq_base_swa": 10.0,
    "rope.dimension_count": 8, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 16, "rope.scaling.attn_factor": 1.1,
    "rope.scaling.yarn_attn_factor": 1.1, "rope.scaling.yarn_beta_fast": 8.0,
    "rope.scaling.yarn_beta_slow": 1.0, "rope.scale_linear": 2.0, "expert_count": 0,
    "vocab_size": 20,
}  # fmt: skip


@pytest.mark.parametrize("name", IN_GGUF)
def test_metadata(name: str) -> None:
    arrays = {"token_embd.weight": np.zeros((20, 32), np.float32)}
    factors = {
        f"rope_{part}.weight": np.ones(4, np.float32)
        for part in ("freqs", "factors_short", "factors_long")
    }
    tokens = [str(i) for i in range(20)]
    whole = {f"{name}.{key}": value for key, value in BASE.items()}
    whole |= {"general.architecture": name, "tokenizer.ggml.tokens": tokens}
    made, messages = 0, []
    for some in (arrays, arrays | factors):
        for values in changed(whole):
            lists = {
                key: np.array(value)
                for key, value in values.items()
                if isinstance(value, list) and value and key != "tokenizer.ggml.tokens"
            }
            try:
                architecture, config = find_gguf(Gguf(values | lists, some, "m.gguf", {}))
                check(architecture.plan(config), repr(values))
                made += 1
            except FormatError as error:
                messages.append(str(error))
    assert min(made, len(messages)) > 300
    assert [text for text in messages if "m.gguf: " not in text or "\n" in text] == []


@pytest.mark.parametrize("pair", [*T5, *MARIAN], ids=lambda pair: pair.encoder.kinds[0])
def test_configurations_of_encoder_decoders(pair: Any) -> None:
    whole = {
        "vocab_size": 20, "d_model": 32, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 4,
        "num_decoder_layers": 1, "relative_attention_num_buckets": 32, "layer_norm_epsilon": 1e-6,
        "relative_attention_max_distance": 40, "feed_forward_proj": "gated-gelu",
        "encoder_layers": 2, "encoder_ffn_dim": 40, "encoder_attention_heads": 4,
        "decoder_layers": 2, "decoder_ffn_dim": 40, "decoder_attention_heads": 4,
        "activation_function": "gelu", "scale_embedding": True, "max_position_embeddings": 64,
        "tie_word_embeddings": True, "scale_decoder_outputs": True,
    }  # fmt: skip
    made, messages = 0, []
    for side in (pair.encoder, pair.decoder):
        for values in changed(whole):
            try:
                config = side.checked(values, "config.json")
                side.outside(config)
                side.layers(config)
                pair.head(config)
                check(side.plan(config), json.dumps(values))
                made += 1
            except FormatError as error:
                messages.append(str(error))
    assert min(made, len(messages)) > 200
    assert [text for text in messages if "config.json: " not in text or "\n" in text] == []
