"""Names of gensim 3 and mistyped words: errors that say what to write."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth import FormatError, KeyedVectors
from firth.spelling import did_you_mean

TEXT = [["king", "queen", "man", "woman"]] * 4


@pytest.fixture(params=[firth.Word2Vec, firth.FastText])
def model(request: pytest.FixtureRequest) -> Any:
    return request.param(TEXT, vector_size=4, min_count=1, epochs=1)


def test_keyword_arguments_of_gensim_3(model: Any) -> None:
    for old, new in (("size", "vector_size"), ("iter", "epochs")):
        with pytest.raises(TypeError, match=rf"{type(model).__name__}: .*'{old}'.*mean '{new}'\?"):
            type(model)(TEXT, min_count=1, **{old: 4})
    for call in (model.build_vocab, model.train):
        with pytest.raises(TypeError, match=r"'sentences'.*did you mean 'corpus_iterable'\?"):
            call(sentences=TEXT)
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        type(model)(TEXT, other=1)
    assert "vector_size" in inspect.signature(type(model)).parameters


def test_attributes_of_gensim_3(model: Any) -> None:
    for name in ("similar_by_word", "most_similar", "index_to_key", "vocab", "syn0"):
        with pytest.raises(AttributeError, match=f"use model.wv.{name}"):
            getattr(model, name)
    for name in ("nothing", "_private"):
        with pytest.raises(AttributeError, match=f"object has no attribute '{name}'"):
            getattr(model, name)
    for ask in (lambda: model["king"], lambda: "king" in model, lambda: list(model)):
        with pytest.raises(TypeError, match=r"use model.wv\[key\]"):
            ask()
    for name in ("vocab", "syn0", "syn0norm", "index2word", "index2entity", "vectors_norm"):
        assert not hasattr(model.wv, name)
        with pytest.raises(AttributeError, match=f"{name} is gone since gensim 4: use "):
            getattr(model.wv, name)


def test_a_missing_word_and_those_spelt_alike() -> None:
    kv = KeyedVectors(2)
    kv.add_vectors(["king", "kong", "queen", "man", 7], np.eye(5, 2))
    asks = (
        kv.get_vector, kv.get_index, lambda word: kv[word], lambda word: kv[["man", word]],
        kv.most_similar, lambda word: kv.similarity("man", word), kv.distances,
        lambda word: kv.get_mean_vector([word], ignore_missing=False),
    )  # fmt: skip
    for ask in asks:
        with pytest.raises(KeyError, match=r"'King' not present in .*; did you mean king"):
            ask("King")
    with pytest.raises(KeyError, match=r"'queeen' .*; did you mean queen\?$"):
        kv["queeen"]
    for strange in ("zzzzzzz", 99, ("a", 1)):
        with pytest.raises(KeyError, match=r"not present in vocabulary$"):
            kv.get_index(strange)
    with pytest.raises(KeyError) as caught:
        kv["Man"]
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is KeyError
    assert "did you mean man" in str(again)
    assert did_you_mean("Man", ["man", "men", 7], {"man", "men"}) == "; did you mean man?"


def test_a_collection_of_its_keys() -> None:
    kv = KeyedVectors(2, count=4)
    kv.add_vectors(["a", "b", "c"], [[1, 2], [3, 4], [5, 6]])
    assert list(kv) == ["a", "b", "c"]
    assert [kv[word][0] for word in kv] == [1, 3, 5]
    assert "a" in kv
    assert kv[0].tolist() == kv["a"].tolist() == [1, 2]
    assert kv[1:3].tolist() == kv[["b", "c"]].tolist() == [[3, 4], [5, 6]]
    assert kv[:0].shape == (0, 2)
    small = kv.astype("i1")
    np.testing.assert_array_equal(small[:3], small[["a", "b", "c"]])


def test_load_names_load_vectors(tmp_path: Path) -> None:
    (tmp_path / "dev.txt").write_text("1 2\nword 1 2\n")
    for path in (tmp_path / "dev.txt", tmp_path):
        with pytest.raises(FormatError, match="load_vectors reads"):
            KeyedVectors.load(path)
    with pytest.raises(FileNotFoundError):
        KeyedVectors.load(tmp_path / "none")


def test_gensims_paths() -> None:
    from firth.models.callbacks import CallbackAny2Vec
    from firth.models.fasttext import load_facebook_model
    from firth.models.keyedvectors import KeyedVectors as Keyed
    from firth.models.phrases import Phrases
    from firth.models.word2vec import LineSentence

    assert firth.models.Word2Vec is firth.Word2Vec
    assert firth.models.FastText is firth.FastText
    assert firth.models.KeyedVectors is Keyed is firth.KeyedVectors
    assert firth.models.Phrases is Phrases
    assert firth.models.word2vec.LineSentence is LineSentence is firth.LineSentence
    assert firth.models.phrases.Phrases is Phrases
    assert load_facebook_model is firth.words.load_facebook_model
    assert CallbackAny2Vec is firth.words.CallbackAny2Vec
    with pytest.raises(AttributeError, match="no attribute 'Doc2Vec'"):
        firth.models.Doc2Vec  # type: ignore[attr-defined]  # noqa: B018
    assert "Word2Vec" in dir(firth.models)
    code = "import sys, firth.models; assert 'firth.words' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
