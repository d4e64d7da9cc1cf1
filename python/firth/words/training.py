"""What drives a training of word vectors: epochs, progress, checkpoints, Ctrl-C, divergence.

For every model that learns from windows over word ids (Word2Vec, FastText); what a window computes
stands in csrc/engines.

V = words of the vocabulary, D = dimensions of a vector, S = D rounded up to 64 bytes (`rows`).
"""

from __future__ import annotations

import math
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import warn
from firth.interrupt import deferred_interrupt
from firth.kernels._dispatch import active_level
from firth.progress import progress_bar
from firth.words.corpus import Corpus

_CHECKPOINT_SECONDS = 600.0
_SLICE_SECONDS = 0.2  # between looks at Ctrl-C and at the progress bar
_LANES = 16  # floats in 64 bytes: rows are padded to it while training


@dataclass
class Tree:
    """Paths from the root to each word.

    The inner nodes ``points`` and turns ``codes`` of word i stand at ``start[i]:start[i + 1]``.
    start (V + 1,) int64, points (N,) int32, codes (N,) uint8.
    """

    start: NDArray[np.int64]
    points: NDArray[np.int32]
    codes: NDArray[np.uint8]


@dataclass
class Subwords:
    """Further rows of each word: word i has ``vectors[ids[start[i]:start[i + 1]]]`` beside its own.

    vectors (N, S) float32 from `rows`, start (V + 1,) int64, ids (M,) int32; lockf (N,) or (1,)
    float32: how much of an update each row takes.
    """

    vectors: NDArray[np.float32]
    start: NDArray[np.int64]
    ids: NDArray[np.int32]
    lockf: NDArray[np.float32] | None = None


@dataclass
class Jobs:
    """How gensim cuts a corpus: job j is ids ``[start[j], start[j + 1])``.

    start (J + 1,) int64, progress (J,) float64: the share of the epoch before each job.
    """

    start: NDArray[np.int64]
    progress: NDArray[np.float64]


@dataclass
class Network:
    """What is trained and how; the parameters are those of `firth.Word2Vec`.

    w_in, and w_out (negative sampling) and w_tree (hierarchical softmax) where they are used:
    (V, S) float32 from `rows`, trained in place. counts: (V,) occurrences. keep: (V,) uint32 from
    `keep_thresholds`. lockf: (V,) or (1,) float32, how much of an update a row of w_in takes.
    jobs: random numbers are gensim's and jobs follow one another on one thread; see `streams`. Its
    negatives come from cum_table, (V,) uint32: a draw below the last entry belongs to the first
    entry that is not below it. sample: whether it is 0 matters to the order of draws.
    whole_loss: the loss of every window, not of every 64th.

    src/bind_words.cpp reads these attributes by their names.
    """

    w_in: NDArray[np.float32]
    w_out: NDArray[np.float32] | None
    counts: NDArray[np.int64]
    keep: NDArray[np.uint32]
    window: int
    negative: int
    seed: int
    sg: bool = True
    cbow_mean: bool = True
    shared: bool = True
    shrink_windows: bool = True
    ns_exponent: float = 0.75
    w_tree: NDArray[np.float32] | None = None
    tree: Tree | None = None
    subwords: Subwords | None = None
    lockf: NDArray[np.float32] | None = None
    jobs: Jobs | None = None
    whole_loss: bool = False
    sample: float = 1.0
    cum_table: NDArray[np.uint32] | None = None

    @property
    def noise(self) -> NDArray[np.float64]:
        """How often each word is a negative, (V,), up to a common factor."""
        noise: NDArray[np.float64] = self.counts.astype(np.float64) ** self.ns_exponent
        return noise


def new_run(epochs: int, start_alpha: float, end_alpha: float, draws: int = 0) -> dict[str, Any]:
    """The state of a training that has not begun; `train` keeps it up to date, checkpoints hold it.

    Plain numbers only, so that it can be written as JSON. draws: numbers that earlier trainings
    took from gensim's generator (``run["draws"]`` at their end).
    """
    return {
        "epochs": epochs, "start_alpha": start_alpha, "end_alpha": end_alpha, "epoch": 0,
        "block": 0, "effective": 0, "loss": 0.0, "pairs": 0, "draws": draws,
    }  # fmt: skip


