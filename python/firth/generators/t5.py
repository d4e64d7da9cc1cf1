"""T5 and mT5: an encoder, and a decoder that attends to its states.

Raffel et al., arXiv:1910.10683; Xue et al., arXiv:2010.11934.

Norms before each part of a layer, no biases, no factor of the scores, and positions as buckets of
distances whose biases all layers share. The decoder's buckets are all for keys behind the query;
here they are the first half of twice as many, since keys ahead are not seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from firth.errors import FormatError
from firth.generators.sides import Head, Pair, Side
from firth.transformer.architecture import Table
from firth.transformer.config import Config
from firth.transformer.plan import Plan
from firth.transformer.weights import Names, floats

DEFAULTS = {
    "vocab_size": 32128,
    "hidden_size": 512,
    "head_dim": 64,
    "intermediate_size": 2048,
    "num_hidden_layers": 6,
    "num_decoder_layers": None,
    "num_attention_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_eps": 1e-6,
    "feed_forward_proj": "relu",
    "decoder_start_token_id": 0,
    "eos_token_id": 1,
    "tie_word_embeddings": True,
    "max_position_embeddings": 1,  # it has none
}

MT5 = DEFAULTS | {"tie_word_embeddings": False, "scale_decoder_outputs": False}

ALIASES = {
    "hidden_size": "d_model",
    "head_dim": "d_kv",
    "intermediate_size": "d_ff",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "layer_norm_eps": "layer_norm_epsilon",
}


def plan(config: Config, **changes: Any) -> Plan:
    """The encoder's."""
    fields: dict[str, Any] = {
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "head_width": config.head_dim,
        "hidden": config.intermediate_size,
        "activation": activation(config)[1],
        "norm": "rms",
        "epsilon": config.layer_norm_eps,
        "scale": 1.0,
        "distances": config.relative_attention_max_distance,
    }
    return Plan(**fields | changes)


def decoder_plan(config: Config) -> Plan:
    """The decoder's."""
    return plan(config, layers=decoder_count(config), causal=True, memory=config.hidden_size)


def decoder_count(config: Config) -> int:
    """How many layers the decoder has."""
    count = config.num_decoder_layers
    return int(config.num_hidden_layers if count is None else count)


def activation(config: Config) -> tuple[bool, str]:
    """Whether there is a gate, and the activation."""
    kinds = {
        "relu": (False, "relu"),
        "gelu": (False, "gelu"),
        "gated-gelu": (True, "gelu_tanh"),
        "gated-silu": (True, "silu"),
    }
    given = config.feed_forward_proj
    if not isinstance(given, str) or given not in kinds:
        raise FormatError(
            f"config: feed_forward_proj must be one of {list(kinds)}, got {given!r}", config.path
        )
    return kinds[given]


def outside(config: Config) -> Table:
    """The encoder's embeddings, biases of distances, and the norm at the end."""
    place = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return {
        "tokens": "shared.weight",
        "relative": place,
        "final.gain": "encoder.final_layer_norm.weight",
    }


def decoder_outside(config: Config) -> Table:
    """The decoder's; its biases are `decoder_more`."""
    return {"tokens": "shared.weight", "final.gain": "decoder.final_layer_norm.weight"}


def decoder_more(config: Config, names: Names) -> dict[str, Any]:
    """The biases of distances, and as many for keys ahead."""
    name = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    found = names.find(name)
    shape = (config.relative_attention_num_buckets, config.num_attention_heads)
    names.check(found, shape, name)
    return {"relative": np.concatenate([floats(found), np.zeros(shape, np.float32)])}


def layers(config: Config) -> list[Table]:
    """The encoder's."""
    return [
        attention("attention", f"encoder.block.{i}.layer.0", "SelfAttention")
        | feed(config, f"encoder.block.{i}.layer.1")
        for i in range(config.num_hidden_layers)
    ]


def decoder_layers(config: Config) -> list[Table]:
    """The decoder's."""
    return [
        attention("attention", f"decoder.block.{i}.layer.0", "SelfAttention")
        | attention("cross", f"decoder.block.{i}.layer.1", "EncDecAttention")
        | feed(config, f"decoder.block.{i}.layer.2")
        for i in range(decoder_count(config))
    ]


def attention(ours: str, place: str, name: str) -> dict[str, Any]:
    """The names of an attention."""
    return {f"{ours}.before.gain": f"{place}.layer_norm.weight"} | {
        f"{ours}.{which}.weight": f"{place}.{name}.{which[0]}.weight"
        for which in ("query", "key", "value", "out")
    }


def feed(config: Config, place: str) -> dict[str, Any]:
    """The names of a hidden layer."""
    table: dict[str, Any] = {
        "feed.before.gain": f"{place}.layer_norm.weight",
        "feed.down.weight": f"{place}.DenseReluDense.wo.weight",
    }
    if not activation(config)[0]:
        return table | {"feed.up.weight": f"{place}.DenseReluDense.wi.weight"}
    return table | {
        "feed.gate.weight": f"{place}.DenseReluDense.wi_0.weight",
        "feed.up.weight": f"{place}.DenseReluDense.wi_1.weight",
    }


def head(config: Config) -> Head:
    """The output, which is scaled where it is the embeddings too."""
    scaled = config.get("scale_decoder_outputs", config.tie_word_embeddings)
    factor = config.hidden_size**-0.5 if scaled else 1.0
    return Head(("lm_head.weight", "shared.weight"), factor, None)


def _side(kind: str, defaults: dict[str, Any], **parts: Any) -> Side:
    return Side(kinds=(kind,), prefixes=(), defaults=defaults, aliases=ALIASES, **parts)


PAIRS = tuple(
    Pair(
        _side(kind, defaults, plan=plan, outside=outside, layers=layers),
        _side(
            kind, defaults, plan=decoder_plan, outside=decoder_outside, layers=decoder_layers,
            more=decoder_more,
        ),
        head,
    )
    for kind, defaults in (("t5", DEFAULTS), ("mt5", MT5))
)  # fmt: skip
