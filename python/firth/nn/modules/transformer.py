"""The transformer: Vaswani et al., arXiv:1706.03762; PyTorch's classes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from firth.nn import init
from firth.nn.module import Module
from firth.nn.modules.attention import MultiheadAttention
from firth.nn.modules.containers import ModuleList
from firth.nn.modules.dropout import Dropout
from firth.nn.modules.linear import Linear
from firth.nn.modules.norm import LayerNorm
from firth.nn.operations.arithmetic import add
from firth.nn.operations.linear import linear
from firth.nn.tape import Tensor

Activation = str | Callable[[Tensor], Tensor]


class _Layer(Module):
    """What layers of the encoder and the decoder have in common: a feed-forward network, norms."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        if isinstance(activation, str) and activation not in ("relu", "gelu"):
            raise ValueError(
                f"{type(self).__name__}: activation must be 'relu', 'gelu' or a function, got "
                f"{activation!r}"
            )
        self.activation, self.norm_first = activation, norm_first
        attention = {"bias": bias, "batch_first": batch_first, "dtype": dtype}
        norms = range(1, 4 if self._reads_memory else 3)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, **attention)
        if self._reads_memory:
            self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, **attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        for i in norms:
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
            self.add_module(f"norm{i}", norm)
        for i in norms:
            self.add_module(f"dropout{i}", Dropout(dropout))

    _reads_memory = False

    def _feed_forward(self, x: Tensor) -> Tensor:
        if isinstance(self.activation, str):
            x = linear(x, self.linear1.weight, self.linear1.bias, activation=self.activation)
        else:
            x = self.activation(self.linear1(x))
        return self.linear2(self.dropout(x))  # type: ignore[no-any-return]

    def _added(self, x: Tensor, number: int, block: Callable[[Tensor], Tensor]) -> Tensor:
        """What a block adds to x, with the norm and the dropout of this number around it."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return add(x, dropout(block(norm(x))))
        return norm(add(x, dropout(block(x))))  # type: ignore[no-any-return]


class TransformerEncoderLayer(_Layer):
    """Self-attention and a feed-forward network, each with a residual, dropout and a norm.

    Parameters
    ----------
    d_model, nhead : int
        As ``embed_dim`` and ``num_heads`` of `MultiheadAttention`.
    dim_feedforward : int
        Width of the hidden layer.
    dropout : float
        Of the attention's weights, the hidden layer and both results.
    activation : "relu", "gelu" or a function of a Tensor
        Of the hidden layer; by name it is computed with the product.
    layer_norm_eps : float
    batch_first : bool
        Whether arrays are (batch, length, d_model), or (length, batch, d_model).
    norm_first : bool
        Whether norms come before attention and network, or after the sums.
    bias : bool
        Of linear layers and norms.
    dtype : float32 or float64
    """

    def forward(
        self,
        src: Tensor,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Tensor:
        """One layer.

        Parameters
        ----------
        src : Tensor, shape (S, N, d_model), or (N, S, d_model) where ``batch_first``
        src_mask, src_key_padding_mask, is_causal
            As ``attn_mask``, ``key_padding_mask`` and ``is_causal`` of `MultiheadAttention`.

        Returns
        -------
        Tensor, shape of ``src``
        """

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(  # type: ignore[no-any-return]
                x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal
            )[0]

        x = self._added(src, 1, attend)
        return self._added(x, 2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to a memory and a feed-forward network.

    Parameters
    ----------
    d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, \
bias, dtype
        As those of `TransformerEncoderLayer`.
    """

    _reads_memory = True

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """One layer.

        Parameters
        ----------
        tgt : Tensor, shape (T, N, d_model), or (N, T, d_model) where ``batch_first``
        memory : Tensor, shape (S, N, d_model), or (N, S, d_model)
            What the encoder returned.
        tgt_mask, tgt_key_padding_mask, tgt_is_causal
            As ``attn_mask``, ``key_padding_mask`` and ``is_causal`` of `MultiheadAttention`, for
            the self-attention.
        memory_mask, memory_key_padding_mask, memory_is_causal
            Likewise, for the attention to the memory.

        Returns
        -------
        Tensor, shape of ``tgt``
        """

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(  # type: ignore[no-any-return]
                x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal
            )[0]

        def look(x: Tensor) -> Tensor:
            return self.multihead_attn(  # type: ignore[no-any-return]
                x, memory, memory, memory_key_padding_mask, False, memory_mask,
                is_causal=memory_is_causal,
            )[0]  # fmt: skip

        x = self._added(tgt, 1, attend)
        x = self._added(x, 2, look)
        return self._added(x, 3, self._feed_forward)


