"""Vectors of words made of the vectors of their character n-grams: FastText's `KeyedVectors`.

V = words of the vocabulary, D = dimensions of a vector, B = buckets of n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from firth import geometry
from firth.errors import FormatError
from firth.formats import container
from firth.formats.files import PathLike
from firth.words.keyedvectors import KeyedVectors
from firth.words.subwords import subword_ids, subword_means
from firth.words.training import fill
from firth.words.vectors import KEY, MissingKeyError

if TYPE_CHECKING:
    from typing_extensions import Self

_LOCKS = ("vectors_vocab_lockf", "vectors_ngrams_lockf")
_CHUNK = 1 << 16  # words whose n-grams are in memory at once


class FastTextKeyedVectors(KeyedVectors):
    """Vectors of words, and of any other string through its n-grams.

    The vector of a word of the vocabulary is the mean of its own row (in ``vectors_vocab``) and the
    rows of its n-grams (in ``vectors_ngrams``); `adjust_vectors` computes it. Any other string has
    the mean of its n-grams' rows; one without n-grams has zeros. As in fastText (and other than in
    gensim) the word ``</s>`` has no n-grams, a word that is not valid UTF-8 keeps the n-grams of
    its bytes, and an integer that is no word is a row.

    Parameters
    ----------
    vector_size : int
        D.
    min_n, max_n : int
        Shortest and longest n-gram, in code points.
    bucket : int
        B; 0 for no n-grams.
    count : int
        Rows to allocate beforehand.
    dtype : dtype
        Of the vectors.

    Attributes
    ----------
    vectors : ndarray (V, D)
        The vectors that are looked up.
    vectors_vocab : ndarray (V, D)
        The words' own rows.
    vectors_ngrams : ndarray (B, D) or None
        The n-grams' rows.
    vectors_vocab_lockf, vectors_ngrams_lockf : ndarray (1,) or (V,), (B,)
        How much training may change each row.
    encoding : str
        What words are encoded in before their n-grams are hashed: that of the model's file.
    raw_words : dict of str to bytes
        Bytes in the model's file of words that are damaged or not in ``encoding``.
    """

    def __init__(
        self,
        vector_size: int,
        min_n: int,
        max_n: int,
        bucket: int,
        count: int = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"FastTextKeyedVectors: dtype must be one of floats, got {dtype!r}")
        super().__init__(vector_size, count, dtype)
        self.min_n, self.max_n, self.bucket = min_n, max_n, bucket
        self.vectors_vocab: NDArray[Any] = np.zeros((count, vector_size), dtype)
        self.vectors_ngrams: Any = None
        self.vectors_vocab_lockf = np.ones(1, np.float32)
        self.vectors_ngrams_lockf = np.ones(1, np.float32)
        self.compatible_hash = True
        self.encoding = "utf-8"
        self.raw_words: dict[str, bytes] = {}

    # Looking up

    def __contains__(self, key: Any) -> bool:
        """Whether there is a vector: with n-grams, always. See ``key_to_index`` for the words."""
        return self.bucket > 0 or super().__contains__(key)

    def get_vector(self, key: Any, norm: bool = False) -> NDArray[Any]:
        """The vector of a word or of any other string (D,); with ``norm`` scaled to length 1.

        KeyError where the vocabulary lacks the word and there are no n-grams.
        """
        if not isinstance(key, str) or key in self.key_to_index:
            return super().get_vector(key, norm)
        vector = self._inferred([key])[0]
        return geometry.normed(vector, geometry.lengths(vector)) if norm else vector

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """The vector of a key (D,); those of several keys (len(key), D), or of a slice of rows."""
        if isinstance(key, KEY):
            return self.get_vector(key)
        if isinstance(key, slice):
            return self._values(key)
        keys = list(key)
        rows = np.array([self.get_index(one, -1) for one in keys], np.int64)
        unseen = np.flatnonzero(rows < 0)
        if not len(unseen):
            return self.vectors[rows]
        found: NDArray[Any] = np.empty((len(keys), self.vector_size), self.vectors.dtype)
        found[rows >= 0] = self.vectors[rows[rows >= 0]]
        found[unseen] = self._inferred([keys[i] for i in unseen])
        return found

    def _inferred(self, words: list[Any]) -> NDArray[Any]:
        """Vectors of strings outside the vocabulary (len(words), D), by their n-grams alone."""
        if not self.bucket or self.vectors_ngrams is None:
            raise MissingKeyError(words[0], self)
        for word in words:
            if not isinstance(word, str):
                raise MissingKeyError(word, self)
        return subword_means(None, self.vectors_ngrams, *self.subwords(words))

    def get_sentence_vector(self, sentence: Sequence[Any]) -> NDArray[Any]:
        """Mean of the vectors of a list of words, each scaled to length 1: (D,).

        As fastText: words whose vector is all zeros do not count. ValueError for no words.
        """
        if len(sentence) == 0:
            raise ValueError("get_sentence_vector: cannot compute the mean of no words")
        directions = geometry.unit(self[[word for word in sentence if word in self]])
        count = np.count_nonzero(directions.any(axis=1))
        mean: NDArray[Any] = directions.sum(axis=0) / max(1, count)
        return mean.astype(self.vectors.dtype)

    # N-grams

    def encode_word(self, word: str | int) -> bytes:
        """The bytes of a word, from which n-grams are made, as in a model's file."""
        word = str(word)
        raw = self.raw_words.get(word)
        if raw is not None:
            return raw
        try:
            return word.encode(self.encoding)
        except UnicodeEncodeError:
            return word.encode("utf-8", "surrogatepass")

    def subwords(self, words: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Buckets of the n-grams of each word, as `firth.words.subwords.subword_ids`.

        Returns offsets (len(words) + 1,) int64 and ids int32: word i has
        ``ids[offsets[i]:offsets[i + 1]]``.
        """
        return subword_ids(
            [self.encode_word(word) for word in words], self.min_n, self.max_n, self.bucket
        )

    @property
    def buckets_word(self) -> list[NDArray[np.uint32]]:
        """For each word of the vocabulary the buckets of its n-grams; computed when asked for."""
        offsets, ids = self.subwords(self.index_to_key)
        return np.split(ids.view(np.uint32), offsets[1:-1]) if len(offsets) > 1 else []

    def recalc_char_ngram_buckets(self) -> None:
        """Does nothing: buckets are not kept, but computed where they are needed."""

    def adjust_vectors(self) -> None:
        """Compute ``vectors`` from ``vectors_vocab`` and ``vectors_ngrams``."""
        if not self.bucket:
            self.vectors = self.vectors_vocab
            return
        vectors = np.empty(self.vectors_vocab.shape, self.vectors_vocab.dtype)
        for first in range(0, len(vectors), _CHUNK):
            part = slice(first, first + _CHUNK)
            vectors[part] = subword_means(
                self.vectors_vocab[part],
                self.vectors_ngrams,
                *self.subwords(self.index_to_key[part]),
            )
        self.vectors = vectors

    def resize_vectors(self, seed: int = 0) -> None:
        """Give each key of ``index_to_key``, and each bucket, a row: new ones are random.

        Uniform in +-1 / D, with gensim's random stream; existing rows keep their values.
        """
        self.vectors_vocab = _prepared(
            (len(self.index_to_key), self.vector_size), self.vectors_vocab, seed
        )
        self.vectors_ngrams = _prepared(
            (self.bucket, self.vector_size), self.vectors_ngrams, seed + 1
        )
        self.allocate_vecattrs()
        self.adjust_vectors()

    # Files

    _kinds = ("fasttextkeyedvectors", "fasttext")

    def _sections(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[str]]]:
        arrays, meta, strings = super()._sections()
        arrays |= {"vectors_vocab": self.vectors_vocab}
        if self.vectors_ngrams is not None:
            arrays["vectors_ngrams"] = self.vectors_ngrams
        for name in _LOCKS:
            arrays[name] = getattr(self, name)
        meta |= {"min_n": self.min_n, "max_n": self.max_n, "bucket": self.bucket}
        meta["encoding"] = self.encoding
        meta["raw_words"] = {word: raw.hex() for word, raw in self.raw_words.items()}
        return arrays, meta, strings

    @classmethod
    def _blank(cls, vector_size: int, meta: dict[str, Any]) -> Self:
        result = cls(vector_size, int(meta["min_n"]), int(meta["max_n"]), int(meta["bucket"]))
        "".encode(meta["encoding"])
        result.encoding = meta["encoding"]
        result.raw_words = {word: bytes.fromhex(raw) for word, raw in meta["raw_words"].items()}
        return result

    @classmethod
    def _loaded(cls, content: container.Content, fname: PathLike) -> Self:
        arrays = content.arrays
        computed = "vectors" in arrays  # gensim's files leave that to the reader
        if not computed:
            arrays["vectors"] = arrays.get("vectors_vocab", np.zeros(0))
        try:
            loaded = super()._loaded(content, fname)
        except (KeyError, TypeError, AttributeError, LookupError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"is not a whole model: {error!r}", fname) from None
        for name in ("vectors_vocab", "vectors_ngrams", *_LOCKS):
            setattr(loaded, name, arrays.get(name, getattr(loaded, name)))
        shapes = [(loaded.vectors_vocab, len(loaded.vectors_vocab))]  # added keys have no row
        if loaded.vectors_ngrams is not None:
            shapes.append((loaded.vectors_ngrams, loaded.bucket))
        for matrix, count in shapes:
            if matrix.shape != (count, loaded.vector_size) or matrix.dtype.kind != "f":
                raise FormatError(
                    f"has {matrix.dtype} rows of shape {matrix.shape}, "
                    f"wanted ({count}, {loaded.vector_size})",
                    fname,
                )
        if not computed:
            loaded.adjust_vectors()
        return loaded


def _prepared(shape: tuple[int, int], prior: NDArray[Any] | None, seed: int) -> NDArray[Any]:
    """The prior rows, and random ones behind them: gensim's ``prep_vectors``, to the bits."""
    if prior is not None and prior.shape == shape:
        return prior
    rows = np.empty(shape, np.float32)
    fill(rows, seed)
    if prior is not None:
        rows[: len(prior)] = prior
        return rows.astype(prior.dtype, copy=False)
    return rows
