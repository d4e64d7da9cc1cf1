"""Qwen2 (arXiv:2407.10671) and Qwen3 (arXiv:2505.09388): Llama with small changes.

Qwen2 has biases of query, key and value; Qwen3 has none, but norms of each head's queries and keys,
and heads whose width is not D / H.
"""

from __future__ import annotations

from typing import Any

from firth.generators import llama
from firth.transformer.architecture import Architecture, Table
from firth.transformer.config import Config
from firth.transformer.plan import Plan

DEFAULTS = llama.DEFAULTS | {
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}


def plan(config: Config) -> Plan:
    """Llama's, whose upper layers may see near tokens only."""
    kinds = config.layer_kinds(
        [
            "sliding_attention"
            if config.use_sliding_window and i >= config.max_window_layers
            else "full_attention"
            for i in range(config.num_hidden_layers)
        ]
    )
    windows = llama.windows_of(config, kinds) if config.use_sliding_window else ()
    return llama.plan(config, windows=windows)


def layers_with_biases(config: Config) -> list[Table]:
    """Qwen2's."""
    return [_with_biases(config, i) for i in range(config.num_hidden_layers)]


def _with_biases(config: Config, i: int) -> Table:
    table: dict[str, Any] = llama.layer(config, i) | llama.attention(i, bias=True)
    del table["attention.out.bias"]
    return table


def layers_with_norms(config: Config) -> list[Table]:
    """Qwen3's."""
    return [
        llama.layer(config, i)
        | {
            "attention.query_norm.gain": f"layers.{i}.self_attn.q_norm.weight",
            "attention.key_norm.gain": f"layers.{i}.self_attn.k_norm.weight",
        }
        for i in range(config.num_hidden_layers)
    ]


ARCHITECTURES = (
    Architecture(
        kinds=("qwen2",),
        prefixes=("model.",),
        defaults=DEFAULTS,
        plan=plan,
        outside=llama.outside,
        layers=layers_with_biases,
        aliases=llama.ALIASES,
    ),
    Architecture(
        kinds=("qwen3",),
        prefixes=("model.",),
        defaults=DEFAULTS | {"head_dim": 128},
        plan=plan,
        outside=llama.outside,
        layers=layers_with_norms,
        aliases=llama.ALIASES,
    ),
)
