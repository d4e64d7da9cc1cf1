"""Word vectors and queries of them, with gensim's names and meaning.

This module has files, evaluation and gensim's old names; `vectors` has storage, `similarity` the
queries.

V = number of keys, D = dimensions of a vector.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from firth.errors import FormatError
from firth.formats import container, gensim, word2vec
from firth.formats.files import PathLike
from firth.words import evaluation, from_gensim, from_spacy, plot
from firth.words.gensim3 import deprecated, gone
from firth.words.keys import keys_as_text, keys_from_text
from firth.words.similarity import Similarity

if TYPE_CHECKING:
    from typing_extensions import Self


class KeyedVectors(Similarity):
    """Vectors by key (usually a word), and the most similar ones.

    A drop-in for gensim 4's class of this name. Where it differs, it says so; the main points:
    rows of zeros are similar to nothing (0 instead of NaN), rows with NaN are never returned,
    equal scores are ordered by index, and no score depends on ``topn``.

    Parameters
    ----------
    vector_size : int
        D.
    count : int
        Rows to allocate beforehand; `add_vector` fills them one by one.
    dtype : dtype
        Of the vectors: float32, float64, or to save memory float16 or int8. All results are those
        of the stored values, to the bit; no second copy of them is made.

    Attributes
    ----------
    index_to_key : list of V keys
    key_to_index : dict of key to row
        After loading it is built at its first use; it takes 60 bytes per key.
    vectors : ndarray (V, D)
        Assigning another array forgets ``norms``. After writing into it, call
        ``fill_norms(force=True)``; ``kv[key] = vector`` does this itself.
    scales : ndarray (V,) float32, or None
        Of int8 vectors: row r means ``vectors[r] * scales[r]``.
    norms : ndarray (V,) or None
        Euclidean lengths of the rows, once `fill_norms` has been called.
    expandos : dict of str to ndarray (V,)
        Further attributes of the keys, as ``count``; see `set_vecattr`.
    """

    # Other vectors from these

    def astype(self, dtype: DTypeLike) -> KeyedVectors:
        """A copy whose vectors are stored as float32, float64, float16 (half the memory) or int8.

        int8 (a quarter of the memory) has a scale for each row: a number is off by at most
        max|row| / 254. Of `FastTextKeyedVectors` too the copy is plain `KeyedVectors`: it has the
        words of the vocabulary, but no n-grams. TypeError for another dtype.
        """
        try:
            target = np.dtype(dtype)
        except TypeError:
            target = np.dtype(object)
        if target not in (np.float16, np.float32, np.float64, np.int8):
            raise TypeError(
                f"astype: dtype must be float16, float32, float64 or int8, got {dtype!r}"
            )
        new = KeyedVectors(self.vector_size, len(self), target)
        for rows in self._blocks():  # never a float32 copy of the whole
            new._store(rows, self._values(rows))
        new.index_to_key, new.key_to_index = list(self.index_to_key), dict(self.key_to_index)
        new.next_index = self.next_index
        new.expandos = {name: held.copy() for name, held in self.expandos.items()}
        return new

    def vectors_for_all(
        self, keys: Iterable[Any], allow_inference: bool = True, copy_vecattrs: bool = False
    ) -> KeyedVectors:
        """New vectors for those of the keys that have one, each once and in the given order.

        Parameters
        ----------
        keys : iterable
        allow_inference : bool
            Also infer vectors of unknown words, if the class can do that.
        copy_vecattrs : bool
            Copy the attributes of `set_vecattr`; else there is a ``count`` that falls from the
            number of keys to 1.
        """
        known = self if allow_inference else self.key_to_index
        found = [key for key in dict.fromkeys(keys) if key in known]
        new = KeyedVectors(self.vector_size, dtype=self.vectors.dtype)
        if not found:
            return new
        if self.scales is None:
            new.add_vectors(found, self[found])
        else:  # copy the codes themselves: coding again might change them
            rows = [self.get_index(key) for key in found]
            new._adopt(found)
            new.vectors, new.scales = self.vectors[rows], self.scales[rows]
        new.allocate_vecattrs(["count"], [np.int64])
        new.expandos["count"][:] = range(len(found), 0, -1)
        if copy_vecattrs:
            rows = [self.get_index(key, -1) for key in found]
            inside = [place for place, row in enumerate(rows) if row >= 0]
            for name, held in self.expandos.items():
                if name not in new.expandos or not np.can_cast(held.dtype, np.int64, "same_kind"):
                    new.expandos[name] = np.zeros(len(found), held.dtype)
                new.expandos[name][inside] = held[[rows[place] for place in inside]]
        return new

    def intersect_word2vec_format(
        self,
        fname: PathLike,
        lockf: float = 0.0,
        binary: bool = False,
        encoding: str = "utf8",
        unicode_errors: str = "strict",
    ) -> None:
        """Replace the vectors of existing keys by those of a file in word2vec's format.

        No keys are added. ``vectors_lockf`` of these rows becomes ``lockf``: 0 keeps a model from
        training them further, 1 lets it. The other arguments are those of `load_word2vec_format`.

        Raises
        ------
        ValueError
            The file has vectors of another size; nothing is changed.
        """
        other = KeyedVectors.load_word2vec_format(
            fname, binary=binary, encoding=encoding, unicode_errors=unicode_errors
        )
        if other.vector_size != self.vector_size:
            raise ValueError(
                f"intersect_word2vec_format: {fname} has vectors of size {other.vector_size}, "
                f"wanted {self.vector_size}"
            )
        common = [key for key in other.index_to_key if key in self.key_to_index]
        rows = [self.key_to_index[key] for key in common]
        if not rows:
            return
        if not self.vectors.flags.writeable:
            scales = self.scales
            self.vectors = self.vectors.copy()
            self.scales = scales
        self._store(rows, other[common])
        locks = np.ones(len(self), np.float32)
        locks[:] = self.vectors_lockf
        locks[rows] = lockf
        self.vectors_lockf = locks

    # Files

    def save(self, fname: PathLike) -> None:
        """Save to one file: checksummed, atomic, without pickle (see `firth.formats.container`).

        Words' paths through a model's tree ("code", "point") are left out: the model has them.
        TypeError for keys other than str and int, and for attributes that are no numbers.
        """
        container.write(fname, self._kinds[0], *self._sections())

    _kinds: tuple[str, ...] = ("keyedvectors", "word2vec", "glove")  # a model holds vectors too
    _homes: ClassVar[dict[str, type[KeyedVectors]]] = {}  # the subclass that a kind of file is for

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        KeyedVectors._homes |= dict.fromkeys(vars(cls).get("_kinds", ()), cls)

    def _sections(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[str]]]:
        """Arrays, metadata and lists of strings that a file keeps."""
        keys, whole = keys_as_text(self.index_to_key)
        if self.vectors.dtype.kind != "f" and self.scales is None:
            raise TypeError(f"save: vectors must be floats or int8, got {self.vectors.dtype}")
        arrays = {"vectors": self.vectors, "integer_keys": whole}
        if self.scales is not None:
            arrays["scales"] = self.scales
        for name, values in self.expandos.items():
            if name in ("code", "point"):  # of hierarchical softmax: the model keeps them
                continue
            if values.dtype == object:
                raise TypeError(f"save: attribute {name!r} must be numeric")
            arrays[f"attribute:{name}"] = values
        return arrays, {}, {"keys": keys}

    @classmethod
    def load(cls, fname: PathLike, mmap: Literal["r", "c"] | None = None) -> KeyedVectors:
        """Load what `save` wrote, or the vectors of a saved `Word2Vec` or of its checkpoint.

        What gensim's ``save`` wrote (KeyedVectors, Word2Vec, FastText) is loaded too, without
        executing anything in it; its ``.npy`` files must be in the same folder.

        Parameters
        ----------
        fname : path-like
        mmap : {"r", "c"}, optional
            Map the vectors instead of reading them ("c": changes stay in memory). They are then
            not compared with their checksum, since that would read them all.

        Raises
        ------
        FormatError
            Another kind of file, or a damaged one.
        """
        if container.is_container(fname):
            content = container.read(fname, mmap=mmap)
        elif not os.path.isdir(fname) and gensim.is_pickle(fname):
            content = from_gensim.vectors_of(gensim.read(fname, mmap=mmap), fname)
        else:
            raise FormatError(
                "is not a firth file, nor one of gensim's: firth.words.load_vectors reads text, "
                "word2vec's and fastText's binaries, and folders",
                fname,
            )
        home = KeyedVectors._homes.get(content.kind, cls) if cls is KeyedVectors else cls
        if content.kind not in home._kinds:
            raise FormatError(container.mismatch(content.kind, cls._kinds[0]), fname)
        return home._loaded(content, fname)

    @classmethod
    def _blank(cls, vector_size: int, meta: dict[str, Any]) -> Self:
        """Empty vectors, with the metadata of `_sections`."""
        return cls(vector_size)

    @classmethod
    def _loaded(cls, content: container.Content, fname: PathLike) -> Self:
        """The vectors of a file's content; FormatError where it does not fit together."""
        arrays, keys = content.arrays, content.strings.get("keys", [])
        vectors, scales = arrays.get("vectors", np.zeros(0)), arrays.get("scales")
        stored = vectors.dtype == np.int8 if scales is not None else vectors.dtype.kind == "f"
        shaped = vectors.ndim == 2 and vectors.shape[1] > 0 and len(vectors) == len(keys)
        if not (shaped and stored):
            raise FormatError(f"{vectors.shape} {vectors.dtype} vectors, {len(keys)} keys", fname)
        if scales is not None and (scales.shape != (len(keys),) or scales.dtype != np.float32):
            raise FormatError(f"{scales.shape} {scales.dtype} scales, {len(keys)} keys", fname)
        loaded = cls._blank(vectors.shape[1], content.meta)
        try:
            loaded._adopt(keys_from_text(keys, arrays.get("integer_keys")))
        except (ValueError, TypeError, IndexError):
            raise FormatError("a key listed as integer is not a number", fname) from None
        loaded.vectors = vectors
        loaded.scales = scales
        for name, values in arrays.items():
            if name.startswith("attribute:"):
                if values.shape != (len(keys),):
                    raise FormatError(
                        f"{name} has shape {values.shape}, wanted ({len(keys)},)", fname
                    )
                loaded.expandos[name.removeprefix("attribute:")] = values
        return loaded

    @classmethod
    def from_spacy(cls, path_or_nlp: Any) -> KeyedVectors:
        """The vectors of spaCy: of a folder (no spaCy is needed), or of ``nlp`` or its vocab.

        FormatError for a damaged folder, and for floret's vectors (see `firth.words.Floret`).
        """
        words, vectors = from_spacy.read(path_or_nlp)
        new = KeyedVectors(vectors.shape[1], dtype=vectors.dtype)
        new._adopt(words)
        new.vectors = vectors
        return new

    def to_spacy(self, nlp: Any) -> None:
        """Make these the vectors of a pipeline (``nlp``) or vocab, or write a folder for spaCy."""
        if any(key is None for key in self.index_to_key):
            raise ValueError("to_spacy: rows without a key (see count and add_vector)")
        words = [str(key) for key in self.index_to_key]
        from_spacy.write(words, np.ascontiguousarray(self._values(), np.float32), nlp)

    def save_word2vec_format(
        self,
        fname: PathLike,
        fvocab: PathLike | None = None,
        binary: bool = False,
        total_vec: int | None = None,
        write_header: bool = True,
        prefix: str = "",
        append: bool = False,
        sort_attr: str = "count",
    ) -> None:
        """Save as word2vec's C tool does, text or binary; other programs read that.

        Parameters
        ----------
        fname : path-like
            Compressed where it ends in .gz, .bz2 or .xz.
        fvocab : path-like, optional
            Write lines ``word count`` to this file too.
        binary : bool
        total_vec : int, optional
            The number of vectors in the header, where more will be appended.
        write_header : bool
            False gives GloVe's text.
        prefix : str
            Put before each word.
        append : bool
            Append to an existing file (which cannot be atomic).
        sort_attr : str
            Write in descending order of this attribute, if there is one.

        Raises
        ------
        ValueError
            ``fvocab`` is given, but there is no such attribute; or a word that the format cannot
            hold (a space in binary, a newline).
        """
        if len(self.key_to_index) < len(self):
            raise ValueError("save_word2vec_format: rows without a key (see count and add_vector)")
        order: Sequence[int] = range(len(self))
        counts = self.expandos.get(sort_attr)
        if counts is not None:
            order = sorted(order, key=lambda row: -counts[row])
        elif fvocab is not None:
            raise ValueError(
                f"save_word2vec_format: fvocab needs the attribute {sort_attr!r}, "
                f"there are {sorted(self.expandos)}"
            )
        values = self._values()
        if values.dtype == np.float16:  # the shortest text of a float16 is another float32
            values = values.astype(np.float32)
        word2vec.write(
            fname,
            self.index_to_key,
            values,
            order=order,
            binary=binary,
            header=(len(self) if total_vec is None else total_vec) if write_header else None,
            prefix=prefix,
            append=append,
        )
        if fvocab is not None and counts is not None:
            lines = ((f"{prefix}{self.index_to_key[row]}", counts[row]) for row in order)
            word2vec.write_counts(fvocab, lines, append=append)

    @classmethod
    def load_word2vec_format(
        cls,
        fname: PathLike,
        fvocab: PathLike | None = None,
        binary: bool = False,
        encoding: str = "utf8",
        unicode_errors: str = "strict",
        limit: int | None = None,
        datatype: DTypeLike = np.float32,
        no_header: bool = False,
    ) -> KeyedVectors:
        """Load a file of word2vec's C tool, of gensim, GloVe (``no_header=True``) or fastText.

        Parameters
        ----------
        fname : path-like
            May be compressed (gzip, bzip2, xz).
        fvocab : path-like, optional
            File of lines ``word count``. Without it ``count`` falls from the number of rows to 1.
        binary : bool
        encoding, unicode_errors : str
            How to decode words; the C tool cuts long ones within a character, for which "replace"
            or "ignore" helps.
        limit : int, optional
            Read at most this many vectors.
        datatype : dtype
            Of the vectors.
        no_header : bool
            There is no first line with the two sizes; text only.

        Raises
        ------
        FormatError, TruncatedError (an EOFError too), UnicodeDecodeError
            As `firth.formats.word2vec.read_text`.
        """
        if binary and no_header:
            raise NotImplementedError("load_word2vec_format: no_header is for text only")
        decoding: dict[str, Any] = {"encoding": encoding, "errors": unicode_errors}
        options = decoding | {"limit": limit, "dtype": datatype}
        if binary:
            words = word2vec.read_binary(fname, **options)
        else:
            words = word2vec.read_text(fname, header=not no_header, **options)
        loaded = cls(words.vectors.shape[1], dtype=datatype)
        loaded.vectors = words.vectors
        loaded._adopt(words.keys)
        counts: Any = np.arange(words.declared, words.declared - len(words.keys), -1)
        if fvocab is not None:
            table = word2vec.read_counts(fvocab, **decoding)
            counts = [table.get(key, 0) for key in words.keys]
            missing = sum(key not in table for key in words.keys)
            if missing:
                warnings.warn(f"{fvocab} lacks {missing} words; they count 0", stacklevel=2)
        loaded.expandos["count"] = np.asarray(counts, np.int64)
        return loaded

    # Evaluation

    evaluate_word_pairs = evaluation.evaluate_word_pairs
    evaluate_word_analogies = evaluation.evaluate_word_analogies
    log_accuracy = staticmethod(evaluation.log_accuracy)
    log_evaluate_word_pairs = staticmethod(evaluation.log_evaluate_word_pairs)

    # Pictures

    plot = plot.plot

    # gensim's older names

    def word_vec(self, *args: Any, **kwargs: Any) -> NDArray[Any]:
        """`get_vector`, as it was called before gensim 4."""
        deprecated("word_vec", "get_vector")
        return self.get_vector(*args, **kwargs)

    def words_closer_than(self, word1: Any, word2: Any) -> list[Any]:
        """`closer_than`, as it was called before gensim 4."""
        deprecated("words_closer_than", "closer_than")
        return self.closer_than(word1, word2)

    def init_sims(self, replace: bool = False) -> None:
        """`fill_norms`, or with ``replace`` `unit_normalize_all`: before gensim 4."""
        deprecated("init_sims", "fill_norms")
        self.fill_norms()
        if replace:
            self.unit_normalize_all()

    vectors_norm = gone("vectors_norm", "get_normed_vectors()")
    syn0norm = gone("syn0norm", "get_normed_vectors()")
    syn0 = gone("syn0", "vectors")
    index2word = gone("index2word", "index_to_key")
    index2entity = gone("index2entity", "index_to_key")
    vocab = gone(
        "vocab",
        "key_to_index, index_to_key, get_vecattr(key, attr) and set_vecattr(key, attr, value)",
    )


Word2VecKeyedVectors = KeyedVectors  # its name before gensim 4
