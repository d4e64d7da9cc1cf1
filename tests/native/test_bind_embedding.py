"""What src/bind_embedding.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

I32, I64, U32 = np.int32, np.int64, np.uint32
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


WORDPIECE = {
    "tokens": ["a", "b"], "ids": np.array([0, 1], I32), "prefix": "##", "unknown": 0,
    "longest_word": 100, "reserved": [],
}  # fmt: skip
WANT = "WordPiece: want an id >= 0 for each token"


@pytest.mark.parametrize(
    "case",
    [
        ("few", {"ids": np.array([0], I32)}, ValueError, WANT),
        ("axes", {"ids": zeros(2, 1, dtype=I32)}, ValueError, WANT),
        ("negative", {"ids": np.array([0, -1], I32)}, ValueError, WANT),
        ("unknown", {"unknown": -1}, ValueError, WANT),
        ("longest", {"longest_word": 1 << 17}, ValueError, WANT),
        ("empty", {"reserved": [("", 0)]}, ValueError, "WordPiece: a reserved text is empty"),
    ],
    ids=lambda case: case[0],
)
def test_wordpiece(case):
    refused(native("WordPiece"), WORDPIECE, case)


@pytest.mark.parametrize(
    "case",
    [
        (
            "page", {"page": 0x1100}, ValueError,
            "WordPiece.set_page: want 256 entries of a page below 0x1100",
        ),
        (
            "entries", {"entries": zeros(255, dtype=U32)}, ValueError,
            "WordPiece.set_page: want 256 entries of a page below 0x1100",
        ),
        (
            # one kind of entry refers to further characters: try all kinds
            "more", {"entries": np.arange(256, dtype=U32) << 24 | 0xFFFFFF}, ValueError,
            "WordPiece.set_page: an entry points behind the end",
        ),
    ],
    ids=lambda case: case[0],
)  # fmt: skip
def test_wordpiece_set_page(case):
    pieces = native("WordPiece")(**WORDPIECE)
    good = {"page": 0, "entries": zeros(256, dtype=U32), "more": []}
    refused(pieces.set_page, good, case)


def test_wordpiece_encode():
    pieces = native("WordPiece")(**WORDPIECE)
    good = {"texts": ("a",), "most_characters": 10, "most_ids": 10, "places": True}
    case = ("encode", {"texts": (b"a",)}, TypeError, "WordPiece.encode: want strings")
    refused(pieces.encode, good, case)
