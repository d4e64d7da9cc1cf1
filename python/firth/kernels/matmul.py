"""Matrix product. C (M, N) = A (M, K) B (K, N); `pack` prepares a B that is used often."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import active_level, kernel


class PackedMatrix:
    """A right operand of `matmul` in the layout of the native kernels; made by `pack`.

    Attributes
    ----------
    array : ndarray, shape (K, N), float32 or uint16 (bfloat16 bits)
        The matrix that was packed, not a copy. Do not write to it: the packed values would stay.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self._packed: dict[str, _native.Packed] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """(K, N)."""
        return self.array.shape[0], self.array.shape[1]

    @property
    def for_numba(self) -> NDArray[Any]:
        """What the Numba version multiplies by."""
        return self.array

    def at(self, level: _native.Level) -> _native.Packed:
        """The packed values for ``level``; packed when first asked for."""
        if level.name not in self._packed:
            self._packed[level.name] = level.pack(self.array)
        return self._packed[level.name]


def pack(b: Any, *, transposed: bool = False) -> PackedMatrix:
    """Pack the right operand of `matmul` once, for use with many left operands.

    Parameters
    ----------
    b : array_like, shape (K, N), or (N, K) where ``transposed``; float32, or bfloat16 as uint16
        or ml_dtypes.bfloat16
        A weight matrix of shape (outputs, inputs) is a transposed one.
    transposed : bool
        Whether the rows of ``b`` are the columns of the matrix.

    Returns
    -------
    PackedMatrix
        Holds about the bytes of ``b`` besides ``b`` itself. For the active ISA level now; packed
        again where another level is chosen later.

    Raises
    ------
    TypeError
        Another dtype.
    ValueError
        ``b`` is not 2-D.
    """
    array = _operand("pack", "b", b)
    packed = PackedMatrix(_arrays.matrix(array.T if transposed else array))
    packed.at(active_level())
    return packed


@kernel
def matmul(a: Any, b: Any, *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Product of two matrices, ``a @ b``, in float32.

    Parameters
    ----------
    a : array_like, shape (M, K), float32, or bfloat16 as uint16 or ml_dtypes.bfloat16
    b : array_like, shape (K, N), the same dtype, or a PackedMatrix
        Read in place where its rows or its columns are contiguous (``weight.T`` costs no copy).
    out : ndarray, shape (M, N), float32, optional
        Receives the result; may overlap ``a`` or ``b``.

    Returns
    -------
    ndarray, shape (M, N), float32; ``out`` itself where it was given.

    Raises
    ------
    TypeError
        Another dtype, or different dtypes.
    ValueError
        An argument is not 2-D, the inner axes differ, or ``out`` does not fit.

    Notes
    -----
    Every element is summed in float32 along K, in blocks of 384 (bfloat16: 768) that are added in
    order: the error is at most K * eps * sum(|a_k b_k|). The order depends on K and the ISA level
    only: a row has the same bits in any batch. K = 0 gives 0. NaN and inf propagate. Products of
    bfloat16 are exact; the level v4x takes denormal bfloat16 inputs and denormal sums as 0.
    """
    left = _arrays.widen_bfloat16(_arrays.bfloat16_bits(np.asarray(a)))
    right = b.array if isinstance(b, PackedMatrix) else _arrays.bfloat16_bits(np.asarray(b))
    return _arrays.deliver(np.matmul(left, _arrays.widen_bfloat16(right)), out)  # type: ignore[no-any-return]


def _operand(function: str, name: str, value: Any) -> NDArray[Any]:
    """A 2-D array of float32 or of bfloat16 bits."""
    array = _arrays.bfloat16_bits(
        _arrays.numbers(function, name, value, "float32", "bfloat16", "uint16")
    )
    if array.ndim != 2:
        raise ValueError(f"{function}: {name} must have 2 axes, got shape {array.shape}")
    return array


@matmul.prepare
def _(a: Any, b: Any, *, out: NDArray[np.float32] | None = None) -> tuple[Any, ...]:
    a = _operand("matmul", "a", a)
    plain = b.array if isinstance(b, PackedMatrix) else _operand("matmul", "b", b)
    if a.dtype != plain.dtype:
        raise TypeError(f"matmul: a and b must have one dtype, got {a.dtype} and {plain.dtype}")
    if a.shape[1] != plain.shape[0]:
        raise ValueError(
            f"matmul: the inner axes must be equal, got shapes {a.shape} and {plain.shape}"
        )
    shape = (a.shape[0], plain.shape[1])
    result = _arrays.output("matmul", out, shape, np.float32)
    if out is not None and (
        np.may_share_memory(out, a)
        or np.may_share_memory(out, plain)
        or not (out.flags.c_contiguous and out.flags.aligned)
    ):
        result = np.empty(shape, np.float32)
    if not (a.shape[1] < 2 or a.strides[1] == a.itemsize) or _arrays.matrix(a) is not a:
        a = np.array(a, order="C")
    return result, a, b if isinstance(b, PackedMatrix) else _arrays.matrix(plain), result


@matmul.numba
def _(a: Any, b: Any, out: Any) -> None:
    # a: (M, K), b: (K, N), out: (M, N). Row by row: the inner loop runs along contiguous columns.
    left, right = np.ascontiguousarray(a), np.ascontiguousarray(b)
    if a.itemsize == 2:  # bfloat16: the upper half of a float32
        left_f32 = (left.astype(np.uint32) << 16).astype(np.uint32).view(np.float32)
        right_f32 = (right.astype(np.uint32) << 16).astype(np.uint32).view(np.float32)
    else:
        left_f32, right_f32 = left.astype(np.float32), right.astype(np.float32)
    for m in range(out.shape[0]):
        for n in range(out.shape[1]):
            out[m, n] = 0
        for k in range(left_f32.shape[1]):
            for n in range(out.shape[1]):
                out[m, n] += left_f32[m, k] * right_f32[k, n]


@matmul.native
def _(level: _native.Level, a: Any, b: Any, out: Any) -> None:
    level.matmul(a, b.at(level) if isinstance(b, PackedMatrix) else b, out)
