"""Attention as a module, and positions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from firth.nn import init
from firth.nn.module import Module, Parameter
from firth.nn.modules.linear import Linear
from firth.nn.operations.arithmetic import add
from firth.nn.operations.attention import Attention, mask_for, rotary, rotary_angles
from firth.nn.operations.linear import linear
from firth.nn.operations.projections import projections
from firth.nn.operations.shapes import index
from firth.nn.tape import Array, Tensor, apply_all, derive, generator, tracing


class MultiheadAttention(Module):
    """Attention of several heads between projections: Vaswani et al., arXiv:1706.03762.

    Parameters
    ----------
    embed_dim, num_heads : int
        Of queries, keys and values; heads have ``embed_dim / num_heads`` numbers each.
    dropout : float
        The probability with which a weight is 0 in training.
    bias : bool
        Of the projections.
    add_bias_kv, add_zero_attn, kdim, vdim
        PyTorch's; refused, but for ``kdim`` and ``vdim`` of ``embed_dim``.
    batch_first : bool
        Whether arrays are (batch, length, embed_dim), or (length, batch, embed_dim).
    num_kv_heads : int, optional
        Fewer heads of keys and values than of queries, each for as many of these in a row.
    rotary_base : float, optional
        Turn queries and keys by angles of their positions (`rotary_angles`), counted from 0.
    dtype : float32 or float64

    Attributes
    ----------
    in_proj_weight : Parameter, shape (embed_dim + 2 num_kv_heads head width, embed_dim)
        Rows for queries, keys and values; (3 embed_dim, embed_dim) where all have as many heads.
    in_proj_bias : Parameter or None
    out_proj : Linear
    """

    _unnamed: ClassVar[frozenset[str]] = frozenset({"cosines", "sines"})

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        num_kv_heads: int | None = None,
        rotary_base: float | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"{where}: embed_dim must be a multiple of num_heads, got {embed_dim} and "
                f"{num_heads}"
            )
        key_heads = num_heads if num_kv_heads is None else num_kv_heads
        if key_heads < 1 or num_heads % key_heads:
            raise ValueError(
                f"{where}: num_heads must be a multiple of num_kv_heads, got {num_heads} and "
                f"{key_heads}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"{where}: dropout must be in [0, 1), got {dropout}")
        refused = {
            "add_bias_kv": add_bias_kv, "add_zero_attn": add_zero_attn,
            "kdim": kdim not in (None, embed_dim), "vdim": vdim not in (None, embed_dim),
        }  # fmt: skip
        for name, set_ in refused.items():
            if set_:
                raise ValueError(f"{where}: {name} is not supported")
        self.embed_dim, self.num_heads, self.num_kv_heads = embed_dim, num_heads, key_heads
        self.head_dim = embed_dim // num_heads
        self.dropout, self.batch_first, self.rotary_base = dropout, batch_first, rotary_base
        rows = embed_dim + 2 * key_heads * self.head_dim
        self.in_proj_weight = Parameter(np.empty((rows, embed_dim), dtype))
        init.xavier_uniform_(self.in_proj_weight)
        self.register_parameter("in_proj_bias", Parameter(np.zeros(rows, dtype)) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        if bias:
            self.out_proj.bias.data[...] = 0
        if rotary_base is not None:
            self._make_angles(256, dtype)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """What queries find among keys.

        Parameters
        ----------
        query : Tensor, shape (L, N, embed_dim), (N, L, embed_dim) or (L, embed_dim)
        key, value : Tensor, shape as query's, with S for L
            Where they are the same tensor as query, or as each other, it is faster.
        key_padding_mask : ndarray or Tensor, shape (N, S), optional
            bool: true for keys that nobody sees; numbers are added to the scores. (S,) without a
            batch.
        need_weights : bool
            Whether the weights are returned too.
        attn_mask : ndarray or Tensor, shape (L, S) or (N num_heads, L, S), optional
            bool: true where a query does not see a key; numbers are added to the scores.
        average_attn_weights : bool
            Whether the returned weights are the mean of those of the heads.
        is_causal : bool
            Query i sees keys 0 to i; ``attn_mask`` is then not looked at, as in PyTorch.

        Returns
        -------
        Tensor, shape as query
        Tensor, shape (N, L, S) or (N, num_heads, L, S), or None
            Not differentiable. Without N where query has no batch.
        """
        where = type(self).__name__
        for name, x in ("query", query), ("key", key), ("value", value):
            if x.ndim not in (2, 3) or x.ndim != query.ndim or x.shape[-1] != self.embed_dim:
                raise ValueError(
                    f"{where}: {name} must have 2 or 3 axes, as query, the last of "
                    f"{self.embed_dim}, got shape {x.shape}"
                )
        parts = self._projected(query, key, value)
        operation = Attention(
            self.num_heads,
            self.num_kv_heads,
            self.batch_first,
            causal=bool(is_causal),
            scale=1 / math.sqrt(self.head_dim),
            dropout=self.dropout if self.training else 0.0,
            flags_drop=True,
            weights=("mean" if average_attn_weights else "each") if need_weights else "none",
        )
        mask = None if is_causal else mask_for(attn_mask, query.dtype, where)
        padding = None
        if key_padding_mask is not None:
            masked = key_padding_mask
            padding = np.ascontiguousarray(masked.data if isinstance(masked, Tensor) else masked)
            if padding.dtype.kind == "f":
                mask, padding = self._added(query, key, padding, mask), None
            elif padding.dtype not in (np.bool_, np.uint8):
                raise TypeError(
                    f"{where}: key_padding_mask must be bool or real, got {padding.dtype}"
                )
        found, *weights = apply_all(operation, *parts, mask, padding)
        return self.out_proj(found), weights[0].detach() if need_weights else None

    def _added(self, query: Tensor, key: Tensor, padding: Array, mask: Any) -> Tensor:
        """What is added to the scores of each head, (N num_heads, L, S): `padding` and a mask."""
        axis = 1 if self.batch_first else 0
        n = 1 if query.ndim == 2 else query.shape[1 - axis]
        steps, keys = (x.shape[0 if x.ndim == 2 else axis] for x in (query, key))
        wanted = (keys,) if query.ndim == 2 else (n, keys)
        if padding.shape != wanted:
            raise ValueError(
                f"{type(self).__name__}: key_padding_mask must have shape {wanted}, got "
                f"{padding.shape}"
            )
        if mask is not None and tracing():
            raise RuntimeError(
                f"{type(self).__name__}: a step that is being compiled cannot add key_padding_mask "
                "to attn_mask; give their sum as attn_mask"
            )
        scores: Array = np.zeros((), query.dtype)
        if mask is not None:
            array = mask.data if isinstance(mask, Tensor) else mask
            scores = array if array.dtype.kind == "f" else np.where(array, -np.inf, 0)

        def added(padding: Array) -> Array:
            every = np.repeat(padding.reshape(n, 1, keys), self.num_heads, axis=0) + scores
            every = np.broadcast_to(every, (n * self.num_heads, steps, keys))
            return every.astype(query.dtype)

        return Tensor(derive(padding, added))

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor | None]:
        """Queries, keys and values as `Attention` takes them, in as few arrays as possible."""
        n, m = self.embed_dim, self.num_kv_heads * self.head_dim
        weight, bias = self.in_proj_weight, self.in_proj_bias
        heads = [self.num_heads, self.num_kv_heads]
        parts: list[Tensor]
        if query is key is value:
            parts, heads = [linear(query, weight, bias)], [sum(heads)]
        elif key is value:
            parts = [*projections((query, key), (n, 2 * m), weight, bias)]
        else:
            parts = [*projections((query, key, value), (n, m, m), weight, bias)]
        if self.rotary_base is not None:
            axis = -2 if self.batch_first or query.ndim == 2 else 0
            longest = max(x.shape[axis] for x in parts)
            if longest > len(self.cosines):
                self._make_angles(max(longest, 2 * len(self.cosines)), self.cosines.dtype)
            for i, count in enumerate(heads):
                parts[i] = rotary(parts[i], self.cosines, self.sines, count, batch_first=axis == -2)
        return [*parts, None, None][:3]

    def _make_angles(self, length: int, dtype: Any) -> None:
        cosines, sines = rotary_angles(length, self.head_dim, self.rotary_base or 0.0)
        self.register_buffer("cosines", cosines.astype(dtype))
        self.register_buffer("sines", sines.astype(dtype))

    def extra_repr(self) -> str:
        return (
            f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}, "
            f"batch_first={self.batch_first}"
        )


class SinusoidalPositions(Module):
    """Adds sines and cosines of the position: Vaswani et al., arXiv:1706.03762, 3.5.

    Numbers 2 i and 2 i + 1 of position t are the sine and the cosine of t 10000^(-2 i / width).

    Parameters
    ----------
    length : int
        The longest input.
    width : int
        Even.
    dtype : float32 or float64

    Attributes
    ----------
    table : ndarray, shape (length, width)
    """

    def __init__(self, length: int, width: int, *, dtype: Any = np.float32) -> None:
        super().__init__()
        self.length, self.width = length, width
        cosines, sines = rotary_angles(length, width)
        table = np.stack([sines, cosines], axis=-1).reshape(length, width)
        self.register_buffer("table", table.astype(dtype))

    def forward(self, input: Tensor) -> Tensor:
        """Input (..., T, width) plus the table's first T rows; ValueError if T is above length."""
        return add(input, Tensor(_rows(self, self.table, input)))

    def extra_repr(self) -> str:
        return f"length={self.length}, width={self.width}"


