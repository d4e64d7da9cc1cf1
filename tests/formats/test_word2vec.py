"""word2vec's text and binary files and their traps."""

from __future__ import annotations

import contextlib
import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from firth import FormatError, KeyedVectors, _native
from firth.errors import TruncatedError
from firth.formats import files, word2vec
from firth.words.vector_files import describe

WORDS = ["the", "naïve", "a\u00a0b", "\u3000", "\u2009x", "nan", "1", "two words", " . . . ", ""]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors"


def vectors(count: int, d: int = 5) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, d)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("binary", [False, True])
def test_round_trip(tmp_path: Path, binary: bool, suffix: str) -> None:
    if suffix == ".zst":
        pytest.importorskip("zstandard")
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


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_wrong_kind_is_named(tmp_path: Path, suffix: str) -> None:
    """gensim reads text as binary without a word: the numbers then are nonsense."""
    x = vectors(200, 20)
    words = [f"word{row}" for row in range(len(x))]
    kinds = {
        "binary": ({"binary": True, "header": 200}, {"binary": True}, "binary=True"),
        "text": ({"header": 200}, {}, "binary=False, no_header=False"),
        "headerless": ({}, {"no_header": True}, "no_header=True"),
    }
    for kind, (made, right, hint) in kinds.items():
        path = tmp_path / f"{kind}{suffix}"
        word2vec.write(path, words, x, **made)
        assert word2vec.sniff(path) == kind
        for other, (_, arguments, _) in kinds.items():
            if other == kind:
                assert len(KeyedVectors.load_word2vec_format(path, **right)) == 200
                continue
            with pytest.raises(FormatError, match=f"it seems to be .*: {hint}$") as caught:
                KeyedVectors.load_word2vec_format(path, **arguments)
            assert str(caught.value).startswith(str(path))


