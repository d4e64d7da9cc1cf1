r"""word2vec's text and binary files, and text without a header, which is what GloVe writes.

Text: ``"V d\n"``, then V lines ``word f1 ... fd``. Binary: the same first line, then V times the
word, a space and d little-endian float32; the C tool puts a newline behind each vector, gensim
does not.

Words may hold anything but a newline in text (also spaces, U+00A0, U+3000: the last d fields are
the numbers, and only the byte 0x20 separates), anything but a space and a newline in binary. Files
that end in .gz, .bz2 or .xz are written compressed; reading recognises them by their first bytes.

V = words, d = dimensions of a vector.
"""

from __future__ import annotations

import contextlib
import mmap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from firth.errors import FormatError, TruncatedError
from firth.formats.files import Path, contents, writing

_FIRST_LINES = 100  # without a header, d is what the first lines have in common


@dataclass(frozen=True)
class Words:
    """What `read_text` and `read_binary` return."""

    keys: list[str]  # a word that occurs twice is there once, with its first vector
    vectors: NDArray[Any]  # (len(keys), d)
    declared: int  # number of rows in the file (at most ``limit``), repeated words counted


def read_text(
    path: Path,
    *,
    header: bool = True,
    limit: int | None = None,
    dtype: DTypeLike = np.float32,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> Words:
    """Read a text file of vectors.

    Parameters
    ----------
    path : path-like
    header : bool
        Whether the first line is ``V d``. Without it every line is a word and d is the number of
        numbers that the first lines have in common.
    limit : int, optional
        Read at most so many rows.
    dtype : dtype
        Of the vectors. float32 values that were printed with enough digits come back exactly.
    encoding, errors : str
        How to decode the words; as for `bytes.decode`.

    Raises
    ------
    FormatError
        A row has too few or too many numbers, or the header is none; ``TruncatedError``, which is
        also an EOFError, where the file is shorter than its header says.
    UnicodeDecodeError
        A word is not in the encoding and ``errors`` is "strict".
    """
    with contents(path) as data:
        if header:
            count, d, start = _header(data, path, limit)
            if count * (2 * d + 1) - 1 > len(data) - start:
                raise TruncatedError(f"is too short for {count} rows of {d} numbers", path, start)
        else:
            count, d, start = _count_lines(data, limit), _common_dimensions(data, path), 0
        # Rows take at least 2 d + 1 bytes (the last one 2 d), so the table is bounded by the file.
        most = min(count, (len(data) - start + 1) // (2 * d + 1))
        table = _Table(path, most, d, dtype, encoding, errors)
        lines = _lines(data, start)
        for row in range(count):
            offset, line = next(lines, (len(data), b""))
            fields = line.rstrip(b" \r\n\t").rsplit(b" ", d)
            if not header and not line.strip():
                if not line:
                    break
                continue  # empty lines at the end
            try:
                if len(fields) != d + 1:
                    raise ValueError
                numbers = [float(field) for field in fields[1:]]
            except ValueError:
                if not line.endswith(b"\n"):
                    raise TruncatedError(
                        f"ends within row {row} of {count}", path, offset
                    ) from None
                raise FormatError(
                    f"row {row} must be a word and {d} numbers, got {line[:40]!r}", path, offset
                ) from None
            table.add(fields[0], numbers, offset)
        return table.words()


def read_binary(
    path: Path,
    *,
    limit: int | None = None,
    dtype: DTypeLike = np.float32,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> Words:
    """Read a binary file of vectors; parameters and errors as for `read_text`."""
    with contents(path) as data:
        count, d, position = _header(data, path, limit)
        if count * (4 * d + 1) > len(data) - position:
            raise TruncatedError(f"is too short for {count} rows of {d} floats", path, position)
        table = _Table(path, count, d, dtype, encoding, errors)
        for row in range(count):
            # The end of the word is looked for from its start, so bytes 0x0A and 0x20 within the
            # floats do no harm; the newline behind a vector is one in front of the next word.
            space = data.find(b" ", position)
            end = space + 1 + 4 * d
            if space < 0 or end > len(data):
                raise TruncatedError(f"ends within row {row} of {count}", path, len(data))
            word = data[position:space].lstrip(b"\n")
            table.add(word, np.frombuffer(data[space + 1 : end], "<f4"), position)
            position = end
        return table.words()


def read_counts(path: Path, *, encoding: str = "utf-8", errors: str = "strict") -> dict[str, int]:
    """Read a vocabulary file, lines ``word count``. Raises FormatError for another line."""
    counts: dict[str, int] = {}
    with contents(path) as data:
        for offset, line in _lines(data, 0):
            fields = line.rstrip(b" \r\n\t").rsplit(b" ", 1)
            try:
                word, count = fields[0], int(fields[1])
            except (ValueError, IndexError):
                raise FormatError(
                    f"lines must be a word and a count, got {line[:40]!r}", path, offset
                ) from None
            counts.setdefault(_decode(word, encoding, errors, path, offset), count)
    return counts


def write(
    path: Path,
    keys: Sequence[object],
    vectors: NDArray[Any],
    *,
    order: Iterable[int] | None = None,
    binary: bool = False,
    header: int | None = None,
    prefix: str = "",
    append: bool = False,
) -> None:
    """Write vectors as text or binary, byte for byte as gensim does.

    Parameters
    ----------
    path : path-like
        Written atomically unless ``append``.
    keys : sequence of V words (their ``str`` is written)
    vectors : ndarray (V, d)
        Text prints the fewest digits that give the value back exactly; binary stores float32.
    order : iterable of row numbers, optional
        The rows to write; all of them by default.
    header : int, optional
        The V of a first line ``V d``; no first line where it is None.
    prefix : str
        Put before every word.
    append : bool
        Add to the file that is there.

    Raises
    ------
    ValueError
        A word that the format cannot hold; nothing is written.
    """
    rows = range(len(keys)) if order is None else order
    words = [(row, f"{prefix}{keys[row]}".encode()) for row in rows]
    for row, word in words:
        if b"\n" in word or (binary and b" " in word):
            kind = "binary" if binary else "text"
            raise ValueError(f"write: {keys[row]!r} holds a space or newline that {kind} cannot")
    with writing(path, append=append) as file:
        if header is not None:
            file.write(b"%d %d\n" % (header, vectors.shape[1]))
        for row, word in words:
            if binary:
                file.write(word + b" " + vectors[row].astype("<f4").tobytes())
            else:
                file.write(word + b" " + " ".join(map(str, vectors[row])).encode() + b"\n")


def write_counts(path: Path, counts: Iterable[tuple[str, int]], *, append: bool = False) -> None:
    """Write a vocabulary file, lines ``word count``."""
    with writing(path, append=append) as file:
        for word, count in counts:
            file.write(f"{word} {count}\n".encode())


def sniff(path: Path) -> str | None:
    """What a file seems to hold: "text", "binary", "headerless" (text), or None for none of them.

    A header is a first line of exactly two whole numbers; after it, text is a line whose last d
    fields are numbers. Without one, the first line must be a word and at least two numbers.
    """
    with contents(path) as data, contextlib.suppress(FormatError):
        first = data[: max(0, data.find(b"\n"))]
        if len(first.split()) == 2:
            _, d, start = _header(data, path, None)
            _, line = next(_lines(data, start), (0, b""))
            fields = line.rstrip(b" \r\n\t").rsplit(b" ", d)
            text = not line or (len(fields) == d + 1 and _trailing_numbers(fields) == d)
            return "text" if text else "binary"
        if b"\0" not in first and _common_dimensions(data, path) >= 2:
            return "headerless"
    return None


class _Table:
    """The rows of one file: words to numbers, the first of equal ones wins."""

    def __init__(
        self, path: Path, count: int, d: int, dtype: DTypeLike, encoding: str, errors: str
    ) -> None:
        self.path, self.encoding, self.errors = path, encoding, errors
        self.vectors = np.empty((count, d), dtype)
        self.index: dict[str, int] = {}
        self.repeated = 0

    def add(self, word: bytes, numbers: Any, offset: int) -> None:
        key = _decode(word, self.encoding, self.errors, self.path, offset)
        row = len(self.index)
        if self.index.setdefault(key, row) == row:
            with np.errstate(over="ignore"):  # float16 has no number for it, inf is what it has
                self.vectors[row] = numbers
        else:
            self.repeated += 1

    def words(self) -> Words:
        vectors = self.vectors
        if len(self.index) < len(vectors):
            vectors = vectors[: len(self.index)].copy()
        if self.repeated:
            warnings.warn(
                f"{self.path}: {self.repeated} rows repeat a word; the first of each was kept",
                stacklevel=4,
            )
        return Words(list(self.index), vectors, len(self.index) + self.repeated)


def _decode(word: bytes, encoding: str, errors: str, path: Path, offset: int) -> str:
    try:
        return word.decode(encoding, errors)
    except UnicodeDecodeError as error:
        # The C tool cuts long words within a character, so this is met in good files.
        error.reason += f" ({path}, byte {offset}; unicode_errors='replace' reads such words)"
        raise


def _header(data: bytes | mmap.mmap, path: Path, limit: int | None) -> tuple[int, int, int]:
    """Rows to read, d, and the offset behind the first line."""
    end = data.find(b"\n", 0, 100) + 1
    if not end:
        if len(data) < 100:
            raise TruncatedError("ends within its first line", path, len(data))
        raise FormatError("must start with a line of two whole numbers", path, 0)
    try:
        count, d = map(int, data[:end].split())
    except ValueError:
        raise FormatError(
            f"must start with a line of two whole numbers, got {data[: min(end, 40)]!r}", path, 0
        ) from None
    if count < 0 or d < 1:
        raise FormatError(f"promises {count} rows of {d} numbers", path, 0)
    return min(count, limit or count), d, end


def _lines(data: bytes | mmap.mmap, start: int) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each line, its newline included."""
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield start, data[start:end]
        start = end


def _count_lines(data: bytes | mmap.mmap, limit: int | None) -> int:
    step = 1 << 20
    newlines = sum(data[at : at + step].count(b"\n") for at in range(0, len(data), step))
    count = newlines + (len(data) > 0 and data[len(data) - 1 : len(data)] != b"\n")
    return min(count, limit or count)


def _trailing_numbers(fields: Sequence[bytes]) -> int:
    """How many of the last fields are numbers; the first one is the word, whatever it is."""
    found = 0
    for field in reversed(fields[1:]):
        try:
            float(field)
        except ValueError:
            break
        found += 1
    return found


def _common_dimensions(data: bytes | mmap.mmap, path: Path) -> int:
    # Words may end in numbers ("at 7"), so the fewest numbers over several lines are d.
    lines = (line for _, line in zip(range(_FIRST_LINES), _lines(data, 0), strict=False))
    found = [
        _trailing_numbers(line.rstrip(b" \r\n\t").split(b" ")) for _, line in lines if line.strip()
    ]
    if not found or min(found) < 1:
        raise FormatError("must have a word and numbers on each line", path, 0)
    return min(found)
