"""Compiled steps: the bits of the tape, from the first step on; none runs while it is listed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth import nn, optim
from firth.nn import functional as F
from firth.nn.tape import trace

RNG = np.random.default_rng(5)
X, Y = RNG.standard_normal((5, 12, 6)).astype(np.float32), RNG.integers(4, size=(5, 12))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        nn.manual_seed(3)
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return self.down(F.gelu(self.up(x)) + F.tanh(self.up(x)))  # two gradients of a weight meet


def loss(model: Network, x: Any, y: Any) -> Any:
    return F.cross_entropy(model(x), y)


def adam(model: Network) -> optim.Adam:
    return optim.Adam(model.parameters(), lr=0.1)


def test_steps_have_the_bits_of_the_tape(backend):
    model, other = Network(), Network()
    optimizer, step = adam(model), nn.TrainingStep(other, loss, adam(other), clip_norm=0.5)
    for x, y in zip(X, Y, strict=True):
        value = loss(model, nn.Tensor(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step(clip_norm=0.5)
        assert step(x, y) == value.item()
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, other.state_dict()[name], name)
    assert all(p.grad is None for p in other.parameters())
    counts = [int(state["step"]) for state in step.optimizer.state.values()]
    assert counts == [len(X)] * 4


def test_an_array_that_is_given_twice_has_two_places():
    def product(model: Network, x: Any, y: Any) -> Any:
        return (model(x) * model(y)).mean()

    model, other = Network(), Network()
    optimizer, step = adam(model), nn.TrainingStep(other, product, adam(other))
    for x, y in ((X[0], X[0]), (X[1], X[2])):
        value = product(model, nn.Tensor(x), nn.Tensor(y))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        assert step(x, y) == value.item()


def test_what_is_listed_does_not_run():
    model = Network()
    optimizer = adam(model)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with trace(calls := []):
        value = loss(model, nn.Tensor(X[0]), Y[0])
        value.backward()
        optimizer.step()
        with pytest.raises(RuntimeError, match="item: a step that is being compiled"):
            value.item()
    assert calls[-1].name == "adam"
    assert all(int(state["step"]) == 0 for state in optimizer.state.values())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_step_that_is_refused_changes_nothing():
    model = Network()
    before = {name: array.copy() for name, array in model.state_dict().items()}

    def foreign(model: Network, x: Any, y: Any) -> Any:
        return loss(model, x * nn.Tensor(np.full(x.shape, 2.0, np.float32)), y)

    optimizer = adam(model)
    step = nn.TrainingStep(model, foreign, optimizer)
    with pytest.raises(ValueError, match="no parameter, no buffer and no part of the batch"):
        step(X[0], Y[0])
    assert all(int(state["step"]) == 0 for state in optimizer.state.values())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
