"""GGUF files by hand: parts in bytes, right or wrong, and a small file that has everything."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from firth.formats.blocks import TYPES, BlockArray

UINT8, UINT16, UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 0, 2, 4, 6, 7, 8, 9, 10


def u32(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def u64(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return u64(len(raw)) + raw


def entry(key: str, kind: int, value: bytes) -> bytes:
    return string(key) + u32(kind) + value


def array(name: str, dims: tuple[int, ...], type: int = 0, offset: int = 0) -> bytes:
    """``dims`` as in the file: the innermost first."""
    return string(name) + u32(len(dims)) + u64(*dims) + u32(type) + u64(offset)


def file(
    entries: list[bytes] | None = None,
    arrays: list[bytes] | None = None,
    data: bytes = b"",
    *,
    version: int = 3,
    n_entries: int | None = None,
    n_arrays: int | None = None,
    alignment: int = 32,
) -> bytes:
    entries, arrays = entries or [], arrays or []
    n_entries = len(entries) if n_entries is None else n_entries
    n_arrays = len(arrays) if n_arrays is None else n_arrays
    head = b"GGUF" + u32(version) + u64(n_arrays, n_entries) + b"".join(entries + arrays)
    return head + (bytes(-len(head) % alignment) + data if data else b"")


def everything() -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata of every kind and an array of every type but bfloat16."""
    rng = np.random.default_rng(0)
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "count": 7,
        "below": -7,
        "wide": 1 << 40,
        "share": 0.25,
        "flag": True,
        "off": False,
        "empty": "",
        "größe": "naïve 😀",
        "raw": b"\xff\xfe".decode("utf-8", "surrogateescape"),
        "tokens": ["<s>", "", "Ġthe", "\x00", b"\xe2\x82".decode("utf-8", "surrogateescape")],
        "none": [],
        "nested": [[["a"], []], [np.arange(3, dtype=np.int8)]],
        "flags": np.array([True, False]),
    }
    for code in ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"):
        metadata[f"numbers.{code}"] = np.array([0, 1, 100], code)
    arrays: dict[str, Any] = {
        "norm": rng.standard_normal(5).astype(np.float32),
        "half": rng.standard_normal((2, 3)).astype(np.float16),
        "four": np.arange(16, dtype=np.float32).reshape(2, 2, 1, 4),
        "ids": np.arange(3, dtype=np.int32),
        "double": np.array([[np.pi]]),
        "zero": np.zeros((0, 4), np.float32),
    }
    for kind in TYPES.values():
        if kind.block > 1:
            blocks = rng.integers(0, 256, (2 if kind.block == 32 else 1, kind.bytes), np.uint8)
            arrays[f"blocks.{kind.name}"] = BlockArray(blocks, kind)
    return metadata, arrays
