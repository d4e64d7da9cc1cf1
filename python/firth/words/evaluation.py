"""How well vectors agree with human judgements: word pairs (correlation), analogies (accuracy).

Both functions are methods of `KeyedVectors`. All questions of a file are answered in one batch. The
vectors are not changed, so other threads may use them meanwhile.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth import geometry
from firth.formats.files import PathLike
from firth.words import analogy_sums
from firth.words.similarity import Similarity

_logger = logging.getLogger(__name__)
_BEST = 5  # best candidates that are kept: enough to skip the words of the question
_BLOCK = 1 << 25  # cosines that 3CosMul holds at once


class Correlation(NamedTuple):
    """A coefficient and the probability of one as large by chance (two-sided)."""

    statistic: float
    pvalue: float

    @property
    def correlation(self) -> float:
        """The statistic, as SciPy also calls it."""
        return self.statistic


def evaluation_file(name: Literal["analogies", "pairs"]) -> str:
    """The path of a small evaluation set that comes with firth, for a first look at vectors.

    The sets are our own (see README.txt beside them): 1350 analogies for
    `evaluate_word_analogies`, 209 pairs for `evaluate_word_pairs`. To compare with published
    results, use the published sets.

    ValueError for another name.
    """
    files = {"analogies": "analogies.txt", "pairs": "pairs.tsv"}
    if name not in files:
        raise ValueError(f"evaluation_file: name must be one of {list(files)}, got {name!r}")
    return os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", files[name])


# Word pairs


def evaluate_word_pairs(
    self: Similarity,
    pairs: PathLike,
    delimiter: str = "\t",
    encoding: str = "utf8",
    restrict_vocab: int | None = 300000,
    case_insensitive: bool = True,
    dummy4unknown: bool = False,
) -> tuple[Correlation, Correlation, float]:
    """Correlation of similarities with human ones, such as WordSim-353 and SimLex-999.

    Parameters
    ----------
    pairs : path-like
        Lines ``word1 word2 number``; others, and those that begin with ``#``, are skipped.
    delimiter, encoding : str
        Of the file.
    restrict_vocab : int or None
        Use only this number of keys, the first ones.
    case_insensitive : bool
        Compare in upper case; of keys that then are equal the first counts.
    dummy4unknown : bool
        Pairs with a missing word get similarity 0; else they are skipped.

    Returns
    -------
    (pearson, spearman, oov)
        Two `Correlation`, (statistic, pvalue), and the percentage of pairs with a missing word.

    Raises
    ------
    ValueError
        The file has no pair that can be used.
    """
    rows, _ = _index(self, restrict_vocab, case_insensitive)
    gold, model, unknown = [], [], 0
    with open(pairs, encoding=encoding) as file:
        for number, line in enumerate(file):
            if line.startswith("#"):
                continue
            try:
                one, two, value = line.upper().split(delimiter) if case_insensitive else (
                    line.split(delimiter)
                )  # fmt: skip
                similarity = float(value)
            except ValueError:
                _logger.info("Skipping invalid line #%d in %s", number, pairs)
                continue
            known = one in rows and two in rows
            unknown += not known
            if known or dummy4unknown:
                gold.append(similarity)
                model.append(self.similarity(rows[one], rows[two]) if known else 0.0)
    if not gold:
        raise ValueError(
            f"evaluate_word_pairs: {os.fspath(pairs)} has no pair that can be used: another "
            f"format, or all words are missing in {self}"
        )
    pearson, spearman = pearsonr(gold, model), spearmanr(gold, model)
    oov = unknown / (len(gold) if dummy4unknown else len(gold) + unknown) * 100
    log_evaluate_word_pairs(pearson, spearman, oov, pairs)
    return pearson, spearman, oov


def log_evaluate_word_pairs(
    pearson: Correlation, spearman: Correlation, oov: float, pairs: PathLike
) -> None:
    """Log the result of `evaluate_word_pairs`."""
    _logger.info("Pearson correlation coefficient against %s: %.4f", pairs, pearson[0])
    _logger.info("Spearman rank-order correlation against %s: %.4f", pairs, spearman[0])
    _logger.info("Pairs with unknown words ratio: %.1f%%", oov)


def _index(self: Similarity, limit: int | None, upper: bool) -> tuple[dict[Any, int], list[int]]:
    """The first row of each of the first ``limit`` keys, in upper case if ``upper``.

    By key, and by row: the first row whose key is equal to that of this one.
    """
    rows: dict[Any, int] = {}
    first = []
    for row, key in enumerate(self.index_to_key[:limit]):
        folded = key.upper() if upper and isinstance(key, str) else key  # integers stay
        first.append(rows.setdefault(folded, row))
    return rows, first


# Analogies


def evaluate_word_analogies(
    self: Similarity,
    analogies: PathLike,
    restrict_vocab: int | None = 300000,
    case_insensitive: bool = True,
    dummy4unknown: bool = False,
    similarity_function: Literal["most_similar", "most_similar_cosmul"] = "most_similar",
) -> tuple[float, list[dict[str, Any]]]:
    """The share of analogies a - b = c - d that are solved, for ``questions-words.txt`` and such.

    Parameters
    ----------
    analogies : path-like
        Lines ``: section`` and ``a b c d``; others are skipped.
    restrict_vocab : int or None
        Use only this number of keys, the first ones, in questions and as answers.
    case_insensitive : bool
        Compare in upper case; of keys that then are equal the first counts.
    dummy4unknown : bool
        Questions with a missing word count as wrong; else they are skipped.
    similarity_function : {"most_similar", "most_similar_cosmul"}
        3CosAdd or 3CosMul. gensim takes this argument and always uses the first.

    Returns
    -------
    (score, sections)
        Correct answers over all, and for each section, and ``"Total accuracy"`` at the end, a dict
        of ``section`` (its name), ``correct`` and ``incorrect`` (lists of (a, b, c, d)).

    Raises
    ------
    ValueError
        A question comes before the first section, or ``similarity_function`` is unknown.
    """
    if similarity_function not in ("most_similar", "most_similar_cosmul"):
        raise ValueError(
            "evaluate_word_analogies: similarity_function must be 'most_similar' or "
            f"'most_similar_cosmul', got {similarity_function!r}"
        )
    rows, first = _index(self, restrict_vocab, case_insensitive)
    sections: list[dict[str, Any]] = []
    asked, found = [], []  # (section, question), the rows of its words, -1 where one is missing
    for name, question in _questions(analogies, case_insensitive):
        if name is not None:
            sections.append({"section": name, "correct": [], "incorrect": []})
        else:
            asked.append((sections[-1], question))
            found.append([rows.get(word, -1) for word in question])
    places = np.array(found, np.int64).reshape(-1, 4)
    known = np.asarray((places >= 0).all(axis=1))
    places = places[known]
    method = _cosmul if similarity_function == "most_similar_cosmul" else _cosadd
    best = method(self, places[:, :3], restrict_vocab)
    solved = iter(_solved(places, best, np.array(first, np.int64)).tolist())
    for (section, question), there in zip(asked, known.tolist(), strict=True):
        if there:
            section["correct" if next(solved) else "incorrect"].append(question)
        elif dummy4unknown:
            section["incorrect"].append(question)
    for one in sections:
        log_accuracy(one)
    total: dict[str, Any] = {"section": "Total accuracy"}
    for kind in ("correct", "incorrect"):
        total[kind] = list(itertools.chain.from_iterable(one[kind] for one in sections))
    log_accuracy(total)
    correct, count = len(total["correct"]), len(total["correct"]) + len(total["incorrect"])
    return correct / count if count else 0.0, [*sections, total]


def log_accuracy(section: dict[str, Any]) -> None:
    """Log the accuracy of one section of `evaluate_word_analogies`."""
    correct, wrong = len(section["correct"]), len(section["incorrect"])
    if correct + wrong:
        share = 100 * correct / (correct + wrong)
        _logger.info("%s: %.1f%% (%i/%i)", section["section"], share, correct, correct + wrong)


def _questions(path: PathLike, upper: bool) -> Iterator[tuple[str | None, tuple[str, ...]]]:
    """(section, ()) and (None, question) in the order of the file."""
    begun = False
    with open(path, "rb") as file:
        for number, raw in enumerate(file):
            line = raw.decode("utf-8")
            if line.startswith(": "):
                begun = True
                yield line.lstrip(": ").strip(), ()
                continue
            if not begun:
                raise ValueError(
                    f"evaluate_word_analogies: missing section before line #{number} of "
                    f"{os.fspath(path)}"
                )
            words = tuple((line.upper() if upper else line).split())
            if len(words) == 4:
                yield None, words
            else:
                _logger.info("Skipping invalid line #%i in %s", number, path)


def _solved(
    places: NDArray[np.int64], best: NDArray[np.int64], first: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each question, rows (N, 4), is solved by its best rows (N, n), best first, -1: none.

    ``first`` is the first row of the keys that count as equal to a row's key, (V,). The answer is
    the best row that is not one of the question's words; if all are, the last, as in gensim.
    """
    if not best.size:
        return np.zeros(len(places), bool)
    there = best >= 0
    words = np.where(there, first[best], -1)
    answers = there & ~(words[:, :, None] == places[:, None, :3]).any(axis=2)
    last = there.shape[1] - 1 - there[:, ::-1].argmax(axis=1)
    choice = np.where(answers.any(axis=1), answers.argmax(axis=1), last)
    solved: NDArray[np.bool_] = words[np.arange(len(places)), choice] == places[:, 3]
    return solved


