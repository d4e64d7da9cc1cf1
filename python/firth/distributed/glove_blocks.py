"""GloVe by blocks of its matrix: records, who trains when, training. Knows no Ray.

`firth.distributed.glove` says what it is for. V = words, P = parts, D = dimensions of a vector.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.distributed.cooccurrences import Counting, part_starts
from firth.kernels._dispatch import active_level
from firth.words.cooccurrences import Rows
from firth.words.glove import GloVe, zero_states

_RECORD = 12  # bytes
_LEAST = 16  # words of a part

# Records (N, 3) and units (U, 7) of `_native.words.glove_blocks`, relative to their parts.
Records = tuple[NDArray[np.uint32], NDArray[np.int64]]


def number_of_parts(vocabulary: int, pairs: float, workers: int, memory: int) -> int:
    """P: 1, or an even number, so that each worker has a job in each round.

    More where the records of a job, at most 4 / P^2 of all, are more than half of ``memory``.
    """
    if vocabulary < 2 * _LEAST or (workers == 1 and _RECORD * pairs <= memory / 2):
        return 1
    needed = int(np.ceil(np.sqrt(8 * _RECORD * pairs / memory)))
    even = max(2 * workers, needed + needed % 2)
    return min(even, vocabulary // _LEAST // 2 * 2)


def expected_pairs(counts: NDArray[Any], window: int, symmetric: bool) -> float:
    """How many entries the matrix has if words do not depend on one another: more than in texts.

    Words i and j then meet 2 window c_i c_j / N times (half as often where one side counts), and
    once at least with probability 1 - exp of that.
    """
    falling = np.sort(np.asarray(counts, np.float64))[::-1]
    edges = np.unique(np.geomspace(1, len(falling) + 1, 200).astype(np.int64)) - 1
    sizes = np.diff(edges)  # words of like counts
    means = np.add.reduceat(falling, edges[:-1]) / sizes
    sides = 2 if symmetric else 1
    meetings = sides * window * np.multiply.outer(means, means) / max(1.0, falling.sum())
    return float(sizes @ -np.expm1(-meetings) @ sizes) / sides


@dataclass(frozen=True, eq=False)
class Blocking:
    """How counts become records: see `_native.words.glove_blocks`."""

    counting: Counting
    block: int
    x_max: float
    alpha: float
    seed: int


def part_of(counting: Counting, row: int) -> int:
    """The part of a row in the order of parts."""
    starts = part_starts(counting.vocabulary, counting.parts)
    return int(np.searchsorted(starts, row, "right")) - 1


def blocked(settings: Blocking, first: int, rows: Rows) -> Iterator[Records]:
    """Records of rows from ``first`` on, of one part, by the part of their column."""
    counting = settings.counting
    starts = part_starts(counting.vocabulary, counting.parts)
    part = part_of(counting, first)
    lengths, columns, values = rows
    ends = np.concatenate([[0], np.cumsum(lengths)])
    for other, (start, stop) in enumerate(itertools.pairwise(starts)):
        some = rows
        if counting.parts > 1:
            inside = (columns >= start) & (columns < stop)
            before = np.concatenate([[0], np.cumsum(inside)])[ends]
            some = np.diff(before), columns[inside] - np.int32(start), values[inside]
        width = int(stop - start)  # that of a part of rows may be 1 more
        records, units = _native.words.glove_blocks(
            some, first - int(starts[part]), max(width, int(starts[part + 1] - starts[part])),
            settings.block, settings.x_max, settings.alpha,
            _seed(settings.seed, (part, other) if counting.parts > 1 else (part,)),
        )  # fmt: skip
        units[:, 6] = np.minimum(units[:, 6], width - units[:, 4])
        yield records, units


def _seed(seed: int, names: tuple[int, ...]) -> int:
    """Another one for each job and each block; of a single part that of one machine."""
    if len(names) == 1:
        return seed
    return int(np.random.SeedSequence([seed, *names]).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Job:
    """The pairs between some parts; ``inner``: and those within each."""

    parts: tuple[int, ...]
    inner: bool

    def blocks(self, symmetric: bool) -> list[tuple[int, int]]:
        """(part of rows, part of columns); of a symmetric matrix the lower half."""
        between = [(a, b) for a in self.parts for b in self.parts if a > b or not symmetric]
        within = [(part, part) for part in self.parts if self.inner]
        return within + [(a, b) for a, b in between if a != b]


def rounds(parts: int) -> list[list[tuple[int, ...]]]:
    """All pairs of parts, in rounds in which each part occurs once."""
    if parts == 1:
        return [[(0,)]]
    found: list[list[tuple[int, ...]]] = []
    for shift in range(parts - 1):
        circle = [0, *((i + shift) % (parts - 1) + 1 for i in range(parts - 1))]
        pairs = zip(circle[: parts // 2], reversed(circle), strict=False)
        found.append([(min(pair), max(pair)) for pair in pairs])
    return found


def schedule(parts: int, seed: int, epoch: int) -> list[list[Job]]:
    """The rounds of an epoch, in random order."""
    all_rounds = rounds(parts)
    order = np.random.default_rng([seed, epoch]).permutation(len(all_rounds)).tolist()
    return [
        [Job(pair, inner=place == 0) for pair in all_rounds[number]]
        for place, number in enumerate(order)
    ]


def dealt_states(model: GloVe, parts: int) -> Iterator[NDArray[np.float32]]:
    """The parameters of each part, (2, rows, 2, D + 1 padded): words and contexts."""
    for part in range(parts):
        yield np.stack([model._words[part::parts], model._contexts[part::parts]])


@dataclass(frozen=True)
class Step:
    """Parameters of training."""

    dim: int
    symmetric: bool
    rate: float
    clip: float
    seed: int


def train_blocks(
    settings: Step,
    epoch: int,
    names: tuple[int, ...],
    given: Sequence[NDArray[np.float32]],
    places: Sequence[tuple[int, int]],
    records: Sequence[Records],
) -> tuple[float, int, list[NDArray[np.float32]]]:
    """Train on some records: cost and number of pairs, and the parameters afterwards.

    Parameters
    ----------
    names
        Of the parts.
    given
        The parameters of each, see `dealt_states`; they stay as they are.
    places
        Parts of rows and of columns of each of ``records``.
    """
    starts = np.cumsum([0, *(part.shape[1] for part in given)]).tolist()
    words, contexts = (zero_states(starts[-1], settings.dim) for _ in range(2))
    for start, stop, part in zip(starts, starts[1:], given, strict=False):
        words[start:stop], contexts[start:stop] = part
    all_units = [np.zeros((0, 7), np.int64)]
    for number, ((row, column), (_, units)) in enumerate(zip(places, records, strict=True)):
        shift = [number, 0, 0, starts[names.index(row)], starts[names.index(column)], 0, 0]
        all_units.append(units + np.array(shift))
    trainer = _native.words.GloveTrainer(
        active_level(), words, contexts, [one for one, _ in records], np.concatenate(all_units),
        dim=settings.dim, symmetric=settings.symmetric, rate=settings.rate, clip=settings.clip,
        seed=_seed(settings.seed, names),
    )  # fmt: skip
    cost, pairs = trainer.train(epoch, 0, trainer.visits, 1)
    after = [
        np.stack([words[start:stop], contexts[start:stop]])
        for start, stop in itertools.pairwise(starts)
    ]
    return cost, pairs, after
