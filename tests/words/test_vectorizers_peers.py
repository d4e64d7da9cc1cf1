"""Both vectorizers against scikit-learn's: the same bits, errors and warnings."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

from firth import words
from texts import of_many_scripts

text = pytest.importorskip("sklearn.feature_extraction.text")
pytestmark = pytest.mark.peer

NEWS = [
    "The quick brown fox jumps over the lazy dog, and the dog isn't amused.",
    "A fox! A FOX! My kingdom for a fox; Kingdoms rise & fall.",
    "In 1984 the naïve café-owner said: 'ÇA VA?' – ὈΔΥΣΣΕΎΣ, ΟΔΟΣ ΣΑΣ.",
    "   spaces \t\n everywhere \u3000  here ",
    "İstanbul'da yağmur yağıyor, straße STRASSE ﬁne ﬂuﬀ",
    "我 喜欢 狐狸 and foxes foxes foxes",
    "",
]
TEXTS = NEWS + of_many_scripts()
EPS = np.finfo(np.float64).eps
KINDS = ["CountVectorizer", "TfidfVectorizer"]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"lowercase": False},
    {"strip_accents": "unicode"},
    {"strip_accents": "ascii", "lowercase": False},
    {"strip_accents": str.swapcase},
    {"stop_words": "english"},
    {"stop_words": ["the", "fox"], "ngram_range": (1, 3)},
    {"ngram_range": (2, 2)},
    {"ngram_range": (0, 2)},
    {"ngram_range": (0, 0)},
    {"token_pattern": r"(?u)\b\w+\b"},
    {"token_pattern": r"\w\w\w+"},
    {"token_pattern": r"[a-z]+|\d"},
    {"token_pattern": r"(\w)\w*", "ngram_range": (1, 2)},
    {"analyzer": "char", "ngram_range": (1, 3)},
    {"analyzer": "char", "ngram_range": (5, 5), "strip_accents": "unicode"},
    {"analyzer": "char_wb", "ngram_range": (2, 5)},
    {"analyzer": "char_wb", "ngram_range": (7, 9), "lowercase": False},
    {"analyzer": str.split},
    {"tokenizer": str.split, "token_pattern": None, "ngram_range": (1, 2)},
    {"preprocessor": str.title},
    {"min_df": 2},
    {"min_df": 0.005, "max_df": 0.1},
    {"max_df": 3},
    {"max_features": 1},
    {"max_features": 40},
    {"max_features": 25, "min_df": 2, "dtype": np.float32, "binary": True},
    {"max_features": 10**6},
    {"binary": True},
    {"dtype": np.float32},
    {"vocabulary": ["fox", "dog", "unicorn"]},
    {"vocabulary": {"fox", "dog", "the lazy"}, "ngram_range": (1, 2)},
    {"vocabulary": {"fox": 1, "kingdom": 0}},
]
OF_WEIGHTS: list[dict[str, Any]] = [
    {"norm": "l1"},
    {"norm": None},
    {"norm": None, "smooth_idf": False, "sublinear_tf": True},
    {"norm": "l1", "use_idf": False, "dtype": np.float32},
    {"smooth_idf": False, "analyzer": "char", "ngram_range": (1, 2)},
    {"sublinear_tf": True, "dtype": np.float32, "analyzer": "char"},
]
OF_COUNTS: list[dict[str, Any]] = [
    {"dtype": dtype, "analyzer": "char", "max_features": 30}
    for dtype in (np.uint8, np.int32, bool, "f8")
]
ALL = [
    *[(kind, one) for kind in KINDS for one in SETTINGS],
    *[("TfidfVectorizer", one) for one in OF_WEIGHTS],
    *[("CountVectorizer", one) for one in OF_COUNTS],
]


def same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.indices.dtype == other.indices.dtype
    np.testing.assert_array_equal(one.indptr, other.indptr)
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.data, other.data)


def outcome(work: Any) -> tuple[Any, list[str]]:
    """The result or the error's text, and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = work()
        except Exception as error:
            # sets are written in any order
            found = re.sub(r"{.*}", lambda m: str(sorted(m[0])), f"{error}")
    return found, [str(one.message) for one in caught]


