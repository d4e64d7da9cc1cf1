"""GloVe on a Ray cluster: counts by an exact shuffle, training by blocks of the matrix.

The words are dealt into P parts (`firth.distributed.cooccurrences`), which cuts the matrix into
P x P blocks. A job trains all pairs between two parts i and j, in both directions: it needs their
parameters and changes no others. So P / 2 jobs run at a time, like the games of a tournament in
which everyone meets everyone in P - 1 rounds; pairs within a part are trained in the first round.
Parameters of a part move from job to job through Ray's object store. What a job does depends on the
seed, the epoch, and its two parts alone, so results are the same wherever jobs run and whatever
fails meanwhile (on processors of one kind: rounding depends on what they can do).

V = words of the vocabulary, D = dimensions of a vector.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from firth.arguments import Rules, Whole, check_all
from firth.distributed import cluster, vocabulary
from firth.distributed.cooccurrences import (
    PROCESS,
    RANGES,
    Counting,
    Work,
    bands,
    divided,
    given_away,
    prepared,
    shuffle,
    summed,
)
from firth.distributed.glove_blocks import (
    Blocking,
    Job,
    Step,
    blocked,
    dealt_states,
    expected_pairs,
    number_of_parts,
    part_of,
    rounds,
    schedule,
    train_blocks,
)
from firth.distributed.splits import Paths
from firth.epochs import check_checkpoint, new_run, remove_checkpoint, run_epochs
from firth.errors import warn
from firth.formats.files import PathLike
from firth.words.glove import CURE, GloVe, no_pairs

_RUN: Rules = {"parts": Whole(1, 2**31 - 1), "block": Whole()}


def train(
    model: GloVe,
    paths: Paths,
    *,
    workers: int | None = None,
    memory: int | None = None,
    checkpoint: PathLike | None = None,
    progress: bool | None = None,
) -> GloVe:
    """Build the vocabulary of files where the model has none, count their pairs and train on them.

    Vocabulary and counts are those of one machine. Training takes the pairs in another order, which
    the number of parts and the model's ``seed`` decide. There is one part where one worker has
    memory for twice as many pairs as are expected: then the model is that of
    ``GloVe(corpus_file=..., workers=1)``, bit for bit. Else there are two parts for each worker,
    and more where the pairs between two would not fit a worker's memory. So the same vocabulary,
    ``workers`` and ``memory`` give the same model, on any nodes.

    Parameters
    ----------
    model : GloVe
        It is trained in place for its ``epochs``; its ``workers`` are not used.
    paths
        As for `build_vocab`.
    workers : int, optional
        Tasks at a time; by default one for each processor of the cluster, at most 64 for each.
    memory : int, optional
        Bytes for the counts or the pairs that a worker holds at a time, by default the model's
        ``memory``; the process itself, the vocabulary, and the parameters of two parts come on top.
    checkpoint : path-like, optional
        Where to leave the model after epochs, and on Ctrl-C; see `resume`. It stays there.
    progress : bool, optional
        As for `build_vocab`; by default the model's.

    Returns
    -------
    GloVe
        The model. This process holds its parameters, and nothing of the size of the pairs.

    Raises
    ------
    FileNotFoundError, ValueError, RuntimeError, MemoryError, TypeError
        As `cooccurrences`; and as `GloVe.train`.
    """
    check_checkpoint("train", checkpoint)
    progress = model.progress if progress is None else progress
    memory, workers = _checked("train", model, memory, workers)
    work = prepared("train", paths, model.wv.index_to_key, memory, workers)
    if len(model.wv):
        model._check_vocab("train")
    else:
        found = vocabulary.count("train", paths, workers=workers, progress=progress)
        model._build_vocab("train", found)
    run = new_run(model.epochs, parts=_parts(model, work))
    _train("train", model, run, work, checkpoint, progress)
    return model


def resume(
    path: PathLike,
    paths: Paths,
    *,
    workers: int | None = None,
    memory: int | None = None,
    checkpoint: PathLike | None = None,
    progress: bool | None = None,
) -> GloVe:
    """Finish an interrupted training from its checkpoint, on the same files.

    The result is that of a training without interruption, bit for bit, on any number of workers;
    the checkpoint says how many parts there are. One of `GloVe.train` is taken, too; the epoch in
    which it stopped is repeated.

    Parameters
    ----------
    path : path-like
        The checkpoint; it is removed when training is complete.
    checkpoint : path-like, optional
        Where to leave the state instead; then nothing is removed.
    paths, workers, memory, progress
        As for `train`.

    Raises
    ------
    ValueError
        The file holds a finished model, or the files are others. FormatError: the file is damaged,
        or of another kind. And as `train`.
    """
    check_checkpoint("resume", checkpoint)
    model, run = GloVe._read(path)
    name = os.fspath(path)
    if run is None:
        raise ValueError(f"{name}: holds a finished model, no interrupted training")
    if "parts" in run:
        check_all(name, _RUN, run)
    model.progress = progress
    memory, workers = _checked("resume", model, memory, workers)
    if run["epoch"] < run["epochs"]:
        work = prepared("resume", paths, model.wv.index_to_key, memory, workers)
        if "parts" not in run:  # of one machine, whose blocks are others
            run |= {"parts": _parts(model, work), "block": 0, "loss": 0.0, "pairs": 0}
        _train(name, model, run, work, path if checkpoint is None else checkpoint, progress)
    if checkpoint is None:
        remove_checkpoint(path)
    return model


def _checked(
    where: str, model: GloVe, memory: int | None, workers: int | None
) -> tuple[int, int | None]:
    model._check_parameters(where)
    memory = int(model.memory * 2**30) if memory is None else memory
    given = check_all(where, RANGES, {"memory": memory, "workers": workers})
    return given["memory"], given["workers"]


def _parts(model: GloVe, work: Work) -> int:
    counts, settings = model.wv.expandos["count"], (model.window, model.symmetric)
    return number_of_parts(
        len(counts), expected_pairs(counts, *settings), work.workers, work.budget
    )


def _train(
    where: str,
    model: GloVe,
    run: dict[str, Any],
    work: Work,
    checkpoint: PathLike | None,
    progress: bool | None,
) -> None:
    """Count and train; ``run`` is a state of `new_run` with the number of parts."""
    words, counts = model.wv.index_to_key, model.wv.expandos["count"]
    cuts = bands(
        counts, model.window, model.symmetric, work, parts=run["parts"], block=model._block
    )
    counting = Counting(
        model.window, model.symmetric, model.distance_weighting, work.budget, run["parts"], cuts
    )
    shuffled, checksum = shuffle(work, words, counting, progress)
    if run.setdefault("crc32", checksum) != checksum:
        raise ValueError(f"{where}: the checkpoint belongs to another corpus; give its files")
    blocks, pairs = _blocks(model, work, counting, shuffled, progress)
    if not pairs:
        raise no_pairs(where)
    _Training(model, run, work, blocks, pairs, checkpoint).run(progress)


def _blocks(
    model: GloVe, work: Work, counting: Counting, shuffled: list[list[Any]], progress: bool | None
) -> tuple[dict[tuple[int, int], list[Any]], int]:
    """References to the records of each block, and the number of all."""
    blocks: dict[tuple[int, int], list[Any]] = {}
    settings = Blocking(counting, model._block, model.x_max, model.alpha, model.seed)
    firsts = counting.cuts[:-1].tolist()
    heights = np.diff(counting.cuts).tolist()
    arguments = (
        (settings, first, band) for first, band in zip(firsts, given_away(shuffled), strict=True)
    )
    total = 0
    with contextlib.closing(
        cluster.tasks(
            _band, arguments, most=work.most, memory=work.memory, returns=1 + counting.parts
        )
    ) as found:
        shown = cluster.with_progress(
            found, heights, sum(heights), "adding pairs", progress, " words"
        )
        for first, (lengths, *some) in zip(firsts, shown, strict=True):
            row = part_of(counting, first)
            for column, length in enumerate(cluster.value(lengths)):
                if length:
                    blocks.setdefault((row, column), []).append(some[column])
                    total += length
    return blocks, total


class _Training:
    """The loop over rounds. Parameters are objects of the cluster, one for each part.

    After each epoch they are taken to this process and given out anew: Ray computes what dies with
    a node from what is kept.
    """

    def __init__(
        self,
        model: GloVe,
        run: dict[str, Any],
        work: Work,
        blocks: dict[tuple[int, int], list[Any]],
        pairs: int,
        checkpoint: PathLike | None,
    ) -> None:
        self._model, self._state, self._work = model, run, work
        self._blocks, self._pairs, self._checkpoint = blocks, pairs, checkpoint
        self._parts: int = run["parts"]
        self._given: list[Any] = []  # references to the parameters of each part
        self._first: list[Any] = []  # and to those from which all others can be computed
        self._settings = Step(
            model.vector_size, model.symmetric, model.eta, model.grad_clip, model.seed
        )
        self._saved, self._saving = time.monotonic(), 0.0

    def run(self, progress: bool | None) -> None:
        """Train to the end; the model has what was learnt, also after an error."""
        visits = self._pairs * (2 if self._model.symmetric else 1)
        count = len(rounds(self._parts))
        try:
            run_epochs(
                self._train, self._state, count, lambda block: visits * block / count,
                unit=" pairs", workers=1, progress=progress, cure=CURE,
                checkpoint=self._checkpoint, save=self._save, on_epoch_end=self._epoch_ends,
            )  # fmt: skip
        except KeyboardInterrupt:
            self._take()
            raise
        finally:
            self._model._update_wv()
        self._model._check_finite(self._state)

    def _train(self, first: int, last: int) -> None:
        if not self._given:
            ray = cluster.the_ray()
            self._first = [ray.put(part) for part in dealt_states(self._model, self._parts)]
            self._given = list(self._first)
        epoch = len(self._model.epoch_losses)
        for jobs in schedule(self._parts, self._settings.seed, epoch)[first:last]:
            with contextlib.closing(self._submitted(epoch, jobs)) as found:
                for job, (result, *after) in zip(jobs, found, strict=True):
                    cost, pairs = cluster.value(result)
                    self._state["loss"] += cost
                    self._state["pairs"] += pairs
                    for part, reference in zip(job.parts, after, strict=True):
                        self._given[part] = reference

    def _submitted(self, epoch: int, jobs: Sequence[Job]) -> Any:
        """Results of `_job`; all jobs have as many parts."""

        def arguments() -> Iterator[tuple[Any, ...]]:
            for job in jobs:
                places, records = [], []
                for block in job.blocks(self._settings.symmetric):
                    some = self._blocks.get(block, [])
                    places += [block] * len(some)
                    records += some
                states = [self._given[part] for part in job.parts]
                yield self._settings, epoch, job.parts, places, *states, *records

        count = len(jobs[0].parts)
        rows = -(-len(self._model.wv) // self._parts) * count
        memory = PROCESS + 4 * rows * 2 * self._model._words.strides[0]
        return cluster.tasks(
            _job, arguments(), most=self._work.most, memory=memory, returns=1 + count
        )

    def _take(self) -> None:
        for part, reference in enumerate(self._given):
            words, contexts = cluster.value(reference)
            self._model._words[part :: self._parts] = words
            self._model._contexts[part :: self._parts] = contexts
        self._given, self._first = [], []

    def _save(self) -> None:
        assert self._checkpoint is not None
        began = time.monotonic()
        if self._given:
            self._take()
        self._model._update_wv()
        self._model._write(self._checkpoint, self._state)
        self._saved = time.monotonic()
        self._saving = self._saved - began

    def _epoch_ends(self, loss: float) -> None:
        self._model.epoch_losses.append(loss)
        self._take()
        early = time.monotonic() - self._saved < 10 * self._saving  # saving is a tenth of the time
        if self._checkpoint is None or (early and self._state["epoch"] < self._state["epochs"]):
            return
        try:
            self._save()
        except OSError as error:  # training itself need not stop for it
            warn(f"no checkpoint was written: {error}")


def _band(settings: Blocking, first: int, references: list[Any]) -> tuple[Any, ...]:
    """How many records of a band each part of columns has, and these."""
    counting = settings.counting
    rows = divided(summed(counting, map(cluster.value, references)), counting)
    found = list(blocked(settings, first, rows))
    return [len(records) for records, _ in found], *found


def _job(
    settings: Step, epoch: int, names: tuple[int, ...], places: list[tuple[int, int]], *given: Any
) -> tuple[Any, ...]:
    """Cost and number of pairs, and the parameters of each part."""
    parts, records = given[: len(names)], given[len(names) :]
    cost, pairs, after = train_blocks(settings, epoch, names, parts, places, records)
    return (cost, pairs), *after
