"""Word vectors."""

from firth.words.keyedvectors import KeyedVectors
from firth.words.word2vec import Word2Vec

__all__ = ["KeyedVectors", "Word2Vec"]
