"""Marian (Junczys-Dowmunt et al., arXiv:1804.00344) and BART (Lewis et al., arXiv:1910.13461).

The transformer of Vaswani et al. (arXiv:1706.03762), norms behind each part of a layer. Marian's
positions are sines and cosines; BART's are learned, from row 2 on, and its embeddings normalized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from firth.generators.sides import Head, Pair, Side
from firth.transformer.architecture import Table
from firth.transformer.config import Config
from firth.transformer.plan import Plan
from firth.transformer.weights import Names

MARIAN = {
    "vocab_size": 58101,
    "hidden_size": 1024,
    "max_position_embeddings": 1024,
    "encoder_layers": 12,
    "encoder_ffn_dim": 4096,
    "encoder_attention_heads": 16,
    "decoder_layers": 12,
    "decoder_ffn_dim": 4096,
    "decoder_attention_heads": 16,
    "hidden_act": "gelu",
    "scale_embedding": False,
    "learned_positions": False,
    "decoder_start_token_id": 58100,
    "eos_token_id": 0,
}
BART = MARIAN | {
    "vocab_size": 50265,
    "learned_positions": True,
    "decoder_start_token_id": 2,
    "eos_token_id": 2,
}
_OFFSET = 2  # of BART's positions


def plan(config: Config, **changes: Any) -> Plan:
    """The encoder's."""
    fields: dict[str, Any] = {
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "hidden": config.intermediate_size,
        "activation": config.activation(),
        "norm": "layer",
        "epsilon": 1e-5,
        "embedding_factor": config.hidden_size**0.5 if config.scale_embedding else 1.0,
        "position_offset": _OFFSET if config.learned_positions else 0,
    }
    return Plan(**fields | changes)


def decoder_plan(config: Config) -> Plan:
    """The decoder's."""
    return plan(config, causal=True, memory=config.hidden_size)


def outside(side: str) -> Callable[[Config], Table]:
    """The embeddings of a side; its positions are in `more`."""

    def table(config: Config) -> Table:
        found: dict[str, Any] = {"tokens": (f"{side}.embed_tokens.weight", "shared.weight")}
        if config.learned_positions:
            found["embedding.gain"] = f"{side}.layernorm_embedding.weight"
            found["embedding.bias"] = f"{side}.layernorm_embedding.bias"
        return found

    return table


def more(side: str) -> Callable[[Config, Names], dict[str, Any]]:
    """The positions of a side: those of the file, or sines and cosines."""

    def positions(config: Config, names: Names) -> dict[str, Any]:
        name, count = f"{side}.embed_positions.weight", config.max_position_embeddings
        learned = config.learned_positions
        found = names.find(name if learned else f"{name}?")
        if found is None:
            return {"positions": sinusoids(count, config.hidden_size)}
        names.check(found, (count + (_OFFSET if learned else 0), config.hidden_size), name)
        return {"positions": found}

    return positions


def sinusoids(count: int, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Sines in the first half of the columns, cosines in the second."""
    angles = np.arange(count)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.hstack([np.sin(angles), np.cos(angles[:, : width // 2])]).astype(np.float32)


def layers(side: str) -> Callable[[Config], list[Table]]:
    """The layers of a side."""
    parts = {"attention": ("self_attn", "self_attn_layer_norm")}
    if side == "decoder":
        parts["cross"] = ("encoder_attn", "encoder_attn_layer_norm")

    def tables(config: Config) -> list[Table]:
        return [layer(f"{side}.layers.{i}", parts) for i in range(config.num_hidden_layers)]

    return tables


def layer(place: str, parts: dict[str, tuple[str, str]]) -> Table:
    """The names of a layer."""
    table: dict[str, Any] = {}
    products = {"feed.up": "fc1", "feed.down": "fc2"}
    norms = {"feed.after": "final_layer_norm"}
    for ours, (name, norm) in parts.items():
        norms[f"{ours}.after"] = norm
        for which, own in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "out")):
            products[f"{ours}.{which}"] = f"{name}.{own}_proj"
    for ours, name in products.items():
        table[f"{ours}.weight"] = f"{place}.{name}.weight"
        table[f"{ours}.bias"] = f"{place}.{name}.bias"
    for ours, name in norms.items():
        table[f"{ours}.gain"] = f"{place}.{name}.weight"
        table[f"{ours}.bias"] = f"{place}.{name}.bias"
    return table


def head(config: Config) -> Head:
    """The embeddings again, and a bias for each token."""
    names = ("lm_head.weight", "shared.weight", "decoder.embed_tokens.weight")
    return Head(names, 1.0, "final_logits_bias")


def _side(kind: str, defaults: dict[str, Any], side: str, plan: Callable[[Config], Plan]) -> Side:
    return Side(
        kinds=(kind,),
        prefixes=("model.",),
        defaults=defaults,
        plan=plan,
        outside=outside(side),
        layers=layers(side),
        more=more(side),
        aliases={
            "hidden_size": "d_model",
            "hidden_act": "activation_function",
            "num_hidden_layers": f"{side}_layers",
            "num_attention_heads": f"{side}_attention_heads",
            "intermediate_size": f"{side}_ffn_dim",
        },
    )


PAIRS = tuple(
    Pair(
        _side(kind, defaults, "encoder", plan),
        _side(kind, defaults, "decoder", decoder_plan),
        head,
    )
    for kind, defaults in (("marian", MARIAN), ("bart", BART))
)
