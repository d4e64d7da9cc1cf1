"""Answers to the exercises of docs/course/04-word2vec.md."""

from collections.abc import Iterator

import numpy as np

from firth import kernels


def windows(sentence: list[str], m: int) -> Iterator[tuple[str, list[str]]]:
    """Each word with the words of its context."""
    for i, center in enumerate(sentence):
        yield center, sentence[max(0, i - m) : i] + sentence[i + 1 : i + 1 + m]


def test_1_pairs_of_a_sentence() -> None:
    """2 n m - m (m + 1) pairs: 2 m a word, less what both ends lack, 1 + 2 + ... + m words each.

    CBOW has an example for each of the n words.
    """
    for m in (1, 2, 5):
        for n in range(m + 1, 12):
            found = list(windows([f"w{i}" for i in range(n)], m))
            assert len(found) == n
            assert sum(len(context) for _, context in found) == 2 * n * m - m * (m + 1)


def test_2_a_step_by_hand() -> None:
    """The true word has the score 0, so g = 1 - 0.5; the negative has 2, so g = -0.8808.

    v gains 0.5 (1, 0) of the one and -0.8808 (0, 2) of the other: the negative, which the model
    was wrong about, taught more.
    """
    w_in = np.array([[0, 1]], np.float32)
    w_out = np.array([[1, 0], [0, 2]], np.float32)
    loss = kernels.skipgram_negative_sampling(
        w_in, w_out, centers=[0], contexts=[0], negatives=[[1]], learning_rate=1.0
    )
    s = 1 / (1 + np.exp(-2.0))
    assert round(float(s), 4) == 0.8808
    assert round(loss, 4) == round(float(np.log(2) - np.log(1 - s)), 4) == 2.8201
    np.testing.assert_allclose(w_in[0], [0.5, 1 - 2 * s], rtol=1e-6)  # (0.5, -0.7616)
    np.testing.assert_allclose(w_out, [[1, 0.5], [0, 2 - s]], rtol=1e-6)  # (0, 1.1192)
    assert np.linalg.norm(0.5 * np.array([1, 0])) < np.linalg.norm(s * np.array([0, 2]))


def test_3_what_negative_sampling_wants() -> None:
    """e^x = 30 / (5 * 100 * 0.02) = 3, so x = ln 3 = 1.0986.

    As it is stated on the page: ln(30 / (100 * 0.02)) - ln 5, the same.
    """
    together, chance = 30, 5 * 100 * 0.02
    x = 0.0
    for _ in range(1000):
        s = 1 / (1 + np.exp(-x))
        x -= 0.05 * (-together * (1 - s) + chance * s)
    assert round(x, 4) == round(float(np.log(3)), 4) == 1.0986
    assert round(float(np.log(30 / (100 * 0.02)) - np.log(5)), 4) == 1.0986
