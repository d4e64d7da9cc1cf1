"""GPT-2 (Radford et al., 2019): learned positions, norms before each half of a layer, biases.

Files have the weights of products as (inputs, outputs), and query, key and value as one.
"""

from __future__ import annotations

from typing import Any

from firth.transformer.architecture import Architecture, Table
from firth.transformer.config import Config
from firth.transformer.plan import Plan
from firth.transformer.weights import Part

DEFAULTS = {
    "vocab_size": 50257,
    "hidden_size": 768,
    "n_inner": None,  # 4 D
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu_new",
    "max_position_embeddings": 1024,
    "layer_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}

ALIASES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
    "layer_norm_eps": "layer_norm_epsilon",
    "hidden_act": "activation_function",
}


def plan(config: Config) -> Plan:
    """The transformer's decoder with the norms moved."""
    return Plan(
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        hidden=config.get("intermediate_size") or config.n_inner or 4 * config.hidden_size,
        activation=config.activation(),
        norm="layer",
        epsilon=config.layer_norm_eps,
        causal=True,
    )


def outside(config: Config) -> Table:
    """The embeddings of tokens and positions, and the norm at the end."""
    return {
        "tokens": "wte.weight",
        "positions": "wpe.weight",
        "final.gain": "ln_f.weight",
        "final.bias": "ln_f.bias",
    }


def layers(config: Config) -> list[Table]:
    """One table a layer."""
    return [layer(config, i) for i in range(config.num_hidden_layers)]


def layer(config: Config, i: int) -> Table:
    """The names of layer i."""
    width, table = config.hidden_size, dict[str, Any]()
    for part, transposed in (("weight", True), ("bias", False)):
        for place, which in enumerate(("query", "key", "value")):
            begin = place * width
            table[f"attention.{which}.{part}"] = Part(
                f"h.{i}.attn.c_attn.{part}", begin, begin + width, transposed, of=3 * width
            )
        for ours, name in (
            ("attention.out", "attn.c_proj"),
            ("feed.up", "mlp.c_fc"),
            ("feed.down", "mlp.c_proj"),
        ):
            table[f"{ours}.{part}"] = Part(f"h.{i}.{name}.{part}", transposed=transposed)
    for ours, name in (("attention.before", "ln_1"), ("feed.before", "ln_2")):
        table[f"{ours}.gain"] = f"h.{i}.{name}.weight"
        table[f"{ours}.bias"] = f"h.{i}.{name}.bias"
    return table


ARCHITECTURES = (
    Architecture(
        kinds=("gpt2",),
        prefixes=("transformer.",),
        defaults=DEFAULTS,
        plan=plan,
        outside=outside,
        layers=layers,
        aliases=ALIASES,
    ),
)
