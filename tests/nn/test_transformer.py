"""Modules of attention and the transformer, beside what test_transformer_peers.py compares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth import _native, nn, optim
from firth.kernels import use
from firth.nn import functional as F
from firth.nn import tape
from firth.nn.modules.attention import (
    LearnedPositions,
    MultiheadAttention,
    SinusoidalPositions,
)
from firth.nn.modules.transformer import (
    Transformer,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
    _is_causal,
)
from firth.nn.tape import Tensor


def numbers(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def turned(x: np.ndarray, base: float) -> np.ndarray:
    """Rows of one head, turned by the angles of their position."""
    length, width = x.shape
    angles = np.arange(length)[:, None] * base ** (-2 * np.arange(width // 2) / width)
    pairs = (x[:, : width // 2] + 1j * x[:, width // 2 :]) * np.exp(1j * angles)
    return np.concatenate([pairs.real, pairs.imag], 1)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("given", ["self", "memory", "three"])
def test_grouped_heads_that_turn(given, batch_first):
    base, size, heads, key_heads, length, keys = 500.0, 24, 6, 2, 300, 270
    module = MultiheadAttention(
        size, heads, num_kv_heads=key_heads, rotary_base=base, batch_first=batch_first,
        dtype=np.float64,
    )  # fmt: skip
    assert list(module.state_dict()) == [
        "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias",
    ]  # fmt: skip
    assert module.in_proj_weight.shape == (24 + 2 * 8, 24)
    module.in_proj_bias.data[...] = numbers(40)
    rows = numbers(length, size), numbers(keys, size)
    query, memory = (Tensor(x[None] if batch_first else x[:, None]) for x in rows)
    if given == "self":
        got = module(query, query, query, need_weights=False, is_causal=True)[0]
        rows = rows[0], rows[0]
    else:
        value = memory if given == "memory" else Tensor(memory.data)
        got = module(query, memory, value, need_weights=False, is_causal=True)[0]
    weight, bias = module.in_proj_weight.data, module.in_proj_bias.data
    q = rows[0] @ weight[:24].T + bias[:24]
    k, v = (rows[1] @ weight[a : a + 8].T + bias[a : a + 8] for a in (24, 32))
    found = np.zeros((length, size))
    for h in range(heads):
        mine, shared = slice(4 * h, 4 * h + 4), slice(4 * (h // 3), 4 * (h // 3) + 4)
        scores = turned(q[:, mine], base) @ turned(k[:, shared], base).T / 2
        scores[~np.tri(*scores.shape, dtype=bool)] = -np.inf
        e = np.exp(scores - scores.max(1, keepdims=True))
        found[:, mine] = e / e.sum(1, keepdims=True) @ v[:, shared]
    want = found @ module.out_proj.weight.data.T + module.out_proj.bias.data
    np.testing.assert_allclose(got.data.reshape(length, size), want, rtol=0, atol=1e-13)


def test_sinusoidal_positions():
    module = SinusoidalPositions(9, 6)
    x = numbers(2, 5, 6, dtype=np.float32)
    table = module(Tensor(x)).data - x
    for t, i in np.ndindex(5, 3):
        angle = t / 10000 ** (2 * i / 6)
        np.testing.assert_allclose(table[:, t, 2 * i], np.sin(angle), atol=1e-6)
        np.testing.assert_allclose(table[:, t, 2 * i + 1], np.cos(angle), atol=1e-6)
    assert list(module.state_dict()) == ["table"]
    with pytest.raises(ValueError, match=r"SinusoidalPositions: input must have shape \(..., 9"):
        module(Tensor(np.ones((10, 6), np.float32)))


@pytest.mark.parametrize("length", [4, 7])
def test_learned_positions(backend, length):
    module = LearnedPositions(7, 3, dtype=np.float64)
    x = Tensor(numbers(2, length, 3), requires_grad=True)
    out = module(x)
    np.testing.assert_array_equal(out.data, x.data + module.weight.data[:length])
    upstream = numbers(2, length, 3)
    out.backward(upstream)
    np.testing.assert_allclose(module.weight.grad[:length], upstream.sum(0), rtol=1e-14)
    assert not module.weight.grad[length:].any()
    np.testing.assert_array_equal(x.grad, upstream)
    with pytest.raises(ValueError, match="LearnedPositions: input must have shape"):
        module(Tensor(numbers(2, 8, 3)))


def test_layers_of_a_stack_are_copies_of_their_own():
    layer = TransformerEncoderLayer(8, 2, 12, dropout=0.0)
    stack = TransformerEncoder(layer, 3)
    first, second, _ = (one.linear1.weight for one in stack.layers)
    np.testing.assert_array_equal(first.data, layer.linear1.weight.data)
    assert not np.shares_memory(first.data, second.data)
    assert len(list(stack.parameters())) == 3 * len(list(layer.parameters()))
    stack(Tensor(numbers(4, 2, 8, dtype=np.float32))).backward(np.ones((4, 2, 8)))
    assert all(parameter.grad is not None for parameter in stack.parameters())


def test_dropout_in_training_follows_the_seed():
    layer = TransformerDecoderLayer(8, 2, 12, dropout=0.5)
    x, memory = Tensor(numbers(4, 2, 8, dtype=np.float32)), Tensor(np.ones((3, 2, 8), np.float32))

    def run(seed: int) -> np.ndarray:
        tape.manual_seed(seed)
        return layer(x, memory).data

    one, again, other = run(1), run(1), run(2)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1
    layer.eval()
    np.testing.assert_array_equal(run(1), run(2))


def test_threads_change_no_bit():
    model = Transformer(32, 4, 2, 2, 64)
    src, tgt = numbers(40, 3, 32, dtype=np.float32), numbers(33, 3, 32, dtype=np.float32)
    before = _native.num_threads()
    found = []
    try:
        for threads in (1, 2):
            _native.set_num_threads(threads)
            tape.manual_seed(5)
            model.zero_grad()
            out = model(Tensor(src), Tensor(tgt), tgt_is_causal=True)
            out.backward(tgt)
            found.append([out.data, *(p.grad for p in model.parameters())])
    finally:
        _native.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


class Translator(nn.Module):
    """A small encoder-decoder with symbols in and scores of symbols out."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols = nn.Embedding(9, 8, padding_idx=0)
        self.places = SinusoidalPositions(11, 8)  # more than there are
        self.transformer = Transformer(8, 2, 2, 2, 16, dropout=0.0, batch_first=True)
        self.scores = nn.Linear(8, 9)

    def forward(self, source: Any, padding: Any, target: Any) -> Tensor:
        """Teacher-forced; padding as of the sources."""
        src, tgt = self.places(self.symbols(source)), self.places(self.symbols(target))
        mask = Transformer.generate_square_subsequent_mask(tgt.shape[1], tgt.dtype)
        return self.scores(
            self.transformer(
                src, tgt, tgt_mask=mask, src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
            )
        )  # fmt: skip


