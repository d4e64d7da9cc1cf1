r"""word2vec's text and binary files, GloVe's text (without a header) and floret's.

Text: ``"V d\n"``, then V lines ``word f1 ... fd``. Binary: the same first line, then V times the
word, a space and d little-endian float32; the C tool puts a newline behind each vector, gensim
does not.

Words may hold anything but a newline in text (also spaces, U+00A0, U+3000: the last d fields are
the numbers, and only the byte 0x20 separates), anything but a space and a newline in binary. Files
that end in .gz, .bz2 or .xz are written compressed; reading recognises them by their first bytes.
A byte order mark before text is skipped. If the file seems to be of another kind, the error says of
which. (Longer than most files: the layouts share header, rows and table.)

V = words, d = dimensions of a vector.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from firth import _native
from firth.errors import FormatError, TruncatedError
from firth.formats.files import PathLike, Source, reading, writing

_FIRST_LINES = 100  # without a header, d is what the first lines have in common
_MEGABYTE = 1 << 20
_PIECE = 16 * _MEGABYTE  # about the bytes that one native call writes
_LONGEST_WORD = _MEGABYTE
_MOST_DIMENSIONS = 1 << 24
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
# How load_word2vec_format reads the kinds of `sniff`.
_READ_WITH = {
    "text": "text with a line of two sizes: binary=False, no_header=False",
    "binary": "binary: binary=True",
    "headerless": "text without a line of two sizes: no_header=True",
}
_UNPACKED = 20  # how many times larger a compressed file is assumed to be, before it is read


@dataclass(frozen=True)
class Words:
    """What `read_text` and `read_binary` return."""

    keys: list[str]  # repeated words once, with their first vector
    vectors: NDArray[Any]  # (len(keys), d)
    declared: int  # number of rows in the file (at most ``limit``), repeated words counted


def read_text(
    path: PathLike,
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
        Read at most this many rows.
    dtype : dtype
        Of the vectors. float32 values that were printed with enough digits come back exactly.
    encoding, errors : str
        How to decode the words; as for `bytes.decode`.

    Raises
    ------
    FormatError
        A row has too few or too many numbers, or the header is invalid; ``TruncatedError``, which
        is also an EOFError, if the file is shorter than its header says.
    UnicodeDecodeError
        A word is not in the encoding and ``errors`` is "strict".
    """
    _check_limit(limit)
    with _reading(path, "text" if header else "headerless") as source:
        _skip_mark(source)
        if header:
            count, d = _header(source, limit)
        else:
            count, d = limit or sys.maxsize, _common_dimensions(source)
        return _read_rows(source, header, count, d, dtype, encoding, errors)


def read_floret(path: PathLike) -> tuple[Words, list[str]]:
    """Read floret's text: the rows, whose keys are their numbers, and six fields of the first line.

    These are minn, maxn, hash_count, hash_seed (whole numbers), bow and eow. FormatError for
    another file and where rows are missing, twice or not in order.
    """
    with reading(path, progress=True) as source:
        fields = _floret_header(source)
        if fields is None:
            raise FormatError("must start with floret's line of eight fields", path, 0)
        words = _read_rows(source, True, *fields[0], np.float32, "utf-8", "strict")
    if words.keys != [str(row) for row in range(fields[0][0])]:
        raise FormatError("has rows that are not numbered from 0 on", path)
    return words, fields[1]


def _floret_header(source: Source) -> tuple[tuple[int, int], list[str]] | None:
    """Rows and dimensions, and the other fields; consumes the line."""
    data = bytes(source.peek(1000)[:1000])
    end = data.find(b"\n") + 1
    fields = data[:end].split()
    if len(fields) != 8:
        return None
    try:
        rows, d = [int(field) for field in fields[:6]][:2]
        others = [field.decode() for field in fields[2:]]
    except ValueError:
        return None
    if rows < 1 or not 0 < d <= _MOST_DIMENSIONS:
        raise FormatError(f"promises {rows} rows of {d} numbers", source.path, 0)
    source.skip(end)
    return (rows, d), others


