"""gensim's own saved models: a pickle, and ``.npy`` files beside it for large arrays.

Nothing in the pickle is executed. Its classes become `Saved` objects that hold attributes, its
arrays are built from their bytes here, and `_ALLOWED` lists all the names it may use; any other
name is a FormatError. A scan of the opcodes comes first (csrc/engines/files/pickle_scan.h):
it refuses what would cost Python's unpickler time or memory without bound.

Layout (gensim/utils.py, SaveLoad): an array of more than 10 MB, say ``vectors`` of the attribute
``wv`` of ``model``, is in ``model.wv.vectors.npy``; where the name ends in .gz or .bz2 it is
``model.gz.wv.vectors.npz`` with the array ``val``.
"""

from __future__ import annotations

import math
import mmap as memory_map
import os
import pickle
import zipfile
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import FormatError, TruncatedError
from firth.formats import npy
from firth.formats.files import PathLike, plain, reading

_SMALL, _RATIO = 1 << 28, 50  # a compressed pickle may unpack to 256 MB, or to 50 times its size


class _Fixed(type):
    """Metaclass of the classes that a pickle may name: it can call them, but not change them.

    The unpickler sets attributes on whatever object a pickle asks it to, a class too; they would
    outlive the pickle. An attempt to is an error.
    """

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"a change of the class {cls.__name__}")


class Saved(metaclass=_Fixed):
    """An object of gensim: the name of its class and its attributes.

    Attributes that hold further objects of gensim (``wv``) are `Saved` too.
    """

    kind = ""

    @property
    def attributes(self) -> dict[str, Any]:
        """Names to values: numbers, strings, lists, dicts, ndarrays, `Saved`."""
        return self.__dict__


def _saved(kind: str) -> _Fixed:
    return _Fixed(kind, (Saved,), {"kind": kind})


