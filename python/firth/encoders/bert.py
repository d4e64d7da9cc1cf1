"""BERT (Devlin et al., arXiv:1810.04805): the encoder that the others here vary.

A token's first state is the sum of three embeddings, of itself, of its position and of its segment
(the first or the second sentence), normalized. Each layer adds to a state what attention gathers
from all tokens, then what a hidden layer makes of it, and normalizes after each.
"""

from __future__ import annotations

from firth.encoders.architecture import Architecture, Table
from firth.encoders.heads import Head, Linear, Norm, decoder
from firth.transformer.config import Config
from firth.transformer.plan import Plan

DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
}


def plan(config: Config) -> Plan:
    """Norms after each half of a layer, as in the first transformer (arXiv:1706.03762)."""
    return Plan(
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        hidden=config.intermediate_size,
        activation=config.activation(),
        norm="layer",
        epsilon=config.layer_norm_eps,
    )


def outside(config: Config) -> Table:
    """Three tables and a norm."""
    return {
        "tokens": "embeddings.word_embeddings.weight",
        "positions": "embeddings.position_embeddings.weight",
        "types": "embeddings.token_type_embeddings.weight",
        "embedding.gain": "embeddings.LayerNorm.weight",
        "embedding.bias": "embeddings.LayerNorm.bias",
    }


def layers(config: Config) -> list[Table]:
    """Six matrices a layer, each with a bias, and two norms."""
    return [layer(f"encoder.layer.{i}") for i in range(config.num_hidden_layers)]


def layer(name: str) -> Table:
    """The names of one layer."""
    return {
        "attention.query.weight": f"{name}.attention.self.query.weight",
        "attention.query.bias": f"{name}.attention.self.query.bias",
        "attention.key.weight": f"{name}.attention.self.key.weight",
        "attention.key.bias": f"{name}.attention.self.key.bias",
        "attention.value.weight": f"{name}.attention.self.value.weight",
        "attention.value.bias": f"{name}.attention.self.value.bias",
        "attention.out.weight": f"{name}.attention.output.dense.weight",
        "attention.out.bias": f"{name}.attention.output.dense.bias",
        "attention.after.gain": f"{name}.attention.output.LayerNorm.weight",
        "attention.after.bias": f"{name}.attention.output.LayerNorm.bias",
        "feed.up.weight": f"{name}.intermediate.dense.weight",
        "feed.up.bias": f"{name}.intermediate.dense.bias",
        "feed.down.weight": f"{name}.output.dense.weight",
        "feed.down.bias": f"{name}.output.dense.bias",
        "feed.after.gain": f"{name}.output.LayerNorm.weight",
        "feed.after.bias": f"{name}.output.LayerNorm.bias",
    }


def heads(config: Config) -> dict[str, Head]:
    """BERT was trained to fill in masked tokens and to judge whether sentences follow each other.

    For the second, and for classes of texts, the first token's state goes through a dense layer,
    the pooler.
    """
    pooler = Linear("pooler.dense", config.hidden_size, "tanh")
    return {
        "pooler": Head("first", (pooler,)),
        "masked_lm": Head(
            "tokens",
            (
                Linear("cls.predictions.transform.dense", config.hidden_size, config.activation()),
                Norm("cls.predictions.transform.LayerNorm"),
                decoder("cls.predictions", config),
            ),
        ),
        "next_sentence": Head("first", (pooler, Linear("cls.seq_relationship", 2))),
        "sequence": Head("first", (pooler, Linear("classifier", config.num_labels))),
        "tokens": Head("tokens", (Linear("classifier", config.num_labels),)),
        "span": Head("tokens", (Linear("qa_outputs", 2),)),
    }


ARCHITECTURE = Architecture(
    kinds=("bert",),
    prefixes=("bert.",),
    defaults=DEFAULTS,
    plan=plan,
    outside=outside,
    layers=layers,
    heads=heads,
)
