"""MPNet (Song et al., arXiv:2004.09297): BERT trained on permuted texts.

Besides its position's embedding, each pair of tokens has a bias of its distance, by buckets that
grow with it and the same for all layers. Positions start behind the padding, as in RoBERTa.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from firth.encoders import bert, roberta
from firth.encoders.architecture import Architecture, Table
from firth.transformer.config import Config
from firth.transformer.plan import Plan

DEFAULTS = {
    **bert.DEFAULTS,
    "vocab_size": 30527,
    "pad_token_id": 1,
    "relative_attention_num_buckets": 32,
}
_PADDING = 1  # whatever the configuration says


def plan(config: Config) -> Plan:
    """BERT's; distances from 128 on share a bucket."""
    return replace(bert.plan(config), position_offset=_PADDING + 1, distances=128)


def positions(config: Config, ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Tokens are counted, padding stays on its own row (B, S)."""
    return roberta.count(ids, _PADDING)


def outside(config: Config) -> Table:
    """BERT's without segments, and the biases of distances."""
    table = dict(bert.outside(config))
    del table["types"]
    return {**table, "relative": "encoder.relative_attention_bias.weight"}


def layers(config: Config) -> list[Table]:
    """BERT's arrays by other names."""
    return [layer(f"encoder.layer.{i}") for i in range(config.num_hidden_layers)]


def layer(name: str) -> Table:
    """The names of one layer."""
    return {
        "attention.query.weight": f"{name}.attention.attn.q.weight",
        "attention.query.bias": f"{name}.attention.attn.q.bias",
        "attention.key.weight": f"{name}.attention.attn.k.weight",
        "attention.key.bias": f"{name}.attention.attn.k.bias",
        "attention.value.weight": f"{name}.attention.attn.v.weight",
        "attention.value.bias": f"{name}.attention.attn.v.bias",
        "attention.out.weight": f"{name}.attention.attn.o.weight",
        "attention.out.bias": f"{name}.attention.attn.o.bias",
        "attention.after.gain": f"{name}.attention.LayerNorm.weight",
        "attention.after.bias": f"{name}.attention.LayerNorm.bias",
        "feed.up.weight": f"{name}.intermediate.dense.weight",
        "feed.up.bias": f"{name}.intermediate.dense.bias",
        "feed.down.weight": f"{name}.output.dense.weight",
        "feed.down.bias": f"{name}.output.dense.bias",
        "feed.after.gain": f"{name}.output.LayerNorm.weight",
        "feed.after.bias": f"{name}.output.LayerNorm.bias",
    }


ARCHITECTURE = Architecture(
    kinds=("mpnet",),
    prefixes=("mpnet.",),
    defaults=DEFAULTS,
    plan=plan,
    outside=outside,
    layers=layers,
    heads=roberta.heads,
    positions=positions,
)
