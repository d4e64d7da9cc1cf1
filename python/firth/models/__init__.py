"""Models by name; those of words also under gensim's paths, as ``firth.models.Word2Vec``.

The models of words are in `firth.words`. Here are their names, imported on first use, so that code
written for gensim only has to change the name of the package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firth.models import callbacks as callbacks
    from firth.models import fasttext as fasttext
    from firth.models import keyedvectors as keyedvectors
    from firth.models import phrases as phrases
    from firth.models import word2vec as word2vec
    from firth.words import FastText as FastText
    from firth.words import KeyedVectors as KeyedVectors
    from firth.words import Word2Vec as Word2Vec
    from firth.words.phrases import Phrases as Phrases
else:
    _HOME = {
        "FastText": "firth.words",
        "KeyedVectors": "firth.words",
        "Phrases": "firth.words.phrases",
        "Word2Vec": "firth.words",
    }
    _MODULES = ("callbacks", "fasttext", "keyedvectors", "phrases", "word2vec")

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(f"firth.models.{name}")
        if name not in _HOME:
            raise AttributeError(f"module 'firth.models' has no attribute {name!r}")
        return getattr(importlib.import_module(_HOME[name]), name)

    def __dir__() -> list[str]:
        return sorted([*_HOME, *_MODULES])
