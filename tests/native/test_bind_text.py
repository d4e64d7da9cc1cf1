"""What src/bind_text.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

I32, I64, U32 = np.int32, np.int64, np.uint32
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


LAYOUT = {
    "offsets": np.array([0, 2, 5]), "parts": [-1, 0, -1], "room": 2, "truncation": "longest_first",
    "left": False, "stride": None,
}  # fmt: skip
RISE = "Layout: offsets must rise from 0"
PARTS = "Layout: parts must hold 0, or 0 and 1, once"
LAYOUTS = [
    ("no offsets", {"offsets": np.zeros(0, I64)}, ValueError, RISE),
    ("axes", {"offsets": zeros(3, 1, dtype=I64)}, ValueError, RISE),
    ("begin", {"offsets": np.array([1, 2, 5])}, ValueError, RISE),
    ("fall", {"offsets": np.array([0, 2, 1])}, ValueError, RISE),
    ("no text", {"parts": [-1]}, ValueError, PARTS),
    ("twice", {"parts": [0, 0]}, ValueError, PARTS),
    ("second alone", {"parts": [1]}, ValueError, PARTS),
    ("third", {"parts": [0, 1, 2]}, ValueError, PARTS),
    (
        "odd", {"offsets": np.array([0, 2, 5, 6]), "parts": [0, 1]}, ValueError,
        "Layout: want two texts a sample",
    ),
    ("room", {"room": 1 << 63}, ValueError, "Layout: room is too large"),
    (
        "truncation", {"truncation": "all"}, ValueError,
        "Layout: truncation must be longest_first, only_first or only_second",
    ),
    ("stride", {"stride": 2}, ValueError, "stride must be below the 2 tokens"),
    ("no second", {"truncation": "only_second"}, ValueError, "there is no second text"),
    (
        "no room", {"parts": [0, 1], "truncation": "only_first"}, ValueError,
        "the second text alone takes all of the 2 tokens",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS, ids=lambda case: case[0])
def test_layout(case):
    refused(native("Layout"), LAYOUT, case)


FILL = {
    "values": np.array([5, 6, 7, 8, 9], I32), "around": [1, 0, 2], "width": 4, "left": True,
    "padding": -1,
}  # fmt: skip
VALUES = "Layout.fill: want a value for each id"
FILLS = [
    ("few", {"values": zeros(4, dtype=I32)}, ValueError, VALUES),
    ("axes", {"values": zeros(5, 1, dtype=I32)}, ValueError, VALUES),
    ("around", {"around": [1, 2]}, ValueError, "Layout.fill: want a value a part"),
    ("width", {"width": 3}, ValueError, "Layout.fill: a row is longer than the width"),
]


@pytest.mark.parametrize("case", FILLS, ids=lambda case: case[0])
def test_layout_fill(case):
    layout = native("Layout")(**LAYOUT)
    refused(layout.fill, FILL, case)
    assert layout.fill(**FILL).tolist() == [[1, 5, 6, 2], [1, 7, 8, 2]]
    assert layout.fill(**FILL | {"width": None}).tolist() == [1, 5, 6, 2, 1, 7, 8, 2]
    assert layout.fill(**FILL | {"width": 5, "values": None}).tolist() == [[-1, 1, 0, 0, 2]] * 2
    assert layout.samples.tolist() == [0, 1]
    assert layout.offsets.tolist() == [0, 4, 8]
    assert (layout.truncated, layout.longest) == (1, 4)


@pytest.mark.parametrize(
    "case",
    [
        ("few", {"spans": zeros(4, 2, dtype=I64)}, ValueError, "want a span for each id"),
        ("axes", {"spans": zeros(5, dtype=I64)}, ValueError, "want a span for each id"),
        (
            "columns", {"spans": zeros(5, 3, dtype=I64)}, ValueError,
            "Layout.fill_spans: want a span for each id",
        ),
        ("width", {"width": 1}, ValueError, "Layout.fill: a row is longer than the width"),
    ],
    ids=lambda case: case[0],
)  # fmt: skip
def test_layout_fill_spans(case):
    layout = native("Layout")(**LAYOUT)
    good = {"spans": np.arange(10).reshape(5, 2), "width": None, "left": False}
    refused(layout.fill_spans, good, case)
    found = layout.fill_spans(**good | {"width": 5})
    assert found.tolist()[1] == [[0, 0], [4, 5], [6, 7], [0, 0], [0, 0]]


COUNTS = {"analyzer": "word", "shortest": 2, "least": 1, "most": 1, "stop_words": []}


@pytest.mark.parametrize(
    "case",
    [
        ("none", {"least": 0}, ValueError, "TermCounts: want 1 <= least <= most"),
        ("fewer", {"least": 2}, ValueError, "TermCounts: want 1 <= least <= most"),
    ],
    ids=lambda case: case[0],
)
def test_term_counts(case):
    refused(native("TermCounts"), COUNTS, case)


@pytest.mark.parametrize(
    "case",
    [
        (
            "page", {"page": 0x1100}, ValueError,
            "TermCounts.set_page: want 256 entries of a page below 0x1100",
        ),
        (
            "entries", {"entries": zeros(255, dtype=U32)}, ValueError,
            "TermCounts.set_page: want 256 entries of a page below 0x1100",
        ),
        (
            "more", {"entries": np.full(256, 1 << 31 | 1, U32)}, ValueError,
            "TermCounts.set_page: an entry points behind the end",
        ),
    ],
    ids=lambda case: case[0],
)  # fmt: skip
def test_term_counts_set_page(case):
    counts = native("TermCounts")(**COUNTS)
    good = {"page": 0, "entries": np.arange(256, dtype=U32) | 1 << 24, "more": []}
    refused(counts.set_page, good, case)


def test_term_counts_know():
    counts = native("TermCounts")(**COUNTS)
    refused(
        counts.know,
        {"terms": ["ab"]},
        ("bytes", {"terms": [b"ab"]}, TypeError, "TermCounts.know: want strings"),
    )
    counts.set_page(0, np.arange(256, dtype=U32) | 1 << 24, [])
    counts.set_page(0xD8, np.arange(0xD800, 0xD900, dtype=U32) | 1 << 24, [])
    known = ["é" * 20, "", "abcdefgh", "abcdefghi", "\ud800a"]
    counts = native("TermCounts")(**COUNTS)
    counts.know(known)
    assert counts.add(("abcdefghi",)) == [0]
    counts.set_page(0, np.arange(256, dtype=U32) | 1 << 24, [])
    counts.set_page(0xD8, np.arange(0xD800, 0xD900, dtype=U32) | 1 << 24, [])
    assert counts.add(("abcdefghi", "abcdefghij", "\ud800a", "é" * 20, "abcdefgh")) == []
    assert [part.tolist() for part in counts.rows()] == [[0, 1, 1, 2, 3, 4], [3, 4, 0, 2], [1] * 4]
    assert counts.terms() == known


def test_term_counts_add():
    counts = native("TermCounts")(**COUNTS)
    assert counts.add(("ab", "é\u0416")) == [0, 4]
    letters = np.arange(256, dtype=U32) | 1 << 24
    counts.set_page(0, letters, [])
    case = ("add", {"texts": ("a", b"a")}, TypeError, "TermCounts.add: want strings")
    refused(counts.add, {"texts": ("ab", "a", "ab")}, case)
    assert counts.terms() == ["ab"]
    assert counts.order().tolist() == [0]
    assert [part.tolist() for part in counts.rows()] == [[0, 1, 1, 2], [0, 0], [1, 1]]
    assert [part.tolist() for part in counts.rows()] == [[0], [], []]  # they have left


PLACE = {
    "offsets": np.array([0, 2, 3]), "ids": np.array([0, 1, 2], I32),
    "counts": np.array([5, 6, 7], I32), "columns": np.array([1, 0, -1], I32),
    "by_columns": True,
}  # fmt: skip
TERMS_RISE = "place_terms: offsets must rise from 0"
EACH = "place_terms: want an id and a count for each place"


@pytest.mark.parametrize(
    "case",
    [
        ("no offsets", {"offsets": np.zeros(0, I64)}, ValueError, TERMS_RISE),
        ("axes", {"offsets": zeros(3, 1, dtype=I64)}, ValueError, TERMS_RISE),
        ("begin", {"offsets": np.array([1, 2, 3])}, ValueError, TERMS_RISE),
        ("fall", {"offsets": np.array([0, 4, 3])}, ValueError, TERMS_RISE),
        ("far", {"offsets": np.array([0, 2, 4])}, ValueError, EACH),
        ("few", {"counts": zeros(2, dtype=I32)}, ValueError, EACH),
        ("rows of ids", {"ids": zeros(3, 1, dtype=I32)}, ValueError, EACH),
        ("rows of columns", {"columns": zeros(3, 1, dtype=I32)}, ValueError, EACH),
        ("below", {"ids": np.array([0, 1, -1], I32)}, IndexError, "place_terms: an id has no"),
        (
            "above",
            {"ids": np.array([0, 1, 3], I32)},
            IndexError,
            "place_terms: an id has no column",
        ),
    ],
    ids=lambda case: case[0],
)
def test_place_terms(case):
    refused(native("place_terms"), PLACE, case)
    found = native("place_terms")(**PLACE)
    assert [part.tolist() for part in found] == [[0, 2, 2], [0, 1], [6, 5]]
    found = native("place_terms")(**PLACE | {"by_columns": False})
    assert [part.tolist() for part in found] == [[0, 2, 2], [1, 0], [5, 6]]


WEIGH = {
    "offsets": np.array([0, 2, 2, 3]), "ids": np.array([0, 1, 1], I32),
    "values": np.array([3.0, 2.0, 5.0]), "idf": np.array([1.0, 2.0]), "norm": "l2",
}  # fmt: skip
WEIGHTS_RISE = "weigh_terms: offsets must rise from 0"
EACH_VALUE = "weigh_terms: want an id and a value for each place"
NO_WEIGHT = "weigh_terms: an id has no weight"


@pytest.mark.parametrize(
    "case",
    [
        ("no offsets", {"offsets": np.zeros(0, I64)}, ValueError, WEIGHTS_RISE),
        ("axes", {"offsets": zeros(3, 1, dtype=I64)}, ValueError, WEIGHTS_RISE),
        ("begin", {"offsets": np.array([1, 2, 3])}, ValueError, WEIGHTS_RISE),
        ("fall", {"offsets": np.array([0, 4, 3])}, ValueError, WEIGHTS_RISE),
        ("far", {"offsets": np.array([0, 2, 4])}, ValueError, EACH_VALUE),
        ("few", {"values": np.zeros(2)}, ValueError, EACH_VALUE),
        ("rows of ids", {"ids": zeros(3, 1, dtype=I32)}, ValueError, EACH_VALUE),
        ("rows of values", {"values": np.zeros((3, 1))}, ValueError, EACH_VALUE),
        ("below", {"ids": np.array([0, 1, -1], I32)}, IndexError, NO_WEIGHT),
        ("above", {"ids": np.array([0, 1, 2], I32)}, IndexError, NO_WEIGHT),
        ("rows of idf", {"idf": np.ones((2, 1))}, IndexError, NO_WEIGHT),
        ("whole numbers", {"values": np.array([3, 2, 5])}, TypeError, "incompatible"),
    ],
    ids=lambda case: case[0],
)
def test_weigh_terms(case):
    refused(native("weigh_terms"), WEIGH, case)
    for dtype in (np.float32, np.float64):
        values = np.array([3, 2, 5], dtype)
        assert native("weigh_terms")(**WEIGH | {"values": values}) is True
        np.testing.assert_array_equal(values, np.array([3 / 5, 4 / 5, 1], dtype))
        assert native("weigh_terms")(**WEIGH | {"values": values, "idf": None, "norm": None})
        np.testing.assert_array_equal(values, np.array([3 / 5, 4 / 5, 1], dtype))
        infinite = np.array([3, np.inf, 5], dtype)
        assert native("weigh_terms")(**WEIGH | {"values": infinite, "norm": "l1"}) is False
