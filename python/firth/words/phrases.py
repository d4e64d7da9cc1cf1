"""Phrases: words that belong together, as ``new_york``, found by their counts; gensim's names.

Each pair of neighbouring words gets a score; those above a threshold become one token. Apply it
again to the result for longer ones.

A pair is identified by its words, not by the joined string: "new_york" + "city" and "new" +
"york_city" are two pairs, and a word that contains the delimiter is not a pair. (gensim keeps all
in one dict of joined strings, so that these count as one.)
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from firth.arguments import check_real, check_whole, shortened
from firth.errors import FormatError
from firth.formats import container
from firth.formats.files import PathLike
from firth.words.corpus import Sentences, opened
from firth.words.vocabulary import prune_vocab

if TYPE_CHECKING:
    from typing_extensions import Self

_KIND = "phrases"

Key = str | tuple[str, ...]  # a word, or the words of a phrase, connectors among them
_SCORER_ARGUMENTS = (
    "worda_count", "wordb_count", "bigram_count", "len_vocab", "min_count", "corpus_word_count",
)  # fmt: skip

# Words that may occur inside a phrase, but neither begin nor end it.
ENGLISH_CONNECTOR_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "for",
        "of",
        "with",
        "without",
        "at",
        "from",
        "to",
        "in",
        "on",
        "by",
        "and",
        "or",
    ]
)


def original_scorer(
    worda_count: float,
    wordb_count: float,
    bigram_count: float,
    len_vocab: float,
    min_count: float,
    corpus_word_count: float,
) -> float:
    """How much more often a pair occurs than by chance (Mikolov et al. 2013)."""
    together = worda_count * wordb_count
    return (bigram_count - min_count) / together * len_vocab if together else -math.inf


def npmi_scorer(
    worda_count: float,
    wordb_count: float,
    bigram_count: float,
    len_vocab: float,
    min_count: float,
    corpus_word_count: float,
) -> float:
    """Normalised pointwise mutual information, -1 to 1 (Bouma 2009)."""
    if bigram_count < min_count:
        return -math.inf
    share = bigram_count / corpus_word_count
    chance = worda_count / corpus_word_count * (wordb_count / corpus_word_count)
    try:
        return math.log(share / chance) / -math.log(share)
    except ZeroDivisionError:  # all of the corpus is this pair
        return math.nan


_SCORERS: dict[str, Callable[..., float]] = {"default": original_scorer, "npmi": npmi_scorer}


class _Transformation:
    """Finds phrases in sentences; the subclass scores a candidate."""

    connector_words: frozenset[str]
    delimiter: str
    threshold: float
    min_count: float
    scoring: Callable[..., float]

    def score_candidate(
        self, word_a: str, word_b: str, in_between: list[str]
    ) -> tuple[str | None, float | None]:
        """The phrase, joined, and its score, or two None where it is none.

        Parameters
        ----------
        word_a, word_b : str
            First and last word.
        in_between : list of str
            Connector words between them.
        """
        raise NotImplementedError

    def analyze_sentence(self, sentence: Iterable[str]) -> Iterator[tuple[str, float | None]]:
        """The tokens of a sentence, each with its score where it is a phrase, else None."""
        held: list[str] = []  # a word that may begin a phrase, and connectors behind it
        for word in sentence:
            if word in self.connector_words:
                if held:
                    held.append(word)
                else:
                    yield word, None
                continue
            if held:
                phrase, score = self.score_candidate(held[0], word, held[1:])
                if phrase is not None:
                    yield phrase, score
                    held = []
                    continue
            yield from ((one, None) for one in held)
            held = [word]
        yield from ((one, None) for one in held)

    @overload  # a str is an iterable of str too, which is no sentence
    def __getitem__(  # type: ignore[overload-overlap]
        self, sentence: Sequence[str]
    ) -> list[str]: ...

    @overload
    def __getitem__(self, sentence: Iterable[Iterable[str]]) -> Iterable[list[str]]: ...

    def __getitem__(self, sentence: Any) -> Any:
        """The tokens of a sentence with its phrases joined; of a corpus, an iterable of these."""
        if iter(sentence) is sentence:
            first = next(sentence, None)
            sentence = sentence if first is None else itertools.chain([first], sentence)
        else:
            first = next(iter(sentence), None)
        if first is None or isinstance(first, str):
            return [token for token, _ in self.analyze_sentence(sentence)]
        return _Transformed(self, sentence)

    def find_phrases(self, sentences: Sentences) -> dict[str, float]:
        """All phrases in sentences, with their scores.

        If several phrases have the same joined string, the highest score.
        """
        found: dict[str, float] = {}
        for sentence in sentences:
            for phrase, score in self.analyze_sentence(sentence):
                if score is not None:
                    found[phrase] = max(score, found.get(phrase, score))
        return found

    # Files

    def save(self, fname: PathLike) -> None:
        """Save to one file; TypeError for a custom scoring function, which cannot be saved."""
        names = [name for name, scorer in _SCORERS.items() if scorer is self.scoring]
        if not names:
            raise TypeError("save: only the scorings 'default' and 'npmi' can be saved")
        meta = {
            "class": type(self).__name__, "scoring": names[0], "threshold": self.threshold,
            "min_count": self.min_count, "delimiter": self.delimiter,
        } | self._more()  # fmt: skip
        table = self._table()
        keys = [(key,) if isinstance(key, str) else key for key in table]
        values = {
            "values": np.array(list(table.values()), np.float64),
            "words": np.array([len(key) for key in keys], np.int64),  # a phrase has several
        }
        tokens = list(itertools.chain.from_iterable(keys))
        strings = {"tokens": tokens, "connectors": sorted(self.connector_words)}
        container.write(fname, _KIND, values, meta, strings)

    @classmethod
    def load(cls, fname: PathLike) -> Self:
        """Load a file of `save`; FormatError for another file."""
        content = container.read(fname, _KIND)
        try:
            meta = content.meta
            tokens = iter(content.strings["tokens"])
            sizes, values = (content.arrays[name].tolist() for name in ("words", "values"))
            keys = [tuple(itertools.islice(tokens, size)) for size in sizes]
            if 0 in sizes or [len(key) for key in keys] != sizes or [*tokens]:
                raise ValueError("the words are not as many as its phrases have")
            table = dict(
                zip((key if len(key) > 1 else key[0] for key in keys), values, strict=True)
            )
            model: Any = {"Phrases": Phrases, "FrozenPhrases": FrozenPhrases}[meta["class"]]
            if not issubclass(model, cls):
                raise ValueError(f"holds a {meta['class']}")
            loaded: Self = model.__new__(model)
            for name in ("threshold", "min_count", "delimiter"):
                setattr(loaded, name, meta[name])
            loaded.scoring = _SCORERS[meta["scoring"]]
            loaded.connector_words = frozenset(content.strings["connectors"])
            loaded._restore(table, meta)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"is not a complete {cls.__name__}: {error}", fname) from None
        return loaded

    def _table(self) -> dict[Key, Any]:
        raise NotImplementedError

    def _restore(self, table: dict[Key, float], meta: dict[str, Any]) -> None:
        raise NotImplementedError

    def _joined(self, key: Key) -> str:
        return key if isinstance(key, str) else self.delimiter.join(key)

    def _more(self) -> dict[str, Any]:
        return {}


class _Transformed:
    """A corpus seen through phrases; read as often as the corpus can be."""

    def __init__(self, phrases: _Transformation, sentences: Sentences) -> None:
        self.phrases, self.sentences = phrases, sentences

    def __iter__(self) -> Iterator[list[str]]:
        for sentence in self.sentences:
            yield [token for token, _ in self.phrases.analyze_sentence(sentence)]


class Phrases(_Transformation):
    """Phrases of a corpus, with all counts, so that more of it can be added.

    Parameters
    ----------
    sentences : iterable of lists of str, optional
        Read once. Without it, call `add_vocab`.
    min_count : float
        Pairs that occur less often are not phrases.
    threshold : float
        Pairs that score no higher are not phrases; above 0, with "npmi" from -1 to 1.
    max_vocab_size : int
        Forget rare words and pairs whenever there are more than this.
    delimiter : str
        Joins the words of a phrase.
    progress_per : int
        Has no effect.
    scoring : {"default", "npmi"} or callable
        `original_scorer`, `npmi_scorer`, or a function with their arguments.
    connector_words : collection of str
        Words that may occur inside a phrase, as `ENGLISH_CONNECTOR_WORDS`.

    Attributes
    ----------
    vocab : dict of str to int
        Counts of words and of joined pairs (equal strings are added up): a copy.
    corpus_word_count : int

    Raises
    ------
    ValueError
        A parameter is out of range, or ``scoring`` lacks an argument. TypeError: a number or
        ``delimiter`` is of another kind, or ``sentences`` is a str.
    """

    _COUNTERS = ("max_vocab_size", "min_reduce", "corpus_word_count")

    def __init__(
        self,
        sentences: Sentences | None = None,
        min_count: float = 5,
        threshold: float = 10.0,
        max_vocab_size: int = 40_000_000,
        delimiter: str = "_",
        progress_per: int = 10000,
        scoring: str | Callable[..., float] = "default",
        connector_words: Collection[str] = frozenset(),
    ) -> None:
        check_real("Phrases: min_count", min_count, most=math.inf, above=True)
        check_real("Phrases: threshold", threshold, -math.inf, math.inf)
        check_whole("Phrases: max_vocab_size", max_vocab_size, 1, 2**63 - 1)
        if not isinstance(delimiter, str):
            raise TypeError(f"Phrases: delimiter must be a str, got {shortened(delimiter)}")
        if isinstance(scoring, str):
            if scoring not in _SCORERS:
                raise ValueError(f"Phrases: scoring must be one of {[*_SCORERS]}, got {scoring!r}")
            if scoring == "default" and threshold <= 0:
                raise ValueError(f"Phrases: threshold must be above 0, got {threshold}")
            if scoring == "npmi" and not -1 <= threshold <= 1:
                raise ValueError(f"Phrases: threshold must be from -1 to 1, got {threshold}")
            scoring = _SCORERS[scoring]
        missing = set(_SCORER_ARGUMENTS) - set(inspect.signature(scoring).parameters)
        if missing:
            raise ValueError(f"Phrases: scoring must take the arguments {sorted(missing)} too")
        self.min_count, self.threshold, self.scoring = min_count, threshold, scoring
        self.max_vocab_size, self.delimiter = max_vocab_size, delimiter
        self.connector_words = frozenset(connector_words)
        self._counts: dict[Key, int] = {}
        self.min_reduce, self.corpus_word_count = 1, 0
        if sentences is not None:
            self.add_vocab(sentences)

    def __repr__(self) -> str:
        return (
            f"Phrases<{len(self._counts)} vocab, min_count={self.min_count}, "
            f"threshold={self.threshold}, max_vocab_size={self.max_vocab_size}>"
        )

    @property
    def vocab(self) -> dict[str, int]:
        """Counts of words and of pairs, joined as gensim has them."""
        found: dict[str, int] = {}
        for key, count in self._counts.items():
            token = self._joined(key)
            found[token] = found.get(token, 0) + count
        return found

    def add_vocab(self, sentences: Sentences) -> None:
        """Count more sentences, an iterable of lists of words; TypeError for a str."""
        if isinstance(sentences, (str, bytes)):
            raise TypeError(
                "Phrases: sentences must be lists of words; for a file use LineSentence(path)"
            )
        new: dict[Key, int] = {}
        min_reduce, words = 1, 0
        with opened("Phrases", sentences, None) as text:
            for sentence in text:
                held: list[str] = []
                for word in sentence:
                    words += 1
                    if word in self.connector_words:
                        if held:
                            held.append(word)
                        continue
                    new[word] = new.get(word, 0) + 1
                    if held:
                        held.append(word)
                        phrase = tuple(held)
                        new[phrase] = new.get(phrase, 0) + 1
                    held = [word]
                if len(new) > self.max_vocab_size:
                    prune_vocab(new, min_reduce)
                    min_reduce += 1
        self.corpus_word_count += words
        if not self._counts:
            self._counts = new
            return
        self.min_reduce = max(self.min_reduce, min_reduce)
        for key, count in new.items():
            self._counts[key] = self._counts.get(key, 0) + count
        if len(self._counts) > self.max_vocab_size:
            prune_vocab(self._counts, self.min_reduce)
            self.min_reduce += 1

    def score_candidate(
        self, word_a: str, word_b: str, in_between: list[str]
    ) -> tuple[str | None, float | None]:
        """The phrase, joined, and its score where it is above ``threshold``, else two None.

        Parameters
        ----------
        word_a, word_b : str
            First and last word.
        in_between : list of str
            Connector words between them.
        """
        phrase = (word_a, *in_between, word_b)
        counts = [self._counts.get(key, 0) for key in (word_a, word_b, phrase)]
        if not all(counts):
            return None, None
        score = self.scoring(
            worda_count=counts[0], wordb_count=counts[1], bigram_count=counts[2],
            len_vocab=len(self._counts), min_count=self.min_count,
            corpus_word_count=self.corpus_word_count,
        )  # fmt: skip
        return (self._joined(phrase), score) if score > self.threshold else (None, None)

    def export_phrases(self) -> dict[str, float]:
        """All phrases, joined, with their scores; of equal joined strings, the highest score."""
        return self.freeze().phrasegrams

    def freeze(self) -> FrozenPhrases:
        """The phrases without the counts: smaller, but nothing can be added."""
        return FrozenPhrases(self)

    def _table(self) -> dict[Key, Any]:
        return self._counts

    def _more(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._COUNTERS}

    def _restore(self, table: dict[Key, float], meta: dict[str, Any]) -> None:
        self._counts = {key: int(count) for key, count in table.items()}
        for name in self._COUNTERS:
            setattr(self, name, meta[name])


class FrozenPhrases(_Transformation):
    """The phrases of a `Phrases` and their scores.

    Attributes
    ----------
    phrasegrams : dict of str to float
        Phrases, joined, and their scores: a copy, as `Phrases.export_phrases`.
    """

    def __init__(self, phrases_model: Phrases) -> None:
        for name in ("threshold", "min_count", "delimiter", "scoring", "connector_words"):
            setattr(self, name, getattr(phrases_model, name))
        self._scores: dict[Key, float] = {}
        for key in phrases_model._counts:
            if isinstance(key, tuple):
                _, score = phrases_model.score_candidate(key[0], key[-1], list(key[1:-1]))
                if score is not None:
                    self._scores[key] = score

    def __repr__(self) -> str:
        return (
            f"FrozenPhrases<{len(self._scores)} phrases, min_count={self.min_count}, "
            f"threshold={self.threshold}>"
        )

    def score_candidate(
        self, word_a: str, word_b: str, in_between: list[str]
    ) -> tuple[str | None, float | None]:
        """The phrase, joined, and its score where it is above ``threshold``, else two None.

        Arguments are those of `Phrases.score_candidate`.
        """
        phrase = (word_a, *in_between, word_b)
        score = self._scores.get(phrase, -math.inf)
        return (self._joined(phrase), score) if score > self.threshold else (None, None)

    @property
    def phrasegrams(self) -> dict[str, float]:
        """Phrases, joined as gensim has them, and their scores."""
        found: dict[str, float] = {}
        for key, score in self._scores.items():
            phrase = self._joined(key)
            found[phrase] = max(score, found.get(phrase, score))
        return found

    def _table(self) -> dict[Key, Any]:
        return self._scores

    def _restore(self, table: dict[Key, float], meta: dict[str, Any]) -> None:
        self._scores = table


Phraser = FrozenPhrases  # its name before gensim 4
