"""word2vec's text and binary files and their traps."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from firth import FormatError
from firth.errors import TruncatedError
from firth.formats import word2vec

WORDS = ["the", "naïve", "a\u00a0b", "\u3000", "\u2009x", "nan", "1", "two words", " . . . ", ""]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors"


def vectors(count: int, d: int = 5) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, d)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("binary", [False, True])
def test_round_trip(tmp_path: Path, binary: bool, suffix: str) -> None:
    path = tmp_path / f"vectors{suffix}"
    words = [word for word in WORDS if not binary or " " not in word]
    x = vectors(len(words))
    word2vec.write(path, words, x, binary=binary, header=len(words))
    read = word2vec.read_binary if binary else word2vec.read_text
    got = read(path)
    assert got.keys == words
    assert got.declared == len(words)
    np.testing.assert_array_equal(got.vectors, x)
    assert word2vec.sniff(path) == ("binary" if binary else "text")


def test_text_gives_every_float32_back(path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    edge = np.array([0, 0x80000000, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000], np.uint32)
    x = np.concatenate([edge, bits]).view(np.float32)[:20_000].reshape(-1, 10)
    x[np.isnan(x)] = np.nan
    word2vec.write(path, [str(row) for row in range(len(x))], x, header=len(x))
    got = word2vec.read_text(path).vectors
    np.testing.assert_array_equal(got.view(np.uint32), x.view(np.uint32))


def test_headerless(path: Path) -> None:
    words = [f"w{row}" for row in range(30)] + WORDS[:-1]
    x = vectors(len(words))
    word2vec.write(path, words, x)
    got = word2vec.read_text(path, header=False)
    assert got.keys == words
    np.testing.assert_array_equal(got.vectors, x)
    assert word2vec.sniff(path) == "headerless"
    # The first word ends in a number, or has spaces: later lines tell how many numbers there are.
    path.write_bytes(b"at 7 0.5 1\n. . . 1 2\nking 3 4\n\n")
    got = word2vec.read_text(path, header=False)
    assert got.keys == ["at 7", ". . .", "king"]
    assert got.vectors.tolist() == [[0.5, 1], [1, 2], [3, 4]]
    assert got.declared == 3
    path.write_bytes(b"7 0.5 1\nking 3 4")  # no newline at the end; a word that is a number
    assert word2vec.read_text(path, header=False).keys == ["7", "king"]


def test_spaces_line_ends_and_repeats(path: Path) -> None:
    # The C tool writes a space before each newline; Windows writes CRLF.
    path.write_bytes(b"3 2\r\nking 1 2 \r\nqueen 3 4 \r\nking 5 6\r\n")
    with pytest.warns(UserWarning, match="1 rows repeat a word"):
        got = word2vec.read_text(path)
    assert got.keys == ["king", "queen"]
    assert got.vectors.tolist() == [[1, 2], [3, 4]]
    assert got.vectors.base is None
    assert got.declared == 3


def test_newline_behind_binary_vectors_is_optional(path: Path) -> None:
    # 0x0A and 0x20 also occur within the floats: 0x0a200a20 and 0x2020200a.
    x = np.array([[0x0A200A20, 0x2020200A]] * 3, np.uint32).view(np.float32)
    rows = [word + b" " + row.tobytes() for word, row in zip([b"a", b"b", b"c"], x, strict=True)]
    for separator in (b"", b"\n"):
        path.write_bytes(b"3 2\n" + b"".join(row + separator for row in rows))
        got = word2vec.read_binary(path)
        assert got.keys == ["a", "b", "c"]
        np.testing.assert_array_equal(got.vectors, x)


def test_limit_and_dtype(path: Path) -> None:
    x = vectors(4) * 1000
    x[0, 0] = 1e30
    for binary in (False, True):
        word2vec.write(path, list("abcd"), x, binary=binary, header=4)
        read = word2vec.read_binary if binary else word2vec.read_text
        assert read(path, limit=2).keys == ["a", "b"]
        assert read(path, limit=2).declared == 2
        assert read(path, limit=9).keys == list("abcd")
        assert read(path, dtype=np.float64).vectors.dtype == np.float64
        half = read(path, dtype=np.float16).vectors
        assert half.dtype == np.float16
        assert np.isinf(half[0, 0])
    word2vec.write(path, list("abcd"), x)
    assert word2vec.read_text(path, header=False, limit=3).keys == ["a", "b", "c"]
    # A limit reads the good beginning of a file that is cut.
    path.write_bytes(b"1000000 2\na 1 2\nb 3 4\nc 5")
    assert word2vec.read_text(path, limit=2).keys == ["a", "b"]


def test_words_that_are_cut_within_a_character(path: Path) -> None:
    for binary in (False, True):
        word2vec.write(path, ["na\u00efve"], vectors(1), binary=binary, header=1)
        path.write_bytes(path.read_bytes().replace(b"\xaf", b""))
        read = word2vec.read_binary if binary else word2vec.read_text
        with pytest.raises(UnicodeDecodeError, match="unicode_errors='replace'"):
            read(path)
        assert read(path, errors="replace").keys == ["na\ufffdve"]
        assert read(path, errors="ignore").keys == ["nave"]
        assert read(path, encoding="latin-1").keys == ["na\u00c3ve"]


@pytest.mark.parametrize(
    "data",
    [
        b"2\nking 1 2\n",
        b"two 2\n",
        b"2 2 2\n",
        b"-1 2\n",
        b"1 0\n",
        b"1 -5\n",
        b"x" * 1000,
        b"1 2\nking 1\n",
        b"1 2\nking 1 x\n",
        b"1 2\nking 1  2x\n",
        b"2 2\nking 1 2\n\nqueen 3 4\n",
        b"2 2\nking 1 2\n\n" + b" " * 20,
    ],
)
def test_malformed_text(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        word2vec.read_text(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"3 2", b"3 2\nking 1 2\n", b"999999999999999999999 2\na 1 2\n", b"9 99999\na 1\n"],
)
def test_counts_beyond_the_file(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    for read in (word2vec.read_text, word2vec.read_binary):
        with pytest.raises(EOFError) as caught:
            read(path)
        assert isinstance(caught.value, TruncatedError)
    assert word2vec.sniff(path) in (None, "text", "binary")


def test_headerless_with_rows_of_other_lengths(path: Path) -> None:
    path.write_bytes(b"a 1 2\n" * 200 + b"b 1\n")
    with pytest.raises(FormatError, match="row 200"):
        word2vec.read_text(path, header=False)
    path.write_bytes(b"a " + b"1 " * 100_000 + b"\n" + b"b\n" * 1000)
    with pytest.raises(FormatError):
        word2vec.read_text(path, header=False)


@pytest.mark.parametrize("binary", [False, True])
def test_truncated_and_flipped(path: Path, binary: bool) -> None:
    words = ["king", "queen", "nave"]
    word2vec.write(path, words, vectors(3, 4), binary=binary, header=3)
    read = word2vec.read_binary if binary else word2vec.read_text
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            got = read(path)
        except FormatError:
            continue
        assert not binary  # every cut of a binary file shows; a text file may lose digits
        assert got.keys == words
    rng = np.random.default_rng(0)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with contextlib.suppress(FormatError):
            read(path, errors="replace")


def test_counts(path: Path) -> None:
    word2vec.write_counts(path, [("the", 10), ("two words", 3), ("naïve", 1)])
    assert path.read_bytes() == "the 10\ntwo words 3\nnaïve 1\n".encode()
    assert word2vec.read_counts(path) == {"the": 10, "two words": 3, "naïve": 1}
    path.write_bytes(b"na\xc3 3\r\n")
    with pytest.raises(UnicodeDecodeError):
        word2vec.read_counts(path)
    assert word2vec.read_counts(path, errors="ignore") == {"na": 3}
    for bad in (b"king\n", b"king x\n", b"\n"):
        path.write_bytes(bad)
        with pytest.raises(FormatError):
            word2vec.read_counts(path)


def test_words_that_the_format_cannot_hold(path: Path) -> None:
    path.write_bytes(b"old")
    for word, binary in (("a\nb", False), ("a\nb", True), ("a b", True)):
        with pytest.raises(ValueError, match="holds a space or newline"):
            word2vec.write(path, ["ok", word], vectors(2), binary=binary, header=2)
    assert path.read_bytes() == b"old"


def test_prefix_append_and_order(path: Path) -> None:
    x = np.array([[1, 2], [3, 4.5]], np.float32)
    word2vec.write(path, ["a", "b"], x, order=[1, 0], header=4, prefix="*dt_")
    word2vec.write(path, ["c", "d"], x, append=True)
    assert path.read_text() == "4 2\n*dt_b 3.0 4.5\n*dt_a 1.0 2.0\nc 1.0 2.0\nd 3.0 4.5\n"
    assert word2vec.read_text(path).keys == ["*dt_b", "*dt_a", "c", "d"]


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"hello world\n", b"\x00\x01\x02\n", b"The king is 7\n", b"PK", b"a 1\nb 2\n"],
)
def test_sniff_refuses_other_files(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert word2vec.sniff(path) is None
