"""Bags of words and TF-IDF by hand, and native counting against the steps in Python."""

from __future__ import annotations

import io
import itertools
import pickle
from typing import Any

import numpy as np
import pytest

import firth
from firth.words import CountVectorizer, TfidfVectorizer, terms
from processes import printed
from texts import of_many_scripts

TEXTS = ["The cat sat on the mat.", "A dog, a CAT and the mat!", "", "No-one sat."]


class InPython:
    """A method of one's own: every step is called for each text."""

    def build_analyzer(self) -> Any:
        return super().build_analyzer()  # type: ignore[misc]


class SlowCounts(InPython, CountVectorizer):
    pass


class SlowWeights(InPython, TfidfVectorizer):
    pass


def dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if hasattr(matrix, "toarray") else matrix


def same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    for part in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(*(np.asarray(getattr(m, part, m)) for m in (one, other)))


def test_by_hand():
    bags = CountVectorizer()
    counts = bags.fit_transform(TEXTS)
    # numbered in the order of their first occurrence, columns sorted
    assert list(bags.vocabulary_) == ["the", "cat", "sat", "on", "mat", "dog", "and", "no", "one"]
    names = ["and", "cat", "dog", "mat", "no", "on", "one", "sat", "the"]
    assert bags.get_feature_names_out().tolist() == names
    assert bags.vocabulary_ == {name: i for i, name in enumerate(names)}
    assert dense(counts).tolist() == [
        [0, 1, 0, 1, 0, 1, 0, 1, 2],
        [1, 1, 1, 1, 0, 0, 0, 0, 1],
        [0] * 9,
        [0, 0, 0, 0, 1, 0, 1, 1, 0],
    ]
    assert counts.dtype == np.int64
    assert dense(bags.transform(["cat cat bird"])).tolist() == [[0, 2, 0, 0, 0, 0, 0, 0, 0]]
    inverse = [row.tolist() for row in bags.inverse_transform(bags.transform(TEXTS))]
    assert inverse == [
        ["cat", "mat", "on", "sat", "the"], ["and", "cat", "dog", "mat", "the"], [],
        ["no", "one", "sat"],
    ]  # fmt: skip
    assert [row.tolist() for row in bags.inverse_transform(dense(counts))] == inverse
    assert bags.fixed_vocabulary_ is False


def test_weights_by_hand():
    weigh = TfidfVectorizer(norm="l1")
    weights = dense(weigh.fit_transform(["cat dog", "cat cat"]))
    idf = [np.log(3 / 3) + 1, np.log(3 / 2) + 1]
    np.testing.assert_array_equal(weigh.idf_, idf)
    np.testing.assert_array_equal(weights, [[idf[0] / sum(idf), idf[1] / sum(idf)], [1, 0]])
    plain = TfidfVectorizer(norm=None, smooth_idf=False, sublinear_tf=True)
    np.testing.assert_array_equal(
        dense(plain.fit_transform(["cat dog", "cat cat"])),
        [[1, np.log(2) + 1], [np.log(2) + 1, 0]],
    )
    shares = dense(TfidfVectorizer(use_idf=False).fit_transform(["cat dog", "cat cat", ""]))
    np.testing.assert_array_equal(shares, [[1 / np.sqrt(2), 1 / np.sqrt(2)], [1, 0], [0, 0]])


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [None, "unicode", "ascii"])
@pytest.mark.parametrize(
    ("analyzer", "ngram_range"),
    [
        ("word", (1, 1)), ("word", (1, 3)), ("word", (2, 2)), ("char", (1, 1)), ("char", (2, 4)),
        ("char_wb", (1, 2)), ("char_wb", (3, 9)),
    ],
)  # fmt: skip
def test_native_code_does_what_the_steps_do(lowercase, strip_accents, analyzer, ngram_range):
    settings = {
        "lowercase": lowercase, "strip_accents": strip_accents, "analyzer": analyzer,
        "ngram_range": ngram_range,
    }  # fmt: skip
    texts = of_many_scripts() + TEXTS
    others = [*texts[::-1], "new κόσμος"]
    fast, slow = CountVectorizer(**settings), SlowCounts(**settings)
    assert fast._counts() is not None
    assert slow._counts() is None
    same(fast.fit_transform(texts), slow.fit_transform(texts))
    assert list(fast.vocabulary_.items()) == list(slow.vocabulary_.items())
    assert len(fast.vocabulary_) >= 30
    same(fast.transform(others), slow.transform(others))


