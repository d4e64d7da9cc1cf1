"""Word2Vec: skip-gram vectors of words, trained on a file or on token lists.

Longer than most files: one class, whose parameters and errors are many, as gensim's are.

V = words of the vocabulary, D = dimensions of a vector. What a training step computes stands in
`firth.kernels.skipgram_negative_sampling`, with its two modes.
"""

from __future__ import annotations

import os
import warnings
from types import GeneratorType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats import firth
from firth.words import corpus, training
from firth.words.corpus import Sentences
from firth.words.keyedvectors import KeyedVectors

_KIND = "word2vec"
_PARAMETERS = (
    "vector_size", "alpha", "window", "min_count", "sample", "seed", "min_alpha", "sg", "hs",
    "negative", "ns_exponent", "cbow_mean", "epochs", "shrink_windows", "negatives",
)  # fmt: skip

File = str | os.PathLike[str]


class Word2Vec:
    """Skip-gram with negative sampling (Mikolov et al. 2013), with gensim's names and defaults.

    ``Word2Vec(sentences)`` or ``Word2Vec(corpus_file=path)`` builds the vocabulary and trains;
    without a corpus, call `build_vocab` and `train`. CBOW (``sg=0``, gensim's default) and
    hierarchical softmax come with a later version and raise NotImplementedError.

    Parameters
    ----------
    sentences : iterable of lists of str, optional
        Read twice (counting, encoding), so not a generator.
    corpus_file : path-like, optional
        UTF-8 text, one sentence a line, words separated by spaces. Read natively on all threads;
        lines may have any length. Each epoch is exactly one pass.
    vector_size : int
        D.
    alpha, min_alpha : float
        Learning rate at the start and at the end; it falls linearly over all epochs.
    window : int
        Greatest distance between the centre word and a context word.
    min_count : int
        Words that occur less often are left out.
    sample : float
        A word with share f of the text stays with probability (sqrt(f/sample) + 1) sample/f. 0: all
        stay; 1 or more: words that occur more often than this number are thinned out.
    seed : int
        Of the initial vectors and of every draw.
    workers : int, optional
        Threads; by default all that firth uses. One worker gives the same bits in every run. More
        update shared rows without locks (Hogwild, Niu et al. 2011): the result then differs a
        little from run to run. A corpus of a single block (about 10,000 words) is trained by one.
    sg : int
        1 for skip-gram.
    hs : int
        0.
    negative : int
        Words drawn as negatives, for each window or each pair.
    ns_exponent : float
        Negatives are drawn in proportion to count**ns_exponent.
    epochs : int
        Passes over the corpus.
    shrink_windows : bool
        Draw each window's size uniformly from 1..window.
    negatives : {"shared", "independent"}
        ``"shared"``: one set of negatives for a whole window and one update of all its pairs, as
        pWord2Vec; several times faster at the same quality. ``"independent"``: gensim's update,
        pair by pair, each with its own negatives.
    progress : bool, optional
        Show bars with words/s, ETA and mean loss: always, never, or (default) on a terminal.
    checkpoint : path-like, optional
        Where to leave the state of training on Ctrl-C, and every ten minutes; see `resume`.

    Attributes
    ----------
    wv : KeyedVectors
        The vectors; attribute "count" holds the number of occurrences.
    syn1neg : ndarray (V, D), float32
        The output layer.
    corpus_count, corpus_total_words : int
        Sentences and words of the corpus, those outside the vocabulary too.
    epoch_losses : list of float
        Mean loss of a pair (with its negatives) in each finished epoch, measured on every 64th
        window before its update.

    Raises
    ------
    NotImplementedError
        ``sg=0`` or ``hs=1``.
    TypeError
        Both kinds of corpus are given, or a generator.
    ValueError
        A parameter is out of range. RuntimeError: no word occurs ``min_count`` times.
    """

    def __init__(
        self,
        sentences: Sentences | None = None,
        corpus_file: File | None = None,
        *,
        vector_size: int = 100,
        alpha: float = 0.025,
        window: int = 5,
        min_count: int = 5,
        sample: float = 1e-3,
        seed: int = 1,
        workers: int | None = None,
        min_alpha: float = 0.0001,
        sg: int = 0,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        epochs: int = 5,
        shrink_windows: bool = True,
        negatives: str = "shared",
        progress: bool | None = None,
        checkpoint: File | None = None,
    ) -> None:
        if not sg:
            raise NotImplementedError("Word2Vec: CBOW (sg=0) is not implemented yet; use sg=1")
        if hs:
            raise NotImplementedError("Word2Vec: hierarchical softmax (hs=1) is not implemented")
        whole: dict[str, Any] = {
            "vector_size": vector_size, "window": window, "epochs": epochs, "negative": negative,
            "min_count": min_count, "workers": 1 if workers is None else workers,
        }  # fmt: skip
        for name, value in whole.items():
            least = 0 if name == "min_count" else 1
            if isinstance(value, str) or value != int(value) or not least <= value < 2**31:
                raise ValueError(
                    f"Word2Vec: {name} must be a whole number from {least} to {2**31 - 1}, "
                    f"got {value!r}"
                )
        for name, rate in {"alpha": alpha, "min_alpha": min_alpha, "sample": sample}.items():
            if not (np.isfinite(rate) and rate >= 0):
                raise ValueError(f"Word2Vec: {name} must be a number of at least 0, got {rate}")
        if seed != int(seed) or not 0 <= seed < 2**63:
            raise ValueError(f"Word2Vec: seed must be a whole number below 2**63, got {seed}")
        if not np.isfinite(ns_exponent):
            raise ValueError(f"Word2Vec: ns_exponent must be finite, got {ns_exponent}")
        if negatives not in ("shared", "independent"):
            raise ValueError(
                f'Word2Vec: negatives must be "shared" or "independent", got {negatives!r}'
            )
        self.vector_size, self.window, self.min_count = int(vector_size), int(window), min_count
        self.alpha, self.min_alpha, self.sample, self.seed = alpha, min_alpha, sample, int(seed)
        self.sg, self.hs, self.negative, self.ns_exponent = sg, hs, int(negative), ns_exponent
        self.cbow_mean, self.epochs, self.shrink_windows = cbow_mean, int(epochs), shrink_windows
        self.negatives, self.workers, self.progress = negatives, workers, progress
        self.wv = KeyedVectors(self.vector_size)
        self.syn1neg = np.zeros((0, self.vector_size), np.float32)
        self.corpus_count = self.corpus_total_words = 0
        self.train_count = 0
        self.epoch_losses: list[float] = []
        self._keep = np.zeros(0, np.uint32)
        self._buffers = [
            training.rows(0, self.vector_size)
        ] * 2  # wv.vectors and syn1neg are views of them
        if sentences is not None or corpus_file is not None:
            self.build_vocab(sentences, corpus_file)
            self.train(sentences, corpus_file, checkpoint=checkpoint)

    def __repr__(self) -> str:
        return f"Word2Vec<vocab={len(self.wv)}, vector_size={self.vector_size}, sg={self.sg}>"

    def build_vocab(
        self, corpus_iterable: Sentences | None = None, corpus_file: File | None = None
    ) -> None:
        """Count the words of a corpus and give each that is frequent enough a random vector.

        Words are ordered by falling count; of equal ones the later comes first, as in gensim.
        Raises as the class; nothing changes then.
        """
        _check_corpus(corpus_iterable, corpus_file)
        if corpus_file is not None:
            found = corpus.count_file(corpus_file, self.progress)
        else:
            assert corpus_iterable is not None
            found = corpus.count_sentences(corpus_iterable)
        kept = np.flatnonzero(found.counts >= self.min_count)
        if not len(kept):
            raise RuntimeError(
                f"no word occurs min_count={self.min_count} times: the corpus has "
                f"{found.total_words:,} words, {len(found.words):,} different ones"
            )
        order = kept[np.lexsort((-kept, -found.counts[kept]))]
        wv = KeyedVectors(self.vector_size)
        wv.index_to_key = [found.words[i] for i in order]
        wv.key_to_index = {word: i for i, word in enumerate(wv.index_to_key)}
        wv.next_index = len(order)
        w_in, w_out = self._buffers = [
            training.rows(len(order), self.vector_size) for _ in range(2)
        ]
        random = np.random.default_rng(self.seed)
        for first in range(0, len(order), 4096):  # gensim's start: uniform in +-1 / vector_size
            rows = w_in[first : first + 4096, : self.vector_size]
            rows[...] = random.random(rows.shape, np.float32)
            rows *= 2
            rows -= 1
            rows /= self.vector_size
        wv.vectors = w_in[:, : self.vector_size]
        wv.expandos["count"] = found.counts[order]
        self.wv, self.syn1neg = wv, w_out[:, : self.vector_size]
        self.corpus_count, self.corpus_total_words = found.sentences, found.total_words
        self.train_count, self.epoch_losses = 0, []
        self._keep = training.keep_thresholds(self.wv.expandos["count"], self.sample)

    def train(
        self,
        corpus_iterable: Sentences | None = None,
        corpus_file: File | None = None,
        total_examples: int | None = None,
        total_words: int | None = None,
        epochs: int | None = None,
        start_alpha: float | None = None,
        end_alpha: float | None = None,
        *,
        checkpoint: File | None = None,
    ) -> tuple[int, int]:
        """Train on a corpus, from the present vectors on.

        Parameters
        ----------
        corpus_iterable, corpus_file
            One of the two, as for the class.
        total_examples, total_words : int, optional
            Accepted for gensim's sake; the corpus is encoded first, so its size is known.
        epochs, start_alpha, end_alpha : optional
            Instead of the model's ``epochs``, ``alpha``, ``min_alpha``.
        checkpoint : path-like, optional
            As for the class.

        Returns
        -------
        tuple of int
            Words that sub-sampling left, and all words, over all epochs.

        Raises
        ------
        RuntimeError
            There is no vocabulary yet, or the corpus has no word of it.
        ValueError
            An argument, or the shape of ``wv.vectors`` or ``syn1neg``, is not as it must be.
        FloatingPointError
            Training diverged: the loss or a vector is not finite any more (the vectors are lost
            then). Shared negatives take one step for all pairs of a window, which is too far where
            a window has very many pairs of few words; independent ones do not.
        KeyboardInterrupt
            On Ctrl-C, after the checkpoint is written; the vectors are as far as training got.
        """
        _check_corpus(corpus_iterable, corpus_file)
        if not len(self.wv):
            raise RuntimeError("Word2Vec.train: call build_vocab first")
        epochs = self.epochs if epochs is None else epochs
        if epochs < 1 or epochs != int(epochs):
            raise ValueError(f"Word2Vec.train: epochs must be a whole number >= 1, got {epochs}")
        rates = (
            self.alpha if start_alpha is None else start_alpha,
            self.min_alpha if end_alpha is None else end_alpha,
        )
        if not all(np.isfinite(rate) and rate >= 0 for rate in rates):
            raise ValueError(f"Word2Vec.train: learning rates must be at least 0, got {rates}")
        run = training.new_run(int(epochs), *rates)
        self.epoch_losses = []
        return self._run(self._encode(corpus_iterable, corpus_file), run, checkpoint)

    @classmethod
    def resume(
        cls,
        path: File,
        corpus_iterable: Sentences | None = None,
        corpus_file: File | None = None,
        *,
        workers: int | None = None,
        progress: bool | None = None,
        checkpoint: File | None = None,
    ) -> Word2Vec:
        """Finish a training from its checkpoint; with one worker to the bits of an unbroken run.

        Parameters
        ----------
        path : path-like
            The checkpoint; it is written again to ``checkpoint``, by default ``path``.
        corpus_iterable, corpus_file
            The same corpus. ValueError where it is another.
        """
        _check_corpus(corpus_iterable, corpus_file)
        model, run = cls._read(path)
        if run is None:
            raise ValueError(f"{os.fspath(path)}: holds a finished model, no interrupted training")
        model.workers, model.progress = workers, progress
        ids = model._encode(corpus_iterable, corpus_file)
        if run.pop("crc32") != training.fingerprint(ids):
            raise ValueError(f"{os.fspath(path)}: the checkpoint belongs to another corpus")
        model._run(ids, run, path if checkpoint is None else checkpoint)
        return model

    def _encode(self, sentences: Sentences | None, corpus_file: File | None) -> NDArray[np.int32]:
        if corpus_file is not None:
            ids = corpus.encode_file(corpus_file, self.wv.index_to_key, self.progress)
        else:
            assert sentences is not None
            ids, _, _ = corpus.encode_sentences(sentences, self.wv.key_to_index)
        if not len(ids):
            raise RuntimeError("Word2Vec.train: the corpus has no word of the vocabulary")
        return ids

    def _run(
        self, ids: NDArray[np.int32], run: dict[str, Any], checkpoint: File | None
    ) -> tuple[int, int]:
        """The epochs from ``run["epoch"]``, ``run["block"]`` on; ``run`` is kept up to date."""
        shape = (len(self.wv), self.vector_size)
        for name, matrix in (("wv.vectors", self.wv.vectors), ("syn1neg", self.syn1neg)):
            if matrix.shape != shape:
                raise ValueError(f"Word2Vec.train: {name} has shape {matrix.shape}, wanted {shape}")
        # In place: Ctrl-C or an error leaves what was learnt so far.
        w_in, w_out = self._buffers = [
            training.padded(matrix, buffer)
            for matrix, buffer in zip((self.wv.vectors, self.syn1neg), self._buffers, strict=True)
        ]
        self.wv.vectors, self.syn1neg = (b[:, : self.vector_size] for b in self._buffers)
        network = training.Network(
            w_in, w_out, self.wv.expandos["count"], self._keep, self.window, self.negative,
            seed=self.seed + (self.train_count << 40 & 2**63 - 1), sg=bool(self.sg),
            cbow_mean=bool(self.cbow_mean), shared=self.negatives == "shared",
            shrink_windows=self.shrink_windows, ns_exponent=self.ns_exponent,
        )  # fmt: skip

        def save() -> None:
            assert checkpoint is not None
            self._write(checkpoint, {**run, "crc32": training.fingerprint(ids)})

        done = training.train(
            network, ids, run, raw_words=self.corpus_total_words, workers=self.workers,
            progress=self.progress, save=None if checkpoint is None else save,
            epoch_losses=self.epoch_losses,
        )  # fmt: skip
        self.train_count += 1
        return done

    # Files

    def save(self, fname: File) -> None:
        """Save the whole model to one file (checksummed, atomic, no pickle); see `load`."""
        self._write(fname, None)

    @classmethod
    def load(cls, fname: File) -> Word2Vec:
        """Load what `save` or a checkpoint left; FormatError for another kind of file."""
        return cls._read(fname)[0]

    def _write(self, path: File, run: dict[str, Any] | None) -> None:
        meta = {name: getattr(self, name) for name in _PARAMETERS} | {
            "corpus_count": self.corpus_count,
            "corpus_total_words": self.corpus_total_words,
            "train_count": self.train_count,
            "epoch_losses": self.epoch_losses,
            "run": run,
        }
        arrays = {
            "vectors": self.wv.vectors,
            "integer_keys": np.zeros(0, np.int64),
            "attribute:count": self.wv.expandos["count"],
            "syn1neg": self.syn1neg,
        }
        firth.write(path, _KIND, arrays, meta, {"keys": self.wv.index_to_key})

    @classmethod
    def _read(cls, path: File) -> tuple[Word2Vec, dict[str, Any] | None]:
        content = firth.read(path, _KIND)
        try:
            model = cls(**{name: content.meta[name] for name in _PARAMETERS})
            model.wv = KeyedVectors.load(path)
            model.syn1neg = content.arrays["syn1neg"]
            for name in ("corpus_count", "corpus_total_words", "train_count", "epoch_losses"):
                setattr(model, name, content.meta[name])
            run = content.meta["run"]
            if model.syn1neg.shape != model.wv.vectors.shape or "count" not in model.wv.expandos:
                raise ValueError("arrays do not fit together")
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"is not a whole model: {error}", path) from None
        model._keep = training.keep_thresholds(model.wv.expandos["count"], model.sample)
        return model, run


def _check_corpus(sentences: Sentences | None, corpus_file: File | None) -> None:
    """One corpus, of a kind that can be read again; TypeError else."""
    if (sentences is None) == (corpus_file is None):
        raise TypeError("Word2Vec: give either sentences or corpus_file")
    if isinstance(sentences, GeneratorType) or (
        sentences is not None and iter(sentences) is sentences
    ):
        raise TypeError(
            "Word2Vec: sentences are read several times; give a list or a class with __iter__, "
            "not a generator"
        )
    if isinstance(sentences, (str, bytes)):
        raise TypeError("Word2Vec: sentences must be lists of words; for a file use corpus_file=")
    if sentences is not None and isinstance(next(iter(sentences), None), str):
        warnings.warn(
            "each sentence should be a list of words; in a plain string each letter is one",
            stacklevel=3,
        )