def _read_rows(
    source: Source, header: bool, count: int, d: int, dtype: DTypeLike, encoding: str, errors: str
) -> Words:
    """The remaining text: ``count`` rows if a header gave that number, else at most ``count``."""
    path = source.path
    # Rows take at least 2 d + 1 bytes, the last one 2 d.
    if header and source.size is not None and count * (2 * d + 1) - 1 > source.size - source.offset:
        raise TruncatedError(f"is too short for {count} rows of {d} numbers", path, source.offset)
    table = _Table(path, d, dtype, encoding, errors)
    table.reserve(count if header else _estimated_rows(source, count), source)
    done, needed = 0, 1
    while done < count:
        piece = source.peek(needed)
        last = len(piece) < needed
        lines = min(count - done, _native.files.count_lines(piece, last))
        if lines:
            out = table.room(lines, (np.float32, np.float64))
            rows, used, bad, spans = _native.files.read_text_rows(piece, out, last)
            if bad >= 0:
                row = done + bytes(piece[:bad]).count(b"\n")
                raise _bad_row(bytes(piece[bad:]), source, bad, row, count, d)
            if header and (spans[:, 0] < 0).any():
                row = done + int((spans[:, 0] < 0).argmax())
                raise FormatError(f"row {row} is an empty line", path, source.offset)
            table.add(piece, spans, out, source.offset)
            done += rows
            source.skip(used)
            needed = 1
        elif last:
            if header:
                raise TruncatedError(f"ends within row {done} of {count}", path, source.offset)
            break
        elif needed > _LONGEST_WORD + 64 * d:
            raise FormatError(f"row {done} is too long for {d} numbers", path, source.offset)
        else:
            needed = len(piece) + 1
    return table.words()


