"""`train` and `resume`: word vectors of any model on a cluster, by the module of its kind."""

from __future__ import annotations

import os
from typing import TypeVar

from firth.arguments import Rules, Whole, check_all, shortened
from firth.distributed import glove, word2vec
from firth.distributed.splits import Paths
from firth.formats import container
from firth.formats.files import PathLike
from firth.words import GloVe, Word2Vec

_WORKERS: Rules = {"workers": Whole(1, 2**16, optional=True)}

Model = TypeVar("Model", Word2Vec, GloVe)


def train(
    model: Model,
    paths: Paths,
    *,
    workers: int | None = None,
    interval: int | None = None,
    checkpoint: PathLike | None = None,
    progress: bool | None = None,
) -> Model:
    """Build the vocabulary of some files where the model has none, and train it on a cluster.

    Parameters
    ----------
    model : Word2Vec, FastText or GloVe
        With its parameters; it is trained in place. What its ``corpus_file`` says of a text holds
        of each file.
    paths : path-like, or sequence of path-like
        Files, patterns, or what fsspec opens (``s3://...``), where every node finds them.
    workers : int, optional
        Processes that train, each with one thread; by default one for each processor, at most 64
        for each, which then take turns. The result depends on their number, and not on where they
        run or what fails meanwhile. GloVe's counts depend on nothing; its training takes the pairs
        in another order.
    interval : int, optional
        Word2Vec and FastText: words that each worker trains between two averages; see
        `firth.distributed.word2vec.train`.
    checkpoint : path-like, optional
        Where to leave the state every ten minutes and on Ctrl-C; see `resume`. It stays there.
    progress : bool, optional
        As of the model.

    Returns
    -------
    Word2Vec, FastText or GloVe
        The model.

    Raises
    ------
    ValueError
        ``workers`` is out of range, or ``interval`` given with GloVe.
    TypeError
        The model is of another kind. What the cluster or the files lack is an error of one line,
        before any work: see `firth.distributed.cluster.nodes`.
    """
    check_all("train", _WORKERS, {"workers": workers})
    if isinstance(model, GloVe):
        if interval is not None:
            raise ValueError("train: interval is for Word2Vec and FastText; GloVe averages nothing")
        return glove.train(
            model, paths, workers=workers, checkpoint=checkpoint, progress=progress
        )  # fmt: skip
    if not isinstance(model, Word2Vec):
        kind = type(model).__name__
        raise TypeError(f"train: model must be a Word2Vec, FastText or GloVe, got {kind}")
    return word2vec.train(
        model, paths, replicas=workers, interval=interval, checkpoint=checkpoint, progress=progress
    )


def resume(
    path: PathLike,
    paths: Paths,
    *,
    checkpoint: PathLike | None = None,
    progress: bool | None = None,
) -> Word2Vec | GloVe:
    """Finish a training that was interrupted, from its checkpoint, on the same files.

    The result is that of a training without interruption, bit for bit.

    Parameters
    ----------
    path : path-like
        The checkpoint; it is removed when training is complete.
    checkpoint : path-like, optional
        Where to leave the state instead; then nothing is removed.

    Raises
    ------
    FileNotFoundError
        There is no checkpoint, or a file is missing.
    ValueError
        The files are not those of the checkpoint. FormatError: no checkpoint of a cluster.
    """  # fmt: skip
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"resume: the checkpoint must be a path, got {shortened(path)}")
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"resume: there is no {os.fspath(path)}; give the checkpoint that train left"
        )
    if container.read(path, mmap="r").kind == "glove":
        return glove.resume(path, paths, checkpoint=checkpoint, progress=progress)
    return word2vec.resume(path, paths, checkpoint=checkpoint, progress=progress)
