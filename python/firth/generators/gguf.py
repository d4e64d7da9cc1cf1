"""GGUF files as configurations and tables of names: what llama.cpp's converter writes.

Names of arrays are alike for all architectures. Llama's queries and keys are permuted, so that
rotary positions turn neighbours; Gemma's gains are whole, GPT-2's weights (outputs, inputs).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from firth.arguments import Real, Rules, Whole, check_all, shortened
from firth.errors import FormatError
from firth.formats import gguf
from firth.transformer.architecture import Table
from firth.transformer.plan import Plan
from firth.transformer.weights import Part, Source, floats

KINDS = {
    "gpt2": "gpt2",
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "phi3": "phi3",
    "olmo2": "olmo2",
    "smollm3": "smollm3",
}
"""``general.architecture``, and the ``model_type`` that is the same model."""

NEIGHBOURS = ("llama", "smollm3")
"""Those whose queries and keys are permuted."""

# Fields of a configuration, and what keys they have behind the architecture's name.
_NEEDED = {
    "num_hidden_layers": "block_count",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
}
_OPTIONAL = {
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "sliding_window": "attention.sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "rope_theta": "rope.freq_base",
    "rope_local_base_freq": "rope.freq_base_swa",
    "original_max_position_embeddings": "rope.scaling.original_context_length",
}
_FACTOR = Real(1e-3, 1e6)
_ROPE = ("factor", "attn_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow")

_OUTSIDE = {
    "tokens": "token_embd.weight",
    "positions": "position_embd.weight",
    "final.gain": "output_norm.weight",
    "final.bias": "output_norm.bias",
}
_LAYER = {
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.out": "attn_output",
    "attention.query_norm": "attn_q_norm",
    "attention.key_norm": "attn_k_norm",
    "attention.before": "attn_norm",
    "attention.inner": "post_attention_norm",
    "feed.gate": "ffn_gate",
    "feed.up": "ffn_up",
    "feed.down": "ffn_down",
    "feed.before": "ffn_norm",
    "feed.inner": "post_ffw_norm",
}
OUTPUT = "output.weight"
FACTORS = ("rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")
"""Arrays that the configuration has read."""


class Values(NamedTuple):
    """What `firth.transformer.config.Config` takes."""

    values: dict[str, Any]
    aliases: dict[str, str]


class _Metadata:
    """Checked values of a file, by the keys behind the architecture's name."""

    def __init__(self, file: gguf.Gguf, name: str) -> None:
        self.file, self.name = file, name

    def error(self, key: str, problem: str) -> FormatError:
        return FormatError(f"{self.name}.{key} {problem}", self.file.path)

    def get(self, key: str) -> Any:
        return self.file.metadata.get(f"{self.name}.{key}")

    def number(self, key: str, rule: Real | Whole) -> Any:
        """A number, or None where it is missing."""
        value, whole = self.get(key), f"{self.name}.{key}"
        if value is None:
            return None
        rules: Rules = {whole: rule}
        try:
            return check_all("metadata", rules, {whole: value})[whole]
        except (TypeError, ValueError) as error:
            raise FormatError(str(error), self.file.path) from None


def values_of(file: gguf.Gguf, name: str) -> Values:
    """The configuration of a file of the architecture ``name``, a key of `KINDS`.

    Raises
    ------
    FormatError
        A key is missing, of another type, or does not go with others or with arrays.
    """
    metadata = _Metadata(file, name)
    norm = "attention.layer_norm_epsilon" if name == "gpt2" else "attention.layer_norm_rms_epsilon"
    needed = _NEEDED | {"layer_norm_eps": norm}
    for key in needed.values():
        if metadata.get(key) is None:
            raise FormatError(f"has no {name}.{key}", file.path)
    if metadata.number("expert_count", Whole(0, 1 << 20)):
        raise metadata.error("expert_count", "is above 0: firth knows no mixtures of experts")
    aliases = {
        field: f"{name}.{key}"
        for field, key in (needed | _OPTIONAL).items()
        if metadata.get(key) is not None
    }
    values = {key: file.metadata[key] for key in aliases.values()}
    windows = bool(metadata.number("attention.sliding_window", Whole(0, 1 << 20)))
    values |= {
        "model_type": "olmo3" if name == "olmo2" and windows else KINDS[name],
        "vocab_size": _rows(file),
        "tie_word_embeddings": OUTPUT not in file.arrays,
        "neighbours_turn": name in NEIGHBOURS,
        "attention_bias": name != "gpt2",  # where there are some
        "mlp_bias": name != "gpt2",
    }
    width = metadata.number("attention.key_length", Whole(1, 1 << 12))
    if width is None:
        heads = metadata.number("attention.head_count", Whole(1, 1 << 12))
        width = metadata.number("embedding_length", Whole(1, 1 << 16)) // heads
    if metadata.number("attention.value_length", Whole(1, 1 << 12)) not in (None, width):
        raise metadata.error("attention.value_length", "is not key_length: firth knows no such")
    rotated = metadata.number("rope.dimension_count", Whole(2, width))
    if rotated is not None:
        values |= {"partial_rotary_factor": rotated / width, "turns_part": True}
    if name.startswith("gemma"):
        values |= _gemma(metadata, width)
    if windows:
        values |= _pattern(metadata)
    if rope := _rope(metadata, (rotated or width) // 2):
        values["rope_parameters"] = rope
    return Values(values, aliases)


def _rows(file: gguf.Gguf) -> int:
    """How many tokens there are."""
    table = file.arrays.get(_OUTSIDE["tokens"])
    if table is None or table.ndim != 2:
        raise FormatError(f"has no matrix {_OUTSIDE['tokens']!r}", file.path)
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, list) and len(tokens) != len(table):
        raise FormatError(
            f"tokenizer.ggml.tokens has {len(tokens)} tokens, {_OUTSIDE['tokens']!r} has "
            f"{len(table)} rows",
            file.path,
        )
    return len(table)


