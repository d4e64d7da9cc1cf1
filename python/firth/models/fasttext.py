"""gensim's path to `firth.words.fasttext`."""

from firth.words.fasttext import FastText as FastText
from firth.words.fasttext import FastTextKeyedVectors as FastTextKeyedVectors
from firth.words.fasttext import load_facebook_model as load_facebook_model
from firth.words.fasttext import load_facebook_vectors as load_facebook_vectors
from firth.words.fasttext import save_facebook_model as save_facebook_model
