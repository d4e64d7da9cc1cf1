"""What src/bind_kernels.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

I64 = np.int64
GOOD = {
    "dot": {"a": zeros(2, 3), "b": zeros(2, 3), "out": zeros(2)},
    "row_norms": {"keys": zeros(4, 3), "scales": None, "norms": zeros(4)},
    "cosine_topk": {
        "queries": zeros(2, 3), "keys": zeros(4, 3), "scales": None, "norms": None, "threads": 1,
        "scores": zeros(2, 4), "indices": zeros(2, 4, dtype=I64),
    },
    "cosine_scores": {
        "queries": zeros(2, 3), "keys": zeros(4, 3), "scales": None, "norms": None, "threads": 1,
        "scores": zeros(2, 4),
    },
    "softmax": {"x": zeros(2, 3, 1), "out": zeros(2, 3, 1)},
}  # fmt: skip
GOOD["log_softmax"] = GOOD["softmax"]

ROWS = ": want 2-D rows, contiguous in the last axis"
SCALES = "scales: want one for each row of int8, none for other rows"
COSINE = "cosine: shapes of queries, keys, norms and results differ"
SHAPES = "softmax: shapes differ, or a stride is not a multiple of the item"
LINES = "softmax: want out contiguous along n, or x and out along columns"

TORN = np.lib.stride_tricks.as_strided(zeros(64), (2, 3), (14, 4))  # rows at no whole element
CASES = [
    ("dot", {"a": zeros(3)}, ValueError, f"dot: a{ROWS}"),
    ("dot", {"b": zeros(3, 2).T}, ValueError, f"dot: b{ROWS}"),
    ("dot", {"a": TORN}, ValueError, f"dot: a{ROWS}"),
    ("dot", {"a": zeros(2, 4)}, ValueError, "dot: shapes of a, b and out differ"),
    ("dot", {"b": zeros(3, 3)}, ValueError, "dot: shapes of a, b and out differ"),
    ("dot", {"out": zeros(1)}, ValueError, "dot: shapes of a, b and out differ"),
    ("dot", {"out": zeros(2, 1)}, ValueError, "dot: shapes of a, b and out differ"),
    ("dot", {"out": zeros(2, dtype=np.float64)}, TypeError, "incompatible function arguments"),
    ("dot", {"out": zeros(4)[::2]}, TypeError, "incompatible function arguments"),
    ("row_norms", {"keys": zeros(4)}, ValueError, f"keys{ROWS}"),
    ("row_norms", {"norms": zeros(3)}, ValueError, "row_norms: norms must have one entry a row"),
    ("row_norms", {"scales": zeros(4)}, ValueError, SCALES),
    ("row_norms", {"keys": zeros(4, 3, dtype=np.int8)}, ValueError, SCALES),
    (
        "row_norms", {"keys": zeros(4, 3, dtype=np.int8), "scales": zeros(3)}, ValueError, SCALES,
    ),
    ("cosine_topk", {"queries": zeros(3)}, ValueError, f"queries{ROWS}"),
    ("cosine_topk", {"queries": zeros(2, 2)}, ValueError, COSINE),
    ("cosine_topk", {"norms": zeros(3)}, ValueError, COSINE),
    ("cosine_topk", {"scores": zeros(3, 4)}, ValueError, COSINE),
    (
        "cosine_topk", {"indices": zeros(2, 3, dtype=I64)}, ValueError,
        "cosine_topk: want as many indices as scores, no more than rows",
    ),
    (
        "cosine_topk", {"scores": zeros(2, 5), "indices": zeros(2, 5, dtype=I64)}, ValueError,
        "cosine_topk: want as many indices as scores, no more than rows",
    ),
    ("cosine_scores", {"keys": zeros(4, 2)}, ValueError, COSINE),
    (
        "cosine_scores", {"scores": zeros(2, 3)}, ValueError,
        "cosine_scores: scores must have a row a query, a column a key",
    ),
    ("softmax", {"x": zeros(2, 3)}, ValueError, "softmax: want 3-D x and out"),
    ("softmax", {"out": zeros(2, 4, 1)}, ValueError, SHAPES),
    ("softmax", {"x": np.lib.stride_tricks.as_strided(zeros(64), (2, 3, 1), (14, 4, 4))},
     ValueError, SHAPES),
    ("softmax", {"out": zeros(2, 6, 1)[:, ::2]}, ValueError, LINES),
    ("log_softmax", {"x": zeros(2, 3, 4)[:, :, ::2], "out": zeros(2, 3, 2)}, ValueError, LINES),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
def test_refused(case):
    refused(native(case[0]), GOOD[case[0]], case)
