"""Answers to the exercises of docs/course/20-local-models.md."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firth.formats import gguf
from firth.formats.blocks import BlockArray, block_type, dequantize, quantize


def test_1_memory_and_speed() -> None:
    """Weights 8e9 * 4.5 / 8 = 4.5 GB, cache 2 * 32 * 8 * 128 * 2 * 8192 = 1.07 GB: 5.57 GB.

    Each token reads the weights: 50 / 4.5 = 11.1 a second. At the end of the context it reads the
    whole cache besides: 50 / 5.57 = 9.0.
    """
    weights = 8e9 * 4.5 / 8 / 1e9
    cache = 2 * 32 * 8 * 128 * 2 * 8192 / 1e9
    assert (weights, round(cache, 2), round(weights + cache, 2)) == (4.5, 1.07, 5.57)
    assert round(50 / weights, 1) == 11.1
    assert round(50 / (weights + cache), 1) == 9.0


def q4_0(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """A block of 32 weights, quantised and back."""
    kind = block_type("Q4_0")
    back: NDArray[np.float32] = dequantize(quantize(x[None], kind), kind)[0]
    return back


def test_2_one_outlier() -> None:
    """Without the outlier the step is 0.1, and all values are multiples of it: nothing is lost.

    Nothing but what the step loses as a float of 16 bits. With an 8 the step is 8 / -8 = -1: what
    is above 0.5 in magnitude becomes 1 or -1, the rest 0.
    """
    x = np.repeat(np.arange(-8, 8) / 10, 2).astype(np.float32)
    assert np.abs(q4_0(x) - x).max() < 0.0005

    x[0] = 8
    back = q4_0(x)
    assert back[0] == 8
    assert set(back[1:].tolist()) == {-1.0, 0.0, 1.0}  # of sixteen values three are left
    others = x[1:]
    error = np.sqrt(np.mean((back[1:] - others) ** 2))
    assert error > 0.5 * np.sqrt(np.mean(others**2))  # half of what was there


def test_3_a_file_by_hand(tmp_path: Path) -> None:
    """Magic and version, two counts, then strings with their lengths before them.

    The axes stand with the innermost first: 64, then 4. Type 8 is Q8_0, and a row of 64 weights has
    two blocks of 34 bytes.
    """
    kind = block_type("Q8_0")
    matrix = np.linspace(-1, 1, 4 * 64, dtype=np.float32).reshape(4, 64)
    path = tmp_path / "small.gguf"
    array = BlockArray(quantize(matrix, kind), kind)
    gguf.write(path, {"general.architecture": "llama"}, {"w.weight": array})

    raw, at = path.read_bytes(), 0

    def take(form: str) -> int:
        nonlocal at
        found: int = struct.unpack_from(form, raw, at)[0]
        at += struct.calcsize(form)
        return found

    def text() -> str:
        nonlocal at
        length = take("<Q")
        at += length
        return raw[at - length : at].decode()

    assert take("<I") == int.from_bytes(b"GGUF", "little")
    assert take("<I") == 3  # the version
    assert (take("<Q"), take("<Q")) == (1, 1)  # arrays, entries of metadata
    assert text() == "general.architecture"
    assert take("<I") == 8  # a string
    assert text() == "llama"
    assert text() == "w.weight"
    axes = [take("<Q") for _ in range(take("<I"))]
    assert axes[::-1] == [4, 64]
    assert (take("<I"), take("<Q")) == (8, 0)  # Q8_0, at the beginning of the data
    begin = -(-at // 32) * 32  # the next multiple of 32
    rows = np.frombuffer(raw, np.uint8, 4 * 2 * 34, begin).reshape(4, 68)
    assert np.abs(dequantize(rows, kind) - matrix).max() <= 0.5 / 127 + 0.0005
