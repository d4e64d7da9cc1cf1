"""Word vectors and the questions one asks them, with gensim's names and meaning.

Longer than most files: one class with many small methods, whose names are given.

V = number of keys, D = dimensions of a vector.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from firth.errors import FormatError
from firth.formats import firth, gensim, word2vec
from firth.formats.files import Path
from firth.kernels import dot, row_norms

_KEY = (str, int, np.integer)
_KIND = "keyedvectors"


class KeyedVectors:
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
        Of the vectors.

    Attributes
    ----------
    index_to_key : list of V keys
    key_to_index : dict of key to row
    vectors : ndarray (V, D)
        Assigning another array forgets ``norms``. After writing into it, call
        ``fill_norms(force=True)``.
    norms : ndarray (V,) or None
        Euclidean lengths of the rows, once `fill_norms` has been called.
    expandos : dict of str to ndarray (V,)
        Further attributes of the keys, as ``count``; see `set_vecattr`.
    """

    def __init__(self, vector_size: int, count: int = 0, dtype: DTypeLike = np.float32) -> None:
        self.vector_size = vector_size
        self.index_to_key: list[Any] = [None] * count
        self.key_to_index: dict[Any, int] = {}
        self.next_index = 0  # the first allocated row that has no key yet
        self.vectors = np.zeros((count, vector_size), dtype)
        self.expandos: dict[str, NDArray[Any]] = {}
        self.vectors_lockf = np.ones(1, np.float32)  # scales what training adds to (all or V) rows

    @property
    def vectors(self) -> NDArray[Any]:
        """The rows, (V, D)."""
        return self._vectors

    @vectors.setter
    def vectors(self, vectors: NDArray[Any]) -> None:
        self._vectors = vectors
        self.norms: NDArray[Any] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}<vector_size={self.vector_size}, {len(self)} keys>"

    # Looking up

    def __len__(self) -> int:
        return len(self.index_to_key)

    def __contains__(self, key: Any) -> bool:
        return self.has_index_for(key)

    def has_index_for(self, key: Any) -> bool:
        """Whether ``key`` is a key, or an integer that is a row."""
        return self.get_index(key, -1) >= 0

    def get_index(self, key: Any, default: int | None = None) -> int:
        """The row of a key; an integer that is no key counts as a row.

        KeyError where there is none and no ``default``.
        """
        index = self.key_to_index.get(key, -1)
        if index >= 0:
            return index
        if isinstance(key, (int, np.integer)) and 0 <= key < len(self):
            return int(key)
        if default is not None:
            return default
        raise KeyError(f"Key {key!r} not present in vocabulary")

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """The vector of a key (D,), or the vectors of several ones (len(key), D)."""
        if isinstance(key, _KEY):
            return self.get_vector(key)
        rows: NDArray[Any] = self.vectors[[self.get_index(one) for one in key]]
        return rows

    def get_vector(self, key: Any, norm: bool = False) -> NDArray[Any]:
        """The vector of a key (D,), read-only: a view, or with ``norm`` scaled to length 1."""
        index = self.get_index(key)
        vector: NDArray[Any] = self.vectors[index]
        if norm:
            vector = _scaled(vector, self.fill_norms()[index])
        vector.setflags(write=False)
        return vector

    def get_normed_vectors(self) -> NDArray[Any]:
        """All vectors scaled to length 1, (V, D); a row of zeros stays one."""
        return _scaled(self.vectors, self.fill_norms())

    def fill_norms(self, force: bool = False) -> NDArray[Any]:
        """Compute ``norms`` if they are not there, or anew; returns them (V,)."""
        if self.norms is None or force:
            vectors = _for_kernels(self.vectors)
            if vectors.dtype == np.float32:  # squares may leave float32's range
                self.norms = row_norms(vectors)
            else:
                self.norms = np.sqrt(dot(vectors, vectors))
        return self.norms

    # Adding

    def add_vector(self, key: Any, vector: Any) -> int:
        """Add one key to the next allocated row, or behind the last one; returns its row.

        A key that is there keeps its vector. Growing copies everything, hence the warning.
        """
        if key in self.key_to_index:
            return self.key_to_index[key]
        index = self.next_index
        if index < len(self) and self.index_to_key[index] is None:
            self.vectors[index] = vector
            self.norms = None
            self.index_to_key[index] = key
            self.key_to_index[key] = index
        else:
            warnings.warn(
                "adding vectors one by one copies all of them each time: use add_vectors, "
                "or KeyedVectors(vector_size, count)",
                stacklevel=2,
            )
            index = len(self)
            self.add_vectors([key], [vector])
        self.next_index = index + 1
        return index

    def add_vectors(
        self,
        keys: Any,
        weights: Any,
        extras: Mapping[str, NDArray[Any]] | None = None,
        replace: bool = False,
    ) -> None:
        """Add keys behind the last row.

        Parameters
        ----------
        keys : N keys (str or int), or one
        weights : array_like (N, D), converted to the dtype of ``vectors``
        extras : mapping of attribute to ndarray (N,), optional
            Attributes as of `set_vecattr`.
        replace : bool
            Give keys that are there the new vector; else they keep theirs. Of equal keys in one
            call the first counts (with ``replace`` the last).

        Raises
        ------
        ValueError
            Shapes that do not fit; nothing is added.
        """
        keys = [keys] if isinstance(keys, _KEY) else list(keys)
        dict.fromkeys(keys)  # TypeError for what cannot be a key, before anything changes
        new = np.asarray(weights, self.vectors.dtype)
        if new.size == len(keys) * self.vector_size:
            new = new.reshape(len(keys), self.vector_size)
        extras = {name: np.asarray(extra) for name, extra in (extras or {}).items()}
        shapes = [new.shape[:1], *(extra.shape for extra in extras.values())]
        if new.shape[1:] != (self.vector_size,) or any(shape != (len(keys),) for shape in shapes):
            raise ValueError(
                f"add_vectors: weights must have shape ({len(keys)}, {self.vector_size}) and "
                f"extras ({len(keys)},), got {new.shape} and {shapes[1:]}"
            )
        for name, extra in extras.items():
            self._allocate_vecattr(name, extra.dtype)

        target: dict[Any, int] = {}  # row -> the position in `keys` that fills it
        before = len(self)
        for position, key in enumerate(keys):
            row = self.key_to_index.setdefault(key, len(self))
            if row == len(self):
                self.index_to_key.append(key)
            elif not replace:
                continue
            target[row] = position
        grown = np.zeros((len(self), self.vector_size), self.vectors.dtype)
        grown[:before] = self.vectors
        rows, positions = list(target), list(target.values())
        grown[rows] = new[positions]
        self.vectors = grown
        for name in self.expandos:
            self._allocate_vecattr(name, self.expandos[name].dtype)
        for name, extra in extras.items():
            self.expandos[name][rows] = extra[positions]

    def set_vecattr(self, key: Any, attr: str, val: Any) -> None:
        """Set an attribute of a key, as ``count``.

        The first value of an attribute decides its dtype (of Python's: int64, float64, object);
        TypeError for a value of another kind. Keys without a value have 0.
        """
        index = self.get_index(key)
        kind = np.asarray(val).dtype
        self._allocate_vecattr(attr, kind if kind.kind in "biuf" else np.dtype(object))
        self.expandos[attr][index] = val

    def get_vecattr(self, key: Any, attr: str) -> Any:
        """An attribute of a key; KeyError where the key or the attribute is missing."""
        index = self.get_index(key)
        if attr not in self.expandos:
            raise KeyError(f"Attribute {attr!r} not present; there are {sorted(self.expandos)}")
        return self.expandos[attr][index]

    def _allocate_vecattr(self, name: str, dtype: np.dtype[Any]) -> None:
        """See that the attribute has a value for each key."""
        old = self.expandos.get(name, np.zeros(0, dtype))
        if not np.can_cast(dtype, old.dtype, "same_kind"):
            raise TypeError(f"attribute {name!r} holds {old.dtype}, got {dtype}")
        if name not in self.expandos or len(old) != len(self):
            self.expandos[name] = np.zeros(len(self), old.dtype)
            self.expandos[name][: len(old)] = old[: len(self)]

    # Similarity

    def similarity(self, w1: Any, w2: Any) -> float:
        """Cosine of the angle between the vectors of two keys: exactly 1 for one with itself.

        0 where one of them is all zeros.
        """
        first, second = self.get_index(w1), self.get_index(w2)
        cosine = _cosine(self.vectors[first], self.vectors[second])
        return 1.0 if first == second and cosine > 0 else cosine

    def distance(self, w1: Any, w2: Any) -> float:
        """1 - `similarity`: exactly 0 for a key and itself."""
        return 1.0 - self.similarity(w1, w2)

    def n_similarity(self, ws1: Sequence[Any], ws2: Sequence[Any]) -> float:
        """Cosine between the means of two sets of keys; keys that are missing do not count.

        ZeroDivisionError where a set is empty.
        """
        if len(ws1) == 0 or len(ws2) == 0:
            raise ZeroDivisionError("n_similarity: both sets of keys must have at least one")
        means = []
        for keys in (ws1, ws2):
            present = [self.get_index(key) for key in keys if key in self]
            means.append(self.vectors[present].sum(axis=0, dtype=np.float64))
        return _cosine(*means)

    def similar_by_word(
        self, word: Any, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Any:
        """`most_similar` to one key."""
        return self.most_similar(positive=[word], topn=topn, restrict_vocab=restrict_vocab)

    def similar_by_vector(
        self, vector: Any, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Any:
        """`most_similar` to a vector (D,)."""
        vector = np.asarray(vector)
        return self.most_similar(positive=[vector], topn=topn, restrict_vocab=restrict_vocab)

    def most_similar(
        self,
        positive: Any = None,
        negative: Any = None,
        topn: int | None = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
    ) -> Any:
        """The keys whose vectors have the highest cosine with a sum of vectors.

        The sum takes the vectors of ``positive`` and, with weight -1, those of ``negative``; those
        of keys scaled to length 1, those given as arrays as they are. "king" - "man" + "woman" is
        ``most_similar(positive=["king", "woman"], negative=["man"])``.

        Parameters
        ----------
        positive, negative : key, array (D,), or a list (or array (N, D)) of these
            A pair (key or array, weight) has its own weight.
        topn : int or None
            How many; None for the cosines of all rows.
        clip_start, clip_end : int
            Look at rows ``clip_start`` to ``clip_end - 1`` only.
        restrict_vocab : int, optional
            Look at the first so many rows only; overrides the two above.

        Returns
        -------
        list of (key, float), best first, without the keys that were asked with; or, where ``topn``
        is None, ndarray (rows looked at,) of all cosines.

        Raises
        ------
        KeyError
            A key is missing.
        ValueError
            Nothing was given, or an array of another shape.
        """
        if topn is not None and (topn := operator.index(topn)) < 1:
            return []
        items = [(item, 1.0) for item in _as_list(positive)]
        items += [(item, -1.0) for item in _as_list(negative)]
        if not items:
            raise ValueError("most_similar: cannot compute the mean of nothing")
        query, asked = self._query(items)
        rows = slice(0, restrict_vocab) if restrict_vocab else slice(clip_start, clip_end or None)
        start, stop, _ = rows.indices(len(self))
        scores = self._cosines(query, start, stop)
        if topn is None:
            return scores
        valid = ~np.isnan(scores)
        valid[[index - start for index in asked if start <= index < stop]] = False
        best = _best(scores, np.flatnonzero(valid), topn)
        keys = self.index_to_key[start:stop]
        return [(keys[row], float(scores[row])) for row in best if keys[row] is not None]

    def _query(self, items: Iterable[tuple[Any, float]]) -> tuple[NDArray[Any], set[int]]:
        """The weighted sum at length 1, (D,), and the rows of the keys in it."""
        total = np.zeros(self.vector_size)
        asked = set()
        for item, sign in items:
            key, weight = item if isinstance(item, (tuple, list)) else (item, sign)
            if isinstance(key, np.ndarray):
                if key.shape != total.shape:
                    raise ValueError(
                        f"most_similar: a vector must have shape {total.shape}, got {key.shape}"
                    )
                total += weight * key.astype(np.float64)
            else:
                index = self.get_index(key)
                asked.add(index)
                row = self.vectors[index].astype(np.float64)
                total += weight * _scaled(row, self.fill_norms()[index])
        return _scaled(total, np.linalg.norm(total)), asked

    def _cosines(self, query: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
        """Cosine of rows start to stop - 1 with a query of length 1; each independent of the rest.

        A row's sum has a fixed order (see `dot`), so neither topn nor clipping changes its score.
        """
        vectors = _for_kernels(self.vectors[start:stop])
        scores = dot(vectors, query.astype(vectors.dtype))
        return _scaled(scores, self.fill_norms()[start:stop])

    # Files

    def save(self, fname: Path) -> None:
        """Save to one file: checksummed, atomic, without pickle (see `firth.formats.firth`).

        TypeError for keys other than str and int, and for attributes that are no numbers.
        """
        keys = self.index_to_key
        whole = [row for row, key in enumerate(keys) if isinstance(key, (int, np.integer))]
        if not all(isinstance(key, _KEY) for key in keys):
            raise TypeError("save: keys must be str or int, and each row must have one")
        for name, values in self.expandos.items():
            if values.dtype == object:
                raise TypeError(f"save: attribute {name!r} must be numeric")
        if self.vectors.dtype.kind != "f":
            raise TypeError(f"save: vectors must be floats, got {self.vectors.dtype}")
        arrays = {"vectors": self.vectors, "integer_keys": np.array(whole, np.int64)}
        arrays |= {f"attribute:{name}": values for name, values in self.expandos.items()}
        firth.write(fname, _KIND, arrays, strings={"keys": [str(key) for key in keys]})

    @classmethod
    def load(cls, fname: Path, mmap: Literal["r", "c"] | None = None) -> KeyedVectors:
        """Load what `save` wrote, or the vectors of a saved `Word2Vec` or of its checkpoint.

        What gensim's ``save`` wrote (KeyedVectors, Word2Vec, FastText) is loaded too, without
        executing anything in it; its ``.npy`` files must stand beside it.

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
        if gensim.is_pickle(fname):
            from firth.words.from_gensim import keyed_vectors

            return keyed_vectors(gensim.read(fname, mmap=mmap), fname)
        content = firth.read(fname, mmap=mmap)
        if content.kind not in (_KIND, "word2vec"):  # a model holds vectors too
            raise FormatError(f"holds {content.kind!r}, wanted {_KIND!r}", fname)
        arrays, keys = content.arrays, content.strings.get("keys", [])
        vectors = arrays.get("vectors", np.zeros(0))
        if vectors.ndim != 2 or len(vectors) != len(keys) or vectors.dtype.kind != "f":
            raise FormatError(f"{vectors.shape} {vectors.dtype} vectors, {len(keys)} keys", fname)
        loaded = cls(vectors.shape[1])
        loaded.index_to_key = list(keys)
        try:
            for row in arrays.get("integer_keys", np.zeros(0)).tolist():
                loaded.index_to_key[row] = int(keys[row])
        except (ValueError, TypeError, IndexError):
            raise FormatError("integer keys that are none", fname) from None
        loaded.key_to_index = {key: row for row, key in enumerate(loaded.index_to_key)}
        loaded.next_index = len(keys)
        loaded.vectors = vectors
        for name, values in arrays.items():
            if name.startswith("attribute:"):
                if values.shape != (len(keys),):
                    raise FormatError(
                        f"{name} has shape {values.shape}, wanted ({len(keys)},)", fname
                    )
                loaded.expandos[name.removeprefix("attribute:")] = values
        return loaded

    def save_word2vec_format(
        self,
        fname: Path,
        fvocab: Path | None = None,
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
            Add to the file that is there (which cannot be atomic).
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
        word2vec.write(
            fname,
            self.index_to_key,
            self.vectors,
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
        fname: Path,
        fvocab: Path | None = None,
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
            File of lines ``word count``. Without it ``count`` is made up, falling from the number
            of rows to 1.
        binary : bool
        encoding, unicode_errors : str
            How to decode words; the C tool cuts long ones within a character, which "replace" or
            "ignore" get over.
        limit : int, optional
            Read the first so many vectors only.
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
        loaded.index_to_key = words.keys
        loaded.key_to_index = words.index
        loaded.next_index = len(words.keys)
        counts: Any = np.arange(words.declared, words.declared - len(words.keys), -1)
        if fvocab is not None:
            table = word2vec.read_counts(fvocab, **decoding)
            counts = [table.get(key, 0) for key in words.keys]
            missing = sum(key not in table for key in words.keys)
            if missing:
                warnings.warn(f"{fvocab} lacks {missing} words; they count 0", stacklevel=2)
        loaded.expandos["count"] = np.asarray(counts, np.int64)
        return loaded


def _as_list(items: Any) -> list[Any]:
    """A list of keys, vectors and pairs from what `most_similar` accepts."""
    if items is None:
        return []
    if isinstance(items, _KEY) or (isinstance(items, np.ndarray) and items.ndim == 1):
        return [items]
    return list(items)


def _for_kernels(vectors: NDArray[Any]) -> NDArray[Any]:
    """The array in a dtype that kernels take: itself, or for float16 a float32 copy."""
    return vectors if vectors.dtype in (np.float32, np.float64) else vectors.astype(np.float32)


def _scaled(values: NDArray[Any], norms: Any) -> NDArray[Any]:
    """Values divided by norms, those with norm 0 unchanged; always a new array.

    Rows (V, D) by norms (V,); or both of one shape; or by one number.
    """
    divisors = np.where(norms == 0, 1, norms).astype(values.dtype)
    if values.ndim > divisors.ndim > 0:
        divisors = divisors[:, None]
    with np.errstate(invalid="ignore"):  # infinite values have infinite norms: NaN is the answer
        scaled: NDArray[Any] = values / divisors
    return scaled


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(np.dot(a, b) / norms, -1.0, 1.0)) if norms != 0 else 0.0


def _best(scores: NDArray[Any], candidates: NDArray[Any], count: int) -> list[int]:
    """The ``count`` candidates (in ascending order) of highest score, equal ones by index."""
    if count < len(candidates):
        values = scores[candidates]
        threshold = np.partition(values, len(values) - count)[len(values) - count]
        above, equal = candidates[values > threshold], candidates[values == threshold]
        candidates = np.sort(np.concatenate([above, equal[: count - len(above)]]))
    order = np.argsort(-scores[candidates], kind="stable")
    return [int(row) for row in candidates[order]]
