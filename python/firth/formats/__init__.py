"""File formats: bytes <-> arrays. Independent of models; words, search and models import from here.

``container`` firth's own file: named arrays, lists of strings and JSON, checksummed, mappable.
``word2vec``  word2vec's text and binary files; GloVe's text.
``glove``     the other files of GloVe's tools: all parameters, co-occurrences.
``fasttext``  fastText's model files, .bin and .ftz.
``gguf``      llama.cpp's files: metadata and arrays, mapped; writing.
``blocks``    the types of weights in these files: dequantise, quantise.
``files``     what every format shares: atomic writing, plain or compressed reading.
"""

# Formats of vectors that can be written; here, since the command line reads it at each start.
WRITABLE = ("firth", "word2vec", "word2vec-binary", "glove", "spacy", "npy")
