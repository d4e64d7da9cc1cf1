"""RoBERTa (Liu et al., arXiv:1907.11692), and its relatives XLM-RoBERTa and CamemBERT.

BERT trained longer, on more text, without judging pairs of sentences. Positions start behind the
number of the padding token, whose own row stands for padding; there is one segment.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from firth.encoders import bert
from firth.encoders.architecture import Architecture
from firth.encoders.heads import Head, Linear, Norm, decoder
from firth.errors import FormatError
from firth.transformer.config import Config
from firth.transformer.plan import Plan

DEFAULTS = {**bert.DEFAULTS, "vocab_size": 50265, "pad_token_id": 1}


def plan(config: Config) -> Plan:
    """BERT's, with positions that start behind the padding."""
    if config.pad_token_id is None:
        raise FormatError("config: pad_token_id must be a number, got None", config.path)
    return replace(bert.plan(config), position_offset=config.pad_token_id + 1)


def positions(config: Config, ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Tokens are counted, padding stays on its own row (B, S)."""
    return count(ids, config.pad_token_id)


def count(ids: NDArray[np.int32], padding: int) -> NDArray[np.int32]:
    """``padding`` where there is padding, else ``padding`` + 1, + 2, ... along each text (B, S)."""
    real = ids != padding
    places: NDArray[np.int64] = np.cumsum(real, axis=1) * real + padding
    return places.astype(np.int32)


def heads(config: Config) -> dict[str, Head]:
    """As BERT's, with other names; classes of texts have a dense layer of their own."""
    width = config.hidden_size
    return {
        "pooler": Head("first", (Linear("pooler.dense", width, "tanh"),)),
        "masked_lm": Head(
            "tokens",
            (
                Linear("lm_head.dense", width, "gelu"),
                Norm("lm_head.layer_norm"),
                decoder("lm_head", config),
            ),
        ),
        "sequence": Head(
            "first",
            (
                Linear("classifier.dense", width, "tanh"),
                Linear("classifier.out_proj", config.num_labels),
            ),
        ),
        "tokens": Head("tokens", (Linear("classifier", config.num_labels),)),
        "span": Head("tokens", (Linear("qa_outputs", 2),)),
    }


ARCHITECTURE = Architecture(
    kinds=("roberta", "xlm-roberta", "camembert"),
    prefixes=("roberta.",),
    defaults=DEFAULTS,
    plan=plan,
    outside=bert.outside,
    layers=bert.layers,
    heads=heads,
    positions=positions,
)
