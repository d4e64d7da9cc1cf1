# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Iterables of str or int tokens to counts and int32 ids: the only loop over Python strings."""

from numbers import Integral

from libcpp.vector cimport vector
from libc.stdint cimport int32_t
from libc.string cimport memcpy


def count(sentences, dict counts, prune=None, Py_ssize_t limit=0):
    """Add the words of an iterable of token lists to ``counts`` (word -> number, insertion order).

    Behind each sentence that leaves more than ``limit`` words, ``prune`` is called, which may take
    words out. Returns (sentences seen, words seen). Raises TypeError where a sentence is not
    iterable or a token is neither a str nor an integer.
    """
    cdef Py_ssize_t n_sentences = 0, n_words = 0
    for sentence in sentences:
        n_sentences += 1
        for word in sentence:
            if type(word) is not str and type(word) is not int:
                if isinstance(word, str):  # NumPy's, for example
                    word = str(word)
                elif isinstance(word, Integral):
                    word = int(word)
                else:
                    raise TypeError(
                        f"sentences: tokens must be str or int, got {type(word).__name__} "
                        f"in sentence {n_sentences - 1}"
                    )
            counts[word] = counts.get(word, 0) + 1
            n_words += 1
        if prune is not None and len(counts) > limit:
            prune()
    return n_sentences, n_words


def encode(sentences, dict key_to_index):
    """Ids of the known words, the last of each sentence as ~id.

    Returns (bytearray of int32 ids, sentences seen, words seen).
    """
    cdef vector[int32_t] ids
    cdef Py_ssize_t n_sentences = 0, n_words = 0
    cdef size_t start
    for sentence in sentences:
        n_sentences += 1
        start = ids.size()
        for word in sentence:
            n_words += 1
            index = key_to_index.get(word)
            if index is not None:
                ids.push_back(<int32_t>index)
        if ids.size() > start:
            ids[ids.size() - 1] = ~ids[ids.size() - 1]
    result = bytearray(ids.size() * sizeof(int32_t))
    cdef unsigned char[:] view = result
    if ids.size():
        memcpy(&view[0], ids.data(), ids.size() * sizeof(int32_t))
    return result, n_sentences, n_words
