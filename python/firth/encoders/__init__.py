"""Encoders: BERT and its relatives, from the folders that transformers writes.

>>> from firth import AutoModel
>>> model = AutoModel.from_pretrained("all-MiniLM-L6-v2")       # doctest: +SKIP
"""

from __future__ import annotations

from firth.encoders.cross import CrossEncoder
from firth.encoders.mining import (
    community_detection,
    paraphrase_mining,
    paraphrase_mining_embeddings,
    semantic_search,
)
from firth.encoders.models import (
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
)
from firth.encoders.outputs import ModelOutput
from firth.encoders.pictures import Attention, ContextualVectors, contextual_vectors, show_attention
from firth.encoders.sentence import SentenceTransformer
from firth.encoders.similarity import cos_sim, dot_score, quantize_embeddings
from firth.encoders.tasks import answer_span, classify, fill_mask, label_tokens, next_sentence

__all__ = [
    "Attention",
    "AutoModel",
    "AutoModelForMaskedLM",
    "AutoModelForQuestionAnswering",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertModel",
    "ContextualVectors",
    "CrossEncoder",
    "ModelOutput",
    "SentenceTransformer",
    "answer_span",
    "classify",
    "community_detection",
    "contextual_vectors",
    "cos_sim",
    "dot_score",
    "fill_mask",
    "label_tokens",
    "next_sentence",
    "paraphrase_mining",
    "paraphrase_mining_embeddings",
    "quantize_embeddings",
    "semantic_search",
    "show_attention",
]
