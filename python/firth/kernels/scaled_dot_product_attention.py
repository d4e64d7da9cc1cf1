"""Attention. L = queries, S = keys, E = depth of a query and key, Ev = depth of a value.

Leading axes (batch, heads) broadcast; H = query heads, Hk = key and value heads (grouped queries).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import active_level, kernel

NAME = "scaled_dot_product_attention"


class PackedKeysValues:
    """Keys and values packed once for many queries, to which more are appended: a decoder's cache.

    Pass it as ``key`` to `scaled_dot_product_attention`; results have the same bits as with the
    arrays. Appended arrays are copied and not kept. Threads may use it while one appends: each call
    sees the keys before or after an append (a mask must fit those that it sees).

    Parameters
    ----------
    key : array_like, shape (..., S, E), float32, or bfloat16 as uint16 or ml_dtypes.bfloat16
        S may be 0.
    value : array_like, shape (..., S, Ev), the same dtype and leading axes

    Raises
    ------
    TypeError
        Another dtype, or different ones.
    ValueError
        Shapes that do not fit.
    """

    def __init__(self, key: Any, value: Any) -> None:
        k, v = (
            _checked("key", key, "PackedKeysValues"),
            _checked("value", value, "PackedKeysValues"),
        )
        self.lead: tuple[int, ...] = k.shape[:-2]
        """The leading axes of keys and values."""
        self.depth, self.values = k.shape[-1], v.shape[-1]
        self.dtype = k.dtype
        self._check("PackedKeysValues", k, v)
        self._level = active_level()
        self._native = self._made(self._level, k, v)

    def _check(self, function: str, k: NDArray[Any], v: NDArray[Any]) -> None:
        if not k.dtype == v.dtype == self.dtype:
            raise TypeError(
                f"{function}: key and value must be {self.dtype}, got {k.dtype} and {v.dtype}"
            )
        n = k.shape[-2]
        want = (*self.lead, n, self.depth), (*self.lead, n, self.values)
        if (k.shape, v.shape) != want:
            raise ValueError(
                f"{function}: key and value must have shapes {want[0]} and {want[1]}, "
                f"got {k.shape} and {v.shape}"
            )

    def _made(
        self, level: _native.Level, k: NDArray[Any], v: NDArray[Any]
    ) -> _native.kernels.KeysValues:
        kernels = _native.kernels
        make = kernels.keys_values_f32 if self.dtype == np.float32 else kernels.keys_values_bf16
        made = make(level, math.prod(self.lead), self.depth, self.values)
        made.append(k, v)
        return made

    def append(self, key: Any, value: Any) -> None:
        """Append keys and values.

        Parameters
        ----------
        key : array_like, shape (..., n, E)
        value : array_like, shape (..., n, Ev)
            Dtype, leading axes, E and Ev as before.

        Raises
        ------
        TypeError
            Another dtype.
        ValueError
            Other shapes; nothing has been appended then.
        """
        k, v = _checked("key", key, "append"), _checked("value", value, "append")
        self._check("append", k, v)
        self._native.append(k, v)

    def __repr__(self) -> str:
        key = (*self.lead, len(self), self.depth)
        value = (*self.lead, len(self), self.values)
        return f"PackedKeysValues<key {key}, value {value}, {_arrays.dtype_name(self.dtype)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedKeysValues, self.arrays()  # packed anew: the layout is that of a level

    def __len__(self) -> int:
        """How many keys each head has."""
        return self._native.keys

    @property
    def nbytes(self) -> int:
        """Bytes of the packed keys and values."""
        return self._native.nbytes

    def arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Copies of the keys (..., S, E) and the values (..., S, Ev)."""
        key, value = self._native.unpack()
        lead = (*self.lead, key.shape[1])
        return key.reshape(*lead, self.depth), value.reshape(*lead, self.values)

    def at(self, level: _native.Level) -> _native.kernels.KeysValues:
        """The packed values for ``level``: packed again for a level other than at creation."""
        if level.name == self._level.name:
            return self._native
        return self._made(level, *self.arrays())


