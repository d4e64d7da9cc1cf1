"""What searches have in memory: a `firth.Index` of passages, and arrays beside it.

It is made of the SQLite file (`firth.rag.store`) and follows it: each search compares generations
and takes over what other threads and processes have changed since. P = passages, D = documents.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.rag.filters import to_sql
from firth.rag.store import Store
from firth.search import Index

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_K1, _B = 1.2, 0.75  # of BM25: the values that Lucene and SQLite have
_MOST_POSTINGS = 20_000_000  # that stay in memory, in entries


class Postings(NamedTuple):
    """Where a word stands: rows of passages or of documents, and what it adds to their scores."""

    rows: Ints
    weights: Floats


@dataclass
class State:
    """One generation. Rows are places in ``passages``, which are in order of their ids.

    Attributes
    ----------
    passages, documents : ndarray (P,), (D,) int64
        Their ids, ascending.
    document_rows : ndarray (P,) int64
        The row of each passage's document.
    lengths, document_lengths : ndarray (P,), (D,) float32
        In tokens; of a document, those of all its passages.
    index : Index
        The vectors, by the ids of passages. It may be newer than the arrays.
    """

    generation: int
    documents: Ints
    passages: Ints
    document_rows: Ints
    lengths: Floats
    document_lengths: Floats
    index: Index
    words: dict[str, tuple[Postings, Postings]] = field(default_factory=dict)
    chosen: dict[str, Ints] = field(default_factory=dict)


class Memory:
    """The newest state of a store."""

    def __init__(self, store: Store, dim: int) -> None:
        self._store, self._lock = store, threading.Lock()
        empty, none = np.zeros(0, np.int64), np.zeros(0, np.float32)
        index = Index(dim, "cosine", "float16")
        self._state = State(-1, empty, empty, empty, none, none, index)

    def state(self) -> State:
        """The state of the file as it is now."""
        if self._store.generation == self._state.generation:
            return self._state
        with self._lock, self._store.at_once():
            generation = self._store.generation
            if generation != self._state.generation:
                self._state = self._next(self._state, generation)
        return self._state

    def _next(self, old: State, generation: int) -> State:
        store, index = self._store, old.index
        table = store.numbers("SELECT id, first, count FROM documents ORDER BY id", (), 3)
        documents = table[:, 0]
        if len(gone := np.setdiff1d(old.documents, documents, assume_unique=True)):
            index.remove(old.passages[np.isin(old.documents[old.document_rows], gone)])
        lengths = old.lengths
        newest = int(old.documents[-1]) if len(old.documents) else 0
        new = table[documents > newest]
        for first in range(0, len(new), 1000):  # blobs of some megabytes at a time
            some = new[first : first + 1000]
            blobs = store.rows(
                "SELECT rows FROM vectors WHERE document BETWEEN ? AND ? ORDER BY document",
                [int(some[0, 0]), int(some[-1, 0])],
            )
            rows = np.frombuffer(b"".join(blob for (blob,) in blobs), "<f2").reshape(-1, index.dim)
            index.add(rows, _ranges(some[:, 1], some[:, 2]))
        passages = _ranges(table[:, 1], table[:, 2])
        rows_of = np.repeat(np.arange(len(documents)), table[:, 2])
        # Passages are written in order of their documents, so both are ascending.
        kept = np.isin(old.passages, passages, assume_unique=True)
        newest = int(old.passages[-1]) if len(old.passages) else 0
        more = store.numbers("SELECT tokens FROM passages WHERE id > ? ORDER BY id", [newest])
        lengths = np.concatenate([lengths[kept], more.astype(np.float32)])
        sums = np.bincount(rows_of, lengths, len(documents)).astype(np.float32)
        return State(generation, documents, passages, rows_of, lengths, sums, index)

    # Words

    def keyword_scores(self, state: State, text: str) -> Floats:
        """BM25 of a text with each passage (P,), added to that with its document as a whole.

        The words of a question often stand in several passages of the document that answers it. A
        passage without any of them has a score of 0.
        """
        scores = np.zeros(len(state.passages), np.float32)
        documents = np.zeros(len(state.documents), np.float32)
        for word in wanted(self._store, text):
            of_passages, of_documents = self._postings(state, word)
            scores[of_passages.rows] += of_passages.weights
            documents[of_documents.rows] += of_documents.weights
        rows = np.flatnonzero(scores)
        scores[rows] += documents[state.document_rows[rows]]
        return scores

    def _postings(self, state: State, word: str) -> tuple[Postings, Postings]:
        """Of passages, and of documents."""
        if word not in state.words:
            ids = self._store.numbers("SELECT doc FROM postings WHERE term = ?", [word])
            rows = np.searchsorted(state.passages, ids)
            rows = rows[rows < len(state.passages)]
            if sum(len(one.rows) for one, _ in list(state.words.values())) > _MOST_POSTINGS:
                state.words.clear()
            state.words[word] = (
                _weighted(rows, state.lengths),
                _weighted(state.document_rows[rows], state.document_lengths),
            )
        return state.words[word]

    # Filters

    def chosen(self, state: State, where: Any) -> Ints | None:
        """The rows of passages whose documents a filter takes; None: all."""
        if where is None:
            return None
        query, values = to_sql(where)
        key = repr((query, values))
        if key not in state.chosen:
            documents = self._store.numbers(query, values)
            taken = np.isin(state.documents, documents)
            if len(state.chosen) > 100:
                state.chosen.clear()
            state.chosen[key] = np.flatnonzero(taken[state.document_rows])
        return state.chosen[key]


def _ranges(firsts: Ints, counts: Ints) -> Ints:
    """All numbers of ranges, one after the other."""
    before = np.cumsum(counts) - counts
    return np.repeat(firsts - before, counts) + np.arange(int(counts.sum()))


def _weighted(rows: Ints, lengths: Floats) -> Postings:
    """BM25 of a word (Robertson and Zaragoza, 2009) that stands once in each of these rows."""
    rows, found = np.unique(rows, return_counts=True)
    counts = found.astype(np.float32)
    idf = np.log1p((len(lengths) - len(rows) + 0.5) / (len(rows) + 0.5))
    norms = _K1 * (1 - _B + _B * lengths[rows] / max(float(lengths.mean()), 1.0))
    return Postings(rows, (idf * (_K1 + 1) * counts / (counts + norms)).astype(np.float32))


def wanted(store: Store, text: str) -> list[str]:
    """The words of a question that a search is to look for, as the index has them."""
    content = [word for word in re.findall(r"\w+", text.lower()) if word not in _STOP_WORDS]
    return store.words(" ".join(content)) or store.words(text)


# English; of other languages, those that stand everywhere weigh little.
_STOP_WORDS = frozenset(
    """
    a about after all also am an and any are as at be because been before being between both but by
    can could d did do does doing down during each few for from further had has have having he her
    here hers him his how i if in into is it its itself just ll m me more most my no nor not of off
    on once only or other our out over own re s same she should so some such t than that the their
    them then there these they this those through to too under until up ve very was we were what
    when where which while who whom whose why will with would you your
    """.split()  # noqa: SIM905
)