@pytest.mark.parametrize(
    ("kind", "settings"), ALL, ids=[" ".join((kind, *one)) for kind, one in ALL]
)
def test_the_same_bits(kind, settings):
    ours, theirs = getattr(words, kind)(**settings), getattr(text, kind)(**settings)
    assert ours.get_params() == theirs.get_params()
    same(ours.fit_transform(TEXTS), theirs.fit_transform(TEXTS))
    assert list(ours.vocabulary_.items()) == list(theirs.vocabulary_.items())
    assert ours.fixed_vocabulary_ == theirs.fixed_vocabulary_
    names = ours.get_feature_names_out()
    np.testing.assert_array_equal(names, theirs.get_feature_names_out())
    assert names.dtype == object
    others = [one[::-1] for one in TEXTS] + TEXTS[::3]
    mine, their = ours.transform(others), theirs.transform(others)
    same(mine, their)
    same(ours.transform(others[:1]), theirs.transform(others[:1]))
    for X in (their, their.toarray()[:20]):
        for a, b in zip(ours.inverse_transform(X), theirs.inverse_transform(X), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
    if hasattr(theirs, "idf_"):
        np.testing.assert_array_equal(ours.idf_, theirs.idf_)
        assert ours.idf_.dtype == theirs.idf_.dtype
    else:
        assert not hasattr(ours, "idf_")
    same(type(ours)(**settings).fit(TEXTS).transform(TEXTS), theirs.fit(TEXTS).transform(TEXTS))
    one, other = ours.build_analyzer(), theirs.build_analyzer()
    assert [list(one(doc)) for doc in NEWS] == [list(other(doc)) for doc in NEWS]


BAD: list[tuple[dict[str, Any], Any]] = [
    *[({name: value}, NEWS) for name, value in {
        "input": "contents", "encoding": 8, "decode_error": "drop", "strip_accents": "all",
        "lowercase": 1, "preprocessor": "x", "tokenizer": 1, "stop_words": "german",
        "token_pattern": b"a", "ngram_range": [1, 1], "analyzer": "chars", "max_df": 1.1,
        "min_df": -1, "max_features": 0, "vocabulary": 5, "binary": "yes", "norm": "l3",
        "use_idf": None, "smooth_idf": 0, "sublinear_tf": "no",
    }.items()],
    ({"max_df": np.float32(0.5)}, NEWS), ({"min_df": 0.0}, NEWS), ({"max_df": True}, NEWS),
    ({"max_features": 2.0}, NEWS), ({"stop_words": ("a",)}, NEWS), ({"min_df": 1.0}, NEWS),
    ({"ngram_range": (3, 1)}, NEWS), ({"ngram_range": (1, 2, 3)}, NEWS),
    ({"ngram_range": (1.0, 2.0)}, NEWS), ({"token_pattern": None}, NEWS),
    ({"token_pattern": "(a)(b)"}, NEWS), ({"min_df": 0.9}, NEWS),
    ({"min_df": 3, "max_df": 2}, NEWS), ({"min_df": 2, "max_df": 0.2}, NEWS),
    ({"vocabulary": ["a", "b", "a"]}, NEWS), ({"vocabulary": []}, NEWS),
    ({"vocabulary": {"a": 0, "b": 0}}, NEWS), ({"vocabulary": {"a": 0, "b": 2}}, NEWS),
    ({"vocabulary": ["Fox", "dog"]}, NEWS), ({"vocabulary": [1, 2]}, NEWS),
    ({"tokenizer": str.split}, NEWS), ({"analyzer": str.split, "preprocessor": str.lower}, NEWS),
    ({"analyzer": "char", "tokenizer": str.split, "stop_words": ["a"]}, NEWS),
    ({"analyzer": "char_wb", "token_pattern": "a"}, NEWS),
    ({"analyzer": str.split, "ngram_range": (1, 2), "stop_words": "english"}, NEWS),
    ({"stop_words": ["isn't", "the"]}, NEWS), ({"stop_words": [3]}, NEWS),
    ({"dtype": np.int32}, NEWS),
    ({}, "one text"), ({}, []), ({}, [""]), ({}, ["a", "b c"]), ({}, None), ({}, 3),
    ({}, ["cat", None]), ({}, ["cat", 3]), ({}, [["cat", "dog"]]), ({}, ["cat", np.nan]),
    ({"lowercase": False}, ["cat", None]), ({"lowercase": False}, [3.5]),
    ({}, np.array([["cat"], ["dog"]])), ({}, [b"cat\xff"]),
    ({"decode_error": "replace"}, [b"a\xffbc"]),
    ({"encoding": "nonsense"}, [b"cat"]), ({"input": "file"}, ["cat"]),
    ({"vocabulary": ["cat"]}, []),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("settings", "documents"), BAD, ids=[str(one)[:40] for one, _ in BAD])
def test_the_same_errors_and_warnings(kind, settings, documents):
    if set(settings) & {"norm", "use_idf", "smooth_idf", "sublinear_tf"} and kind == KINDS[0]:
        pytest.skip("no parameter of this class")
    ours, theirs = getattr(words, kind)(**settings), getattr(text, kind)(**settings)
    mine, my_warnings = outcome(lambda: ours.fit_transform(documents))
    their, their_warnings = outcome(lambda: theirs.fit_transform(documents))
    assert set(my_warnings) == set(their_warnings)
    if isinstance(their, str):
        assert mine == their.replace("TfidfTransformer", "TfidfVectorizer")
        return
    if kind == KINDS[1] and "dtype" in settings:
        # scikit-learn converts the matrix, which sorts its rows: other sums of some squares
        np.testing.assert_allclose(mine.toarray(), their.toarray(), rtol=8 * EPS)
    else:
        same(mine, their)
    assert ours.vocabulary_ == theirs.vocabulary_


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_before_fit(kind):
    works = [
        lambda one: one.transform(NEWS),
        lambda one: one.get_feature_names_out(),
        lambda one: one.inverse_transform([[1]]),
        lambda one: one.idf_.tolist(),
        lambda one: one.fit(NEWS).transform("text"),
    ]
    for settings in ({}, {"vocabulary": ["fox", "dog"]}):
        for work in works:
            mine = outcome(lambda w=work, s=settings: w(getattr(words, kind)(**s)))
            their = outcome(lambda w=work, s=settings: w(getattr(text, kind)(**s)))
            if isinstance(their[0], str):
                assert mine == their or "has no attribute" in mine[0]
            else:
                assert type(mine[0]) is type(their[0])
    exceptions = pytest.importorskip("sklearn.exceptions")
    with pytest.raises(exceptions.NotFittedError):
        getattr(words, kind)().transform(NEWS)


@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learns_checks_of_estimators(kind):
    """Those that need no numbers: it runs none of the others on estimators that take texts."""
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    names = [
        "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types",
        "check_estimator_repr", "check_no_attributes_set_in_init", "check_get_params_invariance",
        "check_set_params", "check_parameters_default_constructible", "check_mixin_order",
        "check_do_not_raise_errors_in_init_or_set_params"
    ]  # fmt: skip
    for name in names:
        getattr(checks, name)(kind, getattr(words, kind)())


@pytest.mark.parametrize("kind", KINDS)
def test_in_scikit_learns_company(kind):
    from sklearn.base import clone
    from sklearn.linear_model import Perceptron
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import FeatureUnion, make_pipeline
    from sklearn.utils import get_tags
    from sklearn.utils.validation import check_is_fitted

    documents = TEXTS[:90]
    labels = [i % 3 for i in range(len(documents))]
    results = []
    for home in (words, text):
        one = getattr(home, kind)(ngram_range=(1, 2))
        assert clone(one).get_params() == one.get_params()
        assert get_tags(one).input_tags.string
        check_is_fitted(one.fit(NEWS))
        union = FeatureUnion([("words", one), ("chars", getattr(home, kind)(analyzer="char"))])
        pipeline = make_pipeline(union, Perceptron(random_state=1))
        search = GridSearchCV(pipeline, {"featureunion__words__min_df": [1, 2]}, cv=2)
        found = search.fit(documents, labels)
        results.append((found.cv_results_["mean_test_score"], found.best_estimator_[-1].coef_))
    for mine, their in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, their)
