"""Vectors by key: storage, looking up, adding, attributes and norms.

Queries are in `similarity`, files in `keyedvectors`.

V = number of keys, D = dimensions of a vector.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from firth import geometry
from firth.arguments import check_whole
from firth.kernels import row_norms
from firth.kernels._arrays import readable, to_int8
from firth.spelling import did_you_mean

KEY = (str, int, np.integer)


class MissingKeyError(KeyError):
    """A key that is missing; the message names words that are spelt alike."""

    def __init__(self, key: Any, vectors: Vectors) -> None:
        super().__init__(f"Key {key!r} not present in vocabulary")
        self._key, self._vectors = key, vectors

    def __str__(self) -> str:  # here, since most such errors are caught and never shown
        known = self._vectors.key_to_index
        return str(self.args[0]) + did_you_mean(self._key, self._vectors.index_to_key, known)

    def __reduce__(self) -> tuple[Any, ...]:
        return KeyError, (str(self),)


class Vectors:
    """Rows by key; the storage of `KeyedVectors`, which documents parameters and attributes."""

    def __init__(self, vector_size: int, count: int = 0, dtype: DTypeLike = np.float32) -> None:
        kind = type(self).__name__
        check_whole(f"{kind}: vector_size", vector_size, 1)
        check_whole(f"{kind}: count", count, 0, 2**48)
        self.vector_size, count = int(vector_size), int(count)
        self.index_to_key: list[Any] = [None] * count
        self._rows: dict[Any, int] | None = {}
        self.next_index = 0  # the first allocated row that has no key yet
        self.vectors = np.zeros((count, self.vector_size), dtype)
        self.expandos: dict[str, NDArray[Any]] = {}
        # The norms that belong to it, questions asked since, and codes of the rows; see `coded`.
        self._asked: tuple[NDArray[Any], int, Any] | None = None
        self.vectors_lockf = np.ones(1, np.float32)  # scales what training adds to (all or V) rows

    @property
    def vectors(self) -> NDArray[Any]:
        """The rows, (V, D), of float32, float64, float16 or int8 (times ``scales``)."""
        return self._vectors

    @vectors.setter
    def vectors(self, vectors: NDArray[Any]) -> None:
        if not vectors.dtype.isnative:  # files of other machines; kernels take native ones only
            vectors = vectors.astype(vectors.dtype.newbyteorder("="))
        self._vectors = vectors
        self.norms: NDArray[Any] | None = None
        self.scales: NDArray[np.float32] | None = None
        if vectors.dtype == np.int8:
            self.scales = np.ones(len(vectors), np.float32)

    @property
    def key_to_index(self) -> dict[Any, int]:
        """The row of each key, a dict."""
        if self._rows is None:
            self._rows = {key: row for row, key in enumerate(self.index_to_key)}
        return self._rows

    @key_to_index.setter
    def key_to_index(self, rows: dict[Any, int]) -> None:
        self._rows = rows

    def _adopt(self, keys: list[Any]) -> None:
        """Replace all keys by these, with rows in their order."""
        self.index_to_key, self._rows, self.next_index = keys, None, len(keys)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_asked": None}  # codes are made again where they pay

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
        raise MissingKeyError(key, self)

    def __iter__(self) -> Iterator[Any]:
        """The keys, in the order of their rows."""
        return (key for key in self.index_to_key if key is not None)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """The vector of a key (D,); those of several keys (len(key), D), or of a slice of rows."""
        if isinstance(key, KEY):
            return self.get_vector(key)
        if isinstance(key, slice):
            return self._values(key)
        keys = list(key)
        rows = [self.get_index(one, -1) for one in keys]
        if not rows or min(rows) >= 0:
            return self._values(rows)
        return np.stack([self.get_vector(one) for one in keys])

    def _values(self, rows: Any = slice(None)) -> NDArray[Any]:
        """The values of the stored numbers of some rows."""
        values: NDArray[Any] = self.vectors[rows]
        if self.scales is None:
            return values
        return values * self.scales[rows, ..., None]

    def get_vector(self, key: Any, norm: bool = False) -> NDArray[Any]:
        """The vector of a key (D,), read-only: a view, or with ``norm`` scaled to length 1.

        Of int8 rows it is a float32 copy, as is float16 with ``norm``.
        """
        index = self.get_index(key)
        vector = self._values(index)
        if norm:
            vector = geometry.normed(vector, self._filled_norms()[index])
        vector.setflags(write=False)
        return vector

    def get_normed_vectors(self) -> NDArray[Any]:
        """All vectors scaled to length 1, (V, D), a copy; a row of zeros stays one."""
        return geometry.normed(self._values(), self._filled_norms())

    def fill_norms(self, force: bool = False) -> None:
        """Compute ``norms`` if they are missing, or again with ``force``."""
        if force:
            self.norms = None
        self._filled_norms()

    def _filled_norms(self) -> NDArray[Any]:
        if self.norms is None:
            if self.vectors.dtype == np.float64:
                self.norms = geometry.lengths(self.vectors)
            else:
                self.norms = row_norms(self.vectors, scales=self.scales)
        return self.norms

    def unit_normalize_all(self) -> None:
        """Scale all vectors to length 1, in place (float16: rounded); rows of zeros stay."""
        norms = self._filled_norms()
        self.norms = None  # should anything stop what follows halfway
        for rows in self._blocks():
            if self.scales is None:
                self.vectors[rows] = geometry.normed(self.vectors[rows], norms[rows])
            else:
                codes = geometry.lengths(self.vectors[rows])
                self.scales[rows] = np.sign(self.scales[rows]) / np.where(codes == 0, 1, codes)
        self.fill_norms(force=True)

    def _blocks(self) -> Iterator[slice]:
        """All rows in blocks whose values are small enough to be copied."""
        step = max(1, (1 << 22) // (self.vector_size + 1))
        for start in range(0, len(self.vectors), step):
            yield slice(start, start + step)

    # Adding

    def _store(self, rows: Any, values: Any) -> None:
        """Write values (N, D), or (D,) to one row, in the dtype of the storage."""
        self.norms = None
        if self.scales is None:
            self.vectors[rows] = values
        else:
            self.vectors[rows], self.scales[rows] = to_int8(np.asarray(values, np.float32))

    def add_vector(self, key: Any, vector: Any) -> int:
        """Add one key to the next allocated row, or behind the last one; returns its row.

        An existing key keeps its vector. Growing copies everything, hence the warning.
        """
        if key in self.key_to_index:
            return self.key_to_index[key]
        if not self._free_rows(1):
            warnings.warn(
                "adding vectors one by one copies all of them each time: use add_vectors, "
                "or KeyedVectors(vector_size, count)",
                stacklevel=2,
            )
        self.add_vectors([key], [vector])
        return self.key_to_index[key]

    def add_vectors(
        self,
        keys: Any,
        weights: Any,
        extras: Mapping[str, NDArray[Any]] | None = None,
        replace: bool = False,
    ) -> None:
        """Add keys: to allocated rows that have no key yet, then behind the last row.

        After an exception, Ctrl-C included, everything is unchanged.

        Parameters
        ----------
        keys : N keys (str or int), or one
        weights : array_like (N, D), converted to the dtype of ``vectors``
        extras : mapping of attribute to ndarray (N,), optional
            Attributes as of `set_vecattr`.
        replace : bool
            Existing keys get the new vector; else they keep theirs. Of equal keys in one call the
            first counts (with ``replace`` the last).

        Raises
        ------
        ValueError
            Shapes that do not fit.
        TypeError
            An invalid key, or an attribute of another type.
        """
        keys = [keys] if isinstance(keys, KEY) else list(keys)
        dict.fromkeys(keys)  # TypeError for what cannot be a key, before anything changes
        dtype = np.float32 if self.scales is not None else self.vectors.dtype
        new = np.asarray(readable(weights), dtype)
        if new.size == len(keys) * self.vector_size:
            new = new.reshape(len(keys), self.vector_size)
        extras = {name: np.asarray(extra) for name, extra in (extras or {}).items()}
        shapes = [new.shape[:1], *(extra.shape for extra in extras.values())]
        if new.shape[1:] != (self.vector_size,) or any(shape != (len(keys),) for shape in shapes):
            raise ValueError(
                f"add_vectors: weights must have shape ({len(keys)}, {self.vector_size}) and "
                f"extras ({len(keys)},), got {new.shape} and {shapes[1:]}"
            )
        unknown = dict.fromkeys(key for key in keys if key not in self.key_to_index)
        free = self._free_rows(len(unknown))
        behind = range(len(self), len(self) + len(unknown) - len(free))
        added = dict(zip(unknown, [*free, *behind], strict=True))
        target: dict[int, int] = {}  # row -> the position in `keys` that fills it
        for position, key in enumerate(keys):
            row = added.get(key, -1)
            if row < 0 and not replace:
                continue
            row = self.key_to_index[key] if row < 0 else row
            if replace or row not in target:
                target[row] = position
        rows, positions = list(target), list(target.values())
        values, scales = new[positions], None
        if self.scales is not None:
            values, scales = to_int8(values)
        size = len(self) + len(behind)
        attributes = self._attributes({name: extra.dtype for name, extra in extras.items()}, size)
        for name, extra in extras.items():
            attributes[name] = attributes[name].copy()
            attributes[name][rows] = extra[positions]
        following = size if behind else self.next_index + len(free)
        if behind or size > len(self.vectors) or not self.vectors.flags.writeable:
            self._grow(size, rows, values, scales, added, attributes, following)
        elif rows:
            self._fill(rows, values, scales, added, attributes, following)

    def _free_rows(self, count: int) -> list[int]:
        """The first ``count`` allocated rows without a key, or all there are."""
        rows = range(self.next_index, min(self.next_index + count, len(self)))
        return list(itertools.takewhile(lambda row: self.index_to_key[row] is None, rows))

    def _grow(
        self,
        size: int,
        rows: list[int],
        values: NDArray[Any],
        scales: NDArray[np.float32] | None,
        added: dict[Any, int],
        attributes: dict[str, NDArray[Any]],
        following: int,
    ) -> None:
        """`add_vectors` by new arrays, all published at once."""
        index_to_key = [*self.index_to_key, *[None] * (size - len(self))]
        for key, row in added.items():
            index_to_key[row] = key
        vectors = np.zeros((size, self.vector_size), self.vectors.dtype)
        vectors[: len(self.vectors)] = self.vectors[:size]
        vectors[rows] = values
        all_scales = None
        if self.scales is not None:
            all_scales = np.ones(size, np.float32)
            all_scales[: len(self.scales)] = self.scales[:size]
            all_scales[rows] = scales
        state = {
            "index_to_key": index_to_key, "_rows": self.key_to_index | added,
            "_vectors": vectors, "scales": all_scales, "norms": None,
            "expandos": attributes, "next_index": following,
        }  # fmt: skip
        self.__dict__.update(state)

    def _fill(
        self,
        rows: list[int],
        values: NDArray[Any],
        scales: NDArray[np.float32] | None,
        added: dict[Any, int],
        attributes: dict[str, NDArray[Any]],
        following: int,
    ) -> None:
        """`add_vectors` in allocated rows; undone if an exception interrupts it."""
        vectors, expandos, before = self.vectors[rows], self.expandos, self.next_index
        old_scales = None if self.scales is None else self.scales[rows]
        try:
            self.norms = None
            self.vectors[rows] = values
            if self.scales is not None:
                self.scales[rows] = scales
            for key, row in added.items():
                self.index_to_key[row] = key
            self.key_to_index.update(added)
            self.expandos, self.next_index = attributes, following
        except BaseException:
            self.vectors[rows] = vectors
            if self.scales is not None:
                self.scales[rows] = old_scales
            for key, row in added.items():
                self.index_to_key[row] = None
                self.key_to_index.pop(key, None)
            self.expandos, self.next_index = expandos, before
            raise

    def __setitem__(self, keys: Any, weights: Any) -> None:
        """Give one key, or a list of keys, new vectors; unknown keys are added."""
        self.add_vectors(keys if isinstance(keys, list) else [keys], weights, replace=True)

    def _resize(self, target: NDArray[Any]) -> None:
        """Take ``target`` for the vectors, which keep their values as far as there is room."""
        scales, count = self.scales, min(len(target), len(self.vectors))
        target[:count] = self.vectors[:count]
        self.vectors = target
        if self.scales is not None and scales is not None:
            self.scales[:count] = scales[:count]

    def resize_vectors(self, seed: int = 0) -> None:
        """Give each key of ``index_to_key`` a row: new ones are random, as before training.

        U(-1, 1) / D from ``numpy.random.default_rng(seed)``, as in gensim.
        """
        shape = (len(self), self.vector_size)
        if self.vectors.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"resize_vectors: vectors must be float32 or float64, got {self.vectors.dtype}"
            )
        if self.vectors.shape != shape:
            random = np.random.default_rng(seed).random(shape, dtype=self.vectors.dtype.type)
            self._resize((random * 2 - 1) / self.vector_size)
        self.allocate_vecattrs()
        self.norms = None

    # Attributes

    def set_vecattr(self, key: Any, attr: str, val: Any) -> None:
        """Set an attribute of a key, as ``count``.

        The first value of an attribute decides its dtype (of Python's: int64, float64, object);
        TypeError for a value of another kind. Keys without a value have 0.
        """
        index = self.get_index(key)
        kind = np.asarray(val).dtype
        self.allocate_vecattrs([attr], [kind if kind.kind in "biuf" else np.dtype(object)])
        if not self.expandos[attr].flags.writeable:  # mapped from a file
            self.expandos[attr] = self.expandos[attr].copy()
        self.expandos[attr][index] = val

    def get_vecattr(self, key: Any, attr: str) -> Any:
        """An attribute of a key; KeyError where the key or the attribute is missing."""
        index = self.get_index(key)
        if attr not in self.expandos:
            raise KeyError(f"Attribute {attr!r} not present; there are {sorted(self.expandos)}")
        return self.expandos[attr][index]

    def allocate_vecattrs(
        self, attrs: Iterable[str] | None = None, types: Iterable[Any] | None = None
    ) -> None:
        """Extend the attributes (by default all) to a value for each key, 0 for new ones.

        TypeError for a type that the attribute's own cannot hold; nothing is changed then.
        """
        if attrs is None or types is None:
            attrs, types = list(self.expandos), [held.dtype for held in self.expandos.values()]
        self.expandos.update(self._attributes(dict(zip(attrs, types, strict=True)), len(self)))

    def _attributes(self, types: Mapping[str, Any], size: int) -> dict[str, NDArray[Any]]:
        """All attributes and those of ``types``, each with a value for ``size`` keys."""
        found = dict(self.expandos)
        for attr, given in types.items():
            kind = np.dtype(object if given is str else given)
            held = found.setdefault(attr, np.zeros(0, kind))
            if not np.can_cast(kind, held.dtype, "same_kind"):
                raise TypeError(f"attribute {attr!r} holds {held.dtype}, got {kind}")
        for attr, held in found.items():
            if len(held) != size:
                found[attr] = np.zeros(size, held.dtype)
                found[attr][: len(held)] = held[:size]
        return found

    def sort_by_descending_frequency(self) -> None:
        """Order the keys by descending ``count``; of equal counts the later key comes first.

        That is gensim's order. KeyError where there is no attribute ``count``.
        """
        if not len(self):
            return
        self.allocate_vecattrs()
        counts = self.expandos["count"].astype(np.int64)
        order = np.lexsort((-np.arange(len(self)), -counts))
        state: dict[str, Any] = {
            "index_to_key": [self.index_to_key[row] for row in order], "_rows": None,
            "expandos": {attr: held[order] for attr, held in self.expandos.items()},
        }  # fmt: skip
        if len(self.vectors):
            scales = None if self.scales is None else self.scales[order]
            state |= {"_vectors": self.vectors[order], "norms": None, "scales": scales}
        self.__dict__.update(state)
