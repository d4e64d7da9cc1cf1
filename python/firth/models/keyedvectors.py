"""gensim's path to `firth.words.keyedvectors`."""

from firth.words.keyedvectors import KeyedVectors as KeyedVectors
from firth.words.keyedvectors import Word2VecKeyedVectors as Word2VecKeyedVectors
