"""The engine of transformers: stacks of layers that a plan describes."""

from __future__ import annotations

from firth.transformer.plan import Batch as Batch
from firth.transformer.plan import Plan as Plan
from firth.transformer.plan import Result as Result
from firth.transformer.plan import Weights as Weights
from firth.transformer.stack import Stack as Stack
