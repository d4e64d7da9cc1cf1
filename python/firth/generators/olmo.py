"""OLMo 2 (arXiv:2501.00656): Llama whose norms are behind attention and hidden layer, not before.

Queries and keys are normalized too, those of all heads in one. In OLMo 3 (arXiv:2512.13961) three
layers of four see near tokens only, and have no scaling of rotary positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from firth.generators import llama
from firth.transformer.architecture import Architecture, Table
from firth.transformer.config import Config
from firth.transformer.plan import Plan

DEFAULTS = llama.DEFAULTS | {"vocab_size": 50304, "layer_norm_eps": 1e-5}
OLMO3 = DEFAULTS | {"sliding_window": 4096, "rope_theta": 500_000.0}


def plan(config: Config) -> Plan:
    """Llama's, with norms of all heads in one."""
    return llama.plan(config, joint_norms=True)


def plan3(config: Config) -> Plan:
    """OLMo 3's."""
    count = config.num_hidden_layers
    kinds = config.layer_kinds(
        ["sliding_attention" if (i + 1) % 4 else "full_attention" for i in range(count)]
    )
    return llama.plan(
        config,
        joint_norms=True,
        windows=llama.windows_of(config, kinds),
        **llama.turns_of(config, kinds, config.get("rope_local_base_freq") or config.rope_theta),
    )


def layers(config: Config) -> list[Table]:
    """One table a layer."""
    return [layer(config, i) for i in range(config.num_hidden_layers)]


def layer(config: Config, i: int) -> Table:
    """The names of layer i."""
    return {
        **llama.attention(i, config.attention_bias),
        **llama.feed(i),
        "attention.query_norm.gain": f"layers.{i}.self_attn.q_norm.weight",
        "attention.key_norm.gain": f"layers.{i}.self_attn.k_norm.weight",
        "attention.inner.gain": f"layers.{i}.post_attention_layernorm.weight",
        "feed.inner.gain": f"layers.{i}.post_feedforward_layernorm.weight",
    }


def _architecture(
    kind: str, defaults: dict[str, Any], plan: Callable[[Config], Plan]
) -> Architecture:
    return Architecture(
        kinds=(kind,),
        prefixes=("model.",),
        defaults=defaults,
        plan=plan,
        outside=llama.outside,
        layers=layers,
        aliases=llama.ALIASES,
    )


ARCHITECTURES = (_architecture("olmo2", DEFAULTS, plan), _architecture("olmo3", OLMO3, plan3))
