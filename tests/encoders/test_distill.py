"""Distillation: vectors of tokens, principal axes, weights; model2vec reads the result."""

from __future__ import annotations

import numpy as np
import pytest

import firth
from firth import FormatError, SentenceTransformer
from sentence_folders import TEXTS, WORDS, sentence_folder

SPECIAL = ["[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def model(tmp_path):
    return SentenceTransformer(sentence_folder(tmp_path / "model"), compute_type="float32")


def test_table_of_the_tokens(model):
    got = model.distill(pca_dims=None, sif_coefficient=None, quantize_to="float32")
    assert got.tokens == tuple(word for word in WORDS if word not in SPECIAL)
    assert got.normalize
    encoder = firth.AutoModel.from_pretrained(model._content.transformer)
    for i, word in enumerate(got.tokens):
        ids = [[WORDS.index("[CLS]"), WORDS.index(word), WORDS.index("[SEP]")]]
        want = encoder(ids).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(got.embedding[i], want, atol=1e-6)
    first = model.distill(pca_dims=None, sif_coefficient=None, pooling="first")
    np.testing.assert_allclose(first.embedding[-1], encoder(ids).last_hidden_state[0, 0], atol=4e-3)


def test_axes_and_weights(model):
    plain = model.distill(pca_dims=None, sif_coefficient=None, quantize_to="float64").embedding
    turned = model.distill(pca_dims=5, sif_coefficient=None, quantize_to="float64").embedding
    centred = plain - plain.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(turned), np.abs(u[:, :5] * s[:5]), atol=1e-8)
    assert (turned[np.abs(turned).argmax(0), range(5)] > 0).all()
    share = np.cumsum(s**2) / (s**2).sum()
    part = model.distill(pca_dims=float(share[3] - 1e-6), sif_coefficient=None)
    assert part.dim == 4
    weighted = model.distill(pca_dims=5, sif_coefficient=1e-2, quantize_to="float64").embedding
    zipf = 1 / np.arange(2, len(plain) + 2)
    np.testing.assert_allclose(
        weighted, turned * (1e-2 / (1e-2 + zipf / zipf.sum()))[:, None], rtol=1e-9
    )
    with pytest.warns(UserWarning, match="too few"):
        assert model.distill(pca_dims=30).dim == 32
    with pytest.warns(UserWarning, match="32 dimensions only"):
        model.distill(["b1", "c1", "d1", "e1", "f1", "g1"], pca_dims=40)


def test_new_words_are_tokens_of_their_own(model, tmp_path):
    pytest.importorskip("tokenizers")
    got = model.distill(["Dogs", "cat", "river bank", "dogs"], pca_dims=8, quantize_to="float32")
    assert got.tokens[-2:] == ("dogs", "river bank")
    count = len(got.tokens)
    assert [got.tokens[i] for i in got.tokenize(["the river bank dogs"])[0]] == [
        "the", "river bank", "dogs",
    ]  # fmt: skip
    got.save_pretrained(tmp_path / "static")
    again = firth.StaticModel.from_pretrained(tmp_path / "static")
    assert len(again.tokens) == count
    np.testing.assert_array_equal(again.encode(TEXTS), got.encode(TEXTS))


def test_arguments(model, tmp_path):
    for wrong in (
        {"pooling": "pooler"}, {"sif_coefficient": 2.0}, {"quantize_to": "int8"}, {"pca_dims": "x"},
        {"pca_dims": 0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model.distill(**wrong)
    with pytest.raises(TypeError, match="got a str"):
        model.distill("dogs")
    path = tmp_path / "model" / "tokenizer.json"
    path.write_text(path.read_text().replace('"type": "WordPiece", "unk', '"type": "BPE", "unk'))
    with pytest.raises(FormatError, match="must be a WordPiece"):
        model.distill()


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
def test_model2vec(model, tmp_path):
    model2vec = pytest.importorskip("model2vec")
    got = model.distill(["dogs", "river bank"], pca_dims=8)
    got.save_pretrained(tmp_path / "static")
    theirs = model2vec.StaticModel.from_pretrained(str(tmp_path / "static"))
    np.testing.assert_allclose(theirs.encode(TEXTS), got.encode(TEXTS), atol=1e-3)  # float16
    pytest.importorskip("skeletoken")
    from model2vec.distill import distill

    want = distill(str(tmp_path / "model"), ["dogs", "river bank"], pca_dims=8)
    assert tuple(want.tokens) == got.tokens
    np.testing.assert_allclose(want.encode(TEXTS), got.encode(TEXTS), atol=1e-3)
