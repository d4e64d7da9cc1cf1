"""Llama (Touvron et al., arXiv:2302.13971) and its relatives: SmolLM, TinyLlama, Mistral.

Root mean square norms before each half of a layer, rotary positions, hidden layers with a gate
(SwiGLU), no biases, heads that share keys and values (arXiv:2305.13245). Mistral (arXiv:2310.06825)
sees near tokens only. The other families say in their files what they do otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firth.errors import FormatError
from firth.generators.rope import rope
from firth.transformer.architecture import Architecture, Table
from firth.transformer.config import Config
from firth.transformer.plan import Plan

DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "layer_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "partial_rotary_factor": 1.0,
    "turns_part": False,  # whether the factor counts: of most families it does not
    "attention_bias": False,
    "mlp_bias": False,
    "sliding_window": None,
    "neighbours_turn": False,
    "tie_word_embeddings": False,
}
MISTRAL = DEFAULTS | {
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "sliding_window": 4096,
}

ALIASES = {"layer_norm_eps": "rms_norm_eps"}


def plan(config: Config, **changes: Any) -> Plan:
    """A decoder with rotary positions; ``changes``: fields of the plan that another has."""
    count, width = config.num_hidden_layers, head_width(config)
    turns = rope(config, width, config.rope_theta)
    window = window_of(config)
    fields: dict[str, Any] = {
        "width": config.hidden_size,
        "layers": count,
        "heads": config.num_attention_heads,
        "key_heads": config.num_key_value_heads or config.num_attention_heads,
        "head_width": width,
        "hidden": config.intermediate_size,
        "activation": config.activation(),
        "norm": "rms",
        "epsilon": config.layer_norm_eps,
        "causal": True,
        "positions": turns.positions,
        "thetas": (turns.theta,) * count,
        "rotated": turns.rotated,
        "interleaved": config.neighbours_turn,
        "scaling": (turns.scaling,) * count if turns.scaling else (),
        "long_after": turns.long_after,
        "windows": (window,) * count if window >= 0 else (),
    }
    return Plan(**fields | changes)


def head_width(config: Config) -> int:
    """W, which need not be D / H."""
    if config.head_dim:
        return int(config.head_dim)
    if config.hidden_size % config.num_attention_heads:
        raise FormatError(
            f"config: {config.num_attention_heads} heads do not divide a width of "
            f"{config.hidden_size}",
            config.path,
        )
    return int(config.hidden_size // config.num_attention_heads)


def window_of(config: Config) -> int:
    """How far the keys are that a token of a layer with a window sees; -1 where none has one.

    ``sliding_window`` counts the token itself.
    """
    return int(config.sliding_window or 0) - 1


def windows_of(config: Config, kinds: Sequence[str]) -> tuple[int, ...]:
    """The windows of layers of these kinds."""
    window = window_of(config)
    return tuple(window if kind == "sliding_attention" else -1 for kind in kinds)


def turns_of(config: Config, kinds: Sequence[str], theta: float) -> dict[str, Any]:
    """Fields of a plan whose layers with a window have a base of their own, and no scaling."""
    near = rope(config, head_width(config), theta, "sliding_attention")
    far = rope(config, head_width(config), config.rope_theta)
    turns = [near if kind == "sliding_attention" else far for kind in kinds]
    scaling = tuple(one.scaling for one in turns)
    return {
        "thetas": tuple(one.theta for one in turns),
        "scaling": scaling if any(scaling) else (),
        "long_after": far.long_after,
    }


def outside(config: Config) -> Table:
    """The embeddings of tokens, and the norm at the end."""
    return {"tokens": "embed_tokens.weight", "final.gain": "norm.weight"}


def layers(config: Config) -> list[Table]:
    """One table a layer."""
    return [layer(config, i) for i in range(config.num_hidden_layers)]


def layer(config: Config, i: int) -> dict[str, Any]:
    """The names of layer i."""
    return {
        **attention(i, config.attention_bias),
        **feed(i, config.mlp_bias),
        "attention.before.gain": f"layers.{i}.input_layernorm.weight",
        "feed.before.gain": f"layers.{i}.post_attention_layernorm.weight",
    }


def attention(i: int, bias: bool) -> dict[str, Any]:
    """The names of the products of layer i's attention."""
    table = {}
    for ours, name in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o")):
        for part in ("weight", "bias") if bias else ("weight",):
            table[f"attention.{ours}.{part}"] = f"layers.{i}.self_attn.{name}_proj.{part}"
    return table


def feed(i: int, bias: bool = False) -> dict[str, Any]:
    """The names of layer i's hidden layer."""
    return {
        f"feed.{name}.{part}": f"layers.{i}.mlp.{name}_proj.{part}"
        for name in ("gate", "up", "down")
        for part in (("weight", "bias") if bias else ("weight",))
    }


def _architecture(kind: str, defaults: dict[str, Any]) -> Architecture:
    return Architecture(
        kinds=(kind,),
        prefixes=("model.",),
        defaults=defaults,
        plan=plan,
        outside=outside,
        layers=layers,
        aliases=ALIASES,
    )


ARCHITECTURES = (_architecture("llama", DEFAULTS), _architecture("mistral", MISTRAL))
