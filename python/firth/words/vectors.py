"""Vectors by key: storage, looking up, adding, attributes and norms.

What one asks them stands in `similarity`, their files in `keyedvectors`.

V = number of keys, D = dimensions of a vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from firth import geometry
from firth.kernels import row_norms

KEY = (str, int, np.integer)


class Vectors:
    """Rows by key; the storage of `KeyedVectors`, which tells about parameters and attributes."""

    def __init__(self, vector_size: int, count: int = 0, dtype: DTypeLike = np.float32) -> None:
        self.vector_size = vector_size
        self.index_to_key: list[Any] = [None] * count
        self._rows: dict[Any, int] | None = {}
        self.next_index = 0  # the first allocated row that has no key yet
        self.vectors = np.zeros((count, vector_size), dtype)
        self.expandos: dict[str, NDArray[Any]] = {}
        # The norms that belong to it, questions asked since, and codes of the rows; see `coded`.
        self._asked: tuple[NDArray[Any], int, Any] | None = None
        self.vectors_lockf = np.ones(1, np.float32)  # scales what training adds to (all or V) rows

    @property
    def vectors(self) -> NDArray[Any]:
        """The rows, (V, D)."""
        return self._vectors

    @vectors.setter
    def vectors(self, vectors: NDArray[Any]) -> None:
        self._vectors = vectors
        self.norms: NDArray[Any] | None = None
        self.scales: NDArray[np.float32] | None = None
        if vectors.dtype == np.int8:
            self.scales = np.ones(len(vectors), np.float32)

    @property
    def key_to_index(self) -> dict[Any, int]:
        """The row of each key."""
        if self._rows is None:
            self._rows = {key: row for row, key in enumerate(self.index_to_key)}
        return self._rows

    @key_to_index.setter
    def key_to_index(self, rows: dict[Any, int]) -> None:
        self._rows = rows

    def _adopt(self, keys: list[Any]) -> None:
        """Take these as all keys, with rows in their order."""
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
        raise KeyError(f"Key {key!r} not present in vocabulary")

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """The vector of a key (D,), or the vectors of several ones (len(key), D)."""
        if isinstance(key, KEY):
            return self.get_vector(key)
        keys = list(key)
        rows = [self.get_index(one, -1) for one in keys]
        if not rows or min(rows) >= 0:
            return self._values(rows)
        return np.stack([self.get_vector(one) for one in keys])

    def _values(self, rows: Any = slice(None)) -> NDArray[Any]:
        """What the stored numbers of some rows stand for."""
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
        """All vectors scaled to length 1, (V, D); a row of zeros stays one."""
        return geometry.normed(self._values(), self._filled_norms())

    def fill_norms(self, force: bool = False) -> None:
        """Compute ``norms`` if they are not there, or anew."""
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
        if self.scales is None:
            self.vectors[rows] = values
        else:
            self.vectors[rows], self.scales[rows] = to_int8(np.asarray(values, np.float32))
        self.norms = None

    def add_vector(self, key: Any, vector: Any) -> int:
        """Add one key to the next allocated row, or behind the last one; returns its row.

        A key that is there keeps its vector. Growing copies everything, hence the warning.
        """
        if key in self.key_to_index:
            return self.key_to_index[key]
        index = self.next_index
        if index < len(self) and self.index_to_key[index] is None:
            self._store(index, vector)
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
        keys = [keys] if isinstance(keys, KEY) else list(keys)
        dict.fromkeys(keys)  # TypeError for what cannot be a key, before anything changes
        new = np.asarray(weights, np.float32 if self.scales is not None else self.vectors.dtype)
        if new.size == len(keys) * self.vector_size:
            new = new.reshape(len(keys), self.vector_size)
        extras = {name: np.asarray(extra) for name, extra in (extras or {}).items()}
        shapes = [new.shape[:1], *(extra.shape for extra in extras.values())]
        if new.shape[1:] != (self.vector_size,) or any(shape != (len(keys),) for shape in shapes):
            raise ValueError(
                f"add_vectors: weights must have shape ({len(keys)}, {self.vector_size}) and "
                f"extras ({len(keys)},), got {new.shape} and {shapes[1:]}"
            )
        self.allocate_vecattrs(list(extras), [extra.dtype for extra in extras.values()])

        target: dict[Any, int] = {}  # row -> the position in `keys` that fills it
        before = len(self)
        for position, key in enumerate(keys):
            row = self.key_to_index.setdefault(key, len(self))
            if row == len(self):
                self.index_to_key.append(key)
            elif not replace:
                continue
            target[row] = position
        if len(self) > before:
            self._resize(np.zeros((len(self), self.vector_size), self.vectors.dtype))
        rows, positions = list(target), list(target.values())
        if rows:
            self._store(rows, new[positions])
        self.allocate_vecattrs()
        for name, extra in extras.items():
            self.expandos[name][rows] = extra[positions]

    def __setitem__(self, keys: Any, weights: Any) -> None:
        """Give one key, or a list of keys, new vectors; those that are not there are added."""
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
        """See that the attributes (by default all) have a value for each key, 0 where it is new.

        TypeError for a type that the attribute's own cannot hold; nothing is changed then.
        """
        if attrs is None or types is None:
            attrs, types = list(self.expandos), [held.dtype for held in self.expandos.values()]
        wanted = {
            attr: np.dtype(object if kind is str else kind)
            for attr, kind in zip(attrs, types, strict=True)
        }
        for attr, kind in wanted.items():
            old = self.expandos.get(attr, np.zeros(0, kind))
            if not np.can_cast(kind, old.dtype, "same_kind"):
                raise TypeError(f"attribute {attr!r} holds {old.dtype}, got {kind}")
        for attr, kind in wanted.items():
            old = self.expandos.get(attr, np.zeros(0, kind))
            if attr not in self.expandos or len(old) != len(self):
                self.expandos[attr] = np.zeros(len(self), old.dtype)
                self.expandos[attr][: len(old)] = old[: len(self)]

    def sort_by_descending_frequency(self) -> None:
        """Order the keys by descending ``count``; of equal counts the later key comes first.

        That is gensim's order. KeyError where there is no attribute ``count``.
        """
        if not len(self):
            return
        self.allocate_vecattrs()
        counts = self.expandos["count"].astype(np.int64)
        order = np.lexsort((-np.arange(len(self)), -counts))
        self.index_to_key = [self.index_to_key[row] for row in order]
        self._rows = None
        self.expandos = {attr: held[order] for attr, held in self.expandos.items()}
        if len(self.vectors):
            scales = self.scales
            self.vectors = self.vectors[order]
            if scales is not None:
                self.scales = scales[order]


def to_int8(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Values (..., D) as integers of -127 to 127 times a scale for each row (...,).

    The error of a number is at most half the scale, which is the largest magnitude / 127.
    ValueError for NaN and inf, which have no such form.
    """
    if not np.isfinite(values).all():
        raise ValueError("vectors stored as int8 must be finite")
    largest = np.abs(values).max(axis=-1, initial=0)
    scales = np.asarray(largest / np.float32(127), np.float32)
    divisors = np.where(scales == 0, np.float32(1), scales)[..., None]
    # A denormal scale is coarse, so that a quotient may leave the range.
    return np.rint(np.clip(values / divisors, -127, 127)).astype(np.int8), scales
