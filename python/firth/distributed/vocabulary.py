"""The words of a corpus, counted on a Ray cluster: the order and the counts of one machine.

Every run of splits is counted by itself; neighbours are merged, and their results again, as a tree.
Words stay in the order of their first occurrence, which does not depend on how the tree is cut.

V = words of the vocabulary.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import Rules, Whole, check_all
from firth.distributed import cluster, splits
from firth.distributed.splits import Paths, Split
from firth.words.corpus import WordCounts

_MERGED = 8  # results that one task merges

_RANGES: Rules = {
    "min_count": Whole(0, 2**63 - 1),
    "workers": Whole(1, optional=True),
}


@dataclass(frozen=True, eq=False)
class Vocab:
    """The words of a corpus that are frequent enough, as `firth.Word2Vec` orders them.

    Attributes
    ----------
    index_to_key : list of str
        By falling count; of equal ones the word that occurs later first comes first.
    counts : ndarray (V,), int64
    raw : WordCounts
        All words in the order of their first occurrence.
    """

    index_to_key: list[str]
    counts: NDArray[np.int64]
    raw: WordCounts

    @cached_property
    def key_to_index(self) -> dict[str, int]:
        """The row of each word."""
        return {word: row for row, word in enumerate(self.index_to_key)}

    @property
    def total_words(self) -> int:
        """Words of the corpus, those outside the vocabulary too."""
        return self.raw.total_words

    @property
    def sentences(self) -> int:
        """Lines that have words."""
        return self.raw.sentences

    @property
    def word_freq(self) -> Mapping[str, int]:
        """All words and their counts, for `Word2Vec.build_vocab_from_freq`.

        It makes of them what `Word2Vec.build_vocab` makes of the corpus.
        """
        return dict(zip(self.raw.words, self.raw.counts.tolist(), strict=True))


def build_vocab(
    paths: Paths,
    min_count: int = 5,
    *,
    workers: int | None = None,
    progress: bool | None = None,
) -> Vocab:
    """Count the words of files and keep those that are frequent enough.

    Order and counts are those of `firth.Word2Vec.build_vocab` for one file with the lines of all,
    whatever the number of nodes and workers.

    Parameters
    ----------
    paths : path-like, or a sequence of them
        UTF-8 text, one sentence a line; compressed, too. Patterns (``*``, ``**``) and what fsspec
        opens ("s3://..."). A file without "://" must be on every node.
    min_count : int
        Words that occur less often are left out.
    workers : int, optional
        Tasks at a time; by default one for each processor of the cluster, at most 64 for each.
    progress : bool, optional
        Show a bar: always, never, or (default) on a terminal.

    Raises
    ------
    FileNotFoundError
        A file is missing, here or on a node.
    ValueError
        The files are empty, or a word is not UTF-8; a parameter is out of range.
    RuntimeError
        No word occurs ``min_count`` times; a file changed meanwhile; a node cannot do the work.
    """
    given = check_all("build_vocab", _RANGES, {"min_count": min_count, "workers": workers})
    found = count("build_vocab", paths, workers=given["workers"], progress=progress)
    return chosen("build_vocab", found, given["min_count"])


def chosen(where: str, found: WordCounts, min_count: int) -> Vocab:
    """The words that occur ``min_count`` times; RuntimeError where there are none."""
    kept = np.flatnonzero(found.counts >= min_count)
    if not len(kept):
        raise RuntimeError(
            f"{where}: no word occurs min_count={min_count} times: the corpus has "
            f"{found.total_words:,} words, {len(found.words):,} different ones"
        )
    kept = kept[np.lexsort((-kept, -found.counts[kept]))]
    return Vocab([found.words[i] for i in kept.tolist()], found.counts[kept], found)


def count(
    where: str, paths: Paths, *, workers: int | None = None, progress: bool | None = None
) -> WordCounts:
    """All words of files, counted on the cluster; ``where`` is the function, for messages."""
    here = cluster.nodes(where, splits.files(where, paths))
    cluster.check_workers(where, workers, here.cpus)
    runs = splits.runs(where, paths, workers or here.cpus)
    most = workers or 2 * here.cpus  # so that a task waits where one ends
    sizes = [sum(split.bytes for split in run) for run in runs]
    with contextlib.ExitStack() as stack:

        def level(work: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
            found = cluster.tasks(work, arguments, most=most, returns=2)
            stack.callback(found.close)  # what is under way ends with an error, too
            return _first_checked(found)

        counted = level(_count, ((run,) for run in runs))
        found = cluster.with_progress(counted, sizes, sum(sizes), "counting words", progress)
        left = len(runs)
        while left > 1:  # each level asks the one below for results as it needs them
            left = math.ceil(left / _MERGED)
            found = level(_merge, _groups(found))
        (last,) = found
        return unpacked(cluster.value(last))


def _first_checked(found: Iterable[Any]) -> Iterator[Any]:
    """References to what tasks counted; an error of theirs is raised."""
    for length, words in found:
        cluster.value(length)
        yield words


def _groups(references: Iterator[Any]) -> Iterator[tuple[Any, ...]]:
    while group := tuple(islice(references, _MERGED)):
        yield group


# What follows knows no Ray.

# Words parted by line ends, counts, total words, sentences: arrays, which are not copied between
# the processes of a node.
Packed = tuple[NDArray[np.uint8], NDArray[np.int64], int, int]


def _count(run: Sequence[Split]) -> tuple[int, Packed]:
    several = [count_split(split) for split in run]
    found = several[0] if len(several) == 1 else merge(several)
    return len(found.words), packed(found)


def _merge(*several: Packed) -> tuple[int, Packed]:
    found = merge([unpacked(one) for one in several])
    return len(found.words), packed(found)


def count_split(split: Split) -> WordCounts:
    """All words of a split."""
    with splits.lines(split) as text:
        return text.count()


def merge(several: Sequence[WordCounts]) -> WordCounts:
    """The words of several texts, one behind the other, in the order of their first occurrence."""
    rows: dict[Any, int] = {}
    places = [
        np.fromiter(
            (rows.setdefault(word, len(rows)) for word in one.words), np.int64, len(one.words)
        )
        for one in several
    ]
    counts = np.zeros(len(rows), np.int64)
    for one, place in zip(several, places, strict=True):
        counts[place] += one.counts  # each word is there once
    total, sentences = (
        sum(getattr(one, name) for one in several) for name in ("total_words", "sentences")
    )
    return WordCounts(list(rows), counts, total, sentences)


def packed(found: WordCounts) -> Packed:
    """Words of files as arrays."""
    return joined(found.words), found.counts, found.total_words, found.sentences


def unpacked(given: Packed) -> WordCounts:
    """What was packed."""
    text, counts, total, sentences = given
    return WordCounts(parted(text), counts, total, sentences)


def joined(words: Iterable[str]) -> NDArray[np.uint8]:
    """Words parted by line ends. One that has line ends itself, as none of a file, gets spaces."""
    text = "\n".join(word.replace("\n", " ") for word in words)
    return np.frombuffer(text.encode(), np.uint8)


def parted(text: NDArray[np.uint8]) -> list[str]:
    """The words that were joined."""
    return str(text.data, "utf-8").split("\n") if len(text) else []
