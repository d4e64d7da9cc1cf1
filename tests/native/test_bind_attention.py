"""What src/bind_attention.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

GOOD = {
    "query": zeros(2, 3, 4), "key": zeros(2, 5, 4), "value": zeros(2, 5, 6), "mask": None,
    "causal": False, "scale": 1.0, "out": zeros(2, 3, 6),
}  # fmt: skip
CASES = [
    ("flat query", {"query": zeros(4)}, ValueError, "attention: want at least 2 axes"),
    ("flat key", {"key": zeros(4)}, ValueError, "attention: want at least 2 axes"),
    ("scale", {"scale": -1.0}, ValueError, "attention: scale must not be negative"),
    ("NaN", {"scale": float("nan")}, ValueError, "attention: scale must not be negative"),
    ("key depth", {"key": zeros(2, 5, 3)}, ValueError, "attention: key: wrong shape"),
    ("key heads", {"key": zeros(3, 5, 4)}, ValueError, "attention: key: wrong shape"),
    ("key axes", {"key": zeros(5, 4)}, ValueError, "attention: key: wrong shape"),
    ("value rows", {"value": zeros(2, 4, 6)}, ValueError, "attention: value: wrong shape"),
    ("out", {"out": zeros(2, 3, 5)}, ValueError, "attention: out: wrong shape"),
    ("out heads", {"out": zeros(1, 3, 6)}, ValueError, "attention: out: wrong shape"),
    (
        "rows", {"query": zeros(2, 3, 8)[:, :, ::2]}, ValueError,
        "attention: query: want contiguous rows",
    ),
    (
        "stride", {"query": np.lib.stride_tricks.as_strided(zeros(99), (2, 3, 4), (66, 18, 4))},
        ValueError, "attention: a stride is no multiple",
    ),
    ("mask", {"mask": zeros(2, 3, 4, dtype=bool)}, ValueError, "attention: mask: wrong shape"),
    (
        "mask dtype", {"mask": zeros(2, 3, 5, dtype=np.int32)}, TypeError,
        "attention: mask must be bool or float32",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_refused(case):
    refused(native("attention"), GOOD, case)
