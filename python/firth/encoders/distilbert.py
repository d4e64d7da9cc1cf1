"""DistilBERT (Sanh et al., arXiv:1910.01108): half of BERT's layers, taught by BERT.

No segments and no pooler.
"""

from __future__ import annotations

from firth.encoders.architecture import Architecture, Table
from firth.encoders.heads import Head, Linear, Norm
from firth.transformer.config import Config
from firth.transformer.plan import Plan

DEFAULTS = {
    "vocab_size": 30522,
    "dim": 768,
    "n_layers": 6,
    "n_heads": 12,
    "hidden_dim": 3072,
    "activation": "gelu",
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
}

ALIASES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}


def plan(config: Config) -> Plan:
    """BERT's; the epsilon of norms is in no configuration."""
    return Plan(
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        hidden=config.intermediate_size,
        activation=config.activation(),
        norm="layer",
        epsilon=1e-12,
    )


def outside(config: Config) -> Table:
    """Two tables and a norm. Sinusoidal positions are a table in the file, too."""
    return {
        "tokens": "embeddings.word_embeddings.weight",
        "positions": "embeddings.position_embeddings.weight",
        "embedding.gain": "embeddings.LayerNorm.weight",
        "embedding.bias": "embeddings.LayerNorm.bias",
    }


def layers(config: Config) -> list[Table]:
    """BERT's arrays by other names."""
    return [layer(f"transformer.layer.{i}") for i in range(config.num_hidden_layers)]


def layer(name: str) -> Table:
    """The names of one layer."""
    return {
        "attention.query.weight": f"{name}.attention.q_lin.weight",
        "attention.query.bias": f"{name}.attention.q_lin.bias",
        "attention.key.weight": f"{name}.attention.k_lin.weight",
        "attention.key.bias": f"{name}.attention.k_lin.bias",
        "attention.value.weight": f"{name}.attention.v_lin.weight",
        "attention.value.bias": f"{name}.attention.v_lin.bias",
        "attention.out.weight": f"{name}.attention.out_lin.weight",
        "attention.out.bias": f"{name}.attention.out_lin.bias",
        "attention.after.gain": f"{name}.sa_layer_norm.weight",
        "attention.after.bias": f"{name}.sa_layer_norm.bias",
        "feed.up.weight": f"{name}.ffn.lin1.weight",
        "feed.up.bias": f"{name}.ffn.lin1.bias",
        "feed.down.weight": f"{name}.ffn.lin2.weight",
        "feed.down.bias": f"{name}.ffn.lin2.bias",
        "feed.after.gain": f"{name}.output_layer_norm.weight",
        "feed.after.bias": f"{name}.output_layer_norm.bias",
    }


def heads(config: Config) -> dict[str, Head]:
    """Masked tokens as BERT; classes of texts have a dense layer with relu."""
    width = config.hidden_size
    return {
        "masked_lm": Head(
            "tokens",
            (
                Linear("vocab_transform", width, config.activation()),
                Norm("vocab_layer_norm"),
                Linear("vocab_projector", config.vocab_size, tied=config.tie_word_embeddings),
            ),
        ),
        "sequence": Head(
            "first",
            (Linear("pre_classifier", width, "relu"), Linear("classifier", config.num_labels)),
        ),
        "tokens": Head("tokens", (Linear("classifier", config.num_labels),)),
        "span": Head("tokens", (Linear("qa_outputs", 2),)),
    }


ARCHITECTURE = Architecture(
    kinds=("distilbert",),
    prefixes=("distilbert.",),
    defaults=DEFAULTS,
    plan=plan,
    outside=outside,
    layers=layers,
    heads=heads,
    aliases=ALIASES,
)