def _cosadd(self: Similarity, places: NDArray[np.int64], limit: int | None) -> NDArray[np.int64]:
    """For each question, rows (a, b, c), the best rows by b - a + c, without its own: (N, _BEST).

    -1 where there are fewer.
    """
    candidates = self._candidates(0, len(self.index_to_key[:limit]))
    best = np.full((len(places), _BEST + 3), -1, np.int64)
    exact = np.float64 if self.vectors.dtype == np.float64 else np.float32
    step = analogy_sums.at_once(self.vector_size)
    for start in range(0, len(places), step):
        words, terms = np.unique(places[start : start + step], return_inverse=True)
        units = geometry.unit(self._values(words).astype(np.float64))
        terms = terms.reshape(-1, 3)
        queries = analogy_sums.queries(units, terms, exact)
        found, rest = best[start : start + step], np.arange(len(terms))
        if analogy_sums.pays(candidates.vectors, len(terms), len(words)):
            rest = analogy_sums.topk(*candidates[:3], units, terms, queries, found)
        ranked = self._ranked(queries[rest], _BEST + 3, candidates, None)
        for place, (_, rows) in zip(rest, ranked, strict=True):
            found[place, : len(rows)] = rows
    best[(best[:, :, None] == places[:, None, :]).any(axis=2)] = -1
    order = np.argsort(best < 0, axis=1, kind="stable")[:, :_BEST]
    return np.take_along_axis(best, order, axis=1)


