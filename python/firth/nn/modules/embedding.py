"""Tables of vectors, and bags of these."""

from __future__ import annotations

from typing import Any

import numpy as np

from firth.arguments import integer
from firth.nn.module import Module, Parameter
from firth.nn.operations.embedding import embedding, padding_row
from firth.nn.operations.embedding_bag import embedding_bag
from firth.nn.tape import Tensor, generator


class Embedding(Module):
    """Vectors by their ids.

    Ids (...), integers from 0 to num_embeddings - 1, to vectors (..., embedding_dim), as
    torch.nn.Embedding. ValueError names the place of an id that is none, TypeError says where they
    are no integers. The function is `embedding`.

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
        self.num_embeddings = integer("Embedding: num_embeddings", num_embeddings, 0)
        self.embedding_dim = integer("Embedding: embedding_dim", embedding_dim, 0)
        row = padding_row(padding_idx, num_embeddings)
        self.padding_idx = None if padding_idx is None else row
        weight = generator().standard_normal((num_embeddings, embedding_dim)).astype(dtype)
        if padding_idx is not None:
            weight[row] = 0
        self.weight = Parameter(weight)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        **options: Any,
    ) -> Embedding:
        """A table of vectors that are there, of which it is a copy.

        Parameters
        ----------
        embeddings : Tensor or array_like, shape (num_embeddings, embedding_dim)
        freeze : bool
            Whether they stay as they are in training.
        padding_idx : int, optional
            The id whose vector is not trained; it stays as it is given.
        **options
            Others of the class.

        Raises
        ------
        ValueError
            ``embeddings`` has not 2 axes.
        """
        array = (embeddings if isinstance(embeddings, Tensor) else Tensor(embeddings)).data
        if array.ndim != 2 or array.dtype.kind != "f":
            raise ValueError(
                f"{cls.__name__}.from_pretrained: embeddings must be real numbers with 2 axes, got "
                f"{array.dtype} of shape {array.shape}"
            )
        rows, width = array.shape
        table = cls(rows, width, padding_idx=padding_idx, dtype=array.dtype, **options)
        table.weight.data[...] = array
        table.weight.requires_grad = not freeze
        return table

    def forward(self, input: Any) -> Tensor:
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class EmbeddingBag(Embedding):
    """Means or sums of vectors by their ids: `embedding_bag`.

    Ids (B, L), or (n,) and the ``offsets`` (B,) where bags begin, to vectors (B, embedding_dim), as
    torch.nn.EmbeddingBag. Errors are those of `Embedding`.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    mode : {"mean", "sum"}
    include_last_offset : bool
    padding_idx : int, optional
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
        *,
        mode: str = "mean",
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx, dtype=dtype)
        if mode not in ("mean", "sum"):
            raise ValueError(f"EmbeddingBag: mode must be 'mean' or 'sum', got {mode!r}")
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(
        self, input: Any, offsets: Any = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        return embedding_bag(
            input,
            self.weight,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}"
