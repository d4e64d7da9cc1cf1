"""Word2Vec and FastText on a Ray cluster: replicas that train their shards, and are averaged.

A training is a row of rounds. In each, every replica trains the next words of its shard from the
same rows, and one change is made of what they all changed (`firth.distributed.averaging`).
Workers keep the rows; this process takes them once in a while, so that a lost node costs a minute.
What a round gives depends on its rows and its number alone, so a round that is made again, by any
worker, gives the same bits (on processors of one kind: rounding depends on what they can do).

V = words of the vocabulary, D = dimensions of a vector.
"""

from __future__ import annotations

import math
import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import Rules, Whole, check_all
from firth.distributed import cluster, vocabulary
from firth.distributed.averaging import Job, Part, deal, faster
from firth.distributed.cooccurrences import PROCESS
from firth.distributed.rounds import Rounds
from firth.distributed.splits import Paths, files
from firth.epochs import check_checkpoint, diverged, remove_checkpoint, run_epochs
from firth.errors import FormatError
from firth.formats import container
from firth.formats.files import PathLike
from firth.words import FastText, Word2Vec, training

_ROUNDS = 16  # of an epoch for each replica, where the corpus is small
_SHORT = 300_000  # words of a round that hide what averaging costs,
_PER_WORD = 4  # or so many for each word of the vocabulary, whose rows are averaged
_ALONE = 2_000_000  # words of a round of one replica, between which a training can be stopped
_WORTH = 1_000_000  # words that a replica has by default, or more
_CURE = "take a lower alpha"

_SETTINGS: Rules = {
    "replicas": Whole(1, 2**16, optional=True), "interval": Whole(1, 2**63 - 1, optional=True)
}  # fmt: skip
_RUN: Rules = {"replicas": Whole(1, 2**16), "interval": Whole(1, 2**63 - 1)}


