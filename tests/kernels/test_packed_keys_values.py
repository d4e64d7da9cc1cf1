"""Keys and values that are packed once, and grow, for attention."""

from __future__ import annotations

import copy
import pickle
import threading
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from attentions import check, exact, make
from conftest import BFLOAT16_BACKENDS, on_backend
from firth.kernels import PackedKeysValues, _dispatch
from firth.kernels import scaled_dot_product_attention as attention


@pytest.fixture(params=BFLOAT16_BACKENDS)
def backend(request):
    """Both ways of multiplying bfloat16 at v4x are tested here."""
    yield from on_backend(request.param)


@pytest.mark.packed
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("steps", [[300], [0, 300], [1] * 5 + [295], [127, 1, 1, 127, 44],
                                   [128, 128, 44], [100, 100, 100]])  # fmt: skip
def test_packed_keys_and_values(backend, steps, dtype):
    """In any steps: the same bits as the arrays, and the arrays themselves come back."""
    q, k, v = make((2, 6), (35, 300, 17, 9), dtype)
    k, v = (np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in (k, v))
    ends = np.cumsum(steps)
    packed = PackedKeysValues(k[..., : ends[0], :], v[..., : ends[0], :])
    for begin, end in pairwise(ends):
        packed.append(k[..., begin:end, :], v[..., begin:end, :])
    assert len(packed) == 300
    assert packed.nbytes >= k.nbytes + v.nbytes
    mask = np.random.default_rng(2).random((35, 300)) < 0.5
    for options in ({}, {"is_causal": True}, {"attn_mask": mask}, {"return_lse": True}):
        for got, want in zip(
            attention(q, packed, **options), attention(q, k, v, **options), strict=True
        ):
            assert_array_equal(got, want)
    for got, want in zip(packed.arrays(), (k, v), strict=True):
        assert_array_equal(got, want)
    check(q, k, v, attention(q, packed))


def test_packed_keys_are_read_while_a_thread_appends(backend):
    """A call sees the keys before or after an append: equal weights give their mean number."""
    step, heads = 50, 4
    number = np.arange(100 * step, dtype=np.float32)[:, None] * np.ones((heads, 1, 8), np.float32)
    query, key = np.zeros((heads, 16, 8), np.float32), np.zeros_like(number)
    packed = PackedKeysValues(key[:, :step], number[:, :step])

    def append():
        for begin in range(step, number.shape[1], step):
            some = slice(begin, begin + step)
            packed.append(key[:, some], number[:, some])

    writer = threading.Thread(target=append)
    writer.start()
    seen = []
    while writer.is_alive() or not seen:
        least = len(packed)
        got = attention(query, packed)
        most = len(packed)
        counts = np.rint(2 * got + 1)
        assert (counts == counts[0, 0, 0]).all()
        assert least <= counts[0, 0, 0] <= most
        assert counts[0, 0, 0] % step == 0
        one, other = packed.arrays()
        assert most <= one.shape[1] == other.shape[1]
        seen.append(least)
    writer.join()
    assert_array_equal(packed.arrays()[1], number)


@pytest.mark.packed
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_packed_keys_and_values_broadcast_and_group(backend, dtype):
    q, k, v = make((2, 6), (5, 150, 8, 8), dtype)
    grouped = PackedKeysValues(k[:, :2], v[:, :2])
    assert_array_equal(
        attention(q, grouped, enable_gqa=True), attention(q, k[:, :2], v[:, :2], enable_gqa=True)
    )
    shared = PackedKeysValues(k[0, 0], v[0, 0])
    assert_array_equal(attention(q, shared), attention(q, k[0, 0], v[0, 0]))
    assert_array_equal(attention(q[0, 0], shared), attention(q[0, 0], k[0, 0], v[0, 0]))
    per_batch = PackedKeysValues(k[:, :1], v[:, :1])
    assert_array_equal(attention(q, per_batch), attention(q, k[:, :1], v[:, :1]))
    empty = PackedKeysValues(k[..., :0, :], v[..., :0, :])
    assert not attention(q, empty).any()
    # NaN and denormals in the cache come back as they are; scores beyond float32 are exact.
    k[0, 0, 3, 1] = exact(k).dtype.type(np.nan) if dtype == "float32" else 0x7FC0
    packed = PackedKeysValues(k, v)
    assert_array_equal(packed.arrays()[0], k)
    large = np.full((3, 1), 2.0**70, np.float32)
    np.testing.assert_allclose(
        attention(large, PackedKeysValues(large, large), scale=2.0**-140), large, rtol=1e-6
    )


def test_packed_for_another_level(backend):
    q, k, v = make((2,), (5, 150, 8, 8))
    with _dispatch.use("native:base"):
        packed = PackedKeysValues(k, v)
    assert_array_equal(attention(q, packed), attention(q, k, v))


def test_packed_errors():
    k, v = np.ones((2, 4, 3), np.float32), np.ones((2, 4, 5), np.float32)
    packed = PackedKeysValues(k, v)
    for key, value, error, text in (
        (k[:1], v, ValueError, "append: key and value must have shapes"),
        (k, v[:, :3], ValueError, "append: key and value must have shapes"),
        (k[..., :2], v, ValueError, "append: key and value must have shapes"),
        (k.astype(np.uint16), v, TypeError, "append: key and value must be float32, got uint16"),
        (k.astype(np.float64), v, TypeError, "append: key must be float32"),
    ):
        with pytest.raises(error, match=text):
            packed.append(key, value)
        assert len(packed) == 4
    with pytest.raises(ValueError, match="PackedKeysValues: key and value must have shapes"):
        PackedKeysValues(k, v[:1])
    with pytest.raises(ValueError, match="attention: value must be None where key is packed"):
        attention(k, packed, v)
    with pytest.raises(TypeError, match="attention: query, key and value must have one dtype"):
        attention(k.astype(np.uint16), packed)
    with pytest.raises(ValueError, match="attention: query and key must have one depth"):
        attention(k[..., :2], packed)
    with pytest.raises(ValueError, match="leading axes do not broadcast"):
        attention(np.ones((3, 4, 3), np.float32), packed)
    with pytest.raises(TypeError, match="attention: value must be float32"):
        attention(k, k)


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_packed_keys_are_printed_copied_and_pickled(twin):
    rng = np.random.default_rng(11)
    q, k = rng.standard_normal((2, 2, 130, 8)).astype(np.float32)
    v = rng.standard_normal((2, 130, 5)).astype(np.float32)
    packed = PackedKeysValues(k, v)
    assert repr(packed) == "PackedKeysValues<key (2, 130, 8), value (2, 130, 5), float32>"
    bits = np.zeros((0, 4), np.uint16)
    assert (
        repr(PackedKeysValues(bits, bits)) == "PackedKeysValues<key (0, 4), value (0, 4), bfloat16>"
    )
    other = twin(packed)
    want = attention(q, packed)
    assert_array_equal(attention(q, other), want)
    other.append(k[:, :1], v[:, :1])
    assert (len(other), len(packed)) == (131, 130)  # independent
    assert_array_equal(attention(q, packed), want)
