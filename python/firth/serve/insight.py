"""What the playground shows of a model beside its answers: probabilities, and where heads look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from firth.generators.sampling import Sampler, Sampling
from firth.serve.errors import APIError

if TYPE_CHECKING:
    from firth.encoders import SentenceTransformer
    from firth.generators import CausalLM
    from firth.serve.schemas import AttentionOf, Next

_MOST = 128  # tokens of a text whose attention is shown
_MOST_BEFORE = 1024  # tokens of one whose continuation is


def next_tokens(model: CausalLM, body: Next) -> dict[str, Any]:
    """The most probable next tokens: their probability, and that after temperature and top-p."""
    ids = model.tokenizer.encode(body.input)
    if not 0 < len(ids) <= min(_MOST_BEFORE, model.context):
        most = min(_MOST_BEFORE, model.context)
        raise APIError(400, f"want a text of 1 to {most} tokens, got {len(ids)}", param="input")
    logits = model.logits(ids)[-1]
    before = Sampler(Sampling()).chances(logits)
    after = Sampler(Sampling(body.temperature, body.top_p)).chances(logits)
    best = np.argsort(-logits, kind="stable")[: body.top]
    return {
        "vocabulary": len(logits),
        "kept": int(np.count_nonzero(after)),
        "tokens": [
            {
                "id": int(i),
                "token": model.tokenizer.token_bytes(int(i)).decode("utf-8", "replace"),
                "before": float(before[i]),
                "after": float(after[i]),
            }
            for i in best
        ],
    }


def attention(model: CausalLM | SentenceTransformer, body: AttentionOf) -> dict[str, Any]:
    """Where each head of a layer looks: row i of a head's weights are the shares of token i."""
    from firth.encoders import SentenceTransformer, show_attention  # not loaded by all servers

    if isinstance(model, SentenceTransformer):
        found = show_attention(model.auto_model, model.tokenizer, body.input)
        tokens, weights = found.tokens, found.weights
    else:
        ids = model.tokenizer.encode(body.input)
        if not 0 < len(ids) <= min(_MOST, model.context):
            most = min(_MOST, model.context)
            raise APIError(400, f"want a text of 1 to {most} tokens, got {len(ids)}", param="input")
        raw = [model.tokenizer.token_bytes(i) for i in ids]
        tokens = [one.decode("utf-8", "replace") for one in raw]
        weights = model.attentions(ids)
    layers, heads = weights.shape[:2]
    if body.layer >= layers:
        raise APIError(400, f"layer must be below {layers}, got {body.layer}", param="layer")
    return {
        "tokens": tokens,
        "layers": layers,
        "heads": heads,
        "layer": body.layer,
        "weights": np.round(weights[body.layer].astype(np.float64), 4).tolist(),
    }
