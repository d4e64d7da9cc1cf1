"""ELECTRA (Clark et al., arXiv:2003.10555): BERT that learns which tokens were replaced.

The discriminator is what people use; the generator, which proposes tokens, has the head for masked
ones. Small models have narrower embeddings, projected once.
"""

from __future__ import annotations

from firth.encoders import bert
from firth.encoders.architecture import Architecture, Table
from firth.encoders.heads import Head, Linear, Norm
from firth.transformer.config import Config

DEFAULTS = {
    **bert.DEFAULTS,
    "embedding_size": 128,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}


def outside(config: Config) -> Table:
    """BERT's tables, and a projection where embeddings are not as wide as states."""
    table = bert.outside(config)
    if config.embedding_size == config.hidden_size:
        return table
    return {
        **table,
        "projection.weight": "embeddings_project.weight",
        "projection.bias": "embeddings_project.bias",
    }


def heads(config: Config) -> dict[str, Head]:
    """No pooler: classes of texts have a dense layer with gelu."""
    width = config.hidden_size
    return {
        "masked_lm": Head(
            "tokens",
            (
                Linear("generator_predictions.dense", config.embedding_size, "gelu"),
                Norm("generator_predictions.LayerNorm"),
                Linear("generator_lm_head", config.vocab_size, tied=config.tie_word_embeddings),
            ),
        ),
        "sequence": Head(
            "first",
            (
                Linear("classifier.dense", width, "gelu"),
                Linear("classifier.out_proj", config.num_labels),
            ),
        ),
        "tokens": Head("tokens", (Linear("classifier", config.num_labels),)),
        "span": Head("tokens", (Linear("qa_outputs", 2),)),
    }


ARCHITECTURE = Architecture(
    kinds=("electra",),
    prefixes=("electra.",),
    defaults=DEFAULTS,
    plan=bert.plan,
    outside=outside,
    layers=bert.layers,
    heads=heads,
)
