"""FastText, trained on words and their character n-grams; Facebook's files.

Longer than most files: a model with gensim's many parameters, and its files.
V = words of the vocabulary, D = dimensions of a vector, B = buckets of n-grams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from firth.arguments import Rules, Whole, check_all
from firth.errors import FormatError
from firth.formats import fasttext
from firth.formats.files import PathLike
from firth.words import training
from firth.words.corpus import Sentences
from firth.words.gensim3 import deprecated, renamed
from firth.words.subword_vectors import FastTextKeyedVectors as FastTextKeyedVectors
from firth.words.vocabulary import TrimRule
from firth.words.word2vec import Word2Vec

_NGRAMS: Rules = {"min_n": Whole(), "max_n": Whole(), "bucket": Whole()}


class FastText(Word2Vec):
    """Vectors of words and of their character n-grams (Bojanowski et al. 2017).

    A drop-in for gensim's class of this name: its parameters in its order, its defaults but for
    ``workers``. Trained as `firth.Word2Vec`, whose parameters it shares; but the input of a word is
    the mean of its own row and the rows of its n-grams, so that ``wv`` has a vector for any string.

    Where Word2Vec has gensim's numbers (a corpus of at most 10,000 words, or one worker with
    ``negatives="independent"``), FastText has its start vectors and random draws, but its vectors
    only nearly: the rows of a word are updated when it leaves the window; the logistic
    function has Word2Vec's steps; skip-gram predicts the centre of a window from its context, as
    Word2Vec does (gensim's FastText the other way round); the Huffman tree is fastText's. On 9,000
    words of news what training added differs by 1 to 3 % for CBOW with negative sampling, by 20 to
    30 % for skip-gram, and by 20 to 45 % with hierarchical softmax.

    Parameters
    ----------
    sentences, corpus_file, sg, hs, vector_size, alpha, window, min_count, ...
        As of `firth.Word2Vec`.
    word_ngrams : int
        1.
    min_n, max_n : int
        Shortest and longest n-gram, in code points of ``<word>``; none where max_n < min_n.
    bucket : int
        Rows that the n-grams share, by their hash.

    Attributes
    ----------
    wv : FastTextKeyedVectors
    syn1neg, syn1 : ndarray (V, D), float32
        The output layers of negative sampling and of hierarchical softmax.

    Raises
    ------
    NotImplementedError
        ``word_ngrams`` is not 1. Else as `firth.Word2Vec`.
    """

    @renamed(size="vector_size", iter="epochs")
    def __init__(
        self,
        sentences: Sentences | None = None,
        corpus_file: PathLike | None = None,
        sg: int = 0,
        hs: int = 0,
        vector_size: int = 100,
        alpha: float = 0.025,
        window: int = 5,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        word_ngrams: int = 1,
        sample: float = 1e-3,
        seed: int = 1,
        workers: int | None = None,
        min_alpha: float = 0.0001,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        hashfxn: Callable[..., int] = hash,
        epochs: int = 5,
        null_word: int = 0,
        min_n: int = 3,
        max_n: int = 6,
        sorted_vocab: int = 1,
        bucket: int = 2000000,
        trim_rule: TrimRule | None = None,
        batch_words: int = 10000,
        callbacks: Iterable[Any] = (),
        max_final_vocab: int | None = None,
        shrink_windows: bool = True,
        *,
        negatives: str | None = None,
        progress: bool | None = None,
        checkpoint: PathLike | None = None,
    ) -> None:
        if word_ngrams != 1:
            raise NotImplementedError(
                f"FastText: word_ngrams must be 1, got {word_ngrams!r} (see firth.fasttext)"
            )
        self.word_ngrams = word_ngrams
        check_all("FastText", _NGRAMS, {"min_n": min_n, "max_n": max_n, "bucket": bucket})
        self._ngrams = (int(min_n), int(max_n), 0 if max_n < min_n else int(bucket))
        self._ngram_buffer = training.rows(0, 1)  # wv.vectors_ngrams is a view of it
        super().__init__(
            sentences, corpus_file, vector_size, alpha, window, min_count, max_vocab_size, sample,
            seed, workers, min_alpha, sg, hs, negative, ns_exponent, cbow_mean, hashfxn, epochs,
            null_word, trim_rule, sorted_vocab, batch_words, callbacks=callbacks,
            max_final_vocab=max_final_vocab, shrink_windows=shrink_windows, negatives=negatives,
            progress=progress, checkpoint=checkpoint,
        )  # fmt: skip

    _kind, _gensim = "fasttext", "FastText"
    _vectors = FastTextKeyedVectors
    _parameters = tuple(
        name for name in Word2Vec._parameters if name not in ("compute_loss", "comment")
    )
    _input_name = "vectors_vocab"
    wv: FastTextKeyedVectors

    def _new_vectors(self) -> FastTextKeyedVectors:
        return FastTextKeyedVectors(self.vector_size, *self._ngrams)

    def _vectors_changed(self) -> None:
        self.wv.adjust_vectors()

    # The arrays

    def init_weights(self) -> None:
        """Give words and n-grams new vectors, uniform in +-1 / vector_size; zeros in the output."""
        super().init_weights()
        buffer = training.rows(self.wv.bucket, self.vector_size)
        self.wv.vectors_ngrams = buffer[:, : self.vector_size]
        training.fill(self.wv.vectors_ngrams, self.seed + 1)
        self._ngram_buffer = buffer
        self.wv.adjust_vectors()

    def update_weights(self) -> None:
        """Add rows for the words that are new, as Word2Vec does; n-grams keep theirs."""
        super().update_weights()
        self.wv.adjust_vectors()

    def _check_ready(self) -> None:
        super()._check_ready()
        wv, shape = self.wv, (self.wv.bucket, self.vector_size)
        if wv.vectors_ngrams is None or wv.vectors_ngrams.shape != shape:
            got = None if wv.vectors_ngrams is None else wv.vectors_ngrams.shape
            raise ValueError(f"FastText.train: wv.vectors_ngrams has shape {got}, wanted {shape}")

    def _network(self, shared: bool, jobs: training.Jobs | None) -> training.Network:
        network, wv = super()._network(shared, jobs), self.wv
        if wv.bucket:
            self._ngram_buffer = training.padded(wv.vectors_ngrams, self._ngram_buffer)
            wv.vectors_ngrams = self._ngram_buffer[:, : self.vector_size]
            network.subwords = training.Subwords(
                self._ngram_buffer, *wv.subwords(wv.index_to_key), wv.vectors_ngrams_lockf
            )
        return network

    def create_binary_tree(self) -> None:
        """Set "code" and "point" of each word: its way through fastText's Huffman tree.

        Of equal counts fastText merges the later words first, then inner nodes by age; so a model
        trained by Facebook's program continues with its own tree. Its codes are inverted: here 1
        means the same as in word2vec.
        """
        counts = self.wv.expandos["count"].astype(np.int64)
        size = len(counts)
        order = np.argsort(-counts, kind="stable")
        weights = [*counts[order].tolist(), *[2**62] * size]
        parents, codes = np.zeros(2 * size, np.int64), np.ones(2 * size, np.uint8)
        leaf, inner = size - 1, size
        for parent in range(size, 2 * size - 1):
            weights[parent] = 0
            total = 0
            for second in (False, True):
                if leaf >= 0 and (inner == parent or weights[leaf] < weights[inner]):
                    least, leaf = leaf, leaf - 1
                else:
                    least, inner = inner, inner + 1
                total += weights[least]
                parents[least] = parent
                codes[least] = not second
            weights[parent] = total
        ways_codes, ways_points = np.empty(size, object), np.empty(size, object)
        root = 2 * size - 2
        for rank, row in enumerate(order.tolist()):
            way, node = [], rank
            while node < root:
                way.append(node)
                node = int(parents[node])
            way.reverse()
            ways_codes[row] = codes[way]
            ways_points[row] = (parents[way] - size).astype(np.uint32)
        self.wv.expandos |= {"code": ways_codes, "point": ways_points}

    def estimate_memory(
        self, vocab_size: int | None = None, report: dict[str, int] | None = None
    ) -> dict[str, int]:
        """Bytes that a model with this vocabulary size needs, by part, as gensim counts them."""
        parts = super().estimate_memory(vocab_size, report)
        parts["syn0_vocab"] = parts.pop("vectors")
        del parts["total"]
        if self.wv.bucket:
            offsets, _ = self.wv.subwords(self.wv.index_to_key)
            parts["syn0_ngrams"] = self.wv.bucket * self.vector_size * 4
            parts["buckets_word"] = 64 + 100 * len(self.wv) + 4 * int(offsets[-1])
        parts["total"] = sum(parts.values())
        return parts

    @classmethod
    def load_fasttext_format(cls, model_file: PathLike, encoding: str = "utf-8") -> FastText:
        """`load_facebook_model`, as it was called before gensim 4."""
        deprecated("load_fasttext_format", "load_facebook_model")
        return load_facebook_model(model_file, encoding)

    @classmethod
    def _sizes(cls, wv: Any) -> dict[str, Any]:
        return super()._sizes(wv) | {
            "min_n": wv.min_n, "max_n": wv.max_n, "bucket": wv.bucket
        }  # fmt: skip


def load_facebook_model(path: PathLike, encoding: str = "utf-8") -> FastText:
    r"""Load a model of Facebook's fastText (``.bin``), for queries or further training.

    Settings that the file lacks get defaults, as in gensim: ``alpha`` 0.025, and negatives by
    count**0.75, where fastText takes count**0.5 (as does ``model.ns_exponent = 0.5``). Of a model
    with hierarchical softmax the file has only that output layer, but also a number of negatives:
    training continues with both, negative sampling from zeros, unless ``model.negative = 0``.

    Parameters
    ----------
    path : path-like
        May be compressed (gzip, bzip2, xz, Zstandard, zip).
    encoding : str
        Of the words. Bytes that it does not allow become ``\xe6`` and so on in the word;
        `save_facebook_model` writes those that were read.

    Raises
    ------
    FormatError, TruncatedError
        As `firth.formats.fasttext.read`.
    NotImplementedError
        A supervised model: `firth.fasttext` loads it.
    """
    content = _facebook_content(path)
    args = content.args
    model = FastText(
        sg=int(fasttext.MODELS[args.model] == "skipgram"),
        hs=int(fasttext.LOSSES[args.loss] == "hs"),
        vector_size=args.dim, window=args.ws, min_count=args.minCount, sample=args.t,
        negative=args.neg, epochs=args.epoch, min_n=args.minn, max_n=args.maxn,
        bucket=args.bucket,
    )  # fmt: skip
    wv = model.wv = _facebook_vectors(content, encoding)
    size, dim = len(wv), args.dim
    assert isinstance(content.input, np.ndarray)
    assert isinstance(content.output, np.ndarray)
    buffers = [training.rows(size, dim), training.rows(wv.bucket, dim), training.rows(size, dim)]
    matrix, output = content.input, content.output
    for buffer, source in zip(buffers, (matrix[:size], matrix[size:], output), strict=True):
        buffer[:, :dim] = source
    wv.vectors_vocab, wv.vectors_ngrams = (buffer[:, :dim] for buffer in buffers[:2])
    trained = buffers[2][:, :dim]
    untrained = training.rows(size if model.negative and model.hs else 0, dim)
    model._ngram_buffer = buffers[1]
    outputs = [untrained, buffers[2]] if model.hs else [buffers[2], training.rows(0, dim)]
    model._buffers = [buffers[0], *outputs]
    model.syn1neg = untrained[:, :dim] if model.hs else trained
    if model.hs:
        model.syn1 = trained
        model.create_binary_tree()
    if model.negative:
        model.make_cum_table()
    model.corpus_total_words, model.raw_vocab = content.tokens, {}
    wv.expandos["sample_int"] = training.keep_thresholds(wv.expandos["count"], model.sample)
    wv.adjust_vectors()
    return model


def load_facebook_vectors(
    path: PathLike, encoding: str = "utf-8", *, mmap: bool = False
) -> FastTextKeyedVectors:
    """Load the vectors of a model of Facebook's fastText (``.bin``): less memory than the model.

    Parameters
    ----------
    path, encoding
        As of `load_facebook_model`.
    mmap : bool
        Leave the rows of words and n-grams in the file, which must not be compressed, nor change
        meanwhile; writes to them stay in memory.

    Raises
    ------
    FormatError, TruncatedError, NotImplementedError
        As `load_facebook_model`.
    """
    content = _facebook_content(path)
    wv = _facebook_vectors(content, encoding)
    matrix: Any = content.input
    if not mmap and isinstance(matrix, np.memmap):
        matrix = np.array(matrix)  # one copy; nothing else was read
    wv.vectors_vocab, wv.vectors_ngrams = matrix[: len(wv)], matrix[len(wv) :]
    wv.adjust_vectors()
    return wv


def save_facebook_model(
    model: FastText,
    path: PathLike,
    encoding: str = "utf-8",
    lr_update_rate: int = 100,
    word_ngrams: int = 1,
) -> None:
    """Save a model in the format of Facebook's fastText (``.bin``), which can load it.

    A file that `load_facebook_model` read is written again byte for byte. If the model has both
    output layers, that of hierarchical softmax is written.

    Parameters
    ----------
    path : path-like
        Written atomically; compressed where it ends in .gz, .bz2, .xz or .zst.
    encoding : str
        Of the words; those that were read from a file keep its bytes.
    lr_update_rate, word_ngrams : int
        Values for fields of the file that the model does not have.

    Raises
    ------
    ValueError
        The model has no vocabulary or no objective, a word holds a zero byte, or a word was added
        to ``wv`` after training.
    """
    fasttext.write(path, facebook_content(model, encoding, lr_update_rate, word_ngrams))


def facebook_content(
    model: FastText, encoding: str = "utf-8", lr_update_rate: int = 100, word_ngrams: int = 1
) -> fasttext.Content:
    """What `save_facebook_model` writes."""
    wv = model.wv
    if not len(wv):
        raise ValueError("save_facebook_model: the model has no vocabulary")
    if len(wv.vectors_vocab) < len(wv):
        raise ValueError(
            f"save_facebook_model: wv has {len(wv)} keys, but vectors_vocab has "
            f"{len(wv.vectors_vocab)} rows: the format has no place for vectors that were added"
        )
    model._check_ready()
    words = [wv.raw_words.get(word, str(word).encode(encoding)) for word in wv.index_to_key]
    if any(b"\0" in word for word in words):
        raise ValueError("save_facebook_model: a word holds a zero byte")
    losses = {name: number for number, name in fasttext.LOSSES.items()}
    models = {name: number for number, name in fasttext.MODELS.items()}
    args = fasttext.Args(
        dim=model.vector_size, ws=model.window, epoch=model.epochs, minCount=model.min_count,
        neg=model.negative, wordNgrams=word_ngrams, loss=losses["hs" if model.hs else "ns"],
        model=models["skipgram" if model.sg else "cbow"], bucket=wv.bucket, minn=wv.min_n,
        maxn=wv.max_n, lrUpdateRate=lr_update_rate, t=model.sample,
    )  # fmt: skip
    return fasttext.Content(
        args=args,
        text=np.frombuffer(b"".join(words), np.uint8),
        ends=np.fromiter(map(len, words), np.int64, len(words)).cumsum(),
        counts=wv.expandos["count"].astype(np.int64),
        labels=0,
        tokens=model.corpus_total_words or 0,
        pruned=None,
        input=np.vstack([wv.vectors_vocab, wv.vectors_ngrams]),
        output=model.syn1 if model.hs else model.syn1neg,
    )


def _facebook_content(path: PathLike) -> fasttext.Content:
    content = fasttext.read(path, mmap=True)
    if fasttext.MODELS[content.args.model] == "supervised":
        raise NotImplementedError(
            f"{path}: a supervised model: load it with firth.fasttext.load_model"
        )
    size = content.nwords + content.args.bucket
    if not isinstance(content.input, np.ndarray) or len(content.input) != size:
        raise FormatError(f"has no matrix of {size} words and n-grams", path)
    return content


def _facebook_vectors(content: fasttext.Content, encoding: str) -> FastTextKeyedVectors:
    """Words and counts of a file, without vectors."""
    args = content.args
    wv = FastTextKeyedVectors(args.dim, args.minn, args.maxn, args.bucket)
    wv.encoding = encoding
    for raw in content.entries()[: content.nwords]:
        try:
            word = raw.decode(encoding)
        except UnicodeDecodeError:
            word = raw.decode(encoding, "backslashreplace")
        if word.encode(encoding, "replace") != raw:
            wv.raw_words[word] = raw
        wv.index_to_key.append(word)
    for row, word in enumerate(wv.index_to_key):
        wv.key_to_index.setdefault(word, row)
    wv.next_index = len(wv.index_to_key)
    wv.expandos["count"] = content.counts[: content.nwords]
    return wv