def test_compiled_steps_of_an_encoder_decoder_are_those_of_the_tape(backend):
    def loss(model: Any, source: Any, padding: Any, target: Any, wanted: Any) -> Tensor:
        scores = model(source, padding, target)
        return F.cross_entropy(scores, wanted, ignore_index=0, label_smoothing=0.1)

    rng = np.random.default_rng(0)
    model, twin = Translator().double(), Translator().double()
    twin.load_state_dict(model.state_dict())
    optimizer, other = (optim.SGD(m.parameters(), lr=0.1) for m in (model, twin))
    step = nn.TrainingStep(model, loss, optimizer)
    for lengths in ([5, 7, 2], [7, 7, 7], [1, 3, 7], [4, 6, 4]):  # one shape
        source = rng.integers(1, 9, (3, 7))
        source[np.arange(7) >= np.array(lengths)[:, None]] = 0
        batch = source, source == 0, rng.integers(1, 9, (3, 5)), rng.integers(0, 9, (3, 5))
        other.zero_grad()
        with use("numpy"):
            wanted = loss(twin, *batch)
            wanted.backward()
        other.step()
        assert step(*batch) == pytest.approx(wanted.item(), rel=1e-12)
    for one, two in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(one.data, two.data, rtol=1e-8, atol=1e-11)


def test_a_causal_mask_is_found_out():
    mask = Transformer.generate_square_subsequent_mask(4)
    assert _is_causal(mask, None)
    assert _is_causal(mask.data == -np.inf, None)
    assert not _is_causal(mask, False)
    assert not _is_causal(None, None)
    other = mask.data.copy()
    other[2, 1] = 0.5
    assert not _is_causal(other, None)
    assert not _is_causal(np.zeros((4, 4), bool), None)
    stack = TransformerEncoder(TransformerEncoderLayer(8, 2, 12, dropout=0.0), 2)
    x = Tensor(numbers(4, 2, 8, dtype=np.float32))
    np.testing.assert_array_equal(stack(x, mask).data, stack(x, is_causal=True).data)
    np.testing.assert_allclose(
        stack(x, mask, is_causal=False).data, stack(x, mask).data, rtol=0, atol=1e-6
    )


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="embed_dim must be a multiple of num_heads, got 10 and 3"):
        MultiheadAttention(10, 3)
    with pytest.raises(ValueError, match="num_heads must be a multiple of num_kv_heads, got 4 an"):
        MultiheadAttention(8, 4, num_kv_heads=3)
    for name in ("add_bias_kv", "add_zero_attn"):
        with pytest.raises(ValueError, match=f"MultiheadAttention: {name} is not supported"):
            MultiheadAttention(8, 4, **{name: True})
    with pytest.raises(ValueError, match="MultiheadAttention: kdim is not supported"):
        MultiheadAttention(8, 4, kdim=6)
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\)"):
        MultiheadAttention(8, 4, dropout=1.0)
    module = MultiheadAttention(8, 4)
    x = Tensor(np.ones((3, 2, 8), np.float32))
    with pytest.raises(ValueError, match="value must have 2 or 3 axes, as query, the last of 8"):
        module(x, x, Tensor(np.ones((3, 2, 6), np.float32)))
    with pytest.raises(TypeError, match="key_padding_mask must be bool or real, got int64"):
        module(x, x, x, np.ones((2, 3), int))
    with pytest.raises(
        ValueError, match=r"key_padding_mask must have shape \(2, 3\), got \(3, 2\)"
    ):
        module(x, x, x, np.ones((3, 2), bool))
    with pytest.raises(ValueError, match="attention: mask must have shape"):
        module(x, x, x, attn_mask=np.ones((7, 3, 3), bool))
    with pytest.raises(ValueError, match="activation must be 'relu', 'gelu' or a function"):
        TransformerEncoderLayer(8, 2, activation="selu")
    with pytest.raises(ValueError, match="TransformerEncoder: num_layers must be >= 0"):
        TransformerEncoder(TransformerEncoderLayer(8, 2), -1)


def test_activation_may_be_a_function():
    named = TransformerEncoderLayer(8, 2, 12, dropout=0.0)
    called = TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation=lambda x: x.relu())
    called.load_state_dict(named.state_dict())
    x = Tensor(numbers(4, 2, 8, dtype=np.float32))
    np.testing.assert_array_equal(named(x).data, called(x).data)
