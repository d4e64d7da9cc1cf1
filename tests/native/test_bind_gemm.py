"""What src/bind_gemm.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

U16 = np.uint16
ROWS = "matmul: residual: want shape (M, N), contiguous rows"
AXIS = ": want 2-D, contiguous along one axis"
GOOD = {
    "pack": {"b": zeros(3, 2)},
    "matmul": {
        "a": zeros(4, 3), "b": zeros(3, 2), "out": zeros(4, 2), "bias": zeros(2), "activation": 1,
        "scale": 2.0, "residual": zeros(4, 2),
    },
}  # fmt: skip
U8, I8, I32 = np.uint8, np.int8, np.int32
SUMS = {
    "a": zeros(4, 3, dtype=U8), "b": zeros(3, 2, dtype=I8), "out": zeros(4, 2, dtype=I32),
    "bias": None, "residual": None,
}  # fmt: skip
INTEGERS = "matmul: integers have no bias, activation, scale or residual"
TILE = "tile_product: shapes of a, b and c do not fit a tile each"
GOOD["tile_product"] = {
    "product": 1, "a": zeros(3, 8, dtype=U8), "b": zeros(2, 20, dtype=U8),
    "c": zeros(3, 20, dtype=U8),
}  # fmt: skip
GOOD["matmul_bytes"] = {
    "a": zeros(4, 3, dtype=U8), "b": zeros(3, 2, dtype=I8), "out": zeros(4, 2),
    "row_scales": zeros(4), "row_offsets": zeros(4), "column_scales": zeros(2),
    "column_sums": zeros(2), "bias": zeros(2), "activation": 1, "residual": zeros(4, 2),
}  # fmt: skip
FACTORS = [
    ("matmul_bytes", {name: array}, ValueError, text)
    for names, text in (
        (("row_scales", "row_offsets"), "matmul_bytes: row scales and offsets: want shape (M,)"),
        (("column_scales", "column_sums"), "matmul_bytes: column scales and sums: want shape (N,)"),
    )
    for name in names
    for array in (zeros(3), zeros(4, 2))
]
CASES = [
    *FACTORS,
    ("matmul_bytes", {"a": zeros(4, 2, dtype=U8)}, ValueError, "shapes of a, b and out differ"),
    ("matmul_bytes", {"out": zeros(3, 2)}, ValueError, "matmul: shapes of a, b and out differ"),
    ("matmul_bytes", {"bias": zeros(3)}, ValueError, "matmul: bias: want shape (N,)"),
    ("matmul_bytes", {"activation": 6}, ValueError, "matmul: no activation has the number 6"),
    ("matmul_bytes", {"residual": zeros(3, 2)}, ValueError, ROWS),
    ("matmul_bytes", {"a": zeros(4, 6, dtype=U8)[:, ::2]}, ValueError, f"matmul: a{AXIS}"),
    ("matmul_bytes", {"b": zeros(6, 4, dtype=I8)[::2, ::2]}, ValueError, f"matmul: b{AXIS}"),
    ("matmul_bytes", {"out": SUMS["out"]}, TypeError, "incompatible function arguments"),
    ("pack", {"b": zeros(3)}, ValueError, f"pack: b{AXIS}"),
    ("pack", {"b": zeros(6, 4)[::2, ::2]}, ValueError, f"pack: b{AXIS}"),
    ("matmul", {"b": zeros(6, 4)[::2, ::2]}, ValueError, f"matmul: b{AXIS}"),
    ("matmul", {"a": zeros(3)}, ValueError, f"matmul: a{AXIS}"),
    ("matmul", {"a": zeros(4, 6)[:, ::2]}, ValueError, f"matmul: a{AXIS}"),
    ("matmul", {"bias": zeros(3)}, ValueError, "matmul: bias: want shape (N,)"),
    ("matmul", {"bias": zeros(2, 1)}, ValueError, "matmul: bias: want shape (N,)"),
    ("matmul", {"bias": zeros(2, dtype=np.float64)}, TypeError, "incompatible function arguments"),
    ("matmul", {"activation": 6}, ValueError, "matmul: no activation has the number 6"),
    ("matmul", {"activation": -1}, ValueError, "matmul: no activation has the number -1"),
    ("matmul", {"residual": zeros(3, 2)}, ValueError, ROWS),
    ("matmul", {"residual": zeros(8)}, ValueError, ROWS),
    ("matmul", {"residual": zeros(4, 4)[:, ::2]}, ValueError, ROWS),
    ("matmul", {"a": zeros(4, 2)}, ValueError, "matmul: shapes of a, b and out differ"),
    ("matmul", {"out": zeros(3, 2)}, ValueError, "matmul: shapes of a, b and out differ"),
    ("matmul", {"out": zeros(4, 3)}, ValueError, "matmul: shapes of a, b and out differ"),
    ("matmul", {"out": zeros(8)}, ValueError, "matmul: shapes of a, b and out differ"),
    ("matmul", {"a": zeros(4, 3, dtype=U16)}, TypeError, "incompatible function arguments"),
    ("matmul", {**SUMS, "activation": 1}, ValueError, INTEGERS),
    ("matmul", {**SUMS, "activation": 0, "scale": 2.0}, ValueError, INTEGERS),
    ("matmul", {**SUMS, "bias": zeros(2, dtype=I32)}, ValueError, INTEGERS),
    ("matmul", {**SUMS, "residual": zeros(4, 2, dtype=I32)}, ValueError, INTEGERS),
    ("matmul", {**SUMS, "b": zeros(3, 2, dtype=U8)}, TypeError, "incompatible function arguments"),
    ("tile_product", {"a": zeros(24, dtype=U8)}, ValueError, "tile_product: want matrices"),
    ("tile_product", {"product": -1}, ValueError, "tile_product: no product has the number -1"),
    ("tile_product", {"product": 4}, ValueError, "tile_product: no product has the number 4"),
    ("tile_product", {"a": zeros(3, 7, dtype=U8)}, ValueError, TILE),
    ("tile_product", {"a": zeros(0, 8, dtype=U8), "c": zeros(0, 20, dtype=U8)}, ValueError, TILE),
    ("tile_product", {"a": zeros(17, 8, dtype=U8), "c": zeros(17, 20, dtype=U8)}, ValueError, TILE),
    ("tile_product", {"b": zeros(2, 68, dtype=U8), "c": zeros(3, 68, dtype=U8)}, ValueError, TILE),
    ("tile_product", {"b": zeros(2, 18, dtype=U8), "c": zeros(3, 18, dtype=U8)}, ValueError, TILE),
    ("tile_product", {"c": zeros(2, 20, dtype=U8)}, ValueError, TILE),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
def test_refused(case):
    refused(native(case[0]), GOOD[case[0]], case)


@pytest.mark.parametrize("rows", [2**58, 2**59, 2**60])
def test_memory_that_no_machine_has(rows):
    """A broadcast array has any shape; a panel of 8 or more columns takes 2**63 bytes or more."""
    with pytest.raises(MemoryError):
        native("pack")(np.broadcast_to(np.float32(0), (rows, 1)))


def test_packed_for_another_dtype():
    good = {**GOOD["matmul"], "b": native("pack")(zeros(3, 2))}
    wrong = native("pack")(zeros(3, 2, dtype=U16))
    message = "matmul: b was packed for another level or dtype"
    refused(native("matmul"), good, ("matmul", {"b": wrong}, ValueError, message))
    bytes_ = zeros(3, 2, dtype=I8)
    good = {**GOOD["matmul_bytes"], "b": native("pack")(bytes_, unsigned_left=True)}
    for b in (wrong, native("pack")(bytes_)):
        refused(native("matmul_bytes"), good, ("matmul_bytes", {"b": b}, ValueError, message))