def train(
    model: Word2Vec,
    paths: Paths,
    *,
    replicas: int | None = None,
    interval: int | None = None,
    checkpoint: PathLike | None = None,
    progress: bool | None = None,
) -> Word2Vec:
    """Build the vocabulary of files where the model has none, and train on them.

    The vocabulary is that of one machine. Vectors depend on the model's ``seed``, the files,
    ``replicas`` and ``interval``: not on nodes and workers, nor on what fails meanwhile. One
    replica gives the bits of ``Word2Vec(corpus_file=..., workers=1)`` on the lines of all files,
    where the model's ``negatives`` is "shared", or None and the corpus has more than 10,000 words;
    gensim's very random numbers, which it follows otherwise, are not followed here.

    More replicas make other vectors. Of 16.9 million words and five epochs, at the default
    ``interval``, two lose 0.4 of 28.6 points of analogies and four 0.15 (means of three seeds, one
    of which loses 1.0 with four; benchmarks/RESULTS.md has the table of intervals). The learning
    rate is the model's ``alpha`` times ``replicas``, up to 0.1, since an average goes less far than
    the same words one after another; beyond that more replicas learn less from the same text, which
    then has to be longer. Longer intervals are faster, and worse.

    Parameters
    ----------
    model : Word2Vec or FastText
        It is trained in place for its ``epochs``, from its present vectors on where it has some.
        Its ``workers`` is not used.
    paths
        As for `build_vocab`.
    replicas : int, optional
        Copies of the parameters, each trained with one thread on a part of the files. By default
        one for each processor of the cluster, but at most one for every million words. With fewer
        processors than replicas, up to 64 for each, workers train several in turn.
    interval : int, optional
        Words that each replica trains between two averages. By default what it has / 16 / replicas,
        at most 300,000 or 4 for each word of the vocabulary: shorter is nearer to one process,
        and costs more.
    checkpoint : path-like, optional
        Where to leave the state every ten minutes, and on Ctrl-C; see `resume`. It stays there.
    progress : bool, optional
        As for `build_vocab`; by default the model's.

    Returns
    -------
    Word2Vec or FastText
        The model. Attributes are those that `Word2Vec.train` sets.

    Raises
    ------
    FileNotFoundError
        A file is missing, here or on a node.
    ValueError
        A parameter is out of range; a replica would have no words; the model counts words in
        another way than files are counted here (``max_vocab_size``), or has others.
    RuntimeError
        No word occurs ``min_count`` times; a file changed meanwhile; a node cannot do the work.
    MemoryError
        No node has the memory for a replica.
    FloatingPointError, KeyboardInterrupt
        As of `Word2Vec.train`.
    """
    check_checkpoint("train", checkpoint)
    given = check_all("train", _SETTINGS, {"replicas": replicas, "interval": interval})
    count = given["replicas"]
    names = files("train", paths)
    progress = model.progress if progress is None else progress
    if model.max_vocab_size:
        raise ValueError("train: max_vocab_size forgets words by their order: leave it out")
    if not model.hs and not model.negative:
        raise ValueError("train: hs and negative are both 0: there is nothing to do")
    if count is not None:
        cluster.check_workers("train", count, cluster.nodes("train", names).cpus)
    deal("train", paths, count or 1)
    if not len(model.wv):
        found = vocabulary.count("train", paths, progress=progress)
        frequencies = dict(zip(found.words, found.counts.tolist(), strict=True))
        model.build_vocab_from_freq(frequencies, corpus_count=found.sentences)
    model._check_ready()
    here = _nodes("train", model, paths, count or 1)
    if count is None:
        words = model.corpus_total_words or int(model.wv.expandos["count"].sum())
        count = _dealable(paths, max(1, min(here.cpus, words // _WORTH)))
    run = training.new_run(model.epochs, model.alpha, model.min_alpha, model._draws)
    run |= {"replicas": count, "interval": given["interval"]}
    model.epoch_losses, model.running_training_loss = [], 0.0
    _Training("train", model, paths, run, here.cpus).run(checkpoint, progress)
    return model


def resume(
    path: PathLike,
    paths: Paths,
    *,
    checkpoint: PathLike | None = None,
    progress: bool | None = None,
) -> Word2Vec:
    """Finish an interrupted training from its checkpoint, on the same files.

    The result is that of a training without interruption, bit for bit, on any cluster.

    Parameters
    ----------
    path : path-like
        The checkpoint; it is removed when training is complete.
    checkpoint : path-like, optional
        Where to leave the state instead; then nothing is removed.
    paths, progress
        As for `train`.

    Raises
    ------
    ValueError
        The file holds a finished model, or the state of `Word2Vec.train`, or the files are others.
        FormatError: it is damaged, or of another kind. And as `train`.
    """
    check_checkpoint("resume", checkpoint)
    name = os.fspath(path)
    kinds: dict[str, type[Word2Vec]] = {"word2vec": Word2Vec, "fasttext": FastText}
    kind = container.read(path, mmap="r").kind
    if kind not in kinds:
        raise FormatError(f"holds {container.nature(kind)}, no Word2Vec or FastText", path)
    model, run = kinds[kind]._read(path)
    if run is None:
        raise ValueError(f"{name}: holds a finished model, no interrupted training")
    if "replicas" not in run:
        raise ValueError(f"{name}: is of a training by one process: {kind} resume goes on with it")
    check_all(name, _RUN, run)
    model.progress = progress
    model._check_ready()
    here = _nodes("resume", model, paths, run["replicas"])
    _Training(name, model, paths, run, here.cpus).run(
        path if checkpoint is None else checkpoint, progress
    )
    if checkpoint is None:
        remove_checkpoint(path)
    return model


def _nodes(where: str, model: Word2Vec, paths: Paths, replicas: int) -> cluster.Nodes:
    """The cluster, which has the files and the memory of a replica."""
    names = [name for name in files(where, paths) if "://" not in name]
    return cluster.nodes(where, names, _memory(model, replicas))


def _memory(model: Word2Vec, replicas: int) -> int:
    """Bytes of a worker: the process, ids, all matrices and parts of them on their way.

    Of several replicas each also has the rows that all have in common.
    """
    size = sum(matrix.nbytes for matrix in (model._input, model.syn1neg, model.syn1))
    if isinstance(model, FastText):
        size += model.wv.vectors_ngrams.nbytes
    ids = 4 * (model.corpus_total_words or int(model.wv.expandos["count"].sum())) // replicas
    return PROCESS + (4 if replicas == 1 else 5) * size // 2 + min(ids, 1 << 30)


def _dealable(paths: Paths, replicas: int) -> int:
    """The greatest number of replicas, up to this one, that all get files; some are not cut."""
    while replicas > 1:
        try:
            deal("train", paths, replicas)
        except ValueError:
            replicas -= 1
        else:
            break
    return replicas


class _Training:
    """A training of a model on a cluster; ``run`` is kept up to date."""

    def __init__(
        self, where: str, model: Word2Vec, paths: Paths, run: dict[str, Any], cpus: int
    ) -> None:
        self._where, self._model, self._run = where, model, run
        network = model._network(model.negatives != "independent", None)
        network.whole_loss |= (model.corpus_total_words or 0) <= training.SMALL
        words = model.wv.index_to_key
        start = faster(run["start_alpha"], run["replicas"])
        self._job, self._matrices = Job.of(
            network, words, model.vector_size, run | {"start_alpha": start}
        )
        shards = deal(where, paths, run["replicas"])
        self._rounds = Rounds(
            where, self._job, shards, [self._rows(part) for part in self._job.parts()], cpus,
            _memory(model, run["replicas"]),
        )  # fmt: skip

    def _rows(self, part: Part) -> NDArray[np.float32]:
        """Those of the model, (n, D)."""
        return self._matrices[part.matrix][part.start : part.stop, : self._job.dim]

    def run(self, checkpoint: PathLike | None, progress: bool | None) -> None:
        """All rounds that are left."""
        model, run, rounds = self._model, self._run, self._rounds
        began = time.monotonic()
        if run.setdefault("checksums", rounds.checksums) != rounds.checksums:
            rounds.close()
            raise ValueError(
                f"{self._where}: the checkpoint belongs to another corpus; give its files"
            )
        most = max(_SHORT, _PER_WORD * len(model.wv)) if run["replicas"] > 1 else _ALONE
        interval = run["interval"] or min(
            most, math.ceil(rounds.longest / _ROUNDS / run["replicas"])
        )
        count = min(rounds.blocks, math.ceil(rounds.longest / interval))
        run["interval"], run["crc32"] = interval, rounds.checksums[0]
        rounds.begin(run["epoch"] * count + run["block"], count)

        def ended(loss: float) -> None:
            model.epoch_losses.append(loss)
            if model.compute_loss:
                model.running_training_loss += float(np.nan_to_num(loss))

        def make(first: int, last: int) -> None:
            for index in range(first, last):
                found = rounds.train(run["epoch"] * count + index)
                for name, more in zip(("loss", "pairs", "effective"), found, strict=True):
                    run[name] += more

        def save() -> None:
            assert checkpoint is not None
            self._bring()
            model._write(checkpoint, run)

        try:
            run_epochs(
                make, run, count, lambda index: rounds.words * index / count, unit=" words",
                workers=1, progress=progress, cure=_CURE, checkpoint=checkpoint, save=save,
                on_epoch_end=ended,
            )  # fmt: skip
        finally:  # after an error or Ctrl-C the model is as far as training got
            try:
                self._bring()
            finally:
                rounds.close()
        if not all(np.isfinite(matrix.sum()) for matrix in self._matrices.values()):
            raise diverged(run["epochs"] - 1, _CURE)
        model.train_count += 1
        model.total_train_time += time.monotonic() - began
        model.min_alpha_yet_reached = min(model.min_alpha_yet_reached, run["end_alpha"])

    def _bring(self) -> None:
        """What the workers have learnt, into the model."""
        for part, rows in zip(self._job.parts(), self._rounds.take(), strict=True):
            self._rows(part)[...] = rows
        self._model._vectors_changed()
