"""Generators: models that continue a text, a token after the other, and such that translate."""

from __future__ import annotations

from firth.generators.causal import CausalLM, Score
from firth.generators.generation_config import GenerationConfig
from firth.generators.marian_tokenizer import MarianTokenizer
from firth.generators.pictures import Probabilities, probabilities
from firth.generators.runs import Batch, Generation, Run, Streamed
from firth.generators.seq2seq import Seq2SeqLM
from firth.generators.tasks import Perplexity, classify, perplexity
from firth.generators.tokenizer import GeneratorTokenizer
from firth.generators.tools import Message

__all__ = [
    "Batch",
    "CausalLM",
    "Generation",
    "GenerationConfig",
    "GeneratorTokenizer",
    "MarianTokenizer",
    "Message",
    "Perplexity",
    "Probabilities",
    "Run",
    "Score",
    "Seq2SeqLM",
    "Streamed",
    "classify",
    "perplexity",
    "probabilities",
]
