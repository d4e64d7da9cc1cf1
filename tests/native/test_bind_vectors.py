"""What src/bind_vectors.cpp and bindings.h refuse so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

MATRIX = "read_text_rows: out must be a contiguous matrix"
BYTES = "want a contiguous buffer of bytes"


@pytest.mark.parametrize(
    "case",
    [
        ("flat", (zeros(2),), ValueError, MATRIX),
        ("empty", (zeros(1, 0),), ValueError, MATRIX),
        ("step", (zeros(1, 4)[:, ::2],), ValueError, MATRIX),
        (
            "dtype", (zeros(1, 2, dtype=np.int32),), TypeError,
            "read_text_rows: out must be float32 or float64",
        ),
    ],
    ids=lambda case: case[0],
)  # fmt: skip
def test_read_text_rows(case):
    read = native("read_text_rows")
    name, (out,), error, message = case
    good = {"text": b"cat 1 2\n", "out": zeros(1, 2), "last": True}
    refused(read, good, (name, {"out": out}, error, message))


@pytest.mark.parametrize("out", [zeros(2), zeros(1, 0), zeros(4, 1)[::2]])
def test_read_binary_rows(out):
    good = {"data": b"cat " + bytes(8), "out": zeros(1, 2)}
    message = "read_binary_rows: out must be a contiguous matrix"
    refused(native("read_binary_rows"), good, ("out", {"out": out}, ValueError, message))


@pytest.mark.parametrize(
    "case",
    [
        ("axes", np.array([0, 3]), ValueError, "DistinctWords: spans must have shape (n, 2)"),
        (
            "columns",
            np.zeros((1, 3), int),
            ValueError,
            "DistinctWords: spans must have shape (n, 2)",
        ),
        ("behind", [[0, 4]], IndexError, "DistinctWords: a span is outside of the text"),
        ("before", [[-2, 3]], IndexError, "DistinctWords: a span is outside of the text"),
        ("backwards", [[2, 1]], IndexError, "DistinctWords: a span is outside of the text"),
    ],
    ids=lambda case: case[0],
)
def test_distinct_words(case):
    name, spans, error, message = case
    good = {"text": b"cat", "spans": np.array([[0, 3]]), "encoding": "utf-8", "errors": "strict"}
    words = native("DistinctWords")()
    refused(words.add, good, (name, {"spans": np.array(spans)}, error, message))
    with pytest.raises(UnicodeDecodeError):
        words.add(b"\xff", np.array([[0, 1]]), "utf-8", "strict")


def test_read_strings():
    read, data = native("read_strings"), b"\2" + bytes(7) + b"\xc3\xa9" + b"\1" + bytes(7) + b"\xff"
    good = {"data": data, "at": 0, "count": 9}
    assert read(**good) == (["\u00e9", "\udcff"], 19)
    assert read(data, 10, 1) == (["\udcff"], 19)
    assert read(data, 0, 0) == ([], 0)
    assert read(data, 19, 1) == ([], 19)
    for cut in range(10, 19):  # within the second
        assert read(data[:cut], 0, 2) == (["\u00e9"], 10)
    assert read(b"\xff" * 8 + b"ab", 0, 1) == ([], 0)
    message = "read_strings: at must be within data"
    refused(read, good, ("behind", {"at": 20}, ValueError, message))
    with pytest.raises(TypeError):
        read(data, -1, 1)


@pytest.mark.parametrize("vectors", [zeros(2, 3), zeros(1)])
def test_write_text_rows(vectors):
    good = {"words": ["cat"], "vectors": zeros(1, 3)}
    message = "write_text_rows: want one word a row"
    case = ("vectors", {"vectors": vectors}, ValueError, message)
    refused(native("write_text_rows"), good, case)


@pytest.mark.parametrize(
    "data", [np.zeros(4, np.float32), np.zeros((2, 2), np.uint8), memoryview(b"abcd")[::2]]
)
@pytest.mark.parametrize("name", ["scan_pickle", "cut_at_space"])
def test_bytes(name, data):
    with pytest.raises(ValueError, match=BYTES):
        native(name)(data)
