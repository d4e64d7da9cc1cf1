"""Compiled steps: the bits of the tape, from the first step on; none runs while it is listed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import firth
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


def test_modes_come_again_and_programs_do_not_pile_up():
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 4))
    noise = nn.Dropout(0.5)  # no part of the model, and yet of the step

    def noisy(model: Any, x: Any, y: Any) -> Any:
        return F.cross_entropy(noise(model(x)), y)

    step = nn.TrainingStep(model, noisy, optim.SGD(model.parameters(), lr=0.1))
    for _ in range(5):
        model.train()
        step(X[0], Y[0])
        model.eval()
        step(X[0], Y[0])
    assert len(step._programs) == 2
    noise.eval()
    first = step(X[0], Y[0])
    assert step(X[0], Y[0]) < first  # nothing is random
    assert len(step._programs) == 3
    model[1].p = 0.5
    step(X[0], Y[0])
    assert len(step._programs) == 1


class Remembering(Network):
    """A network that shows what it has computed, as many do with weights of attention."""

    def forward(self, x: Any) -> Any:
        self.hidden = F.tanh(self.up(x))
        return self.down(self.hidden)


def test_attributes_that_forward_sets_have_values_and_cost_no_compilation(backend):
    model, other = Remembering(), Remembering()
    optimizer, step = adam(model), nn.TrainingStep(other, loss, adam(other))
    for x, y in zip(X, Y, strict=True):
        value = loss(model, nn.Tensor(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        assert step(x, y) == value.item()
        np.testing.assert_array_equal(other.hidden.data, model.hidden.data)
    assert len(step._programs) == (0 if backend == "numpy" else 1)


class Showing(Network):
    """A network that shows several things at once."""

    def forward(self, x: Any) -> Any:
        up = F.tanh(self.up(x))
        self.shown = up, {"down": [self.down(up)]}
        return self.shown[1]["down"][0]


def test_attributes_that_hold_tensors_have_values():
    model, other = Showing(), Showing()
    step = nn.TrainingStep(other, loss, adam(other))
    for x, y in zip(X[:2], Y, strict=False):
        model.load_state_dict(other.state_dict())
        model(nn.Tensor(x))
        step(x, y)
        np.testing.assert_array_equal(other.shown[0].data, model.shown[0].data)
        found, wanted = other.shown[1]["down"][0], model.shown[1]["down"][0]
        np.testing.assert_array_equal(found.data, wanted.data)


def test_an_older_tape_is_refused_after_a_step(backend):
    model = Network()
    step = nn.TrainingStep(model, loss, adam(model))
    for _ in range(2):  # compiled, and run again
        value = loss(model, nn.Tensor(X[0]), Y[0])
        step(X[0], Y[0])
        with pytest.raises(RuntimeError, match="backward: linear read an array of shape"):
            value.backward()
    loss(model, nn.Tensor(X[0]), Y[0]).backward()


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        nn.manual_seed(3)
        self.table, self.head = nn.Embedding(9, 8), nn.Linear(8, 9)

    def forward(self, ids: Any) -> Any:
        return self.head(self.table(ids))


def test_parts_of_whole_numbers_follow_the_batch(backend):
    """Slices, shapes and masks of ids are made again of each batch."""

    def shifted(model: Language, ids: Any) -> Any:
        logits, targets = model(ids[:, :-1]), ids[:, 1:]
        losses = F.cross_entropy(logits.reshape(-1, 9), targets.reshape(-1), reduction="none")
        counts = (targets != 0).view(-1)
        gone = ~counts
        seen = losses.masked_fill(gone, 0.0).sum() + firth.where(counts, losses, 0.5).mean()
        return seen / 10 + (losses * counts.float()).mean() + (losses * targets.view(-1)).mean()

    ids = np.random.default_rng(0).integers(0, 9, (4, 3, 7))
    model, other = Language(), Language()
    optimizer, step = adam(model), nn.TrainingStep(other, shifted, adam(other))
    for batch in ids:
        value = shifted(model, firth.tensor(batch))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        assert step(batch) == value.item()
    assert len(step._programs) == (0 if backend == "numpy" else 1)


def test_what_joins_whole_numbers_is_refused():
    model = Language()

    def joined(model: Language, ids: Any) -> Any:
        return model(firth.cat([ids, ids], 1)).sum()

    step = nn.TrainingStep(model, joined, adam(model))
    with pytest.raises(RuntimeError, match="join them before, and give the result as a part of"):
        step(np.ones((2, 3), np.int64))


class Moving(Network):
    """A network whose buffers Python exchanges, which no list of calls can say."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", nn.Tensor(np.zeros(4, np.float32)))

    def forward(self, x: Any) -> Any:
        y = self.last = super().forward(x)
        self.mean = self.mean * 0.9 + y.mean(0).detach() * 0.1
        return y - self.mean


def test_a_refused_step_leaves_buffers_and_attributes():
    model = Moving()
    mean = model.mean
    step = nn.TrainingStep(model, loss, adam(model))
    with pytest.raises(ValueError, match="no parameter, no buffer and no part of the batch"):
        step(X[0], Y[0])
    assert model.mean is mean
    np.testing.assert_array_equal(mean.data, np.zeros(4))
    assert not hasattr(model, "last")


def test_what_is_no_step_is_refused(backend):
    model = Network()
    before = {name: array.copy() for name, array in model.state_dict().items()}

    def losses(model: Network, x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x), y, reduction="none")

    cases: list[tuple[Any, Any, Any, str]] = [
        (loss, X[0, :0], ValueError, r"batch\[0\] must not be empty, got shape \(0, 6\)"),
        (losses, X[0], TypeError, r"loss must return a tensor of one number, got \(12,\)"),
        (lambda *_: 1.0, X[0], TypeError, "loss must return a tensor of one number, got float"),
        (lambda m, x, y: loss(m, x, y).detach(), X[0], RuntimeError, "no parameter that requires"),
    ]
    for function, x, error, message in cases:
        step = nn.TrainingStep(model, function, adam(model))
        with pytest.raises(error, match=f"TrainingStep: {message}"):
            step(x, Y[0, : len(x)])
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])
