"""Replicas of word vectors: each trains a share of a corpus, and their rows are brought together.

Knows no Ray. V = words of the vocabulary, D = dimensions of a vector, S = D rounded up to 64 bytes.
"""

from __future__ import annotations

import dataclasses
import heapq
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.distributed.splits import SPLIT, Paths, Split, lines, plan
from firth.kernels import to_bfloat16
from firth.kernels._arrays import widen_bfloat16
from firth.kernels._dispatch import active_level
from firth.words import training

_PART = 16 << 20  # bytes of rows that one task merges
_SHARES = 16  # splits that a replica gets where files can be cut: from many places of the corpus
_IN_MEMORY = 1 << 30  # bytes of ids beyond which they go to a temporary file
_FASTEST = 0.1  # rates are not raised above this: windows take smaller steps from there on
_BY_WORD = ("w_in", "ngrams")  # of these matrices only rows of words that were read change

# Rows of a part that may have changed (None: all), and by how much: bits of bfloat16 (n, D). What
# rounding takes from a change is noise beside that of training, and half the bytes move.
Update = tuple[NDArray[np.int64] | None, NDArray[np.uint16]]


@dataclass(frozen=True)
class Part:
    """Rows ``[start, stop)`` of one of the matrices w_in, w_out, w_tree, ngrams."""

    matrix: str
    start: int
    stop: int