@pytest.mark.parametrize(
    "changes",
    [
        {"stop_words": ["the", "cat", "aa", 3]}, {"min_df": 2}, {"max_df": 0.02, "min_df": 0.004},
        {"max_features": 20}, {"binary": True, "max_features": 7}, {"dtype": np.float32},
        {"token_pattern": r"(?u)\b\w+\b"}, {"token_pattern": r"\w\w\w+"},
        {"vocabulary": ["mat", "aa", "cat"]}, {"vocabulary": {"cat": 1, "bb": 0}},
        {"ngram_range": (np.int64(1), np.int64(2))},
    ],
    ids=str,
)  # fmt: skip
def test_other_parameters_natively(changes):
    texts = of_many_scripts() + TEXTS
    fast, slow = CountVectorizer(**changes), SlowCounts(**changes)
    assert fast._counts() is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terms, "BATCH", 100)  # many calls, whose terms are joined
        same(fast.fit_transform(texts), slow.fit_transform(texts))
    assert list(fast.vocabulary_.items()) == list(slow.vocabulary_.items())
    same(fast.transform(texts[:50]), slow.transform(texts[:50]))


def test_a_vocabulary_beside_long_and_short_texts():
    """Its terms are found in native code, or in the dict; that one is the truth both times."""
    texts = of_many_scripts()
    for ngram_range in ((1, 1), (1, 2)):
        fast, slow = CountVectorizer(ngram_range=ngram_range), SlowCounts(ngram_range=ngram_range)
        fast.fit(texts)
        slow.fit(texts)
        for repeats in (1, 4):
            long = [text + " new " + text for text in texts] * repeats
            assert sum(map(len, long)) > 4 * len(fast.vocabulary_)
            same(fast.transform(long), slow.transform(long))
            same(fast.transform(texts[:3]), slow.transform(texts[:3]))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(terms, "BATCH", 8 * len(fast.vocabulary_))  # many calls
                same(fast.transform(long), slow.transform(long))
            for bags in (fast, slow):  # for the second time
                first, second = sorted(bags.vocabulary_)[5:7]
                swapped = bags.vocabulary_[second], bags.vocabulary_[first]
                bags.vocabulary_[first], bags.vocabulary_[second] = swapped
    names = np.array(["cat", "on"])  # str of NumPy's own
    for vocabulary in (names, {3: 1, "cat": 0}):
        found = dense(CountVectorizer(vocabulary=vocabulary, lowercase=False).transform(TEXTS * 9))
        assert found.tolist() == [[1, int(vocabulary is names)], [0, 0], [0, 0], [0, 0]] * 9


def test_every_code_point_of_two_planes():
    """Letters, spaces, lower case and accents are those of Python's own tables."""
    text = "".join(f"{chr(c)}{chr(c)} " for c in range(0x20000) if c != ord("Σ"))
    text += "".join(f"{chr(c)}{chr(c)} " for c in range(0x2F800, 0x2FA20))
    for analyzer, strip in itertools.product(("word", "char_wb"), (None, "unicode", "ascii")):
        settings = {"analyzer": analyzer, "strip_accents": strip, "ngram_range": (1, 1)}
        fast, slow = CountVectorizer(**settings), SlowCounts(**settings)
        same(fast.fit_transform([text]), slow.fit_transform([text]))
        assert fast.vocabulary_ == slow.vocabulary_
        # ASCII's letters, digits and "_" as pairs; or every mark
        assert len(fast.vocabulary_) >= 37 if strip == "ascii" else 20_000


def test_lower_case_does_not_change_twice():
    """A text with a capital sigma is lowered before native code lowers it again."""
    for c in map(chr, range(0x110000)):
        if c != (low := c.lower()):
            assert low.lower() == low


def test_any_number_of_threads_gives_the_same():
    texts = of_many_scripts(2000)
    found = []
    before = firth.info().threads
    try:
        for threads in (1, 2, 3):
            firth.set_num_threads(threads)
            bags = CountVectorizer(ngram_range=(1, 2))
            counts = bags.fit_transform(texts)
            found.append((list(bags.vocabulary_), counts))
    finally:
        firth.set_num_threads(before)
    for names, counts in found[1:]:
        assert names == found[0][0]
        same(counts, found[0][1])


