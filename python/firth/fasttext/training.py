"""Training of classifiers and of word vectors, with fastText's arguments."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.arguments import Real, Rules, Whole, check_all
from firth.epochs import check_checkpoint, new_run, remove_checkpoint
from firth.fasttext import checkpoints
from firth.fasttext.fit import mapped
from firth.fasttext.model import Model
from firth.fasttext.quantise import packed
from firth.formats import fasttext as files
from firth.formats.fasttext import Args, Content
from firth.formats.files import PathLike

_LOSSES = {name: number for number, name in files.LOSSES.items()}
_MODELS = {name: number for number, name in files.MODELS.items()}


def train_supervised(
    input: PathLike,
    lr: float = 0.1,
    dim: int = 100,
    ws: int = 5,
    epoch: int = 5,
    minCount: int = 1,
    minCountLabel: int = 0,
    minn: int = 0,
    maxn: int = 0,
    neg: int = 5,
    wordNgrams: int = 1,
    loss: str = "softmax",
    bucket: int = 2_000_000,
    thread: int | None = None,
    lrUpdateRate: int = 100,
    t: float = 1e-4,
    label: str = "__label__",
    verbose: int = 2,
    pretrainedVectors: PathLike = "",
    seed: int = 0,
    checkpoint: PathLike | None = None,
    **others: Any,
) -> Model:
    """Train a classifier on a file of lines, each with labels and words.

    Parameters
    ----------
    input : path-like
        UTF-8; a word that begins with ``label`` is a label. Compressed, a pipe or "-" (standard
        input), too.
    lr : float
        Learning rate at the start; it falls to 0 over all epochs.
    dim : int
        D.
    epoch : int
        Passes over the file.
    minCount, minCountLabel : int
        Rarer words and labels are left out.
    minn, maxn : int
        Shortest and longest character n-gram; 0 for none.
    neg : int
        Negatives of the loss "ns".
    wordNgrams : int
        Longest n-gram of words.
    loss : {"softmax", "ns", "hs", "ova"}
        "ova" is for lines with several labels: one against all.
    bucket : int
        Rows of n-grams.
    thread : int, optional
        Threads; as `firth.set_num_threads` by default. One gives the same bits in every run.
    verbose : int
        0 for no progress bar.
    pretrainedVectors : path-like
        A word2vec text file (``.vec``) to start from.
    seed : int
        For the initial values and all random draws.
    checkpoint : path-like, optional
        Where to leave the state of training on Ctrl-C, and every ten minutes; see `resume`.
    ws, lrUpdateRate, t : int, int, float
        Written to the file only; a classifier does not use them.

    Raises
    ------
    ValueError
        An argument out of range, no words, no labels, or vectors of another dimension.
    RuntimeError
        The model has become NaN: the learning rate is too high.
    KeyboardInterrupt
        On Ctrl-C, after the checkpoint is written.

    Notes
    -----
    ``min_count``, ``word_ngrams``, ``lr_update_rate``, ``label_prefix`` and ``pretrained_vectors``
    are accepted as aliases, as in fastText.
    """
    given = _checked("train_supervised", locals())
    check_checkpoint("train_supervised", checkpoint)
    args = _args(given, "supervised")
    lines = mapped(given["input"])
    text, ends, counts, labels, tokens = _native.fasttext.fasttext_vocabulary(
        lines, given["label"], given["minCount"], given["minCountLabel"]
    )
    if not len(ends):
        raise ValueError("Empty vocabulary. Try a smaller -minCount value.")
    if not labels:
        raise ValueError(f"train_supervised: no word of the file begins with {given['label']!r}")
    nothing = np.empty((0, args.dim), np.float32)
    content = Content(args, text, ends, counts, labels, tokens, None, nothing, nothing)
    pretrained: Sequence[tuple[int, NDArray[np.float32]]] = ()
    if given["pretrainedVectors"]:
        content, pretrained = _with_pretrained(content, given["pretrainedVectors"])
    rng = np.random.default_rng(given["seed"])
    matrix = rng.random((content.nwords + args.bucket, args.dim), np.float32)
    matrix *= 2 / args.dim
    matrix -= 1 / args.dim
    for row, vector in pretrained:
        matrix[row] = vector
    content.input = matrix
    content.output = np.zeros((labels, args.dim), np.float32)
    run = new_run(args.epoch, rate=given["lr"], seed=given["seed"])
    checkpoints.train(content, _kept(given), lines, run, checkpoint)
    return Model(content, **_kept(given))


def resume(
    path: PathLike,
    input: PathLike,
    thread: int | None = None,
    verbose: int = 2,
    *,
    checkpoint: PathLike | None = None,
) -> Model:
    """Finish what training left in a checkpoint; with one thread to the bits of an unbroken run.

    Parameters
    ----------
    path : path-like
        The checkpoint. It is removed when training is complete.
    input : path-like
        The same text.
    thread, verbose
        As for the training.
    checkpoint : path-like, optional
        Where to leave the state instead; then nothing is removed.

    Raises
    ------
    ValueError
        The text is another; FormatError: the file is no checkpoint of these functions.
    """
    check_all("resume", _RANGES, {"thread": thread, "verbose": verbose})
    check_checkpoint("resume", checkpoint)
    if checkpoints.of_words(path):
        from firth.fasttext import unsupervised

        return unsupervised.resume(path, input, thread, verbose, checkpoint)
    content, given, run = checkpoints.read(path)
    given |= {"thread": thread, "verbose": verbose}
    lines = mapped(input)
    if run["crc32"] != checkpoints.fingerprint(lines):
        raise ValueError(f"{os.fspath(path)}: the checkpoint belongs to another text")
    checkpoints.train(content, given, lines, run, path if checkpoint is None else checkpoint)
    if checkpoint is None:
        remove_checkpoint(path)
    return Model(content, **given)


def train_unsupervised(
    input: PathLike,
    model: str = "skipgram",
    lr: float = 0.05,
    dim: int = 100,
    ws: int = 5,
    epoch: int = 5,
    minCount: int = 5,
    minCountLabel: int = 0,
    minn: int = 3,
    maxn: int = 6,
    neg: int = 5,
    wordNgrams: int = 1,
    loss: str = "ns",
    bucket: int = 2_000_000,
    thread: int | None = None,
    lrUpdateRate: int = 100,
    t: float = 1e-4,
    label: str = "__label__",
    verbose: int = 2,
    pretrainedVectors: PathLike = "",
    seed: int = 0,
    checkpoint: PathLike | None = None,
    **others: Any,
) -> Model:
    """Train word vectors from words and their character n-grams on a file with a sentence per line.

    `firth.words.FastText` does the work, with negatives by count**0.5 as in fastText. The end of a
    line is the word ``</s>``, without n-grams. The losses are "ns" and "hs"; ``pretrainedVectors``
    is not supported.

    Parameters
    ----------
    input : path-like
        UTF-8, words between spaces. Those that begin with ``label`` are labels, which are left out;
        the file of a model lists those that occur ``minCountLabel`` times.
    model : {"skipgram", "cbow"}
    lr, dim, ws, epoch, minCount, minn, maxn, neg, bucket, thread, t, verbose, seed
        Initial learning rate, D, window, passes over the file, least count of a word, shortest and
        longest n-gram, negatives, rows of n-grams, threads, threshold for dropping frequent words,
        0 for no progress bar, seed of the random numbers. Of ``t`` 0 means that all words stay.
    checkpoint : path-like, optional
        Where to leave the state of training on Ctrl-C, and every ten minutes; see `resume`.

    Raises
    ------
    ValueError
        An argument out of range. RuntimeError: no word occurs ``minCount`` times.
    FloatingPointError
        Training diverged: the learning rate is too high.
    KeyboardInterrupt
        On Ctrl-C, after the checkpoint is written.
    """
    given = _checked("train_unsupervised", locals())
    check_checkpoint("train_unsupervised", checkpoint)
    if given["model"] not in ("skipgram", "cbow"):
        raise ValueError("Unrecognized model name")
    args = _args(given, given["model"])
    if given["loss"] not in ("ns", "hs"):
        raise ValueError(f"train_unsupervised: loss must be 'ns' or 'hs', got {given['loss']!r}")
    if given["pretrainedVectors"]:
        raise NotImplementedError("train_unsupervised: pretrainedVectors is not offered")
    from firth.fasttext import unsupervised  # late, for all of firth.words

    return unsupervised.train(given["input"], args, _kept(given), checkpoint)


_SECOND_NAMES = {
    "min_count": "minCount",
    "word_ngrams": "wordNgrams",
    "lr_update_rate": "lrUpdateRate",
    "label_prefix": "label",
    "pretrained_vectors": "pretrainedVectors",
}


_RANGES: Rules = {
    "lr": Real(), "dim": Whole(1, 2**20), "ws": Whole(1), "epoch": Whole(1), "minCount": Whole(),
    "minCountLabel": Whole(0, 2**63 - 1), "minn": Whole(), "maxn": Whole(), "neg": Whole(0, 2**16),
    "wordNgrams": Whole(1), "bucket": Whole(), "thread": Whole(1, 1024, optional=True),
    "lrUpdateRate": Whole(1), "t": Real(most=1e18), "verbose": Whole(), "seed": Whole(0, 2**63 - 1),
}  # fmt: skip


def _checked(function: str, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments, with aliases (``others``) under their main names."""
    for name, value in given.pop("others").items():
        if name.startswith("autotune"):
            raise NotImplementedError(f"{function}: automatic tuning ({name}) is not offered")
        if name not in _SECOND_NAMES:
            raise TypeError(f"unexpected keyword argument '{name}'")
        given[_SECOND_NAMES[name]] = value
    return given | check_all(function, _RANGES, given)


