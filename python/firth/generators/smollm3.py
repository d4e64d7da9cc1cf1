"""SmolLM3 (Hugging Face, 2025): Llama whose every fourth layer knows no positions.

That layers without positions read longer texts is due to Yang et al., arXiv:2501.18795.
"""

from __future__ import annotations

import dataclasses

from firth.errors import FormatError
from firth.generators import llama
from firth.transformer.architecture import Architecture
from firth.transformer.config import Config
from firth.transformer.plan import Plan, Scaling

DEFAULTS = llama.DEFAULTS | {
    "vocab_size": 128256,
    "hidden_size": 2048,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rope_theta": 2_000_000.0,
    "no_rope_layers": None,  # one number a layer: 0 where there are no positions
    "no_rope_layer_interval": 4,
    "use_sliding_window": False,
    "tie_word_embeddings": True,
}
_STILL = 1e30  # divides all angles of a text to less than float32 can add to anything


def plan(config: Config) -> Plan:
    """Llama's; where there are no positions, nothing turns."""
    count, turning = config.num_hidden_layers, _turning(config)
    kinds = config.layer_kinds(
        ["full_attention" if turns else "sliding_attention" for turns in turning]
    )
    windows = llama.windows_of(config, kinds) if config.use_sliding_window else ()
    found = llama.plan(config, windows=windows)
    still = Scaling((_STILL,) * (found.rotated // 2))
    scaling = found.scaling or (None,) * count
    return dataclasses.replace(
        found,
        scaling=tuple(one if turns else still for one, turns in zip(scaling, turning, strict=True)),
    )


def _turning(config: Config) -> list[bool]:
    """Which layers know positions."""
    listed, count = config.no_rope_layers, config.num_hidden_layers
    if listed is None:
        every = config.no_rope_layer_interval
        return [bool((i + 1) % every) for i in range(count)]
    if not isinstance(listed, list) or len(listed) < count or any(n not in (0, 1) for n in listed):
        raise FormatError(
            f"config: no_rope_layers must list 0 or 1 for each of {count} layers", config.path
        )
    return [bool(n) for n in listed[:count]]


ARCHITECTURES = (
    Architecture(
        kinds=("smollm3",),
        prefixes=("model.",),
        defaults=DEFAULTS,
        plan=plan,
        outside=llama.outside,
        layers=llama.layers,
        aliases=llama.ALIASES,
    ),
)
