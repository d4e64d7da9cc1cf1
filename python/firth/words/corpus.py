"""Corpora: files with one sentence a line, or iterables of token lists, to counts and ids.

N = tokens of the corpus that are in the vocabulary, V = words of the vocabulary.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _corpus, _native
from firth.progress import progress_bar
from firth.words.readers import file_lines

_PIECE = 64 << 20  # bytes of text scanned in one native call
_SPACES = bytes.maketrans(bytes(range(33)), b" " * 33)  # the scanner takes these for spaces
_IN_MEMORY = 1 << 30  # bytes of ids beyond which they go to a temporary file

Sentences = Iterable[Iterable[Any]]  # tokens are str or int


@dataclass(frozen=True)
class WordCounts:
    """What a scan finds: words in the order of their first occurrence, and totals."""

    words: list[str]
    counts: NDArray[np.int64]
    total_words: int
    sentences: int


def _pieces(path: str | os.PathLike[str], label: str, progress: bool | None) -> Iterator[Any]:
    """The mapped file in pieces that end at white space, each with whether it is the last."""
    size = os.path.getsize(path)
    if size == 0:
        raise ValueError(f"{os.fspath(path)}: the corpus is empty")
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
        progress_bar(size, "B", label, progress) as bar,
    ):
        start = 3 if mapped[:3] == b"\xef\xbb\xbf" else 0  # a byte order mark is no text
        while start < size:
            stop, length = min(size, start + _PIECE), _PIECE
            while stop < size:  # one word may be longer than a piece
                with view[start:stop] as window:
                    cut = _native.cut_at_space(window)
                if cut < stop - start or bytes(view[stop - 1 : stop]).isspace():
                    stop = start + cut
                    break
                length *= 2
                stop = min(size, start + length)
            with view[start:stop] as piece:
                yield piece, stop == size
            bar.update(stop - start)
            start = stop


def count_file(path: str | os.PathLike[str], progress: bool | None = None) -> WordCounts:
    """Count the words of a file in UTF-8, one sentence a line, on all threads.

    Words are split at ASCII white space and control characters; nothing else is changed. Raises
    ValueError for an empty file and for a word that is not UTF-8 (with the word), OSError where
    the file cannot be read.
    """
    counter = _native.WordCounter()
    for piece, _ in _pieces(path, "counting words", progress):
        counter.add(piece)
    words, counts = counter.finish()
    try:
        decoded = [word.decode() for word in words]
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fspath(path)}: {error.object[:40]!r} is not UTF-8 text") from None
    return WordCounts(decoded, counts, counter.total_words, counter.sentences)


def count_sentences(
    sentences: Sentences,
    counts: dict[Any, int],
    prune: Callable[[], object] | None = None,
    limit: int = 0,
) -> tuple[int, int]:
    """Add the words of an iterable of token lists to ``counts``; sentences and words seen.

    ``prune`` is called after each sentence that leaves more than ``limit`` words.
    """
    return _corpus.count(sentences, counts, prune, limit)


def file_sentences(path: str | os.PathLike[str]) -> Iterator[list[str]]:
    """The lines of a file with words split as `count_file` does, without the empty ones."""
    for line in file_lines(path):
        if words := line.translate(_SPACES).split():
            yield [word.decode() for word in words]


def encode_file(
    path: str | os.PathLike[str], words: list[str], progress: bool | None = None
) -> NDArray[np.int32]:
    """Ids of a file's tokens, (N,): the row of each known word, the last of a line as ``~id``.

    Kept in memory up to 1 GiB, beyond that in a temporary file that is mapped. TypeError where
    ``words`` are not all str: a file has no others.
    """
    if not all(isinstance(word, str) for word in words):
        raise TypeError(
            f"{os.fspath(path)}: words of a file are str, but the vocabulary has others: give the "
            "corpus as an iterable"
        )
    encoder = _native.WordEncoder([word.encode() for word in words])
    parts: list[NDArray[np.int32]] = []
    spilled = None
    for piece, last in _pieces(path, "encoding", progress):
        parts.append(encoder.encode(piece, last))
        if spilled is None and sum(part.nbytes for part in parts) > _IN_MEMORY:
            spilled = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its mapping
        if spilled is not None:
            for part in parts:
                spilled.write(part.data)
            parts = []
    if spilled is not None:
        with spilled:
            spilled.flush()
            return np.memmap(spilled, np.int32, "r")  # the mapping outlives the file object
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def encode_sentences(
    sentences: Sentences, key_to_index: dict[Any, int]
) -> tuple[NDArray[np.int32], int, int]:
    """Ids of an iterable's tokens as in `encode_file`, the number of sentences and of words."""
    ids, n_sentences, n_words = _corpus.encode(sentences, key_to_index)
    return np.frombuffer(ids, np.int32), n_sentences, n_words
