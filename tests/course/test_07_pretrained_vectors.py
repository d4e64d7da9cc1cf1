"""Answers to the exercises of docs/course/07-pretrained-vectors.md."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

import firth
from firth.words import load_vectors


def test_1_a_file_of_gloves(tmp_path: Path) -> None:
    """Without no_header the first line is read as the two sizes, which it is not.

    `load_vectors` looks at the content, and at that of a compressed file.
    """
    path = tmp_path / "mine.txt.gz"
    path.write_bytes(gzip.compress(b"red 1 0.1 0\norange 1 0.5 0\nblue 0 0.1 1\n"))
    kv = load_vectors(path)
    assert kv.index_to_key == ["red", "orange", "blue"]
    assert kv.most_similar("red", topn=1)[0][0] == "orange"
    with pytest.raises(firth.FormatError, match="no_header"):
        firth.KeyedVectors.load_word2vec_format(path)


def test_2_a_binary_file_by_hand(tmp_path: Path) -> None:
    """The sizes as text; then for each word its letters, a space, the numbers, a line end."""
    path = tmp_path / "mine.bin"
    rows = {"red": (1.0, 0.1, 0.0), "blue": (0.0, 0.1, 1.0)}
    data = b"2 3\n"
    for word, numbers in rows.items():
        data += word.encode() + b" " + struct.pack("<3f", *numbers) + b"\n"
    path.write_bytes(data)
    kv = load_vectors(path)
    assert kv.index_to_key == list(rows)
    np.testing.assert_array_equal(kv.vectors, np.array(list(rows.values()), np.float32))


def test_3_similarity_by_hand() -> None:
    """The mean of king and apple is (0.45, 0.725, 0.50), of length 0.9890; queen's is 1.0288.

    The product with queen is 0.351 + 0.4785 + 0.06 = 0.8895: 0.8895 / (0.9890 * 1.0288) = 0.8742.
    With "apple" twice the mean is (0.3333, 0.75, 0.6333), nearer to apple, and the similarity
    falls to 0.7792: a word counts as often as it occurs.
    """
    kv = firth.KeyedVectors(vector_size=3)
    kv.add_vectors(
        ["king", "queen", "apple"], [[0.80, 0.65, 0.10], [0.78, 0.66, 0.12], [0.10, 0.80, 0.90]]
    )
    queen = firth.Text(kv, "queen")
    once, twice = firth.Text(kv, "king apple"), firth.Text(kv, "king apple apple")
    assert once.vector.round(3).tolist() == np.array([0.45, 0.725, 0.5], np.float32).tolist()
    assert round(once.vector_norm, 4) == 0.989
    assert round(once.similarity(queen), 4) == 0.8742
    assert twice.vector.round(4).tolist() == np.array([0.3333, 0.75, 0.6333], np.float32).tolist()
    assert round(twice.similarity(queen), 4) == 0.7792
