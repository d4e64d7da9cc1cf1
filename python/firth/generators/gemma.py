"""Gemma 2 (arXiv:2408.00118) and Gemma 3 (arXiv:2503.19786).

Norms before and behind each half of a layer, whose gains files have less 1; embeddings times
sqrt(D), which are the output's too; a gate with GELU. Most layers see near tokens only: of Gemma 2
every other, of Gemma 3 five of six, whose rotary positions have another base. Gemma 2 bounds scores
and logits by a tanh, Gemma 3 normalizes queries and keys instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from firth.generators import llama
from firth.transformer.architecture import Architecture, Table
from firth.transformer.config import Config
from firth.transformer.plan import Plan
from firth.transformer.weights import Part

DEFAULTS = llama.DEFAULTS | {
    "vocab_size": 256000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "sliding_window": 4096,
    "sliding_window_pattern": 2,
    "query_pre_attn_scalar": 256,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "tie_word_embeddings": True,
}
GEMMA3 = DEFAULTS | {
    "vocab_size": 262208,
    "max_position_embeddings": 131072,
    "sliding_window_pattern": 6,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
}


def plan(config: Config, **changes: Any) -> Plan:
    """Gemma 2's; the factor of embeddings is rounded to float32."""
    fields: dict[str, Any] = {
        "activation": config.activation("hidden_activation"),
        "windows": llama.windows_of(config, kinds(config)),
        "embedding_factor": float(np.float32(config.hidden_size**0.5)),
        "scale": config.query_pre_attn_scalar**-0.5,
        "softcap": config.attn_logit_softcapping or 0.0,
    }
    return llama.plan(config, **fields | changes)


def plan3(config: Config) -> Plan:
    """Gemma 3's."""
    turns = llama.turns_of(config, kinds(config), config.rope_local_base_freq)
    return plan(config, softcap=0.0, **turns)


def kinds(config: Config) -> list[str]:
    """Which layers see near tokens only: all but every other, or every sixth."""
    every, count = config.sliding_window_pattern, config.num_hidden_layers
    return config.layer_kinds(
        ["sliding_attention" if (i + 1) % every else "full_attention" for i in range(count)]
    )


def outside(config: Config) -> Table:
    """As Llama's."""
    return {"tokens": "embed_tokens.weight", "final.gain": _gain("norm")}


def layers(config: Config) -> list[Table]:
    """One table a layer."""
    return [layer(config, i) for i in range(config.num_hidden_layers)]


def layer(config: Config, i: int) -> dict[str, Any]:
    """The names of layer i."""
    return {
        **llama.attention(i, config.attention_bias),
        **llama.feed(i),
        "attention.before.gain": _gain(f"layers.{i}.input_layernorm"),
        "attention.inner.gain": _gain(f"layers.{i}.post_attention_layernorm"),
        "feed.before.gain": _gain(f"layers.{i}.pre_feedforward_layernorm"),
        "feed.inner.gain": _gain(f"layers.{i}.post_feedforward_layernorm"),
    }


def layers3(config: Config) -> list[Table]:
    """Gemma 3's."""
    return [
        layer(config, i)
        | {
            "attention.query_norm.gain": _gain(f"layers.{i}.self_attn.q_norm"),
            "attention.key_norm.gain": _gain(f"layers.{i}.self_attn.k_norm"),
        }
        for i in range(config.num_hidden_layers)
    ]


def _gain(name: str) -> Part:
    return Part(f"{name}.weight", plus=1.0)


ARCHITECTURES = (
    Architecture(
        kinds=("gemma2",),
        prefixes=("model.",),
        defaults=DEFAULTS,
        plan=plan,
        outside=outside,
        layers=layers,
        aliases=llama.ALIASES,
    ),
    Architecture(
        kinds=("gemma3_text",),
        prefixes=("model.", "model.language_model.", "language_model.model."),
        defaults=GEMMA3,
        plan=plan3,
        outside=outside,
        layers=layers3,
        aliases=llama.ALIASES,
    ),
)