def train(
    network: Network,
    ids: NDArray[np.int32],
    run: dict[str, Any],
    *,
    raw_words: int,
    workers: int | None = None,
    progress: bool | None = None,
    save: Callable[[], None] | None = None,
    epoch_losses: list[float] | None = None,
    on_epoch_begin: Callable[[], None] = lambda: None,
    on_epoch_end: Callable[[], None] = lambda: None,
) -> tuple[int, int]:
    """Train in place over all epochs from ``run["epoch"]``, ``run["block"]`` on.

    Parameters
    ----------
    ids : ndarray, int32
        From `Corpus.encode`.
    run : dict
        From `new_run` or a checkpoint.
    raw_words : int
        Words of the corpus, those outside the vocabulary too: bars and rates count these.
    workers : int, optional
        Threads; all that firth uses by default.
    save : callable, optional
        Writes a checkpoint; called every ten minutes and on Ctrl-C.
    epoch_losses : list, optional
        Each epoch appends its mean loss; NaN where no window had two words.
    on_epoch_begin, on_epoch_end : callable
        Called around each epoch (on_epoch_begin only where an epoch starts at its first block).

    Returns
    -------
    tuple of int
        Words that sub-sampling left, and all words, over all epochs.

    Raises
    ------
    FloatingPointError
        The loss or a row is not finite any more.
    KeyboardInterrupt
        On Ctrl-C, after ``save``.
    """
    workers = workers or _native.num_threads()
    trainer = _native.words.WordTrainer(
        active_level(), network, np.ascontiguousarray(ids), run["start_alpha"], run["end_alpha"],
        run["epochs"],
    )  # fmt: skip
    if run["block"] and run.get("blocks") != trainer.blocks:
        raise ValueError(
            "the checkpoint was made with gensim's random numbers or without them: take the "
            "negatives and workers of then"
        )
    run["blocks"] = trainer.blocks
    raw = max(1.0, raw_words / max(1, int(network.counts.sum())))
    total = len(ids) * run["epochs"]
    before = run["epoch"] * len(ids) + trainer.start(run["block"])
    with (
        deferred_interrupt() as interrupted,
        progress_bar(round(total * raw), " words", "training", progress) as bar,
    ):
        slices = Slices(workers, interrupted, save)
        bar.update(round(before * raw))
        while run["epoch"] < run["epochs"]:
            if not run["block"]:
                on_epoch_begin()
            for first, last in slices(run["block"], trainer.blocks):
                run["loss"], run["pairs"], run["effective"], run["draws"] = trainer.train(
                    run["epoch"], first, last, workers,
                    run["loss"], run["pairs"], run["effective"], run["draws"],
                )  # fmt: skip
                if not np.isfinite(run["loss"]):
                    raise _diverged(run["epoch"])
                run["block"] = last
                bar.set_postfix_str(
                    f"epoch {run['epoch'] + 1}/{run['epochs']}, "
                    f"loss {run['loss'] / max(1, run['pairs']):.4f}",
                    refresh=False,
                )
                bar.update(round((trainer.start(last) - trainer.start(first)) * raw))
            if epoch_losses is not None:
                epoch_losses.append(run["loss"] / run["pairs"] if run["pairs"] else math.nan)
            run.update(epoch=run["epoch"] + 1, block=0, loss=0.0, pairs=0)
            on_epoch_end()
    matrices = [network.w_in, network.w_out, network.w_tree]
    if network.subwords is not None:
        matrices.append(network.subwords.vectors)
    if not all(np.isfinite(m.sum()) for m in matrices if m is not None):  # the loss is a sample
        raise _diverged(run["epochs"] - 1)
    return run["effective"], round(len(ids) * raw) * run["epochs"]


