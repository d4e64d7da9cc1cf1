"""PyTorch as oracle of arithmetic and shapes: results and gradients in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth.nn.operations import arithmetic, shapes
from firth.nn.tape import Tensor

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
A, B, ROW = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 3, 4)), RNG.normal(size=4)
POSITIVE = np.abs(A) + 0.1
M, N, W = RNG.normal(size=(2, 3, 5)), RNG.normal(size=(2, 5, 7)), RNG.normal(size=(5, 6))

CASES: list[tuple[Any, list[np.ndarray]]] = [
    (lambda t, x, y: x + y, [A, B]),
    (lambda t, x, y: x - y, [A, ROW]),
    (lambda t, x, y: x - y, [ROW, A]),
    (lambda t, x, y: x * y, [A, ROW]),
    (lambda t, x, y: x / y, [ROW, POSITIVE]),
    (lambda t, x, y: x / y, [A, POSITIVE]),
    (lambda t, x, y: x * y, [A, np.array(1.5)]),
    (lambda t, x: 2 * x + 1 - x / 3, [A]),
    (lambda t, x: 1 - x, [A]),
    (lambda t, x: -x, [A]),
    (lambda t, x: x.exp(), [A]),
    (lambda t, x: x.log(), [POSITIVE]),
    (lambda t, x: x.sqrt(), [POSITIVE]),
    (lambda t, x: x.pow(2), [A]),
    (lambda t, x: x.pow(3), [A]),
    (lambda t, x: x.pow(-1.5), [POSITIVE]),
    (lambda t, x: x.reciprocal(), [POSITIVE]),
    (lambda t, x: x.abs(), [A]),
    (lambda t, x: x.clamp(-0.3, 0.4), [A]),
    (lambda t, x: x.clamp(min=0.1), [A]),
    (lambda t, x: x.sum(), [A]),
    (lambda t, x: x.sum(1), [A]),
    (lambda t, x: x.sum(-1, keepdim=True), [A]),
    (lambda t, x: x.mean(), [A]),
    (lambda t, x: x.mean(0), [A]),
    (lambda t, x: x.amax(1), [A]),
    (lambda t, x, y: x @ y, [M, N]),
    (lambda t, x, y: x @ y, [M, W]),
    (lambda t, x, y: x @ y, [M[0], W]),
    (lambda t, x: x.reshape(3, -1), [A]),
    (lambda t, x: x.view(4, 6), [A]),
    (lambda t, x: x.flatten(1), [A]),
    (lambda t, x: x.unsqueeze(1).squeeze(1), [A]),
    (lambda t, x: x.transpose(0, 2), [A]),
    (lambda t, x: x.permute(1, 2, 0), [A]),
    (lambda t, x: x[1, :, ::2], [A]),
    (lambda t, x: x[..., -1], [A]),
    (lambda t, x: x[:, None, 1:], [A]),
    (lambda t, x, y: t.cat([x, y], 1), [A, B]),
    (lambda t, x, y: t.stack([x, y], -1), [A, B]),
    (lambda t, x: x.split(3, 2)[1], [A]),
    (lambda t, x: x.chunk(2, 1)[0], [A]),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_as_pytorch(number):
    function, given = CASES[number]
    mine = [Tensor(x, requires_grad=True) for x in given]
    theirs = [torch.tensor(x, requires_grad=True) for x in given]
    got, want = function(shapes, *mine), function(torch, *theirs)
    assert got.shape == tuple(want.shape)
    np.testing.assert_allclose(got.data, want.detach().numpy(), rtol=1e-12, atol=1e-14)
    dy = RNG.normal(size=got.shape)
    got.backward(dy)
    want.backward(torch.tensor(dy))
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one.grad, other.grad.numpy(), rtol=1e-12, atol=1e-13)


def test_maxout_as_a_maximum_of_pieces():
    x = RNG.normal(size=(5, 12))
    mine, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    got = arithmetic.maxout(mine, 4)
    want = theirs.reshape(5, 4, 3).max(dim=1).values
    np.testing.assert_array_equal(got.data, want.detach().numpy())
    dy = RNG.normal(size=(5, 3))
    got.backward(dy)
    want.backward(torch.tensor(dy))
    np.testing.assert_array_equal(mine.grad, theirs.grad.numpy())
