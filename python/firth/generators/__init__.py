"""Generators: models that continue a text, a token after the other."""

from __future__ import annotations

from firth.generators.causal import CausalLM, Generation, Score, Streamed
from firth.generators.pictures import Probabilities, probabilities
from firth.generators.tasks import Perplexity, classify, perplexity
from firth.generators.tokenizer import GeneratorTokenizer
from firth.generators.tools import Message

__all__ = [
    "CausalLM",
    "Generation",
    "GeneratorTokenizer",
    "Message",
    "Perplexity",
    "Probabilities",
    "Score",
    "Streamed",
    "classify",
    "perplexity",
    "probabilities",
]
