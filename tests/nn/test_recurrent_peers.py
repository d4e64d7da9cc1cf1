"""PyTorch as oracle of recurrent layers and cells: outputs and all gradients."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import firth.nn.operations.arithmetic  # noqa: F401 (operators of tensors)
from firth.nn.modules import recurrent as ours
from firth.nn.tape import Tensor
from firth.nn.utils import rnn as rnn_utils

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")

STEPS, BATCH, INPUTS, STATES = 6, 5, 4, 7


def pair(name: str, dtype: type, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """Our module and theirs with the same weights."""
    theirs = getattr(torch.nn, name)(
        *arguments, **options, dtype=torch.float64 if dtype == np.float64 else torch.float32
    )
    mine = getattr(ours, name)(*arguments, **options, dtype=dtype)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict(theirs.state_dict())
    back = {key: torch.tensor(value) for key, value in mine.state_dict().items()}
    theirs.load_state_dict(back)
    return mine, theirs


def close(got: Any, want: Any, dtype: type) -> None:
    # values and gradients of order 1 to 10, after 2 layers of 6 steps
    tolerance = 1e-11 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=tolerance, atol=tolerance)


def compare(mine: Any, theirs: Any, dtype: type, x: Any, states: list[Any], call: Any) -> None:
    """Outputs of `call(module, input, states)` and the gradients of random sums of them."""
    own = [Tensor(a, requires_grad=True) for a in (x, *states)]
    other = [torch.tensor(a, requires_grad=True) for a in (x, *states)]
    made = call(mine, own[0], own[1:])
    want = call(theirs, other[0], other[1:])
    rng = np.random.default_rng(1)
    total, total_other = None, 0
    for a, b in zip(made, want, strict=True):
        close(a.data, b, dtype)
        weight = rng.normal(size=a.shape).astype(dtype)
        part = (a * Tensor(weight)).sum()
        total = part if total is None else total + part
        total_other = total_other + (b * torch.tensor(weight)).sum()
    total.backward()
    total_other.backward()
    for a, b in zip(own, other, strict=True):
        close(a.grad, b.grad, dtype)
    for (key, a), (_, b) in zip(mine.named_parameters(), theirs.named_parameters(), strict=True):
        assert a.grad is not None, key
        close(a.grad, b.grad, dtype)


def sequence(module: Any, x: Any, states: list[Any]) -> list[Any]:
    hx = None if not states else states[0] if len(states) == 1 else tuple(states)
    output, last = module(x, hx)
    return [output, *(last if isinstance(last, tuple) else [last])]


def arrays(dtype: type, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


OPTIONS = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"bidirectional": True},
    {"num_layers": 2},
    {"num_layers": 2, "bidirectional": True, "batch_first": True, "bias": False},
]


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda x: "-".join(x) or "plain")
@pytest.mark.parametrize("name", ["RNN", "relu", "GRU", "LSTM"])
def test_layers(name, options, dtype, given):
    if name == "relu":
        name, options = "RNN", {**options, "nonlinearity": "relu"}
    mine, theirs = pair(name, dtype, INPUTS, STATES, **options)
    assert repr(mine) == repr(theirs) or "relu" in str(options)
    parts = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    lead = (BATCH, STEPS) if options.get("batch_first") else (STEPS, BATCH)
    for batch in (True, False):
        mine.zero_grad()
        theirs.zero_grad()
        shape = (parts, BATCH, STATES) if batch else (parts, STATES)
        count = (2 if name == "LSTM" else 1) if given else 0
        x, *states = arrays(dtype, (*lead, INPUTS) if batch else (STEPS, INPUTS), *[shape] * count)
        compare(mine, theirs, dtype, x, states, sequence)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_lengths_are_what_packed_sequences_are(name, batch_first, dtype):
    mine, theirs = pair(
        name, dtype, INPUTS, STATES, num_layers=2, bidirectional=True, batch_first=batch_first
    )
    lengths = [3, 6, 1, 6, 2]
    x, *states = arrays(
        dtype, (BATCH, STEPS, INPUTS) if batch_first else (STEPS, BATCH, INPUTS),
        *[(4, BATCH, STATES)] * (2 if name == "LSTM" else 1),
    )  # fmt: skip

    def run(module: Any, x: Any, states: list[Any]) -> list[Any]:
        hx = states[0] if len(states) == 1 else tuple(states)
        if module is mine:
            output, last = module(x, hx, lengths=lengths)
        else:
            rnn = torch.nn.utils.rnn
            packed = rnn.pack_padded_sequence(
                x, torch.tensor(lengths), batch_first=batch_first, enforce_sorted=False
            )
            output, last = module(packed, hx)
            output, _ = rnn.pad_packed_sequence(output, batch_first=batch_first)
        return [output, *(last if isinstance(last, tuple) else [last])]

    compare(mine, theirs, dtype, x, states, run)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_packed_sequences(name, batch_first):
    mine, theirs = pair(name, np.float64, INPUTS, STATES, batch_first=batch_first)
    x, *states = arrays(
        np.float64, (BATCH, STEPS, INPUTS), *[(1, BATCH, STATES)] * (2 if name == "LSTM" else 1)
    )
    rnns = {id(mine): rnn_utils, id(theirs): torch.nn.utils.rnn}

    def run(module: Any, x: Any, states: list[Any]) -> list[Any]:
        rnn, lengths = rnns[id(module)], [4, 2, 5, 1, 3]
        parts = [x[i, :n] for i, n in enumerate(lengths)]
        padded = rnn.pad_sequence(parts, batch_first=batch_first, padding_value=3.0)
        packed = rnn.pack_padded_sequence(
            padded, lengths, batch_first=batch_first, enforce_sorted=False
        )
        output, last = module(packed, states[0] if len(states) == 1 else tuple(states))
        output, found = rnn.pad_packed_sequence(output, True, -1.0, total_length=STEPS + 1)
        assert found.tolist() == lengths
        return [output, *(last if isinstance(last, tuple) else [last])]

    compare(mine, theirs, np.float64, x, states, run)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells(name, bias, dtype):
    mine, theirs = pair(name, dtype, INPUTS, STATES, bias)
    assert repr(mine) == repr(theirs)
    count = 2 if name == "LSTMCell" else 1

    def step(module: Any, x: Any, states: list[Any]) -> list[Any]:
        result = module(x, states[0] if count == 1 else tuple(states))
        return list(result) if count == 2 else [result]

    for batch in ((BATCH,), ()):
        mine.zero_grad()
        theirs.zero_grad()
        x, *states = arrays(dtype, (*batch, INPUTS), *[(*batch, STATES)] * count)
        compare(mine, theirs, dtype, x, states, step)


def test_initial_values_are_distributed_as_theirs():
    mine = ours.LSTM(8, 64, 2)
    for name, parameter in mine.named_parameters():
        assert np.abs(parameter.data).max() <= 1 / 8
        # the deviation of a uniform distribution of width 1/4, within 5 of its own deviations
        expected = 0.25 / np.sqrt(12)
        assert abs(parameter.data.std() - expected) < 5 * expected / np.sqrt(parameter.data.size)
        assert name in dict(torch.nn.LSTM(8, 64, 2).named_parameters())


def test_a_training_goes_the_same_way():
    """Ten steps of gradient descent of an LSTM and a linear layer in float64."""
    mine, theirs = pair("LSTM", np.float64, INPUTS, STATES, batch_first=True)
    x, target = arrays(np.float64, (BATCH, STEPS, INPUTS), (BATCH, STEPS, STATES))
    for _ in range(10):
        loss = mine(Tensor(x))[0] - Tensor(target)
        loss = (loss * loss).mean()
        mine.zero_grad()
        loss.backward()
        for parameter in mine.parameters():
            parameter.data -= 0.5 * parameter.grad
        other = ((theirs(torch.tensor(x))[0] - torch.tensor(target)) ** 2).mean()
        theirs.zero_grad()
        other.backward()
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter -= 0.5 * parameter.grad
        np.testing.assert_allclose(loss.item(), other.item(), rtol=1e-11)


def test_dropout_is_between_layers():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = ours.GRU(INPUTS, STATES, 2, dropout=0.5)
    (x,) = arrays(np.float32, (STEPS, BATCH, INPUTS))
    assert (module(Tensor(x))[0].data != module(Tensor(x))[0].data).any()
    module.eval()
    theirs = torch.nn.GRU(INPUTS, STATES, 2)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in module.state_dict().items()})
    close(module(Tensor(x))[0].data, theirs(torch.tensor(x))[0], np.float32)
    module.train()
    module.dropout = 1.0  # nothing reaches the second layer
    other = module(Tensor(x + 1))[0].data
    np.testing.assert_array_equal(module(Tensor(x))[0].data, other)
