"""firth: text from words to answers on an ordinary CPU.

>>> import firth
>>> model = firth.Word2Vec(corpus_file="corpus.txt", sg=1)      # doctest: +SKIP
>>> model.wv.most_similar("king")                               # doctest: +SKIP

Public names are imported on first use, so that ``import firth`` stays quick.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firth import (
        downloader,
        encoders,
        fasttext,
        generators,
        kernels,
        models,
        networks,
        nn,
        optim,
        search,
        tokenizers,
        words,
    )
    from firth.encoders import (
        AutoModel,
        AutoModelForMaskedLM,
        AutoModelForQuestionAnswering,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        BertForMaskedLM,
        BertForNextSentencePrediction,
        BertForPreTraining,
        BertForQuestionAnswering,
        BertForSequenceClassification,
        BertForTokenClassification,
        BertModel,
        CrossEncoder,
        SentenceTransformer,
        community_detection,
        paraphrase_mining,
        semantic_search,
    )
    from firth.errors import FormatError
    from firth.generators import CausalLM, Seq2SeqLM
    from firth.networks import MLPClassifier, MLPRegressor, Perceptron
    from firth.nn.tape import Tensor
    from firth.search import Index
    from firth.search.neighbors import NearestNeighbors
    from firth.system import info, set_num_threads
    from firth.tokenizers import AutoTokenizer, BertTokenizer
    from firth.words import (
        FastText,
        GloVe,
        KeyedVectors,
        LineSentence,
        PathLineSentences,
        StaticModel,
        Text,
        Text8Corpus,
        Word2Vec,
    )

if sys.version_info < (3, 12):  # where compiled modules cannot refuse: the import would hang
    import _xxsubinterpreters as _interpreters  # type: ignore[import-not-found]

    if _interpreters.get_current() != _interpreters.get_main():
        raise ImportError("firth does not run in subinterpreters, only in the main interpreter")

__version__ = "0.1.0"

# Public name -> the module that holds it. Subpackages are listed under their own name.
_HOME = {
    "AutoModel": "firth.encoders",
    "AutoModelForMaskedLM": "firth.encoders",
    "AutoModelForQuestionAnswering": "firth.encoders",
    "AutoModelForSequenceClassification": "firth.encoders",
    "AutoModelForTokenClassification": "firth.encoders",
    "AutoTokenizer": "firth.tokenizers",
    "BertForMaskedLM": "firth.encoders",
    "BertForNextSentencePrediction": "firth.encoders",
    "BertForPreTraining": "firth.encoders",
    "BertForQuestionAnswering": "firth.encoders",
    "BertForSequenceClassification": "firth.encoders",
    "BertForTokenClassification": "firth.encoders",
    "BertModel": "firth.encoders",
    "BertTokenizer": "firth.tokenizers",
    "CausalLM": "firth.generators",
    "CrossEncoder": "firth.encoders",
    "FastText": "firth.words",
    "FormatError": "firth.errors",
    "GloVe": "firth.words",
    "Index": "firth.search",
    "KeyedVectors": "firth.words",
    "LineSentence": "firth.words",
    "MLPClassifier": "firth.networks",
    "MLPRegressor": "firth.networks",
    "NearestNeighbors": "firth.search.neighbors",
    "PathLineSentences": "firth.words",
    "Perceptron": "firth.networks",
    "SentenceTransformer": "firth.encoders",
    "Seq2SeqLM": "firth.generators",
    "StaticModel": "firth.words",
    "Tensor": "firth.nn.tape",
    "Text": "firth.words",
    "Text8Corpus": "firth.words",
    "Word2Vec": "firth.words",
    "community_detection": "firth.encoders",
    "downloader": "firth.downloader",
    "encoders": "firth.encoders",
    "fasttext": "firth.fasttext",
    "generators": "firth.generators",
    "info": "firth.system",
    "kernels": "firth.kernels",
    "models": "firth.models",
    "networks": "firth.networks",
    "nn": "firth.nn",
    "optim": "firth.optim",
    "paraphrase_mining": "firth.encoders",
    "search": "firth.search",
    "semantic_search": "firth.encoders",
    "set_num_threads": "firth.system",
    "tokenizers": "firth.tokenizers",
    "words": "firth.words",
}

__all__ = [
    "AutoModel",
    "AutoModelForMaskedLM",
    "AutoModelForQuestionAnswering",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertModel",
    "BertTokenizer",
    "CausalLM",
    "CrossEncoder",
    "FastText",
    "FormatError",
    "GloVe",
    "Index",
    "KeyedVectors",
    "LineSentence",
    "MLPClassifier",
    "MLPRegressor",
    "NearestNeighbors",
    "PathLineSentences",
    "Perceptron",
    "SentenceTransformer",
    "Seq2SeqLM",
    "StaticModel",
    "Tensor",
    "Text",
    "Text8Corpus",
    "Word2Vec",
    "community_detection",
    "downloader",
    "encoders",
    "fasttext",
    "generators",
    "info",
    "kernels",
    "models",
    "networks",
    "nn",
    "optim",
    "paraphrase_mining",
    "search",
    "semantic_search",
    "set_num_threads",
    "tokenizers",
    "words",
]


if not TYPE_CHECKING:  # type checkers know the names from above, and that there are no others

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'firth' has no attribute {name!r}")
        module = importlib.import_module(_HOME[name])
        value = module if module.__name__ == f"firth.{name}" else getattr(module, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
