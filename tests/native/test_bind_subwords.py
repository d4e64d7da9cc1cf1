"""What src/bind_subwords.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

I32, I64 = np.int32, np.int64
IDS = {"text": b"catdog", "ends": np.array([3, 6]), "min_n": 3, "max_n": 6, "bucket": 100}
RISE = "subword_ids: ends must rise within the text"
BUCKET = "subword_ids: bucket must be from 0 to 2**31 - 1, got "


@pytest.mark.parametrize(
    "case",
    [
        (
            "axes", {"ends": zeros(2, 1, dtype=I64)}, ValueError,
            "subword_ids: ends must have one dimension",
        ),
        ("falls", {"ends": np.array([6, 3])}, ValueError, RISE),
        ("behind", {"ends": np.array([3, 7])}, ValueError, RISE),
        ("negative", {"ends": np.array([-1, 6])}, ValueError, RISE),
        ("bucket", {"bucket": -1}, ValueError, BUCKET),
        ("many", {"bucket": 2**31}, ValueError, BUCKET),
    ],
    ids=lambda case: case[0],
)  # fmt: skip
def test_subword_ids(case):
    refused(native("subword_ids"), IDS, case)


MEANS = {
    "rows": zeros(2, 4), "ngrams": zeros(3, 4), "offsets": np.array([0, 1, 2]),
    "ids": np.array([0, 2], I32), "out": zeros(2, 4),
}  # fmt: skip
SHAPES = "subword_means: shapes do not fit together"
MATRIX = " must be a float32 matrix with contiguous rows of "


@pytest.mark.parametrize(
    "case",
    [
        ("out", {"out": zeros(3, 4)}, ValueError, SHAPES),
        ("rows", {"rows": zeros(1, 4)}, ValueError, SHAPES),
        ("offsets", {"offsets": np.array([0, 2])}, ValueError, SHAPES),
        ("ngrams", {"ngrams": zeros(3, 5)}, ValueError, f"ngrams{MATRIX}4"),
        ("columns", {"ngrams": zeros(3, 8)[:, ::2]}, ValueError, "ngrams: want 2-D rows"),
        ("backwards", {"ngrams": zeros(3, 4)[::-1]}, ValueError, "ngrams must not be reversed"),
        ("dtype", {"rows": zeros(2, 4, dtype=np.float64)}, ValueError, f"rows{MATRIX}4"),
        (
            "begin", {"offsets": np.array([1, 1, 2])}, ValueError,
            "subword_means: offsets must run from 0 to the number of ids",
        ),
        (
            "end", {"offsets": np.array([0, 1, 3])}, ValueError,
            "subword_means: offsets must run from 0 to the number of ids",
        ),
        (
            "falls", {"offsets": np.array([0, 3, 2])}, ValueError,
            "subword_means: offsets must not fall",
        ),
        (
            "high", {"ids": np.array([0, 3], I32)}, IndexError,
            "subword_means: an id is out of range",
        ),
        (
            "low", {"ids": np.array([-1, 0], I32)}, IndexError,
            "subword_means: an id is out of range",
        ),
    ],
    ids=lambda case: case[0],
)  # fmt: skip
def test_subword_means(case):
    refused(native("subword_means"), MEANS, case)
