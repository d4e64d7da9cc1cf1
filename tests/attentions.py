"""Arguments of attention, and its definition in float64 with a bound of the error."""

from __future__ import annotations

import numpy as np

from conftest import spiky
from firth.kernels import _arrays
from firth.kernels import scaled_dot_product_attention as attention


def make(lead, sizes, dtype="float32", seed=0):
    length, keys, depth, values = sizes
    rng = np.random.default_rng(seed)
    arrays = [
        spiky(rng, (*lead, length, depth)),
        rng.standard_normal((*lead, keys, depth)).astype(np.float32),
        spiky(rng, (*lead, keys, values)),
    ]
    return arrays if dtype == "float32" else [_arrays.narrow_bfloat16(x) for x in arrays]


def exact(x):
    return _arrays.widen_bfloat16(np.asarray(x)).astype(np.float64)


def check(q, k, v, got, mask=None, **options):
    """`got` against the reference in float64, within a bound on the error of scores and weights.

    A score s = scale * q k errs by (E + 2) eps sum|q k| scale; its exponent is computed from s and
    the maximum with 2 eps (|s| + max|s|) more; a weight errs by that, by the polynomial and by the
    rounding to bfloat16, and the sums over keys by S eps: all relative to sum_j w_j |v_j|, twice
    (numerator and denominator).
    """
    within(got, *wanted(q, k, v, mask, **options))


def wanted(q, k, v, mask=None, **options):
    """The dtype, the reference in float64 and the bound of `check`."""
    if mask is not None and mask.dtype == np.uint16:
        mask = exact(mask)
    q64, k64, v64 = exact(q), exact(k), exact(v)
    want = attention.reference(q64, k64, v64, mask, **options)
    if want.size == 0:
        return q.dtype, want, want
    size = attention.reference(q64, k64, np.abs(v64), mask, **options)
    scale = options.get("scale")
    scale = abs(scale) if scale is not None else 1 / np.sqrt(max(1, q.shape[-1]))
    if options.get("enable_gqa"):
        k64 = np.repeat(k64, q.shape[-3] // k64.shape[-3], axis=-3)
    products = np.matmul(np.abs(q64), np.swapaxes(np.abs(k64), -1, -2)) * scale
    largest = products.max(axis=-1, keepdims=True, initial=0)
    if mask is not None and mask.dtype != bool:
        largest = largest + np.abs(np.where(np.isfinite(mask), mask, 0)).max(initial=0)
    bfloat16 = q.dtype == np.uint16
    eps = float(np.finfo(np.float32).eps)
    relative = (q.shape[-1] + 8) * eps * largest + 1.5e-7 + k.shape[-2] * eps
    if bfloat16:
        relative = relative + 7.6e-5 + 2.0**-8
    bound = 2 * relative * size + eps * np.abs(want) + 1e-30
    if bfloat16:
        bound = bound + 2.0**-8 * np.abs(want)
    return q.dtype, want, bound


def within(got, dtype, want, bound):
    assert got.dtype == dtype
    assert got.shape == want.shape
    assert (np.abs(exact(got) - want) <= bound).all()
