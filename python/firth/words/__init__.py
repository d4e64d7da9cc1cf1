"""Word vectors."""

from firth.words.callbacks import CallbackAny2Vec
from firth.words.evaluation import evaluation_file
from firth.words.fasttext import (
    FastText,
    FastTextKeyedVectors,
    load_facebook_model,
    load_facebook_vectors,
    save_facebook_model,
)
from firth.words.floret import Floret
from firth.words.glove import GloVe
from firth.words.keyedvectors import KeyedVectors
from firth.words.phrases import FrozenPhrases, Phrases
from firth.words.preprocessing import simple_preprocess
from firth.words.readers import BrownCorpus, LineSentence, PathLineSentences, Text8Corpus
from firth.words.static import StaticModel
from firth.words.text import Text
from firth.words.vector_files import load_vectors, save_vectors
from firth.words.vectorizers import CountVectorizer, TfidfVectorizer
from firth.words.vocabulary import RULE_DEFAULT, RULE_DISCARD, RULE_KEEP, keep_vocab_item
from firth.words.word2vec import Word2Vec

__all__ = [
    "RULE_DEFAULT",
    "RULE_DISCARD",
    "RULE_KEEP",
    "BrownCorpus",
    "CallbackAny2Vec",
    "CountVectorizer",
    "FastText",
    "FastTextKeyedVectors",
    "Floret",
    "FrozenPhrases",
    "GloVe",
    "KeyedVectors",
    "LineSentence",
    "PathLineSentences",
    "Phrases",
    "StaticModel",
    "Text",
    "Text8Corpus",
    "TfidfVectorizer",
    "Word2Vec",
    "evaluation_file",
    "keep_vocab_item",
    "load_facebook_model",
    "load_facebook_vectors",
    "load_vectors",
    "save_facebook_model",
    "save_vectors",
    "simple_preprocess",
]
