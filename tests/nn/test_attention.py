"""Attention and rotary positions: every backend against the page's NumPy, and their gradients."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import firth
import network_checks as checks
from firth import _native
from firth.kernels import _dispatch
from firth.nn.operations.attention import (
    Attention,
    Rotary,
    rotary,
    rotary_angles,
    scaled_dot_product_attention,
)
from firth.nn.tape import Tensor, apply, apply_all

# batch, heads, heads of keys, queries, keys, depth, values: around panels (8, 16 or 32 columns),
# tiles (6 or 14 rows) and blocks along K (384, or 192 of double)
SIZES = [
    (1, 1, 1, 1, 1, 1, 1), (2, 2, 1, 3, 5, 4, 3), (1, 4, 2, 33, 17, 8, 8),
    (2, 3, 3, 40, 65, 16, 20), (1, 2, 2, 130, 130, 64, 64), (1, 1, 1, 29, 420, 5, 33),
    (1, 1, 1, 401, 31, 7, 9), (0, 2, 2, 3, 4, 5, 6), (2, 2, 2, 0, 4, 5, 6), (2, 2, 2, 3, 0, 5, 6),
]  # fmt: skip
VARIANTS = ["plain", "causal", "numbers", "flags", "padding", "dropout", "all"]


def arrays(size: tuple[int, ...], dtype: Any) -> list[np.ndarray]:
    batch, heads, key_heads, queries, keys, depth, values = size
    rng = np.random.default_rng(sum(size))
    shapes = (batch, heads, queries, depth), (batch, key_heads, keys, depth)
    shapes += ((batch, key_heads, keys, values),)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def variant(name: str, size: tuple[int, ...]) -> tuple[dict[str, Any], Any, Any]:
    """Options, mask and padding; numbers of the mask in float32, which is exact in float64."""
    batch, heads, _, queries, keys, depth, _ = size
    rng = np.random.default_rng(5)
    options: dict[str, Any] = {"scale": 1 / np.sqrt(depth)}
    options["causal"] = name in ("causal", "all")
    options["dropout"] = 0.3 if name in ("dropout", "all") else 0.0
    padding = rng.random((batch, keys)) < 0.3 if name in ("padding", "all") else None
    mask = None
    if name == "numbers":
        mask = rng.normal(size=(batch, heads, queries, keys)).astype(np.float32)
        mask[rng.random(mask.shape) < 0.2] = -np.inf
    if name in ("flags", "all"):
        mask = rng.random((queries, keys)) < 0.3
        mask[:1] = True  # nothing to see
        options["flags_drop"] = True
    return options, mask, padding


def run(
    operation: Attention, inputs: list[Any], mask: Any = None, padding: Any = None
) -> tuple[np.ndarray, list[Any]]:
    """The result and the gradients by the inputs, as `checks.run`; a mask has no gradient."""
    tensors = [None if x is None else Tensor(x.copy(), requires_grad=True) for x in inputs]
    dtype = inputs[0].dtype
    if mask is not None and mask.dtype.kind == "f":
        mask = Tensor(mask.astype(dtype))
    out = apply(operation, *tensors, mask, padding)
    out.backward(checks.output_gradients([out.data])[0])
    return out.data, [None if t is None else t.grad for t in tensors]


@functools.cache
def wanted(name: str, size: tuple[int, ...], dtype: Any, seed: int) -> Any:
    options, mask, padding = variant(name, size)
    given = [*arrays(size, dtype), mask, padding]
    return checks.reference(Attention(**options), given, seed)


def assert_near(got: Any, want: Any, size: tuple[int, ...], dtype: Any) -> None:
    # A score is a sum of depth products of numbers of order 1, whose error is the relative error of
    # its weight; results are sums of as many as there are keys, queries or values.
    eps = np.finfo(dtype).eps
    most = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=2 * eps * sum(size[3:]) * most)


def fixed_seed(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("firth.nn.tape.generator", lambda: np.random.default_rng(11))
    return int(np.random.default_rng(11).integers(1 << 63))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("size", SIZES)
def test_attention(backend, size, name, dtype, monkeypatch):
    seed = fixed_seed(monkeypatch)
    options, mask, padding = variant(name, size)
    out, gradients = run(Attention(**options), arrays(size, dtype), mask, padding)
    outputs, expected = wanted(name, size, dtype, seed)
    assert_near(out, outputs[0], size, dtype)
    for got, want in zip(gradients, expected, strict=False):
        assert got.dtype == dtype
        assert_near(got, want, size, dtype)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("size", [SIZES[1], SIZES[2], SIZES[5]])
def test_gradients_of_attention(size, name):
    options, mask, padding = variant(name, size)
    checks.check_gradients(Attention(**options), [*arrays(size, np.float64), mask, padding], 9)


def packed(inputs: list[np.ndarray], batch_first: bool) -> list[np.ndarray]:
    """(batch, heads, length, width) as (batch, length, heads width), or length first."""
    order = (0, 2, 1, 3) if batch_first else (2, 0, 1, 3)
    flat = [x.transpose(order) for x in inputs]
    return [np.ascontiguousarray(x.reshape(*x.shape[:2], -1)) for x in flat]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("form", ["three", "two", "one", "no batch"])
def test_heads_beside_each_other_are_those_of_an_axis(backend, form, batch_first, dtype):
    size = (2, 4, 2, 19, 19, 8, 8) if form != "no batch" else (1, 4, 2, 19, 19, 8, 8)
    options = {"causal": True, "scale": 0.3}
    given = arrays(size, dtype)
    out, gradients = run(Attention(**options), given)
    want = packed([out], batch_first)[0]
    wants = packed(gradients, batch_first)
    q, k, v = packed(given, batch_first)
    operation = Attention(4, 2, batch_first, **options)
    upstream = packed(checks.output_gradients([out]), batch_first)[0]
    inputs: list[Any] = [q, k, v]
    if form == "two":
        inputs, wants = (
            [q, np.concatenate([k, v], -1), None],
            [wants[0], np.concatenate(wants[1:], -1)],
        )
    elif form == "one":
        inputs, wants = [np.concatenate([q, k, v], -1), None, None], [np.concatenate(wants, -1)]
    elif form == "no batch":
        inputs, wants = [x.reshape(19, -1) for x in inputs], [x.reshape(19, -1) for x in wants]
        want, upstream = want.reshape(19, -1), upstream.reshape(19, -1)
    tensors = [None if x is None else Tensor(x, requires_grad=True) for x in inputs]
    got = apply(operation, *tensors, None, None)
    got.backward(upstream)
    # the same sums, but NumPy's products of other strides
    tolerance = 0 if backend.startswith("native") else 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(got.data, want, rtol=0, atol=tolerance)
    for tensor, gradient in zip(tensors, wants, strict=False):
        np.testing.assert_allclose(tensor.grad, gradient, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("form", ["three", "two", "one"])
def test_gradients_of_heads_beside_each_other(form):
    size = (2, 4, 2, 6, 6, 4, 4)
    q, k, v = packed(arrays(size, np.float64), False)
    inputs = {
        "three": [q, k, v], "two": [q, np.concatenate([k, v], -1), None],
        "one": [np.concatenate([q, k, v], -1), None, None],
    }[form]  # fmt: skip
    checks.check_gradients(Attention(4, 2, False, True, 0.5), [*inputs, None, None])


def test_added_gradients(backend):
    """Where an input has a gradient already, it is added to, once."""
    size = SIZES[3]
    given = arrays(size, np.float64)
    operation = Attention(scale=0.25, causal=True)
    _, once = run(operation, given)
    tensors = [Tensor(x, requires_grad=True) for x in given]
    for _ in range(2):
        out = apply(operation, *tensors, None, None)
        out.backward(checks.output_gradients([out.data])[0])
    for tensor, gradient in zip(tensors, once, strict=True):
        np.testing.assert_allclose(tensor.grad, 2 * gradient, rtol=1e-12, atol=1e-13)


def test_only_wanted_gradients(backend):
    given = arrays(SIZES[2], np.float64)
    operation = Attention(scale=0.25)
    _, whole = run(operation, given)
    for wanted_one in range(3):
        tensors = [Tensor(x, requires_grad=i == wanted_one) for i, x in enumerate(given)]
        out = apply(operation, *tensors, None, None)
        out.backward(checks.output_gradients([out.data])[0])
        for i, tensor in enumerate(tensors):
            if i == wanted_one:
                np.testing.assert_array_equal(tensor.grad, whole[i])
            else:
                assert tensor.grad is None


@pytest.mark.parametrize("name", ["plain", "all"])
def test_threads_change_no_bit(name, monkeypatch):
    fixed_seed(monkeypatch)
    size = (3, 4, 2, 130, 130, 24, 24)
    options, mask, padding = variant(name, size)
    before = _native.num_threads()
    found = []
    try:
        for threads in (1, 2):
            firth.set_num_threads(threads)
            out, gradients = run(Attention(**options), arrays(size, np.float32), mask, padding)
            found.append([out, *gradients])
    finally:
        firth.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights(backend, dtype):
    size = (2, 4, 2, 20, 33, 8, 8)
    given = [Tensor(x) for x in arrays(size, dtype)]
    options: dict[str, Any] = {"scale": 0.5, "causal": True}
    out, weights = apply_all(Attention(weights="each", **options), *given, None, None)
    assert weights.shape == (2, 4, 20, 33)
    eps = np.finfo(dtype).eps  # of sums of 33 numbers below 1, each of some roundings
    np.testing.assert_allclose(weights.data.sum(-1), 1, rtol=0, atol=33 * eps)
    assert not np.triu(weights.data, 1).any()
    values = given[2].data.repeat(2, 1)
    np.testing.assert_allclose(weights.data @ values, out.data, rtol=0, atol=100 * eps)
    _, mean = apply_all(Attention(weights="mean", **options), *given, None, None)
    np.testing.assert_allclose(mean.data, weights.data.mean(1), rtol=0, atol=8 * eps)
    flat = [
        Tensor(x[0].transpose(1, 0, 2).reshape(x.shape[2], -1)) for x in (g.data for g in given)
    ]
    for kind, want in (("each", weights.data[0]), ("mean", mean.data[0])):
        _, shown = apply_all(Attention(4, 2, weights=kind, **options), *flat, None, None)
        np.testing.assert_allclose(shown.data, want, rtol=0, atol=8 * eps)


def test_masks_of_a_head_each_and_padding_without_a_batch(backend):
    size = (2, 4, 2, 5, 9, 8, 8)
    given = arrays(size, np.float64)
    mask = np.random.default_rng(1).random((8, 5, 9)) < 0.6
    out, gradients = run(Attention(scale=0.5), given, mask)
    want, wants = run(Attention(scale=0.5), given, mask.reshape(2, 4, 5, 9))
    for one, two in zip([out, *gradients], [want, *wants], strict=True):
        np.testing.assert_array_equal(one, two)
    given = [x[:1] for x in given]
    padding = np.arange(9) > 6
    out, gradients = run(Attention(scale=0.5), given, None, padding)
    want, wants = run(Attention(scale=0.5), given, None, padding[None])
    for one, two in zip([out, *gradients], [want, *wants], strict=True):
        np.testing.assert_array_equal(one, two)


def test_queries_that_see_nothing_are_zero(backend):
    given = arrays((1, 2, 2, 4, 5, 3, 3), np.float32)
    mask = np.ones((4, 5), bool)
    mask[2] = False
    q, k, v = (Tensor(x, requires_grad=True) for x in given)
    out = scaled_dot_product_attention(q, k, v, mask)
    out.backward(np.ones(out.shape, np.float32))
    assert not out.data[:, :, 2].any()
    assert not q.grad[:, :, 2].any()
    assert np.isfinite(k.grad).all()
    assert np.abs(q.grad[:, :, 1]).min() > 0


def test_dropout_drops_its_share():
    """Each weight with chance 0.25, whatever the row and the key; the mean is kept."""
    n = 400
    q = Tensor(np.zeros((1, 2, n, 1), np.float32))
    operation = Attention(dropout=0.25, weights="each")
    _, weights = apply_all(operation, q, q, q, None, None)
    dropped = weights.data == 0
    kept = weights.data[~dropped] * n
    np.testing.assert_allclose(kept, 1 / 0.75, rtol=1e-5)
    # standard deviations: of the share sqrt(p (1 - p) / count); 5 of them
    for axis in ((0, 1, 2, 3), (2,), (3,)):
        share = dropped.mean(axis)
        count = dropped.size / share.size
        assert np.abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / count)
    # rows that follow each other, and keys, have nothing in common
    for other in (np.roll(dropped, 1, 2), np.roll(dropped, 1, 3), dropped[:, ::-1]):
        assert abs((dropped & other).mean() - 0.25**2) < 5 * np.sqrt(0.0625 / dropped.size)


def test_rotary_turns_by_the_angle_of_the_position(backend):
    cosines, sines = rotary_angles(12, 6)
    x = np.random.default_rng(1).normal(size=(2, 10, 20))
    got = rotary(Tensor(x), cosines, sines, 2).data
    for t, h, i in np.ndindex(10, 2, 3):
        angle = t * 10000.0 ** (-2 * i / 6)
        a, b = x[:, t, 6 * h + i], x[:, t, 6 * h + 3 + i]
        np.testing.assert_allclose(got[:, t, 6 * h + i], a * np.cos(angle) - b * np.sin(angle))
        np.testing.assert_allclose(got[:, t, 6 * h + 3 + i], b * np.cos(angle) + a * np.sin(angle))
    np.testing.assert_array_equal(got[..., 12:], x[..., 12:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("shape", [(3, 5, 14), (1, 1, 2), (4, 70, 40), (7, 12), (2, 0, 8)])
def test_rotary(backend, shape, batch_first, dtype):
    rng = np.random.default_rng(2)
    heads, half = 1 + (shape[-1] >= 14), shape[-1] // 4 or 1
    tables = [t.astype(np.float32).astype(dtype) for t in rotary_angles(80, 2 * half)]
    x = rng.normal(size=shape).astype(dtype)
    operation = Rotary(heads, batch_first)
    tensor = Tensor(x, requires_grad=True)
    for _ in range(2):  # the second is added
        out = apply(operation, tensor, *(Tensor(t) for t in tables))
        out.backward(x[::-1].copy())
    outputs, _ = operation.forward(*(a.astype(float) for a in (x, *tables)), seed=0)
    gradient = operation.backward(
        [None, *(t.astype(float) for t in tables)], [], [], [x[::-1].astype(float)], 0
    )[0]
    eps = np.finfo(dtype).eps  # a sum of two products
    np.testing.assert_allclose(out.data, outputs[0], rtol=0, atol=8 * eps)
    np.testing.assert_allclose(tensor.grad, 2 * gradient, rtol=0, atol=32 * eps)


def test_gradients_of_rotary():
    x = np.random.default_rng(2).normal(size=(5, 3, 12))
    tables = [t.astype(np.float32) for t in rotary_angles(8, 4)]
    checks.check_gradients(Rotary(2, batch_first=True), [x, *tables])
    checks.check_gradients(Rotary(3, batch_first=False), [x, *tables])


def test_bad_input_is_refused():
    q = Tensor(np.ones((2, 4, 5, 8), np.float32))
    sdpa = scaled_dot_product_attention
    with pytest.raises(ValueError, match="attention: query must have 4 axes"):
        sdpa(Tensor(np.ones((2, 3), np.float32)), q, q)
    with pytest.raises(ValueError, match="key must have the heads of query, 4, got 2"):
        sdpa(q, Tensor(np.ones((2, 2, 5, 8), np.float32)), q)
    three = Tensor(np.ones((2, 3, 5, 8), np.float32))
    with pytest.raises(ValueError, match="the heads of query must be a multiple of those of key"):
        sdpa(q, three, three, enable_gqa=True)
    with pytest.raises(ValueError, match=r"attention: mask must have shape \(5, 5\)"):
        sdpa(q, q, q, np.ones((5, 4), bool))
    with pytest.raises(TypeError, match="attn_mask must be bool or real, got int64"):
        sdpa(q, q, q, np.ones((5, 5), int))
    with pytest.raises(ValueError, match="attn_mask must be None where is_causal is set"):
        sdpa(q, q, q, np.ones((5, 5), bool), is_causal=True)
    with pytest.raises(ValueError, match="attn_mask has no gradient here"):
        sdpa(q, q, q, Tensor(np.ones((5, 5), np.float32), requires_grad=True))
    with pytest.raises(ValueError, match=r"attention: dropout must be in \[0, 1\), got 1.0"):
        sdpa(q, q, q, dropout_p=1.0)
    with pytest.raises(ValueError, match="attention: scale must be finite"):
        sdpa(q, q, q, scale=np.inf)
    with pytest.raises(ValueError, match="attention: value must have shape"):
        sdpa(q, q, Tensor(np.ones((2, 4, 6, 8), np.float32)))
    flat = Tensor(np.ones((2, 5, 24), np.float32))
    with pytest.raises(ValueError, match="the last a multiple of 15, got shape"):
        apply(Attention(5, 5), flat, None, None, None, None)
    with pytest.raises(ValueError, match="heads must be a multiple of key_heads, got 4 and 3"):
        apply(Attention(4, 3), flat, None, None, None, None)
    with pytest.raises(
        ValueError, match=r"key_padding_mask must have shape \(2, 5\), got \(2, 4\)"
    ):
        apply(Attention(4, 4), flat, None, None, None, np.zeros((2, 4), bool))
    with pytest.raises(ValueError, match="rotary: 4 heads of 8 must fit the last axis of x"):
        rotary(flat, *rotary_angles(5, 8), 4)
    with pytest.raises(ValueError, match="rotary: cosines and sines must have shape"):
        rotary(flat, *rotary_angles(4, 8), 1)


def call(forward: bool, name: str, options: Any, inputs: Any, outputs: Any, saved: Any) -> None:
    level = _dispatch.active_level()
    inputs = [np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x for x in inputs]
    if forward:
        _native.nn.forward(level, name, options, inputs, outputs, saved, f64=True)
    else:
        _native.nn.backward(
            level, name, options, inputs, outputs, saved, [outputs[0].copy()],
            [x.copy() if i < 3 and hasattr(x, "copy") else None for i, x in enumerate(inputs)],
            add=0, f64=True,
        )  # fmt: skip


@pytest.mark.parametrize("forward", [True, False])
def test_native_code_refuses_what_does_not_fit(forward):
    q, k, v = np.ones((1, 2, 3, 4)), np.ones((1, 2, 5, 4)), np.ones((1, 2, 5, 6))
    out, lse = np.ones((1, 2, 3, 6)), np.ones((1, 2, 3))
    options = (0, 0, 1, 0, 0.5, 0, 0, 0)
    good = [options, [q, k, v, None, None], [out], [lse]]
    call(forward, "attention", *good)
    bytes_, bools = np.zeros((3, 5), np.uint8), np.zeros((1, 5), bool)
    call(forward, "attention", options, [q, k, v, bytes_, bools], [out], [lse])
    bad_options = [
        options[:-1], (*options, 0), (3, 2, *options[2:]), (2, 0, *options[2:]),
        (1.5, 1, *options[2:]), (0, 0, 1, 0, np.inf, 0, 0, 0), (0, 0, 1, 0, 1, 1, 0, 0),
        (0, 0, 1, 0, 1, np.nan, 0, 0), (0, 0, 1, 0, 1, 0, 0, 1), (0, 0, 1, 0, 1, 0, 0, 3),
    ]  # fmt: skip
    cases = [[bad, *good[1:]] for bad in bad_options]
    flat = q.reshape(1, 3, 8)
    bad_inputs: list[list[Any]] = [
        [q, k, v, None], [q, k, None, None, None], [q, None, None, None, None],
        [None, k, v, None, None], [q, v, v, None, None], [q, k, v[:, :1], None, None],
        [q, k[:, :, :4].copy(), v, None, None], [flat, k, v, None, None],
        [q, k, v, bytes_[:2], None], [q, k, v, bytes_[0], None],
        [q, k, v, np.zeros((1, 3, 5), np.uint8), None], [q, k, v, None, np.zeros(4, bool)],
        [q, k, v, np.zeros((1, 1, 1, 3, 5), np.uint8), None], [q, k, v, bytes_[:, :4], None],
        [q, k, v, np.zeros((3, 5), np.int64), None], [q, k, v, np.zeros((2, 2, 3, 5)), None],
        [q, k, v, None, bools[:, :4]], [q, k, v, None, np.zeros((1, 5))],
        [q, k, v, (3, 5), None], [q, k, v, None, (1, 5)], [q.shape, k, v, None, None],
        [q, k.shape, v, None, None], [q, k, v.shape, None, None],
        [q, k.astype(np.int64), v, None, None],
        [np.ones((1, 2, 3, 0)), np.ones((1, 2, 5, 0)), v, None, None],
    ]  # fmt: skip
    cases += [[options, bad, [out], [lse]] for bad in bad_inputs]
    cases += [[options, good[1], [out[:, :, :2].copy()], [lse]]]
    cases += [[options, good[1], [out], [bad]] for bad in (lse[:, :1].copy(), lse[0], lse.shape)]
    cases += [[options, good[1], [out], []], [options, good[1], [out, lse], [lse]]]
    weights = (0, 0, 1, 0, 0.5, 0, 0, 1)
    cases += [[weights, good[1], [out, np.ones((1, 2, 3, 4))], [lse]]]
    cases += [[(*weights[:-1], 2), good[1], [out, np.ones((1, 2, 3, 5))], [lse]]]
    packed_options = (2, 2, 1, 0, 0.5, 0, 0, 0)
    out_flat = np.ones((1, 3, 8))
    call(forward, "attention", packed_options, [flat, flat, flat, None, None], [out_flat], [lse])
    for bad in (
        [flat, flat, None, None, None], [flat, None, None, None, None],
        [flat, np.ones((2, 3, 8)), flat, None, None], [flat, flat, np.ones((1, 4, 8)), None, None],
        [flat, flat, np.ones((1, 3, 7)), None, None], [flat, flat[0], flat[0], None, None],
        [flat, None, flat, None, None],
    ):  # fmt: skip
        cases.append([packed_options, bad, [out_flat], [lse]])
    for case in cases:
        with pytest.raises(ValueError, match=r"do not fit|do not have the shapes"):
            call(forward, "attention", *case)


@pytest.mark.parametrize("forward", [True, False])
def test_native_rotary_refuses_what_does_not_fit(forward):
    x, c = np.ones((2, 3, 8)), np.ones((3, 2))

    def turn(options: Any, x: Any, c: Any, s: Any, out: Any) -> None:
        if forward:
            call(True, "rotary", options, [x, c, s], [out], [])
        else:
            _native.nn.backward(
                _dispatch.active_level(), "rotary", options, [x.shape, c, s], [out.shape], [],
                [out], [np.ones(x.shape), None, None], add=0, f64=True,
            )  # fmt: skip

    turn((2, 1), x, c, c, x.copy())
    for bad in (
        [(3, 1), x, c, c, x], [(0, 1), x, c, c, x], [(2,), x, c, c, x],
        [(2, 1), x, c[:2], c[:2], x], [(2, 1), x, c, c[:2], x],
        [(2, 1), x, c, c, x[:, :2].copy()], [(2, 1), x[0, 0], c, c, x[0, 0]],
        [(2, 0), x[None], c, c, x[None]], [(2, 1), x, c.shape, c, x], [(2, 1), x, c, c.shape, x],
        [(2, 1), x, c.astype(np.int64), c, x],
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"do not fit|do not have the shapes"):
            turn(*bad)
