"""What src/bind_attention.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

GOOD = {
    "query": zeros(2, 3, 4), "key": zeros(2, 5, 4), "value": zeros(2, 5, 6), "mask": None,
    "causal": False, "scale": 1.0, "out": zeros(2, 3, 6), "lse": zeros(2, 3, 1),
}  # fmt: skip
CASES = [
    ("flat query", {"query": zeros(4)}, ValueError, "attention: want at least 2 axes"),
    ("flat key", {"key": zeros(4)}, ValueError, "attention: want at least 2 axes"),
    (
        "scale", {"scale": -1.0}, ValueError,
        "attention: scale must be finite in float32 and not negative, got ",
    ),
    ("NaN", {"scale": float("nan")}, ValueError, "attention: scale must be finite in float32"),
    ("large scale", {"scale": 1e39}, ValueError, "attention: scale must be finite in float32"),
    ("lse", {"lse": zeros(2, 3, 2)}, ValueError, "attention: lse: wrong shape"),
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
        ValueError, "attention: a stride is not a multiple",
    ),
    ("mask", {"mask": zeros(2, 3, 4, dtype=bool)}, ValueError, "attention: mask: wrong shape"),
    (
        "mask dtype", {"mask": zeros(2, 3, 5, dtype=np.int32)}, TypeError,
        "attention: mask must be bool or float32",
    ),
    (
        "mask list", {"mask": zeros(2, 3, 5, dtype=bool).tolist()}, TypeError,
        "attention: mask must be bool or float32",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_refused(case):
    refused(native("attention"), GOOD, case)


@pytest.mark.parametrize("keys", [2**60, 2**61 - 1])
def test_memory_that_no_machine_has(keys):
    """A broadcast array has any shape; what is packed of this one takes 2**63 bytes or more."""
    shared = np.broadcast_to(np.float32(0), (1, keys, 1))
    arguments = {"query": zeros(1, 1, 1), "key": shared, "value": shared, "out": zeros(1, 1, 1)}
    with pytest.raises(MemoryError):
        native("attention")(**{**GOOD, **arguments, "lse": None})


PACKED = {
    "query": zeros(2, 3, 4), "head": np.zeros((2, 1, 1), np.int64), "mask": None, "causal": False,
    "scale": 1.0, "out": zeros(2, 3, 6), "lse": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": np.full((2, 1, 1), 3, np.int64)}, "attention: head: out of range"),
        ({"head": np.full((2, 1, 1), -1, np.int64)}, "attention: head: out of range"),
        ({"head": np.zeros((1, 1, 1), np.int64)}, "attention: head: wrong shape"),
        ({"query": zeros(2, 3, 5)}, "attention: packed for another level, dtype or depth"),
    ],
)
def test_packed_refused(change, message):
    packed = native("keys_values_f32")(3, 4, 6)
    packed.append(zeros(3, 5, 4), zeros(3, 5, 6))
    refused(
        native("attention"), {**PACKED, "packed": packed}, ("packed", change, ValueError, message)
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"key": zeros(4)}, ValueError, "append: want at least 2 axes"),
        (
            {"key": zeros(2, 5, 4), "value": zeros(2, 5, 6)}, ValueError,
            "append: wrong number of heads",
        ),
        ({"key": zeros(3, 5, 3)}, ValueError, "attention: key: wrong shape"),
        ({"value": zeros(3, 4, 6)}, ValueError, "attention: value: wrong shape"),
        (
            {"key": zeros(3, 5, 4, dtype=np.uint16), "value": zeros(3, 5, 6, dtype=np.uint16)},
            TypeError, "append: another dtype",
        ),
    ],
)  # fmt: skip
def test_append_refused(change, error, message):
    packed = native("keys_values_f32")(3, 4, 6)
    good = {"key": zeros(3, 5, 4), "value": zeros(3, 5, 6)}
    refused(packed.append, good, ("append", change, error, message))
    assert packed.keys == 5
