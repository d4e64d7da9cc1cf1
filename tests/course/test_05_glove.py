"""Answers to the exercises of docs/course/05-glove.md."""

import numpy as np
from numpy.typing import NDArray

import firth
from firth.words.cooccurrences import cooccurrences

TEXT = """
ice is solid water
steam is hot water
ice is cold and solid
steam is hot gas
cold water makes ice
hot water makes steam
"""
SENTENCES = [line.split() for line in TEXT.strip().splitlines()]
WORDS = sorted({word for sentence in SENTENCES for word in sentence})
ROW = {word: i for i, word in enumerate(WORDS)}


def counts(distance_weighting: bool) -> NDArray[np.float64]:
    """The matrix X, counted by firth within 4 words."""
    ids = [[ROW[word] for word in sentence] for sentence in SENTENCES]
    stream = np.array([i for s in ids for i in (*s[:-1], ~s[-1])], np.int32)
    lower = np.zeros((len(WORDS), len(WORDS)))
    for first, (lengths, columns, values) in cooccurrences(
        stream, len(WORDS), window=4, distance_weighting=distance_weighting
    ):
        lower[np.repeat(np.arange(first, first + len(lengths)), lengths), columns] = values
    return lower + np.tril(lower, -1).T


def test_1_counting_by_hand() -> None:
    """makes: side by side in the last two lines, 1 + 1; cold: side by side in line 5, 1.

    is: two places away in lines 1 and 2, 1/2 + 1/2. Without weights that is 2.
    """
    water = ROW["water"]
    weighted, alike = counts(True)[water], counts(False)[water]
    assert [weighted[ROW[word]] for word in ("makes", "cold", "is")] == [2, 1, 1]
    assert [alike[ROW[word]] for word in ("makes", "cold", "is")] == [2, 1, 2]


def test_2_weights() -> None:
    """(1 / 100)^0.75 = 0.0316, (10 / 100)^0.75 = 0.1778, then 1 and 1.

    Without f all entries weigh 1: what was met once would matter as much as what was met 100
    times, which is 31.6 times as much as f lets it.
    """
    f = np.minimum(1, (np.array([1, 10, 100, 1000]) / 100) ** 0.75)
    assert f.round(4).tolist() == [0.0316, 0.1778, 1, 1]
    assert round(float(f[2] / f[0]), 1) == 31.6


def test_3_twice_the_text() -> None:
    """ln 2X = ln X + ln 2: the biases of all words gain ln 2, the vectors stay.

    (Or those of the contexts, or each half of it.) With x_max doubled too, the weights stay as
    they are, and J is the same.
    """
    model = firth.GloVe(SENTENCES, vector_size=2, window=4, min_count=1, epochs=50, workers=1)
    order = [ROW[word] for word in model.wv.index_to_key]
    X = counts(True)[np.ix_(order, order)]

    def cost(X: NDArray[np.float64], gain: float, x_max: float) -> float:
        biases = (model.word_biases + gain)[:, None] + model.context_biases
        scores = model.word_vectors @ model.context_vectors.T + biases
        there = X > 0
        weights = np.minimum(1, (X[there] / x_max) ** 0.75)
        return float((weights * (scores[there] - np.log(X[there])) ** 2).sum())

    before = cost(X, gain=0.0, x_max=2.0)
    np.testing.assert_allclose(cost(2 * X, gain=np.log(2), x_max=4.0), before, rtol=1e-5)
    assert cost(2 * X, gain=0.0, x_max=4.0) > 1.1 * before