class LearnedPositions(Module):
    """Adds a trained vector of the position.

    Parameters
    ----------
    length : int
        The longest input.
    width : int
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter, shape (length, width)
        Normal with standard deviation 1 at first, as an embedding.
    """

    def __init__(self, length: int, width: int, *, dtype: Any = np.float32) -> None:
        super().__init__()
        self.length, self.width = length, width
        self.weight = Parameter(np.empty((length, width), dtype))
        self.weight.data[...] = generator().standard_normal((length, width))

    def forward(self, input: Tensor) -> Tensor:
        """Input (..., T, width) plus the weight's first T rows; ValueError if T is above length."""
        rows = len(_rows(self, self.weight.data, input))
        weight = self.weight if rows == self.length else index(self.weight, slice(rows))
        return add(input, weight)

    def extra_repr(self) -> str:
        return f"length={self.length}, width={self.width}"


def _rows(module: Any, table: Array, input: Tensor) -> Array:
    """The rows of a table of positions that an input needs."""
    if input.ndim < 2 or input.shape[-1] != module.width or input.shape[-2] > module.length:
        raise ValueError(
            f"{type(module).__name__}: input must have shape (..., {module.length} or less, "
            f"{module.width}), got {input.shape}"
        )
    return table[: input.shape[-2]]