def _cosmul(self: Similarity, places: NDArray[np.int64], limit: int | None) -> NDArray[np.int64]:
    """As `_cosadd`, by the product of `most_similar_cosmul`."""
    stop = len(self.index_to_key[:limit])
    candidates = self._candidates(0, stop)
    step = max(1, _BLOCK // (3 * stop + 1))
    count = min(_BEST, stop)
    found = np.empty((len(places), count), np.int64)
    for start in range(0, len(places), step):
        part = places[start : start + step]
        words, inverse = np.unique(part, return_inverse=True)
        values = self._values(words).astype(np.float64)
        directions = geometry.unit(values)
        shifted = np.stack([self._cosines(query, candidates, None) for query in directions])
        shifted = (1 + shifted) / 2
        rows = zip(found[start:], part, inverse.reshape(part.shape), strict=False)
        for row, place, (a, b, c) in rows:
            scores = shifted[b] * shifted[c] / (shifted[a] + 1e-6)
            scores[np.isnan(scores)] = -1
            scores[place[place < stop]] = -1
            best = np.argpartition(-scores, count - 1)[:count]
            row[:] = best[np.lexsort((best, -scores[best]))]
    return found


# Statistics


def pearsonr(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Pearson's correlation of two samples (N,), as `scipy.stats.pearsonr`.

    The p-value is that of Student's t with N - 2 degrees of freedom. NaN where a sample is
    constant. ValueError where N < 2.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(a) < 2 or a.shape != b.shape:
        raise ValueError("pearsonr: x and y must have the same length of at least 2")
    if a.min() == a.max() or b.min() == b.max():
        return Correlation(math.nan, math.nan)
    centred = [one - geometry.mean(one[:, None], [1] * len(one)) for one in (a, b)]
    r = geometry.cosine(*centred)
    if len(a) == 2:
        return Correlation(math.copysign(1.0, r), 1.0)
    # t^2 = r^2 df / (1 - r^2), and the two tails of t are I_{df / (df + t^2)}(df / 2, 1 / 2).
    return Correlation(r, incomplete_beta((len(a) - 2) / 2, 0.5, (1 - r) * (1 + r)))


def spearmanr(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Spearman's rank correlation of two samples (N,), as `scipy.stats.spearmanr`."""
    return pearsonr(_ranks(np.asarray(x)), _ranks(np.asarray(y)))


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), to about 1e-13.

    By its continued fraction (DLMF 8.17.22), evaluated by Lentz's method.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front += a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / (1 + term * d), 1 + term / c
            value *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return math.exp(front) * value / a
