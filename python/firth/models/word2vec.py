"""gensim's path to `firth.words.word2vec`."""

from firth.words.word2vec import BrownCorpus as BrownCorpus
from firth.words.word2vec import LineSentence as LineSentence
from firth.words.word2vec import PathLineSentences as PathLineSentences
from firth.words.word2vec import Text8Corpus as Text8Corpus
from firth.words.word2vec import Word2Vec as Word2Vec
