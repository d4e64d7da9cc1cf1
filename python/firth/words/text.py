"""Texts as the mean of their words' vectors, as spaCy's ``Doc`` has them. D = dimensions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firth import geometry

if TYPE_CHECKING:
    from firth.words.keyedvectors import KeyedVectors

_TOKEN = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


class Text:
    """A text, its vector and its similarity to others: spaCy's ``Doc`` on the same vectors.

    Parameters
    ----------
    vectors : KeyedVectors
    text : str or iterable of str
        Tokens, or a text that is cut into words and punctuation marks. Tokens are looked up
        unchanged, as in spaCy: for vectors of lower-case words pass ``text.lower()``.

    Attributes
    ----------
    tokens : list of str

    Raises
    ------
    TypeError
        ``text`` is neither, or ``vectors`` is a model (whose ``wv`` are vectors).
    """

    def __init__(self, vectors: KeyedVectors, text: str | Iterable[str]) -> None:
        if hasattr(vectors, "wv"):
            raise TypeError(
                f"Text: vectors must be KeyedVectors, got {type(vectors).__name__}; its wv are some"
            )
        self.vectors = vectors
        if not isinstance(text, Iterable):
            raise TypeError(
                f"Text: text must be str or an iterable of str, got {type(text).__name__}"
            )
        self.tokens = _TOKEN.findall(text) if isinstance(text, str) else list(text)
        for token in self.tokens:
            if not isinstance(token, str):
                raise TypeError(f"Text: tokens must be str, got {type(token).__name__} in text")

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"Text({' '.join(self.tokens)!r})"

    @cached_property
    def vector(self) -> NDArray[Any]:
        """Mean of the tokens' vectors (D,); a token without one counts as zeros.

        float32, or of float64 vectors float64.
        """
        wide = self.vectors.vectors.dtype == np.float64
        return self._mean if wide else self._mean.astype(np.float32)

    @cached_property
    def _mean(self) -> NDArray[np.float64]:
        known = self.vectors[[token for token in self.tokens if token in self.vectors]]
        unknown = len(self.tokens) - len(known)
        zeros = np.zeros(self.vectors.vector_size)
        return geometry.mean([zeros, *known], [unknown, *[1] * len(known)])

    @cached_property
    def vector_norm(self) -> float:
        """Euclidean length of ``vector``."""
        return float(geometry.lengths(self._mean))

    @property
    def has_vector(self) -> bool:
        """Whether at least one token has a vector."""
        return any(token in self.vectors for token in self.tokens)

    def similarity(self, other: Text) -> float:
        """Cosine of the two vectors; exactly 1 for the same tokens, however often they occur.

        0, with a warning, where one of the two has no vector. TypeError unless both are `Text`.
        """
        if not isinstance(other, Text):
            raise TypeError(f"Text.similarity: other must be a Text, got {type(other).__name__}")
        if self.tokens == other.tokens:
            return 1.0
        if self.vector_norm == 0 or other.vector_norm == 0:
            warnings.warn("similarity: a text without vectors is similar to nothing", stacklevel=2)
            return 0.0
        return geometry.cosine(self._mean, other._mean)