@dataclass(frozen=True)
class Job:
    """What all replicas of a training have in common.

    ``network`` is without its matrices, whose sizes are in ``sizes``; ``words`` are the vocabulary.
    """

    network: training.Network
    words: list[str]
    dim: int
    sizes: dict[str, int]
    replicas: int
    epochs: int
    start_alpha: float
    end_alpha: float

    @classmethod
    def of(
        cls, network: training.Network, words: list[str], dim: int, run: dict[str, Any]
    ) -> tuple[Job, dict[str, NDArray[np.float32]]]:
        """The job of training a network, and its matrices, (N, S) each."""
        found = matrices(network)
        none: Any = np.zeros((0, 0), np.float32)
        bare = dataclasses.replace(network, **dict.fromkeys(found.keys() - {"ngrams"}, none))
        if network.subwords is not None:
            bare.subwords = dataclasses.replace(network.subwords, vectors=none)
        sizes = {name: len(rows) for name, rows in found.items()}
        rates = run["start_alpha"], run["end_alpha"]
        return cls(bare, words, dim, sizes, run["replicas"], run["epochs"], *rates), found

    def parts(self) -> list[Part]:
        """The matrices in parts of about `_PART` bytes."""
        rows = max(1, _PART // (4 * self.dim))
        return [
            Part(name, start, min(size, start + rows))
            for name, size in self.sizes.items()
            for start in range(0, size, rows)
        ]


def matrices(network: training.Network) -> dict[str, NDArray[np.float32]]:
    """Those that a network trains, (N, S) each, by name."""
    found = {"w_in": network.w_in, "w_out": network.w_out, "w_tree": network.w_tree}
    if network.subwords is not None:
        found["ngrams"] = network.subwords.vectors
    return {name: rows for name, rows in found.items() if rows is not None}


def deal(where: str, paths: Paths, replicas: int) -> list[list[Split]]:
    """The splits of each replica: as many bytes each as can be, from all over the corpus.

    Raises
    ------
    ValueError
        There are fewer packed files than replicas: such a file cannot be cut.
    """
    whole = plan(where, paths, 1 << 62)  # a split a file
    size = SPLIT
    if replicas > 1:
        size = min(SPLIT, max(1, sum(one.bytes for one in whole) // (replicas * _SHARES)))
    splits = plan(where, paths, size)
    if len(splits) < replicas:
        raise ValueError(
            f"{where}: {len(splits)} splits cannot be dealt to {replicas} replicas: packed files "
            "are not cut; unpack them, or take fewer replicas"
        )
    dealt: list[list[int]] = [[] for _ in range(replicas)]
    held = [(0, replica) for replica in range(replicas)]  # a heap: who has least is first
    for i in sorted(range(len(splits)), key=lambda i: -splits[i].bytes):  # stable
        has, least = held[0]
        dealt[least].append(i)
        heapq.heapreplace(held, (has + splits[i].bytes, least))
    return [[splits[i] for i in sorted(indices)] for indices in dealt]


def encoded(splits: Sequence[Split], words: list[str]) -> NDArray[np.int32]:
    """The ids of some splits, one after another, as `Corpus.encode` gives them."""
    rows = {word: row for row, word in enumerate(words)}
    with tempfile.TemporaryFile() as file:
        parts: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        spilled = 0
        for split in splits:
            with lines(split) as corpus:
                parts.append(corpus.encode(words, rows))
            if spilled + sum(part.nbytes for part in parts) > _IN_MEMORY:
                for part in parts:
                    file.write(part.data)
                    spilled += part.nbytes
                parts = []
        if not spilled:
            return np.concatenate(parts)
        for part in parts:
            file.write(part.data)
        file.flush()
        return np.memmap(file, np.int32, "r")  # the mapping outlives the file


class Replica:
    """The parameters of a network on a worker, and the shards that it trains them on.

    Where there are several replicas, each keeps the rows that all of them have in common (`write`,
    `change`, `read`); shards may follow one another in it, and each trains from these. A single one
    goes on with its own.

    Attributes
    ----------
    version : int
        Rounds after which the rows in common are what they are, -1 for unknown.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.version = job, -1
        new: dict[str, Any] = {
            name: training.rows(size, job.dim) for name, size in job.sizes.items()
        }
        self._network = dataclasses.replace(
            job.network, **{name: rows for name, rows in new.items() if name != "ngrams"}
        )
        if job.network.subwords is not None:
            self._network.subwords = dataclasses.replace(
                job.network.subwords, vectors=new["ngrams"]
            )
        self._rows = {name: rows[:, : job.dim] for name, rows in new.items()}
        self._common = self._rows
        if job.replicas > 1:
            self._common = {name: rows.copy() for name, rows in self._rows.items()}
        self._shards: dict[int, tuple[NDArray[np.int32], Any]] = {}
        self._opened: dict[int, tuple[int, int, int]] = {}
        self._read = np.zeros(len(job.words), bool)  # words of the last `train`

    def open(self, shard: int, splits: Sequence[Split]) -> tuple[int, int, int]:
        """Encode a shard, once; its words, its blocks, and a checksum."""
        if shard not in self._opened:
            ids, trainer = encoded(splits, self.job.words), None
            if len(ids):
                # The first shard has the random numbers of one process.
                seed = (self._network.seed + shard * 0x9E3779B97F4A7C15) % 2**63
                trainer = _native.words.WordTrainer(
                    active_level(), dataclasses.replace(self._network, seed=seed), ids,
                    self.job.start_alpha, self.job.end_alpha, self.job.epochs,
                )  # fmt: skip
            self._shards[shard] = ids, trainer
            blocks = trainer.blocks if trainer else 0
            self._opened[shard] = len(ids), blocks, training.fingerprint(ids)
        return self._opened[shard]

    def write(self, part: Part, values: NDArray[np.float32]) -> None:
        """Take the rows of a part, (n, D)."""
        self._common[part.matrix][part.start : part.stop] = values

    def change(self, part: Part, update: Update) -> None:
        """Move the rows of a part."""
        rows, bits = update
        target = self._common[part.matrix][part.start : part.stop]
        target[slice(None) if rows is None else rows] += widen_bfloat16(bits)

    def read(self, part: Part) -> NDArray[np.float32]:
        """A copy of the rows of a part, (n, D)."""
        return np.ascontiguousarray(self._common[part.matrix][part.start : part.stop])

    def train(self, shard: int, epoch: int, first: int, last: int) -> tuple[float, int, int]:
        """Train blocks ``[first, last)`` of an epoch of a shard, with one thread.

        Returns the loss, its pairs, and the words that sub-sampling left.
        """
        ids, trainer = self._shards[shard]
        if self.job.replicas > 1:
            for name, rows in self._rows.items():
                rows[...] = self._common[name]
            read = ids[trainer.start(first) : trainer.start(last)]
            self._read = np.bincount(read ^ (read >> 31), minlength=len(self.job.words)) > 0
        loss, pairs, effective, _ = trainer.train(epoch, first, last, 1)
        return loss, pairs, effective

    def update(self, part: Part) -> Update:
        """What the last `train` changed in a part."""
        rows: Any = None
        if part.matrix in _BY_WORD:
            changed = self._read
            if part.matrix == "ngrams":
                subwords = self.job.network.subwords
                assert subwords is not None
                changed = np.zeros(self.job.sizes["ngrams"], bool)
                changed[subwords.ids[np.repeat(self._read, np.diff(subwords.start))]] = True
            rows = np.flatnonzero(changed[part.start : part.stop])
        which = slice(part.start, part.stop) if rows is None else part.start + rows
        return rows, to_bfloat16(self._rows[part.matrix][which] - self._common[part.matrix][which])


def faster(alpha: float, replicas: int) -> float:
    """The learning rate at the start for so many replicas, where ``alpha`` is right for one.

    A mean of changes moves a row by a part of what the words of all replicas would have moved it,
    so the rate is larger by their number: up to 0.1, or ``alpha`` itself.
    """
    return min(alpha * replicas, max(alpha, _FASTEST))


def merged(updates: Sequence[Update]) -> Update:
    """How the rows of a part change in a round: by the mean of the replicas' changes.

    A replica that did not change a row counts, with a change of nothing: at the rate of `faster`
    the changes of a row that few words move then add up as those of one process do. Frequent rows
    settle in a round, and what each replica has is a sample of where. benchmarks/NOTES.md
    says what else was tried.

    Parameters
    ----------
    updates : sequence of Update
        Of each replica, in order.
    """
    named = [rows for rows, _ in updates if rows is not None]
    changed = np.unique(np.concatenate(named)) if named else None
    _, first = updates[0]
    total = np.zeros((len(first) if changed is None else len(changed), first.shape[1]), np.float32)
    for rows, bits in updates:
        where: Any = slice(None)
        if changed is not None and rows is not None:
            where = np.searchsorted(changed, rows)
        total[where] += widen_bfloat16(bits)
    return changed, to_bfloat16(total / np.float32(len(updates)))
