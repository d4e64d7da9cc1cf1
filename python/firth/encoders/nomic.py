"""Nomic BERT (Nussbaum et al., arXiv:2402.01613): BERT for long texts.

Rotary positions (arXiv:2104.09864) instead of a table, hidden layers with a gate (SwiGLU), hardly
a bias. Files are of two kinds: those of Nomic, and those that transformers writes.
"""

from __future__ import annotations

from typing import Any

from firth.encoders.architecture import Architecture, Table
from firth.encoders.heads import Head, Linear, Norm, decoder
from firth.transformer.config import Activation, Config
from firth.transformer.plan import Plan
from firth.transformer.weights import Part

DEFAULTS = {
    "vocab_size": 30528,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "head_dim": None,
    "rotary_emb_base": 1000.0,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
}

ALIASES = {  # in Nomic's files
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "n_inner",
    "max_position_embeddings": "n_positions",
    "layer_norm_eps": "layer_norm_epsilon",
    "hidden_act": "activation_function",
}


def plan(config: Config) -> Plan:
    """BERT's norms after each half of a layer, ModernBERT's hidden layers."""
    width = config.head_dim or config.hidden_size // config.num_attention_heads
    positions = config.max_position_embeddings
    if config.get("rotary_scaling_factor"):  # other angles for longer texts: these are refused
        positions = min(positions, config.get("max_trained_positions", positions))
    rotary = config.get("rope_parameters") or {}
    base = config.theta(rotary, "rope_parameters", config.rotary_emb_base)
    return Plan(
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        head_width=width,
        hidden=config.intermediate_size,
        activation=activation(config),
        norm="layer",
        epsilon=config.layer_norm_eps,
        positions=positions,
        thetas=(base,) * config.num_hidden_layers,
        rotated=round(width * config.rotary_emb_fraction),
        interleaved=config.rotary_emb_interleaved,
    )


def activation(config: Config) -> Activation:
    """That of the gate; Nomic's files name the whole of gate and product."""
    return "silu" if config.get("hidden_act") == "swiglu" else config.activation()


def outside(config: Config) -> Table:
    """Embeddings of tokens and segments, and their norm."""
    return {
        "tokens": "embeddings.word_embeddings.weight",
        "types": "embeddings.token_type_embeddings.weight",
        "embedding.gain": ("embeddings.LayerNorm.weight", "emb_ln.weight"),
        "embedding.bias": ("embeddings.LayerNorm.bias", "emb_ln.bias"),
    }


def layers(config: Config) -> list[Table]:
    """Query, key and value are one matrix in Nomic's files."""
    return [layer(config, i) for i in range(config.num_hidden_layers)]


def layer(config: Config, i: int) -> Table:
    """The names of layer i: transformers', then Nomic's. Nomic's may have biases."""
    new, old = f"layers.{i}", f"encoder.layers.{i}"
    width = config.num_attention_heads * (
        config.head_dim or config.hidden_size // config.num_attention_heads
    )
    table: dict[str, Any] = {}
    for part, maybe in (("weight", ""), ("bias", "?")):
        for place, which in enumerate(("query", "key", "value")):
            begin = place * width
            table[f"attention.{which}.{part}"] = (
                f"{new}.self_attn.{which[0]}_proj.{part}",
                Part(f"{old}.attn.Wqkv.{part}{maybe}", begin, begin + width, of=3 * width),
            )
        for ours, name, other in (
            ("attention.out", "self_attn.o_proj", "attn.out_proj"),
            ("feed.gate", "mlp.gate_proj", "mlp.fc12"),
            ("feed.up", "mlp.up_proj", "mlp.fc11"),
            ("feed.down", "mlp.down_proj", "mlp.fc2"),
        ):
            table[f"{ours}.{part}"] = (f"{new}.{name}.{part}", f"{old}.{other}.{part}{maybe}")
    for ours, name, other in (
        ("attention.after", "post_attention_layernorm", "norm1"),
        ("feed.after", "post_mlp_layernorm", "norm2"),
    ):
        table[f"{ours}.gain"] = f"{new}.{name}.weight", f"{old}.{other}.weight"
        table[f"{ours}.bias"] = f"{new}.{name}.bias", f"{old}.{other}.bias"
    return table


def heads(config: Config) -> dict[str, Head]:
    """BERT's. Nomic's own files keep the arrays of a transform, if any, by BERT's names."""
    pooler = Linear("pooler.dense", config.hidden_size, "tanh")
    classifier = Linear("classifier", config.num_labels)
    return {
        "pooler": Head("first", (pooler,)),
        "masked_lm": Head(
            "tokens",
            (
                Linear("cls.predictions.transform.dense", config.hidden_size, activation(config)),
                Norm("cls.predictions.transform.layer_norm"),
                decoder("cls.predictions", config),
            ),
        ),
        "sequence": Head("first", (pooler, classifier)),
        "tokens": Head("tokens", (classifier,)),
    }


ARCHITECTURE = Architecture(
    kinds=("nomic_bert",),
    prefixes=("nomic_bert.", "bert."),
    defaults=DEFAULTS,
    plan=plan,
    outside=outside,
    layers=layers,
    heads=heads,
    aliases=ALIASES,
)