class _PackedHeads:
    """The keys (or values) of a PackedKeysValues as an argument of the kernel.

    index: int64 (*lead, 1, 1), the packed head that each head of queries reads; keys: how many,
    whatever is appended meanwhile.
    """

    def __init__(
        self, packed: PackedKeysValues, index: NDArray[np.int64], keys: int, which: int
    ) -> None:
        self.packed, self.index, self._which = packed, index, which
        self._keys = keys

    @property
    def for_numba(self) -> NDArray[Any]:
        """(*lead, S, E or Ev)."""
        whole = self.packed.arrays()[self._which][..., : self._keys, :]
        by_number = whole.reshape(math.prod(self.packed.lead), *whole.shape[-2:])
        heads: NDArray[Any] = by_number[self.index[..., 0, 0]]
        return heads


@kernel
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any = None,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    return_lse: bool = False,
) -> Any:
    """softmax(scale * query key^T + mask) value, as PyTorch's function of this name.

    Parameters
    ----------
    query : array_like, shape (..., L, E), float32, or bfloat16 as uint16 or ml_dtypes.bfloat16
    key : array_like, shape (..., S, E), the same dtype; or a `PackedKeysValues`
    value : array_like, shape (..., S, Ev), the same dtype; None where ``key`` is packed
        Leading axes broadcast. Read in place where the last axis is contiguous, so that
        ``x.reshape(B, T, H, E).swapaxes(1, 2)`` costs no copy.
    attn_mask : array_like with at least two axes, broadcastable to (..., L, S), optional
        bool (True: the key takes part), or float32 or the dtype of ``query`` (added to the scores).
    dropout_p : float
        0.0: there is no dropout, but its place in PyTorch's list of arguments.
    is_causal : bool
        Query i sees keys 0 to i (aligned at the top left, whatever L and S are).
    scale : float, optional
        Default 1 / sqrt(E). Any number that is finite in float32.
    enable_gqa : bool
        Query heads (third axis from the end) in groups: key and value heads divide their number,
        and query head h uses key head h // (H / Hk).
    return_lse : bool
        Whether the logarithms of the sums of exponentials are returned too: what a backward pass
        or a merge of results over parts of the keys needs.

    Returns
    -------
    ndarray, shape (..., L, Ev), dtype of ``query``; with ``return_lse`` a tuple of it and
    lse, float32, shape (..., L): log(sum(exp(scale * query key^T + mask))) over the keys, natural,
    -inf for a query without keys.

    Raises
    ------
    TypeError
        Another dtype (float64 is not supported), or different ones; ``is_causal`` is no bool, or
        ``scale`` no number.
    ValueError
        Shapes that do not fit, ``attn_mask`` together with ``is_causal``, a ``scale`` that is not
        finite, a ``dropout_p`` other than 0.

    Notes
    -----
    The native and Numba versions never hold L x S scores: a block of 128 keys, with the online
    softmax of Milakov and Gimelshein (arXiv:1805.02867) as in FlashAttention (arXiv:2205.14135).
    Sums are float32 and in the order of the keys: a head has the same bits in any batch and with
    any number of keys behind its own that a boolean mask hides. Weights are 2^x by a polynomial
    (relative error 1.5e-7; bfloat16: 7.6e-5, then rounded to bfloat16, while their sum is not).

    Finite arguments give what the formula gives, whatever their size: the reference and the Numba
    version compute in float64, the native one computes a query again in float64 where its scores or
    sums leave the range of float32.

    A query whose keys are all masked, or with S = 0, gives 0, as PyTorch's. NaN in a query or a key
    gives NaN (PyTorch's CPU kernel may give 0); what is behind a masked key or value must be
    finite, as in PyTorch.
    """
    query = np.asarray(query)
    if isinstance(key, PackedKeysValues):
        key, value = key.arrays()
    # In float64 the products of float32 numbers are exact, and none overflows.
    q, k, v = (
        _arrays.widen_bfloat16(_arrays.bfloat16_bits(np.asarray(x))).astype(np.float64)
        for x in (query, key, value)
    )
    if enable_gqa:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], axis=-3) for x in (k, v))
    factor = (1 / math.sqrt(q.shape[-1]) if q.shape[-1] else 1.0) if scale is None else scale
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * factor
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    if attn_mask is not None:
        mask = _arrays.widen_bfloat16(_arrays.bfloat16_bits(np.asarray(attn_mask)))
        if mask.dtype == bool:
            mask = np.where(mask, 0.0, -np.inf)
        scores = scores + mask
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(top == -np.inf, 0, top))
    total = weights.sum(axis=-1, keepdims=True)
    result: NDArray[Any] = np.matmul(weights / np.where(total == 0, 1, total), v)
    if query.dtype in (np.float32, np.float64):
        result = result.astype(query.dtype)
    else:
        result = _arrays.narrow_bfloat16(result).view(query.dtype)
    if not return_lse:
        return result
    lse = (top + np.log(total))[..., 0]  # log(0) where there are no keys
    return result, lse.astype(np.float64 if query.dtype == np.float64 else np.float32)