def _gemma(metadata: _Metadata, width: int) -> dict[str, Any]:
    """What files do not say: the scale, and that nothing said of windows is none."""
    layers = metadata.number("block_count", Whole(0, 512))
    heads = metadata.number("attention.head_count", Whole(1, 1 << 12))
    largest = layers == {"gemma2": 46, "gemma3": 62}[metadata.name]  # those of 27 billion
    found: dict[str, Any] = {
        "query_pre_attn_scalar": metadata.number("embedding_length", Whole(1, 1 << 16)) // heads
        if largest
        else width
    }
    if metadata.name == "gemma3" and metadata.get("attention.sliding_window") is None:
        found["sliding_window"] = None
    return found


def _pattern(metadata: _Metadata) -> dict[str, Any]:
    """Which layers have windows, where the file says it: one of so many has none, or a list."""
    key = "attention.sliding_window_pattern"
    pattern = metadata.get(key)
    if isinstance(pattern, np.ndarray):
        kinds = ("full_attention", "sliding_attention")
        return {"layer_types": [kinds[bool(near)] for near in pattern.tolist()]}
    return _there(sliding_window_pattern=metadata.number(key, Whole(1, 512)))


def _rope(metadata: _Metadata, pairs: int) -> dict[str, Any]:
    """``rope_parameters``, or nothing."""
    numbers = {key: metadata.number(f"rope.scaling.{key}", _FACTOR) for key in _ROPE}
    kind = metadata.get("rope.scaling.type")
    if kind is None:
        kind = "none"
    elif not isinstance(kind, str):
        raise metadata.error("rope.scaling.type", f"must be a text, got {shortened(kind)}")
    factor = numbers["factor"]
    if (old := metadata.number("rope.scale_linear", _FACTOR)) is not None:
        kind, factor = "linear", old
    freqs, short, long = (_divisors(metadata, name, pairs) for name in FACTORS)
    if short is not None and long is not None:
        found = {"rope_type": "longrope", "short_factor": short, "long_factor": long}
        return found | _there(attention_factor=numbers["attn_factor"])
    if freqs is not None:
        scale = factor if kind == "linear" and factor else 1.0
        both = [scale * one for one in freqs]
        return {
            "rope_type": "longrope",
            "short_factor": both,
            "long_factor": both,
            "attention_factor": 1.0,
        }
    if kind == "none" or (kind == "linear" and factor is None):
        return {}
    return {"rope_type": kind} | _there(
        factor=factor,
        attention_factor=numbers["yarn_attn_factor"],
        beta_fast=numbers["yarn_beta_fast"],
        beta_slow=numbers["yarn_beta_slow"],
    )


def _there(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _divisors(metadata: _Metadata, name: str, pairs: int) -> list[float] | None:
    """An array of divisors of angles, or None where there is none."""
    array = metadata.file.arrays.get(name)
    if array is None:
        return None
    if array.shape != (pairs,):
        raise FormatError(
            f"array {name!r} has shape {array.shape}, rotary positions turn {pairs} pairs",
            metadata.file.path,
        )
    return floats(array).tolist()  # type: ignore[no-any-return]


def outside(table: Table) -> Table:
    """The names in GGUF files of a table outside of the layers."""
    return {ours: _OUTSIDE[ours] for ours in table}


def layer(table: Table, i: int, plan: Plan) -> Table:
    """The names in GGUF files of layer i, for what a table of another file has.

    Query, key and value may be one matrix; so are gate and up where they are in the table. Biases
    are where they are.
    """
    queries, keys = plan.heads * plan.head_width, plan.key_heads * plan.head_width
    begins = {"query": 0, "key": queries, "value": queries + keys, "": queries + 2 * keys}
    ends = dict(zip(begins, list(begins.values())[1:], strict=False))
    found: dict[str, Any] = {}
    for ours, source in table.items():
        part, _, kind = ours.rpartition(".")
        suffix = "weight" if kind == "gain" else kind
        name = f"blk.{i}.{_LAYER[part]}.{suffix}"
        maybe = "?" if kind == "bias" and not part.endswith("before") else ""
        which = part.removeprefix("attention.")
        if which in ends:
            fused = f"blk.{i}.attn_qkv.{suffix}{maybe}"
            found[ours] = name, Part(fused, begins[which], ends[which], of=begins[""])
        elif part in ("feed.gate", "feed.up") and isinstance(source, Part) and source.of:
            fused = f"blk.{i}.ffn_up.{suffix}"
            found[ours] = Part(fused, source.begin, source.end, of=source.of)
        else:
            found[ours] = name + maybe
    return found


def sources(table: Table, i: int) -> dict[str, Source]:
    """Where the arrays of layer i of a GGUF file are in another file, which has this table.

    What is one matrix there is one here.
    """
    found: dict[str, Source] = {}
    for ours, source in table.items():
        part, _, kind = ours.rpartition(".")
        name = _LAYER[part]
        if isinstance(source, Part) and source.of:
            name = "attn_qkv" if part.startswith("attention.") else "ffn_up"
            source = replace(source, begin=0, end=None, of=0)
        found[f"blk.{i}.{name}.{'weight' if kind == 'gain' else kind}"] = source
    return found