def test_a_damaged_file_of_the_right_kind_gets_no_hint(path: Path) -> None:
    word2vec.write(path, [f"word{row}" for row in range(50)], vectors(50), header=50)
    text = path.read_bytes()
    word2vec.write(path, [f"word{row}" for row in range(50)], vectors(50), header=50, binary=True)
    binary = path.read_bytes()
    for data, read, kind in [
        (text.replace(b"word0 ", b"word0 x", 1), word2vec.read_text, "text"),
        (text[: len(text) // 2], word2vec.read_text, "text"),
        (text[:11], word2vec.read_text, "text"),
        (binary[: len(binary) // 2], word2vec.read_binary, "binary"),
        (b"1 2\nking 1\n", word2vec.read_text, "text"),
    ]:
        path.write_bytes(data)
        assert word2vec.sniff(path) == kind
        with pytest.raises(FormatError) as caught:
            read(path)
        assert "seems to be" not in str(caught.value)


def test_a_byte_order_mark_is_passed_by(path: Path) -> None:
    # gensim refuses the header, and without one makes the mark a part of the first word.
    mark = "\ufeff".encode()
    for header in (True, False):
        path.write_bytes(mark + b"2 2\n" * header + b"king 1 2\nqueen 3 4\n")
        got = word2vec.read_text(path, header=header)
        assert got.keys == ["king", "queen"]
        assert got.vectors.tolist() == [[1, 2], [3, 4]]
        assert word2vec.sniff(path) == ("text" if header else "headerless")
        assert describe(path).first == ["king", "queen"]
    path.write_bytes(mark)
    with pytest.raises(FormatError):
        word2vec.read_text(path)


def test_tabs_are_named(path: Path) -> None:
    # As in gensim only spaces separate, since a word may hold a tab.
    for header in (True, False):
        path.write_bytes(b"2\t2\n" * header + b"king\t1\t2\nqueen\t3\t4\n")
        with pytest.raises(FormatError, match=r"row 0 .* got b'king.*tabs do not separate"):
            word2vec.read_text(path, header=header)
        assert word2vec.sniff(path) == ("text" if header else "headerless")
    path.write_bytes(b"1 2\na\tb 1 2\n")
    assert word2vec.read_text(path).keys == ["a\tb"]


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


def nearest_float32(text: str) -> np.float32:
    """Correctly rounded, ties to even, by exact fractions."""
    exact = Fraction(text)
    guess = np.float32(float(text))
    near = [
        np.nextafter(guess, np.float32(-np.inf)),
        guess,
        np.nextafter(guess, np.float32(np.inf)),
    ]
    return min(near, key=lambda one: (abs(Fraction(float(one)) - exact), one.view(np.uint32) & 1))


def parsed(path: Path, texts: list[str], dtype: type = np.float32) -> np.ndarray:
    path.write_text(f"{len(texts)} 1\n" + "".join(f"w{i} {x}\n" for i, x in enumerate(texts)))
    return word2vec.read_text(path, dtype=dtype).vectors[:, 0]


def test_numbers_are_correctly_rounded(path: Path) -> None:
    rng = np.random.default_rng(5)
    bits = rng.integers(0x00800000, 0x7F000000, 3000, dtype=np.uint32)
    floats = bits.view(np.float32).astype(np.float64)
    # Exactly between two floats, and as little beside it as 1e-25: twice rounded, those go wrong.
    middles = (floats + np.nextafter(floats.astype(np.float32), np.float32(np.inf))) / 2
    texts = [f"{m:.60e}" for m in middles[:500]]
    texts += [f"{m:.25e}".replace("e", tail) for m in middles for tail in ("1e", "e")]
    texts += [f"{m:.{digits}g}" for m in middles[:1000] for digits in (6, 9, 17, 19, 20, 30)]
    texts += [f"-{abs(f):.8f}" for f in rng.standard_normal(3000)]
    texts += [
        "0.1",
        "-0.0",
        "1e22",
        "1E-22",
        "+5",
        "123456789012345678901234567890",
        "1e-44",
        "7e-46",
    ]
    texts += ["0." + "0" * 50 + "1", "1.", ".5", "1e+05", "00000000000000000000000000001"]
    got = parsed(path, texts)
    want = np.array([nearest_float32(text) for text in texts])
    np.testing.assert_array_equal(
        got.view(np.uint32), want.view(np.uint32) | (np.array(texts) == "-0.0") * np.uint32(1 << 31)
    )
    got = parsed(path, texts, np.float64)
    np.testing.assert_array_equal(got, [float(text) for text in texts])


def test_numbers_beyond_the_range(path: Path) -> None:
    texts = ["1e400", "-1e400", "1e-400", "-1e-400", "1e39", "1e-60", "inf", "-Infinity", "nan"]
    texts += ["1" + "0" * 400, "0." + "0" * 400 + "1"]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(parsed(path, texts), np.array(texts, np.float64).astype("f"))
    np.testing.assert_array_equal(parsed(path, texts, np.float64), np.array(texts, np.float64))
    for bad in (
        "",
        "x",
        "+",
        "-",
        ".",
        "e5",
        "1e",
        "1e+",
        "0x10",
        "1_0",
        "1,5",
        "--1",
        "+-1",
        "1\0",
    ):
        path.write_text(f"2 1\na 1\nb {bad}\n")
        with pytest.raises(FormatError, match="row 1"):
            word2vec.read_text(path)


def test_text_is_written_as_numpy_prints(path: Path) -> None:
    bits = np.random.default_rng(1).integers(0, 2**32, 100_000, dtype=np.uint32)
    powers = np.arange(-149, 128)
    x = np.concatenate(
        [
            bits.view(np.float32),
            np.ldexp(np.float32(1), powers),
            (10.0 ** np.arange(-45, 39)).astype(np.float32),
            np.arange(-500, 500, dtype=np.float32) / 8,
            np.random.default_rng(2).standard_normal(20_000).astype(np.float32),
            np.array([0, -0.0, np.inf, -np.inf, np.nan, 16777216, 1e15, 1e16, 1e-4], np.float32),
        ]
    )
    word2vec.write(path, [""], x[None])
    got = path.read_text()[1:-1].split(" ")
    np.testing.assert_array_equal(np.array(got, np.float32), x)
    small = ~(np.abs(x) >= 1e6)  # NumPy before 2.4 prints larger ones with all their digits
    assert [one for one, keep in zip(got, small, strict=True) if keep] == list(map(str, x[small]))


def test_pieces_and_threads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"w{row % 700}" if row % 7 else f"two words {row}" for row in range(3000)]
    x = vectors(len(words), 4)
    want = list(dict.fromkeys(words))
    rows = [words.index(word) for word in want]
    for piece, threads in ((200, 1), (1000, 2), (50_000, 2), (1 << 24, 3)):
        monkeypatch.setattr(files, "_BLOCK", piece)
        before = set_threads(threads)
        for suffix in ("", ".gz"):
            for header in (None, len(words)):
                file = path.with_suffix(suffix)
                word2vec.write(file, words, x, header=header)
                with pytest.warns(UserWarning, match="repeat a word"):
                    got = word2vec.read_text(file, header=header is not None)
                assert got.keys == want
                assert got.declared == len(words)
                np.testing.assert_array_equal(got.vectors, x[rows])
            word2vec.write(
                file, [word.replace(" ", "_") for word in words], x, binary=True, header=3000
            )
            with pytest.warns(UserWarning, match="repeat a word"):
                got = word2vec.read_binary(file)
            assert got.keys == [word.replace(" ", "_") for word in want]
            np.testing.assert_array_equal(got.vectors, x[rows])
        set_threads(before)


def set_threads(count: int) -> int:
    before = _native.num_threads()
    _native.set_num_threads(count)
    return before


def test_compressed_counts_and_endless_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A compressed file cannot bound its header; what is made is bounded all the same.
    monkeypatch.setattr(files, "_BLOCK", 1000)
    monkeypatch.setattr(word2vec, "_LONGEST_WORD", 1000)
    path = tmp_path / "file.gz"
    for data in (b"999999999999 3\na 1 2 3\n", b"2 3\n" + bytes(100_000), b"2 3\n" + b"1" * 10**6):
        with gzip.open(path, "wb") as file:
            file.write(data)
        for read in (word2vec.read_text, word2vec.read_binary):
            with pytest.raises(FormatError):
                read(path)
    with gzip.open(path, "wb") as file:
        file.write(b"1 9999999999\na 1 2")
    with pytest.raises(FormatError, match="promises"):
        word2vec.read_binary(path)
