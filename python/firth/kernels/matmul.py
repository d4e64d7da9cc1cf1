"""Matrix product. C (M, N) = A (M, K) B (K, N); `pack` prepares a B that is used often."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import _arrays
from firth.kernels._dispatch import active_level, kernel

ACTIVATIONS = (None, "relu", "gelu", "gelu_tanh", "silu")
"""What `matmul` may apply to its sums; their places are the numbers that the kernels know."""


class PackedMatrix:
    """A right operand of `matmul` in the layout of the native kernels; made by `pack`.

    Attributes
    ----------
    array : ndarray, shape (K, N), float32, float64, uint16 (bfloat16 bits) or int8
        The matrix that was packed, not a copy. Do not write to it: the packed values would stay.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self._packed: dict[tuple[str, np.dtype[Any]], _native.kernels.Packed] = {}

    def __repr__(self) -> str:
        return f"PackedMatrix<{self.shape}, {_arrays.dtype_name(self.array.dtype)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedMatrix, (self.array,)  # packed anew: the layout is that of a level

    @property
    def shape(self) -> tuple[int, int]:
        """(K, N)."""
        return self.array.shape[0], self.array.shape[1]

    @property
    def for_numba(self) -> NDArray[Any]:
        """What the Numba version multiplies by."""
        return self.array

    def at(self, level: _native.Level, left: np.dtype[Any]) -> _native.kernels.Packed:
        """The packed values for ``level`` and a left operand of dtype ``left``.

        Packed when first asked for.
        """
        key = level.name, left
        if key not in self._packed:
            unsigned = left == np.uint8
            self._packed[key] = _native.kernels.pack(level, self.array, unsigned_left=unsigned)
        return self._packed[key]


def pack(b: Any, *, transposed: bool = False) -> PackedMatrix:
    """Pack the right operand of `matmul` once, for use with many left operands.

    Parameters
    ----------
    b : array_like, shape (K, N), or (N, K) where ``transposed``; float32, float64, bfloat16 as
        uint16 or ml_dtypes.bfloat16, or int8
        A weight matrix of shape (outputs, inputs) is a transposed one.
    transposed : bool
        Whether the rows of ``b`` are the columns of the matrix.

    Returns
    -------
    PackedMatrix
        Holds about the bytes of ``b`` besides ``b`` itself (of int8, on levels that multiply bytes
        as 16-bit numbers, twice as many). For the active ISA level now; packed again where another
        level is chosen later. int8 is packed for a signed left operand now, for an unsigned one at
        its first product.

    Raises
    ------
    TypeError
        Another dtype.
    ValueError
        ``b`` is not 2-D.
    """
    array = _operand("pack", "b", b)
    if array.dtype == np.uint8:
        raise TypeError("pack: b of bytes must be int8, got uint8")
    packed = PackedMatrix(_arrays.matrix(array.T if transposed else array))
    packed.at(active_level(), array.dtype)
    return packed