class _Inert(metaclass=_Fixed):
    """In place of objects not needed here: random states, functions. Takes any call and state."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class _Dtype(metaclass=_Fixed):
    """A numpy.dtype, of those that a model may hold."""

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or code.lstrip("<>|=") not in _CODES:
            raise pickle.UnpicklingError(f"an array of dtype {str(code)[:20]!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = np.dtype(state[1] + self.dtype.str[1:])


_CODES = {"b1", "O", "O8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))}
_CODES |= {"f2", "f4", "f8"}


class _Array(metaclass=_Fixed):
    """A numpy.ndarray; `resolved` is the array itself."""

    def __init__(self, *_: object) -> None:
        self._data: Any = None  # bytes, or objects
        self._array: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        count = math.prod(shape)
        if not isinstance(dtype, _Dtype) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array without a plain dtype and shape")
        objects = dtype.dtype.kind == "O"
        if objects and (len(data) != count or len(shape) != 1):
            raise pickle.UnpicklingError("an array of objects of the wrong length")
        if isinstance(data, str) and not objects:  # of Python 2
            data = data.encode("latin-1")
        if not objects and len(data) != count * dtype.dtype.itemsize:
            raise pickle.UnpicklingError("an array whose bytes do not fit its shape")
        order: Literal["F", "C"] = "F" if fortran else "C"
        self._data, self._shape = data, tuple(shape)
        self._dtype, self._order = dtype.dtype, order

    def resolved(self, seen: dict[int, Any]) -> NDArray[Any]:
        """The array, writable, in native byte order; built once, then the bytes are freed."""
        if self._array is None:
            if self._data is None:
                raise pickle.UnpicklingError("an array without data")
            data, self._data = self._data, None
            if self._dtype.kind == "O":
                self._array = np.empty(len(data), object)
                for row, item in enumerate(data):
                    self._array[row] = _resolved(item, seen)
            else:
                array = np.frombuffer(data, self._dtype)
                array = array.astype(self._dtype.newbyteorder("="))  # always a copy
                self._array = array.reshape(self._shape, order=self._order)
        return self._array


# The names that are functions elsewhere are classes here, too: `_Fixed`.


class _Scalar(metaclass=_Fixed):
    def __new__(cls, dtype: Any, data: Any) -> Any:
        if isinstance(data, str):
            data = data.encode("latin-1")
        return np.frombuffer(data, dtype.dtype, 1)[0].item()


class _Encode(metaclass=_Fixed):
    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"text in {encoding!r}")
        return text.encode("latin-1")


class _Dict(metaclass=_Fixed):
    def __new__(cls, *_: object) -> Any:
        return {}


_MODELS = "gensim.models."
# None of them returns a tuple when it is called, on which pickle_scan.h relies.
_ALLOWED: dict[tuple[str, str], _Fixed] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Inert,
    ("_codecs", "encode"): _Encode,
    ("collections", "defaultdict"): _Dict,
    ("gensim.utils", "call_on_class_only"): _Inert,
    ("numpy.random", "__RandomState_ctor"): _Inert,
    ("numpy.random._pickle", "__randomstate_ctor"): _Inert,
    ("numpy.random._pickle", "__generator_ctor"): _Inert,
    ("numpy.random._pickle", "__bit_generator_ctor"): _Inert,
    ("numpy.random._mt19937", "MT19937"): _Inert,
    ("numpy.random._pcg64", "PCG64"): _Inert,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
    **{
        (module, name): _Inert
        for module in ("builtins", "__builtin__")
        for name in ("hash", "int", "long")
    },
    **{
        (_MODELS + module, name): _saved(kind)
        for module, name, kind in (
            ("keyedvectors", "KeyedVectors", "KeyedVectors"),
            ("keyedvectors", "Word2VecKeyedVectors", "KeyedVectors"),
            ("keyedvectors", "EuclideanKeyedVectors", "KeyedVectors"),
            ("keyedvectors", "FastTextKeyedVectors", "FastTextKeyedVectors"),
            ("keyedvectors", "Vocab", "Vocab"),
            ("keyedvectors", "CompatVocab", "Vocab"),
            ("word2vec", "Word2Vec", "Word2Vec"),
            ("word2vec", "Vocab", "Vocab"),
            ("word2vec", "Word2VecVocab", "Word2VecVocab"),
            ("word2vec", "Word2VecTrainables", "Word2VecTrainables"),
            ("fasttext", "FastText", "FastText"),
            ("fasttext", "FastTextKeyedVectors", "FastTextKeyedVectors"),
            ("fasttext", "FastTextVocab", "FastTextVocab"),
            ("fasttext", "FastTextTrainables", "FastTextTrainables"),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except (KeyError, TypeError):
            raise pickle.UnpicklingError(
                f"{module}.{name}, which firth does not load: only gensim's KeyedVectors, "
                "Word2Vec and FastText and what they consist of"
            ) from None


def is_pickle(path: PathLike) -> bool:
    """Whether a file (plain or compressed) starts as a pickle of protocol 2 or later does."""
    with reading(path) as source:
        head = bytes(source.peek(2)[:2])
    return head[:1] == b"\x80" and 2 <= head[-1] <= 5


def read(path: PathLike, *, mmap: Literal["r", "c"] | None = None) -> Saved:
    """Read what gensim's ``save`` wrote; older models than those of gensim 4 as far as they go.

    Parameters
    ----------
    path : path-like
        Of the pickle; the ``.npy`` files must be in the same folder.
    mmap : {"r", "c"}, optional
        Map the arrays of ``.npy`` files instead of reading them.

    Raises
    ------
    FormatError
        Not a pickle, or one that names anything but gensim's vectors and models and their parts;
        TruncatedError if its end is missing.
    FileNotFoundError
        A ``.npy`` file is missing, with the name it must have.
    """
    most = max(_SMALL, _RATIO * os.path.getsize(path))
    with plain(path, most=most) as file:
        _scan(file, path)
        file.seek(0)
        try:
            loaded = _Unpickler(file, encoding="latin1").load()
            loaded = _resolved(loaded, {})
        except pickle.UnpicklingError as error:
            raise FormatError(f"is a pickle with {error}", path) from None
        except EOFError as error:
            raise TruncatedError(f"is a pickle that is cut short: {error}", path) from None
        except Exception as error:  # a damaged pickle fails in any way
            raise FormatError(f"is a damaged pickle: {error!r}", path) from None
    if not isinstance(loaded, Saved):
        raise FormatError(f"holds a {type(loaded).__name__}, not a model of gensim", path)
    _load_arrays(loaded, os.fspath(path), mmap)
    return loaded


def _scan(file: Any, path: PathLike) -> None:
    size = os.fstat(file.fileno()).st_size
    bad = 0
    if size:  # else it cannot be mapped
        with memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ) as view:
            bad = _native.files.scan_pickle(view)
    if bad >= size:
        raise TruncatedError("is a pickle without an end", path, size)
    if bad >= 0:
        raise FormatError("is a damaged pickle", path, bad)


_PLAIN = (str, int, float)


def _resolved(value: Any, seen: dict[int, Any]) -> Any:
    """The value with arrays in place of `_Array`, and None in place of `_Inert`."""
    if isinstance(value, _Inert) or value is _Inert:
        return None
    if isinstance(value, _Array):
        return value.resolved(seen)
    if id(value) in seen or type(value) in _PLAIN:
        return value
    seen[id(value)] = value
    if isinstance(value, Saved):
        _resolved(value.__dict__, seen)
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(item) not in _PLAIN:
                value[key] = _resolved(item, seen)
    elif isinstance(value, list):
        for row, item in enumerate(value):
            if type(item) not in _PLAIN:
                value[row] = _resolved(item, seen)
    elif isinstance(value, tuple):
        return tuple(_resolved(item, seen) for item in value)
    return value


def _load_arrays(saved: Saved, prefix: str, mmap: Literal["r", "c"] | None) -> None:
    """Read the arrays that have files of their own, of this object and of those in it."""
    compressed = prefix.endswith((".gz", ".bz2"))
    _load_beside(saved, prefix, ".npz" if compressed else ".npy", mmap)


def _load_beside(saved: Saved, prefix: str, suffix: str, mmap: Literal["r", "c"] | None) -> None:
    attributes = saved.attributes
    for name in _names(attributes, "__recursive_saveloads", prefix):
        inner = attributes.get(name)
        if isinstance(inner, Saved):
            _load_beside(inner, f"{prefix}.{name}", suffix, mmap)
    for name in _names(attributes, "__numpys", prefix):
        file = f"{prefix}.{name}{suffix}"
        if not os.path.exists(file):
            raise FileNotFoundError(
                2,
                f"No such file. gensim saved the array {name!r} in it, beside the model: "
                "both must be in one folder, under the names they were saved with",
                file,
            )
        try:
            if suffix == ".npz":
                if mmap:
                    raise ValueError("arrays of a compressed model cannot be mapped")
                with open(file, "rb") as raw, np.load(raw, allow_pickle=False) as archive:
                    attributes[name] = npy.native(archive["val"])
            else:
                attributes[name] = npy.read(file, mmap=mmap)
        except FormatError:
            raise
        except (ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
            raise FormatError(f"is not the array it should be: {error}", file) from None
    for name in _names(attributes, "__ignoreds", prefix):
        attributes.setdefault(name, None)


def _names(attributes: dict[str, Any], name: str, path: str) -> list[str]:
    names = attributes.pop(name, [])
    if not isinstance(names, list) or not all(
        isinstance(one, str) and one.isidentifier() for one in names
    ):
        raise FormatError(f"has a {name} that is not a list of names", path)
    return names
