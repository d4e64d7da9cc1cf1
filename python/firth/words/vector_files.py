"""Files of vectors of any format: recognised by content, loaded, described, and converted.

To add a format: a name in `_FORMATS`, a branch in `sniff`, `load_vectors` and, if it can be
written, `save_vectors`.
"""

from __future__ import annotations

import codecs
import os
import warnings
from dataclasses import dataclass

import numpy as np

from firth.epochs import interrupted
from firth.errors import FormatError
from firth.formats import WRITABLE, container, fasttext, gensim, spacy, word2vec
from firth.formats.files import COMPRESSED, PathLike, atomic, reading, writing
from firth.words import model2vec
from firth.words.fasttext import FastTextKeyedVectors, load_facebook_vectors
from firth.words.floret import Floret
from firth.words.keyedvectors import KeyedVectors

_FORMATS = {
    "firth": "firth",
    "word2vec": "word2vec text",
    "word2vec-binary": "word2vec binary",
    "glove": "text without a header, as GloVe's",
    "gensim": "gensim's own (pickle)",
    "fasttext": "fastText's model (.bin, .ftz)",
    "floret": "floret's text",
    "spacy": "spaCy's folder",
    "model2vec": "model2vec's folder",
}


def sniff(path: PathLike) -> str:
    """The format of a file of vectors, by its first bytes: one of the names in this module.

    FormatError for another file, an empty one and a pipe among them.
    """
    if os.path.isdir(path):
        if spacy.is_folder(path):
            return "spacy"
        if os.path.exists(os.path.join(path, "tokenizer.json")):
            return "model2vec"
        raise FormatError("is not a folder of spaCy's vectors or of model2vec", path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise FormatError("must be a file, not a pipe or device: it is read several times", path)
    with reading(path) as source:
        head = bytes(source.peek(16)[:16])
    if not head:
        raise FormatError("is empty", path)
    if head.startswith(fasttext.MAGIC.to_bytes(4, "little")):
        return "fasttext"
    if head.startswith(container.MAGIC):
        return "firth"
    if gensim.is_pickle(path):
        return "gensim"
    found = word2vec.sniff(path)
    if found is None:
        raise FormatError(f"is not a file of vectors ({', '.join(_FORMATS)})", path)
    names = {"text": "word2vec", "binary": "word2vec-binary", "headerless": "glove"}
    return names.get(found, found)


def load_vectors(path: PathLike, *, limit: int | None = None) -> KeyedVectors:
    """Load vectors from a file of any format, which is recognised by its content.

    Words that are cut within a character are read with the replacement character, and of repeated
    words the first is kept, without a warning.

    Parameters
    ----------
    path : path-like
        A file of firth, gensim, word2vec (text or binary), GloVe or fastText, a folder of spaCy's
        vectors or of model2vec (whose words are its tokens). Text and binary may be compressed.
    limit : int, optional
        Read at most this many vectors, where the format allows it.

    Raises
    ------
    FormatError
        Another kind of file, or a damaged one; floret's, which has no words (see `Floret`).
    """
    found = sniff(path)
    if found in ("firth", "gensim"):
        return KeyedVectors.load(path)
    if found == "fasttext":
        try:
            return load_facebook_vectors(path)
        except NotImplementedError:
            raise FormatError(
                "is a supervised model of fastText: firth.fasttext.load_model reads it", path
            ) from None
    if found == "spacy":
        return KeyedVectors.from_spacy(path)
    if found == "model2vec":
        return _tokens(path)
    if found == "floret":
        raise FormatError("is floret's, which has no words: see firth.words.Floret", path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated words: the user of a file cannot mend them
        return KeyedVectors.load_word2vec_format(
            path,
            binary=found == "word2vec-binary",
            no_header=found == "glove",
            unicode_errors="replace",
            limit=limit,
        )


def _tokens(path: PathLike) -> KeyedVectors:
    """The vectors of model2vec's tokens, with their weights."""
    content = model2vec.read(path)
    vectors, tokens = content.embeddings, list(content.tokenizer.tokens)
    vectors = vectors.astype(np.float32)
    if content.mapping is not None:
        vectors = vectors[content.mapping]
    if content.weights is not None:
        vectors = vectors * content.weights.astype(np.float32)[:, None]
    result = KeyedVectors(vectors.shape[1])
    result.add_vectors(tokens, vectors)
    return result


def format_of_name(path: PathLike) -> str | None:
    """The format for a file to be written, by its suffix, or None.

    ValueError for .zip, which is only read.
    """
    name = os.fspath(path).lower()
    if name.endswith(".zip"):
        raise ValueError(
            f"{os.fspath(path)}: .zip is read only; to write there are {', '.join(COMPRESSED)}"
        )
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    suffixes = {
        ".firth": "firth",
        ".txt": "word2vec",
        ".vec": "word2vec",
        ".bin": "word2vec-binary",
        ".npy": "npy",
    }
    return suffixes.get(os.path.splitext(name)[1])


def save_vectors(vectors: KeyedVectors, path: PathLike, format: str | None = None) -> None:
    """Save vectors in a format of `WRITABLE`, by default that of the suffix.

    "npy" is the matrix for NumPy; the words go to a file beside it, one per line in the order of
    its rows: ``x.npy`` and ``x.words.txt``.

    ValueError where neither names a format, or for a .zip, which can only be read. Of FastText's
    vectors all formats but firth's keep only the words, with a warning.
    """
    named = format_of_name(path)
    format = format or named
    if format not in WRITABLE:
        raise ValueError(
            f"save_vectors: format must be one of {', '.join(WRITABLE)}, got {format!r} "
            f"for {os.fspath(path)}"
        )
    if format != "firth" and isinstance(vectors, FastTextKeyedVectors) and vectors.bucket:
        warnings.warn(
            f"{os.fspath(path)}: without the n-grams, so unknown words have no vectors there; "
            "firth's format keeps them, save_facebook_model writes fastText's",
            stacklevel=2,
        )
    if format == "firth":
        vectors.save(path)
    elif format == "spacy":
        vectors.to_spacy(path)
    elif format == "npy":
        _save_matrix(vectors, path)
    else:
        vectors.save_word2vec_format(
            path, binary=format == "word2vec-binary", write_header=format != "glove"
        )


def words_beside(path: PathLike) -> str:
    """The file for the words of a matrix: ``x.words.txt`` for ``x.npy``."""
    return os.fspath(path).removesuffix(".npy") + ".words.txt"


def _save_matrix(vectors: KeyedVectors, path: PathLike) -> None:
    words = [str(word) for word in vectors.index_to_key]
    for word in words:
        if "\n" in word:
            raise ValueError(f"save_vectors: words are written one per line, got {word!r}")
    rows = vectors.vectors[: len(words)]
    with writing(path) as file:
        np.save(file, rows if rows.dtype.kind == "f" else vectors[vectors.index_to_key])
    with atomic(words_beside(path)) as file:
        file.write("".join(f"{word}\n" for word in words).encode("utf-8", "surrogateescape"))


@dataclass(frozen=True)
class Description:
    """What `describe` finds."""

    format: str  # in words
    words: int | None  # None where counting them would take reading the whole file
    dimensions: int
    dtype: str
    first: list[str]
    more: dict[str, str]  # other facts by name


def describe(path: PathLike) -> Description:
    """Format, size and first words of a file, if possible without reading its vectors."""
    found = sniff(path)
    format = _FORMATS[found]
    more: dict[str, str] = {}
    words: int | None = None
    if found == "firth":
        held = container.read(path, mmap="r", decode=False)
        format = f"firth: {container.nature(held.kind)}"
        more |= interrupted(held.meta)
    if found == "floret":
        table = Floret.load(path)
        more = {name: str(getattr(table, name)) for name in spacy.FLORET}
        more["rows"] = f"{len(table.vectors):,}"
        dtype = str(table.vectors.dtype)
        return Description(format, None, table.vector_size, dtype, [], more)
    if found == "fasttext":
        content = fasttext.read(path, mmap=True)
        first = [
            word.decode("utf-8", "replace") for word in content.entries()[: content.nwords][:10]
        ]
        arguments = vars(content.args)
        more = {name: str(value) for name, value in arguments.items() if name != "dim"}
        more["loss"] = fasttext.LOSSES[content.args.loss]
        more["model"] = fasttext.MODELS[content.args.model]
        more["labels"] = f"{content.labels:,}"
        quantised = isinstance(content.input, fasttext.Quantised)
        dtype = "product-quantised" if quantised else "float32"
        size = content.args.dim
        return Description(format, content.nwords, size, dtype, first, more)
    if found in ("word2vec", "word2vec-binary", "glove"):
        vectors = load_vectors(path, limit=10)
        if found != "glove":
            with reading(path) as source:
                words = int(bytes(source.peek(100)[:100]).removeprefix(codecs.BOM_UTF8).split()[0])
    else:
        vectors = KeyedVectors.load(path, mmap="r") if found == "firth" else load_vectors(path)
        words = len(vectors)
        if found in ("firth", "gensim") and "count" in vectors.expandos:
            total = int(vectors.expandos["count"].sum())
            more["occurrences"] = f"{total:,} of these words"
    return Description(
        format,
        words,
        vectors.vector_size,
        str(vectors.vectors.dtype),
        [str(key) for key in vectors.index_to_key[:10]],
        more,
    )
