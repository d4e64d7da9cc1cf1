"""Words and vectors out of spaCy's and into them: folders, pipelines (``nlp``), vocabs."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats import spacy


def read(source: Any) -> tuple[list[str], NDArray[Any]]:
    """The words and their vectors, (V, D), of a folder or of a loaded pipeline or vocab.

    A folder is one of vectors, a vocab or a pipeline. One row a word, in the order of the rows;
    words that share a row get one each.

    Raises
    ------
    FormatError
        Another folder, a damaged one, or one in floret mode, which has no words: `Floret.load`
        reads it.
    TypeError
        Another kind of source.
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
        return list(content.rows), content.vectors[list(content.rows.values())]
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
    return [word for word, _ in known], np.asarray(table.data)[[row for _, row in known]]


def write(words: list[str], rows: NDArray[np.float32], target: Any) -> None:
    """Write vectors to a folder, or make them those of a pipeline (``nlp``) or a vocab."""
    if isinstance(target, (str, os.PathLike)):
        spacy.write(target, words, rows)
        return
    from spacy.vectors import Vectors

    vocab = getattr(target, "vocab", target)
    for word in words:
        vocab.strings.add(word)
    vocab.vectors = Vectors(strings=vocab.strings, data=rows, keys=words, name="firth")
