"""Training of word vectors: what is trained, gensim's jobs, the native trainer and its buffers.

For every model that learns from windows over word ids (Word2Vec, FastText); csrc/engines computes
the updates of a window.

V = words of the vocabulary, D = dimensions of a vector, S = D rounded up to 64 bytes (`rows`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.epochs import diverged, run_epochs
from firth.epochs import new_run as epochs_run
from firth.kernels._dispatch import active_level
from firth.words.corpus import Corpus

_CURE = "take a lower alpha"
SMALL = 10_000  # words of a corpus up to which the loss of every window is taken
_LANES = 16  # floats in 64 bytes: rows are padded to it while training


@dataclass
class Tree:
    """Paths from the root to each word.

    The inner nodes ``points`` and turns ``codes`` of word i are at ``start[i]:start[i + 1]``.
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
    whole_loss: the loss of every window; else, of a corpus that is not small, of every 64th.

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
    """The state of a training that has not begun, as `firth.epochs.new_run`.

    ``effective`` are the words that sub-sampling left so far, ``draws`` the numbers taken from
    gensim's generator: by earlier trainings, and by this one so far.
    """
    return epochs_run(
        epochs, start_alpha=start_alpha, end_alpha=end_alpha, effective=0, draws=draws
    )


def train(
    network: Network,
    ids: NDArray[np.int32],
    run: dict[str, Any],
    *,
    raw_words: int,
    workers: int | None = None,
    progress: bool | None = None,
    **callbacks: Any,
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
    **callbacks
        ``checkpoint``, ``save``, ``on_epoch_begin``, ``on_epoch_end`` of `run_epochs`.

    Returns
    -------
    tuple of int
        Words that sub-sampling left, and all words, over all epochs.

    Raises
    ------
    FloatingPointError
        The loss or a row is not finite any more.
    KeyboardInterrupt
        As of `run_epochs`.
    """
    workers = workers or _native.num_threads()
    network.whole_loss = network.whole_loss or len(ids) <= SMALL
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

    def blocks(first: int, last: int) -> None:
        run["loss"], run["pairs"], run["effective"], run["draws"] = trainer.train(
            run["epoch"], first, last, workers,
            run["loss"], run["pairs"], run["effective"], run["draws"],
        )  # fmt: skip

    run_epochs(
        blocks, run, trainer.blocks, lambda block: trainer.start(block) * raw, unit=" words",
        workers=workers, progress=progress, cure=_CURE, **callbacks,
    )  # fmt: skip
    matrices = [network.w_in, network.w_out, network.w_tree]
    if network.subwords is not None:
        matrices.append(network.subwords.vectors)
    if not all(np.isfinite(m.sum()) for m in matrices if m is not None):  # the loss is a sample
        raise diverged(run["epochs"] - 1, _CURE)
    return run["effective"], round(len(ids) * raw) * run["epochs"]


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


def gensim_jobs(text: Corpus, key_to_index: dict[str, int], batch_words: int = 10000) -> Jobs:
    """Jobs of whole sentences of at most ``batch_words`` words (a longer one is a job of its own).

    As gensim's Word2Vec._job_producer, where the learning rate falls by sentences; but no sentence
    is cut.
    """
    start, before = [0], [0]
    examples = tokens = words = 0
    for length, known in text.lengths(key_to_index):
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


def fill(rows: NDArray[np.float32], seed: int) -> None:
    """Random start values, gensim's: uniform in +-1 / D, for rows (N, D)."""
    random = np.random.default_rng(seed)
    for first in range(0, len(rows), 4096):
        part = rows[first : first + 4096]
        part[...] = random.random(part.shape, np.float32)
        part *= 2
        part -= 1
        part /= rows.shape[1]


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
    """A checksum of a corpus, to recognise it when training is resumed."""
    return zlib.crc32(np.ascontiguousarray(ids).data, len(ids) & 0xFFFFFFFF)
