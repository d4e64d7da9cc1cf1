"""ALBERT (Lan et al., arXiv:1909.11942): BERT with few weights.

Embeddings are narrower than states and projected once, and all layers of a group are the same
weights, used again and again.
"""

from __future__ import annotations

from firth.encoders import bert
from firth.encoders.architecture import Architecture, Table
from firth.encoders.heads import Head, Linear, Norm, decoder
from firth.errors import FormatError
from firth.transformer.config import Config
from firth.transformer.plan import Plan

DEFAULTS = {
    **bert.DEFAULTS,
    "vocab_size": 30000,
    "embedding_size": 128,
    "hidden_size": 4096,
    "num_hidden_groups": 1,
    "num_attention_heads": 64,
    "intermediate_size": 16384,
    "inner_group_num": 1,
    "hidden_act": "gelu_new",
}


def plan(config: Config) -> Plan:
    """BERT's; each use of a group is as many layers as it has."""
    return Plan(
        width=config.hidden_size,
        layers=config.num_hidden_layers * config.inner_group_num,
        heads=config.num_attention_heads,
        hidden=config.intermediate_size,
        activation=config.activation(),
        norm="layer",
        epsilon=config.layer_norm_eps,
    )


def outside(config: Config) -> Table:
    """BERT's tables, and the projection from the width of embeddings to that of states."""
    return {
        **bert.outside(config),
        "projection.weight": "encoder.embedding_hidden_mapping_in.weight",
        "projection.bias": "encoder.embedding_hidden_mapping_in.bias",
    }


def layers(config: Config) -> list[Table]:
    """Layers by groups: the first of them use the first group, and so on."""
    count, groups = config.num_hidden_layers, config.num_hidden_groups
    if groups > max(count, 1):
        raise FormatError(
            f"config: num_hidden_groups must be at most the {count} layers, got {groups}",
            config.path,
        )
    tables = [
        [
            layer(f"encoder.albert_layer_groups.{group}.albert_layers.{i}")
            for i in range(config.inner_group_num)
        ]
        for group in range(groups)
    ]
    return [table for i in range(count) for table in tables[int(i / (count / groups))]]


def layer(name: str) -> Table:
    """The names of one layer."""
    return {
        "attention.query.weight": f"{name}.attention.query.weight",
        "attention.query.bias": f"{name}.attention.query.bias",
        "attention.key.weight": f"{name}.attention.key.weight",
        "attention.key.bias": f"{name}.attention.key.bias",
        "attention.value.weight": f"{name}.attention.value.weight",
        "attention.value.bias": f"{name}.attention.value.bias",
        "attention.out.weight": f"{name}.attention.dense.weight",
        "attention.out.bias": f"{name}.attention.dense.bias",
        "attention.after.gain": f"{name}.attention.LayerNorm.weight",
        "attention.after.bias": f"{name}.attention.LayerNorm.bias",
        "feed.up.weight": f"{name}.ffn.weight",
        "feed.up.bias": f"{name}.ffn.bias",
        "feed.down.weight": f"{name}.ffn_output.weight",
        "feed.down.bias": f"{name}.ffn_output.bias",
        "feed.after.gain": f"{name}.full_layer_layer_norm.weight",
        "feed.after.bias": f"{name}.full_layer_layer_norm.bias",
    }


def heads(config: Config) -> dict[str, Head]:
    """BERT's; masked tokens are told in the width of embeddings."""
    pooler = Linear("pooler", config.hidden_size, "tanh")
    return {
        "pooler": Head("first", (pooler,)),
        "masked_lm": Head(
            "tokens",
            (
                Linear("predictions.dense", config.embedding_size, config.activation()),
                Norm("predictions.LayerNorm"),
                decoder("predictions", config),
            ),
        ),
        "sequence": Head("first", (pooler, Linear("classifier", config.num_labels))),
        "tokens": Head("tokens", (Linear("classifier", config.num_labels),)),
        "span": Head("tokens", (Linear("qa_outputs", 2),)),
    }


ARCHITECTURE = Architecture(
    kinds=("albert",),
    prefixes=("albert.",),
    defaults=DEFAULTS,
    plan=plan,
    outside=outside,
    layers=layers,
    heads=heads,
)
