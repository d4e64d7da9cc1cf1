"""What src/bind_transformer_kernels.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

U8, I8, I32, U16, F64 = np.uint8, np.int8, np.int32, np.uint16, np.float64
ROWS = ": want 2-D rows, contiguous in the last axis"
GOOD = {
    "layer_norm": {
        "x": zeros(2, 3), "gain": zeros(3), "bias": zeros(3), "eps": 1.0, "out": zeros(2, 3),
    },
    "rms_norm": {"x": zeros(2, 3), "gain": zeros(3), "eps": 1.0, "out": zeros(2, 3)},
    "rotary": {
        "x": zeros(2, 3, 8), "cosines": zeros(5, 2), "sines": zeros(5, 2),
        "positions": np.array([0, 4], I32), "interleaved": False,
    },
    "quantize_rows": {
        "x": zeros(2, 3), "codes": zeros(2, 3, dtype=U8), "scales": zeros(2), "offsets": zeros(2),
    },
    "quantize_weights": {
        "x": zeros(2, 3), "codes": zeros(2, 3, dtype=I8), "scales": zeros(2), "sums": zeros(2),
    },
    "gated": {"gate": zeros(2, 3), "up": zeros(2, 3), "activation": 4, "out": zeros(2, 3)},
    "to_bfloat16": {"x": zeros(2, 3), "out": zeros(2, 3, dtype=U16)},
}  # fmt: skip
TABLES = "rotary: shapes of x, cosines and sines do not fit together"
EACH = "quantize: want one scale and one offset or sum for each row"
CASES = [
    *(
        case
        for name in ("layer_norm", "rms_norm")
        for case in (
            (name, {"x": zeros(3)}, ValueError, f"{name}: x{ROWS}"),
            (name, {"x": zeros(2, 6)[:, ::2]}, ValueError, f"{name}: x{ROWS}"),
            (name, {"out": zeros(2, 6)[:, ::2]}, ValueError, f"{name}: out{ROWS}"),
            (name, {"x": zeros(3, 3)}, ValueError, f"{name}: shapes of x and out differ"),
            (name, {"out": zeros(2, 4)}, ValueError, f"{name}: shapes of x and out differ"),
            (name, {"gain": zeros(2)}, ValueError, f"{name}: gain: want shape (n,)"),
            (name, {"gain": zeros(3, 1)}, ValueError, f"{name}: gain: want shape (n,)"),
            (name, {"gain": zeros(3, dtype=F64)}, TypeError, "incompatible function arguments"),
        )
    ),
    ("layer_norm", {"x": zeros(3, 3)}, ValueError, "layer_norm: shapes of x and out differ"),
    ("layer_norm", {"bias": zeros(2)}, ValueError, "layer_norm: bias: want shape (n,)"),
    ("layer_norm", {"gain": zeros(2)}, ValueError, "layer_norm: gain: want shape (n,)"),
    ("rms_norm", {"x": zeros(3, 3)}, ValueError, "rms_norm: shapes of x and out differ"),
    ("rms_norm", {"gain": zeros(2)}, ValueError, "rms_norm: gain: want shape (n,)"),
    ("rotary", {"x": zeros(2, 24)}, ValueError, TABLES),
    ("rotary", {"x": zeros(2, 3, 3)}, ValueError, TABLES),
    ("rotary", {"cosines": zeros(10)}, ValueError, TABLES),
    ("rotary", {"sines": zeros(10)}, ValueError, TABLES),
    ("rotary", {"sines": zeros(4, 2)}, ValueError, TABLES),
    ("rotary", {"sines": zeros(5, 1)}, ValueError, TABLES),
    ("rotary", {"x": zeros(2, 3, 16)[..., ::2]}, TypeError, "incompatible function arguments"),
    (
        "rotary", {"positions": np.zeros(3, I32)}, ValueError,
        "rotary: positions: want one for each row",
    ),
    (
        "rotary", {"positions": np.zeros((2, 1), I32)}, ValueError,
        "rotary: positions: want one for each row",
    ),
    (
        "rotary", {"positions": np.array([0, 5], I32)}, IndexError,
        "rotary: a position is out of range",
    ),
    (
        "rotary", {"positions": np.array([-1, 0], I32)}, IndexError,
        "rotary: a position is out of range",
    ),
    ("quantize_rows", {"x": zeros(6)}, ValueError, f"quantize: x{ROWS}"),
    ("quantize_rows", {"x": zeros(3, 3)}, ValueError, "quantize: codes: want the shape of x"),
    ("quantize_rows", {"codes": zeros(6, dtype=U8)}, ValueError, "quantize: codes: want the shape"),
    ("quantize_rows", {"codes": zeros(2, 2, dtype=U8)}, ValueError, "quantize: codes: want the"),
    ("quantize_rows", {"codes": zeros(2, 3, dtype=I8)}, TypeError, "incompatible function"),
    ("quantize_rows", {"scales": zeros(1)}, ValueError, EACH),
    ("quantize_rows", {"offsets": zeros(2, 1)}, ValueError, EACH),
    ("quantize_weights", {"x": zeros(2, 4)}, ValueError, "quantize: codes: want the shape of x"),
    ("quantize_weights", {"sums": zeros(3)}, ValueError, EACH),
    ("gated", {"gate": zeros(6)}, ValueError, f"gated: gate{ROWS}"),
    ("gated", {"up": zeros(2, 6)[:, ::2]}, ValueError, f"gated: up{ROWS}"),
    ("gated", {"out": zeros(2, 6)[:, ::2]}, ValueError, f"gated: out{ROWS}"),
    ("gated", {"gate": zeros(3, 3)}, ValueError, "gated: shapes of gate, up and out differ"),
    ("gated", {"up": zeros(2, 4)}, ValueError, "gated: shapes of gate, up and out differ"),
    ("gated", {"out": zeros(2, 4)}, ValueError, "gated: shapes of gate, up and out differ"),
    ("gated", {"up": zeros(2, 4)[:, :3]}, ValueError, "gated: strides of gate and up differ"),
    ("gated", {"activation": 5}, ValueError, "gated: no activation has the number 5"),
    ("gated", {"activation": -1}, ValueError, "gated: no activation has the number -1"),
    ("to_bfloat16", {"x": zeros(6)}, ValueError, f"to_bfloat16: x{ROWS}"),
    ("to_bfloat16", {"out": zeros(6, dtype=U16)}, ValueError, f"to_bfloat16: out{ROWS}"),
    ("to_bfloat16", {"x": zeros(2, 2)}, ValueError, "to_bfloat16: shapes of x and out differ"),
    ("to_bfloat16", {"x": zeros(3, 3)}, ValueError, "to_bfloat16: shapes of x and out differ"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
def test_refused(case):
    refused(native(case[0]), GOOD[case[0]], case)
