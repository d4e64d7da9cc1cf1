"""File formats: bytes <-> arrays. Knows no model; words, search and models import from here.

``container`` firth's own file: named arrays, lists of strings and JSON, checksummed, mappable.
``word2vec``  word2vec's text and binary files; GloVe's text.
``glove``     what else GloVe's tools leave: all parameters, co-occurrences.
``fasttext``  fastText's model files, .bin and .ftz.
``files``     what every format shares: atomic writing, plain or compressed reading.
"""
