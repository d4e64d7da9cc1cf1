"""Word vectors."""

from firth.words.keyedvectors import KeyedVectors

Word2Vec = None

__all__ = ["KeyedVectors", "Word2Vec"]
