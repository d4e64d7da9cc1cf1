"""Answers to the exercises of docs/course/06-vector-space.md."""

import numpy as np
from numpy.typing import NDArray

import firth

WORDS = ["king", "queen", "man", "woman", "apple"]
VECTORS = np.array(
    [
        [0.80, 0.65, 0.10],
        [0.78, 0.66, 0.12],
        [0.90, 0.10, 0.10],
        [0.88, 0.12, 0.12],
        [0.1, 0.8, 0.9],
    ]
)


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_1_man_and_apple() -> None:
    """0.9 * 0.1 + 0.1 * 0.8 + 0.1 * 0.9 = 0.26; lengths sqrt(0.83) and sqrt(1.46).

    0.26 / (0.9110 * 1.2083) = 0.2362, an angle of 76.3 degrees.
    """
    man, apple = VECTORS[2], VECTORS[4]
    assert round(float(man @ apple), 4) == 0.26
    assert round(float(man @ man), 4) == 0.83
    assert round(float(apple @ apple), 4) == 1.46
    assert round(cosine(man, apple), 4) == 0.2362
    assert round(float(np.degrees(np.arccos(cosine(man, apple)))), 1) == 76.3


def test_2_moving_and_stretching() -> None:
    """Moving all by the same vector changes no distance; all now point along (1, 1, 1) as well,
    so the cosine grows, from 0.2362 to 0.8836. Stretching doubles distances and keeps cosines.
    """

    def distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.linalg.norm(points[:, None] - points[None], axis=2)
        return found

    moved, stretched = VECTORS + 1, 2 * VECTORS
    np.testing.assert_allclose(distances(moved), distances(VECTORS))
    assert round(cosine(moved[2], moved[4]), 4) == 0.8836
    np.testing.assert_allclose(distances(stretched), 2 * distances(VECTORS))
    assert round(cosine(stretched[2], stretched[4]), 4) == 0.2362


def test_3_an_analogy_by_hand() -> None:
    """man + (queen - king) = (0.90 - 0.02, 0.10 + 0.01, 0.10 + 0.02) = (0.88, 0.11, 0.12).

    "woman" is nearest, (0.88, 0.12, 0.12), even with the words of the question.
    """
    king, queen, man = VECTORS[:3]
    x = man + queen - king
    assert x.round(2).tolist() == [0.88, 0.11, 0.12]
    assert int(np.argmax([cosine(x, v) for v in VECTORS])) == WORDS.index("woman")
    assert cosine(x, man) > 0.999  # but not by much

    kv = firth.KeyedVectors(vector_size=3)
    kv.add_vectors(WORDS, VECTORS)
    assert kv.most_similar(positive=["man", "queen"], negative=["king"], topn=1)[0][0] == "woman"
