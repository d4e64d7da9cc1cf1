"""Random matrices in the types of GGUF files, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from firth.formats.blocks import BlockArray, block_type

# Where a block has its float16 numbers.
_HALVES = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "IQ4_NL": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
}  # fmt: skip
BLOCKS = tuple(_HALVES)


def halves_of(name: str) -> list[int]:
    """The bytes of a block's float16 numbers."""
    return [at + i for at in _HALVES[name] for i in range(2)]


def random_blocks(rng: np.random.Generator, name: str, rows: int, columns: int) -> BlockArray:
    """Any codes, with scales that make weights of about 1 / sqrt(columns)."""
    type = block_type(name)
    blocks = rng.integers(0, 256, (rows, columns // type.block, type.bytes), np.uint8)
    size = {"Q2_K": 2e-2, "Q3_K": 1e-2, "Q4_K": 2e-3, "Q5_K": 1e-3, "Q6_K": 5e-4, "Q8_0": 1e-2,
            "IQ4_NL": 1e-2}.get(name, 0.1)  # fmt: skip
    for i, at in enumerate(_HALVES[name]):
        scales = (0.5 + rng.random(blocks.shape[:2])) * size * (-2.0 if i else 1.0)
        if name.endswith("_K"):
            scales = abs(scales)
        halves = (scales / columns**0.5).astype(np.float16)
        blocks[..., at : at + 2] = halves[..., None].view(np.uint8)
    return BlockArray(blocks.reshape(rows, -1), type)


def random_matrix(rng: np.random.Generator, name: str, rows: int, columns: int) -> Any:
    """Blocks, or an array of float32 or float16."""
    if name in _HALVES:
        return random_blocks(rng, name, rows, columns)
    array = (rng.standard_normal((rows, columns)) / columns**0.5).astype(np.float32)
    return array.astype(np.float16) if name == "F16" else array
