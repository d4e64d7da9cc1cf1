"""What src/bind_embedding.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

I32, I64 = np.int32, np.int64
GOOD = {
    "table": zeros(3, 4), "bfloat16": False, "rows": np.array([0, 2], I32), "weights": None,
    "offsets": np.array([0, 1, 2]), "normalize": False, "out": zeros(2, 4),
}  # fmt: skip
SHAPES = "embedding_bag: shapes differ"
TABLE = "embedding_bag: want rows of the table that are contiguous"
RISE = "embedding_bag: offsets must rise from 0 to the number of ids"
CASES = [
    ("table", {"table": zeros(4)}, ValueError, SHAPES),
    ("rows", {"rows": zeros(2, 1, dtype=I32)}, ValueError, SHAPES),
    ("offsets", {"offsets": np.zeros(0, I64)}, ValueError, SHAPES),
    ("out bags", {"out": zeros(3, 4)}, ValueError, SHAPES),
    ("out dim", {"out": zeros(2, 5)}, ValueError, SHAPES),
    ("weights", {"weights": zeros(3)}, ValueError, SHAPES),
    ("columns", {"table": zeros(3, 8)[:, ::2]}, ValueError, TABLE),
    ("fall", {"offsets": np.array([0, 2, 1])}, ValueError, RISE),
    ("begin", {"offsets": np.array([-1, 1, 2])}, ValueError, RISE),
    ("end", {"offsets": np.array([0, 1, 3])}, ValueError, RISE),
    ("high", {"rows": np.array([0, 3], I32)}, IndexError, "embedding_bag: a row is out of range"),
    ("low", {"rows": np.array([-1, 0], I32)}, IndexError, "embedding_bag: a row is out of range"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_refused(case):
    refused(native("embedding_bag"), GOOD, case)
