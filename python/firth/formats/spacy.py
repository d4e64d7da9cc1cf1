"""spaCy's folders of vectors, without spaCy.

A folder of vectors (or the ``vocab`` folder of a pipeline) holds::

    vectors      a .npy array (rows, D)
    key2row      MessagePack: a map of the 64-bit hash of each word to its row; several words may
                 share one row
    strings.json a list of strings, from which the words of the hashes are found
    vectors.cfg  JSON: mode "default", or "floret" with minn, maxn, hash_count, hash_seed, bow, eow

A word's hash is MurmurHash64A of its UTF-8 with seed 1. Some 500 words that name spaCy's symbols
("NOUN", "DATE") have small numbers of spaCy's instead: they are understood only where spaCy is
installed.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import FormatError, TruncatedError
from firth.formats import npy
from firth.formats.files import PathLike, atomic

FLORET = ("minn", "maxn", "hash_count", "hash_seed", "bow", "eow")
_SEED = 1


@dataclass(frozen=True)
class Content:
    """What `read` returns."""

    vectors: NDArray[Any]  # (rows, D)
    rows: dict[str, int]  # word to row; empty in floret mode
    unknown: int  # keys whose word is not among the strings
    floret: dict[str, Any] | None  # the settings of FLORET, in floret mode


def is_folder(path: PathLike) -> bool:
    """Whether this is a folder with spaCy's vectors, or of a pipeline that has some."""
    return os.path.isfile(os.path.join(_folder(path), "key2row"))


def _folder(path: PathLike) -> str:
    inner = os.path.join(path, "vocab")
    return inner if os.path.isdir(inner) else os.fspath(path)


def hashes(words: Sequence[str]) -> NDArray[np.uint64]:
    """SpaCy's hash of each word, (len(words),)."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    found: NDArray[np.uint64] = _native.files.murmur_64a(encoded, _SEED)
    return found


def _symbols() -> Mapping[str, int]:
    """The words that have a number instead of a hash."""
    try:
        from spacy.symbols import IDS
    except ImportError:
        return {}
    symbols: Mapping[str, int] = IDS
    return symbols


def read(path: PathLike) -> Content:
    """Read the folder of vectors, of a vocab, or of a pipeline.

    FormatError for damaged files and for another folder, FileNotFoundError for missing ones.
    """
    folder = _folder(path)
    if not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    if not os.path.exists(os.path.join(folder, "vectors")):
        raise FormatError("is not a folder of spaCy's vectors, of a vocab or a pipeline", path)
    vectors = npy.read(os.path.join(folder, "vectors"))
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise FormatError(f"holds {vectors.dtype} of shape {vectors.shape}", folder)
    settings = _json(os.path.join(folder, "vectors.cfg"), dict, {})
    if settings.get("mode", "default") == "floret":
        return Content(vectors, {}, 0, checked_floret(settings, len(vectors), folder))
    with open(os.path.join(folder, "key2row"), "rb") as file:
        keys = _unpack_map(file.read(), os.path.join(folder, "key2row"))
    strings = _json(os.path.join(folder, "strings.json"), list, None)
    if not all(isinstance(word, str) for word in strings):
        raise FormatError("is not a list of strings", os.path.join(folder, "strings.json"))
    words = dict(zip(hashes(strings).tolist(), strings, strict=True))
    words.update((number, word) for word, number in _symbols().items())
    rows: dict[str, int] = {}
    for key, row in sorted(keys.items(), key=lambda item: item[1]):
        if not 0 <= row < len(vectors):
            raise FormatError(f"names row {row} of {len(vectors)}", os.path.join(folder, "key2row"))
        if key in words:
            rows.setdefault(words[key], row)
    return Content(vectors, rows, len(keys) - len(rows), None)


def checked_floret(settings: Mapping[str, Any], rows: int, path: PathLike) -> dict[str, Any]:
    """The settings of floret, or FormatError."""
    found: dict[str, Any] = {name: settings.get(name) for name in FLORET}
    sizes = [found[name] for name in FLORET[:4]]
    texts = [found["bow"], found["eow"]]
    if (
        not all(type(size) is int and 0 <= size < 2**32 for size in sizes)
        or not all(isinstance(text, str) for text in texts)
        or not sizes[0] <= sizes[1] <= 1000
        or not 1 <= sizes[2] <= 4
        or rows < 1
    ):
        raise FormatError(f"has invalid settings of floret: {found}, {rows} rows", path)
    return found


def write(
    path: PathLike,
    words: Sequence[str],
    vectors: NDArray[Any],
    floret: dict[str, Any] | None = None,
) -> None:
    """Write a folder that spaCy's ``Vocab.from_disk`` and ``Vectors.from_disk`` read.

    Each file is written atomically; the folder as a whole is not.
    """
    os.makedirs(path, exist_ok=True)
    keys = hashes(words)
    symbols = _symbols()
    settings = {"mode": "default"} if floret is None else {"mode": "floret", **floret, "attr": 65}
    packed = [struct.pack(">BI", 0xDF, len(words))]
    for row, (word, key) in enumerate(zip(words, keys.tolist(), strict=True)):
        packed.append(struct.pack(">BQBI", 0xCF, symbols.get(word, key), 0xCE, row))
    texts = {
        "key2row": b"".join(packed),
        "strings.json": json.dumps(sorted(words), ensure_ascii=False).encode(),
        "vectors.cfg": json.dumps(settings).encode(),
    }
    with atomic(os.path.join(path, "vectors")) as file:
        np.save(file, np.ascontiguousarray(vectors), allow_pickle=False)
    for name, text in texts.items():
        with atomic(os.path.join(path, name)) as file:
            file.write(text)


def _json(path: str, kind: type[Any], default: Any) -> Any:
    if default is not None and not os.path.exists(path):
        return default
    with open(path, "rb") as file:
        text = file.read()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"is not JSON: {error}", path) from None
    if not isinstance(value, kind):
        raise FormatError(f"is not a {kind.__name__}", path)
    return value


# First byte of a MessagePack integer to what follows it.
_INTEGERS = {
    0xCC: struct.Struct(">B"), 0xCD: struct.Struct(">H"), 0xCE: struct.Struct(">I"),
    0xCF: struct.Struct(">Q"), 0xD0: struct.Struct(">b"), 0xD1: struct.Struct(">h"),
    0xD2: struct.Struct(">i"), 0xD3: struct.Struct(">q"),
}  # fmt: skip


def _unpack_map(data: bytes, path: str) -> dict[int, int]:
    """A MessagePack map of integers to integers."""
    first = data[0] if data else 0xC0
    try:
        if first & 0xF0 == 0x80:
            count, at = first & 0x0F, 1
        elif first in (0xDE, 0xDF):
            (count,) = struct.unpack_from(">H" if first == 0xDE else ">I", data, 1)
            at = 3 if first == 0xDE else 5
        else:
            raise FormatError("is not a map in MessagePack", path, 0)
        numbers = []
        for _ in range(2 * count):
            first = data[at]
            if first < 0x80:
                numbers.append(first)
                at += 1
                continue
            packed = _INTEGERS.get(first)
            if packed is None:
                raise FormatError("holds a value that is not a whole number", path, at)
            numbers.append(packed.unpack_from(data, at + 1)[0])
            at += 1 + packed.size
    except (struct.error, IndexError):
        raise TruncatedError("ends within its map", path, len(data)) from None
    if at != len(data):
        raise FormatError("holds bytes behind its map", path, at)
    return dict(zip(numbers[::2], numbers[1::2], strict=True))
