from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from firth import FormatError, GloVe, KeyedVectors
from firth.errors import TruncatedError
from firth.formats import glove

WORDS = ["the", "of", "caf\u00e9"]


@pytest.fixture
def parameters():
    return np.random.default_rng(0).standard_normal((2, 3, 5)).round(6)


def write_text(path, parameters, header="", unk=True):
    """As save_params of glove.c does for -model 0: "%lf" is six digits behind the point."""
    rows = [*zip(WORDS, parameters[0], parameters[1], strict=True)]
    if unk:
        rows.append(("<unk>", parameters[0].mean(0), parameters[1].mean(0)))
    lines = [f"{w} " + " ".join(f"{x:.6f}" for x in (*a, *b)) + "\n" for w, a, b in rows]
    path.write_text(header + "".join(lines), encoding="utf-8")


@pytest.mark.parametrize("unk", [True, False])
def test_text_with_all_parameters(tmp_path, parameters, unk):
    path, vocab = tmp_path / "vectors.txt", tmp_path / "vocab.txt"
    write_text(path, parameters, unk=unk)
    vocab.write_text("the 9\nof 5\ncaf\u00e9 2\n", encoding="utf-8")
    model = GloVe.load_stanford(path, vocab)
    assert model.wv.index_to_key == WORDS + ["<unk>"] * unk
    assert model.vector_size == 4
    want = parameters.astype(np.float32)
    assert_array_equal(model.word_vectors[:3], want[0, :, :4])
    assert_array_equal(model.word_biases[:3], want[0, :, 4])
    assert_array_equal(model.context_vectors[:3], want[1, :, :4])
    assert_array_equal(model.context_biases[:3], want[1, :, 4])
    assert_array_equal(model.wv.vectors[:3], want[0, :, :4] + want[1, :, :4])
    assert model.wv.get_vecattr("of", "count") == 5
    assert GloVe.load_stanford(path).wv.get_vecattr("the", "count") == 3 + unk


def test_binary_needs_the_vocabulary(tmp_path, parameters):
    path, vocab, gradsq = (tmp_path / name for name in ("vectors.bin", "vocab.txt", "gradsq.bin"))
    parameters.astype("<f8").tofile(path)
    (parameters**2 + 1).astype("<f8").tofile(gradsq)
    vocab.write_text("the 9\nof 5\ncaf\u00e9 2\n", encoding="utf-8")
    model = GloVe.load_stanford(path, vocab, binary=True, gradsq=gradsq)
    assert model.wv.index_to_key == WORDS
    assert_array_equal(model.context_biases, parameters[1, :, 4].astype(np.float32))
    with pytest.raises(TypeError, match="vocab="):
        GloVe.load_stanford(path, binary=True)
    model.train([["the", "of", "the"], ["of", "caf\u00e9"]], epochs=2)  # and it can be trained on
    assert np.isfinite(model.wv.vectors).all()
    parameters[0].astype("<f8").tofile(gradsq)
    with pytest.raises(FormatError):
        GloVe.load_stanford(path, vocab, binary=True, gradsq=gradsq)
    data = path.read_bytes()
    for cut in (0, 1, 100, len(data) - 1, len(data) - 8):
        path.write_bytes(data[:cut])
        with pytest.raises(TruncatedError):
            GloVe.load_stanford(path, vocab, binary=True)


def test_vectors_alone_are_word2vec_text_without_a_header(tmp_path, parameters):
    """-model 1 and 2; with -write-header 1 they begin with a header."""
    path = tmp_path / "vectors.txt"
    rows = parameters[0, :, :4]
    body = "".join(
        f"{word} " + " ".join(f"{x:.6f}" for x in row) + "\n"
        for word, row in zip(WORDS, rows, strict=True)
    )
    path.write_text(body, encoding="utf-8")
    plain = KeyedVectors.load_word2vec_format(path, no_header=True)
    path.write_text("3 4\n" + body, encoding="utf-8")
    headed = KeyedVectors.load_word2vec_format(path)
    for loaded in (plain, headed):
        assert loaded.index_to_key == WORDS
        assert_array_equal(loaded.vectors, rows.astype(np.float32))


def test_what_is_not_of_model_0(tmp_path):
    path = tmp_path / "vectors.txt"
    for text in ("", "the 1 2 3\n", "the 1 2\n", "the\n", "\0\1\2"):
        path.write_text(text)
        with pytest.raises(FormatError):
            glove.read_parameters(path)


def test_cooccurrences(tmp_path):
    path = tmp_path / "cooccurrence.bin"
    records = np.array([(1, 2, 1.5), (2, 1, 1.5), (3, 3, 0.25)], "<i4,<i4,<f8")
    records.tofile(path)
    rows, columns, counts = glove.read_cooccurrences(path)
    assert rows.tolist() == [0, 1, 2]
    assert columns.tolist() == [1, 0, 2]
    assert counts.tolist() == [1.5, 1.5, 0.25]
    data = path.read_bytes()
    for cut in range(1, 16):
        path.write_bytes(data[:-cut])
        with pytest.raises(TruncatedError):
            glove.read_cooccurrences(path)
    for bad in ((0, 1, 1.0), (1, -1, 1.0), (1, 1, 0.0), (1, 1, np.nan)):
        records[1] = bad
        records.tofile(path)
        with pytest.raises(FormatError, match="byte 16"):
            glove.read_cooccurrences(path)
