"""gensim's own saved models: a pickle, and ``.npy`` files beside it for large arrays.

Nothing in the pickle is executed. Its classes become `Saved` objects that hold attributes, its
arrays are built from their bytes here, and what it may name at all is listed in `_ALLOWED`; any
other name is a FormatError. A scan of the opcodes comes first: Python's unpickler would allocate
what a damaged length or memo index asks for.

Layout (gensim/utils.py, SaveLoad): an array of more than 10 MB, say ``vectors`` of the attribute
``wv`` of ``model``, stands in ``model.wv.vectors.npy``; where the name ends in .gz or .bz2 it is
``model.gz.wv.vectors.npz`` with the array ``val``.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import zipfile
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import FormatError, TruncatedError
from firth.formats import npy
from firth.formats.files import Path, reading

_LARGEST = 1 << 33  # bytes of a decompressed pickle


class Saved:
    """An object of gensim: the name of its class and its attributes.

    Attributes that hold further objects of gensim (``wv``) are `Saved` too.
    """

    kind = ""

    @property
    def attributes(self) -> dict[str, Any]:
        """Names to values: numbers, strings, lists, dicts, ndarrays, `Saved`."""
        return self.__dict__


def _saved(kind: str) -> type[Saved]:
    return type(kind, (Saved,), {"kind": kind})


class _Inert:
    """What a model needs not: random states, functions. Takes any call and any state."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class _Dtype:
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


class _Array:
    """A numpy.ndarray; `_resolved` puts the array itself in its place."""

    array: NDArray[Any]

    def __init__(self, *_: object) -> None:
        self.items: list[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        count = math.prod(shape)
        if not isinstance(dtype, _Dtype) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array without a plain dtype and shape")
        if dtype.dtype == object:
            if len(data) != count or len(shape) != 1:
                raise pickle.UnpicklingError("an array of objects of the wrong length")
            self.items, self.array = list(data), np.empty(count, object)
            return
        if isinstance(data, str):  # of Python 2
            data = data.encode("latin-1")
        if len(data) != count * dtype.dtype.itemsize:
            raise pickle.UnpicklingError("an array whose bytes do not fit its shape")
        array = np.frombuffer(bytearray(data), dtype.dtype)
        self.array = array.reshape(shape, order="F" if fortran else "C")


def _array(*_: object) -> _Array:
    return _Array()


def _scalar(dtype: Any, data: Any) -> Any:
    if isinstance(data, str):
        data = data.encode("latin-1")
    return np.frombuffer(data, dtype.dtype, 1)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding!r}")
    return text.encode("latin-1")


def _dict(*_: object) -> dict[Any, Any]:
    return {}


_MODELS = "gensim.models."
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Inert,
    ("_codecs", "encode"): _encode,
    ("collections", "defaultdict"): _dict,
    ("gensim.utils", "call_on_class_only"): _Inert,
    ("numpy.random", "__RandomState_ctor"): _Inert,
    ("numpy.random._pickle", "__randomstate_ctor"): _Inert,
    ("numpy.random._pickle", "__generator_ctor"): _Inert,
    ("numpy.random._pickle", "__bit_generator_ctor"): _Inert,
    ("numpy.random._mt19937", "MT19937"): _Inert,
    ("numpy.random._pcg64", "PCG64"): _Inert,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
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


def is_pickle(path: Path) -> bool:
    """Whether a file (plain or compressed) starts as a pickle of protocol 2 or later does."""
    with reading(path) as source:
        head = bytes(source.peek(2)[:2])
    return head[:1] == b"\x80" and 2 <= head[-1] <= 5


def read(path: Path, *, mmap: Literal["r", "c"] | None = None) -> Saved:
    """Read what gensim's ``save`` wrote; older models than those of gensim 4 as far as they go.

    Parameters
    ----------
    path : path-like
        Of the pickle; the ``.npy`` files must stand beside it.
    mmap : {"r", "c"}, optional
        Map the arrays of ``.npy`` files instead of reading them.

    Raises
    ------
    FormatError
        No pickle, or one that names anything but gensim's vectors and models and what they
        consist of; TruncatedError where it has no end.
    FileNotFoundError
        A ``.npy`` file is missing, with the name it must have.
    """
    with reading(path, progress=True) as source:
        size = source.size
        view = source.peek(_LARGEST if size is None else size + 1)
        if size is None and len(view) >= _LARGEST:
            raise FormatError(f"is a pickle of more than {_LARGEST} bytes", path)
        bad = _native.scan_pickle(view)
        if bad >= len(view):
            raise TruncatedError("is a pickle without an end", path, len(view))
        if bad >= 0:
            raise FormatError("is a damaged pickle", path, bad)
        try:
            loaded = _Unpickler(io.BytesIO(view), encoding="latin1").load()
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


_PLAIN = (str, int, float)


def _resolved(value: Any, seen: dict[int, Any]) -> Any:
    """The value with arrays in place of `_Array`, and None in place of `_Inert`."""
    if isinstance(value, _Inert) or value is _Inert:
        return None
    if isinstance(value, _Array):
        if value.items is not None:
            items, value.items = value.items, None
            for row, item in enumerate(items):
                value.array[row] = _resolved(item, seen)
        return value.array
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
    """Read the arrays that stand in files of their own, of this object and of those in it."""
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
                    attributes[name] = archive["val"]
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
        raise FormatError(f"has a {name} that is no list of names", path)
    return names
