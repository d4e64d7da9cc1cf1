"""fastText's module of this name, which programs import for ``_FastText``, the class of models."""

from __future__ import annotations

from firth.fasttext.meter import Meter as _Meter
from firth.fasttext.model import BOW, EOS, EOW, load_model, tokenize
from firth.fasttext.model import Model as _FastText
from firth.fasttext.training import train_supervised, train_unsupervised

__all__ = [
    "BOW",
    "EOS",
    "EOW",
    "_FastText",
    "_Meter",
    "load_model",
    "tokenize",
    "train_supervised",
    "train_unsupervised",
]
