"""A small random generator as a GGUF file, with a token for each byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from firth.formats import gguf
from firth.generators import Run
from stored import random_matrix

WIDTH, CONTEXT = 64, 700
CONTROL = ["<|end|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_tokens() -> list[str]:
    """What byte-level BPE calls the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


_TOKENIZER: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": [*byte_tokens(), *CONTROL], "tokenizer.ggml.merges": [],
    "tokenizer.ggml.token_type": np.array([1] * 256 + [3] * 3, np.int32),
    "tokenizer.ggml.eos_token_id": 256, "tokenizer.chat_template": TEMPLATE,
}  # fmt: skip


def write_gpt2(path: Path, positions: int = 30) -> Path:
    """A model with learned positions, of 259 tokens as that of `write`."""
    rng = np.random.default_rng(6)
    metadata: dict[str, Any] = {
        "general.architecture": "gpt2", "gpt2.block_count": 1, "gpt2.context_length": positions,
        "gpt2.embedding_length": 32, "gpt2.feed_forward_length": 64,
        "gpt2.attention.head_count": 4, "gpt2.attention.layer_norm_epsilon": 1e-5,
        **_TOKENIZER,
    }  # fmt: skip
    shapes = {
        "token_embd": (259, 32), "position_embd": (positions, 32), "output_norm": (32,),
        "blk.0.attn_norm": (32,), "blk.0.attn_qkv": (96, 32), "blk.0.attn_output": (32, 32),
        "blk.0.ffn_norm": (32,), "blk.0.ffn_up": (64, 32), "blk.0.ffn_down": (32, 64),
    }  # fmt: skip
    arrays: dict[str, Any] = {}
    for name, shape in shapes.items():
        arrays[f"{name}.weight"] = rng.standard_normal(shape).astype(np.float32)
        if not name.endswith("embd"):
            arrays[f"{name}.bias"] = rng.standard_normal(shape[0]).astype(np.float32)
    gguf.write(path, metadata, arrays)
    return path


def write(path: Path, kind: str = "Q4_1", more: Any = None) -> Path:
    """A model; ``more`` metadata, of which None leaves one out."""
    rng = np.random.default_rng(5)
    metadata: dict[str, Any] = {
        "general.architecture": "llama", "llama.block_count": 2, "llama.context_length": CONTEXT,
        "llama.embedding_length": WIDTH, "llama.feed_forward_length": 128,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": 16,
        **_TOKENIZER,
    }  # fmt: skip
    shapes = {
        "attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64),
        "ffn_gate": (128, 64), "ffn_up": (128, 64), "ffn_down": (64, 128),
    }  # fmt: skip
    arrays: dict[str, Any] = {
        "token_embd.weight": random_matrix(rng, "Q8_0", 259, WIDTH),
        "output_norm.weight": np.full(WIDTH, 8, np.float32),
    }
    for i in range(2):
        for name, shape in shapes.items():
            arrays[f"blk.{i}.{name}.weight"] = random_matrix(rng, kind, *shape)
        for name in ("attn_norm", "ffn_norm"):
            arrays[f"blk.{i}.{name}.weight"] = np.ones(WIDTH, np.float32)
    metadata |= more or {}
    gguf.write(path, {k: value for k, value in metadata.items() if value is not None}, arrays)
    return path


def obey(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """Let models of this file want nothing but to write some words, again and again."""
    choose, wanted = Run.choose, words.encode()

    def choose_obediently(self: Run, row: Any) -> Any:
        text = cast(Any, self.text)
        row = np.full_like(row, -50)
        row[wanted[(len(text.ids) - text.prompt) % len(wanted)]] = 50
        return choose(self, row)

    monkeypatch.setattr(Run, "choose", choose_obediently)
