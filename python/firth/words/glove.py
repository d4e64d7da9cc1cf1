"""GloVe: word vectors from the co-occurrence counts of a corpus.

V = words of the vocabulary, D = dimensions of a vector. `firth.kernels.glove_adagrad` defines a
training step, csrc/engines/words/glove.h how pairs are counted.

Longer than most files: one class, whose parameters and attributes are described for users.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.arguments import Real, Rules, Whole, check_all
from firth.epochs import check_checkpoint, diverged, new_run, remove_checkpoint, run_epochs
from firth.errors import FormatError
from firth.formats import container, glove, word2vec
from firth.formats.files import PathLike
from firth.kernels._dispatch import active_level
from firth.words import corpus
from firth.words.cooccurrences import cooccurrences, temporary
from firth.words.corpus import Sentences
from firth.words.keyedvectors import KeyedVectors
from firth.words.keys import keys_as_text
from firth.words.training import fingerprint
from firth.words.training import rows as aligned_rows

_logger = logging.getLogger(__name__)

_KIND = "glove"
_PARAMETERS = (
    "vector_size", "window", "x_max", "alpha", "epochs", "min_count", "max_vocab", "eta",
    "symmetric", "distance_weighting", "grad_clip", "memory", "seed",
)  # fmt: skip
_RANGES: Rules = {
    "vector_size": Whole(1, 2**20),
    "window": Whole(1),
    "x_max": Real(above=True),
    "alpha": Real(),
    "epochs": Whole(1),
    "min_count": Whole(0, 2**63 - 1),
    "max_vocab": Whole(1, 2**63 - 1, optional=True),
    "eta": Real(above=True),
    "grad_clip": Real(above=True),
    "memory": Real(above=True),
    "seed": Whole(0, 2**63 - 1),
    "workers": Whole(1, 1024, optional=True),
}
_STATE = {"corpus_count": Whole(0, 2**63 - 1), "corpus_total_words": Whole(0, 2**63 - 1)}
_RUN: Rules = {"epochs": Whole(1), "epoch": Whole(), "crc32": Whole(0, 2**32 - 1)}
CURE = "take a lower eta"
_BLOCK_BYTES = 1 << 18  # rows of a block: with those of a block of columns half of 1 MiB of L2


class GloVe:
    """Global vectors (Pennington, Socher, Manning 2014), as Stanford's tools train them.

    ``GloVe(sentences)`` or ``GloVe(corpus_file=path)`` builds the vocabulary, counts and trains;
    without a corpus, call `build_vocab` and `train`. Names and defaults are those of Stanford's
    programs; what `vocab_count`, `cooccur`, `shuffle` and `glove` do is done here in one process.

    Parameters
    ----------
    sentences : iterable of lists of str or int, optional
        Read twice (counting, encoding), so not a generator. Windows do not cross sentences.
    corpus_file : path-like, optional
        UTF-8 text, one sentence (or document) a line, words separated by spaces; compressed, a
        pipe or "-" (standard input), too.
    vector_size : int
        D.
    window : int
        Words on each side that count. As in Stanford's, words outside the vocabulary are removed
        first.
    x_max, alpha : float
        A pair that occurs x times has the weight min(1, (x / x_max)^alpha).
    epochs : int
        Passes over the pairs.
    min_count : int
        Words that occur less often are left out.
    max_vocab : int, optional
        Greatest size of the vocabulary; the most frequent words are kept.
    eta : float
        Learning rate of AdaGrad.
    symmetric : bool
        Count the words on both sides, else those to the left only (the row is the word on the
        left, the column the one on the right).
    distance_weighting : bool
        A pair at distance d counts 1/d, else 1.
    grad_clip : float
        Components of a vector's gradient are clipped to +-grad_clip.
    memory : float
        Soft limit, in GiB, for counting; the rest is kept in temporary files, which the system
        removes even if the process is killed. The model's own arrays are not included.
    seed : int
        Of the initial values and of all shuffling.
    workers : int, optional
        Threads of training; by default all that firth uses. Counting gives the same sums with any
        number of threads and any ``memory``. One worker gives the same bits in every run; several
        update different rows where possible, else the same ones without locks (Hogwild, Niu et al.
        2011).
    progress : bool, optional
        Show bars: always, never, or (default) on a terminal.
    checkpoint : path-like, optional
        Where to leave the model on Ctrl-C, and every ten minutes; see `resume`.

    Attributes
    ----------
    wv : KeyedVectors
        Word vector plus context vector of each word (Stanford's ``-model 2``); attribute "count"
        holds the number of occurrences.
    word_vectors, context_vectors : ndarray (V, D), float32
    word_biases, context_biases : ndarray (V,), float32
        Views of the parameters; what is written there is trained on.
    epoch_losses : list of float
        Mean cost of a pair in each finished epoch, ``f(x) diff^2 / 2``, as `glove` prints it.
    corpus_count, corpus_total_words : int
        Sentences and words of the corpus, those outside the vocabulary too.

    Raises
    ------
    TypeError
        Both kinds of corpus are given, or a generator.
    ValueError
        A parameter is out of range (TypeError: not a number). RuntimeError: no word occurs
        ``min_count`` times.
    """

    vector_size: int
    window: int
    x_max: float
    alpha: float
    epochs: int
    min_count: int
    max_vocab: int | None
    eta: float
    grad_clip: float
    memory: float
    seed: int
    workers: int | None

    def __init__(
        self,
        sentences: Sentences | None = None,
        corpus_file: PathLike | None = None,
        *,
        vector_size: int = 100,
        window: int = 15,
        x_max: float = 100.0,
        alpha: float = 0.75,
        epochs: int = 25,
        min_count: int = 5,
        max_vocab: int | None = None,
        eta: float = 0.05,
        symmetric: bool = True,
        distance_weighting: bool = True,
        grad_clip: float = 100.0,
        memory: float = 4.0,
        seed: int = 1,
        workers: int | None = None,
        progress: bool | None = None,
        checkpoint: PathLike | None = None,
    ) -> None:
        vars(self).update(check_all("GloVe", _RANGES, locals()))
        check_checkpoint("GloVe", checkpoint)
        self.symmetric, self.distance_weighting = symmetric, distance_weighting
        self.progress = progress
        self.wv = KeyedVectors(self.vector_size)
        self.corpus_count = self.corpus_total_words = 0
        self.epoch_losses: list[float] = []
        # (V, 2, D + 1 padded): vector and bias, then their sums of squared gradients
        self._words, self._contexts = (zero_states(0, self.vector_size) for _ in range(2))
        if sentences is not None or corpus_file is not None:
            with corpus.opened(
                "GloVe", sentences, corpus_file, passes=2, progress=progress
            ) as text:
                self.build_vocab(text)
                ids = text.encode(self.wv.index_to_key, self.wv.key_to_index)
                counted = int(self.wv.expandos["count"].sum())
                if len(ids) != counted:
                    _logger.warning(
                        "GloVe: the corpus had another number of words in training than in "
                        "counting: %s of the vocabulary instead of %s. It must be the same in "
                        "both passes", f"{len(ids):,}", f"{counted:,}",
                    )  # fmt: skip
                self._train(ids, self.epochs, checkpoint)

    def __repr__(self) -> str:
        return f"GloVe<vocab={len(self.wv)}, vector_size={self.vector_size}>"

    @property
    def word_vectors(self) -> NDArray[np.float32]:
        """The vectors of words, (V, D)."""
        return self._words[:, 0, : self.vector_size]

    @property
    def context_vectors(self) -> NDArray[np.float32]:
        """The vectors of words as contexts, (V, D)."""
        return self._contexts[:, 0, : self.vector_size]

    @property
    def word_biases(self) -> NDArray[np.float32]:
        """The biases of words, (V,)."""
        return self._words[:, 0, self.vector_size]

    @property
    def context_biases(self) -> NDArray[np.float32]:
        """The biases of words as contexts, (V,)."""
        return self._contexts[:, 0, self.vector_size]

    def build_vocab(
        self, sentences: Sentences | None = None, corpus_file: PathLike | None = None
    ) -> None:
        """Count the words of a corpus and give those that are frequent enough random parameters.

        Words are ordered by falling count, equal ones alphabetically, as in Stanford's
        ``vocab.txt``. Parameters are uniform in +-1/2 / vector_size, sums of squared gradients 1.
        Raises as the class; nothing changes then.
        """
        with corpus.opened(
            "GloVe.build_vocab", sentences, corpus_file, progress=self.progress
        ) as text:
            found = text.count()
        self._build_vocab("GloVe.build_vocab", found)

    def _build_vocab(self, where: str, found: corpus.WordCounts) -> None:
        """`build_vocab` from the words of a corpus; ``where`` is the function, for messages."""
        counts, words = found.counts, found.words
        kept = np.flatnonzero(counts >= self.min_count)
        if not len(words):
            raise RuntimeError(f"{where}: the corpus has no words")
        if not len(kept):
            raise RuntimeError(
                f"{where}: no word occurs min_count={self.min_count} times: the corpus has "
                f"{found.total_words:,} words, {len(words):,} different ones"
            )
        order = sorted(  # of equal counts integers come before strings
            kept.tolist(), key=lambda i: (-counts[i], isinstance(words[i], str), words[i])
        )[: self.max_vocab]
        states = [zero_states(len(order), self.vector_size) for _ in range(2)]
        random = np.random.default_rng(self.seed)
        for state in states:
            for first in range(0, len(order), 4096):
                rows = state[first : first + 4096, :, : self.vector_size + 1]
                rows[:, 0] = (random.random(rows[:, 0].shape) - 0.5) / self.vector_size
                rows[:, 1] = 1
        self._words, self._contexts = states
        wv = KeyedVectors(self.vector_size)
        wv._adopt([words[i] for i in order])
        wv.expandos["count"] = counts[order]
        self.wv = wv
        self._update_wv()
        self.corpus_count, self.corpus_total_words = found.sentences, found.total_words
        self.epoch_losses = []

    def _update_wv(self) -> None:
        self.wv.vectors = self.word_vectors + self.context_vectors

    def train(
        self,
        sentences: Sentences | None = None,
        corpus_file: PathLike | None = None,
        *,
        epochs: int | None = None,
        checkpoint: PathLike | None = None,
    ) -> None:
        """Count the pairs of a corpus and train on them, from the present parameters on.

        AdaGrad has no schedule, so training in several calls is as good as in one.

        Parameters
        ----------
        sentences, corpus_file
            One of the two, as for the class.
        epochs : int, optional
            Instead of the model's ``epochs``.
        checkpoint : path-like, optional
            As for the class.

        Raises
        ------
        RuntimeError
            There is no vocabulary yet, or no two of its words occur together in the corpus.
        FloatingPointError
            Training diverged: a parameter is not finite any more (a lower ``eta`` helps).
        KeyboardInterrupt
            On Ctrl-C, after the checkpoint is written; the parameters keep what was learnt.
        """
        check_checkpoint("GloVe.train", checkpoint)
        self._check_vocab("GloVe.train")
        epochs = self.epochs if epochs is None else epochs
        self._check_parameters("GloVe.train", epochs=epochs)
        with corpus.opened("GloVe.train", sentences, corpus_file, progress=self.progress) as text:
            ids = text.encode(self.wv.index_to_key, self.wv.key_to_index)
        self._train(ids, int(epochs), checkpoint)

    def _check_parameters(self, where: str, **others: Any) -> None:
        check_all(where, _RANGES, vars(self) | others)  # attributes can be assigned

    def _check_vocab(self, where: str) -> None:
        """RuntimeError without a vocabulary, ValueError where words have no parameters."""
        if not len(self.wv):
            raise RuntimeError(f"{where}: call build_vocab first")
        if len(self.wv) != len(self._words):
            raise ValueError(
                f"{where}: wv has {len(self.wv)} keys, the model parameters of "
                f"{len(self._words)}: keys that were added to wv cannot be trained"
            )

    @property
    def _block(self) -> int:
        """Rows and columns of a block of records."""
        return min(max(_BLOCK_BYTES // self._words.strides[0], 16), 2**16)

    def _train(self, ids: NDArray[np.int32], epochs: int, checkpoint: PathLike | None) -> None:
        """Count the pairs of ids from `Corpus.encode` and train on them."""
        run = new_run(epochs, crc32=fingerprint(ids))
        with contextlib.ExitStack() as stack:
            parts, units = self._count(ids, stack)
            trainer = _native.words.GloveTrainer(
                active_level(), self._words, self._contexts, parts, units,
                dim=self.vector_size, symmetric=self.symmetric, rate=self.eta,
                clip=self.grad_clip, seed=self.seed,
            )  # fmt: skip
            if not trainer.visits:
                raise no_pairs("GloVe.train")
            try:
                self._run(trainer, run, checkpoint)
            finally:
                self._update_wv()

    @classmethod
    def resume(
        cls,
        path: PathLike,
        sentences: Sentences | None = None,
        corpus_file: PathLike | None = None,
        *,
        workers: int | None = None,
        progress: bool | None = None,
        checkpoint: PathLike | None = None,
    ) -> GloVe:
        """Finish an interrupted training from its checkpoint, on the same corpus.

        The epoch in which training stopped is repeated.

        Parameters
        ----------
        path : path-like
            The checkpoint. It is removed when training is complete.
        sentences, corpus_file
            The same corpus. ValueError where it is another.
        checkpoint : path-like, optional
            Where to leave the state instead; then nothing is removed.

        Raises
        ------
        ValueError
            The file holds a finished model, or the corpus is another one. FormatError: the file is
            damaged, or of another kind.
        """
        check_checkpoint("GloVe.resume", checkpoint)
        model, run = cls._read(path)
        if run is None:
            raise ValueError(f"{os.fspath(path)}: holds a finished model, no interrupted training")
        model.workers, model.progress = workers, progress
        with corpus.opened("GloVe.resume", sentences, corpus_file, progress=progress) as text:
            ids = text.encode(model.wv.index_to_key, model.wv.key_to_index)
        if run["crc32"] != fingerprint(ids):
            raise ValueError(f"{os.fspath(path)}: the checkpoint belongs to another corpus")
        left = run["epochs"] - run["epoch"]
        if left:
            model._train(ids, left, path if checkpoint is None else checkpoint)
        if checkpoint is None:
            remove_checkpoint(path)
        return model

    def _count(
        self, ids: NDArray[np.int32], stack: contextlib.ExitStack
    ) -> tuple[list[NDArray[np.uint32]], NDArray[np.int64]]:
        """Records (N, 3) in several arrays, and units (U, 7), as the trainer wants them."""
        size = len(self.wv)
        budget = int(self.memory * 2**30)
        block = self._block
        parts: list[NDArray[np.uint32]] = []
        all_units = [np.zeros((0, 7), np.int64)]
        spilled: BinaryIO | None = None
        kept = on_disk = 0
        waves = cooccurrences(
            ids, size, window=self.window, symmetric=self.symmetric,
            distance_weighting=self.distance_weighting, block=block, memory=budget,
            progress=self.progress,
        )  # fmt: skip
        for first, rows in waves:
            records, units = _native.words.glove_blocks(
                rows, first, size, block, self.x_max, self.alpha, self.seed
            )
            if spilled is None and kept + records.nbytes <= budget // 4:
                units[:, 0] = len(parts)
                parts.append(records)
                kept += records.nbytes
            elif len(records):
                if spilled is None:
                    spilled = stack.enter_context(temporary())
                units[:, 0] = -1
                units[:, 1] += on_disk
                spilled.write(records.data)
                on_disk += len(records)
            all_units.append(units)
        units = np.concatenate(all_units)
        if spilled is not None:
            spilled.flush()
            units[units[:, 0] < 0, 0] = len(parts)
            parts.append(np.memmap(spilled, np.uint32, "r", shape=(on_disk, 3)))
        return parts, units

    def _run(
        self, trainer: _native.words.GloveTrainer, run: dict[str, Any], checkpoint: PathLike | None
    ) -> None:
        workers = self.workers or _native.num_threads()

        def train(first: int, last: int) -> None:
            cost, records = trainer.train(len(self.epoch_losses), first, last, workers)
            run["loss"], run["pairs"] = run["loss"] + cost, run["pairs"] + records

        def save() -> None:
            assert checkpoint is not None
            self._update_wv()
            self._write(checkpoint, run)

        run_epochs(
            train, run, trainer.visits, float, unit=" blocks", workers=workers,
            progress=self.progress, cure=CURE, checkpoint=checkpoint, save=save,
            on_epoch_end=self.epoch_losses.append,
        )  # fmt: skip
        self._check_finite(run)

    def _check_finite(self, run: dict[str, Any]) -> None:
        if not np.isfinite(self._words.sum() + self._contexts.sum()):  # the last updates
            raise diverged(run["epochs"] - 1, CURE)

    # Files

    def save(self, fname: PathLike) -> None:
        """Save the whole model to one file (checksummed, atomic, no pickle); see `load`."""
        self._write(fname, None)

    def _write(self, path: PathLike, run: dict[str, Any] | None) -> None:
        meta = {name: getattr(self, name) for name in _PARAMETERS}
        meta |= check_all("GloVe.save", _RANGES, meta)  # numbers of NumPy become Python's
        meta |= {
            "corpus_count": self.corpus_count,
            "corpus_total_words": self.corpus_total_words,
            "epoch_losses": self.epoch_losses,
            "run": run,
        }
        keys, integers = keys_as_text(self.wv.index_to_key)
        arrays = {
            "vectors": self.wv.vectors,
            "integer_keys": integers,
            "attribute:count": self.wv.expandos["count"],
            "words": self._words[:, :, : self.vector_size + 1],
            "contexts": self._contexts[:, :, : self.vector_size + 1],
        }
        container.write(path, _KIND, arrays, meta, {"keys": keys})

    @classmethod
    def load(cls, fname: PathLike) -> GloVe:
        """Load a file of `save` or a checkpoint; FormatError for another kind of file."""
        return cls._read(fname)[0]

    @classmethod
    def _read(cls, fname: PathLike) -> tuple[GloVe, dict[str, Any] | None]:
        content = container.read(fname, _KIND)
        try:
            model = cls(**{name: content.meta[name] for name in _PARAMETERS})
            model.wv = KeyedVectors.load(fname)
            check_all("GloVe", _STATE, content.meta)
            for name in ("corpus_count", "corpus_total_words"):
                setattr(model, name, content.meta[name])
            model.epoch_losses = [float(loss) for loss in content.meta["epoch_losses"]]
            size = len(content.arrays["words"])  # keys added after training have no parameters
            shape = (size, 2, model.vector_size + 1)
            model._words, model._contexts = (zero_states(size, model.vector_size) for _ in range(2))
            states = {"words": model._words, "contexts": model._contexts}
            for name, state in states.items():
                if content.arrays[name].shape != shape or "count" not in model.wv.expandos:
                    raise ValueError("arrays do not fit together")
                state[:, :, : model.vector_size + 1] = content.arrays[name]
            run = content.meta["run"]
            if run is not None:
                check_all("run", _RUN, {name: run[name] for name in _RUN})
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"is not a whole model: {error}", fname) from None
        return model, run

    @classmethod
    def load_stanford(
        cls,
        fname: PathLike,
        vocab: PathLike | None = None,
        *,
        binary: bool = False,
        gradsq: PathLike | None = None,
    ) -> GloVe:
        """Load all parameters that Stanford's ``glove`` saved; the model can be trained on.

        Vectors alone (``-model 1`` and ``2``) are text without a header, and are read by
        ``KeyedVectors.load_word2vec_format(fname, no_header=True)``.

        Parameters
        ----------
        fname : path-like
            Text of ``-model 0``, or with ``binary`` the ``.bin`` of ``-binary 1``.
        vocab : path-like, optional
            ``vocab.txt``, with the counts; a binary file needs it for the words. Without it counts
            are made up, falling from the number of words to 1.
        gradsq : path-like, optional
            The binary file of ``-save-gradsq``; without it AdaGrad starts anew.

        Raises
        ------
        TypeError
            ``binary`` without ``vocab``.
        FormatError, TruncatedError (an EOFError too), UnicodeDecodeError
            A file is malformed.
        """
        if binary and vocab is None:
            raise TypeError("GloVe.load_stanford: a binary file has no words; give vocab=")
        counts = {} if vocab is None else word2vec.read_counts(vocab)
        words: list[str]
        parameters: NDArray[Any]
        if binary:
            words, parameters = list(counts), glove.read_binary_parameters(fname, len(counts))
        else:
            words, parameters = glove.read_parameters(fname)
            if vocab is None:
                counts = {word: len(words) - row for row, word in enumerate(words)}
        size, dim = len(words), parameters.shape[2] - 1
        sums: NDArray[Any] = np.ones(())
        if gradsq is not None:
            sums = glove.read_binary_parameters(gradsq, size)
            if sums.shape != parameters.shape or not (sums > 0).all():
                raise FormatError("does not fit the parameters, or is not positive", gradsq)
        model = cls(vector_size=dim)
        model._words, model._contexts = (zero_states(size, dim) for _ in range(2))
        for i, state in enumerate((model._words, model._contexts)):
            state[:, 0, : dim + 1] = parameters[i]
            state[:, 1, : dim + 1] = sums if gradsq is None else sums[i]
        model.wv._adopt(words)
        model.wv.expandos["count"] = np.array([counts.get(word, 0) for word in words], np.int64)
        model._update_wv()
        return model


def no_pairs(where: str) -> RuntimeError:
    """For a corpus on which nothing can be learnt."""
    return RuntimeError(f"{where}: no two words of the vocabulary occur together")


def zero_states(count: int, dim: int) -> NDArray[np.float32]:
    """Zeros (count, 2, dim + 1 rounded up to 64 bytes), aligned to 64 bytes."""
    rows = aligned_rows(2 * count, dim + 1)
    return rows.reshape(count, 2, rows.shape[1])
