"""Every public name of gensim's classes is there, but for those that have a reason."""

from __future__ import annotations

import numpy as np
import pytest

import firth
from firth.words import fasttext, keyedvectors, phrases, word2vec

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore:Both hierarchical")]

TEXT = [["new", "york", "is", "new"], ["old", "new", "york"]]
SMALL = {"min_count": 1, "vector_size": 4, "epochs": 1, "hs": 1}

_EVENTS = "a log of calls; train_count and total_train_time say what training there was"
_LOG = {"add_lifecycle_event": _EVENTS, "lifecycle_events": _EVENTS}
_MODEL = _LOG | {
    "random": "gensim draws windows from it in Python; firth draws in native code",
    "seeded_vector": "deprecated; gensim itself does not use it",
}
_VECTORS = {
    "add_lifecycle_event": _EVENTS,
    "mapfile_path": "gensim's loader writes it down; `load` takes mmap=",
    "similarity_unseen_docs": "raises NotImplementedError: it belongs to Doc2Vec",
}


def trained(models, phrases):
    """A Word2Vec, a FastText, their vectors, and phrases in their two forms."""
    found = {
        "Word2Vec": models.Word2Vec(TEXT, **SMALL),
        "FastText": models.FastText(TEXT, bucket=10, **SMALL),
        "Phrases": phrases.Phrases(TEXT, min_count=1, threshold=0.1),
    }
    found |= {
        "KeyedVectors": found["Word2Vec"].wv,
        "FastTextKeyedVectors": found["FastText"].wv,
        "FrozenPhrases": found["Phrases"].freeze(),
    }
    return found


def test_members():
    gensim = pytest.importorskip("gensim.models")
    theirs = trained(gensim, gensim.phrases)
    ours = trained(firth, phrases)
    reasons = {
        "Word2Vec": _MODEL,
        "FastText": _MODEL
        | {
            "load_binary_data": "deprecated; reads model.file_name, which gensim 4 never sets",
            "callbacks": "callbacks are for one training, as in gensim's Word2Vec",
        },
        "Phrases": _LOG | {"progress_per": "how often gensim logs; firth logs nothing meanwhile"},
        "KeyedVectors": _VECTORS,
        "FastTextKeyedVectors": _VECTORS
        | {"init_post_load": "a step of gensim's reader of Facebook's files"},
        "FrozenPhrases": _LOG,
    }
    for name, reason in reasons.items():
        missing = {
            member
            for member in dir(theirs[name])
            if not member.startswith("_") and member not in dir(ours[name])
        }
        assert missing == set(reason), name


def test_modules():
    gensim = pytest.importorskip("gensim.models")
    names = {
        "word2vec": ["Word2Vec", "LineSentence", "PathLineSentences", "Text8Corpus", "BrownCorpus"],
        "fasttext": ["FastText", "FastTextKeyedVectors", "load_facebook_model"],
        "keyedvectors": ["KeyedVectors", "Word2VecKeyedVectors"],
        "phrases": ["Phrases", "FrozenPhrases", "Phraser", "original_scorer", "npmi_scorer"],
    }
    for module in (word2vec, fasttext, keyedvectors, phrases):
        last = module.__name__.rpartition(".")[2]
        for name in names.pop(last):
            assert hasattr(getattr(gensim, last), name)
            assert getattr(module, name).__name__ == getattr(getattr(gensim, last), name).__name__
    assert not names
    assert keyedvectors.Word2VecKeyedVectors is keyedvectors.KeyedVectors


def test_older_names_of_models(tmp_path):
    model = fasttext.FastText(TEXT, bucket=10, **SMALL)
    vectors = model.wv.vectors.copy()
    with pytest.warns(DeprecationWarning, match="use wv.fill_norms") as caught:
        model.init_sims()
    assert caught[0].filename == __file__
    assert (model.wv.vectors == vectors).all()
    with pytest.warns(DeprecationWarning, match="init_sims"):
        model.init_sims(replace=True)
    np.testing.assert_allclose(np.linalg.norm(model.wv.vectors, axis=1), 1, rtol=1e-6)
    fasttext.save_facebook_model(model, tmp_path / "model.bin")
    with pytest.warns(DeprecationWarning, match="use load_facebook_model"):
        loaded = fasttext.FastText.load_fasttext_format(tmp_path / "model.bin")
    assert loaded.wv.index_to_key == model.wv.index_to_key
