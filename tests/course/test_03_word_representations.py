"""Answers to the exercises of docs/course/03-word-representations.md."""

from collections import Counter
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.words import CountVectorizer, TfidfVectorizer


def dense(matrix: Any) -> NDArray[Any]:
    """A matrix as an array; without SciPy it is one."""
    array: NDArray[Any] = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    return array


def test_1_tfidf_by_hand() -> None:
    """stocks, fell, monday: df 1, idf 1.6931; "on": df 2, idf 1.2877. All occur once.

    The length is sqrt(3 * 1.6931^2 + 1.2877^2) = 3.2029, so the row is 0.5286 three times, and
    0.4020 for "on". That is the only word of the first text too, 0.3385 there: the cosine is
    0.4020 * 0.3385 = 0.1361.
    """
    rare, common = np.log(4 / 2) + 1, np.log(4 / 3) + 1
    length = np.sqrt(3 * rare**2 + common**2)
    assert round(float(length), 4) == 3.2029
    by_hand = {"stocks": rare, "fell": rare, "monday": rare, "on": common}
    assert round(rare / length, 4) == 0.5286
    assert round(common / length, 4) == 0.402

    tfidf = TfidfVectorizer()
    rows = dense(
        tfidf.fit_transform(
            ["the cat sat on the mat", "the dog sat by the cat", "stocks fell on monday"]
        )
    )
    wanted = [by_hand.get(word, 0) / length for word in tfidf.get_feature_names_out()]
    np.testing.assert_allclose(rows[2], wanted, rtol=1e-12)
    assert round(float(rows[0] @ rows[2]), 4) == 0.1361


def test_2_pairs_of_words_know_the_order() -> None:
    """The words agree, the pairs do not: "bites man" and "dog bites" against the other two.

    Each row has 3 words and 2 pairs, 5 ones; 3 of them agree, so the cosine is 3 / 5.
    """
    counter = CountVectorizer(ngram_range=(1, 2))
    first, second = dense(counter.fit_transform(["dog bites man", "man bites dog"]))
    differ = counter.get_feature_names_out()[first != second].tolist()
    assert differ == ["bites dog", "bites man", "dog bites", "man bites"]
    cosine = first @ second / np.sqrt((first @ first) * (second @ second))
    assert round(float(cosine), 12) == 0.6


def test_3_frequent_is_not_important() -> None:
    """ "the" is the most frequent word, but nearly all topics have it: its idf is close to 1.

    "exception" occurs less often there; few topics have it, so its idf is higher, and so is the
    product.
    """
    tfidf = TfidfVectorizer()
    rows = dense(tfidf.fit_transform(topics.values()))
    words = tfidf.get_feature_names_out()
    row = rows[list(topics).index("raise")]
    assert words[row.argmax()] == "exception"

    counts = Counter(tfidf.build_analyzer()(topics["raise"]))
    assert counts.most_common(1)[0][0] == "the"
    idf = dict(zip(words, tfidf.idf_, strict=True))
    assert idf["the"] < 1.1
    assert idf["exception"] > 1.5
    assert counts["the"] * idf["the"] < counts["exception"] * idf["exception"]
