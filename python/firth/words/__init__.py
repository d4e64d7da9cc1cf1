"""Word vectors."""

from firth.words.fasttext import FastTextKeyedVectors
from firth.words.keyedvectors import KeyedVectors
from firth.words.word2vec import Word2Vec

__all__ = ["FastTextKeyedVectors", "KeyedVectors", "Word2Vec"]
