"""The blocks of GGUF: a few weights behind a scale they share, as ggml's types define them.

A type is one entry: name, ggml's number, weights a block, the fields of a block in the order of its
bytes, and the function that turns blocks into float32. To add one, add such a function; the order
of its operations is part of the type, so that every reader has the same bits. Below them are the
functions that make blocks of weights.

Longer than 500 lines, since what a type means is written and read in one place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["TYPES", "BlockArray", "BlockType", "block_type", "dequantize", "quantize"]

_CHUNK = 1 << 16  # weights at a time: what is computed on the way stays in a cache


class BlockType(NamedTuple):
    """How weights are stored: so many in a block of so many bytes.

    Attributes
    ----------
    name : str
        As llama.cpp has it: "Q8_0".
    number : int
        ggml's.
    block : int
        Weights of a block.
    bytes : int
        Bytes of a block.
    """

    name: str
    number: int
    block: int
    bytes: int


TYPES: dict[int, BlockType] = {}  # by number

_Blocks = NDArray[Any]  # (n,) of the fields of a type
_Small = NDArray[Any]  # uint8
_Decode = Callable[[_Blocks], NDArray[np.float32]]  # to (n, block)
_Encode = Callable[[NDArray[np.float32], _Blocks], None]  # from (n, block) into blocks
_FIELDS: dict[str, np.dtype[Any]] = {}
_DECODE: dict[str, _Decode] = {}
_ENCODE: dict[str, _Encode] = {}


def block_type(name: str) -> BlockType:
    """The type of a name such as "Q4_1".

    Raises
    ------
    ValueError
        firth knows no such type.
    """
    for known in TYPES.values():
        if known.name == name:
            return known
    names = ", ".join(known.name for known in TYPES.values())
    raise ValueError(f"block_type: {name!r} is not one of {names}")


def dequantize(data: NDArray[np.uint8], type: BlockType) -> NDArray[np.float32]:
    """The weights of blocks.

    Parameters
    ----------
    data : array (rows, bytes a row) of uint8
    type : BlockType

    Returns
    -------
    array (rows, columns) of float32
        With the bits that ggml's own formulas have in float32, one rounding a step. Scales that
        are NaN or infinite give what they give.

    Raises
    ------
    ValueError
        The bytes of a row are not whole blocks.
    """
    if data.ndim != 2 or data.dtype != np.uint8 or data.shape[1] % type.bytes:
        raise ValueError(
            f"dequantize: data must be rows of whole blocks of {type.bytes} bytes, "
            f"got {data.dtype} of shape {data.shape}"
        )
    blocks = np.ascontiguousarray(data).reshape(-1).view(_FIELDS[type.name])
    weights = np.empty((len(data), data.shape[1] // type.bytes * type.block), np.float32)
    flat, decode, step = weights.reshape(-1, type.block), _DECODE[type.name], _CHUNK // type.block
    with np.errstate(all="ignore"):
        for begin in range(0, len(blocks), step):
            flat[begin : begin + step] = decode(blocks[begin : begin + step])
    return weights


def quantize(array: NDArray[Any], type: BlockType) -> NDArray[np.uint8]:
    """The nearest blocks to weights: the inverse of `dequantize`, up to rounding.

    Parameters
    ----------
    array : array (rows, columns) of any kind of float
    type : BlockType

    Returns
    -------
    array (rows, bytes a row) of uint8

    Raises
    ------
    ValueError
        firth cannot write this type; the columns are not whole blocks; a weight is NaN, infinite
        or beyond what a block can hold (F32, F16 and BF16 hold NaN and infinity).
    """
    if type.name not in _ENCODE:
        raise ValueError(f"quantize: {type.name} is not one of {', '.join(_ENCODE)}")
    if array.ndim != 2 or array.shape[1] % type.block:
        raise ValueError(
            f"quantize: array must have rows of whole blocks of {type.block} weights, "
            f"got shape {array.shape}"
        )
    rows, columns = array.shape
    blocks = np.empty((rows, columns // type.block), _FIELDS[type.name])
    step = max(1, _CHUNK // max(1, columns))
    try:
        with np.errstate(over="raise", invalid="raise"):
            for begin in range(0, rows, step):
                some = np.ascontiguousarray(array[begin : begin + step], np.float32)
                _ENCODE[type.name](
                    some.reshape(-1, type.block), blocks[begin : begin + step].reshape(-1)
                )
    except FloatingPointError:
        raise ValueError(
            f"quantize: array has a weight that is NaN, infinite or beyond {type.name}"
        ) from None
    return blocks.reshape(-1).view(np.uint8).reshape(rows, columns // type.block * type.bytes)


@dataclass(frozen=True, eq=False)
class BlockArray:
    """A matrix in blocks, as it stands in a file.

    Attributes
    ----------
    data : array (rows, bytes a row) of uint8
    type : BlockType
    name : str
        In the file, for errors.
    """

    data: NDArray[np.uint8]
    type: BlockType
    name: str = ""
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, in weights."""
        rows, width = self.data.shape
        return rows, width // self.type.bytes * self.type.block

    @property
    def nbytes(self) -> int:
        """Bytes of the blocks."""
        return self.data.nbytes

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, rows: slice) -> BlockArray:
        """Some rows, without a copy."""
        if not isinstance(rows, slice):
            raise TypeError(f"BlockArray: an index must be a slice of rows, got {rows!r}")
        return dataclasses.replace(self, data=self.data[rows])

    def dequantize(self, rows: slice | NDArray[Any] | Sequence[int] = slice(None)) -> NDArray[Any]:
        """The weights of some rows, by a slice or by their numbers: (rows, columns) of float32.

        Others stay as they are in memory; all rows by default.
        """
        return dequantize(self.data[rows], self.type)

    def __repr__(self) -> str:
        return f"BlockArray({self.type.name}, shape={self.shape})"


