"""A small random generator as a GGUF file, with a token for each byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from firth.formats import gguf
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


def write(path: Path, kind: str = "Q4_1", more: Any = None) -> Path:
    """A model; ``more`` metadata, of which None leaves one out."""
    rng = np.random.default_rng(5)
    tokens = [*byte_tokens(), *CONTROL]
    metadata: dict[str, Any] = {
        "general.architecture": "llama", "llama.block_count": 2, "llama.context_length": CONTEXT,
        "llama.embedding_length": WIDTH, "llama.feed_forward_length": 128,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": 16,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": [],
        "tokenizer.ggml.token_type": np.array([1] * 256 + [3] * 3, np.int32),
        "tokenizer.ggml.eos_token_id": 256, "tokenizer.chat_template": TEMPLATE,
    }  # fmt: skip
    shapes = {
        "attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64),
        "ffn_gate": (128, 64), "ffn_up": (128, 64), "ffn_down": (64, 128),
    }  # fmt: skip
    arrays: dict[str, Any] = {
        "token_embd.weight": random_matrix(rng, "Q8_0", len(tokens), WIDTH),
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
