"""`KeyedVectors` from spaCy's vectors and into them: folders, pipelines (``nlp``), vocabs."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats import spacy
from firth.words.keyedvectors import KeyedVectors


def keyed_vectors(source: Any) -> KeyedVectors:
    """The vectors of a folder (of vectors, a vocab, a pipeline) or of a loaded pipeline or vocab.

    One row a word, in the order of the rows; words that share a row get one each.

    Raises
    ------
    FormatError
        Another folder, a damaged one, or one in floret mode, which has no words: `Floret.load`
        reads it.
    TypeError
        The source is none of these.
    """
    if isinstance(source, (str, os.PathLike)):
        content = spacy.read(source)
        if content.floret is not None:
            raise FormatError("is in floret mode, without words: see firth.words.Floret", source)
        if content.unknown:
            warnings.warn(
                f"{os.fspath(source)}: {content.unknown} words are not among its strings",
                stacklevel=3,
            )
        return _made(list(content.rows), list(content.rows.values()), content.vectors)
    vocab = getattr(source, "vocab", source)
    table: Any = getattr(vocab, "vectors", None)
    if not hasattr(table, "key2row"):
        raise TypeError(
            "from_spacy: path_or_nlp must be the path of a folder, a pipeline or a vocab, "
            f"got {type(source).__name__}"
        )
    if table.mode != "default":
        raise ValueError("from_spacy: the vectors are floret's, without words: see Floret")
    pairs = sorted(table.key2row.items(), key=lambda pair: pair[1])
    known = [(vocab.strings[key], row) for key, row in pairs if key in vocab.strings]
    return _made([word for word, _ in known], [row for _, row in known], np.asarray(table.data))


def _made(words: list[str], rows: list[int], vectors: NDArray[Any]) -> KeyedVectors:
    made = KeyedVectors(vectors.shape[1], dtype=vectors.dtype)
    made._adopt(words)
    made.vectors = vectors[rows]
    return made


def put(vectors: KeyedVectors, target: Any) -> None:
    """Write the vectors to a folder, or make them those of a pipeline (``nlp``) or a vocab."""
    if any(key is None for key in vectors.index_to_key):
        raise ValueError("to_spacy: rows without a key (see count and add_vector)")
    words = [str(key) for key in vectors.index_to_key]
    rows = np.ascontiguousarray(vectors._values(), np.float32)
    if isinstance(target, (str, os.PathLike)):
        spacy.write(target, words, rows)
        return
    from spacy.vectors import Vectors

    vocab = getattr(target, "vocab", target)
    for word in words:
        vocab.strings.add(word)
    vocab.vectors = Vectors(strings=vocab.strings, data=rows, keys=words, name="firth")
