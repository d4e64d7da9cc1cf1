"""gensim's path to `firth.words.callbacks`."""

from firth.words.callbacks import CallbackAny2Vec as CallbackAny2Vec