def _checked(name: str, value: Any, function: str = NAME) -> NDArray[Any]:
    """An array of float32 or bfloat16 bits with at least two axes and contiguous rows."""
    array = _arrays.bfloat16_bits(
        _arrays.numbers(function, name, value, "float32", "bfloat16", "uint16")
    )
    if array.ndim < 2:
        raise ValueError(f"{function}: {name} must have at least 2 axes, got shape {array.shape}")
    contiguous = array.shape[-1] < 2 or array.strides[-1] == array.itemsize
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    if not (contiguous and whole and array.flags.aligned):
        array = np.array(array, order="C")
    return array


def _checked_mask(attn_mask: Any, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """The mask as bool or float32."""
    if attn_mask is None:
        return None
    of_query = ("bfloat16", "uint16") if dtype == np.uint16 else ()
    mask = _arrays.bfloat16_bits(
        _arrays.numbers(NAME, "attn_mask", attn_mask, "float32", "bool", *of_query)
    )
    if mask.ndim < 2:
        raise ValueError(f"{NAME}: attn_mask must have at least 2 axes, got shape {mask.shape}")
    mask = _arrays.widen_bfloat16(mask)
    if not mask.flags.aligned or any(stride % mask.itemsize for stride in mask.strides):
        mask = np.array(mask, order="C")
    return mask


def _in_groups(x: NDArray[Any], heads: int) -> NDArray[Any]:
    """(..., H, rows, columns) seen as (..., heads, H / heads, rows, columns); no copy."""
    shape, strides, group = x.shape, x.strides, x.shape[-3] // heads
    return np.lib.stride_tricks.as_strided(
        x,
        (*shape[:-3], heads, group, *shape[-2:]),
        (*strides[:-3], strides[-3] * group, strides[-3], *strides[-2:]),
    )


@scaled_dot_product_attention.prepare
def _(
    query: Any,
    key: Any,
    value: Any = None,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    return_lse: bool = False,
) -> tuple[Any, ...]:
    typed = _arrays.numbers(NAME, "query", query, "float32", "bfloat16", "uint16").dtype
    q = _checked("query", query)
    packed = key if isinstance(key, PackedKeysValues) else None
    if packed is None:
        k, v = _checked("key", key), _checked("value", value)
    else:
        if value is not None:
            raise ValueError(f"{NAME}: value must be None where key is packed with its values")
        # Broadcast the numbers of heads instead of their keys and values, so that all do it alike.
        number = np.arange(math.prod(packed.lead)).reshape(*packed.lead, 1, 1)
        held = len(packed)  # once: another thread may append
        k = np.broadcast_to(number, (*packed.lead, held, packed.depth))
        v = np.broadcast_to(number, (*packed.lead, held, packed.values))
    types = (k.dtype, v.dtype) if packed is None else (packed.dtype,) * 2
    if not q.dtype == types[0] == types[1]:
        raise TypeError(
            f"{NAME}: query, key and value must have one dtype, "
            f"got {q.dtype}, {types[0]} and {types[1]}"
        )
    if dropout_p != 0:
        raise ValueError(f"{NAME}: dropout_p must be 0.0 (there is no dropout), got {dropout_p!r}")
    if not isinstance(is_causal, (bool, np.bool_)):
        raise TypeError(f"{NAME}: is_causal must be a bool, got {is_causal!r}")
    if is_causal and attn_mask is not None:
        raise ValueError(f"{NAME}: attn_mask must be None where is_causal is True")
    if scale is not None:
        scale = _arrays.factor(NAME, "scale", scale, np.float32)
    mask = _checked_mask(attn_mask, q.dtype)
    shapes = f"got shapes {q.shape}, {k.shape} and {v.shape}"
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"{NAME}: query and key must have one depth, key and value one length; {shapes}"
        )
    if enable_gqa:
        if min(q.ndim, k.ndim, v.ndim) < 3:
            raise ValueError(f"{NAME}: enable_gqa needs an axis of heads; {shapes}")
        heads = q.shape[-3]
        if any(x.shape[-3] == 0 or heads % x.shape[-3] for x in (k, v)):
            raise ValueError(f"{NAME}: heads of key and value must divide those of query; {shapes}")
    try:
        # (a grouped axis of heads counts once here and is split below)
        skip = -3 if enable_gqa else -2
        lead = np.broadcast_shapes(q.shape[:skip], k.shape[:skip], v.shape[:skip])
        if enable_gqa:
            lead = (*lead, heads)
        length, keys = q.shape[-2], k.shape[-2]
        if mask is not None:
            mask = np.broadcast_to(mask, (*lead, length, keys))
    except ValueError:
        raise ValueError(
            f"{NAME}: leading axes do not broadcast; {shapes}"
            + (f", attn_mask {mask.shape}" if mask is not None else "")
        ) from None
    out = np.empty((*lead, length, v.shape[-1]), q.dtype)
    lse = np.empty((*lead, length, 1), np.float32) if return_lse else None
    result = (out.view(typed), lse[..., 0]) if lse is not None else out.view(typed)
    both = [k, v] if packed is None else [k, v, number]
    q = np.broadcast_to(q, (*lead, *q.shape[-2:]))
    if enable_gqa and (k.shape[-3] != heads or v.shape[-3] != heads):
        # Heads as (groups of the finer of key and value, members): members share one head.
        finer = math.lcm(k.shape[-3], v.shape[-3])
        q, out = _in_groups(q, finer), _in_groups(out, finer)
        mask = _in_groups(mask, finer) if mask is not None else None
        lse = _in_groups(lse, finer) if lse is not None else None
        lead = (*lead[:-1], finer, heads // finer)
        both = [
            (x if x.shape[-3] == finer else np.repeat(x, finer // x.shape[-3], axis=-3))[
                ..., None, :, :
            ]
            for x in both
        ]
    both = [np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in both]
    depth = q.shape[-1]
    factor = (1 / math.sqrt(depth) if depth else 1.0) if scale is None else float(scale)
    if factor < 0:  # the native softmax wants scores and their maxima in one order
        q = q ^ np.uint16(0x8000) if q.dtype == np.uint16 else -q
        factor = -factor
    if not lead:  # one axis at least: Numba walks over it
        q, out, *both = (x[None] for x in (q, out, *both))
        mask = mask[None] if mask is not None else None
        lse = lse[None] if lse is not None else None
    keys_values: list[Any] = both
    if packed is not None:
        index = np.ascontiguousarray(both[2], np.int64)
        keys_values = [_PackedHeads(packed, index, keys, which) for which in (0, 1)]
    return result, q, *keys_values, mask, bool(is_causal), factor, out, lse


def _distinct(x: NDArray[Any], broadcast: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The distinct matrices of x (..., rows, columns), and which of them each head has.

    As a new float32 array (n, rows, columns); what is broadcast is so along the first axes.
    """
    steps = [slice(1) if stride == 0 else slice(None) for stride in x.strides[:broadcast]]
    part = _arrays.widen_bfloat16(x[tuple(steps)])
    lead = part.shape[:-2]
    which = np.broadcast_to(np.arange(math.prod(lead)).reshape(lead), x.shape[:-2])
    matrices = part.reshape(math.prod(lead), *part.shape[-2:])
    return np.array(matrices, np.float32, order="C"), which.flatten()


@scaled_dot_product_attention.for_numba
def _(
    q: Any, k: Any, v: Any, mask: Any, causal: Any, scale: Any, out: Any, lse: Any
) -> tuple[Any, ...]:
    # All leading axes in one, masks as numbers to add (one of a single row, or column, is that of
    # all), and always a place for the sums.
    if mask is None:
        mask = np.zeros((*out.shape[:-2], 1, 1), np.float32)
    elif mask.dtype == bool:
        mask = np.where(mask, np.float32(0), np.float32(-np.inf))
    lead = q.ndim - 2
    found = [_distinct(x, lead) for x in (q, k, v)] + [_distinct(mask, lead + 2)]
    which = np.stack([index for _, index in found], axis=1)
    heads, length = len(which), out.shape[-2]
    sums = np.empty((heads, length), np.float32) if lse is None else lse.reshape(heads, length)
    flat = out.reshape(heads, *out.shape[-2:])
    return *(matrices for matrices, _ in found), which, causal, scale, flat, sums


@scaled_dot_product_attention.numba
def _(
    q: Any, k: Any, v: Any, mask: Any, which: Any, causal: Any, scale: Any, out: Any, lse: Any
) -> None:
    # q: (n, L, E), k: (n, S, E), v: (n, S, Ev), mask: (n, L or 1, S or 1), which: (heads, 4), out:
    # (heads, L, Ev), lse: (heads, L). One query at a time; its scores of 128 keys live in a small
    # array, with an online softmax; in float64, so that nothing overflows.
    block = 128
    length, keys = q.shape[-2], k.shape[-2]
    last_row, last_column = mask.shape[1] - 1, mask.shape[2] - 1
    scores, total = np.empty(block), np.empty(v.shape[-1])
    for head in range(out.shape[0]):
        qh, kh, vh = q[which[head, 0]], k[which[head, 1]], v[which[head, 2]]
        added = mask[which[head, 3]]
        for i in range(length):
            seen = min(i + 1, keys) if causal else keys
            top, weight_sum = -np.inf, 0.0
            total[:] = 0
            for first in range(0, seen, block):
                n = min(block, seen - first)
                best = -np.inf
                for j in range(n):
                    s = 0.0
                    for e in range(qh.shape[1]):
                        s += np.float64(qh[i, e]) * np.float64(kh[first + j, e])
                    s = s * scale + added[min(i, last_row), min(first + j, last_column)]
                    scores[j] = s
                    best = max(best, s)
                if best > top:
                    rescale = np.exp(top - best)
                    top = best
                    weight_sum *= rescale
                    for e in range(total.shape[0]):
                        total[e] *= rescale
                reference = 0.0 if top == -np.inf else top
                for j in range(n):
                    weight = np.exp(scores[j] - reference)
                    weight_sum += weight
                    for e in range(total.shape[0]):
                        total[e] += weight * vh[first + j, e]
            lse[head, i] = top + np.log(weight_sum) if weight_sum != 0 else -np.inf
            inverse = 0.0 if weight_sum == 0 else 1 / weight_sum
            for e in range(total.shape[0]):
                total[e] *= inverse
            if out.itemsize == 2:
                bits = total.astype(np.float32).view(np.uint32)
                for e in range(total.shape[0]):
                    if np.isnan(total[e]):
                        out[head, i, e] = (bits[e] >> 16) | 0x40
                    else:
                        out[head, i, e] = (bits[e] + 0x7FFF + ((bits[e] >> 16) & 1)) >> 16
            else:
                out[head, i] = total


@scaled_dot_product_attention.native
def _(
    level: _native.Level, q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: float, out: Any,
    lse: Any,
) -> None:  # fmt: skip
    if isinstance(k, _PackedHeads):
        _native.kernels.attention(
            level, q, k.packed.at(level), k.index, mask, causal, scale, out, lse
        )
    else:
        _native.kernels.attention(level, q, k, v, mask, causal, scale, out, lse)
