"""Sequences of different lengths, padded and packed; test_recurrent_peers.py has PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import firth
from firth import nn, optim
from firth.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
)

X = firth.arange(24.0).reshape(4, 3, 2)  # (T, B, n)


def test_padding():
    a, b = firth.tensor([1, 2, 3]), firth.tensor([4])
    assert pad_sequence([a, b], batch_first=True).tolist() == [[1, 2, 3], [4, 0, 0]]
    assert pad_sequence([a, b], padding_value=-1).tolist() == [[1, 4], [2, -1], [3, -1]]
    left = pad_sequence([b, a], True, 9, padding_side="left")
    assert left.tolist() == [[9, 9, 4], [1, 2, 3]]
    assert left.dtype == np.int64
    x = firth.ones(2, 3, requires_grad=True)
    padded = pad_sequence([firth.zeros(4, 3), x], padding_value=0.5)
    assert padded.shape == (4, 2, 3)
    assert (padded.data[2:, 1] == 0.5).all()
    (padded * 3).sum().backward()
    np.testing.assert_array_equal(x.grad, np.full((2, 3), 3))


def test_what_is_packed_comes_back():
    for first in (False, True):
        x = X.transpose(0, 1) if first else X
        packed = pack_padded_sequence(x, firth.tensor([2, 3, 1]), batch_first=first)
        assert isinstance(packed, PackedSequence)
        found, lengths = pad_packed_sequence(packed, padding_value=-1.0)
        assert lengths.tolist() == [2, 3, 1]
        assert found.shape == (3, 3, 2)  # the longest has 3 of 4
        over = np.arange(3)[:, None] >= [2, 3, 1]
        np.testing.assert_array_equal(found.data, np.where(over[..., None], -1, X.data[:3]))
        found, _ = pad_packed_sequence(packed, batch_first=True, total_length=6)
        assert found.shape == (3, 6, 2)
        assert not found.data[:, 3:].any()
    packed = pack_sequence([firth.ones(2), firth.ones(3)])
    assert pad_packed_sequence(packed)[0].tolist() == [[1, 1], [1, 1], [0, 1]]


def test_layers_take_packed_sequences_as_lengths():
    for first in (False, True):
        layer = nn.LSTM(2, 3, num_layers=2, bidirectional=True, batch_first=first)
        wanted, (h, c) = layer(X.transpose(0, 1) if first else X, lengths=[2, 3, 1])
        packed = pack_padded_sequence(X, [2, 3, 1])  # it knows how it lies
        output, states = layer(packed)
        found, _ = pad_packed_sequence(output, batch_first=first, total_length=4)
        np.testing.assert_array_equal(found.data, wanted.data)
        np.testing.assert_array_equal(states[0].data, h.data)
        np.testing.assert_array_equal(states[1].data, c.data)


def test_bad_arguments_are_refused():
    packed = pack_padded_sequence(X, [4, 4, 4])
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: pad_sequence([]), ValueError, "pad_sequence: sequences must have one shape"),
        (lambda: pad_sequence([X, X[0]]), ValueError, "one shape but for their first axis"),
        (lambda: pad_sequence([[1, 2]]), TypeError, "sequences must be tensors, got list"),
        (lambda: pad_sequence([X], padding_side="up"), ValueError, "padding_side must be 'right'"),
        (lambda: pack_padded_sequence(X, [1, 2]), ValueError, r"lengths must have shape \(3,\)"),
        (lambda: pack_padded_sequence(X, [1, 5, 1]), ValueError, "lengths must be from 1 to 4"),
        (lambda: pack_padded_sequence(X, [1, 0, 1]), ValueError, "lengths must be from 1 to 4"),
        (lambda: pack_padded_sequence(X, [1.0, 2, 1]), TypeError, "lengths must be whole numbers"),
        (lambda: pack_padded_sequence(X[0, 0], [1]), ValueError, "input must have 2 axes or more"),
        (lambda: pad_packed_sequence(X), TypeError, "must be a PackedSequence, got Tensor"),
        (lambda: pad_packed_sequence(packed, total_length=3), ValueError, "at least 4, got 3"),
        (lambda: nn.GRU(2, 3)(packed, lengths=[1, 1, 1]), ValueError, "lengths must be None"),
        (lambda: packed.data, AttributeError, "PackedSequence has no 'data': it has the seq"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
    layer = nn.RNN(2, 3)
    step = nn.TrainingStep(
        layer,
        lambda layer, x: layer(pack_padded_sequence(x, [1, 2, 3]))[1].sum(),
        optim.SGD(layer.parameters(), lr=0.1),
    )
    with pytest.raises(RuntimeError, match="shapes depend on the lengths"):
        step(X)
