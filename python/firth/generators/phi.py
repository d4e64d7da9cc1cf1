"""Phi-3 and Phi-4-mini (Abdin et al., arXiv:2404.14219): Llama with fused matrices.

Query, key and value are one matrix, so are the gate and what it gates; long texts have other rotary
angles (LongRoPE).
"""

from __future__ import annotations

from typing import Any

from firth.generators import llama
from firth.transformer.architecture import Architecture, Table
from firth.transformer.config import Config
from firth.transformer.weights import Part

DEFAULTS = llama.DEFAULTS | {
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096,
    "layer_norm_eps": 1e-5,
    "turns_part": True,
}


def layers(config: Config) -> list[Table]:
    """One table a layer."""
    return [layer(config, i) for i in range(config.num_hidden_layers)]


def layer(config: Config, i: int) -> Table:
    """The names of layer i."""
    width, hidden = llama.head_width(config), config.intermediate_size
    queries = config.num_attention_heads * width
    keys = (config.num_key_value_heads or config.num_attention_heads) * width
    table: dict[str, Any] = llama.layer(config, i)
    begin = 0
    for which, rows in (("query", queries), ("key", keys), ("value", keys)):
        table[f"attention.{which}.weight"] = Part(
            f"layers.{i}.self_attn.qkv_proj.weight", begin, begin + rows, of=queries + 2 * keys
        )
        begin += rows
    for which, begin in (("gate", 0), ("up", hidden)):
        table[f"feed.{which}.weight"] = Part(
            f"layers.{i}.mlp.gate_up_proj.weight", begin, begin + hidden, of=2 * hidden
        )
    return table


ARCHITECTURES = (
    Architecture(
        kinds=("phi3",),
        prefixes=("model.",),
        defaults=DEFAULTS,
        plan=llama.plan,
        outside=llama.outside,
        layers=layers,
        aliases=llama.ALIASES,
    ),
)