class Slices:
    """Cuts the blocks of an epoch into native calls, each long enough but not too long.

    After each call Ctrl-C is looked at (``save``, then KeyboardInterrupt), and the clock: ``save``
    every ten minutes. Where ``save`` is None, nothing is saved.
    """

    def __init__(
        self, workers: int, interrupted: threading.Event, save: Callable[[], None] | None
    ) -> None:
        self._count, self._interrupted, self._save = max(1, workers), interrupted, save
        self._saved = time.monotonic()

    def __call__(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield ``(first, last)`` of each call; what is done in the loop's body is timed."""
        while first < end:
            last = min(first + self._count, end)
            start = time.monotonic()
            yield first, last
            now = time.monotonic()
            if now - start < _SLICE_SECONDS / 2:
                self._count *= 2
            first = last
            if self._interrupted.is_set():
                if self._save is not None:
                    self._save()
                raise KeyboardInterrupt
            if self._save is not None and now - self._saved > _CHECKPOINT_SECONDS:
                try:
                    self._save()
                except OSError as error:  # training itself need not stop for it
                    warn(f"no checkpoint was written: {error}")
                self._saved = time.monotonic()


def keep_thresholds(counts: NDArray[np.int64], sample: float) -> NDArray[np.uint32]:
    """How likely each word survives sub-sampling, in units of 2**-32 (gensim's sample_int)."""
    if not sample:
        return np.full(len(counts), 2**32 - 1, np.uint32)
    threshold = sample * counts.sum() if sample < 1 else float(int(sample * (3 + np.sqrt(5)) / 2))
    threshold = max(threshold, 1e-280)  # else counts / threshold is infinite
    share = (np.sqrt(counts / threshold) + 1) * (threshold / counts)
    keep: NDArray[np.uint32] = (np.minimum(share, 1.0) * (2**32 - 1)).astype(np.uint32)
    return keep


def streams(
    negatives: str | None,
    workers: int | None,
    ids: NDArray[np.int32],
    text: Corpus,
    key_to_index: dict[str, int],
    batch_words: int = 10000,
) -> tuple[bool, Jobs | None]:
    """Whether negatives are shared, and gensim's jobs where its random numbers are followed.

    They are where ``negatives`` is not "shared" and the order of jobs is certain: with one worker
    or a corpus of a single job. None is gensim's way for a single job and else "shared".
    """
    if negatives == "shared":
        return True, None
    alone = negatives == "independent" and (workers or _native.num_threads()) == 1
    if alone or len(ids) <= batch_words:
        jobs = gensim_jobs(text, key_to_index, batch_words)
        if jobs.start[-1] != len(ids):
            raise RuntimeError(
                f"the corpus changed between two passes: {len(ids):,} words of the vocabulary, "
                f"then {int(jobs.start[-1]):,}"
            )
        if alone or len(jobs.progress) == 1:
            return False, jobs
    return negatives is None, None


def gensim_jobs(
    sentences: Iterable[Iterable[str]], key_to_index: dict[str, int], batch_words: int = 10000
) -> Jobs:
    """Jobs of whole sentences of at most ``batch_words`` words (one that is longer stands alone).

    As gensim's Word2Vec._job_producer, where the learning rate falls by sentences; but no sentence
    is cut.
    """
    start, before = [0], [0]
    examples = tokens = words = 0
    for sentence in sentences:
        length = known = 0
        for word in sentence:
            length += 1
            known += word in key_to_index
        if words + length > batch_words:
            start.append(tokens)
            before.append(examples)
            words = 0
        words += length
        tokens += known
        examples += 1
    return Jobs(np.array([*start, tokens], np.int64), np.array(before) / max(1, examples))


def rows(count: int, dim: int) -> NDArray[np.float32]:
    """Zeros (count, dim rounded up to 64 bytes), aligned to 64 bytes: what the trainer works on."""
    stride = -(-dim // _LANES) * _LANES
    raw = np.zeros(count * stride + _LANES, np.float32)
    start = -(raw.ctypes.data // 4) % _LANES
    return raw[start : start + count * stride].reshape(count, stride)


def padded(matrix: NDArray[np.float32], buffer: NDArray[np.float32]) -> NDArray[np.float32]:
    """The buffer, where the matrix is a view of all its rows; else a padded copy of the matrix."""
    view = buffer[:, : matrix.shape[1]]
    if all(
        view.__array_interface__[k] == matrix.__array_interface__[k]
        for k in ("data", "strides", "shape", "typestr")
    ):
        return buffer
    copy = rows(*matrix.shape)
    copy[:, : matrix.shape[1]] = matrix
    return copy


def fingerprint(ids: NDArray[np.int32]) -> int:
    """A checksum that tells one corpus from another."""
    return zlib.crc32(np.ascontiguousarray(ids).data, len(ids) & 0xFFFFFFFF)


def _diverged(epoch: int) -> FloatingPointError:
    return FloatingPointError(f"training diverged in epoch {epoch + 1}: take a lower alpha")
