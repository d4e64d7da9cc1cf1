"""Encoders: BERT and its relatives, from the folders that transformers writes.

>>> from firth import AutoModel
>>> model = AutoModel.from_pretrained("all-MiniLM-L6-v2")       # doctest: +SKIP
"""

from __future__ import annotations

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
    "ModelOutput",
    "answer_span",
    "classify",
    "contextual_vectors",
    "fill_mask",
    "label_tokens",
    "next_sentence",
    "show_attention",
]
