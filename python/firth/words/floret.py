"""floret: vectors of any word from the hashes of its n-grams, in one small table.

B = rows of the table, D = dimensions of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.errors import FormatError
from firth.formats import spacy, word2vec
from firth.formats.files import PathLike
from firth.words.keyedvectors import KeyedVectors


class Floret:
    """Vectors of explosion.ai's floret, which spaCy has too: text files and spaCy's folders.

    The vector of a word is the mean of the rows that the word itself and each of its n-grams hash
    to (``hash_count`` rows each): every word has one, and none is stored.

    Parameters
    ----------
    vectors : ndarray (B, D)
    minn, maxn : int
        Shortest and longest n-gram, in code points.
    hash_count : int
        Rows of an n-gram, 1 to 4.
    hash_seed : int
    bow, eow : str
        What is put before and behind a word.
    """

    def __init__(
        self,
        vectors: NDArray[Any],
        minn: int,
        maxn: int,
        hash_count: int = 1,
        hash_seed: int = 0,
        bow: str = "<",
        eow: str = ">",
    ) -> None:
        self.vectors, self.vector_size = vectors, vectors.shape[1]
        self.minn, self.maxn = minn, maxn
        self.hash_count, self.hash_seed, self.bow, self.eow = hash_count, hash_seed, bow, eow

    def __repr__(self) -> str:
        return (
            f"Floret<{len(self.vectors)} rows, vector_size={self.vector_size}, "
            f"n-grams of {self.minn} to {self.maxn}>"
        )

    def __getitem__(self, words: str | Sequence[str]) -> NDArray[Any]:
        """The vector of a word (D,), or of several ones (len(words), D); zeros for "" only."""
        if isinstance(words, str):
            words = [words]
            vector: NDArray[Any] = self[words][0]
            return vector
        found: NDArray[Any] = np.zeros((len(words), self.vector_size), self.vectors.dtype)
        for row, word in enumerate(words):
            if word:
                found[row] = self.vectors[self._rows(word)].mean(axis=0)
        return found

    def _rows(self, word: str) -> NDArray[np.int64]:
        whole = self.bow + word + self.eow
        grams = [whole]
        for size in range(self.minn, self.maxn + 1):
            grams += [whole[at : at + size] for at in range(len(whole) - size + 1)]
        encoded = [gram.encode("utf-8", "surrogatepass") for gram in grams]
        hashes = _native.files.murmur3_128(encoded, self.hash_seed).astype("<u8").view("<u4")
        rows: NDArray[np.int64] = (hashes[:, : self.hash_count] % len(self.vectors)).ravel()
        return rows.astype(np.int64)

    def vectors_for_all(self, keys: Sequence[str]) -> KeyedVectors:
        """The vectors of these words, once each, as `KeyedVectors`: to search among them."""
        words = list(dict.fromkeys(keys))
        result = KeyedVectors(self.vector_size, dtype=self.vectors.dtype)
        result.add_vectors(words, self[words])
        return result

    @property
    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in spacy.FLORET}

    def save(self, fname: PathLike) -> None:
        """Save as floret's text: ``B D minn maxn hash_count hash_seed bow eow``, then the rows."""
        rows, d = self.vectors.shape
        header = " ".join(map(str, [rows, d, *self._settings.values()]))
        if len(header.split()) != 8:
            raise ValueError("save: bow and eow must be words without spaces")
        word2vec.write(fname, range(rows), self.vectors, first_line=header)

    @classmethod
    def load(cls, fname: PathLike) -> Floret:
        """Load floret's text, or a folder of spaCy in floret mode; FormatError for another file."""
        if spacy.is_folder(fname):
            content = spacy.read(fname)
            if content.floret is None:
                raise FormatError("holds vectors of words, not of floret", fname)
            return cls(content.vectors, **content.floret)
        words, fields = word2vec.read_floret(fname)
        names = dict(zip(spacy.FLORET, (*map(int, fields[:4]), *fields[4:]), strict=True))
        return cls(words.vectors, **spacy.checked_floret(names, len(words.vectors), fname))

    def to_spacy(self, target: Any) -> None:
        """Write a folder for spaCy, or put the table into a pipeline (``nlp``) or its vocab."""
        if hasattr(target, "vocab") or hasattr(target, "vectors"):
            from spacy.vectors import Vectors

            vocab = getattr(target, "vocab", target)
            vocab.vectors = Vectors(
                strings=vocab.strings, data=self.vectors, mode="floret", **self._settings
            )
        else:
            spacy.write(target, [], self.vectors, self._settings)