# Entries


def _type(
    name: str, number: int, block: int, *fields: tuple[str, str] | tuple[str, str, int]
) -> Callable[[_Decode], _Decode]:
    def register(decode: _Decode) -> _Decode:
        _FIELDS[name], _DECODE[name] = np.dtype(list(fields)), decode
        TYPES[number] = BlockType(name, number, block, _FIELDS[name].itemsize)
        return decode

    return register


def _encoder(name: str) -> Callable[[_Encode], _Encode]:
    def register(encode: _Encode) -> _Encode:
        _ENCODE[name] = encode
        return encode

    return register


def _unpack(packed: NDArray[Any], width: int, bits: int) -> _Small:
    """Small numbers out of bytes (n, m): the lowest bits of ``width`` bytes, then the next."""
    n, m = packed.shape
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    found: _Small = packed.reshape(n, m // width, 1, width) >> shifts
    found &= np.uint8((1 << bits) - 1)
    return found.reshape(n, -1)


def _pack(small: _Small, width: int, bits: int) -> _Small:
    """The inverse of `_unpack`."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    parts = small.reshape(len(small), -1, len(shifts), width) << shifts
    packed: _Small = np.bitwise_or.reduce(parts, axis=2)
    return packed.reshape(len(small), -1)


def _float(scale: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers of blocks (n,) or (n, m) as float32, with an axis for what they scale."""
    return scale.astype(np.float32)[..., None]


def _flat(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    return weights.reshape(len(weights), -1)


@_type("F32", 0, 1, ("x", "<f4"))
def _(b: _Blocks) -> NDArray[np.float32]:
    return _float(b["x"])


@_type("F16", 1, 1, ("x", "<f2"))
def _(b: _Blocks) -> NDArray[np.float32]:
    return _float(b["x"])


@_type("BF16", 30, 1, ("x", "<u2"))
def _(b: _Blocks) -> NDArray[np.float32]:
    bits: NDArray[Any] = b["x"].astype(np.uint32) << 16
    return bits.view(np.float32)[:, None]


@_type("Q4_0", 2, 32, ("d", "<f2"), ("q", "u1", 16))
def _(b: _Blocks) -> NDArray[np.float32]:
    return _float(b["d"]) * (_unpack(b["q"], 16, 4).astype(np.float32) - 8)


@_type("Q4_1", 3, 32, ("d", "<f2"), ("m", "<f2"), ("q", "u1", 16))
def _(b: _Blocks) -> NDArray[np.float32]:
    return _float(b["d"]) * _unpack(b["q"], 16, 4).astype(np.float32) + _float(b["m"])


def _five_bits(b: _Blocks) -> NDArray[np.float32]:
    q: _Small = np.unpackbits(b["high"], axis=1, bitorder="little") << 4
    q |= _unpack(b["q"], 16, 4)
    return q.astype(np.float32)


@_type("Q5_0", 6, 32, ("d", "<f2"), ("high", "u1", 4), ("q", "u1", 16))
def _(b: _Blocks) -> NDArray[np.float32]:
    return _float(b["d"]) * (_five_bits(b) - 16)


@_type("Q5_1", 7, 32, ("d", "<f2"), ("m", "<f2"), ("high", "u1", 4), ("q", "u1", 16))
def _(b: _Blocks) -> NDArray[np.float32]:
    return _float(b["d"]) * _five_bits(b) + _float(b["m"])


@_type("Q8_0", 8, 32, ("d", "<f2"), ("q", "i1", 32))
def _(b: _Blocks) -> NDArray[np.float32]:
    return _float(b["d"]) * b["q"].astype(np.float32)


# Blocks of 256 with a scale, and in some a minimum, for each 16 or 32 weights: small numbers that
# d, and dmin, scale.


@_type("Q2_K", 10, 256, ("scales", "u1", 16), ("q", "u1", 64), ("d", "<f2"), ("dmin", "<f2"))
def _(b: _Blocks) -> NDArray[np.float32]:
    q = _unpack(b["q"], 32, 2).reshape(-1, 16, 16).astype(np.float32)
    scale = _float(_float(b["d"]) * (b["scales"] & 15))
    return _flat(scale * q - _float(_float(b["dmin"]) * (b["scales"] >> 4)))


@_type("Q3_K", 11, 256, ("high", "u1", 32), ("q", "u1", 64), ("scales", "u1", 12), ("d", "<f2"))
def _(b: _Blocks) -> NDArray[np.float32]:
    scales = _unpack(b["scales"][:, :8], 8, 4) | _unpack(b["scales"][:, 8:], 4, 2) << 4
    q = _unpack(b["q"], 32, 2) + (_unpack(b["high"], 32, 1) << 2)
    scale = _float(_float(b["d"]) * (scales.astype(np.float32) - 32))
    return _flat(scale * (q.reshape(-1, 16, 16).astype(np.float32) - 4))


def _scales_and_minima(packed: _Small) -> tuple[_Small, _Small]:
    """Eight and eight numbers of six bits out of (n, 12).

    The first four of each are the low bits of bytes 0 to 3 and 4 to 7. Of the others the low four
    bits share bytes 8 to 11, and the high two are the high bits of bytes 0 to 7.
    """
    first, second, low = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.hstack([first & 63, low & 15 | first >> 6 << 4])
    return scales, np.hstack([second & 63, low >> 4 | second >> 6 << 4])


def _with_minima(b: _Blocks, q: _Small) -> NDArray[np.float32]:
    scales, minima = _scales_and_minima(b["scales"])
    scale, minimum = _float(_float(b["d"]) * scales), _float(_float(b["dmin"]) * minima)
    return _flat(scale * q.reshape(-1, 8, 32).astype(np.float32) - minimum)


@_type("Q4_K", 12, 256, ("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("q", "u1", 128))
def _(b: _Blocks) -> NDArray[np.float32]:
    return _with_minima(b, _unpack(b["q"], 32, 4))


@_type(
    "Q5_K", 13, 256,
    ("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("high", "u1", 32), ("q", "u1", 128),
)  # fmt: skip
def _(b: _Blocks) -> NDArray[np.float32]:
    return _with_minima(b, _unpack(b["q"], 32, 4) | _unpack(b["high"], 32, 1) << 4)


@_type("Q6_K", 14, 256, ("q", "u1", 128), ("high", "u1", 64), ("scales", "i1", 16), ("d", "<f2"))
def _(b: _Blocks) -> NDArray[np.float32]:
    q = _unpack(b["q"], 64, 4) | _unpack(b["high"], 32, 2) << 4
    scale = _float(_float(b["d"]) * b["scales"])
    return _flat(scale * (q.reshape(-1, 16, 16).astype(np.float32) - 32))


# Four bits that stand for unequal steps: narrow around zero, where most weights are.
_STEPS: NDArray[np.float32] = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32
)


@_type("IQ4_NL", 20, 32, ("d", "<f2"), ("q", "u1", 16))
def _(b: _Blocks) -> NDArray[np.float32]:
    return _float(b["d"]) * _STEPS[_unpack(b["q"], 16, 4)]


@_type("IQ4_XS", 23, 256, ("d", "<f2"), ("high", "u1", 2), ("scales", "u1", 4), ("q", "u1", 128))
def _(b: _Blocks) -> NDArray[np.float32]:
    scales = _unpack(b["scales"], 1, 4) | _unpack(b["high"], 1, 2) << 4
    scale = _float(_float(b["d"]) * (scales.astype(np.float32) - 32))
    return _flat(scale * _STEPS[_unpack(b["q"], 16, 4)].reshape(-1, 8, 32))


@_encoder("F32")
@_encoder("F16")
def _(x: NDArray[np.float32], b: _Blocks) -> None:
    b["x"] = x[:, 0]


@_encoder("BF16")
def _(x: NDArray[np.float32], b: _Blocks) -> None:
    bits = x[:, 0].view(np.uint32)
    upper, up = bits >> 16, (bits & 0xFFFF) + 0x7FFF + (bits >> 16 & 1) >> 16  # ties to even
    b["x"] = np.where(np.isnan(x[:, 0]), upper | 64, upper + up)  # NaN stays one


def _ratio(a: Any, b: NDArray[np.float32]) -> NDArray[np.float32]:
    """The ratio of a to b, but 0 where b is next to nothing: such scales are 0 in float16."""
    ratio = np.zeros(np.broadcast_shapes(np.shape(a), b.shape), np.float32)
    np.divide(a, b, out=ratio, where=abs(b) >= np.finfo(np.float32).tiny)
    return ratio


def _symmetric(x: NDArray[np.float32], b: _Blocks, half: int) -> _Small:
    """Numbers of 0 to 2 half - 1, half for zero: the weight of the largest magnitude becomes 0."""
    largest = np.take_along_axis(x, abs(x).argmax(axis=1, keepdims=True), axis=1)
    d = largest / np.float32(-half)
    b["d"] = d[:, 0]
    q: _Small = (x * _ratio(np.float32(1), d) + np.float32(half + 0.5)).astype(np.uint8)
    return q.clip(0, 2 * half - 1)


def _from_minimum(x: NDArray[np.float32], b: _Blocks, most: int) -> _Small:
    """Numbers of 0 to most: the smallest and the largest weight are the ends."""
    smallest = x.min(axis=1, keepdims=True)
    d = (x.max(axis=1, keepdims=True) - smallest) / np.float32(most)
    b["d"], b["m"] = d[:, 0], smallest[:, 0]
    q: _Small = ((x - smallest) * _ratio(np.float32(1), d) + np.float32(0.5)).astype(np.uint8)
    return q.clip(0, most)


@_encoder("Q4_0")
def _(x: NDArray[np.float32], b: _Blocks) -> None:
    b["q"] = _pack(_symmetric(x, b, 8), 16, 4)


@_encoder("Q4_1")
def _(x: NDArray[np.float32], b: _Blocks) -> None:
    b["q"] = _pack(_from_minimum(x, b, 15), 16, 4)


def _split_five_bits(q: _Small, b: _Blocks) -> None:
    b["high"] = np.packbits(q >> 4, axis=1, bitorder="little")
    b["q"] = _pack(q & 15, 16, 4)


@_encoder("Q5_0")
def _(x: NDArray[np.float32], b: _Blocks) -> None:
    _split_five_bits(_symmetric(x, b, 16), b)


@_encoder("Q5_1")
def _(x: NDArray[np.float32], b: _Blocks) -> None:
    _split_five_bits(_from_minimum(x, b, 31), b)


@_encoder("Q8_0")
def _(x: NDArray[np.float32], b: _Blocks) -> None:
    d = abs(x).max(axis=1, keepdims=True) / np.float32(127)
    scaled = x * _ratio(np.float32(1), d)
    whole = np.trunc(scaled)
    b["d"], b["q"] = d[:, 0], whole + np.trunc(2 * (scaled - whole))  # halves away from zero


# Types of 256 weights: the scale of each group is the best of some tries, each of which rounds the
# weights and then solves for what scales them best. An error counts more where a weight is large.


def _importance(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the weights (width, groups)."""
    importance: NDArray[np.float32] = abs(x) + np.sqrt((x * x).mean(axis=0))
    return importance


def _best_scale(x: NDArray[np.float32], half: int) -> NDArray[np.float32]:
    """Of weights (width, groups), for numbers from -half to half - 1: (groups,)."""
    importance, most = _importance(x), abs(x).argmax(axis=0)
    inverse = _ratio(np.float32(-half), x[most, np.arange(len(most))])
    scale, best = np.zeros_like(inverse), np.zeros_like(inverse)
    for stretch in np.linspace(0.97, 1.03, 19, dtype=np.float32):
        q = np.rint(x * (inverse * stretch)).clip(-half, half - 1)
        weighted = importance * q
        xq, qq = (weighted * x).sum(axis=0), (weighted * q).sum(axis=0)
        tried = _ratio(xq, qq)
        better = tried * xq > best  # by which the error is less than that of zeros
        best, scale = np.where(better, tried * xq, best), np.where(better, tried, scale)
    return scale


def _best_scale_and_minimum(
    x: NDArray[np.float32], most: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of weights (width, groups) as scale q - minimum, q from 0 to most, both 0 or above."""
    importance = _importance(x)
    all_, sum_x = importance.sum(axis=0), (importance * x).sum(axis=0)
    low = x.min(axis=0).clip(None, 0)
    span = x.max(axis=0).clip(0, None) - low

    def error(q: Any, scale: Any, minimum: Any) -> NDArray[np.float32]:
        off = scale * q - minimum - x
        found: NDArray[np.float32] = (importance * off * off).sum(axis=0)
        return found

    scale, minimum = span / np.float32(most), -low
    best = error(np.rint((x - low) * _ratio(most, span)), scale, minimum)
    for steps in np.linspace(most - 1, most + 1, 21, dtype=np.float32):
        q = np.rint((x - low) * _ratio(steps, span)).clip(0, most)
        weighted = importance * q
        sum_q, qq, xq = weighted.sum(axis=0), (weighted * q).sum(axis=0), (weighted * x).sum(axis=0)
        determinant = all_ * qq - sum_q * sum_q
        tried = _ratio(all_ * xq - sum_x * sum_q, determinant)
        least = _ratio(sum_q * xq - qq * sum_x, determinant)
        # Groups that are solved by no line, or by one with a minimum above 0: through zero.
        through = (least < 0) | (tried <= 0)
        tried, least = np.where(through, _ratio(xq, qq), tried), np.where(through, 0, least)
        off = error(q, tried, least)
        better = (off < best) & (tried >= 0)
        best, scale = np.where(better, off, best), np.where(better, tried, scale)
        minimum = np.where(better, least, minimum)
    return scale, minimum


def _groups(x: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Blocks (n, 256) as (width, groups): sums over groups are sums of rows."""
    return np.ascontiguousarray(x.reshape(-1, width).T)


def _small_scales(scales: NDArray[np.float32], d: NDArray[Any], least: int, most: int) -> Any:
    """The scales of groups (n, groups) as multiples of d, which is float16."""
    return np.rint(_ratio(scales, _float(d))).clip(least, most)


def _encode_with_minima(x: NDArray[np.float32], b: _Blocks, most: int) -> _Small:
    """Numbers of 0 to most (n, 256); fills the scales and minima of eight groups."""
    scale, minimum = (one.reshape(-1, 8) for one in _best_scale_and_minimum(_groups(x, 32), most))
    b["d"], b["dmin"] = scale.max(axis=1) / 63, minimum.max(axis=1) / 63
    scales, minima = _small_scales(scale, b["d"], 0, 63), _small_scales(minimum, b["dmin"], 0, 63)
    steps, least = _float(_float(b["d"]) * scales), _float(_float(b["dmin"]) * minima)
    x = x.reshape(-1, 8, 32)
    q: _Small = np.rint((x + least) * _ratio(np.float32(1), steps)).clip(0, most).astype(np.uint8)
    scales, minima = scales.astype(np.uint8), minima.astype(np.uint8)
    high = np.hstack([scales[:, 4:] >> 4, minima[:, 4:] >> 4]) << 6
    low = scales[:, 4:] & 15 | minima[:, 4:] << 4
    b["scales"] = np.hstack([np.hstack([scales[:, :4], minima[:, :4]]) | high, low])
    return q.reshape(-1, 256)


@_encoder("Q4_K")
def _(x: NDArray[np.float32], b: _Blocks) -> None:
    b["q"] = _pack(_encode_with_minima(x, b, 15), 32, 4)


@_encoder("Q5_K")
def _(x: NDArray[np.float32], b: _Blocks) -> None:
    q = _encode_with_minima(x, b, 31)
    b["q"], b["high"] = _pack(q & 15, 32, 4), _pack(q >> 4, 32, 1)


@_encoder("Q6_K")
def _(x: NDArray[np.float32], b: _Blocks) -> None:
    scale = _best_scale(_groups(x, 16), 32).reshape(-1, 16)
    most = np.take_along_axis(scale, abs(scale).argmax(axis=1, keepdims=True), axis=1)
    b["d"] = most[:, 0] / -128
    b["scales"] = _small_scales(scale, b["d"], -128, 127)
    steps = _float(_float(b["d"]) * b["scales"])
    inverse = _ratio(np.float32(1), steps)
    q = np.rint(x.reshape(-1, 16, 16) * inverse).clip(-32, 31).reshape(-1, 256)
    q = (q + 32).astype(np.uint8)
    b["q"], b["high"] = _pack(q & 15, 64, 4), _pack(q >> 4, 32, 2)
