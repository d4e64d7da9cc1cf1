"""`CountVectorizer` and `TfidfVectorizer`: scikit-learn's classes of these names.

Native code cuts texts into terms and counts them where the parameters say how. Where they hold
callables, an unusual pattern of tokens, or a subclass has methods of its own, the steps that
`build_analyzer` puts together are called for each text. See `terms`; what follows is the same.

(More than 500 lines: two classes whose arguments, docstrings and errors are scikit-learn's.)
"""

from __future__ import annotations

import functools
import itertools
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from firth import _native
from firth.estimator import Estimator
from firth.optional import needs
from firth.words import terms as cutting
from firth.words.terms import Counted, Rows

if TYPE_CHECKING:
    from typing_extensions import Self

TOKENS = r"(?u)\b\w\w+\b"  # words of two or more letters


class CountVectorizer(Estimator):
    r"""Counts of words, runs of words or runs of characters in texts: bags of words.

    Parameters, methods, results and errors are those of
    ``sklearn.feature_extraction.text.CountVectorizer``.

    Parameters
    ----------
    input : {"content", "filename", "file"}, default "content"
        What the documents are: str or bytes, names of files, or objects with ``read``.
    encoding : str, default "utf-8"
        Of bytes and files.
    decode_error : {"strict", "ignore", "replace"}, default "strict"
        What becomes of bytes that are not of that encoding.
    strip_accents : {"ascii", "unicode"} or callable, optional
        Characters are decomposed (NFKD), and "unicode" drops their accents, "ascii" what is not
        ASCII.
    lowercase : bool, default True
    preprocessor : callable, optional
        str to str, in place of `strip_accents` and `lowercase`.
    tokenizer : callable, optional
        str to list of str, in place of `token_pattern`.
    stop_words : {"english"} or list of str, optional
        Words that are left out. "english" is scikit-learn's list, so it needs scikit-learn.
    token_pattern : str, default r"(?u)\b\w\w+\b"
        A regular expression of words with one group at most, which then is the word.
    ngram_range : tuple (int, int), default (1, 1)
        Fewest and most words or characters of a term.
    analyzer : {"word", "char", "char_wb"} or callable, default "word"
        Terms are runs of words, of characters, or of characters within a word between spaces; or
        what the callable makes of a document.
    max_df, min_df : float or int, default 1.0 and 1
        Terms in more or fewer documents are left out: a share (float) or a number (int) of them.
    max_features : int, optional
        How many terms stay, the most frequent.
    vocabulary : mapping of terms to columns, or iterable of terms, optional
        The terms; default: those of the documents of `fit`, sorted.
    binary : bool, default False
        All counts become 1: the term occurs.
    dtype : dtype, default int64
        Of the matrix.

    Attributes
    ----------
    vocabulary_ : dict of term to column
    fixed_vocabulary_ : bool
        Whether it is the one of the constructor.

    Notes
    -----
    Matrices are ``scipy.sparse.csr_matrix``, or dense arrays where SciPy is not installed. Rows
    list their terms by column, those of `fit_transform` by first occurrence in the documents where
    the vocabulary comes from them (as scikit-learn's).

    >>> from firth.words import CountVectorizer
    >>> bags = CountVectorizer()
    >>> counts = bags.fit_transform(["The cat sat.", "The cat and the dog!"])
    >>> bags.get_feature_names_out().tolist()
    ['and', 'cat', 'dog', 'sat', 'the']
    >>> counts.toarray()
    array([[0, 1, 0, 1, 1],
           [1, 1, 1, 0, 2]])
    """

    def __init__(
        self,
        *,
        input: str = "content",
        encoding: str = "utf-8",
        decode_error: str = "strict",
        strip_accents: Any = None,
        lowercase: bool = True,
        preprocessor: Callable[[Any], Any] | None = None,
        tokenizer: Callable[[Any], Any] | None = None,
        stop_words: Any = None,
        token_pattern: str | None = TOKENS,
        ngram_range: tuple[int, int] = (1, 1),
        analyzer: Any = "word",
        max_df: float = 1.0,
        min_df: float = 1,
        max_features: int | None = None,
        vocabulary: Mapping[Any, int] | Iterable[Any] | None = None,
        binary: bool = False,
        dtype: DTypeLike = np.int64,
    ) -> None:
        self.input = input
        self.encoding = encoding
        self.decode_error = decode_error
        self.strip_accents = strip_accents
        self.lowercase = lowercase
        self.preprocessor = preprocessor
        self.tokenizer = tokenizer
        self.stop_words = stop_words
        self.token_pattern: Any = token_pattern
        self.ngram_range = ngram_range
        self.analyzer = analyzer
        self.max_df: Any = max_df
        self.min_df: Any = min_df
        self.max_features: Any = max_features
        self.vocabulary = vocabulary
        self.binary = binary
        self.dtype = dtype

    # The public methods

    def fit(self, raw_documents: Iterable[Any], y: Any = None) -> Self:
        """Take the terms of an iterable of documents as vocabulary; y is ignored. Returns self.

        Raises
        ------
        ValueError
            A parameter is out of its range, the documents are a single str, or no term remains.
        """
        self._learn(raw_documents)
        return self

    def fit_transform(self, raw_documents: Iterable[Any], y: Any = None) -> Any:
        """`fit`, and the counts (n_documents, n_terms) of these documents; errors as of `fit`.

        A sparse matrix as `transform` returns it, in less time than by both.
        """
        return self._matrix(self._learn(raw_documents))

    def transform(self, raw_documents: Iterable[Any]) -> Any:
        """Counts (n_documents, n_terms) of the vocabulary's terms in each document.

        Raises
        ------
        ValueError
            There is no vocabulary (scikit-learn's NotFittedError where that is installed), or the
            documents are a single str.
        """
        return self._matrix(self._apply(raw_documents))

    def inverse_transform(self, X: Any) -> list[NDArray[Any]]:
        """The terms of each row of X (n_documents, n_terms), sparse or dense, that are not 0.

        A list of n_documents arrays of str. ValueError for an array that has not 2 axes, or where
        there is no vocabulary.
        """
        self._check_vocabulary()
        terms = np.array(sorted(self.vocabulary_, key=self.vocabulary_.__getitem__))
        if hasattr(X, "tocsr"):
            X = X.tocsr()
            ends = itertools.pairwise(X.indptr.tolist())
            return [terms[X.indices[a:b][X.data[a:b] != 0]] for a, b in ends]
        X = np.asarray(X)
        if X.ndim != 2:
            raise ValueError(f"Expected 2D array, got an array with shape {X.shape} instead.")
        return [terms[np.flatnonzero(row)] for row in X]

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """The terms (n_terms,), an array of object, in the order of the columns.

        ``input_features`` is ignored. ValueError where there is no vocabulary.
        """
        self._check_vocabulary()
        terms = sorted(self.vocabulary_, key=self.vocabulary_.__getitem__)
        return np.asarray(terms, dtype=object)

    def decode(self, doc: Any) -> Any:
        """A document as str: read where `input` says so, and decoded if it is bytes."""
        if self.input == "filename":
            with open(doc, "rb") as file:
                doc = file.read()
        elif self.input == "file":
            doc = doc.read()
        if isinstance(doc, bytes):
            doc = doc.decode(self.encoding, self.decode_error)
        if doc is np.nan:
            raise ValueError("np.nan is an invalid document, expected byte or unicode string.")
        return doc

    def build_preprocessor(self) -> Callable[[Any], Any]:
        """What changes a text before it is cut: str to str."""
        if self.preprocessor is not None:
            return self.preprocessor
        strip = self.strip_accents
        if strip and not callable(strip) and strip not in cutting.STRIP:
            raise ValueError(f'Invalid value for "strip_accents": {strip}')
        return cutting.preprocessor(bool(self.lowercase), strip or None)

    def build_tokenizer(self) -> Callable[[Any], Any]:
        """What cuts a text into words: str to list of str.

        ValueError for a `token_pattern` with more than one group.
        """
        if self.tokenizer is not None:
            return self.tokenizer
        pattern = re.compile(self.token_pattern)
        if pattern.groups > 1:
            raise ValueError(
                "More than 1 capturing group in token pattern. Only a single group should be "
                "captured."
            )
        return pattern.findall

    def get_stop_words(self) -> frozenset[Any] | None:
        """The words that are left out, a frozenset, or None.

        "english" is scikit-learn's list, which needs that package; ValueError for another name.
        """
        if self.stop_words is None:
            return None
        if isinstance(self.stop_words, str):
            if self.stop_words != "english":
                raise ValueError(f"not a built-in stop list: {self.stop_words}")
            text = needs("sklearn.feature_extraction.text", 'stop_words="english"', "scikit-learn")
            words: frozenset[Any] = text.ENGLISH_STOP_WORDS
            return words
        return frozenset(self.stop_words)

    def build_analyzer(self) -> Callable[[Any], Any]:
        """What turns a document into its terms, all steps from `decode` on: a document to terms.

        ValueError for an `analyzer` that there is not.
        """
        if callable(self.analyzer):
            return functools.partial(cutting.in_turn, steps=[self.decode, self.analyzer])
        preprocess = self.build_preprocessor()
        if self.analyzer == "char":
            return functools.partial(
                cutting.in_turn, steps=[self.decode, preprocess, self._char_ngrams]
            )
        if self.analyzer == "char_wb":
            return functools.partial(
                cutting.in_turn, steps=[self.decode, preprocess, self._char_wb_ngrams]
            )
        if self.analyzer != "word":
            raise ValueError(f"{self.analyzer} is not a valid tokenization scheme/analyzer")
        stop_words = self.get_stop_words()
        tokenize = self.build_tokenizer()
        self._check_stop_words(stop_words, preprocess, tokenize)
        ngrams = functools.partial(self._word_ngrams, stop_words=stop_words)
        return functools.partial(cutting.in_turn, steps=[self.decode, preprocess, tokenize, ngrams])

    # Terms, in Python

    def _word_ngrams(self, tokens: Any, stop_words: frozenset[Any] | None = None) -> Any:
        if stop_words is not None:
            tokens = [word for word in tokens if word not in stop_words]
        least, most = self.ngram_range
        if most == 1:
            return tokens
        tokens = list(tokens)
        found = list(tokens) if least == 1 else []
        for n in range(2 if least == 1 else least, min(most, len(tokens)) + 1):
            found += [" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
        return found

    def _char_ngrams(self, text: str) -> list[str]:
        text = re.sub(r"\s\s+", " ", text)
        least, most = self.ngram_range
        return [
            text[i : i + n]
            for n in range(least, min(most, len(text)) + 1)
            for i in range(len(text) - n + 1)
        ]

    def _char_wb_ngrams(self, text: str) -> list[str]:
        least, most = self.ngram_range
        found = []
        for word in text.split():
            word = f" {word} "
            for n in range(least, most + 1):
                found += [word[i : i + n] for i in range(max(len(word) - n, 0) + 1)]
                if n >= len(word):  # counted once
                    break
        return found

    # Counting

    def _learn(self, raw_documents: Iterable[Any]) -> Rows:
        """Set the vocabulary; the rows of the documents, with its columns as ids."""
        self._check_parameters(dict(sorted(self._parameters().items())))
        if isinstance(raw_documents, str):
            raise ValueError(_NOT_A_STR)
        if self.ngram_range[0] > self.ngram_range[1]:
            raise ValueError(
                f"Invalid value for ngram_range={self.ngram_range} lower boundary larger than the "
                "upper boundary."
            )
        self._warn_of_unused()
        self._set_vocabulary()
        if self.fixed_vocabulary_:
            self._warn_of_upper_case()
            return self._known(raw_documents)
        terms, rows, order = self._counted(raw_documents)
        if not terms:
            raise ValueError("empty vocabulary; perhaps the documents only contain stop words")
        columns = self._columns(rows, order)
        kept = columns >= 0
        self.vocabulary_ = dict(
            zip(itertools.compress(terms, kept), columns[kept].tolist(), strict=True)
        )
        return self._placed(rows, columns, by_columns=False)

    def _apply(self, raw_documents: Iterable[Any]) -> Rows:
        if isinstance(raw_documents, str):
            raise ValueError(_NOT_A_STR)
        self._check_vocabulary()
        return self._known(raw_documents)

    def _known(self, documents: Iterable[Any]) -> Rows:
        """The rows of documents, with the vocabulary's columns as ids."""
        known = self.vocabulary_
        terms, rows, _ = self._counted(documents, known)
        columns = known.values() if terms is known else map(known.get, terms, itertools.repeat(-1))
        return self._placed(rows, np.fromiter(columns, np.int32, len(terms)), by_columns=True)

    def _counted(
        self, documents: Iterable[Any], vocabulary: Mapping[Any, int] | None = None
    ) -> Counted:
        """Terms and rows; those without a vocabulary are to be sorted."""
        analyze = self.build_analyzer()
        counts = self._counts()
        if counts is None:
            return cutting.counted_by(analyze, documents, sort=vocabulary is None)
        page = functools.partial(
            cutting.page, lowercase=bool(self.lowercase), strip_accents=self.strip_accents or None
        )
        return cutting.counted_natively(counts, self._texts(documents), page, vocabulary)

    def _counts(self) -> _native.text.TermCounts | None:
        """Native code for these parameters, or None: only Python does what they say."""
        for name in _STEPS:
            if getattr(getattr(self, name), "__func__", None) is not getattr(CountVectorizer, name):
                return None
        if any(map(callable, (self.analyzer, self.strip_accents, self.preprocessor))):
            return None
        shortest, stop_words = 1, None
        if self.analyzer == "word":
            found = _RUNS.fullmatch(self.token_pattern or "")
            if self.tokenizer is not None or found is None:
                return None
            shortest, stop_words = len(found[1]) // 2, self.get_stop_words()
        least, most = self.ngram_range
        if not all(isinstance(n, Integral) for n in (least, most)) or not 1 <= least <= most:
            return None
        words = [word for word in stop_words or () if isinstance(word, str)]
        return _native.text.TermCounts(
            self.analyzer, shortest, least, most,
            [word.encode("utf-8", "surrogatepass") for word in words],
        )  # fmt: skip

    def _texts(self, documents: Iterable[Any]) -> Iterator[str]:
        """Documents as str; capital sigmas, lower by their neighbours, are so already."""
        content, lowercase = self.input == "content", self.lowercase
        for document in documents:
            if type(document) is not str or not content:
                document = self.decode(document)
                if not isinstance(document, str):
                    self.build_preprocessor()(document)  # its error is the one to see
                    raise TypeError(
                        f"expected string or bytes-like object, got {type(document).__name__!r}"
                    )
            yield document.lower() if lowercase and "Σ" in document else document

    def _columns(self, rows: Rows, order: NDArray[np.int32] | None) -> NDArray[np.int32]:
        """The column of each term (n,), sorted by term; -1 where it is too rare or too common."""
        assert order is not None
        n_terms, n_documents = len(order), len(rows.offsets) - 1
        limits: list[Any] = [
            limit if isinstance(limit, Integral) else limit * n_documents
            for limit in (self.max_df, self.min_df)
        ]
        high, low = limits
        if high < low:
            raise ValueError("max_df corresponds to < documents than min_df")
        documents = np.bincount(rows.ids, minlength=n_terms)[order]
        kept = (documents <= high) & (documents >= low)
        if self.max_features is not None and kept.sum() > self.max_features:
            counts = np.ones_like(rows.counts) if self.binary else rows.counts
            weights = counts.astype(self.dtype)
            totals = np.bincount(rows.ids, weights=weights, minlength=n_terms)[order]
            # The order of equal ones is NumPy's for the type that the matrix would be summed in.
            totals = totals.astype(np.zeros(0, self.dtype).sum().dtype)[kept]
            best = np.flatnonzero(kept)[(-totals).argsort()[: self.max_features]]
            kept[:] = False
            kept[best] = True
        if not kept.any():
            raise ValueError(
                "After pruning, no terms remain. Try a lower min_df or a higher max_df."
            )
        columns = np.full(n_terms, -1, np.int32)
        columns[order[kept]] = np.arange(kept.sum())
        return columns

    def _placed(self, rows: Rows, columns: NDArray[np.int32], by_columns: bool) -> Rows:
        """Rows of terms as rows of columns, sorted by these or by terms; values of `dtype`."""
        placed = Rows(*_native.text.place_terms(*rows, columns, by_columns))
        values = np.ones_like(placed.counts) if self.binary else placed.counts
        return placed._replace(counts=values.astype(self.dtype))

    def _matrix(self, rows: Rows) -> Any:
        """Rows as a sparse matrix, without SciPy as a dense one."""
        shape = (len(rows.offsets) - 1, len(self.vocabulary_))
        try:
            from scipy import sparse
        except ImportError:
            dense = np.zeros(shape, rows.counts.dtype)
            dense[cutting.row_numbers(rows), rows.ids] = rows.counts
            return dense
        index = np.int32 if len(rows.ids) <= np.iinfo(np.int32).max else np.int64
        parts = (rows.counts, rows.ids.astype(index, copy=False), rows.offsets.astype(index))
        return sparse.csr_matrix(parts, shape=shape)

    # Arguments

    def _parameters(self) -> dict[str, tuple[str, bool]]:
        """What each parameter must be, and whether it is."""

        def among(name: str, *values: str) -> tuple[str, bool]:
            value = getattr(self, name)
            text = "{" + ", ".join(map(repr, values)) + "}"
            return f"a str among {text}", isinstance(value, str) and value in values

        def truth(name: str) -> tuple[str, bool]:
            text = "an instance of 'bool' or an instance of 'numpy.bool'"
            return text, isinstance(getattr(self, name), (bool, np.bool_))

        def or_else(one: tuple[str, bool], text: str, right: bool) -> tuple[str, bool]:
            return f"{one[0]}{text}", one[1] or right

        def share(value: Any) -> tuple[str, bool]:
            text = "a float in the range [0.0, 1.0] or an int in the range [1, inf)"
            if isinstance(value, float):
                return text, 0 <= value <= 1
            return text, isinstance(value, Integral) and operator.ge(value, 1)

        def maybe_callable(value: Any) -> tuple[str, bool]:
            return "a callable or None", value is None or callable(value)

        accents, most = self.strip_accents, self.max_features
        return {
            "input": among("input", "content", "file", "filename"),
            "encoding": ("an instance of 'str'", isinstance(self.encoding, str)),
            "decode_error": among("decode_error", "ignore", "replace", "strict"),
            "strip_accents": or_else(
                among("strip_accents", "ascii", "unicode"), ", None or a callable",
                accents is None or callable(accents),
            ),
            "lowercase": truth("lowercase"),
            "preprocessor": maybe_callable(self.preprocessor),
            "tokenizer": maybe_callable(self.tokenizer),
            "stop_words": or_else(
                among("stop_words", "english"), ", an instance of 'list' or None",
                self.stop_words is None or isinstance(self.stop_words, list),
            ),
            "token_pattern": (
                "an instance of 'str' or None", isinstance(self.token_pattern, (str, type(None))),
            ),
            "ngram_range": ("an instance of 'tuple'", isinstance(self.ngram_range, tuple)),
            "analyzer": or_else(
                among("analyzer", "char", "char_wb", "word"), " or a callable",
                callable(self.analyzer),
            ),
            "max_df": share(self.max_df),
            "min_df": share(self.min_df),
            "max_features": (
                "an int in the range [1, inf) or None",
                most is None or (isinstance(most, Integral) and operator.ge(most, 1)),
            ),
            "vocabulary": (
                "an instance of 'collections.abc.Mapping', an object implementing '__iter__' or "
                "None", self.vocabulary is None or hasattr(self.vocabulary, "__iter__"),
            ),
            "binary": truth("binary"),
        }  # fmt: skip

    def _warn_of_unused(self) -> None:
        """Name parameters that others make useless."""
        unused = []
        if self.tokenizer is not None and self.token_pattern is not None:
            unused.append(("token_pattern", "'tokenizer' is not None'"))
        if callable(self.analyzer):
            if self.preprocessor is not None:
                unused.append(("preprocessor", "'analyzer' is callable'"))
            if self.ngram_range != (1, 1):
                unused.append(("ngram_range", "'analyzer' is callable'"))
        if self.analyzer != "word":
            changed = self.token_pattern not in (None, TOKENS)
            for name, used in (("stop_words", self.stop_words is not None),
                               ("token_pattern", changed),
                               ("tokenizer", self.tokenizer is not None)):  # fmt: skip
                if used:
                    unused.append((name, "'analyzer' != 'word'"))
        for name, why in unused:
            warnings.warn(
                f"The parameter '{name}' will not be used since {why}", stacklevel=_CALLER
            )

    def _warn_of_upper_case(self) -> None:
        if self.lowercase and any(any(map(str.isupper, term)) for term in self.vocabulary_):
            warnings.warn(
                "Upper case characters found in vocabulary while 'lowercase' is True. These "
                "entries will not be matched with any documents",
                stacklevel=_CALLER,
            )

    def _check_stop_words(
        self,
        stop_words: frozenset[Any] | None,
        preprocess: Callable[[Any], Any],
        tokenize: Callable[[Any], Any],
    ) -> None:
        """Warn, once a list, of stop words that are cut into words that are none."""
        if stop_words is None or getattr(self, "_checked_stop_words", None) is self.stop_words:
            return
        try:
            others = {token for word in stop_words for token in tokenize(preprocess(word))}
        except Exception:  # callables that take something else
            others = set()
        self._checked_stop_words = self.stop_words
        if others - stop_words:
            warnings.warn(
                "Your stop_words may be inconsistent with your preprocessing. Tokenizing the stop "
                f"words generated tokens {sorted(others - stop_words)} not in stop_words.",
                stacklevel=_CALLER + 2,
            )

    def _set_vocabulary(self) -> None:
        """Take the constructor's vocabulary, if there is one."""
        given = self.vocabulary
        self.fixed_vocabulary_ = given is not None
        if given is None:
            return
        if isinstance(given, Mapping):
            columns = set(given.values())
            if len(columns) != len(given):
                raise ValueError("Vocabulary contains repeated indices.")
            for column in range(len(given)):
                if column not in columns:
                    raise ValueError(
                        f"Vocabulary of size {len(given)} doesn't contain index {column}."
                    )
            vocabulary = dict(given)
        else:
            vocabulary = {}
            for column, term in enumerate(sorted(given) if isinstance(given, set) else given):
                if vocabulary.setdefault(term, column) != column:
                    raise ValueError(f"Duplicate term in vocabulary: {term!r}")
        if not vocabulary:
            raise ValueError("empty vocabulary passed to fit")
        self.vocabulary_ = vocabulary

    def _check_vocabulary(self) -> None:
        if not hasattr(self, "vocabulary_"):
            self._set_vocabulary()
            if not self.fixed_vocabulary_:
                raise _not_fitted("Vocabulary not fitted or provided")
        if not self.vocabulary_:
            raise ValueError("Vocabulary is empty")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks an estimator for: this one takes strings."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


class TfidfVectorizer(CountVectorizer):
    r"""TF-IDF of words, runs of words or runs of characters in texts.

    Parameters, methods, results and errors are those of
    ``sklearn.feature_extraction.text.TfidfVectorizer``: the counts of `CountVectorizer`, each times
    the term's ``idf = log((1 + n) / (1 + df)) + 1`` for n documents of which df have the term, and
    rows then divided by their length.

    Parameters
    ----------
    input, encoding, decode_error, strip_accents, lowercase, preprocessor, tokenizer, analyzer, \
    stop_words, token_pattern, ngram_range, max_df, min_df, max_features, vocabulary, binary
        As `CountVectorizer` has them.
    dtype : {float64, float32}, default float64
        Of the matrix.
    norm : {"l2", "l1"}, default "l2"
        Rows have Euclidean length 1 or sum 1. None: they stay as they are.
    use_idf : bool, default True
        False: idf is 1.
    smooth_idf : bool, default True
        False: without the ones in the quotient, ``log(n / df) + 1``.
    sublinear_tf : bool, default False
        1 + log(count) in place of the count.

    Attributes
    ----------
    vocabulary_, fixed_vocabulary_
        As `CountVectorizer` has them.
    idf_ : ndarray (n_terms,)
        Can be set.

    >>> from firth.words import TfidfVectorizer
    >>> weights = TfidfVectorizer().fit_transform(["The cat sat.", "The cat and the dog!"])
    >>> weights.toarray().round(2)
    array([[0.  , 0.5 , 0.  , 0.7 , 0.5 ],
           [0.47, 0.33, 0.47, 0.  , 0.67]])
    """

    def __init__(
        self,
        *,
        input: str = "content",
        encoding: str = "utf-8",
        decode_error: str = "strict",
        strip_accents: Any = None,
        lowercase: bool = True,
        preprocessor: Callable[[Any], Any] | None = None,
        tokenizer: Callable[[Any], Any] | None = None,
        analyzer: Any = "word",
        stop_words: Any = None,
        token_pattern: str | None = TOKENS,
        ngram_range: tuple[int, int] = (1, 1),
        max_df: float = 1.0,
        min_df: float = 1,
        max_features: int | None = None,
        vocabulary: Mapping[Any, int] | Iterable[Any] | None = None,
        binary: bool = False,
        dtype: DTypeLike = np.float64,
        norm: str | None = "l2",
        use_idf: bool = True,
        smooth_idf: bool = True,
        sublinear_tf: bool = False,
    ) -> None:
        super().__init__(
            input=input,
            encoding=encoding,
            decode_error=decode_error,
            strip_accents=strip_accents,
            lowercase=lowercase,
            preprocessor=preprocessor,
            tokenizer=tokenizer,
            stop_words=stop_words,
            token_pattern=token_pattern,
            ngram_range=ngram_range,
            analyzer=analyzer,
            max_df=max_df,
            min_df=min_df,
            max_features=max_features,
            vocabulary=vocabulary,
            binary=binary,
            dtype=dtype,
        )
        self.norm = norm
        self.use_idf = use_idf
        self.smooth_idf = smooth_idf
        self.sublinear_tf = sublinear_tf

    @property
    def idf_(self) -> NDArray[Any]:
        """The weight of each term (n_terms,); AttributeError where `use_idf` is False.

        It can be assigned: ValueError for another number of terms.
        """
        if not hasattr(self, "_weights"):
            raise _not_fitted(
                f"{type(self).__name__} is not fitted yet. Call 'fit' with appropriate arguments "
                "before using this attribute."
            )
        if self._weights.idf is None:
            raise AttributeError(f"{type(self).__name__} has no idf_ where use_idf is False")
        return self._weights.idf

    @idf_.setter
    def idf_(self, value: Any) -> None:
        if not self.use_idf:
            raise ValueError("`idf_` cannot be set when `user_idf=False`.")
        self._set_vocabulary()
        if hasattr(self, "vocabulary_") and len(self.vocabulary_) != len(value):
            raise ValueError(
                f"idf length = {len(value)} must be equal to vocabulary size = "
                f"{len(self.vocabulary_)}"
            )
        if not hasattr(self, "_weights"):
            self._weights = self._new_weights()
        self._weights.idf = np.asarray(value)

    def fit(self, raw_documents: Iterable[Any], y: Any = None) -> Self:
        """Take vocabulary and idf from an iterable of documents; y is ignored. Returns self.

        Raises
        ------
        ValueError
            As `CountVectorizer.fit`.
        """
        self._learn(raw_documents)
        return self

    def fit_transform(self, raw_documents: Iterable[Any], y: Any = None) -> Any:
        """`fit`, and the weights (n_documents, n_terms) of these documents; errors as of `fit`."""
        return self._matrix(self._weights_of(self._learn(raw_documents)))

    def transform(self, raw_documents: Iterable[Any]) -> Any:
        """Weights (n_documents, n_terms) of the vocabulary's terms in each document.

        Raises
        ------
        ValueError
            As `CountVectorizer.transform`.
        """
        if not hasattr(self, "_weights"):
            raise _not_fitted("The TF-IDF vectorizer is not fitted")
        return self._matrix(self._weights_of(self._apply(raw_documents)))

    def _learn(self, raw_documents: Iterable[Any]) -> Rows:
        if self.dtype not in _FLOATS:
            warnings.warn(
                f"Only {_FLOATS} 'dtype' should be used. {self.dtype} 'dtype' will be converted "
                "to np.float64.",
                stacklevel=3,
            )
        rows = super()._learn(raw_documents)
        weights = self._new_weights()
        weights.learn(rows, len(self.vocabulary_))
        self._weights = weights
        return rows

    def _known(self, documents: Iterable[Any]) -> Rows:
        rows = super()._known(documents)
        if len(rows.offsets) == 1:
            raise ValueError(
                f"Found array with 0 sample(s) (shape=(0, {len(self.vocabulary_)})) while a "
                f"minimum of 1 is required by {type(self).__name__}."
            )
        return rows

    def _new_weights(self) -> _Weights:
        return _Weights(self.norm, bool(self.use_idf), bool(self.smooth_idf), self.sublinear_tf)

    def _weights_of(self, rows: Rows) -> Rows:
        return rows._replace(counts=self._weights.of(rows))

    def _parameters(self) -> dict[str, tuple[str, bool]]:
        truth = "an instance of 'bool' or an instance of 'numpy.bool'"
        return super()._parameters() | {
            "norm": ("a str among {'l1', 'l2'} or None", self.norm in ("l1", "l2", None)),
            **{name: (truth, isinstance(getattr(self, name), (bool, np.bool_)))
               for name in ("use_idf", "smooth_idf", "sublinear_tf")},
        }  # fmt: skip


@dataclass
class _Weights:
    """The settings of a fit, which later changes of parameters leave alone, and its idf."""

    norm: str | None
    use_idf: bool
    smooth_idf: bool
    sublinear_tf: bool
    idf: NDArray[Any] | None = None

    def learn(self, rows: Rows, n_terms: int) -> None:
        if not self.use_idf:
            return
        dtype = _weighed(rows.counts.dtype)
        documents = np.bincount(rows.ids, minlength=n_terms).astype(dtype)
        documents += float(self.smooth_idf)
        idf = np.full_like(documents, len(rows.offsets) - 1 + self.smooth_idf)
        idf /= documents
        self.idf = np.log(idf) + 1

    def of(self, rows: Rows) -> NDArray[Any]:
        """Counts of rows as weights, in their order."""
        values = rows.counts.astype(_weighed(rows.counts.dtype))
        if self.sublinear_tf:
            np.log(values, out=values)
            values += 1
        idf = None if self.idf is None else np.ascontiguousarray(self.idf, np.float64)
        if not _native.text.weigh_terms(rows.offsets, rows.ids, values, idf, self.norm):
            raise ValueError(f"Input contains infinity or a value too large for {values.dtype!r}.")
        return values


class NotFittedError(ValueError, AttributeError):
    """Used before `fit`, where scikit-learn's class of this name is not there."""


def _not_fitted(text: str) -> Exception:
    try:
        from sklearn import exceptions
    except ImportError:
        return NotFittedError(text)
    error: Exception = exceptions.NotFittedError(text)
    return error


def _weighed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of weights for counts of a type."""
    return dtype if dtype in (np.float64, np.float32) else np.dtype(np.float64)


_FLOATS = (np.float64, np.float32, np.float16)
_RUNS = re.compile(r"(?:\(\?u\))?(?:\\b)?((?:\\w)+)\+(?:\\b)?")  # patterns that are whole words
_STEPS = (
    "decode", "build_preprocessor", "build_tokenizer", "build_analyzer", "get_stop_words",
    "_word_ngrams", "_char_ngrams", "_char_wb_ngrams",
)  # fmt: skip
_CALLER = 4  # from a warning to who called `fit`
_NOT_A_STR = "Iterable over raw text documents expected, string object received."
