"""PyTorch as oracle of the modules of attention: state, results and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth.nn.modules.attention import MultiheadAttention
from firth.nn.modules.transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from firth.nn.tape import Tensor

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
    ),
]
torch = pytest.importorskip("torch")
nn = torch.nn

# float64 of some layers of sums of at most 60 numbers of order 1
TOLERANCE = {"rtol": 1e-9, "atol": 1e-11}


def alike(theirs: Any, ours: Any) -> None:
    """The same state in both, random in every array."""
    rng = np.random.default_rng(1)
    theirs.double()
    ours.double()
    state = theirs.state_dict()
    for name, value in state.items():
        drawn = rng.normal(size=tuple(value.shape)) / np.sqrt(value.shape[-1])
        state[name] = torch.tensor(drawn + ("norm" in name))
    theirs.load_state_dict(state)
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)


def compare(theirs: Any, ours: Any, inputs: list[Any], call: Any, training: bool = True) -> None:
    """Results and all gradients; call(module, tensors, as_mask) runs one of them."""
    alike(theirs, ours)
    theirs.train(training)
    ours.train(training)
    a = [torch.tensor(x, requires_grad=True) for x in inputs]
    b = [Tensor(x, requires_grad=True) for x in inputs]
    want = call(theirs, a, torch.tensor)
    got = call(ours, b, lambda mask: mask)
    np.testing.assert_allclose(got.data, want.detach().numpy(), **TOLERANCE)
    upstream = np.random.default_rng(2).normal(size=got.shape)
    want.backward(torch.tensor(upstream))
    got.backward(upstream)
    pairs = [(x.grad, y.grad, i) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    others = dict(ours.named_parameters())
    pairs += [(p.grad, others[name].grad, name) for name, p in theirs.named_parameters()]
    for theirs_, ours_, name in pairs:
        wanted = theirs_.numpy()
        size = np.abs(wanted).max()
        np.testing.assert_allclose(
            ours_, wanted, rtol=1e-9, atol=1e-11 * (1 + size), err_msg=str(name)
        )


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("given", ["self", "memory", "three"])
@pytest.mark.parametrize("mask", ["none", "causal", "flags", "numbers", "heads", "padding"])
def test_multihead_attention(mask, given, batch_first, bias):
    size, heads, batch, queries = 24, 4, 3, 7
    keys = queries if given == "self" else 9
    shapes = [(batch, queries, size), (batch, keys, size), (batch, keys, size)]
    inputs = [numbers(*s) if batch_first else numbers(s[1], s[0], s[2]) for s in shapes]
    inputs = inputs[: {"self": 1, "memory": 2, "three": 3}[given]]
    rng = np.random.default_rng(3)
    flags = rng.random((queries, keys)) < 0.4
    flags[:, 1] = False
    padding = rng.random((batch, keys)) < 0.4
    padding[:, 0] = False
    masks = {
        "flags": flags, "numbers": rng.normal(size=(queries, keys)),
        "heads": rng.normal(size=(batch * heads, queries, keys)),
        "causal": np.triu(np.ones((queries, keys), bool), 1),
    }  # fmt: skip

    def call(module, tensors, as_mask):
        q, k, v = (tensors * 3)[:3] if len(tensors) != 2 else (*tensors, tensors[1])
        options = {"need_weights": False}
        if mask in masks:
            options["attn_mask"] = as_mask(masks[mask])
        if mask == "causal":
            options["is_causal"] = True
        if mask == "padding":
            options["key_padding_mask"] = as_mask(padding)
        return module(q, k, v, **options)[0]

    options = {"bias": bias, "batch_first": batch_first}
    compare(
        nn.MultiheadAttention(size, heads, **options),
        MultiheadAttention(size, heads, **options),
        inputs,
        call,
    )


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_weights_of_multihead_attention(batched, average):
    theirs, ours = nn.MultiheadAttention(12, 3), MultiheadAttention(12, 3)
    alike(theirs, ours)
    x = numbers(5, 2, 12) if batched else numbers(5, 12)
    y = numbers(6, 2, 12) if batched else numbers(6, 12)
    padding = np.zeros((2, 6) if batched else 6, bool)
    padding[..., 3] = True
    want = theirs(
        *(torch.tensor(z) for z in (x, y, y)), torch.tensor(padding), average_attn_weights=average
    )
    memory = Tensor(y)
    got = ours(Tensor(x), memory, memory, padding, average_attn_weights=average)
    for one, two in zip(got, want, strict=True):
        np.testing.assert_allclose(one.data, two.detach().numpy(), **TOLERANCE)


LAYERS = [
    {"norm_first": norm_first, "activation": activation, "bias": bias, "batch_first": batch_first}
    for norm_first, activation, bias, batch_first in [
        (False, "relu", True, False), (True, "relu", True, True), (False, "gelu", False, True),
        (True, "gelu", True, False),
    ]
]  # fmt: skip


@pytest.mark.parametrize("options", LAYERS)
def test_encoder_layer(options):
    arguments = {"dim_feedforward": 20, "dropout": 0.0, "layer_norm_eps": 1e-3} | options
    shape = (3, 6, 16) if options["batch_first"] else (6, 3, 16)
    mask = np.triu(np.full((6, 6), -np.inf), 1)
    padding = np.zeros((3, 6), bool)
    padding[1, 3:] = True

    def call(module, tensors, as_mask):
        return module(*tensors, src_mask=as_mask(mask), src_key_padding_mask=as_mask(padding))

    theirs = nn.TransformerEncoderLayer(16, 4, **arguments)
    ours = TransformerEncoderLayer(16, 4, **arguments)
    compare(theirs, ours, [numbers(*shape)], call)


@pytest.mark.parametrize("options", LAYERS)
def test_decoder_layer(options):
    arguments = {"dim_feedforward": 20, "dropout": 0.0} | options
    shapes = [(3, 6, 16), (3, 8, 16)] if options["batch_first"] else [(6, 3, 16), (8, 3, 16)]
    mask = np.triu(np.ones((6, 6), bool), 1)
    padding = np.zeros((3, 8), bool)
    padding[2, 5:] = True

    def call(module, tensors, as_mask):
        return module(*tensors, tgt_mask=as_mask(mask), memory_key_padding_mask=as_mask(padding))

    theirs = nn.TransformerDecoderLayer(16, 4, **arguments)
    ours = TransformerDecoderLayer(16, 4, **arguments)
    compare(theirs, ours, [numbers(*shape) for shape in shapes], call)


def test_dropout_is_off_in_use():
    theirs = nn.TransformerEncoderLayer(16, 4, 20, dropout=0.5)
    ours = TransformerEncoderLayer(16, 4, 20, dropout=0.5)

    def call(module, tensors, as_mask):
        return module(*tensors)

    compare(theirs, ours, [numbers(6, 3, 16)], call, training=False)


@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer(batch_first):
    options = {"dim_feedforward": 20, "dropout": 0.0, "batch_first": batch_first}
    shapes = [(2, 7, 16), (2, 5, 16)] if batch_first else [(7, 2, 16), (5, 2, 16)]
    padding = np.zeros((2, 7), bool)
    padding[0, 6:] = True
    mask = Transformer.generate_square_subsequent_mask(5, np.float64).data
    np.testing.assert_array_equal(mask, nn.Transformer.generate_square_subsequent_mask(5).numpy())

    def call(module, tensors, as_mask):
        return module(
            *tensors, tgt_mask=as_mask(mask), src_key_padding_mask=as_mask(padding),
            memory_key_padding_mask=as_mask(padding),
        )  # fmt: skip

    theirs = nn.Transformer(16, 4, 2, 2, **options)
    ours = Transformer(16, 4, 2, 2, **options)
    compare(theirs, ours, [numbers(*shape) for shape in shapes], call)


def test_stacks_without_a_norm():
    def call(module, tensors, as_mask):
        return module(*tensors)

    layer = {"dim_feedforward": 12, "dropout": 0.0}
    compare(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, **layer), 2),
        TransformerEncoder(TransformerEncoderLayer(8, 2, **layer), 2),
        [numbers(4, 2, 8)],
        call,
    )
    compare(
        nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, **layer), 2),
        TransformerDecoder(TransformerDecoderLayer(8, 2, **layer), 2),
        [numbers(4, 2, 8), numbers(3, 2, 8)],
        call,
    )


def test_initial_values_have_their_spread():
    theirs, ours = nn.Transformer(64, 4, 1, 1, 100), Transformer(64, 4, 1, 1, 100)
    attention = nn.MultiheadAttention(64, 4), MultiheadAttention(64, 4)
    for one, two in ((theirs, ours), attention):
        state = two.state_dict()
        for name, value in one.state_dict().items():
            value = value.numpy()
            if value.std() == 0:
                np.testing.assert_array_equal(state[name], value)
            else:  # uniform: the ends of the range, and the spread
                limit = np.abs(value).max()
                assert np.abs(state[name]).max() == pytest.approx(limit, rel=0.1), name
                assert state[name].std() == pytest.approx(value.std(), rel=0.2), name