class _Stack(Module):
    """Copies of a layer in a row, and a norm."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        if num_layers < 0:
            raise ValueError(f"{type(self).__name__}: num_layers must be >= 0, got {num_layers}")
        self.layers = ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.num_layers, self.norm = num_layers, norm


class TransformerEncoder(_Stack):
    """Layers of an encoder in a row.

    Parameters
    ----------
    encoder_layer : TransformerEncoderLayer
        Copied, with its values, ``num_layers`` times.
    num_layers : int
    norm : Module, optional
        Of the last result.
    enable_nested_tensor
        PyTorch's; of no effect.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
    ) -> None:
        super().__init__(encoder_layer, num_layers, norm)

    def forward(
        self,
        src: Tensor,
        mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """All layers, then the norm.

        Parameters
        ----------
        src, mask, src_key_padding_mask
            As of `TransformerEncoderLayer.forward`, for each layer.
        is_causal : bool, optional
            By default it is found out whether ``mask`` is causal.

        Returns
        -------
        Tensor, shape of ``src``
        """
        causal = _is_causal(mask, is_causal)
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, causal)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(_Stack):
    """Layers of a decoder in a row.

    Parameters
    ----------
    decoder_layer : TransformerDecoderLayer
        Copied, with its values, ``num_layers`` times.
    num_layers : int
    norm : Module, optional
        Of the last result.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """All layers, then the norm.

        Parameters
        ----------
        tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, \
memory_is_causal
            As of `TransformerDecoderLayer.forward`, for each layer.
        tgt_is_causal : bool, optional
            By default it is found out whether ``tgt_mask`` is causal.

        Returns
        -------
        Tensor, shape of ``tgt``
        """
        causal = _is_causal(tgt_mask, tgt_is_causal)
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask,
                memory_key_padding_mask, causal, memory_is_causal,
            )  # fmt: skip
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder and a decoder.

    Parameters
    ----------
    d_model, nhead : int
    num_encoder_layers, num_decoder_layers : int
    dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, dtype
        As those of `TransformerEncoderLayer`.
    custom_encoder, custom_decoder : Module, optional
        In place of those that would be made.

    Attributes
    ----------
    encoder : TransformerEncoder
    decoder : TransformerDecoder
        Both with a norm at the end. Weights are Glorot's uniform ones at first.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        options = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias,
        )  # fmt: skip

        def norm() -> Module:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

        encoder, decoder = custom_encoder, custom_decoder
        if encoder is None:
            layer: Module = TransformerEncoderLayer(*options, dtype=dtype)
            encoder = TransformerEncoder(layer, num_encoder_layers, norm())
        if decoder is None:
            layer = TransformerDecoderLayer(*options, dtype=dtype)
            decoder = TransformerDecoder(layer, num_decoder_layers, norm())
        self.encoder, self.decoder = encoder, decoder
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """What the decoder makes of ``tgt``, with the encoder's result of ``src`` as its memory.

        Parameters
        ----------
        src : Tensor, shape (S, N, d_model), or (N, S, d_model) where ``batch_first``
        tgt : Tensor, shape (T, N, d_model), or (N, T, d_model)
        src_mask, src_key_padding_mask, src_is_causal
            As of `TransformerEncoder.forward`.
        tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal, \
memory_is_causal
            As of `TransformerDecoder.forward`.

        Returns
        -------
        Tensor, shape of ``tgt``
        """
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(  # type: ignore[no-any-return]
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            tgt_is_causal, memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, dtype: Any = np.float32) -> Tensor:
        """The causal mask (sz, sz) of ``sz`` positions: 0 up to the diagonal, -inf above it."""
        return Tensor(np.triu(np.full((sz, sz), -np.inf, dtype), 1))


def _is_causal(mask: Any, is_causal: bool | None) -> bool:
    """What the caller says, or whether the mask forbids just the keys that come later."""
    if is_causal is not None or mask is None:
        return bool(is_causal)
    values = mask.data if isinstance(mask, Tensor) else np.asarray(mask)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        return False
    later = np.triu(np.ones(values.shape, bool), 1)
    forbidden = values if values.dtype == np.bool_ else values == -np.inf
    rest = values.dtype == np.bool_ or not values[~later].any()
    return bool(rest and np.array_equal(forbidden, later))
