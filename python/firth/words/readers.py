"""Corpora on disk as iterables of sentences, with gensim's names: each may be read many times.

Files may be compressed (gzip, bzip2, xz, Zstandard, zip with one file in it), which their first
bytes show. Text is UTF-8; words are split at white space of Unicode, as gensim does.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

from firth.formats.files import PathLike, reading

_PIECE = 1 << 20  # bytes read at once
_SENTENCE = 10_000  # gensim's greatest length of a sentence


class LineSentence:
    """A file with one sentence a line, words separated by white space.

    Parameters
    ----------
    source : path-like or file object
        A file object must have ``seek``.
    max_sentence_length : int
        Longer lines come as several sentences.
    limit : int, optional
        Read at most this many lines.
    """

    def __init__(
        self, source: Any, max_sentence_length: int = _SENTENCE, limit: int | None = None
    ) -> None:
        self.source, self.max_sentence_length, self.limit = source, max_sentence_length, limit

    def __repr__(self) -> str:
        return f"LineSentence({self.source!r})"

    def __iter__(self) -> Iterator[list[str]]:
        if hasattr(self.source, "seek"):
            self.source.seek(0)
            lines: Iterable[bytes | str] = self.source
        else:
            lines = file_lines(self.source)
        return _sentences(lines, self.max_sentence_length, self.limit)


class PathLineSentences:
    """All files of a folder (not of folders in it) in the order of their names, as `LineSentence`.

    Parameters
    ----------
    source : path-like
        A folder, or one file.
    max_sentence_length : int
        Longer lines come as several sentences.
    limit : int, optional
        Read at most this many lines of each file.

    Raises
    ------
    ValueError
        ``source`` is neither a folder nor a file.
    """

    def __init__(
        self, source: PathLike, max_sentence_length: int = _SENTENCE, limit: int | None = None
    ) -> None:
        self.source, self.max_sentence_length, self.limit = source, max_sentence_length, limit
        if os.path.isfile(source):
            self.input_files = [os.fspath(source)]
        elif os.path.isdir(source):
            names = sorted(os.listdir(source))
            self.input_files = [os.path.join(source, name) for name in names]
        else:
            raise ValueError(f"PathLineSentences: {source!r} is neither a folder nor a file")

    def __repr__(self) -> str:
        return f"PathLineSentences({self.source!r})"

    def __iter__(self) -> Iterator[list[str]]:
        for path in self.input_files:
            yield from _sentences(file_lines(path), self.max_sentence_length, self.limit)


class Text8Corpus:
    """A file that is one long line, as http://mattmahoney.net/dc/text8.zip, in even pieces.

    Parameters
    ----------
    fname : path-like
    max_sentence_length : int
        Words of a piece.
    """

    def __init__(self, fname: PathLike, max_sentence_length: int = _SENTENCE) -> None:
        self.fname, self.max_sentence_length = fname, max_sentence_length

    def __repr__(self) -> str:
        return f"Text8Corpus({self.fname!r})"

    def __iter__(self) -> Iterator[list[str]]:
        words = itertools.chain.from_iterable(
            text.decode().split() for text in _cut(self.fname, b" ")
        )
        while sentence := list(itertools.islice(words, self.max_sentence_length)):
            yield sentence


class BrownCorpus:
    """The Brown corpus (part of NLTK's data): a folder of files with words as ``word/TAG``.

    Yields ``word/ta``: the word in lower case and two letters of its tag; words whose tag is not
    letters (punctuation) are left out.
    """

    def __init__(self, dirname: PathLike) -> None:
        self.dirname = dirname

    def __repr__(self) -> str:
        return f"BrownCorpus({self.dirname!r})"

    def __iter__(self) -> Iterator[list[str]]:
        for name in os.listdir(self.dirname):
            path = os.path.join(self.dirname, name)
            if not os.path.isfile(path):
                continue
            for line in file_lines(path):
                pairs = [token.split("/") for token in line.decode().split()]
                words = [
                    f"{pair[0].lower()}/{pair[1][:2]}"
                    for pair in pairs
                    if len(pair) == 2 and pair[1][:2].isalpha()
                ]
                if words:
                    yield words


def _sentences(lines: Iterable[bytes | str], length: int, limit: int | None) -> Iterator[list[str]]:
    """The words of each line, cut into sentences of at most ``length``."""
    for line in itertools.islice(lines, limit):
        words = (line if isinstance(line, str) else line.decode()).split()
        for start in range(0, len(words), length):
            yield words[start : start + length]


def file_lines(path: PathLike) -> Iterator[bytes]:
    """The lines of a file without their ends, of any length; decompressed as they are read."""
    for piece in _cut(path, b"\n"):
        yield from piece.removesuffix(b"\n").split(b"\n")


def _cut(path: PathLike, mark: bytes) -> Iterator[bytes]:
    """A file in pieces; each but the last ends with ``mark``."""
    unfinished: list[bytes] = []
    with reading(path) as source:
        while True:
            with source.peek(_PIECE) as view:
                piece = bytes(view)
            first = source.offset == 0
            source.skip(len(piece))
            if not piece:
                break
            if first:
                piece = piece.removeprefix(b"\xef\xbb\xbf")  # a byte order mark is no text
            end = piece.rfind(mark) + 1
            if end:
                yield b"".join([*unfinished, piece[:end]])
                unfinished = []
            unfinished.append(piece[end:])
    if rest := b"".join(unfinished):
        yield rest
