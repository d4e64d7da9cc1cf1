"""Attention, and rotary positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from firth.nn.tape import Array, Operation, Spec, Tensor, apply


@dataclass(frozen=True)
class Attention(Operation):
    r"""O = P V with P = softmax(scale Q K^T + mask), row by row, for each head of each item.

    Inputs: query, key, value, mask, padding. With ``heads = 0`` the first three have the shapes
    (batch, heads, queries, E), (batch, key heads, keys, E) and (batch, key heads, keys, Ev). Else
    heads lie beside each other in the last axis, as a linear layer gives them: query (batch,
    queries, heads E), key (batch, keys, key heads E), value (batch, keys, key heads Ev); or key
    holds both, all keys before all values, and value is None; or query holds all three, and key is
    None too. The first two axes change places without ``batch_first``, or the batch is missing.
    Heads in a row share a head of the keys where there are more of them.

    mask: (queries, keys), (batch heads, queries, keys), or (batch or 1, heads or 1, queries or 1,
    keys): numbers that are added, or bools, which forbid a key (``flags_drop``) or else allow it.
    padding: bool (batch, keys), true for keys that nobody sees. ``causal``: query i sees keys 0 to
    i. A query that sees no key has the result 0 and gradients 0 (softmax would give NaN).

    ``dropout``: each weight is 0 with this probability, and others are divided by 1 - dropout,
    after the softmax: P' = R P, element by element, with R drawn again backward.

    Backward. From O = P' V:  dV = P'^T dO  and  dP' = dO V^T, so dP = R dP'. Of a row p =
    softmax(z), p_j depends on z_k by p_j (1[j = k] - p_k), so

        dz_k = sum_j dp_j p_j (1[j = k] - p_k) = p_k (dp_k - sum_j dp_j p_j).

    That sum needs no weights: sum_j dp_j p_j = sum_j dp'_j p'_j = dO . (sum_j p'_j v_j) = dO . O.
    With dS = scale dz of all rows, S = Q K^T:  dQ = dS K  and  dK = dS^T Q. What is kept is lse,
    the logarithm of each row's sum of exponentials: p = exp(z - lse) again.

    Outputs: O, arranged as the query; with ``weights`` also P', (batch, heads, queries, keys) if it
    is "each", or (batch, queries, keys), their "mean", without a batch where query has none; it has
    no gradient. Memory grows with queries + keys, not with their product, without ``weights``.
    """

    heads: int = 0
    key_heads: int = 0
    batch_first: bool = True
    causal: bool = False
    scale: float = 1.0
    dropout: float = 0.0
    flags_drop: bool = False
    weights: Literal["none", "each", "mean"] = "none"

    name: ClassVar[str] = "attention"
    reads_inputs: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4)
    reads_outputs: ClassVar[tuple[int, ...]] = (0,)

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return self.dropout > 0

    def options(self) -> tuple[float, ...]:
        return (
            self.heads, self.key_heads, self.batch_first, self.causal, self.scale, self.dropout,
            self.flags_drop, ("none", "each", "mean").index(self.weights),
        )  # fmt: skip

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        q, k, v, mask, padding = inputs
        if not 0 <= self.dropout < 1:
            raise ValueError(f"attention: dropout must be in [0, 1), got {self.dropout}")
        if not math.isfinite(self.scale):
            raise ValueError(f"attention: scale must be finite, got {self.scale}")
        if self.heads == 0:
            batch, heads, queries, keys, values = self._axes(q.shape, k.shape, v.shape)
            out: tuple[int, ...] = (batch, heads, queries, values)
        else:
            batch, heads, queries, keys, values = self._packed(q, k, v)
            out = (*q.shape[:-1], heads * values)
        given = None if mask is None else mask.shape
        allowed = [(batch, 1), (heads, 1), (queries, 1), (keys,)]
        if given not in (None, (queries, keys), (batch * heads, queries, keys)) and not (
            len(given) == 4 and all(n in a for n, a in zip(given, allowed, strict=True))
        ):
            raise ValueError(
                f"attention: mask must have shape {(queries, keys)} or, with 1 or all of the first "
                f"three, {(batch, heads, queries, keys)}, got {given}"
            )
        if padding is not None and padding.shape not in (
            (batch, keys), *([(keys,)] if batch == 1 else [])
        ):  # fmt: skip
            raise ValueError(
                f"attention: key_padding_mask must have shape {(batch, keys)}, got {padding.shape}"
            )
        if padding is not None and padding.dtype not in (np.bool_, np.uint8):
            raise TypeError(f"attention: key_padding_mask must be bool, got {padding.dtype}")
        if mask is not None and mask.dtype not in (None, np.bool_, np.uint8):
            raise TypeError(
                f"attention: mask must be bool or of the tensors' dtype, got {mask.dtype}"
            )
        specs = [Spec(out)]
        if self.weights != "none":
            shape = (batch, *([heads] if self.weights == "each" else []), queries, keys)
            specs.append(Spec(shape[1:] if len(q.shape) == 2 else shape))
        return specs, [Spec((batch, heads, queries))]

    @staticmethod
    def _axes(q: Any, k: Any, v: Any) -> tuple[int, int, int, int, int]:
        for what, shape in ("query", q), ("key", k), ("value", v):
            if len(shape) != 4:
                raise ValueError(
                    f"attention: {what} must have 4 axes (batch, heads, length, width), got shape "
                    f"{shape}"
                )
        batch, heads, queries, width = q
        if k[0] != batch or k[3] != width or width == 0:
            raise ValueError(
                f"attention: key must have shape ({batch}, heads, keys, {width or 'width > 0'}), "
                f"got {k}"
            )
        if k[1] == 0 or heads == 0 or heads % k[1]:
            raise ValueError(
                f"attention: the heads of query must be a multiple of those of key, got {heads} "
                f"and {k[1]}"
            )
        if v[:3] != k[:3]:
            raise ValueError(f"attention: value must have shape {(*k[:3], 'Ev')}, got {v}")
        return batch, heads, queries, k[2], v[3]

    def _packed(self, q: Any, k: Any, v: Any) -> tuple[int, int, int, int, int]:
        if self.key_heads < 1 or self.heads < 1 or self.heads % self.key_heads:
            raise ValueError(
                f"attention: heads must be a multiple of key_heads, got {self.heads} and "
                f"{self.key_heads}"
            )
        parts = self.heads if k is not None else self.heads + 2 * self.key_heads
        if len(q.shape) not in (2, 3) or q.shape[-1] % parts or q.shape[-1] == 0:
            raise ValueError(
                f"attention: query must have 2 or 3 axes, the last a multiple of {parts}, got "
                f"shape {q.shape}"
            )
        width = values = q.shape[-1] // parts
        batch, queries = self._batch_and_length(q.shape)
        if k is None:
            return batch, self.heads, queries, queries, width
        wanted = self.key_heads * width * (1 if v is not None else 2)
        if len(k.shape) != len(q.shape) or k.shape[-1] != wanted:
            raise ValueError(
                f"attention: key must have {len(q.shape)} axes, the last of {wanted}, got shape "
                f"{k.shape}"
            )
        if self._batch_and_length(k.shape)[0] != batch:
            raise ValueError(
                f"attention: key must have the batch of query, {batch}, got shape {k.shape}"
            )
        if v is not None:
            if v.shape[:-1] != k.shape[:-1] or v.shape[-1] % self.key_heads:
                raise ValueError(
                    f"attention: value must have shape {(*k.shape[:-1], 'key_heads Ev')}, got "
                    f"{v.shape}"
                )
            values = v.shape[-1] // self.key_heads
        return batch, self.heads, queries, self._batch_and_length(k.shape)[1], values

    def _batch_and_length(self, shape: Any) -> tuple[int, int]:
        if len(shape) == 2:
            return 1, shape[0]
        return (shape[0], shape[1]) if self.batch_first else (shape[1], shape[0])

    # ---- arrays as (batch, heads, length, width) ------------------------------------------------

    def _heads_of(self, x: Array, heads: int) -> Array:
        """A packed array as one with an axis of heads; a view."""
        x = (
            x.reshape(*x.shape[:-1], heads, -1)
            if x.shape[-1]
            else x.reshape(*x.shape[:-1], heads, 0)
        )
        if x.ndim == 3:
            return x[None].transpose(0, 2, 1, 3)
        return x.transpose(0, 2, 1, 3) if self.batch_first else x.transpose(1, 2, 0, 3)

    def _packed_of(self, x: Array, axes: int) -> Array:
        """The inverse, for an array with so many axes."""
        order = (0, 2, 1, 3) if self.batch_first or axes == 2 else (2, 0, 1, 3)
        x = x.transpose(order)
        x = x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])
        return x[0] if axes == 2 else x

    def _split(self, q: Any, k: Any, v: Any) -> tuple[Array, Array, Array]:
        if self.heads == 0:
            return q, k, v
        n, m = self.heads, self.key_heads
        if k is None:
            all_heads = self._heads_of(q, n + 2 * m)
            return all_heads[:, :n], all_heads[:, n : n + m], all_heads[:, n + m :]
        if v is None:
            both = self._heads_of(k, 2 * m)
            return self._heads_of(q, n), both[:, :m], both[:, m:]
        return self._heads_of(q, n), self._heads_of(k, m), self._heads_of(v, m)

    def _joined(self, inputs: Any, dq: Array, dk: Array, dv: Array) -> list[Array | None]:
        q, k, v = inputs
        if self.heads == 0:
            return [dq, dk, dv]
        if k is None:
            return [self._packed_of(np.concatenate([dq, dk, dv], 1), q.ndim), None, None]
        if v is None:
            both = self._packed_of(np.concatenate([dk, dv], 1), q.ndim)
            return [self._packed_of(dq, q.ndim), both, None]
        return [self._packed_of(x, q.ndim) for x in (dq, dk, dv)]

    # ---- NumPy ----------------------------------------------------------------------------------

    def _scores(self, q: Array, k: Array, mask: Any, padding: Any) -> Array:
        """What softmax gets, -inf where a key is not seen; k with the heads of q."""
        z = self.scale * (q @ k.swapaxes(2, 3))
        never = np.array(-np.inf, z.dtype)
        if mask is not None and mask.ndim == 3:
            mask = mask.reshape(z.shape)
        if mask is not None and mask.dtype.kind == "f":
            z = z + mask
        elif mask is not None:
            z = np.where((mask != 0) == self.flags_drop, never, z)
        if padding is not None:
            z = np.where(np.atleast_2d(padding)[:, None, None, :] != 0, never, z)
        if self.causal:
            z = np.where(np.tri(*z.shape[2:]) > 0, z, never)
        return np.asarray(z)

    def _kept(self, shape: tuple[int, ...], seed: int) -> Any:
        """R: 0 or 1 / (1 - dropout), of a hash of the seed, the row's number and the key's."""
        if not self.dropout:
            return 1.0
        rows = np.arange(math.prod(shape[:3]), dtype=np.uint64).reshape(*shape[:3], 1)
        row = split_mix(np.uint64(seed) + rows * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
        column = np.arange(shape[3], dtype=np.uint32) * np.uint32(0x9E3779B9)
        h = row.astype(np.uint32) + column
        h = (h ^ h >> np.uint32(16)) * np.uint32(0x85EBCA6B)
        h = (h ^ h >> np.uint32(13)) * np.uint32(0xC2B2AE35)
        h = h ^ h >> np.uint32(16)
        return np.where(h < np.uint32(self.dropout * 2.0**32), 0, 1 / (1 - self.dropout))

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        q, k, v = self._split(*inputs[:3])
        group = q.shape[1] // k.shape[1]
        z = self._scores(q, k.repeat(group, 1), *inputs[3:])
        top = z.max(-1, keepdims=True, initial=-np.inf)
        e = np.exp(z - np.where(np.isinf(top), 0, top))
        total = e.sum(-1, keepdims=True)
        p = e / np.where(total == 0, 1, total) * self._kept(z.shape, seed)
        out = p @ v.repeat(group, 1)
        if self.heads:
            out = self._packed_of(out, inputs[0].ndim)
        lse = (np.log(total) + top)[..., 0]
        if self.weights == "none":
            return [out], [lse]
        shown = p if self.weights == "each" else p.mean(1)
        return [out, shown[0] if inputs[0].ndim == 2 else shown], [lse]

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        q, k, v = self._split(*inputs[:3])
        batch, heads = q.shape[:2]
        group = heads // k.shape[1]
        many_k, many_v = k.repeat(group, 1), v.repeat(group, 1)
        do, out = gradients[0], outputs[0]
        if self.heads:
            do, out = self._heads_of(do, heads), self._heads_of(out, heads)
        z = self._scores(q, many_k, *inputs[3:])
        lse = saved[0][..., None]
        p = np.exp(z - np.where(np.isinf(lse), np.inf, lse))
        kept = self._kept(z.shape, seed)
        dp = do @ many_v.swapaxes(2, 3) * kept
        ds = self.scale * p * (dp - (do * out).sum(-1, keepdims=True))
        dk, dv = ds.swapaxes(2, 3) @ q, (p * kept).swapaxes(2, 3) @ do
        dk, dv = (
            x.reshape(batch, k.shape[1], group, *x.shape[2:]).sum(2) for x in (dk, dv)
        )  # of the heads that share one
        return [*self._joined(inputs[:3], ds @ many_k, dk, dv), None, None]


def split_mix(state: Array) -> Array:
    """The number that SplitMix64 draws in each of these states (uint64)."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ z >> np.uint64(31))


@dataclass(frozen=True)
class Rotary(Operation):
    r"""Pairs (i, i + E/2) of a head's E numbers turn by an angle of their position.

    Inputs: x (..., length, width), or (length, batch, width) without ``batch_first``; cosines,
    sines (length or more, E/2). The first ``heads`` heads of x turn, to (a cos - b sin, b cos + a
    sin), what follows in a row stays.

    Backward. A turn is an orthogonal matrix, whose transpose turns back:  dx is dy with the angles
    negated. cosines and sines have no gradient.
    """

    heads: int = 1
    batch_first: bool = True

    name: ClassVar[str] = "rotary"
    reads_inputs: ClassVar[tuple[int, ...]] = (1, 2)

    def options(self) -> tuple[float, ...]:
        return self.heads, self.batch_first

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        x, cosines, sines = inputs
        if len(x.shape) < 2 or (not self.batch_first and len(x.shape) > 3):
            raise ValueError(
                f"rotary: x must have 2 axes or more (3 at most if not batch_first), got shape "
                f"{x.shape}"
            )
        length = x.shape[0] if not self.batch_first else x.shape[-2]
        if len(cosines.shape) != 2 or cosines.shape[0] < length or sines.shape != cosines.shape:
            raise ValueError(
                f"rotary: cosines and sines must have shape ({length} or more, half of a head), "
                f"got {cosines.shape} and {sines.shape}"
            )
        if self.heads < 1 or self.heads * 2 * cosines.shape[1] > x.shape[-1]:
            raise ValueError(
                f"rotary: {self.heads} heads of {2 * cosines.shape[1]} must fit the last axis of "
                f"x, got shape {x.shape}"
            )
        return [Spec(x.shape)], []

    def _turned(self, x: Array, cosines: Array, sines: Array) -> Array:
        half = cosines.shape[1]
        out, width = x.copy(), self.heads * 2 * half
        heads = out[..., :width].reshape(*x.shape[:-1], self.heads, 2, half)
        length = x.shape[0] if not self.batch_first else x.shape[-2]
        shape = (length, 1, 1, half) if not self.batch_first and x.ndim == 3 else (length, 1, half)
        c, s = cosines[:length].reshape(shape), sines[:length].reshape(shape)
        a, b = heads[..., 0, :], heads[..., 1, :]
        turned = np.stack([a * c - b * s, b * c + a * s], axis=-2)
        out[..., :width] = turned.reshape(*x.shape[:-1], width)
        return out

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        return [self._turned(*inputs)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        return [self._turned(gradients[0], inputs[1], -inputs[2]), None, None]


def mask_for(mask: Any, dtype: Any, where: str) -> Any:
    """A mask as operations take it: bool as it is, numbers as a tensor of the dtype."""
    if mask is None:
        return None
    if isinstance(mask, Tensor):
        if mask.data.dtype.kind != "f":
            return mask_for(mask.data, dtype, where)
        if mask.requires_grad or mask._record is not None:
            raise ValueError(f"{where}: attn_mask has no gradient here; detach() it")
        return mask if mask.dtype == dtype else Tensor(mask.data.astype(dtype))
    mask = np.asarray(mask)
    if mask.dtype in (np.bool_, np.uint8):
        return np.ascontiguousarray(mask)
    if mask.dtype.kind != "f":
        raise TypeError(f"{where}: attn_mask must be bool or real, got {mask.dtype}")
    return Tensor(mask.astype(dtype, copy=False))


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale query key^T + attn_mask) value, for each head.

    Parameters
    ----------
    query : Tensor, shape (B, H, L, E)
    key : Tensor, shape (B, H, S, E)
    value : Tensor, shape (B, H, S, Ev)
    attn_mask : ndarray or Tensor, shape (L, S) or (B or 1, H or 1, L or 1, S), optional
        bool: true where a query sees a key; numbers are added to the scaled products and have no
        gradient.
    dropout_p : float
        The probability with which each weight is set to 0; always on where it is not 0.
    is_causal : bool
        Query i sees keys 0 to i; not with ``attn_mask``.
    scale : float, optional
        1 / sqrt(E) if missing.
    enable_gqa : bool
        Whether key and value may have fewer heads, each for H / heads queries' heads in a row.

    Returns
    -------
    Tensor, shape (B, H, L, Ev)
        Where a query sees no key: 0, also the gradients (PyTorch has NaN in some cases).
    """
    where = "scaled_dot_product_attention"
    if is_causal and attn_mask is not None:
        raise ValueError(f"{where}: attn_mask must be None where is_causal is set")
    if query.ndim == key.ndim == 4 and query.shape[1] != key.shape[1] and not enable_gqa:
        raise ValueError(
            f"{where}: key must have the heads of query, {query.shape[1]}, got {key.shape[1]} "
            "(enable_gqa allows fewer)"
        )
    width = query.shape[-1] if query.shape else 0
    scale = 1 / math.sqrt(width or 1) if scale is None else float(scale)
    mask = mask_for(attn_mask, query.dtype, where)
    operation = Attention(causal=bool(is_causal), scale=scale, dropout=float(dropout_p))
    return apply(operation, query, key, value, mask, None)


def rotary(
    x: Tensor, cosines: Any, sines: Any, heads: int = 1, *, batch_first: bool = True
) -> Tensor:
    """Turn the first heads of each row by angles of its position (rotary embedding).

    Parameters
    ----------
    x : Tensor, shape (..., length, width), or (length, batch, width) without batch_first
    cosines, sines : array_like, shape (length or more, E / 2)
        See `rotary_angles`.
    heads : int
        How many heads of E numbers, at the start of each row, turn.

    Returns
    -------
    Tensor, shape as x
    """
    c, s = (
        Tensor(np.asarray(a.data if isinstance(a, Tensor) else a).astype(x.dtype, copy=False))
        for a in (cosines, sines)
    )
    return apply(Rotary(heads, batch_first), x, c, s)


def rotary_angles(length: int, width: int, base: float = 10000.0) -> tuple[Array, Array]:
    """Cosines and sines of t base^(-2 i / width) for positions t and pairs i, float64.

    Returns
    -------
    cosines, sines : ndarray, shape (length, width / 2)
    """
    if width < 2 or width % 2:
        raise ValueError(f"rotary_angles: width must be even and positive, got {width}")
    speeds = float(base) ** (-np.arange(0, width, 2) / width)
    angles = np.arange(length)[:, None] * speeds
    return np.cos(angles), np.sin(angles)