def test_documents_of_all_kinds(tmp_path):
    wanted = dense(CountVectorizer().fit_transform(TEXTS))
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.txt").write_text(text)
    names = sorted(tmp_path.iterdir())
    kinds: list[tuple[Any, dict[str, Any]]] = [
        ((text for text in TEXTS), {}),
        ([text.encode() for text in TEXTS], {}),
        (np.array(TEXTS), {}),
        (np.array(TEXTS, object), {}),
        ([text.encode("utf-16") for text in TEXTS], {"encoding": "utf-16"}),
        (names, {"input": "filename"}),
        ([str(name) for name in names], {"input": "filename"}),
        ([io.BytesIO(text.encode()) for text in TEXTS], {"input": "file"}),
        ([io.StringIO(text) for text in TEXTS], {"input": "file"}),
    ]
    for documents, settings in kinds:
        found = CountVectorizer(**settings).fit_transform(documents)
        np.testing.assert_array_equal(dense(found), wanted)
    bags = CountVectorizer(decode_error="ignore").fit([b"cat\xff dog"])
    assert list(bags.vocabulary_) == ["cat", "dog"]
    with pytest.raises(UnicodeDecodeError):
        CountVectorizer().fit([b"cat\xff dog"])


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("bad", [None, 3, ["cat"], np.nan, np.array(["cat"])], ids=repr)
def test_documents_that_are_no_text(bad, lowercase):
    bags = CountVectorizer(lowercase=lowercase)
    with pytest.raises((AttributeError, TypeError, ValueError)) as native:
        bags.fit(["cat", bad])
    with pytest.raises((AttributeError, TypeError, ValueError)) as slow:
        SlowCounts(lowercase=lowercase).fit(["cat", bad])
    assert native.type is slow.type
    assert not hasattr(bags, "vocabulary_")


def test_callables():
    bags = CountVectorizer(analyzer=lambda text: list(text[:3]))
    assert dense(bags.fit_transform(["abc", "aab"])).tolist() == [[1, 1, 1], [2, 1, 0]]
    bags = CountVectorizer(analyzer=lambda numbers: numbers)  # terms need not be str
    assert dense(bags.fit_transform([(3, 1, 3), (2,)])).tolist() == [[1, 0, 2], [0, 1, 0]]
    bags = CountVectorizer(tokenizer=str.split, token_pattern=None, preprocessor=str.upper)
    assert bags.fit(["a b-c"]).get_feature_names_out().tolist() == ["A", "B-C"]
    bags = CountVectorizer(strip_accents=lambda text: text.replace("x", " "))
    assert list(bags.fit(["oneXtwo"]).vocabulary_) == ["one", "two"]
    bags = CountVectorizer(token_pattern=r"#(\w+)")
    assert list(bags.fit(["#one two #three"]).vocabulary_) == ["one", "three"]
    with pytest.raises(ValueError, match="More than 1 capturing group"):
        CountVectorizer(token_pattern=r"(a)(b)").fit(["ab"])


def test_overridden_steps_are_called():
    class Split(CountVectorizer):
        def build_tokenizer(self):
            return str.split

    assert list(Split().fit(["it's a"]).vocabulary_) == ["it's", "a"]
    bags = CountVectorizer()
    bags.build_preprocessor = lambda: lambda text: text[::-1]
    assert list(bags.fit(["abc"]).vocabulary_) == ["cba"]


def test_settings_of_weights_are_those_of_fit():
    weigh = TfidfVectorizer().fit(TEXTS)
    before = dense(weigh.transform(TEXTS))
    np.testing.assert_array_equal(dense(weigh.set_params(norm=None).transform(TEXTS)), before)
    again = TfidfVectorizer(vocabulary=weigh.vocabulary_)
    with pytest.raises(ValueError, match="not fitted"):
        again.transform(TEXTS)
    again.idf_ = weigh.idf_
    np.testing.assert_array_equal(dense(again.transform(TEXTS)), before)
    with pytest.raises(ValueError, match="idf length = 3 must be equal to vocabulary size = 9"):
        again.idf_ = [1, 2, 3]
    with pytest.raises(ValueError, match="cannot be set"):
        TfidfVectorizer(use_idf=False).idf_ = [1]
    assert not hasattr(TfidfVectorizer(use_idf=False).fit(TEXTS), "idf_")
    assert not hasattr(TfidfVectorizer(), "idf_")
    with pytest.warns(UserWarning, match=r"'dtype' will be converted to np\.float64"):
        assert TfidfVectorizer(dtype=np.int32).fit_transform(TEXTS).dtype == np.float64
    single = TfidfVectorizer(dtype=np.float32).fit(TEXTS)
    assert single.transform(TEXTS).dtype == single.idf_.dtype == np.float32


def test_pickle_and_parameters():
    for kind in (CountVectorizer, TfidfVectorizer):
        one = kind(ngram_range=(1, 2), stop_words=["the"]).fit(TEXTS)
        other = pickle.loads(pickle.dumps(one))
        same(one.transform(TEXTS), other.transform(TEXTS))
        assert repr(one) == f"{kind.__name__}(ngram_range=(1, 2), stop_words=['the'])"
        assert one.set_params(min_df=2).get_params()["min_df"] == 2
        with pytest.raises(ValueError, match="Invalid parameter 'size'"):
            one.set_params(size=1)


