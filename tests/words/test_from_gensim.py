"""gensim's own files, saved by gensim in the same run, loaded without it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import FormatError, KeyedVectors
from firth.words.fasttext import FastTextKeyedVectors

pytestmark = pytest.mark.peer

SENTENCES = [f"w{i % 7} w{i % 5} w{i % 3} naïve a\u00a0b".split(" ") for i in range(60)]


@pytest.fixture
def models() -> Any:
    return pytest.importorskip("gensim.models")


@pytest.mark.parametrize("sep_limit", [10, 10_000_000])
def test_keyed_vectors(models: Any, tmp_path: Path, sep_limit: int) -> None:
    model = models.Word2Vec(SENTENCES, vector_size=12, min_count=1, workers=1, hs=1)
    model.wv["five"] = np.ones(12)
    for name, saved in (("model", model), ("vectors", model.wv)):
        path = tmp_path / name
        saved.save(str(path), sep_limit=sep_limit)
        for mmap in (None, "r"):
            got = KeyedVectors.load(path, mmap=mmap)
            assert got.index_to_key == model.wv.index_to_key
            assert got.key_to_index == model.wv.key_to_index
            np.testing.assert_array_equal(got.vectors, model.wv.vectors)
            assert got.get_vecattr("w1", "count") == model.wv.get_vecattr("w1", "count")
            assert got.most_similar("w1")[0][0] == model.wv.most_similar("w1")[0][0]


def test_compressed(models: Any, tmp_path: Path) -> None:
    model = models.Word2Vec(SENTENCES, vector_size=12, min_count=1, workers=1)
    path = str(tmp_path / "vectors.gz")
    model.wv.save(path, sep_limit=10)
    assert os.path.exists(path + ".vectors.npz")
    with gzip.open(path) as file:
        assert file.read(1) == b"\x80"
    np.testing.assert_array_equal(KeyedVectors.load(path).vectors, model.wv.vectors)


@pytest.mark.parametrize("bucket", [0, 100])
def test_fasttext(models: Any, tmp_path: Path, bucket: int) -> None:
    model = models.FastText(SENTENCES, vector_size=12, min_count=1, workers=1, bucket=bucket)
    for name, saved in (("model", model), ("vectors", model.wv)):
        saved.save(str(tmp_path / name))
        got = KeyedVectors.load(tmp_path / name)
        assert isinstance(got, FastTextKeyedVectors)
        # float32 sums of a dozen rows in another order
        for word in ["w1", "naïve", "unheard"] if bucket else ["w1"]:
            np.testing.assert_allclose(got[word], model.wv[word], rtol=1e-5, atol=1e-7)


def test_models_of_old(models: Any) -> None:
    datapath = pytest.importorskip("gensim.test.utils").datapath
    for name in (
        "model-from-gensim-3.8.0.w2v", "word2vec_3.3", "word2vec_old", "word2vec_old_sep",
    ):  # fmt: skip
        want = models.Word2Vec.load(datapath(name)).wv
        got = KeyedVectors.load(datapath(name))
        assert got.index_to_key == want.index_to_key
        np.testing.assert_array_equal(got.vectors, want.vectors)
        assert got.expandos["count"].tolist() == want.expandos["count"].tolist()
    # Older than what gensim 4 loads.
    got = KeyedVectors.load(datapath("w2v-lee-v0.12.0"))
    assert got.vectors.shape == (len(got), 100)
    assert got.get_vecattr("the", "count") == got.expandos["count"].max()
    for name in ("tfidf_model.tst", "lda_3_0_1_model", "phraser-3.6.0.model", "doc2vec_old"):
        with pytest.raises(FormatError, match="which firth does not load"):
            KeyedVectors.load(datapath(name))
