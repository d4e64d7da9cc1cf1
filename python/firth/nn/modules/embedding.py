"""Tables of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from firth.nn.module import Module, Parameter
from firth.nn.operations.embedding import embedding, padding_row
from firth.nn.tape import Tensor, generator


class Embedding(Module):
    """Vectors by their ids.

    The output layer of a language model is tied to it where `linear` or `linear_cross_entropy`
    gets its weight, or a `Linear` without bias has it: ``head.weight = embedding.weight``.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int, optional
        The id whose vector is zeros and is not trained; negative ones count from the end.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter, shape (num_embeddings, embedding_dim)
        Standard normal at first.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        row = padding_row(padding_idx, num_embeddings)
        self.padding_idx = None if padding_idx is None else row
        weight = generator().standard_normal((num_embeddings, embedding_dim)).astype(dtype)
        if padding_idx is not None:
            weight[row] = 0
        self.weight = Parameter(weight)

    def forward(self, input: Any) -> Tensor:
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
