"""What src/bind_search.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

I32, I64, U8 = np.int32, np.int64, np.uint8
D, ROWS, BLOCK = 5, 64, 32
UNITS = -(-D // 4)
SEGMENT = {"vectors": zeros(ROWS, D), "rows": ROWS, "first_slot": 0}
CODED = {
    **SEGMENT, "codes": zeros(2, UNITS, BLOCK, 4, dtype=U8), "bounds": zeros(2, 3, BLOCK),
    "coded": ROWS, "centre": zeros(D),
}  # fmt: skip
CELLS = {**CODED, "order": np.arange(ROWS, dtype=I32), "cell_blocks": np.array([0, 1, 2])}
MATRIX = "Segment: vectors must be a C-contiguous matrix"
FIT = "Segment: rows, scales, labels or died do not fit the vectors"
CODES = "Segment: codes, bounds or centre do not fit the coded rows"
ASCEND = "Segment: cell_blocks must ascend within the blocks"


@pytest.mark.parametrize(
    ("good", "case"),
    [
        (SEGMENT, ("flat", {"vectors": zeros(D)}, ValueError, MATRIX)),
        (SEGMENT, ("columns", {"vectors": zeros(ROWS, 2 * D)[:, ::2]}, ValueError, MATRIX)),
        (
            SEGMENT, (
                "dtype", {"vectors": zeros(ROWS, D, dtype=np.float64)}, TypeError,
                "Segment: vectors must be float32, float16, uint16 (bfloat16) or int8",
            ),
        ),
        (SEGMENT, ("rows", {"rows": ROWS + 1}, ValueError, FIT)),
        (SEGMENT, ("labels", {"labels": zeros(ROWS - 1, dtype=I64)}, ValueError, FIT)),
        (SEGMENT, ("died", {"died": zeros(ROWS - 1, dtype=I64)}, ValueError, FIT)),
        (SEGMENT, ("scales", {"scales": zeros(ROWS)}, ValueError, FIT)),
        (SEGMENT, ("int8", {"vectors": zeros(ROWS, D, dtype=np.int8)}, ValueError, FIT)),
        (CODED, ("more", {"coded": ROWS + BLOCK}, ValueError, CODES)),
        (CODED, ("codes", {"codes": zeros(UNITS * BLOCK * 8 - 1, dtype=U8)}, ValueError, CODES)),
        (CODED, ("bounds", {"bounds": zeros(2 * 3 * BLOCK - 1)}, ValueError, CODES)),
        (CODED, ("centre", {"centre": zeros(D - 1)}, ValueError, CODES)),
        (CODED, ("no bounds", {"bounds": None}, ValueError, CODES)),
        (CELLS, ("no cells", {"cell_blocks": None}, ValueError, CODES)),
        (CODED, ("part", {"coded": 33}, ValueError, "Segment: blocks of codes must be whole")),
        (
            CELLS, (
                "order", {"order": zeros(ROWS - 1, dtype=I32)}, ValueError,
                "Segment: blocks of codes must be whole",
            ),
        ),
        (
            CELLS, (
                "high", {"order": np.full(ROWS, ROWS, I32)}, ValueError,
                "Segment: order names a row that is not coded",
            ),
        ),
        (
            CELLS, (
                "none", {"cell_blocks": zeros(0, dtype=I64)}, ValueError,
                "Segment: cell_blocks is empty",
            ),
        ),
        (CELLS, ("falls", {"cell_blocks": np.array([0, 2, 1])}, ValueError, ASCEND)),
        (CELLS, ("ends", {"cell_blocks": np.array([0, 1, 3])}, ValueError, ASCEND)),
        (CELLS, ("negative", {"cell_blocks": np.array([-1, 1, 2])}, ValueError, ASCEND)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_segment(good, case):
    refused(native("Segment"), good, case)


QUERIES = {
    "metric": "cosine", "queries": zeros(2, D), "version": 0, "filters": [], "filter_of": None,
    "exclusions": [], "exclusion_of": None, "threads": 1,
}  # fmt: skip
DIMENSION = "search: segments and queries differ in dimension"
FILTER = "search: a filter must be one contiguous axis"


@pytest.mark.parametrize("name", ["search", "search_range"])
@pytest.mark.parametrize(
    "case",
    [
        ("metric", {"metric": "dot"}, ValueError, "metric must be cosine, ip or l2, got dot"),
        ("queries", {"queries": zeros(D)}, ValueError, "search: queries must be a matrix"),
        ("dimension", {"queries": zeros(2, D + 1)}, ValueError, DIMENSION),
        (
            "cells", {"cells": zeros(1, 3, dtype=I32)}, ValueError,
            "search: cells must have one row a query",
        ),
        ("axes", {"filters": [zeros(8, 1, dtype=U8)]}, ValueError, FILTER),
        ("step", {"exclusions": [zeros(16, dtype=U8)[::2]]}, ValueError, FILTER),
        (
            "dtype", {"filters": [zeros(8)]}, TypeError,
            "search: a filter must be uint8 (bitmap) or int64 (slots)",
        ),
        (
            "few", {"filter_of": zeros(1, dtype=I64)}, ValueError,
            "search: filter_of must have one entry a query",
        ),
        (
            "which", {"filter_of": zeros(2, dtype=I64)}, ValueError,
            "search: filter_of has a number without a filter",
        ),
        (
            "exclusion", {"exclusion_of": zeros(2, dtype=I64)}, ValueError,
            "search: filter_of has a number without a filter",
        ),
    ],
    ids=lambda case: case[0],
)  # fmt: skip
def test_search(name, case):
    more = {"k": 3} if name == "search" else {"thresholds": zeros(2)}
    good = {**QUERIES, **more, "segments": [native("Segment")(**SEGMENT)]}
    refused(native(name), good, case)


def test_search_range():
    good = {**QUERIES, "thresholds": zeros(2), "segments": [native("Segment")(**SEGMENT)]}
    message = "search_range: thresholds must have one entry a query"
    refused(native("search_range"), good, ("few", {"thresholds": zeros(1)}, ValueError, message))


CODE_ROWS = {
    "vectors": zeros(ROWS, D), "scales": None, "metric": "cosine", "centre": zeros(D),
    "codes": CODED["codes"], "bounds": CODED["bounds"], "order": None,
}  # fmt: skip
SIZES = "code_rows: scales, centre, codes or bounds do not fit the vectors"


@pytest.mark.parametrize(
    "case",
    [
        (
            "flat", {"vectors": zeros(D)}, ValueError,
            "code_rows: vectors must be a C-contiguous matrix",
        ),
        (
            "order", {"order": zeros(33, dtype=I32)}, ValueError,
            "code_rows: order must fill whole blocks",
        ),
        (
            "high", {"order": np.full(ROWS, ROWS, I32)}, ValueError,
            "code_rows: order has a number without a row",
        ),
        ("scales", {"scales": zeros(ROWS)}, ValueError, SIZES),
        ("centre", {"centre": zeros(D + 1)}, ValueError, SIZES),
        ("codes", {"codes": zeros(1, dtype=U8)}, ValueError, SIZES),
        ("bounds", {"bounds": zeros(1)}, ValueError, SIZES),
        ("metric", {"metric": "x"}, ValueError, "metric must be cosine, ip or l2, got x"),
    ],
    ids=lambda case: case[0],
)  # fmt: skip
def test_code_rows(case):
    refused(native("code_rows"), CODE_ROWS, case)


MAY_REACH = {
    "queries": zeros(2, D), "metric": "ip", "codes": CODED["codes"], "bounds": CODED["bounds"],
    "centre": zeros(D), "rows": ROWS, "scores": zeros(2), "reach": zeros(2, ROWS, dtype=bool),
}  # fmt: skip
REACH = "may_reach: codes, bounds, centre, scores or reach do not fit"


@pytest.mark.parametrize(
    "case",
    [
        ("queries", {"queries": zeros(D)}, ValueError, "may_reach: queries must be a matrix"),
        ("codes", {"codes": zeros(1, dtype=U8)}, ValueError, REACH),
        ("bounds", {"bounds": zeros(1)}, ValueError, REACH),
        ("centre", {"centre": zeros(D + 1)}, ValueError, REACH),
        ("rows", {"rows": ROWS + 1}, ValueError, REACH),
        ("scores", {"scores": zeros(1)}, ValueError, REACH),
        ("reach", {"reach": zeros(2, ROWS - 1, dtype=bool)}, ValueError, REACH),
        ("dimension", {"queries": zeros(2, 70_000), "centre": zeros(70_000)}, ValueError, REACH),
    ],
    ids=lambda case: case[0],
)
def test_may_reach(case):
    refused(native("may_reach"), MAY_REACH, case)


ANALOGIES = {
    "keys": zeros(ROWS, D), "scales": None, "left_out": zeros(ROWS, dtype=bool),
    "words": zeros(4, D), "analogies": np.full((7, 3), 3, np.uint32), "queries": zeros(7, D),
    "rows": zeros(7, 8, dtype=I64), "undecided": zeros(7, dtype=bool),
}  # fmt: skip
KEYS = "analogies: scales, left_out or the dimension do not fit the keys"
WORDS = "analogies: words, analogies, queries or undecided do not fit"
FOUND = "analogies: rows must be 1 to 8 for each analogy"
WIDE = (1 << 16) + 1


@pytest.mark.parametrize(
    "case",
    [
        ("flat", {"keys": zeros(D)}, ValueError, "analogies: keys must be a C-contiguous matrix"),
        (
            "columns", {"keys": zeros(ROWS, 2 * D)[:, ::2]}, ValueError,
            "analogies: keys must be a C-contiguous matrix",
        ),
        ("dtype", {"keys": zeros(ROWS, D, dtype=np.float64)}, TypeError, "must be float32"),
        ("scales", {"scales": zeros(ROWS)}, ValueError, KEYS),
        ("int8", {"keys": zeros(ROWS, D, dtype=np.int8)}, ValueError, KEYS),
        (
            "few", {"keys": zeros(ROWS, D, dtype=np.int8), "scales": zeros(ROWS - 1)}, ValueError,
            KEYS,
        ),
        ("left out", {"left_out": zeros(ROWS - 1, dtype=bool)}, ValueError, KEYS),
        (
            "nothing", {"keys": zeros(ROWS, 0), "words": zeros(4, 0), "queries": zeros(7, 0)},
            ValueError, KEYS,
        ),
        (
            "wide", {"keys": zeros(1, WIDE), "words": zeros(4, WIDE), "queries": zeros(7, WIDE),
                     "left_out": zeros(1, dtype=bool)}, ValueError, KEYS,
        ),
        ("words", {"words": zeros(4, D + 1)}, ValueError, WORDS),
        ("one word", {"words": zeros(D)}, ValueError, WORDS),
        ("pairs", {"analogies": zeros(9, 2, dtype=np.uint32)}, ValueError, WORDS),
        ("list", {"analogies": zeros(21, dtype=np.uint32)}, ValueError, WORDS),
        ("queries", {"queries": zeros(6, D)}, ValueError, WORDS),
        ("dimension", {"queries": zeros(7, D - 1)}, ValueError, WORDS),
        ("undecided", {"undecided": zeros(6, dtype=bool)}, ValueError, WORDS),
        ("rows", {"rows": zeros(6, 8, dtype=I64)}, ValueError, FOUND),
        ("none", {"rows": zeros(7, 0, dtype=I64)}, ValueError, FOUND),
        ("many", {"rows": zeros(7, 9, dtype=I64)}, ValueError, FOUND),
        ("row", {"rows": zeros(7, dtype=I64)}, ValueError, FOUND),
        (
            "high", {"analogies": np.full((7, 3), 4, np.uint32)}, ValueError,
            "analogies: there is no such word",
        ),
    ],
    ids=lambda case: case[0],
)  # fmt: skip
def test_analogies(case):
    refused(native("analogies"), ANALOGIES, case)