def _kept(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a model keeps, although its file does not."""
    return {name: given[name] for name in checkpoints.GIVEN}


def _args(given: dict[str, Any], model: str) -> Args:
    if given["loss"] not in _LOSSES:
        raise ValueError("Unrecognized loss name")
    has_ngrams = given["wordNgrams"] > 1 or given["maxn"] > 0
    return Args(
        given["dim"], given["ws"], given["epoch"], given["minCount"], given["neg"],
        given["wordNgrams"], _LOSSES[given["loss"]], _MODELS[model],
        given["bucket"] if has_ngrams else 0, given["minn"], given["maxn"], given["lrUpdateRate"],
        given["t"],
    )  # fmt: skip


def _with_pretrained(
    content: Content, path: PathLike
) -> tuple[Content, list[tuple[int, NDArray[np.float32]]]]:
    """The dictionary with a file's words counted once more, and their rows in it."""
    from firth.formats import word2vec

    read = word2vec.read_text(path)
    if read.vectors.shape[1] != content.args.dim:
        raise ValueError(
            f"Dimension of pretrained vectors ({read.vectors.shape[1]}) does not match dimension "
            f"({content.args.dim})!"
        )
    entries = content.entries()
    words = dict(zip(entries[: content.nwords], content.counts.tolist(), strict=False))
    keys = [key.encode("utf-8", "surrogateescape") for key in read.keys]
    for key in keys:
        words[key] = words.get(key, 0) + 1
    ordered = sorted(words, key=lambda word: -words[word])
    rows = {word: row for row, word in enumerate(ordered)}
    labels = entries[content.nwords :]
    counts = [words[word] for word in ordered] + content.counts[content.nwords :].tolist()
    extended = dataclasses.replace(
        content, **packed(ordered + labels, counts), tokens=content.tokens + len(keys)
    )
    vectors = np.asarray(read.vectors, np.float32)
    return extended, [(rows[key], vectors[i]) for i, key in enumerate(keys)]
