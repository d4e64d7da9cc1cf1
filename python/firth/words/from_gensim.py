"""gensim's saved objects (`firth.formats.gensim`) as arrays, metadata and strings of firth's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats.container import Content
from firth.formats.files import PathLike
from firth.formats.gensim import Saved
from firth.words.keys import keys_as_text


def vectors_of(saved: Saved, path: PathLike) -> Content:
    """The vectors of a saved object, as a file of firth's holds them: of a model those of its wv.

    FormatError for another object, and where keys and vectors do not fit together.
    """
    if saved.kind in ("Word2Vec", "FastText"):
        inner = saved.attributes.get("wv", saved)  # models before gensim 1 had no wv
        if "bucket" in saved.attributes and isinstance(inner, Saved):
            inner.attributes.setdefault("bucket", saved.attributes["bucket"])
        saved = inner
    if not isinstance(saved, Saved):
        raise FormatError("holds a model without vectors", path)
    found = saved.attributes
    keys = _first(found, "index_to_key", "index2word", "index2entity")
    kind, meta = "keyedvectors", dict[str, Any]()
    arrays: dict[str, Any] = {"vectors": _first(found, "vectors", "syn0")}
    if saved.kind == "FastTextKeyedVectors":
        kind = "fasttextkeyedvectors"
        meta = {name: found.get(name) for name in ("min_n", "max_n", "bucket")}
        arrays = {name: found.get(name) for name in ("vectors_vocab", "vectors_ngrams")}
        if not found.get("compatible_hash") or not all(type(size) is int for size in meta.values()):
            raise FormatError(
                "is a FastText model of before gensim 3.8, whose n-grams are hashed otherwise", path
            )
    _check(path, keys, arrays)
    if saved.kind == "FastTextKeyedVectors":
        if len(arrays["vectors_ngrams"]) != max(0, meta["bucket"]):
            raise FormatError(
                f"has {len(arrays['vectors_ngrams'])} n-grams of {meta['bucket']}", path
            )
        meta |= {"encoding": "utf-8", "raw_words": {}}
    for name, values in _attributes(found, keys).items():
        if isinstance(values, np.ndarray) and values.ndim == 1 and len(values) <= len(keys):
            # gensim extends them late: keys added after training have no value
            whole = arrays[f"attribute:{name}"] = np.zeros(len(keys), values.dtype)
            whole[: len(values)] = values
    text, arrays["integer_keys"] = keys_as_text(keys)
    return Content(kind, meta, arrays, {"keys": text})


_RENAMED = {"size": "vector_size", "iter": "epochs", "syn0_lockf": "vectors_lockf"}


def trained(
    saved: Saved, path: PathLike, kind: str
) -> tuple[Content, dict[str, Any], dict[str, NDArray[Any]]]:
    """Vectors, parameters and state, and the Huffman tree if any, of a saved Word2Vec or FastText.

    AttributeError for another object than ``kind``, as gensim's. Parameters have gensim 4's names.
    """
    if saved.kind != kind:
        raise AttributeError(f"{path} holds gensim's {saved.kind}, not a {kind}")
    content = vectors_of(saved, path)
    found: dict[str, Any] = {"corpus_count": None, "corpus_total_words": None}
    for part in (saved, saved.attributes.get("vocabulary"), saved.attributes.get("trainables")):
        if isinstance(part, Saved):  # gensim 3 kept parts of the model in these
            found |= part.attributes
    for old, new in _RENAMED.items():
        found.setdefault(new, found.pop(old, None))
    inner = saved.attributes.get("wv")
    lock = inner.attributes.get("vectors_lockf") if isinstance(inner, Saved) else None
    if lock is not None:
        found["vectors_lockf"] = lock
    if not isinstance(found.get("raw_vocab"), dict):
        found.pop("raw_vocab", None)
    known = {name: value for name, value in found.items() if not isinstance(value, Saved)}
    for name in _RENAMED.values():
        if known.get(name) is None:
            known.pop(name, None)
    return content, known, _tree(inner if isinstance(inner, Saved) else saved, content)


def _tree(saved: Saved, content: Content) -> dict[str, NDArray[Any]]:
    """Start, points and codes of all words, or nothing."""
    found = saved.attributes
    if isinstance(found.get("expandos"), dict):
        codes, points = (found["expandos"].get(name) for name in ("code", "point"))
    else:
        words = [found.get("vocab", {}).get(key) for key in content.strings["keys"]]
        codes = [getattr(word, "code", None) for word in words]
        points = [getattr(word, "point", None) for word in words]
    content.arrays.pop("attribute:code", None)
    content.arrays.pop("attribute:point", None)
    if codes is None or points is None or any(code is None for code in codes):
        return {}
    # keys that were added after training have 0 or, the arrays being too short, nothing
    added = [()] * (len(content.strings["keys"]) - len(codes))
    codes, points = (
        [way if np.ndim(way) else () for way in ways] + added for ways in (codes, points)
    )
    start = np.cumsum([0, *(len(code) for code in codes)])
    return {
        "start": start.astype(np.int64),
        "points": np.concatenate([np.asarray(one, np.int64) for one in points]).astype(np.int32),
        "codes": np.concatenate([np.asarray(one, np.int64) for one in codes]).astype(np.uint8),
    }


def _first(found: dict[str, Any], *names: str) -> Any:
    """The first of these attributes that exists: gensim has renamed them over time."""
    return next((found[name] for name in names if name in found), None)


def _check(path: PathLike, keys: Any, rows: dict[str, Any]) -> None:
    if not isinstance(keys, list) or not all(isinstance(key, str | int) for key in keys):
        raise FormatError("has no list of words", path)
    if len(set(keys)) < len(keys):
        raise FormatError("has a word twice", path)
    for name, values in rows.items():
        if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind != "f":
            raise FormatError(f"has no matrix {name!r}", path)
        if name != "vectors_ngrams" and len(values) != len(keys):
            raise FormatError(f"has {len(keys)} words and {len(values)} {name}", path)


def _attributes(found: dict[str, Any], keys: list[Any]) -> dict[str, Any]:
    """``count`` and the like: gensim 4 keeps arrays, gensim 3 an object for each word."""
    if isinstance(found.get("expandos"), dict):
        return dict(found["expandos"])
    old = found.get("vocab")
    counts = [
        getattr(old.get(key), "count", None) if isinstance(old, dict) else None for key in keys
    ]
    if not counts or not all(type(count) is int and count < 2**63 for count in counts):
        return {}
    return {"count": np.array(counts, np.int64)}
