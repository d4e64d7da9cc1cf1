"""Rounds of training on a Ray cluster: workers with replicas, which merge their changes.

Every worker keeps the rows that all have in common, and makes the changes of each round in them.
This process takes the rows once in a while, so that a lost node costs a minute. What a round gives
depends on its number and on the rows before it alone, so a round that is made again, by any worker,
gives the same bits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.distributed import cluster
from firth.distributed.averaging import Job, Part, Replica, Update, merged
from firth.distributed.splits import Split

_logger = logging.getLogger(__name__)
_KEEP_SECONDS = 60.0  # between two times that this process takes the rows,
_KEEP_SHARE = 20  # and at least so many times as long as that takes
_ENOUGH = 30.0  # seconds to wait for workers that are missing where there are others
_PATIENCE = 300.0  # seconds without any worker, after which there is no hope


@dataclass(frozen=True)
class Rows:
    """The rows of a training after so many rounds, as references for each part.

    ``rows`` are all of them, where this process had them; ``changes`` lead here from one round
    earlier. None of both: they are with the worker that trained them, which is the only one.
    """

    version: int
    rows: list[Any] | None = None
    changes: list[Any] | None = None


class Behind(Exception):
    """A worker was asked to go on from rows that it does not have."""


class Worker:
    """An actor. Each call brings what it needs, so that another one can take its place."""

    def __init__(self) -> None:
        self._replica: Replica | None = None

    def ready(self) -> None:
        """Answers when the process is there."""

    def open(self, job: list[Any], shard: int, splits: list[Split]) -> tuple[int, int, int]:
        """As of `Replica`; ``job`` is a list of one reference."""
        return self._of(job).open(shard, splits)

    def step(
        self, job: list[Any], shard: int, splits: list[Split], before: Rows, epoch: int,
        first: int, last: int, parts: list[Part],
    ) -> Any:  # fmt: skip
        """Train blocks of a shard from some rows: figures, and an update for each part."""
        replica = self._of(job)
        replica.open(shard, splits)
        self._take(replica, before)
        if not parts:
            replica.version = -1  # if anything fails
        figures = replica.train(shard, epoch, first, last)
        if not parts:
            replica.version = before.version + 1
            return figures
        return (figures, *(replica.update(part) for part in parts))

    def merge(self, replicas: int, *updates: Update) -> Any:
        """The change of each part in a round; ``updates``: for each part those of all replicas."""
        places = range(0, len(updates), replicas)
        found = [merged(updates[place : place + replicas]) for place in places]
        return found if len(found) > 1 else found[0]

    def rows(self, job: list[Any], now: Rows) -> Any:
        """The rows of each part."""
        replica = self._of(job)
        self._take(replica, now)
        parts = replica.job.parts()
        return [replica.read(part) for part in parts] if len(parts) > 1 else replica.read(parts[0])

    def _of(self, job: list[Any]) -> Replica:
        if self._replica is None:
            self._replica = Replica(cluster.the_ray().get(job[0]))
        return self._replica

    def _take(self, replica: Replica, now: Rows) -> None:
        if replica.version == now.version:
            return
        get = cluster.the_ray().get
        parts = replica.job.parts()
        follows = replica.version == now.version - 1
        replica.version = -1  # if anything fails
        if follows and now.changes is not None:
            for part, change in zip(parts, get(now.changes), strict=True):
                replica.change(part, change)
        elif now.rows is not None:
            for part, values in zip(parts, get(now.rows), strict=True):
                replica.write(part, values)
        else:
            raise Behind
        replica.version = now.version


# Of a round: the sum of losses, its pairs, words that sub-sampling left.
Figures = tuple[float, int, int]


class Rounds:
    """The rounds of a training, of all its epochs.

    Parameters
    ----------
    where : str
        The function, for messages.
    job : Job
    shards : list of lists of Split
        Of each replica.
    rows : sequence of ndarray
        Of each part, (n, D): those to begin with.
    workers : int
        Actors, at most. Where there are fewer than shards, they train several in turn.
    memory : int
        Bytes that each needs.

    Attributes
    ----------
    words : int
        Words of the vocabulary in all shards.
    longest, blocks : int
        Those of the shard that has most, and its blocks; a round trains whole blocks.
    checksums : list of int
        Of the shards.
    count : int
        Rounds in an epoch.
    """

    def __init__(
        self, where: str, job: Job, shards: list[list[Split]], rows: Sequence[NDArray[np.float32]],
        workers: int, memory: int,
    ) -> None:  # fmt: skip
        ray = cluster.the_ray()
        self._where, self._shards, self._kept = where, shards, rows
        self._parts, self._job = job.parts(), [ray.put(job)]
        self._most = min(workers, len(shards))
        self._worker = ray.remote(Worker).options(
            num_cpus=1, memory=memory, max_restarts=0, scheduling_strategy="SPREAD"
        )
        self._actors: list[Any] = []
        self._joining: dict[Any, Any] = {}  # actors by what tells that they are alive
        self._failures = 0
        try:
            self._start()
            lengths, self._blocks, self.checksums = self._opened()
        except BaseException:
            self.close()
            raise
        self.words, self.longest, self.blocks = sum(lengths), max(lengths), max(self._blocks)
        if not all(lengths):
            self.close()
            raise ValueError(
                f"{where}: the corpus is too small for {len(lengths)} replicas: "
                f"{lengths.count(0)} would have no word of the vocabulary"
            )
        self.count, self._kept_at, self._now = 1, 0, self._given(0)
        self._taken, self._taking = time.monotonic(), 0.0

    def begin(self, version: int, count: int) -> None:
        """Say how many rounds an epoch has, and how many have been made."""
        self.count, self._kept_at, self._now = count, version, self._given(version)

    def train(self, version: int) -> Figures:
        """Make the round of this number, and those before it anew whose rows were lost."""
        while True:
            at = self._now.version
            try:
                if self._join(0.0):  # which have none of the rows
                    self.take()
                    self._now = self._given(self._kept_at)
                self._now, figures = self._round(self._now)
            except _lost() as error:
                self._recover(error)
                continue
            if at >= version:
                self._failures = 0
                if time.monotonic() - self._taken > max(_KEEP_SECONDS, _KEEP_SHARE * self._taking):
                    self.take()
                return figures

    def take(self) -> Sequence[NDArray[np.float32]]:
        """The rows of each part as they are now; from here on nothing before them is repeated."""
        begun, version = time.monotonic(), self._now.version
        while self._kept_at < version:
            try:
                rows = self._actors[0].rows.options(num_returns=len(self._parts))
                found = rows.remote(self._job, self._now)
                references = found if len(self._parts) > 1 else [found]
                kept = [np.array(cluster.value(reference)) for reference in references]
            except _lost() as error:
                self._recover(error)
                self.train(version - 1)
                continue
            self._kept, self._kept_at = kept, version
        self._taken = time.monotonic()
        self._taking = self._taken - begun
        return self._kept

    def close(self) -> None:
        """End the workers."""
        for actor in [*self._actors, *self._joining.values()]:
            cluster.the_ray().kill(actor)

    def _round(self, before: Rows) -> tuple[Rows, Figures]:
        """The rows after one more round, and its figures, when it has been trained."""
        epoch, index = divmod(before.version, self.count)
        alone = len(self._shards) == 1
        parts = [] if alone else self._parts
        answers = []
        for shard, splits in enumerate(self._shards):
            first, last = (self._blocks[shard] * i // self.count for i in (index, index + 1))
            step = self._actor(shard).step.options(num_returns=1 + len(parts))
            found = step.remote(self._job, shard, splits, before, epoch, first, last, parts)
            answers.append(found if parts else [found])
        changes: list[Any] = [None] * len(parts)
        for number, actor in enumerate(self._actors):  # each merges some parts
            mine = range(number, len(parts), len(self._actors))
            if mine:
                updates = (answer[1 + part] for part in mine for answer in answers)
                merge = actor.merge.options(num_returns=len(mine))
                found = merge.remote(len(self._shards), *updates)
                for part, change in zip(mine, found if len(mine) > 1 else [found], strict=True):
                    changes[part] = change
        figures = [cluster.value(answer[0]) for answer in answers]
        loss, pairs, effective = (sum(column) for column in zip(*figures, strict=True))
        return Rows(before.version + 1, changes=changes or None), (loss, pairs, effective)

    def _given(self, version: int) -> Rows:
        """Rows that this process has, in the object store."""
        return Rows(version, [cluster.the_ray().put(rows) for rows in self._kept])

    def _opened(self) -> tuple[list[int], list[int], list[int]]:
        """Words, blocks and checksum of each shard."""
        while True:
            try:
                asked = [
                    self._actor(shard).open.remote(self._job, shard, splits)
                    for shard, splits in enumerate(self._shards)
                ]
                found = [cluster.value(reference) for reference in asked]
            except _lost() as error:
                self._failed(error)
                continue
            lengths, blocks, checksums = (list(column) for column in zip(*found, strict=True))
            return lengths, blocks, checksums

    # Workers

    def _actor(self, shard: int) -> Any:
        return self._actors[shard % len(self._actors)]

    def _recover(self, error: BaseException) -> None:
        """Go back to the rows that this process has, with workers that are alive."""
        self._failed(error)
        self._now = self._given(self._kept_at)

    def _failed(self, error: BaseException) -> None:
        """Replace the workers that are gone; RuntimeError where this happens again and again."""
        ray = cluster.the_ray()
        self._failures += 1
        said = " ".join(str(error).split()) or type(error).__name__
        if self._failures > cluster.RETRIES:
            raise RuntimeError(f"{self._where}: workers are lost again and again: {said}") from None
        _logger.info("%s: a worker or what it made is lost: %s", self._where, said)
        asked = {actor.ready.remote(): actor for actor in self._actors}
        self._actors = []
        for reference, actor in asked.items():
            try:
                ray.get(reference)
            except ray.exceptions.RayError:
                ray.kill(actor)
            else:
                self._actors.append(actor)
        self._start()

    def _start(self) -> None:
        """Start the workers that are missing; go on with those that are alive half a minute later.

        The others may find no processor, as where a node is gone; they join when there is one.
        """
        for _ in range(self._most - len(self._actors) - len(self._joining)):
            actor = self._worker.remote()
            self._joining[actor.ready.remote()] = actor
        began = time.monotonic()
        while self._joining:
            self._join(1.0)
            waited = time.monotonic() - began
            if waited > _ENOUGH and self._actors:
                return
            if waited > _PATIENCE:
                raise RuntimeError(f"{self._where}: the cluster has no processor for a worker")

    def _join(self, seconds: float) -> bool:
        """Take workers that have come to life, and say whether there was one."""
        ray = cluster.the_ray()
        if not self._joining:
            return False
        before = len(self._actors)
        done, _ = ray.wait(list(self._joining), num_returns=1, timeout=seconds)
        for reference in done:
            actor = self._joining.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.RayError:
                again = self._worker.remote()
                self._joining[again.ready.remote()] = again
            else:
                self._actors.append(actor)
        return len(self._actors) > before


def _lost() -> tuple[type[BaseException], ...]:
    """What says that a worker, a node or an object is gone."""
    found = cluster.the_ray().exceptions
    return (
        Behind, found.RayActorError, found.ObjectLostError, found.WorkerCrashedError,
        found.NodeDiedError, found.OwnerDiedError,
    )  # fmt: skip