def read_binary(
    path: PathLike,
    *,
    limit: int | None = None,
    dtype: DTypeLike = np.float32,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> Words:
    """Read a binary file of vectors; parameters and errors as for `read_text`."""
    _check_limit(limit)
    with _reading(path, "binary") as source:
        count, d = _header(source, limit)
        row_bytes = 4 * d + 1
        if source.size is not None and count * row_bytes > source.size - source.offset:
            raise TruncatedError(
                f"is too short for {count} rows of {d} floats", path, source.offset
            )
        room = min(1000 + 32 * d, _MEGABYTE)
        if count and _is_row(bytes(source.peek(room)[:room]), d):
            raise FormatError("row 0 is text", path, source.offset)
        table = _Table(path, d, dtype, encoding, errors)
        table.reserve(count, source)
        done, needed = 0, row_bytes
        while done < count:
            piece = source.peek(needed)
            out = table.room(min(count - done, len(piece) // row_bytes), (np.float32,))
            rows, used, spans = _native.files.read_binary_rows(piece, out)
            if rows:
                table.add(piece, spans[:rows], out[:rows], source.offset)
                done += rows
                source.skip(used)
                needed = row_bytes
            elif len(piece) < needed:
                raise TruncatedError(
                    f"ends within row {done} of {count}", path, source.offset + len(piece)
                )
            elif needed > row_bytes + _LONGEST_WORD:
                raise FormatError(
                    f"row {done} has no word that ends within {_LONGEST_WORD} bytes",
                    path,
                    source.offset,
                )
            else:
                needed = len(piece) + 1
        return table.words()


def read_counts(
    path: PathLike, *, encoding: str = "utf-8", errors: str = "strict"
) -> dict[str, int]:
    """Read a vocabulary file, lines ``word count``. Raises FormatError for another line."""
    counts: dict[str, int] = {}
    with reading(path) as source:
        for offset, line in source.lines():
            fields = line.rstrip(b" \r\n\t").rsplit(b" ", 1)
            try:
                word, count = fields[0], int(fields[1])
            except (ValueError, IndexError):
                raise FormatError(
                    f"lines must be a word and a count, got {line[:40]!r}", path, offset
                ) from None
            try:
                counts.setdefault(word.decode(encoding, errors), count)
            except UnicodeDecodeError as error:
                raise _explained(error, path, offset) from None
    return counts


def write(
    path: PathLike,
    keys: Sequence[object],
    vectors: NDArray[Any],
    *,
    order: Iterable[int] | None = None,
    binary: bool = False,
    header: int | None = None,
    first_line: str = "",
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
    first_line : str
        Another first line, as floret's.
    prefix : str
        Put before every word.
    append : bool
        Append to an existing file.

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
    size = max(1, _PIECE // (26 * vectors.shape[1] + 100))  # rows at a time
    with writing(path, append=append) as file:
        if header is not None:
            file.write(b"%d %d\n" % (header, vectors.shape[1]))
        if first_line:
            file.write(first_line.encode() + b"\n")
        for start in range(0, len(words), size):
            some = words[start : start + size]
            part = vectors[[row for row, _ in some]]
            names = [word for _, word in some]
            if binary:
                numbers = np.ascontiguousarray(part, "<f4").data.cast("B")
                step = 4 * part.shape[1]
                for row, word in enumerate(names):
                    file.write(word + b" ")
                    file.write(numbers[row * step : (row + 1) * step])
            elif part.dtype == np.float32:
                file.write(_native.files.write_text_rows(names, np.ascontiguousarray(part)))
            else:
                for word, values in zip(names, part, strict=True):
                    file.write(word + b" " + " ".join(map(str, values)).encode() + b"\n")


def write_counts(
    path: PathLike, counts: Iterable[tuple[str, int]], *, append: bool = False
) -> None:
    """Write a vocabulary file, lines ``word count``."""
    with writing(path, append=append) as file:
        for word, count in counts:
            file.write(f"{word} {count}\n".encode())


def sniff(path: PathLike) -> str | None:
    """What a file seems to hold: "text", "binary", "headerless" (text), "floret", or None.

    A header is a first line of exactly two whole numbers; after it, text is a line whose last d
    fields are numbers, or what cannot be floats. Without one, the first line must be a word and at
    least two numbers.
    """
    with reading(path) as source, contextlib.suppress(FormatError):
        _skip_mark(source)
        data = bytes(source.peek(_MEGABYTE))
        first, _, rest = data.partition(b"\n")
        if len(first.split()) == 2 and len(first) < len(data):
            count, d = _header(source, None)
            short = source.size is not None and count * (4 * d + 1) > source.size - source.offset
            words = (short or len(rest) > 100) and _is_text(rest)
            return "text" if not rest or words or _is_row(rest, d) else "binary"
        if _floret_header(source) is not None:
            return "floret"
        if b"\0" not in first and _common_dimensions(source) >= 2:
            return "headerless"
    return None


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be at least 0 (which reads all, as None), got {limit}")


@contextlib.contextmanager
def _reading(path: PathLike, expected: str) -> Iterator[Source]:
    """`reading`; a FormatError says what else of `_READ_WITH` the file seems to be."""
    try:
        with reading(path, progress=True) as source:
            yield source
    except FormatError as error:
        with contextlib.suppress(FormatError, OSError):
            found = sniff(path) if os.path.isfile(path) else None
            if found in _READ_WITH and found != expected:
                error.args = (f"{error}; it seems to be {_READ_WITH[found]}",)
        raise


def _skip_mark(source: Source) -> None:
    if bytes(source.peek(3)[:3]) == codecs.BOM_UTF8:
        source.skip(3)


def _is_row(data: bytes, d: int) -> bool:
    """Whether the first line is a word and d numbers, between spaces or (an error) tabs."""
    line = data.partition(b"\n")[0].replace(b"\t", b" ").rstrip(b" \r")
    fields = line.rsplit(b" ", d)
    return len(fields) == d + 1 and _trailing_numbers(fields) == d


def _is_text(data: bytes) -> bool:
    """Whether this is UTF-8 without control characters, as a hundred bytes of floats never are."""
    data = data[:4096]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(data) is None


class _Table:
    """The rows of one file: words to numbers, the first of equal ones wins."""

    def __init__(
        self, path: PathLike, d: int, dtype: DTypeLike, encoding: str, errors: str
    ) -> None:
        self.path, self.encoding, self.errors = path, encoding, errors
        self.vectors = np.empty((0, d), dtype)
        self.distinct = _native.files.DistinctWords()
        self.keys = self.distinct.words
        self.repeated = 0

    def reserve(self, rows: int, source: Source) -> None:
        """Allocate ``count`` rows, as far as that is plausible; `room` allocates more."""
        d, dtype = self.vectors.shape[1], self.vectors.dtype
        plausible = (_UNPACKED * source.packed + 64 * _MEGABYTE) // (d * dtype.itemsize) + 1
        self.vectors = np.empty((min(rows, plausible), d), dtype)

    def room(self, rows: int, dtypes: Sequence[type[np.floating[Any]]]) -> NDArray[Any]:
        """Where the next rows go: the table itself, or an array of the last of the dtypes."""
        start, d = len(self.keys), self.vectors.shape[1]
        if self.vectors.dtype not in dtypes:
            return np.empty((rows, d), dtypes[-1])
        self._grow(start + rows)
        return self.vectors[start : start + rows]

    def _grow(self, rows: int) -> None:
        # In place, so that old and new never exist together; no view of the old rows is used again.
        if rows > len(self.vectors):
            self.vectors.resize((rows + rows // 4, self.vectors.shape[1]), refcheck=False)

    def add(self, text: memoryview, spans: NDArray[Any], rows: NDArray[Any], offset: int) -> None:
        """Keep rows that `room` has returned; their words are at the spans of the text."""
        start = len(self.keys)
        try:
            kept = self.distinct.add(text, spans, self.encoding, self.errors)
        except UnicodeDecodeError:
            for begin, end in spans[spans[:, 0] >= 0].tolist():
                try:
                    bytes(text[begin:end]).decode(self.encoding, self.errors)
                except UnicodeDecodeError as error:
                    raise _explained(error, self.path, offset + begin) from None
            raise
        self.repeated += int((spans[:, 0] >= 0).sum()) - (len(self.keys) - start)
        if kept is not None:  # without repeated words and blank lines
            rows = rows[kept]
        if rows.dtype != self.vectors.dtype or kept is not None:
            self._grow(start + len(rows))
            with np.errstate(over="ignore"):  # float16 has no number for it, inf is what it has
                self.vectors[start : start + len(rows)] = rows

    def words(self) -> Words:
        if len(self.keys) < len(self.vectors):
            self.vectors.resize((len(self.keys), self.vectors.shape[1]), refcheck=False)
        if self.repeated:
            warnings.warn(
                f"{self.path}: {self.repeated} rows repeat a word; the first of each was kept",
                stacklevel=5,
            )
        declared = len(self.keys) + self.repeated
        return Words(self.keys, self.vectors, declared)


def _explained(error: UnicodeDecodeError, path: PathLike, offset: int) -> UnicodeDecodeError:
    # The C tool cuts long words within a character, so this is met in good files.
    error.reason += f" ({path}, byte {offset}; unicode_errors='replace' reads such words)"
    return error


def _bad_row(text: bytes, source: Source, at: int, row: int, count: int, d: int) -> FormatError:
    line, newline, _ = text.partition(b"\n")
    if not newline:
        of = "" if count == sys.maxsize else f" of {count}"
        return TruncatedError(f"ends within row {row}{of}", source.path, source.offset + at)
    tabs = " (tabs do not separate, spaces do)" if _is_row(line, d) else ""
    return FormatError(
        f"row {row} must be a word and {d} numbers, got {line[:40]!r}{tabs}",
        source.path,
        source.offset + at,
    )


def _header(source: Source, limit: int | None) -> tuple[int, int]:
    """Rows to read and d; consumes the first line."""
    data = bytes(source.peek(100)[:100])
    end = data.find(b"\n") + 1
    if not end:
        if len(data) < 100:
            raise TruncatedError("ends within its first line", source.path, len(data))
        raise FormatError("must start with a line of two whole numbers", source.path, 0)
    try:
        count, d = map(int, data[:end].split())
    except ValueError:
        raise FormatError(
            f"must start with a line of two whole numbers, got {data[: min(end, 40)]!r}",
            source.path,
            0,
        ) from None
    if count < 0 or not 0 < d <= _MOST_DIMENSIONS:
        raise FormatError(f"promises {count} rows of {d} numbers", source.path, 0)
    source.skip(end)
    return min(count, limit or count), d


def _estimated_rows(source: Source, count: int) -> int:
    """About how many rows a file without a header has; rather more, since room costs nothing."""
    piece = source.peek(_MEGABYTE)
    lines = _native.files.count_lines(piece, True)
    size = len(piece) if source.size is None else source.size
    return min(count, 100 + lines * size * 21 // (20 * max(1, len(piece))))


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


def _common_dimensions(source: Source) -> int:
    # Words may end in numbers ("at 7"), so the fewest numbers over several lines are d.
    needed = _MEGABYTE
    while True:
        data = bytes(source.peek(needed))
        lines, at_end = data.split(b"\n", _FIRST_LINES), len(data) < needed
        if at_end or len(lines) > 1 or needed > 64 * _MEGABYTE:
            break
        needed *= 2
    if not at_end or len(lines) > _FIRST_LINES:
        lines.pop()  # not whole
    lines = [line.rstrip(b" \r\t") for line in lines]
    lines = [line for line in lines if line.strip()]
    found = [_trailing_numbers(line.split(b" ")) for line in lines]
    if not found or min(found) < 1:  # tabs, which an error of the first row then speaks of
        found = [_trailing_numbers(line.split(b"\t")) for line in lines]
    if not found or min(found) < 1:
        raise FormatError("must have a word and numbers on each line", source.path, 0)
    if found[0] == 1 < len(found) and min(found[1:]) > 1:
        raise FormatError(f"starts with {lines[0][:40]!r}, which is not a row", source.path, 0)
    return min(found)
