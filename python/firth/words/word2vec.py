"""Word2Vec: vectors of words, trained on a file or on token lists.

Longer than most files: one class, whose parameters and errors are many, as gensim's are.

V = words of the vocabulary, D = dimensions of a vector. The training steps are defined in
`firth.kernels`: skipgram_negative_sampling, cbow_negative_sampling, hierarchical_softmax, with two
modes each.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth.arguments import Real, Rules, Whole, check_all
from firth.epochs import check_checkpoint, remove_checkpoint
from firth.errors import FormatError, warn
from firth.formats import container, fasttext, gensim
from firth.formats.files import PathLike
from firth.words import corpus, from_gensim, training
from firth.words.corpus import Sentences
from firth.words.gensim3 import VectorsInWv, deprecated, renamed
from firth.words.keyedvectors import KeyedVectors
from firth.words.keys import keys_as_text, keys_from_text
from firth.words.readers import BrownCorpus as BrownCorpus  # gensim has the readers here too
from firth.words.readers import LineSentence as LineSentence
from firth.words.readers import PathLineSentences as PathLineSentences
from firth.words.readers import Text8Corpus as Text8Corpus
from firth.words.vocabulary import (
    PARAMETERS,
    TrimRule,
    Vocabulary,
)

if TYPE_CHECKING:
    from typing_extensions import Self

_logger = logging.getLogger(__name__)
_STATE = (
    "_draws",
    "corpus_count", "corpus_total_words", "effective_min_count", "train_count", "total_train_time",
    "running_training_loss", "min_alpha_yet_reached", "epoch_losses",
)  # fmt: skip
_COUNT = Whole(0, 2**63 - 1, optional=True)
_STATE_RANGES: Rules = {
    "_draws": Whole(0, 2**40),  # they are drawn again when training is resumed
    "corpus_count": _COUNT, "corpus_total_words": _COUNT, "effective_min_count": _COUNT,
    "train_count": Whole(), "total_train_time": Real(most=1e18),
    "min_alpha_yet_reached": Real(),
}  # fmt: skip
_TRAIN: Rules = {
    "epochs": PARAMETERS["epochs"], "start_alpha": Real(), "end_alpha": Real()
}  # fmt: skip
_RUN: Rules = {
    **_TRAIN,
    "epoch": Whole(), "block": Whole(0, 2**63 - 1), "draws": _STATE_RANGES["_draws"],
    "effective": Whole(0, 2**63 - 1), "pairs": Whole(0, 2**63 - 1), "loss": Real(-1e300, 1e300),
}  # fmt: skip
_MATRICES = ("syn1neg", "syn1", "vectors_lockf")
_TREE = ("start", "points", "codes")


class Word2Vec(VectorsInWv, Vocabulary):
    """Vectors of words by the company they keep (Mikolov et al. 2013): CBOW or skip-gram.

    A drop-in for gensim 4's class: the same parameters in the same order, the same defaults but for
    ``workers``. ``Word2Vec(sentences)`` or ``Word2Vec(corpus_file=path)`` builds the vocabulary and
    trains; without a corpus, call `build_vocab` and `train`.

    Parameters
    ----------
    sentences : iterable of lists of str or int, optional
        Read twice (counting, encoding), so not a generator. Integers (nodes of a graph) are kept as
        keys of ``wv``.
    corpus_file : path-like, optional
        UTF-8 text, one sentence a line, words separated by spaces; compressed, a pipe or "-"
        (standard input), too. Read natively on all threads; lines may have any length. Each epoch
        is exactly one pass.
    vector_size : int
        D.
    alpha, min_alpha : float
        Learning rate at the start and at the end; it falls linearly over all epochs.
    window : int
        Greatest distance between the centre word and a context word.
    min_count : int
        Words that occur less often are left out.
    max_vocab_size : int, optional
        Forget rare words whenever counting has found more than this; see `scan_vocab`.
    sample : float
        A word with share f of the text stays with probability (sqrt(f/sample) + 1) sample/f. 0: all
        stay; 1 or more: words that occur more often than this number are thinned out.
    seed : int
        Of the initial vectors and of every draw.
    workers : int, optional
        Threads; by default all that firth uses (gensim's default is 3). One worker gives the same
        bits in every run. More update shared rows without locks (Hogwild, Niu et al. 2011): the
        result then differs a little from run to run. A corpus of a single block (about 10,000
        words) is trained by one.
    sg : int
        1 for skip-gram, 0 for CBOW.
    hs : int
        1 for hierarchical softmax.
    negative : int
        Words drawn as negatives, for each window or each pair; 0 for none.
    ns_exponent : float
        Negatives are drawn in proportion to count**ns_exponent.
    cbow_mean : int
        CBOW: 1 for the mean of the context's vectors, 0 for their sum.
    hashfxn : callable
        Has no effect, as in gensim 4.
    epochs : int
        Passes over the corpus.
    null_word : int
        1 adds the word NUL to the vocabulary.
    trim_rule : callable, optional
        Which words stay; see `build_vocab`. Not saved.
    sorted_vocab : int
        1 orders words by falling count, 0 by their first occurrence.
    batch_words : int
        Has no effect: a job is about 10,000 words, and no sentence is cut.
    compute_loss : bool
        Keep the loss; see `get_latest_training_loss`.
    callbacks : sequence of objects
        With ``on_train_begin(model)``, ``on_epoch_begin``, ``on_epoch_end``, ``on_train_end``, as
        gensim's CallbackAny2Vec. For this training only.
    comment : str, optional
        Saved with the model.
    max_final_vocab : int, optional
        Greatest size of the vocabulary: ``min_count`` is raised as far as necessary.
    shrink_windows : bool
        Draw each window's size uniformly from 1..window.
    negatives : {None, "shared", "independent"}
        ``"shared"``: one set of negatives for a whole window (CBOW: for eight neighbouring ones)
        and one update of all its pairs, as pWord2Vec; several times faster. Measured on 16.9
        million words, five epochs, analogies in percent: skip-gram 28.6 (gensim 28.3), CBOW 21.9
        (gensim 23.3 by ``corpus_file=``, 22.4 by ``sentences=``).
        ``"independent"``: gensim's update, pair by pair, each with its own negatives; with one
        worker the random numbers are gensim's too (those of its ``sentences=``), so that the
        vectors are the same up to rounding. None: gensim's very numbers for a corpus of at most
        10,000 words, whatever the workers, and ``"shared"`` for larger ones.
    progress : bool, optional
        Show bars with words/s, ETA and mean loss: always, never, or (default) on a terminal.
    checkpoint : path-like, optional
        Where to leave the state of training on Ctrl-C, and every ten minutes; see `resume`.

    Attributes
    ----------
    wv : KeyedVectors
        The vectors; attribute "count" holds the number of occurrences. ``wv.vectors_lockf`` (1,) or
        (V,) scales what training adds to each row: 0 locks it.
    syn1neg, syn1 : ndarray (V, D), float32
        The output layers of negative sampling and of hierarchical softmax.
    raw_vocab, corpus_count, corpus_total_words, effective_min_count, cum_table
        See `Vocabulary`.
    epoch_losses : list of float
        Mean loss of a pair (with its negatives) in each finished epoch, measured before its update:
        on every window where the corpus has at most 10,000 words or with ``compute_loss``, else on
        every 64th. NaN where no window had two words, as sub-sampling makes it of toy corpora.
    train_count, total_train_time : int, float
        Calls of `train` so far, and their seconds.
    min_alpha_yet_reached : float
        The lowest learning rate so far.

    Raises
    ------
    TypeError
        Both kinds of corpus are given, or a generator.
    ValueError
        A parameter is out of range (TypeError: no number). RuntimeError: no word occurs
        ``min_count`` times.
    """

    @renamed(size="vector_size", iter="epochs")
    def __init__(
        self,
        sentences: Sentences | None = None,
        corpus_file: PathLike | None = None,
        vector_size: int = 100,
        alpha: float = 0.025,
        window: int = 5,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        sample: float = 1e-3,
        seed: int = 1,
        workers: int | None = None,
        min_alpha: float = 0.0001,
        sg: int = 0,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        hashfxn: Callable[..., int] = hash,
        epochs: int = 5,
        null_word: int = 0,
        trim_rule: TrimRule | None = None,
        sorted_vocab: int = 1,
        batch_words: int = 10000,
        compute_loss: bool = False,
        callbacks: Iterable[Any] = (),
        comment: str | None = None,
        max_final_vocab: int | None = None,
        shrink_windows: bool = True,
        *,
        negatives: str | None = None,
        progress: bool | None = None,
        checkpoint: PathLike | None = None,
    ) -> None:
        kind = type(self).__name__
        given = check_all(kind, PARAMETERS, locals())
        check_checkpoint(kind, checkpoint)
        if negatives not in (None, "shared", "independent"):
            raise ValueError(
                f'{kind}: negatives must be "shared", "independent" or None, got {negatives!r}'
            )
        vars(self).update(given)
        self.layer1_size, self.min_alpha_yet_reached = self.vector_size, self.alpha
        self.sg, self.hs, self.cbow_mean, self.shrink_windows = sg, hs, cbow_mean, shrink_windows
        self.sorted_vocab, self.null_word, self.hashfxn = sorted_vocab, null_word, hashfxn
        self.comment, self.compute_loss = comment, bool(compute_loss)
        self.negatives, self.progress = negatives, progress
        super().__init__()
        self.wv = self._new_vectors()
        # wv.vectors, syn1neg and syn1 are views of them
        self._buffers = [training.rows(0, self.vector_size)] * 3
        self.syn1neg = self.syn1 = np.zeros((0, self.vector_size), np.float32)
        self.train_count, self.total_train_time = 0, 0.0
        self._draws = 0  # taken from gensim's generator so far
        self.running_training_loss = 0.0
        self.epoch_losses: list[float] = []
        # model.load(path) would not change the model: raise an error instead.
        self.load = _refuse_on_instance  # type: ignore[method-assign]
        if sentences is not None or corpus_file is not None:
            with (
                corpus.opened(kind, sentences, corpus_file, passes=2, progress=progress) as text,
                warnings.catch_warnings(),
            ):
                warnings.filterwarnings("ignore", "the vocabulary is empty")  # train will raise
                self.build_vocab(text, trim_rule=trim_rule)
                _, words = self.train(
                    text, compute_loss=compute_loss, callbacks=callbacks, checkpoint=checkpoint
                )
            # Where the words that are trained can be counted the same way, they are.
            counted = (self.corpus_total_words or 0) * self.epochs
            alike = not (max_vocab_size or null_word or isinstance(text, corpus.LineEnds))
            if words != counted and alike:
                _logger.warning(
                    "%s: the corpus had another number of words in training than in counting: "
                    "about %s instead of %s in each epoch. It must be the same in every pass",
                    kind, f"{words // self.epochs:,}", f"{counted // self.epochs:,}",
                )  # fmt: skip
        elif trim_rule is not None or callbacks:
            warn(
                f"{kind}: trim_rule and callbacks are for one training and not kept; without a "
                "corpus, give them to build_vocab and train"
            )

    # What a file keeps of a model, and the class of its vectors.
    _kind, _gensim = "word2vec", "Word2Vec"
    _vectors: type[KeyedVectors] = KeyedVectors
    _parameters: tuple[str, ...] = (
        "vector_size", "alpha", "window", "min_count", "max_vocab_size", "sample", "seed",
        "min_alpha", "sg", "hs", "negative", "ns_exponent", "cbow_mean", "epochs", "null_word",
        "sorted_vocab", "batch_words", "compute_loss", "comment", "max_final_vocab",
        "shrink_windows", "negatives",
    )  # fmt: skip

    _input_name = "vectors"

    @property
    def _input(self) -> NDArray[Any]:
        """The rows of the words that are trained, (V, D)."""
        rows: NDArray[Any] = getattr(self.wv, self._input_name)
        return rows

    @_input.setter
    def _input(self, vectors: NDArray[Any]) -> None:
        setattr(self.wv, self._input_name, vectors)

    def _vectors_changed(self) -> None:
        """What depends on the rows that were trained in place follows them."""
        self.wv.norms = None

    def _new_vectors(self) -> KeyedVectors:
        return KeyedVectors(self.vector_size)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}<vocab={len(self.wv)}, vector_size={self.vector_size}, "
            f"alpha={self.alpha}>"
        )

    # The arrays

    def init_weights(self) -> None:
        """Give all words new vectors, uniform in +-1 / vector_size; zeros as output layers."""
        size, dim = len(self.wv), self.vector_size
        w_in = training.rows(size, dim)
        training.fill(w_in[:, :dim], self.seed)
        used = (self.negative, self.hs)
        self._buffers = [w_in, *(training.rows(size if yes else 0, dim) for yes in used)]
        self._input, self.syn1neg, self.syn1 = (b[:, :dim] for b in self._buffers)
        self.train_count, self.epoch_losses = 0, []

    def update_weights(self) -> None:
        """Add rows for the words that are new: drawn as `init_weights` would, zeros in the output.

        The draws are those that the words would have had from the start, as in gensim.
        """
        old, size, dim = len(self._input), len(self.wv), self.vector_size
        w_in = training.rows(size, dim)
        training.fill(w_in[:, :dim], self.seed)
        w_in[:old, :dim] = self._input
        used = (self.negative, self.hs)
        w_out, w_tree = (training.rows(size if yes else 0, dim) for yes in used)
        if self.negative:
            w_out[: len(self.syn1neg), :dim] = self.syn1neg
        if self.hs:
            w_tree[: len(self.syn1), :dim] = self.syn1
        self._buffers = [w_in, w_out, w_tree]
        self._input, self.syn1neg, self.syn1 = (b[:, :dim] for b in self._buffers)
        lock = getattr(self.wv, f"{self._input_name}_lockf")
        if len(lock) == old > 1:  # new words take all of their updates
            lock = np.append(lock, np.ones(size - old, np.float32))
            setattr(self.wv, f"{self._input_name}_lockf", lock)

    def reset_from(self, other_model: Word2Vec) -> None:
        """Take the vocabulary of another model (shared, not copied), with new vectors."""
        other = other_model.wv
        wv = self._new_vectors()
        wv.index_to_key, wv.key_to_index = other.index_to_key, other.key_to_index
        wv.next_index, wv.expandos = len(other), other.expandos
        self.wv, self.cum_table = wv, other_model.cum_table
        self.corpus_count = other_model.corpus_count
        self.corpus_total_words = other_model.corpus_total_words
        self.init_weights()

    @renamed(sentences="corpus_iterable")
    def train(
        self,
        corpus_iterable: Sentences | None = None,
        corpus_file: PathLike | None = None,
        total_examples: int | None = None,
        total_words: int | None = None,
        epochs: int | None = None,
        start_alpha: float | None = None,
        end_alpha: float | None = None,
        word_count: int = 0,
        queue_factor: int = 2,
        report_delay: float = 1.0,
        compute_loss: bool = False,
        callbacks: Iterable[Any] = (),
        *,
        checkpoint: PathLike | None = None,
    ) -> tuple[int, int]:
        """Train on a corpus, from the present vectors on.

        Parameters
        ----------
        corpus_iterable, corpus_file
            One of the two, as for the class; a generator will do.
        total_examples, total_words : int, optional
            Have no effect: the corpus is encoded first, so its size is known. (gensim demands one
            of them, and ``epochs``.)
        epochs, start_alpha, end_alpha : optional
            Instead of the model's ``epochs``, ``alpha``, ``min_alpha``, for this call.
        word_count, queue_factor, report_delay
            No effect; accepted for compatibility with gensim.
        compute_loss, callbacks
            As for the class.
        checkpoint : path-like, optional
            As for the class.

        Returns
        -------
        tuple of int
            Words that sub-sampling left, and all words, over all epochs.

        Raises
        ------
        RuntimeError
            There is no vocabulary yet.
        ValueError
            An argument is out of range, ``wv.vectors`` or ``syn1neg`` has the wrong shape, or both
            ``hs`` and ``negative`` are 0.
        FloatingPointError
            Training diverged: the loss or a vector is not finite any more (the vectors are lost
            then). Only a far too large ``alpha`` causes this: the steps of windows that repeat few
            words are bounded.
        KeyboardInterrupt
            On Ctrl-C, after the checkpoint is written; the vectors keep what was learnt.
        """
        where = f"{type(self).__name__}.train"
        epochs = self.epochs if epochs is None else epochs
        rates = (
            self.alpha if start_alpha is None else start_alpha,
            self.min_alpha if end_alpha is None else end_alpha,
        )
        given = {"epochs": epochs, "start_alpha": rates[0], "end_alpha": rates[1]}
        check_all(where, _TRAIN, given)
        check_checkpoint(where, checkpoint)
        self._check_ready()
        if self.hs and self.negative:
            warn(
                "Both hierarchical softmax and negative sampling are activated. Usually one of "
                "them is wanted: set hs=0 or negative=0"
            )
        if rates[0] > self.min_alpha_yet_reached:
            _logger.warning("Effective 'alpha' higher than previous training cycles")
        run = training.new_run(int(epochs), *rates, self._draws)
        with corpus.opened(
            where, corpus_iterable, corpus_file, passes=0, progress=self.progress
        ) as text:
            ids = text.encode(self.wv.index_to_key, self.wv.key_to_index)
            if not len(ids):  # a batch of a stream may be so
                warn("the corpus has no word of the vocabulary: nothing learnt")
                return 0, text.count().total_words * int(epochs)
            way = self._streams(ids, text)
        self.epoch_losses, self.running_training_loss = [], 0.0
        self.compute_loss = bool(compute_loss)
        return self._run(ids, run, way, checkpoint, tuple(callbacks))

    def _check_ready(self) -> None:
        """Refuse to train without vocabulary, objective or arrays of the right shape."""
        where = f"{type(self).__name__}.train"
        check_all(where, PARAMETERS, vars(self))  # attributes can be assigned
        if not self.hs and not self.negative:
            raise ValueError(f"{where}: hs and negative are both 0: there is nothing to do")
        if not len(self.wv):
            why = "call build_vocab first"
            if self.corpus_total_words:
                why = f"no word occurs min_count={self.effective_min_count} times"
            elif self.raw_vocab is not None:
                why = "the corpus has no words"
            raise RuntimeError(f"{where}: the vocabulary is empty: {why}")
        shape = (len(self.wv), self.vector_size)
        matrices = [(f"wv.{self._input_name}", self._input)]
        matrices += [("syn1neg", self.syn1neg)] if self.negative else []
        matrices += [("syn1", self.syn1)] if self.hs else []
        for name, matrix in matrices:
            if matrix.shape != shape:
                why = ""
                if matrix.shape[1:] == shape[1:] and len(matrix) < len(self.wv):
                    why = " for the keys of wv: build_vocab(..., update=True) adds the rows"
                raise ValueError(f"{where}: {name} has shape {matrix.shape}, wanted {shape}{why}")
        if self.wv.expandos.get("count", np.zeros(0)).shape != shape[:1]:
            raise ValueError(f"{where}: wv needs the attribute 'count': call build_vocab")

    @classmethod
    def resume(
        cls,
        path: PathLike,
        corpus_iterable: Sentences | None = None,
        corpus_file: PathLike | None = None,
        *,
        workers: int | None = None,
        progress: bool | None = None,
        checkpoint: PathLike | None = None,
    ) -> Self:
        """Finish a training from its checkpoint; one worker gives the bits of an unbroken run.

        Parameters
        ----------
        path : path-like
            The checkpoint. It is removed when training is complete.
        corpus_iterable, corpus_file
            The same corpus; ValueError for another one.
        checkpoint : path-like, optional
            Where to leave the state instead; then nothing is removed.
        """
        if corpus_iterable is None and corpus_file is None:
            raise TypeError(
                f"{cls.__name__}.resume: a checkpoint does not hold the corpus: give that of the "
                "interrupted training again, as corpus_iterable or corpus_file"
            )
        check_checkpoint(f"{cls.__name__}.resume", checkpoint)
        model, run = cls._read(path)
        if run is None:
            raise ValueError(f"{os.fspath(path)}: holds a finished model, no interrupted training")
        if "replicas" in run:
            raise ValueError(f"{os.fspath(path)}: firth.distributed.resume goes on with it")
        model.workers, model.progress = workers, progress
        model._check_ready()
        with corpus.opened(
            f"{cls.__name__}.resume", corpus_iterable, corpus_file, passes=0, progress=progress
        ) as text:
            ids = text.encode(model.wv.index_to_key, model.wv.key_to_index)
            if run.pop("crc32") != training.fingerprint(ids):
                raise ValueError(f"{os.fspath(path)}: the checkpoint belongs to another corpus")
            way = model._streams(ids, text)
        model._run(ids, run, way, path if checkpoint is None else checkpoint)
        if checkpoint is None:
            remove_checkpoint(path)
        return model

    def _streams(
        self, ids: NDArray[np.int32], text: corpus.Corpus
    ) -> tuple[bool, training.Jobs | None]:
        return training.streams(
            self.negatives, self.workers, ids, text, self.wv.key_to_index, self.batch_words
        )

    def _run(
        self,
        ids: NDArray[np.int32],
        run: dict[str, Any],
        way: tuple[bool, training.Jobs | None],
        checkpoint: PathLike | None,
        callbacks: Sequence[Any] = (),
    ) -> tuple[int, int]:
        """The epochs from ``run["epoch"]``, ``run["block"]`` on; ``run`` is kept up to date."""
        began = time.monotonic()
        network = self._network(*way)

        def tell(event: str) -> None:
            for callback in callbacks:
                getattr(callback, event)(self)

        def epoch_done(loss: float) -> None:
            self.epoch_losses.append(loss)
            if callbacks:  # they may ask
                self._vectors_changed()
            if self.compute_loss:
                self.running_training_loss += float(np.nan_to_num(loss))
            tell("on_epoch_end")

        def save() -> None:
            assert checkpoint is not None
            self._vectors_changed()
            self._write(checkpoint, {**run, "crc32": training.fingerprint(ids)})

        tell("on_train_begin")
        try:
            done = training.train(
                network, ids, run, raw_words=self.corpus_total_words or 0, workers=self.workers,
                progress=self.progress, checkpoint=checkpoint, save=save,
                on_epoch_begin=lambda: tell("on_epoch_begin"), on_epoch_end=epoch_done,
            )  # fmt: skip
        finally:  # after an error or Ctrl-C they are as far as training got
            self._vectors_changed()
        whole = network.whole_loss or not run["effective"]  # else the loss is of a sample
        if whole and self.epoch_losses and np.isnan(self.epoch_losses).all():
            _logger.warning(
                "%s: no pair of words was trained: no sentence has two words of the vocabulary%s",
                type(self).__name__,
                " that sub-sampling left; sample=0 keeps all" if self.sample else "",
            )
        self.train_count += 1
        self._draws = run["draws"]
        self.total_train_time += time.monotonic() - began
        self.min_alpha_yet_reached = min(self.min_alpha_yet_reached, run["end_alpha"])
        tell("on_train_end")
        return done

    def _network(self, shared: bool, jobs: training.Jobs | None) -> training.Network:
        """What is trained, in place: Ctrl-C or an error leaves what was learnt so far."""
        matrices = (self._input, self.syn1neg, self.syn1)
        w_in, w_out, w_tree = self._buffers = [
            training.padded(matrix, buffer)
            for matrix, buffer in zip(matrices, self._buffers, strict=True)
        ]
        self._input, self.syn1neg, self.syn1 = (
            buffer[:, : self.vector_size] for buffer in self._buffers
        )
        attributes = self.wv.expandos
        if "sample_int" not in attributes:  # wv was assigned, or saved by gensim before 4
            attributes["sample_int"] = training.keep_thresholds(attributes["count"], self.sample)
        return training.Network(
            w_in, w_out if self.negative else None, attributes["count"], attributes["sample_int"],
            self.window, self.negative, seed=self.seed + (self.train_count << 40 & 2**63 - 1),
            sg=bool(self.sg), cbow_mean=bool(self.cbow_mean), shared=shared, jobs=jobs,
            shrink_windows=self.shrink_windows, ns_exponent=self.ns_exponent,
            w_tree=w_tree if self.hs else None, tree=self._tree() if self.hs else None,
            lockf=getattr(self.wv, f"{self._input_name}_lockf"), sample=self.sample,
            cum_table=self.cum_table if self.negative else None, whole_loss=self.compute_loss,
        )  # fmt: skip

    # Asking a trained model

    def get_latest_training_loss(self) -> float:
        """The sum of ``epoch_losses`` (NaN is left out) of the last `train`, with ``compute_loss``.

        Without, 0.

        gensim sums over all pairs instead, in float32 and from several threads at once.
        """
        return self.running_training_loss

    def predict_output_word(
        self, context_words_list: Sequence[Any], topn: int | None = 10
    ) -> list[tuple[Any, float]] | None:
        """The words most probable between the given ones, with their probabilities.

        Parameters
        ----------
        context_words_list : list of str or int
            Words or rows; those that are missing do not count.
        topn : int or None
            How many; None for all.

        Returns
        -------
        list of (word, float), best first; None (and a warning) where no word is known.

        Raises
        ------
        RuntimeError
            The model has no negative sampling or no output layer.
        """
        if not self.negative:
            raise RuntimeError("predict_output_word: needs a model with negative sampling")
        if not 0 < len(self.syn1neg) <= len(self.wv):  # keys added after training have no row
            raise RuntimeError("predict_output_word: the model has no output layer syn1neg")
        found = [self.wv.get_index(word, -1) for word in context_words_list]
        rows = [row for row in found if row >= 0]
        if not rows:
            warn("predict_output_word: the model knows none of the words")
            return None
        hidden = self.wv._values(rows).sum(axis=0)
        if self.cbow_mean:
            hidden /= len(rows)
        scores = (self.syn1neg @ hidden).astype(np.float64)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[:topn]
        return [(self.wv.index_to_key[row], float(shares[row])) for row in best]

    def score(
        self,
        sentences: Sentences,
        total_sentences: int = 1_000_000,
        chunksize: int = 100,
        queue_factor: int = 2,
        report_delay: float = 1,
    ) -> NDArray[np.float32]:
        """Log probability of sentences under hierarchical softmax (Taddy 2015), (N,), float32.

        The sum over each word and its window (of full width). Other than gensim it counts pairs
        beyond +-6 too, and rounds no sigmoid. The last three arguments have no effect.

        Parameters
        ----------
        sentences : iterable of lists of str or int
        total_sentences : int
            Score at most this many sentences.

        Raises
        ------
        RuntimeError
            There is no vocabulary, or the model has no hierarchical softmax.
        """
        if not len(self.wv):
            raise RuntimeError("score: call build_vocab first")
        if not self.hs:
            raise RuntimeError("score: needs a model with hierarchical softmax (hs=1)")
        codes, points = self.wv.expandos["code"], self.wv.expandos["point"]
        vectors, scores = self.wv._values(), []
        for sentence in itertools.islice(sentences, total_sentences):
            rows = [self.wv.key_to_index[w] for w in sentence if w in self.wv.key_to_index]
            total = 0.0
            for i, row in enumerate(rows):
                if not np.ndim(codes[row]):  # the key was added after training
                    continue
                window = rows[max(0, i - self.window) : i] + rows[i + 1 : i + 1 + self.window]
                inputs = vectors[window]
                if not self.sg:
                    inputs = inputs.sum(axis=0, keepdims=True)
                    inputs /= max(1, len(window)) if self.cbow_mean else 1
                signs = 1.0 - 2.0 * codes[row]
                x = (inputs @ self.syn1[points[row]].T).astype(np.float64) * signs
                total -= float(np.logaddexp(0, -x).sum())
            scores.append(total)
        return np.array(scores, np.float32)

    def init_sims(self, replace: bool = False) -> None:
        """Not needed since gensim 4; ``replace`` scales the vectors to length 1, for good."""
        deprecated("init_sims", "wv.fill_norms")
        if replace:
            self.wv.unit_normalize_all()
        else:
            self.wv.fill_norms()

    # Files

    def save(
        self,
        fname: PathLike,
        separately: Any = None,
        sep_limit: int = 0,
        ignore: Any = frozenset(),
        pickle_protocol: int = 0,
    ) -> None:
        """Save the whole model to one file (checksummed, atomic, no pickle); see `load`.

        The other arguments have no effect; they are accepted for compatibility with gensim.
        """
        self._write(fname, None)

    @classmethod
    def load(cls, fname: PathLike, mmap: Literal["r", "c"] | None = None) -> Self:
        """Load a file of `save`, a checkpoint, or a file of gensim's ``save`` (without gensim).

        Parameters
        ----------
        fname : path-like
        mmap : {"r", "c"}, optional
            Map the vectors instead of reading them, as `KeyedVectors.load`.

        Raises
        ------
        AttributeError
            A file of another kind, as of KeyedVectors alone. FormatError: a damaged one.
        """
        if gensim.is_pickle(fname):
            saved = gensim.read(fname, mmap=mmap)
            content, found, tree = from_gensim.trained(saved, fname, cls._gensim)
            try:
                return cls._restored(cls._vectors._loaded(content, fname), found, tree)
            except (KeyError, TypeError, ValueError) as error:
                raise FormatError(f"is not a whole model: {error}", fname) from None
        return cls._read(fname, mmap)[0]

    def _write(self, path: PathLike, run: dict[str, Any] | None) -> None:
        arrays, meta, strings = self.wv._sections()
        meta |= {name: getattr(self, name) for name in self._parameters + _STATE} | {"run": run}
        meta |= check_all(
            f"{type(self).__name__}.save", PARAMETERS, meta
        )  # NumPy's become Python's
        arrays |= {"vectors_lockf": self.wv.vectors_lockf}
        arrays |= {"syn1neg": self.syn1neg, "syn1": self.syn1}
        if self.hs and "code" in self.wv.expandos:
            arrays |= {f"tree:{name}": values for name, values in vars(self._tree()).items()}
        if self.raw_vocab:
            strings["raw_vocab"], arrays["raw_integers"] = keys_as_text(self.raw_vocab)
            arrays["raw_counts"] = np.array(list(self.raw_vocab.values()), np.int64)
        container.write(path, self._kind, arrays, meta, strings)

    @classmethod
    def _read(
        cls, path: PathLike, mmap: Literal["r", "c"] | None = None
    ) -> tuple[Self, dict[str, Any] | None]:
        with open(path, "rb") as file:
            head = file.read(len(container.MAGIC))
        if head.startswith(fasttext.MAGIC.to_bytes(4, "little")):
            raise FormatError(
                "is a file of Facebook's fastText: firth.words.load_facebook_model reads it, "
                "firth.fasttext.load_model a classifier",
                path,
            )
        if not container.MAGIC.startswith(head):
            raise FormatError(
                "is not a firth file, nor one of gensim's: firth.words.load_vectors reads vectors "
                "of other formats",
                path,
            )
        content = container.read(path, mmap=mmap)
        if content.kind != cls._kind:
            raise AttributeError(
                f"{os.fspath(path)}: {container.mismatch(content.kind, cls._kind)}"
            )
        arrays, strings = content.arrays, content.strings
        state: dict[str, Any] = {name: arrays[name] for name in _MATRICES if name in arrays}
        tree = {name: arrays[f"tree:{name}"] for name in _TREE if f"tree:{name}" in arrays}
        try:
            if "raw_vocab" in strings:
                words = keys_from_text(strings["raw_vocab"], arrays.get("raw_integers"))
                state["raw_vocab"] = dict(zip(words, arrays["raw_counts"].tolist(), strict=True))
            wv = cls._vectors._loaded(content, path)
            model = cls._restored(wv, content.meta | state, tree)
            run = content.meta["run"]
            if run is not None:
                check_all("run", _RUN, {name: run[name] for name in _RUN})
            return model, run
        except (LookupError, TypeError, ValueError) as error:
            raise FormatError(f"is not a whole model: {error}", path) from None

    @classmethod
    def _sizes(cls, wv: Any) -> dict[str, Any]:
        """Parameters that the vectors decide."""
        return {"vector_size": wv.vector_size}

    @classmethod
    def _restored(
        cls, wv: KeyedVectors, found: dict[str, Any], tree: dict[str, NDArray[Any]]
    ) -> Self:
        """A model from its vectors, parameters and (as far as saved) state.

        KeyError, TypeError or ValueError where they do not fit together.
        """
        model = cls(**cls._sizes(wv) | {
            name: found[name] for name in cls._parameters if name in found
        })  # fmt: skip
        model.wv = wv
        wv.vectors_lockf = np.asarray(found.get("vectors_lockf", wv.vectors_lockf), np.float32)
        for name in ("syn1neg", "syn1"):
            matrix = np.asarray(found.get(name, getattr(model, name)), np.float32)
            if matrix.ndim != 2:
                raise ValueError(f"{name} has shape {matrix.shape}")
            setattr(model, name, matrix)
        check_all(cls.__name__, _STATE_RANGES, found)
        for name in (*_STATE, "raw_vocab"):
            setattr(model, name, found.get(name, getattr(model, name)))
        if model.hs and tree:
            model._set_tree(training.Tree(**tree))
        if "count" in wv.expandos:
            if model.hs and not tree:
                model.create_binary_tree()
            if model.negative:
                model.make_cum_table()
        return model


def _refuse_on_instance(*_: Any, **__: Any) -> Any:
    raise AttributeError("load makes a new model: call it on the class, as Word2Vec.load(path)")
