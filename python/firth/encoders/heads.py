"""Heads: a few steps from the states of tokens to scores. One class runs those of all models.

N = tokens of all texts, B = texts, D = width of the model, M = rows that a head gets (N or B).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from firth.kernels import PackedMatrix, layer_norm, matmul, pack
from firth.transformer.config import Activation, Config
from firth.transformer.plan import Batch, Plan
from firth.transformer.stack import pooled
from firth.transformer.weights import Names, Source

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """activation(x W^T + b).

    Attributes
    ----------
    name : str
        W is ``<name>.weight`` in a file, b ``<name>.bias``.
    outputs : int
    activation : {"relu", "gelu", "gelu_tanh", "silu", "tanh"}, optional
    bias : bool, or source
        Whether there is b; or where else it may be.
    tied : bool
        W is the table of tokens' embeddings.
    """

    name: str
    outputs: int
    activation: Activation | Literal["tanh"] | None = None
    bias: bool | Source = True
    tied: bool = False

    def sources(self, inputs: int) -> dict[str, tuple[Source, tuple[int, ...]]]:
        """Where its arrays are, and their shapes, by the last part of their names."""
        found: dict[str, tuple[Source, tuple[int, ...]]] = {}
        if not self.tied:
            found["weight"] = f"{self.name}.weight", (self.outputs, inputs)
        if self.bias is not False:
            source = f"{self.name}.bias" if self.bias is True else self.bias
            found["bias"] = source, (self.outputs,)
        return found


@dataclass(frozen=True)
class Norm:
    """A layer norm with the epsilon of the model's; ``<name>.weight`` and, if any, ``.bias``."""

    name: str
    bias: bool = True

    def sources(self, inputs: int) -> dict[str, tuple[Source, tuple[int, ...]]]:
        """Where its arrays are, and their shapes, by the last part of their names."""
        parts = ("weight", "bias") if self.bias else ("weight",)
        return {part: (f"{self.name}.{part}", (inputs,)) for part in parts}


Step = Linear | Norm


@dataclass(frozen=True)
class Head:
    """What it starts from, and its steps.

    Attributes
    ----------
    start : {"tokens", "first", "mean"}
        All tokens' states, that of each text's first token, or the mean of those that are seen.
    steps : tuple of Linear and Norm
    """

    start: Literal["tokens", "first", "mean"]
    steps: tuple[Step, ...]


def decoder(name: str, config: Config) -> Linear:
    """The last step of a head for masked tokens, which has a bias beside that of its matrix.

    Where the configuration ties the matrix to the table of embeddings, the two biases are one.
    """
    own, inner = f"{name}.bias", f"{name}.decoder.bias"
    tied: bool = config.tie_word_embeddings
    bias = (own, inner) if tied else (inner, own)
    return Linear(f"{name}.decoder", config.vocab_size, bias=bias, tied=tied)


class HeadWeights:
    """A head and its arrays, packed when it first runs.

    Parameters
    ----------
    head : Head
    plan : Plan
        Of the model.
    names : Names
        Of the arrays.
    tokens : ndarray (V, E)
        The table of embeddings, for a step that is tied to it.

    Raises
    ------
    FormatError
        An array is missing or of another shape.
    """

    def __init__(self, head: Head, plan: Plan, names: Names, tokens: Floats) -> None:
        self.head, self._epsilon, self._tokens = head, plan.epsilon, tokens
        self._arrays: list[Mapping[str, Floats]] = []
        width = plan.width
        for step in head.steps:
            arrays = {}
            for part, (source, shape) in step.sources(width).items():
                array = names.find(source)
                assert array is not None  # no source of a head ends with "?"
                names.check(array, shape, source)
                arrays[part] = np.ascontiguousarray(array, np.float32)
            self._arrays.append(arrays)
            if isinstance(step, Linear):
                width = step.outputs

    @property
    def size(self) -> int:
        """How many numbers its own arrays have; the table of embeddings is the stack's."""
        return sum(array.size for arrays in self._arrays for array in arrays.values())

    @cached_property
    def _packed(self) -> list[PackedMatrix | None]:
        return [
            pack(self._tokens if step.tied else arrays["weight"], transposed=True)
            if isinstance(step, Linear)
            else None
            for step, arrays in zip(self.head.steps, self._arrays, strict=True)
        ]

    def starts(self, batch: Batch, hidden: Floats) -> Floats:
        """The rows (M, D) of all states (N, D) that the head starts from."""
        if self.head.start == "tokens":
            return hidden
        if self.head.start == "first":
            return hidden[batch.offsets[:-1]]
        return pooled(batch, hidden, "mean")

    def run(self, batch: Batch, shape: tuple[int, ...], hidden: Floats) -> Floats:
        """Scores of states (N, D) of texts of shape (B, S): (B, S, outputs), or (B, outputs)."""
        scores = self(self.starts(batch, hidden))
        rows = shape if self.head.start == "tokens" else shape[:1]
        return scores.reshape(*rows, scores.shape[1])

    def __call__(self, rows: Floats) -> Floats:
        """Scores (M, outputs) of rows (M, D); each has the same bits in any batch."""
        for step, arrays, packed in zip(self.head.steps, self._arrays, self._packed, strict=True):
            bias = arrays.get("bias")
            if isinstance(step, Norm):
                rows = layer_norm(rows, arrays["weight"], bias, eps=self._epsilon)
            elif step.activation == "tanh":
                rows = np.tanh(matmul(rows, packed, bias=bias))
            else:
                rows = matmul(rows, packed, bias=bias, activation=step.activation)
        return rows