@kernel
def matmul(
    a: Any,
    b: Any,
    *,
    bias: Any = None,
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] | None = None,
    scale: float = 1.0,
    residual: Any = None,
    row_scales: Any = None,
    row_offsets: Any = None,
    column_scales: Any = None,
    column_sums: Any = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Product of two matrices, ``activation(scale * (a @ b) + bias) + residual``.

    Parameters
    ----------
    a : array_like, shape (M, K), float32, float64, bfloat16 as uint16 or ml_dtypes.bfloat16, or
        uint8 or int8
    b : array_like, shape (K, N), the same dtype (int8 for uint8), or a PackedMatrix
        Both are read in place where their rows or their columns are contiguous: ``weight.T`` costs
        no copy, nor does ``gradient.T @ x``.
    bias : array_like, shape (N,), dtype of the result, optional
    activation : {"relu", "gelu", "gelu_tanh", "silu"}, optional
        relu: max(z, 0). silu: z / (1 + e^-z). gelu: z Phi(z) with the normal distribution Phi
        (Hendrycks and Gimpel, arXiv:1606.08415). gelu_tanh: their approximation
        z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))), as GPT-2 has it.
    scale : float
        Factor of the product.
    residual : array_like, shape (M, N), dtype of the result, optional
        Added last.
    row_scales, row_offsets : array_like, shape (M,), float32, optional
    column_scales, column_sums : array_like, shape (N,), float32, optional
        Of uint8 by int8, all four together: what the bytes stand for, as `quantize_rows` and
        `quantize_weights` give it. The sums then become ``(row_scales * (a @ b) + row_offsets *
        column_sums) * column_scales``, in float32, to which ``bias``, ``activation`` and
        ``residual`` apply.
    out : ndarray, shape (M, N), dtype of the result, optional
        Receives the result; may overlap any argument.

    Returns
    -------
    ndarray, shape (M, N), float32 (float64 for float64, int32 for bytes without ``row_scales``);
    ``out`` itself where it was given.

    Raises
    ------
    TypeError
        Another dtype, or different dtypes; ``scale`` is no real number.
    ValueError
        An operand is not 2-D, the inner axes differ, ``activation`` is unknown, ``scale`` is not
        finite in the dtype of the result, ``bias``, ``residual``, ``out`` or a factor of rows or
        columns does not fit, only some of these four are given, or given for other operands than
        uint8 by int8, or operands are bytes without them and anything is to be done to their sums.

    Notes
    -----
    Every element is summed in the dtype of the result along K, in blocks of 384 (float64: 192) that
    are added in order: the error is at most K * eps * sum(|a_k b_k|). The order depends on K and
    the ISA level only: a row has the same bits in any batch. K = 0 gives a product of 0. NaN and
    inf propagate; activations of -inf are 0. Products of bfloat16 are exact. On other CPUs than
    Intel's the level v4x multiplies them by an instruction of its own, in blocks of 768, which
    takes denormal inputs and denormal sums as 0; elsewhere they are widened to float32. The level
    tiles sums 32 of them at a time, those of even and those of odd k apart, before it adds them to
    the rest, denormals being 0 too. Products of bytes are exact, and so is their sum up to
    K = 65,793 (uint8) or 131,071 (int8); beyond it wraps as NumPy's int32. What ``row_scales`` and
    the others make of it is rounded to float32 once an operation, the sum itself included: within
    4 eps of ``(|row_scales * (a @ b)| + |row_offsets * column_sums|) * |column_scales|``, and
    without an activation the same bits on every level.

    silu and gelu err by at most 8 ULP of their result, besides what an error of their argument
    does; gelu_tanh by 8 + 4 |z + 0.044715 z^3| (the error of the exponent). Results whose
    exponential is below the least normal number are 0. (Without fma, on the level base, gelu errs
    by z^2 units more.)
    """
    if np.asarray(a).dtype.name in ("int8", "uint8"):
        whole = b.array if isinstance(b, PackedMatrix) else np.asarray(b)
        sums = np.matmul(np.asarray(a).astype(np.int32), whole.astype(np.int32))
        if row_scales is None:
            return _arrays.deliver(sums, out)  # type: ignore[no-any-return]
        of_row, offset, of_column, ones = (
            np.asarray(x, np.float32) for x in (row_scales, row_offsets, column_scales, column_sums)
        )
        z = (of_row[:, None] * sums.astype(np.float32) + offset[:, None] * ones) * of_column
    else:
        left = _arrays.widen_bfloat16(_arrays.bfloat16_bits(np.asarray(a)))
        right = b.array if isinstance(b, PackedMatrix) else _arrays.bfloat16_bits(np.asarray(b))
        z = np.matmul(left, _arrays.widen_bfloat16(right)) * left.dtype.type(scale)
    if bias is not None:
        z = z + np.asarray(bias)
    if activation is not None:
        z = activated(z.astype(np.float64), activation).astype(z.dtype)
    if residual is not None:
        z = z + np.asarray(residual)
    return _arrays.deliver(z, out)  # type: ignore[no-any-return]


def activated(z: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    """The activations in float64; limits at -inf."""
    if activation == "relu":
        return np.where(z < 0, 0, z)
    low = np.maximum(z, -1000)  # where the other factor is 0
    if activation == "gelu":
        tails = [0.5 * math.erfc(x) for x in (np.abs(z) * math.sqrt(0.5)).flat]
        tail = np.array(tails).reshape(z.shape)
        return np.where(z < 0, low * tail, np.where(z > 100, z, z * (1 - tail)))
    u = z if activation == "silu" else math.sqrt(8 / math.pi) * z * (1 + 0.044715 * z * z)
    e = np.exp(-np.abs(u))
    result: NDArray[np.float64] = np.where(z < 0, low * e, z) / (1 + e)
    return result


def _operand(function: str, name: str, value: Any, beside: Any = None) -> NDArray[Any]:
    """A 2-D array of floats, bfloat16 bits or bytes; lists are float32, or as `beside`."""
    if isinstance(value, (list, tuple)):
        double = getattr(beside, "dtype", None) == np.float64
        array = _arrays.numbers(function, name, value, "float64" if double else "float32")
    else:
        array = _arrays.bfloat16_bits(
            _arrays.numbers(
                function, name, value, "float32", "float64", "bfloat16", "uint16", "int8", "uint8"
            )
        )
    if array.ndim != 2:
        raise ValueError(f"{function}: {name} must have 2 axes, got shape {array.shape}")
    return array


def _addend(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> NDArray[Any] | None:
    """Bias or residual: contiguous in the last axis."""
    if value is None:
        return None
    array = _arrays.numbers("matmul", name, value, np.dtype(dtype).name)
    if array.shape != shape:
        raise ValueError(f"matmul: {name} must have shape {shape}, got {array.shape}")
    contiguous = shape[-1] < 2 or array.strides[-1] == array.itemsize
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    return array if contiguous and whole and array.flags.aligned else np.array(array, order="C")


@matmul.prepare
def _(
    a: Any,
    b: Any,
    *,
    bias: Any = None,
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] | None = None,
    scale: float = 1.0,
    residual: Any = None,
    row_scales: Any = None,
    row_offsets: Any = None,
    column_scales: Any = None,
    column_sums: Any = None,
    out: NDArray[Any] | None = None,
) -> tuple[Any, ...]:
    plain = b.array if isinstance(b, PackedMatrix) else _operand("matmul", "b", b, a)
    a = _operand("matmul", "a", a, plain)
    bytes_ = a.itemsize == 1 and plain.dtype == np.int8
    if a.dtype != plain.dtype and not bytes_:
        raise TypeError(f"matmul: a and b must have one dtype, got {a.dtype} and {plain.dtype}")
    if a.itemsize == 1 and not bytes_:
        raise TypeError(f"matmul: b of bytes must be int8, got {plain.dtype}")
    if a.shape[1] != plain.shape[0]:
        raise ValueError(
            f"matmul: the inner axes must be equal, got shapes {a.shape} and {plain.shape}"
        )
    if activation not in ACTIVATIONS:
        raise ValueError(f"matmul: activation must be one of {ACTIVATIONS}, got {activation!r}")
    shape = a.shape[0], plain.shape[1]
    rows, columns = shape[:1], shape[1:]
    factors = {
        "row_scales": (row_scales, rows), "row_offsets": (row_offsets, rows),
        "column_scales": (column_scales, columns), "column_sums": (column_sums, columns),
    }  # fmt: skip
    scaled = any(value is not None for value, _ in factors.values())
    if scaled and (a.dtype != np.uint8 or any(value is None for value, _ in factors.values())):
        raise ValueError(
            f"matmul: {', '.join(factors)} are for uint8 by int8, and all of them or none"
        )
    if bytes_ and not (bias is None and activation is None and residual is None and scale == 1):
        if not scaled:
            raise ValueError(
                "matmul: products of bytes are int32 sums, which take no bias, activation, scale "
                "or residual without row_scales"
            )
        if scale != 1:
            raise ValueError("matmul: scale must be 1 beside row_scales")
    dtype = {1: np.float32 if scaled else np.int32, 8: np.float64}.get(a.itemsize, np.float32)
    scale = 1.0 if bytes_ else _arrays.factor("matmul", "scale", scale, dtype)
    scales = [_addend(name, value, of, dtype) for name, (value, of) in factors.items()]
    bias = _addend("bias", bias, shape[1:], dtype)
    residual = _addend("residual", residual, shape, dtype)
    result = _arrays.output("matmul", out, shape, dtype)
    if out is not None and (
        any(
            np.may_share_memory(out, x)
            for x in (a, plain, bias, residual, *scales)
            if x is not None
        )
        or not (out.flags.c_contiguous and out.flags.aligned)
    ):
        result = np.empty(shape, dtype)
    left = _arrays.matrix(a)
    right = b if isinstance(b, PackedMatrix) else _arrays.matrix(plain)
    number = ACTIVATIONS.index(activation)
    return result, left, right, result, bias, number, scale, residual, *scales


@matmul.for_numba
def _(
    a: Any, b: Any, out: Any, bias: Any, activation: Any, scale: Any, residual: Any, *scales: Any
) -> tuple[Any, ...]:
    # Copies in the dtype of the sums; x + -0.0 is x, so there is always something to add.
    sums = np.int32 if a.itemsize == 1 else out.dtype
    a, b = (np.array(_arrays.widen_bfloat16(x), sums, order="C") for x in (a, b))
    bias = np.full(out.shape[1], -0.0, out.dtype) if bias is None else np.array(bias)
    if residual is None:
        residual = np.full((1, out.shape[1]), -0.0, out.dtype)
    scales = tuple(np.zeros(0, np.float32) if x is None else np.array(x) for x in scales)
    return a, b, out, bias, activation, scale, np.array(residual, order="C"), *scales


@matmul.numba
def _(
    a: Any, b: Any, out: Any, bias: Any, activation: Any, scale: Any, residual: Any,
    row_scales: Any, row_offsets: Any, column_scales: Any, column_sums: Any,
) -> None:  # fmt: skip
    # a: (M, K), b: (K, N), out: (M, N), bias: (N,), residual: (M or 1, N), row_...: (M,) or (0,),
    # column_...: (N,) or (0,). Row by row: the inner loop runs along contiguous columns.
    sums = np.empty(out.shape[1], a.dtype)
    for m in range(out.shape[0]):
        sums[:] = 0
        for k in range(a.shape[1]):
            for n in range(out.shape[1]):
                sums[n] += a[m, k] * b[k, n]
        added = residual[min(m, residual.shape[0] - 1)]
        for n in range(out.shape[1]):
            z = np.float64(sums[n]) * scale
            if row_scales.size:
                z = row_scales[m] * z + np.float64(row_offsets[m]) * column_sums[n]
                z *= column_scales[n]
            z += np.float64(bias[n])
            if activation == 1:
                z = 0.0 if z < 0 else z
            elif activation == 2:
                tail = 0.5 * math.erfc(abs(z) * math.sqrt(0.5))
                if z < 0:
                    z = max(z, -1000.0) * tail
                elif z <= 100:
                    z -= z * tail
            elif activation > 2:
                u = z
                if activation == 3:
                    u = math.sqrt(8 / math.pi) * z * (1 + 0.044715 * z * z)
                e = math.exp(-abs(u))
                z = (max(z, -1000.0) * e if z < 0 else z) / (1 + e)
            out[m, n] = z + np.float64(added[n])


@matmul.native
def _(
    level: _native.Level, a: Any, b: Any, out: Any, bias: Any, activation: int, scale: float,
    residual: Any, *scales: Any,
) -> None:  # fmt: skip
    right = b.at(level, a.dtype) if isinstance(b, PackedMatrix) else b
    if scales[0] is None:
        _native.kernels.matmul(level, a, right, out, bias, activation, scale, residual)
    else:
        _native.kernels.matmul_bytes(level, a, right, out, bias, activation, residual, *scales)
