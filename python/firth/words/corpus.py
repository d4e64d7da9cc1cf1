"""Corpora: files with one sentence a line, or iterables of token lists, to counts and ids.

`opened` turns either into a `Corpus`, once per training; all later steps take the `Corpus`. N =
tokens of the corpus that are in the vocabulary, V = words of the vocabulary.

A file is mapped. Compressed files and pipes are copied to a temporary file first. If another
process truncates a mapped file, reading it kills this process (SIGBUS): the size is checked before
each piece, which almost always catches this in time.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import GeneratorType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from firth import _corpus, _native
from firth.errors import warn
from firth.formats.files import PathLike, plain
from firth.progress import progress_bar

_PIECE = 64 << 20  # bytes of text scanned in one native call
_SPACES = bytes.maketrans(bytes(range(33)), b" " * 33)  # the scanner takes these for spaces
_IN_MEMORY = 1 << 30  # bytes of ids beyond which they go to a temporary file

Sentences = Iterable[Iterable[Any]]  # tokens are str or int; a `Corpus` is one, too


@dataclass(frozen=True)
class WordCounts:
    """Result of a scan: words in the order of their first occurrence, and totals."""

    words: list[Any]
    counts: NDArray[np.int64]
    total_words: int
    sentences: int


class Corpus(ABC):
    """A text in memory or on disk, one sentence after the other."""

    @abstractmethod
    def __iter__(self) -> Iterator[Iterable[Any]]:
        """The tokens of each sentence."""

    @abstractmethod
    def count(self) -> WordCounts:
        """Count all words."""

    @abstractmethod
    def encode(self, words: list[Any], rows: dict[Any, int]) -> NDArray[np.int32]:
        """Ids of the known tokens, (N,): the row of each, the last of a sentence as ``~id``.

        ``words`` are those of the vocabulary in order, ``rows`` the row of each. They come from
        memory up to 1 GiB, beyond that from a temporary file that is mapped.
        """

    def lengths(self, rows: dict[Any, int]) -> Iterator[tuple[int, int]]:
        """Words of each sentence, and of how many of them `encode` gives ids."""
        for sentence in self:
            known = [word in rows for word in sentence]
            yield len(known), sum(known)


@contextlib.contextmanager
def opened(
    where: str,
    sentences: Sentences | None,
    corpus_file: PathLike | None,
    *,
    passes: int = 1,
    progress: bool | None = None,
) -> Iterator[Corpus]:
    """The `Corpus` of one of the two, which can be iterated any number of times.

    Parameters
    ----------
    where : str
        The function, for messages.
    sentences : iterable of iterables of str or int
        A `Corpus` is returned unchanged.
    corpus_file : path-like
        UTF-8 text, one sentence a line, words separated by ASCII white space or control
        characters; compressed or a pipe, too; "-" is standard input.
    passes : int
        1: a generator is read once, as it comes. 2: it is refused. 0: it becomes a list.
    progress : bool, optional
        For bars of files, as for `progress_bar`.

    Raises
    ------
    TypeError
        Not exactly one of the two, a str, not an iterable, or (``passes=2``) a generator.
    """
    if (sentences is None) == (corpus_file is None):
        raise TypeError(f"{where}: give either sentences or corpus_file")
    if corpus_file is not None:
        path = os.fspath(corpus_file)
        with plain(path, progress=progress) as file:
            yield FileCorpus(file, path, progress)
        return
    if isinstance(sentences, Corpus):
        yield sentences
        return
    if isinstance(sentences, (str, bytes)):
        raise TypeError(f"{where}: sentences must be lists of words; for a file use corpus_file=")
    if not isinstance(sentences, Iterable):
        raise TypeError(f"{where}: sentences must be an iterable of lists of words")
    if isinstance(sentences, GeneratorType) or iter(sentences) is sentences:
        if passes > 1:
            raise TypeError(
                f"{where}: sentences are read {passes} times; give a list or a class with "
                "__iter__, not a generator"
            )
        yield _Lists(sentences if passes else list(sentences))
        return
    if isinstance(next(iter(sentences), None), str):
        warn(
            "Each 'sentences' item should be a list of words (usually unicode strings). "
            "In a plain string each letter is a word."
        )
    yield _Lists(sentences)


class _Lists(Corpus):
    def __init__(self, sentences: Sentences) -> None:
        self._sentences = sentences

    def __iter__(self) -> Iterator[Iterable[Any]]:
        return iter(self._sentences)

    def count(self) -> WordCounts:
        counts: dict[Any, int] = {}
        sentences, words = _corpus.count(self._sentences, counts)
        numbers = np.fromiter(counts.values(), np.int64, len(counts))
        return WordCounts(list(counts), numbers, words, sentences)

    def encode(self, words: list[Any], rows: dict[Any, int]) -> NDArray[np.int32]:
        ids, _, _ = _corpus.encode(self._sentences, rows)
        return np.frombuffer(ids, np.int32)


class FileCorpus(Corpus):
    """A text in a regular file, such as `plain` gives; ``name`` is for messages.

    With ``start`` and ``stop`` it is these bytes of the file, whole lines.
    """

    def __init__(
        self, file: BinaryIO, name: str, progress: bool | None = None, start: int = 0,
        stop: int | None = None,
    ) -> None:  # fmt: skip
        self._file, self._name, self._progress = file, name, progress
        self._size = os.fstat(file.fileno()).st_size
        self._start, self._stop = start, self._size if stop is None else stop

    def __iter__(self) -> Iterator[list[str]]:
        unfinished: list[bytes] = []  # a line may be longer than a piece
        for piece, last in self._pieces("", False):
            unfinished.append(bytes(piece))
            if not last and b"\n" not in unfinished[-1]:
                continue
            lines = b"".join(unfinished).split(b"\n")
            unfinished = [] if last else [lines.pop()]
            for line in lines:
                if words := line.translate(_SPACES).split():
                    yield [word.decode() for word in words]

    def count(self) -> WordCounts:
        """On all threads. ValueError for an empty file and for a word that is not UTF-8."""
        counter = _native.words.WordCounter()
        for piece, _ in self._pieces("counting words", self._progress):
            counter.add(piece)
        words, counts = counter.finish()
        try:
            decoded = [word.decode() for word in words]
        except UnicodeDecodeError as error:
            raise ValueError(f"{self._name}: {error.object[:40]!r} is not UTF-8 text") from None
        return WordCounts(decoded, counts, counter.total_words, counter.sentences)

    def encode(self, words: list[Any], rows: dict[Any, int]) -> NDArray[np.int32]:
        """TypeError where ``words`` are not all str: a file has no others."""
        if not all(isinstance(word, str) for word in words):
            raise TypeError(
                f"{self._name}: words of a file are str, but the vocabulary has others: give the "
                "corpus as an iterable"
            )
        encoder = _native.words.WordEncoder([word.encode() for word in words])
        parts: list[NDArray[np.int32]] = []
        spilled = None
        for piece, last in self._pieces("encoding", self._progress):
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
        # No part: the file is a byte order mark alone.
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int32), *parts])

    def _pieces(self, label: str, progress: bool | None) -> Iterator[tuple[Any, bool]]:
        """The text in pieces of `_PIECE` bytes or less, each with whether it is the last.

        They end with a line, or where a line is longer, at white space; a word that is longer is a
        piece of its own.
        """
        start, size = self._start, self._stop
        if size == 0:
            raise ValueError(f"{self._name}: the corpus is empty")
        self._check_size()
        with (
            mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
            progress_bar(size - start, "B", label, progress) as bar,
        ):
            if start == 0 and mapped[:3] == b"\xef\xbb\xbf":  # a byte order mark is not text
                start = 3
            while start < size:
                self._check_size()
                stop, length = min(size, start + _PIECE), _PIECE
                while stop < size:  # one word may be longer than a piece
                    with view[start:stop] as window:
                        cut = _native.words.cut_at_space(window)
                    if cut < stop - start or bytes(view[stop - 1 : stop]).isspace():
                        stop = start + cut
                        break
                    length *= 2
                    stop = min(size, start + length)
                with view[start:stop] as piece:
                    yield piece, stop == size
                bar.update(stop - start)
                start = stop

    def _check_size(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        if size != self._size:
            raise RuntimeError(
                f"{self._name}: the corpus changed while it was read: {size} bytes instead of "
                f"{self._size}"
            )


class LineEnds(Corpus):
    """A corpus whose every sentence ends with one more word, as fastText's ``</s>``."""

    def __init__(self, corpus: Corpus, end: str) -> None:
        self._corpus, self._end = corpus, end

    def __iter__(self) -> Iterator[Iterable[Any]]:
        for sentence in self._corpus:
            yield [*sentence, self._end]

    def lengths(self, rows: dict[Any, int]) -> Iterator[tuple[int, int]]:
        """As of the corpus, and the end once more where `encode` has it."""
        end = self._end in rows
        for length, known in self._corpus.lengths(rows):
            yield length + 1, known + (end and known > 0)

    def count(self) -> WordCounts:
        """As the corpus counts, and the end once more for each sentence."""
        found = self._corpus.count()
        words, counts = list(found.words), found.counts.tolist()
        if self._end not in words:
            words.append(self._end)
            counts.append(0)
        counts[words.index(self._end)] += found.sentences
        total = found.total_words + found.sentences
        return WordCounts(words, np.array(counts, np.int64), total, found.sentences)

    def encode(self, words: list[Any], rows: dict[Any, int]) -> NDArray[np.int32]:
        """A sentence of which no word is known is left out, its end too."""
        ids = self._corpus.encode(words, rows)
        if self._end not in rows:
            return ids
        last = np.flatnonzero(ids < 0)
        with_ends = np.insert(ids, last + 1, ~np.int32(rows[self._end]))
        with_ends[last + np.arange(len(last))] = ~ids[last]
        return with_ends


def count_into(
    text: Corpus,
    counts: dict[Any, int],
    prune: Callable[[], object],
    limit: int,
) -> tuple[int, int]:
    """Add the words of a corpus to ``counts``, with one thread; sentences and words seen.

    ``prune`` is called after each sentence that leaves more than ``limit`` words.
    """
    sentences, words = _corpus.count(text, counts, prune, limit)
    return sentences, words
