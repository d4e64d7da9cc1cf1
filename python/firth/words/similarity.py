"""Queries of word vectors: cosines, neighbours (of one query or of many at once), word sets.

Every neighbour comes from the kernel `cosine_topk`, every list of cosines from `cosine_scores`,
whose scores depend on the query and the row alone. V = number of keys, D = dimensions.

Longer than most files: one class with many small methods, whose names are gensim's.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth import geometry
from firth.kernels import cosine_scores, cosine_topk
from firth.kernels._arrays import readable
from firth.words import coded
from firth.words.transport import transport_cost
from firth.words.vectors import KEY, Vectors

Neighbours = list[tuple[Any, float]]  # keys and their cosines, best first

_logger = logging.getLogger(__name__)
_AT_ONCE = 2048  # queries per native call; Ctrl-C is checked between calls
_GATHERED = 8  # a choice of at most 1 / this of the rows is gathered; larger ones are masked


class _Candidates(NamedTuple):
    """The rows that a search looks at; a row whose norm is NaN is left out."""

    vectors: NDArray[Any]
    norms: NDArray[Any]
    scales: NDArray[np.float32] | None
    numbers: NDArray[np.int64] | int  # of the rows, or of the first one

    def number(self, rows: NDArray[np.int64]) -> list[int]:
        """Rows of these candidates by their numbers among all."""
        numbers = self.numbers
        moved: list[int] = (numbers + rows if isinstance(numbers, int) else numbers[rows]).tolist()
        return moved


class Similarity(Vectors):
    """The queries of `KeyedVectors`."""

    # Two keys, or two sets of keys

    def similarity(self, w1: Any, w2: Any) -> float:
        """Cosine of the angle between the vectors of two keys: exactly 1 for one with itself.

        0 where one of them is all zeros.
        """
        return geometry.cosine(self.get_vector(w1), self.get_vector(w2))

    def distance(self, w1: Any, w2: Any) -> float:
        """1 - `similarity`: exactly 0 for a key and itself, even where its row is all zeros.

        From 0 to 2, up to rounding; KeyError for a key that is missing.
        """
        similarity = self.similarity(w1, w2)
        return 0.0 if w1 == w2 and not np.isnan(similarity) else 1.0 - similarity

    def n_similarity(self, ws1: Sequence[Any], ws2: Sequence[Any]) -> float:
        """Cosine between the means of two sets of keys; keys that are missing do not count.

        ZeroDivisionError where a set is empty.
        """
        if len(ws1) == 0 or len(ws2) == 0:
            raise ZeroDivisionError("n_similarity: both sets of keys must have at least one")
        one, two = (self._mean(ws, None, normalize=False, ignore_missing=True) for ws in (ws1, ws2))
        return geometry.cosine(one, two)

    def get_mean_vector(
        self,
        keys: Any,
        weights: Any = None,
        pre_normalize: bool = True,
        post_normalize: bool = False,
        ignore_missing: bool = True,
    ) -> NDArray[Any]:
        """The weighted mean of vectors, (D,): their sum divided by the sum of |weights|.

        Parameters
        ----------
        keys : list of keys and arrays (D,), or array (N, D)
        weights : array_like (N,), optional
            1 for each by default.
        pre_normalize : bool
            Scale the vectors of keys (not arrays) to length 1 first.
        post_normalize : bool
            Scale the mean to length 1.
        ignore_missing : bool
            Keys that are missing do not count; else they raise KeyError.

        Raises
        ------
        ValueError
            No keys, or another number of weights.
        """
        mean = self._mean(keys, weights, normalize=pre_normalize, ignore_missing=ignore_missing)
        if post_normalize:
            mean = geometry.unit(mean)
        return mean.astype(np.float32 if self.scales is not None else self.vectors.dtype)

    def _mean(
        self, keys: Any, weights: Any, *, normalize: bool, ignore_missing: bool
    ) -> NDArray[np.float64]:
        """`get_mean_vector` before it is rounded to the dtype of the vectors."""
        if len(keys) == 0:
            raise ValueError("get_mean_vector: cannot compute the mean of nothing")
        weights = np.ones(len(keys)) if weights is None else np.asarray(weights, np.float64)
        if weights.shape != (len(keys),):
            raise ValueError(
                f"get_mean_vector: weights must have shape ({len(keys)},), got {weights.shape}"
            )
        vectors, factors = [np.zeros(self.vector_size)], [0.0]
        for key, factor in zip(keys, weights.tolist(), strict=True):
            if isinstance(key, np.ndarray):
                vectors.append(self._checked(key))
            elif key in self:
                vectors.append(self.get_vector(key, norm=normalize))
            elif ignore_missing:
                continue
            else:
                self.get_index(key)  # raises KeyError
            factors.append(factor)
        return geometry.mean(vectors, factors)

    def _checked(self, vector: NDArray[Any]) -> NDArray[Any]:
        if vector.shape != (self.vector_size,):
            raise ValueError(f"a vector must have shape ({self.vector_size},), got {vector.shape}")
        return vector

    @staticmethod
    def cosine_similarities(vector_1: ArrayLike, vectors_all: ArrayLike) -> NDArray[Any]:
        """Cosines of a vector (D,) with rows (N, D): (N,); 0 where one of the two is all zeros.

        float32 where both are float32 or float16, else float64.
        """
        vector, rows = np.asarray(readable(vector_1)), np.asarray(readable(vectors_all))
        short = (np.float16, np.float32)
        if vector.dtype in short and rows.dtype in short:
            return cosine_scores(vector.astype(np.float32), rows)
        return geometry.cosines(vector, rows)

    def distances(self, word_or_vector: Any, other_words: Sequence[Any] = ()) -> NDArray[Any]:
        """1 - cosine of a key or vector (D,) with some keys, by default with all: (N,).

        Parameters
        ----------
        word_or_vector : key or array_like (D,)
        other_words : sequence of keys, length N

        Returns
        -------
        ndarray (N,)
            Exactly 0 for the key itself.

        Raises
        ------
        KeyError
            A key is missing.
        ValueError
            The vector has another shape.
        """
        if isinstance(word_or_vector, KEY):
            index = self.get_index(word_or_vector, -1)
            vector = self.get_vector(word_or_vector)
        else:
            index, vector = -1, self._checked(np.asarray(readable(word_or_vector)))
        candidates, rows = self._candidates(0, len(self)), np.arange(len(self))
        if len(other_words):
            rows = np.array([self.get_index(word) for word in other_words])
            scales = None if self.scales is None else self.scales[rows]
            norms = self._filled_norms()[rows]
            candidates = _Candidates(self.vectors[rows], norms, scales, rows)
        distances = 1 - self._cosines(geometry.unit(vector), candidates, None)
        if index >= 0:
            distances[(rows == index) & ~np.isnan(distances)] = 0
        return distances

    def closer_than(self, key1: Any, key2: Any) -> list[Any]:
        """The keys that are closer to ``key1`` than ``key2`` is, in the order of rows.

        KeyError for one that is missing.
        """
        distances = self.distances(key1)
        own = self.get_index(key1)
        closer = np.flatnonzero(distances < distances[self.get_index(key2)])
        return [self.index_to_key[row] for row in closer if row != own]

    def rank(self, key1: Any, key2: Any) -> int:
        """The rank of ``key2`` among all keys by their distance to ``key1``, from 1; KeyError."""
        return len(self.closer_than(key1, key2)) + 1

    def most_similar_to_given(self, key1: Any, keys_list: Sequence[Any]) -> Any:
        """The key of ``keys_list`` that is most similar to ``key1``, the first of equal ones.

        KeyError for one that is missing, ValueError for an empty list.
        """
        return keys_list[int(np.argmax([self.similarity(key1, key) for key in keys_list]))]

    def rank_by_centrality(
        self, words: Sequence[Any], use_norm: bool = True
    ) -> list[tuple[float, Any]]:
        """Words with their cosine to the mean of all, highest first, equal ones in the given order.

        Words that are missing do not count; ValueError where none is left. ``use_norm`` scales
        vectors to length 1 first, so that each has the same weight; without it a vector counts by
        its length, in the mean and in its score (length times cosine), as in gensim.
        """
        if not len(words):
            raise ValueError("rank_by_centrality, doesnt_match: words must have at least one")
        used = [word for word in words if word in self]
        if len(used) < len(words):
            _logger.warning("words that are not present do not count: %s", set(words) - set(used))
        if not used:
            raise ValueError(f"none of the words is present: {list(words)}")
        rows = np.stack([self.get_vector(word) for word in used]).astype(np.float64)
        mean = geometry.mean(geometry.unit(rows) if use_norm else rows, [1.0] * len(rows))
        scores = geometry.cosines(mean, rows)
        if not use_norm:
            scores *= geometry.lengths(rows)
        ranked = zip(scores.tolist(), used, strict=True)
        return sorted(ranked, key=lambda pair: pair[0], reverse=True)

    def doesnt_match(self, words: Sequence[Any]) -> Any:
        """The word that is farthest from the mean of all, as of `rank_by_centrality`.

        Words that are missing do not count; ValueError where none is left.
        """
        return self.rank_by_centrality(words)[-1][1]

    def relative_cosine_similarity(self, wa: Any, wb: Any, topn: int = 10) -> float:
        """`similarity` of two keys over the sum of those of the ``topn`` nearest to ``wa``.

        Above 1 / topn, two words are probably synonyms (Leeuwenberg et al., 2016).
        """
        near = self.similar_by_word(wa, topn)
        if not near:
            raise ValueError("relative_cosine_similarity: there are no similar words")
        return self.similarity(wa, wb) / float(sum(score for _, score in near))

    def wmdistance(
        self, document1: Sequence[Any], document2: Sequence[Any], norm: bool = True
    ) -> float:
        """Word mover's distance between two lists of words (Kusner et al., 2015), exact.

        The least total distance that the words of one must travel to become those of the other,
        each word with its share of its document. Words that are missing do not count; inf if no
        word of a document is known. No other package is needed.

        Parameters
        ----------
        document1, document2 : list of keys
        norm : bool
            Use vectors of length 1.
        """
        documents = [
            {word: document.count(word) for word in document if word in self}
            for document in (list(document1), list(document2))
        ]
        if not all(documents):
            return float("inf")
        one, two = (
            np.stack([self.get_vector(word) for word in document]).astype(np.float64)
            for document in documents
        )
        costs = geometry.distances_of_directions(one, two) if norm else geometry.distances(one, two)
        return transport_cost(costs, *(list(document.values()) for document in documents))

    # Neighbours

    @overload
    def similar_by_word(
        self, word: Any, topn: int = 10, restrict_vocab: int | None = None
    ) -> Neighbours: ...

    @overload
    def similar_by_word(
        self, word: Any, topn: None, restrict_vocab: int | None = None
    ) -> NDArray[Any]: ...

    def similar_by_word(
        self, word: Any, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Neighbours | NDArray[Any]:
        """`most_similar` to one key: (key, cosine), best first; with its options and errors."""
        return self.most_similar(positive=[word], topn=topn, restrict_vocab=restrict_vocab)

    similar_by_key = similar_by_word

    @overload
    def similar_by_vector(
        self, vector: Any, topn: int = 10, restrict_vocab: int | None = None
    ) -> Neighbours: ...

    @overload
    def similar_by_vector(
        self, vector: Any, topn: None, restrict_vocab: int | None = None
    ) -> NDArray[Any]: ...

    def similar_by_vector(
        self, vector: Any, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Neighbours | NDArray[Any]:
        """`most_similar` to a vector (D,): (key, cosine), best first; its options and errors."""
        vector = np.asarray(readable(vector))
        return self.most_similar(positive=[vector], topn=topn, restrict_vocab=restrict_vocab)

    @overload
    def most_similar(
        self,
        positive: Any = None,
        negative: Any = None,
        topn: int = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
        indexer: Any = None,
        *,
        among: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
        threads: int | None = None,
    ) -> Neighbours: ...

    @overload
    def most_similar(
        self,
        positive: Any = None,
        negative: Any = None,
        *,
        topn: None,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
        indexer: Any = None,
        among: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
        threads: int | None = None,
    ) -> NDArray[Any]: ...

    def most_similar(
        self,
        positive: Any = None,
        negative: Any = None,
        topn: int | None = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
        indexer: Any = None,
        *,
        among: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
        threads: int | None = None,
    ) -> Neighbours | NDArray[Any]:
        """The keys whose vectors have the highest cosine with a sum of vectors.

        The sum takes the vectors of ``positive`` and, with weight -1, those of ``negative``; those
        of keys scaled to length 1, those given as arrays unscaled. "king" - "man" + "woman" is
        ``most_similar(positive=["king", "woman"], negative=["man"])``.

        Parameters
        ----------
        positive, negative : key, array (D,), or a list (or array (N, D)) of these
            A pair (key or array, weight) has its own weight.
        topn : int or None
            How many; None for the cosines of all rows.
        clip_start, clip_end : int
            Look at rows ``clip_start`` to ``clip_end - 1`` only.
        restrict_vocab : int, optional
            Look at this number of rows only, the first ones; overrides the two above.
        indexer : object, optional
            Any object with ``most_similar(vector, topn)``, such as gensim's Annoy index.
        among : keys or rows, optional
            Look at these only; KeyError where one is missing.
        exclude : keys or rows, optional
            Leave these out, in addition to the keys of the query. Unknown keys are ignored.
        threads : int, optional
            Greatest number of threads (see `firth.set_num_threads`).

        Returns
        -------
        list of (key, float), best first, without the keys of the query; or, where ``topn`` is None,
        ndarray (rows looked at,) of all cosines, NaN for rows that ``among`` or
        ``exclude`` leaves out.

        Raises
        ------
        KeyError
            A key is missing.
        ValueError
            The query is empty, or an array has another shape.
        """
        if topn is not None and (topn := operator.index(topn)) < 1:
            return []
        query, asked = self._query("most_similar", positive, negative)
        if indexer is not None and topn is not None:
            near: Neighbours = indexer.most_similar(query.astype(np.float32), topn)
            return near
        rows = slice(0, restrict_vocab) if restrict_vocab else slice(clip_start, clip_end or None)
        start, stop, _ = rows.indices(len(self))
        candidates = self._candidates(start, stop, among, exclude, gather=topn is not None)
        if topn is None:
            return self._cosines(query, candidates, threads)
        return self._nearest(query[None], [asked], topn, candidates, threads)[0]

    def most_similar_batch(
        self,
        queries: Iterable[Any],
        topn: int = 10,
        restrict_vocab: int | None = None,
        *,
        among: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
        threads: int | None = None,
    ) -> list[list[tuple[Any, float]]]:
        """`most_similar` for many queries at once: the same answers, many times faster.

        Parameters
        ----------
        queries : iterable, or array (Q, D)
            A query is a key, a vector (D,), a list of these that are added up, or a tuple
            (positive, negative) of two arguments of `most_similar`, as
            ``(["king", "woman"], ["man"])``.
        topn, restrict_vocab, among, exclude, threads
            As of `most_similar`.

        Returns
        -------
        list of Q lists of (key, float), each with the bits that `most_similar` gives.

        Raises
        ------
        TypeError
            ``queries`` is one str or vector, or ``topn`` is no integer.
        KeyError, ValueError
            As `most_similar`.
        """
        if isinstance(queries, str):
            raise TypeError("most_similar_batch: queries must be a list of queries, got one str")
        if isinstance(queries, np.ndarray) and queries.ndim == 1 and queries.dtype.kind == "f":
            raise TypeError(
                "most_similar_batch: queries must be a list of queries, got one vector "
                f"{queries.shape}"
            )
        if topn is None:
            raise TypeError("most_similar_batch: topn must be an integer, got None")
        topn = operator.index(topn)
        vectors, asked = [], []
        for query in queries:
            pair = query if isinstance(query, tuple) and len(query) == 2 else (query, None)
            vector, rows = self._query("most_similar_batch", *pair)
            vectors.append(vector)
            asked.append(rows)
        if topn < 1 or not vectors:
            return [[] for _ in vectors]
        stop = slice(restrict_vocab or None).indices(len(self))[1]
        candidates = self._candidates(0, stop, among, exclude, gather=True)
        return self._nearest(np.stack(vectors), asked, topn, candidates, threads)

    @overload
    def most_similar_cosmul(
        self,
        positive: Any = None,
        negative: Any = None,
        topn: int = 10,
        restrict_vocab: int | None = None,
    ) -> Neighbours: ...

    @overload
    def most_similar_cosmul(
        self,
        positive: Any = None,
        negative: Any = None,
        *,
        topn: None,
        restrict_vocab: int | None = None,
    ) -> NDArray[Any]: ...

    def most_similar_cosmul(
        self,
        positive: Any = None,
        negative: Any = None,
        topn: int | None = 10,
        restrict_vocab: int | None = None,
    ) -> Neighbours | NDArray[Any]:
        """The best keys by the product of cosines (3CosMul; Levy and Goldberg, 2014, equation 4).

        The score of a row is the product of its (1 + cosine) / 2 with the vectors of ``positive``,
        over that with those of ``negative`` plus 1e-6. Arguments and result are those of
        `most_similar`, without weights. Unlike in gensim, ``restrict_vocab`` has an effect, and
        vectors given as arrays need not have length 1.
        """
        if topn is not None and (topn := operator.index(topn)) < 1:
            return []
        positive, negative = as_list(positive), as_list(negative)
        if not positive:
            raise ValueError("most_similar_cosmul: positive must hold at least one key or vector")
        stop = slice(restrict_vocab or None).indices(len(self))[1]
        candidates = self._candidates(0, stop)
        scores, asked = np.ones(stop), set()
        for items, power in ((positive, 1), (negative, -1)):
            factor = np.ones(stop)
            for item in items:
                query, rows = self._query("most_similar_cosmul", [item], None)
                asked |= rows
                factor *= (1 + self._cosines(query, candidates, None)) / 2
            scores *= factor if power == 1 else 1 / (factor + 1e-6)
        if topn is None:
            return scores
        valid = ~np.isnan(scores)
        valid[[row for row in asked if row < stop]] = False
        best = _best(scores, np.flatnonzero(valid), topn)
        return [(self.index_to_key[row], float(scores[row])) for row in best]

    def _query(
        self, function: str, positive: Any, negative: Any
    ) -> tuple[NDArray[np.float64], set[int]]:
        """The weighted sum at length 1, (D,), and the rows of the keys in it."""
        items = [(item, 1.0) for item in as_list(positive)]
        items += [(item, -1.0) for item in as_list(negative)]
        if not items:
            raise ValueError(f"{function}: cannot compute the mean of nothing")
        vectors, weights = [], []
        asked = set()
        for item, sign in items:
            key, weight = item if isinstance(item, (tuple, list)) else (item, sign)
            if isinstance(key, np.ndarray):
                vectors.append(self._checked(key))
            else:
                # as `get_vector` gives it: asking with that vector gives the same bits
                vectors.append(self.get_vector(key, norm=True))
                index = self.get_index(key, -1)
                if index >= 0:
                    asked.add(index)
            weights.append(weight)
        return geometry.unit(geometry.mean(vectors, weights)), asked

    def _candidates(
        self,
        start: int,
        stop: int,
        among: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
        *,
        gather: bool = False,
    ) -> _Candidates:
        """The rows from ``start`` to ``stop - 1``, restricted to the chosen ones.

        With ``gather`` few chosen rows are copied together instead of masking the others, so that
        places among them are no rows: see `_Candidates.number`.
        """
        norms = self._filled_norms()
        scales = None if self.scales is None else self.scales[start:stop]
        whole = _Candidates(self.vectors[start:stop], norms[start:stop], scales, start)
        without_key = len(self.key_to_index) < len(self)  # there are rows that have none yet
        if among is None and exclude is None and not without_key:
            return whole
        keep = np.full(len(self), among is None)
        if among is not None:
            keep[[self.get_index(key) for key in _keys(among)]] = True
        if exclude is not None:
            left_out = [self.get_index(key, -1) for key in _keys(exclude)]
            keep[[row for row in left_out if row >= 0]] = False
        if without_key:
            keep &= [key is not None for key in self.index_to_key]
        chosen = np.flatnonzero(keep[start:stop]) + start
        if gather and len(chosen) * _GATHERED <= stop - start:
            scales = None if self.scales is None else self.scales[chosen]
            return _Candidates(self.vectors[chosen], norms[chosen], scales, chosen)
        masked = np.where(keep[start:stop], whole.norms, norms.dtype.type(np.nan))
        return whole._replace(norms=masked)

    def _cosines(
        self, query: NDArray[np.float64], candidates: _Candidates, threads: int | None
    ) -> NDArray[Any]:
        """Cosines of the candidates with a query of length 1: float32, or as the vectors float64.

        Each is independent of the others: a row's sum has a fixed order.
        """
        vectors, norms, scales, _ = candidates
        if vectors.dtype != np.float64:
            return cosine_scores(
                query.astype(np.float32), vectors, norms=norms, scales=scales, threads=threads
            )
        return geometry.cosines(query, vectors, norms)

    def _nearest(
        self,
        queries: NDArray[np.float64],
        asked: Sequence[set[int]],
        topn: int,
        candidates: _Candidates,
        threads: int | None,
    ) -> list[list[tuple[Any, float]]]:
        """The best candidates of each query (Q, D) of length 1, without the query's own keys."""
        answers = []
        found = self._ranked(queries, topn + max(map(len, asked)), candidates, threads)
        for (scores, rows), own in zip(found, asked, strict=True):
            ranked = zip(candidates.number(rows), scores.tolist(), strict=True)
            kept = [(row, score) for row, score in ranked if row not in own]
            answers.append([(self.index_to_key[row], score) for row, score in kept[:topn]])
        return answers

    def _ranked(
        self,
        queries: NDArray[np.float64],
        k: int,
        candidates: _Candidates,
        threads: int | None,
    ) -> list[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Scores and places of the (at most) k best candidates of each query (Q, D)."""
        vectors, norms, scales, _ = candidates
        found = []
        if vectors.dtype == np.float64:
            for query in queries:
                cosines = self._cosines(query, candidates, None)
                best = _best(cosines, np.flatnonzero(~np.isnan(cosines)), k)
                found.append((cosines[best], best))
            return found
        segment = self._coded(len(queries)) if len(vectors) == len(self.vectors) else None
        for first in range(0, len(queries), _AT_ONCE):
            some = queries[first : first + _AT_ONCE].astype(np.float32)
            if segment is not None:
                found += coded.topk(segment, some, k, norms, threads)
                continue
            top = cosine_topk(some, vectors, k, norms=norms, scales=scales, threads=threads)
            for scores, rows in zip(top.scores, top.indices, strict=True):
                count = np.count_nonzero(rows >= 0)  # the last ones may be missing
                found.append((scores[:count], rows[:count]))
        return found

    def _coded(self, questions: int) -> Any:
        """The rows with codes, after enough queries, else None; kept as long as ``norms``."""
        norms = self._filled_norms()
        if self._asked is None or self._asked[0] is not norms:
            self._asked = (norms, 0, None)
        _, before, segment = self._asked
        if segment is None and coded.pays(self.vectors, before + questions):
            segment = coded.code(self.vectors, self.scales)
        self._asked = (norms, before + questions, segment)
        return segment


def as_list(items: Any) -> list[Any]:
    """A list of keys, vectors and pairs from what `most_similar` accepts."""
    if items is None:
        return []
    if isinstance(items, KEY) or (isinstance(items, np.ndarray) and items.ndim == 1):
        return [items]
    return list(items)


def _keys(keys: Iterable[Any]) -> list[Any]:
    return [keys] if isinstance(keys, KEY) else list(keys)


def _best(scores: NDArray[Any], candidates: NDArray[Any], count: int) -> NDArray[np.int64]:
    """The ``count`` candidates (in ascending order) of highest score, equal ones by index."""
    if count < len(candidates):
        values = scores[candidates]
        threshold = np.partition(values, len(values) - count)[len(values) - count]
        above, equal = candidates[values > threshold], candidates[values == threshold]
        candidates = np.sort(np.concatenate([above, equal[: count - len(above)]]))
    order = np.argsort(-scores[candidates], kind="stable")
    best: NDArray[np.int64] = candidates[order]
    return best
