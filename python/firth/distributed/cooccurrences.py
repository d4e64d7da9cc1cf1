"""Co-occurrence counts of a corpus on a Ray cluster, an exact shuffle within a budget of memory.

Map: a run of splits is encoded and counted as on one machine, which yields rows of the matrix; they
are cut into bands of rows, each an object of its own. Reduce: the objects of a band are added.
Windows end with their line, and sums are of whole numbers (`firth.words.cooccurrences.unit`), so
nothing depends on the cuts: neither between splits nor between bands.

For training the words are dealt into parts like cards, so that each has frequent and rare ones.
Rows and columns of the matrix are then in the order of parts: the words of part 0 by falling count,
then those of part 1, and so on. With one part that is the order of the vocabulary.

V = words of the vocabulary, P = parts.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import Rules, Whole, check_all
from firth.distributed import cluster, splits
from firth.distributed.splits import Paths, Split
from firth.distributed.vocabulary import joined, parted
from firth.words.cooccurrences import Rows, added, sums, unit

PROCESS = 256 << 20  # bytes of a worker before it has done anything
_ENTRY = 12  # bytes of a pair in `Rows`
_BANDS = 4  # for each worker: so that all end at about the same time

RANGES: Rules = {
    "window": Whole(1),
    "memory": Whole(1 << 16, 2**63 - 1),
    "workers": Whole(1, optional=True),
}


@dataclass(frozen=True, eq=False)
class Counting:
    """What is counted. Parameters as of `GloVe`, but for these.

    memory : bytes of a worker.
    parts : P.
    cuts : ndarray (B + 1,), the rows where the bands begin, and V.
    """

    window: int
    symmetric: bool
    distance_weighting: bool
    memory: int
    parts: int
    cuts: NDArray[np.int64]

    @property
    def vocabulary(self) -> int:
        """V."""
        return int(self.cuts[-1])

    @property
    def unit(self) -> float:
        """What counts are divided by in the end."""
        return unit(self.window, self.distance_weighting)


def cooccurrences(
    paths: Paths,
    words: Sequence[str],
    counts: NDArray[Any],
    *,
    window: int = 15,
    symmetric: bool = True,
    distance_weighting: bool = True,
    workers: int | None = None,
    memory: int = 4 << 30,
    progress: bool | None = None,
) -> Iterator[tuple[int, Rows]]:
    """Count the co-occurrences of words in files; yields the rows of the matrix, some at a time.

    Rows, and the order of columns within them, are those of `firth.words.cooccurrences` for one
    file with the lines of all, bit for bit, whatever the nodes, the workers and the memory.

    Parameters
    ----------
    paths
        As for `build_vocab`.
    words : sequence of str, (V,)
        Row i belongs to the i-th.
    counts : array (V,)
        How often each occurs, for how rows are shared out; the result does not depend on them.
    window, symmetric, distance_weighting
        As for `firth.GloVe`.
    workers : int, optional
        Tasks at a time; by default one for each processor of the cluster, at most 64 for each.
    memory : int
        Bytes for the counts that a worker holds at a time; the process itself, and the vocabulary,
        come on top.
    progress : bool, optional
        As for `build_vocab`.

    Yields
    ------
    first : int
        The first of the rows.
    rows : tuple
        Lengths (R,) int64 of R rows; columns (M,) int32 and values (M,) float64 of their entries.
        Where ``symmetric``, the lower half with the diagonal.

    Raises
    ------
    FileNotFoundError, ValueError, RuntimeError
        As `build_vocab`.
    MemoryError
        No node has ``memory``.
    TypeError
        ``words`` are not all str.
    """
    where = "cooccurrences"
    given = check_all(where, RANGES, {"window": window, "memory": memory, "workers": workers})
    if len(words) != len(counts) or not len(words):
        raise ValueError(f"{where}: {len(counts)} counts for {len(words)} words")
    work = prepared(where, paths, words, given["memory"], given["workers"])
    settings = (given["window"], symmetric, distance_weighting, given["memory"], 1)
    cuts = bands(counts, given["window"], symmetric, work, parts=1, block=1)
    counting = Counting(*settings, cuts)
    alone = len(work.runs) == 1  # there is nothing to add
    shuffled, _ = shuffle(work, words, counting, progress, divide=alone)
    if alone:
        for first, (band,) in zip(cuts[:-1].tolist(), given_away(shuffled), strict=True):
            yield first, cluster.value(band)
        return
    arguments = ((counting, band) for band in given_away(shuffled))
    with contextlib.closing(
        cluster.tasks(_band, arguments, most=work.most, memory=work.memory)
    ) as found:
        for first, rows in zip(cuts[:-1].tolist(), found, strict=True):
            yield first, cluster.value(rows)


@dataclass(frozen=True)
class Work:
    """The splits of each task, by how many workers, with how many bytes for counts each."""

    runs: list[list[Split]]
    workers: int
    most: int  # tasks under way at a time
    budget: int

    @property
    def memory(self) -> int:
        """What Ray is asked to keep for a task."""
        return self.budget + PROCESS


def prepared(
    where: str, paths: Paths, words: Iterable[Any], memory: int, workers: int | None
) -> Work:
    """Find out whether the cluster can do the work; errors as of `cooccurrences`."""
    if not all(isinstance(word, str) for word in words):
        raise TypeError(f"{where}: words of files are str, but the vocabulary has others")
    here = cluster.nodes(where, splits.files(where, paths), memory + PROCESS)
    cluster.check_workers(where, workers, here.cpus)
    count = workers or here.cpus
    runs = splits.runs(where, paths, count, min(splits.RUN, max(1 << 16, memory // 8)))
    return Work(runs, count, workers or 2 * here.cpus, memory)


def shuffle(
    work: Work,
    words: Sequence[str],
    counting: Counting,
    progress: bool | None,
    *,
    divide: bool = False,
) -> tuple[list[list[Any]], int]:
    """Count all splits: for each band the references to its rows, in the order of the corpus.

    And the `fingerprint` of the corpus. ``divide``: rows of counts, not of sums.
    """
    sizes = [sum(split.bytes for split in run) for run in work.runs]
    text = cluster.the_ray().put(joined(words))
    shuffled: list[list[Any]] = [[] for _ in counting.cuts[1:]]
    checksums = []
    with contextlib.closing(
        cluster.tasks(
            count_splits, ((run, text, counting, divide) for run in work.runs), most=work.most,
            memory=work.memory, returns=1 + len(shuffled),
        )
    ) as counted:  # fmt: skip
        shown = cluster.with_progress(counted, sizes, sum(sizes), "counting pairs", progress)
        for checksum, *found in shown:
            checksums.append(cluster.value(checksum))
            for band, one in zip(shuffled, found, strict=True):
                band.append(one)
    return shuffled, joined_fingerprint(checksums)


def given_away(bands: list[list[Any]]) -> Iterator[list[Any]]:
    """The references of each band, which are then nowhere else: what is added is freed."""
    bands.reverse()
    while bands:
        yield bands.pop()


def _band(counting: Counting, references: list[Any]) -> Rows:
    """The counts of a band."""
    return divided(summed(counting, map(cluster.value, references)), counting)


# What follows knows no Ray.


def bands(
    counts: NDArray[Any], window: int, symmetric: bool, work: Work, *, parts: int, block: int
) -> NDArray[np.int64]:
    """Where bands of rows begin, and V: the cuts of `Counting`.

    A row has at most as many entries as its word has neighbours, and as there are words (up to it,
    where the matrix is symmetric). By this bound, which counts are far below, a band fits an eighth
    of the budget, and there are some bands for each worker; but a band has ``block`` rows or more,
    counted from where its part begins.
    """
    starts = part_starts(len(counts), parts)
    dealt = np.concatenate([np.asarray(counts, np.float64)[part::parts] for part in range(parts)])
    most = np.arange(1, len(counts) + 1) if symmetric else len(counts)
    bound = np.minimum(dealt * (2.0 * window if symmetric else 1.0 * window), most)
    limit = min(work.budget / 8 / _ENTRY, bound.sum() / (_BANDS * work.workers))
    cuts = [0]
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        entries = 0.0
        sums_of_blocks = np.add.reduceat(bound[start:stop], np.arange(0, stop - start, block))
        for number, more in enumerate(sums_of_blocks.tolist()):
            if entries and entries + more > limit:
                cuts.append(start + number * block)
                entries = 0.0
            entries += more
        cuts.append(stop)
    return np.array(cuts, np.int64)


def part_starts(vocabulary: int, parts: int) -> NDArray[np.int64]:
    """Where the words of each part begin in the order of parts, and V: (P + 1,)."""
    sizes = [len(range(part, vocabulary, parts)) for part in range(parts)]
    return np.cumsum([0, *sizes])


def count_splits(
    run: Sequence[Split], words: NDArray[np.uint8], counting: Counting, divide: bool = False
) -> Iterator[tuple[int, int] | Rows]:
    """Tokens and checksum of a run of splits, then their `sums`, or counts, band by band."""
    known = parted(words)
    rows = {word: row for row, word in enumerate(known)}
    encoded = []
    for split in run:
        with splits.lines(split) as text:
            encoded.append(text.encode(known, rows))
    ids = encoded[0] if len(encoded) == 1 else np.concatenate(encoded)
    del encoded, known, rows
    yield len(ids), zlib.crc32(np.ascontiguousarray(ids).data)
    waves = sums(
        dealt_ids(ids, counting.vocabulary, counting.parts), counting.vocabulary,
        window=counting.window, symmetric=counting.symmetric,
        distance_weighting=counting.distance_weighting, block=1, memory=counting.memory,
        progress=False,
    )  # fmt: skip
    for lengths, columns, values in by_bands((wave for _, wave in waves), counting.cuts):
        if divide:
            values /= counting.unit
        yield lengths, columns, values


def dealt_ids(ids: NDArray[np.int32], vocabulary: int, parts: int) -> NDArray[np.int32]:
    """Ids in the order of parts; the last of a sentence stays ``~id``."""
    if parts == 1:
        return ids
    rows = np.arange(vocabulary)
    places = (part_starts(vocabulary, parts)[rows % parts] + rows // parts).astype(np.int32)
    table = np.concatenate([places, ~places[::-1]])  # the second half is that of ids below 0
    return table[ids]


def by_bands(waves: Iterable[Rows], cuts: NDArray[np.int64]) -> Iterator[Rows]:
    """Rows that come in any number at a time, cut anew; where there are none, empty ones."""
    heights = np.diff(cuts).tolist()
    held: list[Rows] = []
    missing = heights[0]
    for lengths, columns, values in waves:
        ends = np.concatenate([[0], np.cumsum(lengths)])
        place = 0
        while place < len(lengths):
            stop = min(place + missing, len(lengths))
            entries = slice(ends[place], ends[stop])
            held.append((lengths[place:stop], columns[entries], values[entries]))
            missing -= stop - place
            place = stop
            if not missing:
                heights.pop(0)
                yield _together(held)
                held, missing = [], heights[0] if heights else 0
    for height in heights:
        yield np.zeros(height, np.int64), np.empty(0, np.int32), np.empty(0)


def _together(held: list[Rows]) -> Rows:
    if len(held) == 1:
        return held[0]
    lengths, columns, values = (np.concatenate(arrays) for arrays in zip(*held, strict=True))
    return lengths, columns, values


def summed(counting: Counting, several: Iterable[Rows]) -> Rows:
    """The sum of the rows of some texts, of which a few are held at a time."""
    held: list[Rows] = []
    for rows in several:
        held.append(rows)
        if len(held) > 1 and sum(len(one[1]) for one in held) > counting.memory // 4 // _ENTRY:
            held = [added(held, counting.vocabulary)]
    return held[0] if len(held) == 1 else added(held, counting.vocabulary)


def divided(rows: Rows, counting: Counting) -> Rows:
    """Counts, from their whole numbers."""
    return rows[0], rows[1], rows[2] / counting.unit


def joined_fingerprint(texts: Iterable[tuple[int, int]]) -> int:
    """`firth.words.training.fingerprint` of a corpus from tokens and CRC-32 of its pieces."""
    pieces = list(texts)
    crc = sum(tokens for tokens, _ in pieces) & 0xFFFFFFFF
    for tokens, piece in pieces:
        crc = _times(_power(8 * 4 * tokens), crc) ^ piece
    return crc


def _times(a: int, b: int) -> int:
    """A product of polynomials modulo that of CRC-32; bit 31 is the coefficient of x^0."""
    product = 0
    while a:
        if a & 0x80000000:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (0xEDB88320 if b & 1 else 0)
    return product


def _power(n: int) -> int:
    """x^n, likewise."""
    result, square = 0x80000000, 0x40000000
    while n:
        if n & 1:
            result = _times(square, result)
        square = _times(square, square)
        n >>= 1
    return result
