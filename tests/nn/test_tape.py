"""The walk along the tape: what was changed in place since forward is not read."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import firth
from firth import Tensor, nn, optim
from firth.nn import functional as F
from firth.nn import tape


def _weight(requires_grad: bool = True) -> Tensor:
    return Tensor(np.ones((2, 2), np.float32), requires_grad)


def _step(w: Tensor, x: Tensor) -> None:
    w.grad = np.ones_like(w.data)
    optim.SGD([w], lr=1.0).step()


def _scaled(w: Tensor, x: Tensor) -> None:
    with firth.no_grad():
        w *= 5


def _loaded(w: Tensor, x: Tensor) -> None:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight = nn.Parameter(w.data)
    layer.load_state_dict({"weight": np.zeros((2, 2))})


def _assigned(w: Tensor, x: Tensor) -> None:
    x[0] = 7


def _copied(w: Tensor, x: Tensor) -> None:
    x.detach().copy_(np.zeros((2, 2)))


def _added(w: Tensor, x: Tensor) -> None:
    x += 1


@pytest.mark.parametrize("change", [_step, _scaled, _loaded, _assigned, _copied, _added])
def test_what_was_changed_since_forward_is_refused(backend, change: Callable[..., None]):
    w, x = _weight(), _weight(requires_grad=False)
    loss = ((x @ w) @ w).sum()
    before = w.grad
    change(w, x)
    grad = w.grad
    with pytest.raises(RuntimeError, match=r"matmul read an array of shape \(2, 2\) that was"):
        loss.backward()
    assert w.grad is grad  # nothing was added
    assert before is None


def test_ids_that_were_changed_are_refused():
    table, ids = nn.Embedding(4, 2), firth.tensor([0, 1])
    loss = table(ids).sum()
    ids[0] = 3
    with pytest.raises(RuntimeError, match="embedding read an array"):
        loss.backward()


def test_results_that_were_changed_are_refused():
    x = _weight()
    h = F.tanh(x)
    loss = h.sum()
    with firth.no_grad():
        h *= 2
    with pytest.raises(RuntimeError, match="activation read an array"):
        loss.backward()


def test_what_no_gradient_needs_may_change(backend):
    """The weight of a first layer is read for its input's gradient only, and that has none."""
    w, b = _weight(), Tensor(np.ones(2, np.float32), requires_grad=True)
    x = Tensor([[1.0, 2.0]])

    def values() -> list[Any]:
        return [F.linear(x, w, b), x @ w, Tensor(np.ones((2, 2), np.float32)) * w, w + 1]

    loss = sum(value.sum() for value in values())
    w.grad, b.grad = np.ones((2, 2), np.float32), np.ones(2, np.float32)
    optim.SGD([w, b], lr=0.5).step()
    w.grad = b.grad = None
    loss.backward()
    np.testing.assert_array_equal(w.grad, [[1 + 1 + 2, 2 + 1 + 2], [1 + 2 + 2, 2 + 2 + 2]])
    np.testing.assert_array_equal(b.grad, [1, 1])


def test_changes_before_forward_and_other_arrays_do_not_matter():
    w, x = _weight(), _weight(requires_grad=False)
    for _ in range(3):
        x += 1  # before it is read
        other = _weight(requires_grad=False)
        loss = ((x @ w) @ w).sum()
        other += 1
        loss.backward()
        _step(w, x)


def test_changed_arrays_are_forgotten_with_their_tensors():
    gc.collect()
    before = len(tape._written)
    tensors = [_weight(requires_grad=False) for _ in range(5)]
    for tensor in tensors:
        tensor += 1
    assert len(tape._written) == before + 5
    del tensor, tensors
    gc.collect()
    assert len(tape._written) == before