@pytest.mark.parametrize(
    ("changes", "texts", "message"),
    [
        ({"max_df": 1.5}, TEXTS, "The 'max_df' parameter of CountVectorizer must be a float"),
        ({"min_df": 0}, TEXTS, "The 'min_df' parameter"),
        ({"max_features": 0}, TEXTS, "The 'max_features' parameter"),
        ({"analyzer": "words"}, TEXTS, "The 'analyzer' parameter"),
        ({"lowercase": 1}, TEXTS, "The 'lowercase' parameter"),
        ({"stop_words": {"a"}}, TEXTS, "The 'stop_words' parameter"),
        ({"ngram_range": [1, 2]}, TEXTS, "The 'ngram_range' parameter"),
        ({"ngram_range": (2, 1)}, TEXTS, "lower boundary larger"),
        ({"vocabulary": 3}, TEXTS, "The 'vocabulary' parameter"),
        ({"vocabulary": ["a", "a"]}, TEXTS, "Duplicate term in vocabulary: 'a'"),
        ({"vocabulary": {"a": 0, "b": 0}}, TEXTS, "repeated indices"),
        ({"vocabulary": {"a": 0, "b": 2}}, TEXTS, "Vocabulary of size 2 doesn't contain index 1"),
        ({"vocabulary": []}, TEXTS, "empty vocabulary passed to fit"),
        ({}, "one text", "Iterable over raw text documents expected"),
        ({}, ["", "."], "empty vocabulary; perhaps"),
        ({"min_df": 4}, TEXTS, "After pruning, no terms remain"),
        ({"max_df": 1, "min_df": 2}, TEXTS, "max_df corresponds to < documents than min_df"),
    ],
    ids=str,
)
def test_bad_input(changes, texts, message):
    bags = CountVectorizer(**changes)
    with pytest.raises(ValueError, match=message):
        bags.fit(texts)
    assert not hasattr(bags, "vocabulary_")
    if isinstance(texts, str):
        with pytest.raises(ValueError, match=message):
            CountVectorizer(vocabulary=["a"]).transform(texts)


def test_bad_questions():
    with pytest.raises(ValueError, match="Vocabulary not fitted or provided"):
        CountVectorizer().transform(TEXTS)
    with pytest.raises(ValueError, match="0 sample"):
        TfidfVectorizer().fit(TEXTS).transform([])
    assert CountVectorizer().fit(TEXTS).transform([]).shape == (0, 9)
    with pytest.raises(ValueError, match="Expected 2D array"):
        CountVectorizer().fit(TEXTS).inverse_transform([1, 2])
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        weigh = TfidfVectorizer(vocabulary=["cat", "cow"], smooth_idf=False).fit(TEXTS)
    with pytest.raises(ValueError, match="Input contains infinity"):
        weigh.transform(["a cow"])


def test_warnings():
    with pytest.warns(UserWarning, match="'token_pattern' will not be used since 'tokenizer'"):
        CountVectorizer(tokenizer=str.split).fit(TEXTS)
    with pytest.warns(UserWarning, match="'stop_words' will not be used since 'analyzer' != 'word"):
        CountVectorizer(analyzer="char", stop_words=["a"]).fit(TEXTS)
    with pytest.warns(UserWarning, match="Upper case characters found in vocabulary"):
        CountVectorizer(vocabulary=["Cat"]).fit(TEXTS)
    bags = CountVectorizer(stop_words=["it's", "we'll"])
    with pytest.warns(UserWarning, match=r"generated tokens \['it', 'll', 'we'\] not in"):
        bags.fit(TEXTS)
    bags.fit(TEXTS)  # said once


def test_without_scipy_and_scikit_learn():
    code = """
import sys
sys.modules["scipy"] = sys.modules["sklearn"] = None
from firth.words import CountVectorizer, TfidfVectorizer
counts = CountVectorizer().fit_transform(["cat cat", "dog"])
print(type(counts).__name__, counts.dtype, counts.tolist())
print(TfidfVectorizer().fit(["cat cat", "dog"]).transform(["a dog"]).tolist())
print(hasattr(TfidfVectorizer(), "idf_"))
try:
    CountVectorizer(stop_words="english").fit(["the cat"])
except ImportError as error:
    print(error)
try:
    CountVectorizer().transform(["cat"])
except ValueError as error:
    print(error)
"""
    assert printed(code).splitlines() == [
        "ndarray int64 [[2, 0], [0, 1]]",
        "[[0.0, 1.0]]",
        "False",
        'stop_words="english" needs scikit-learn: pip install scikit-learn',
        "Vocabulary not fitted or provided",
    ]


def test_scikit_learn_is_not_imported():
    code = "import sys; from firth.words import TfidfVectorizer as T; T().fit_transform(['cat'])"
    printed(f"{code}; assert 'sklearn' not in sys.modules")
