"""Rows of a table by their ids: every backend against the page's NumPy, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import firth
import network_checks as checks
from firth import _native
from firth.kernels._dispatch import active_level
from firth.nn.module import Module
from firth.nn.modules.embedding import Embedding
from firth.nn.modules.linear import Linear
from firth.nn.operations.cross_entropy import next_token_loss
from firth.nn.operations.embedding import Embedding as EmbeddingOperation
from firth.nn.operations.embedding import embedding
from firth.nn.tape import Tensor, manual_seed

CASES = [
    ((3,), 1, 1),
    ((), 4, 3),
    ((2, 5), 3, 65),
    ((400,), 7, 130),
    ((0,), 2, 3),
    ((4, 3, 2), 50, 17),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "rows", "n"), CASES)
def test_embedding(backend, shape, rows, n, dtype):
    rng = np.random.default_rng(n)
    ids, weight = rng.integers(0, rows, shape), rng.normal(size=(rows, n)).astype(dtype)
    for padding in (-1, 0):
        given = [np.asarray(ids), weight]
        outputs, gradients = checks.run(EmbeddingOperation(padding), given)
        wanted, wanted_gradients = checks.reference(EmbeddingOperation(padding), given)
        np.testing.assert_array_equal(outputs[0], wanted[0])
        # sums of at most ids.size numbers of order 1
        eps = np.finfo(dtype).eps * 4 * max(1, ids.size)
        np.testing.assert_allclose(gradients[1], wanted_gradients[1], rtol=eps, atol=eps)


def test_gradients():
    rng = np.random.default_rng(0)
    given = [rng.integers(0, 5, (3, 4)), rng.normal(size=(5, 6))]
    checks.check_gradients(EmbeddingOperation(), given)
    _, gradients = checks.run(EmbeddingOperation(2), given)
    assert not gradients[1][2].any()
    assert gradients[1][given[0][given[0] != 2]].all()


def test_gradients_add(backend):
    weight = Tensor(np.zeros((4, 3)), requires_grad=True)
    for _ in range(2):
        embedding([1, 3, 1], weight, padding_idx=-1).backward(np.ones((3, 3)))
    np.testing.assert_array_equal(weight.grad, np.array([0, 4, 0, 0])[:, None] * np.ones(3))


def test_threads_do_not_change_bits():
    rng = np.random.default_rng(0)
    given = [rng.integers(0, 50, 3000), rng.normal(size=(50, 130)).astype(np.float32)]
    found = []
    before = firth.info().threads
    try:
        for threads in (1, 2):
            firth.set_num_threads(threads)
            found.append(checks.run(EmbeddingOperation(), given)[1][1])
    finally:
        firth.set_num_threads(before)
    assert found[0].tobytes() == found[1].tobytes()


class Tied(Module):
    """A language model of two layers that are one."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = Embedding(7, 5, dtype=np.float64)
        self.head = Linear(5, 7, bias=False, dtype=np.float64)
        self.head.weight = self.embedding.weight

    def forward(self, ids: np.ndarray) -> Tensor:
        return self.head(self.embedding(ids))


def test_one_parameter_in_two_places(backend):
    manual_seed(0)
    model, ids = Tied(), np.array([[0, 3, 2, 3], [6, 5, 0, 0]])
    assert list(model.state_dict()) == ["embedding.weight", "head.weight"]
    assert len(list(model.parameters())) == 1
    next_token_loss(model(ids), ids).backward()
    w = model.embedding.weight.data.copy()
    # the sum of both gradients: by each of two tensors that share nothing
    inner, outer = Tensor(w, requires_grad=True), Tensor(w.copy(), requires_grad=True)
    fused = next_token_loss(embedding(ids, inner), ids, outer)
    fused.backward()
    tied = model.embedding.weight.grad
    np.testing.assert_allclose(tied, inner.grad + outer.grad, rtol=1e-12, atol=1e-14)
    step = np.zeros_like(w)
    step[3, 1] = 1e-6
    sides = []
    for sign in (1, -1):
        model.embedding.weight.data = w + sign * step
        model.head.weight = model.embedding.weight
        sides.append(next_token_loss(model(ids), ids).item())
    assert tied[3, 1] == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6)


def test_module():
    manual_seed(1)
    table = Embedding(1000, 16, padding_idx=-1)
    assert table.padding_idx == 999
    assert not table.weight.data[999].any()
    assert table.weight.dtype == np.float32
    assert abs(table.weight.data.mean()) < 0.03  # 16,000 draws: the mean's deviation is 0.008
    assert abs(table.weight.data.std() - 1) < 0.03
    np.testing.assert_array_equal(table(np.array([[5, 0]])).data, table.weight.data[[[5, 0]]])
    assert repr(table) == "Embedding(1000, 16, padding_idx=999)"


def test_bad_input_is_refused():
    weight = Tensor(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"embedding: input\[1, 0\] is 4, must be from 0 to 3"):
        embedding([[0, 1], [4, 9]], weight)
    with pytest.raises(ValueError, match=r"embedding: input is -1, must be from 0 to 3"):
        embedding(-1, weight)
    with pytest.raises(TypeError, match=r"embedding: input must hold integers, got float64"):
        embedding([0.5], weight)
    with pytest.raises(ValueError, match=r"embedding: weight must have 2 axes, got shape \(4,\)"):
        embedding([0], Tensor(np.ones(4)))
    with pytest.raises(ValueError, match=r"embedding: padding_idx must be from -4 to 3, got 4"):
        embedding([0], weight, 4)
    with pytest.raises(ValueError, match=r"embedding: padding_idx must be from -5 to 4, got 7"):
        Embedding(5, 2, 7)


def test_native_code_refuses_what_does_not_fit():
    ids, weight, y = np.array([0, 7]), np.ones((4, 3)), np.ones((2, 3))

    def forward(options, inputs, outputs):
        _native.nn.forward(active_level(), "embedding", options, inputs, outputs, [], f64=True)

    forward((-1,), [ids, weight], [y])
    np.testing.assert_array_equal(y, [[1, 1, 1], [0, 0, 0]])  # an id that is no row
    _native.nn.backward(
        active_level(), "embedding", (-1,), [ids, (4, 3)], [(2, 3)], [], [np.ones((2, 3))],
        [None, weight], add=0, f64=True,
    )  # fmt: skip
    np.testing.assert_array_equal(weight, np.array([1, 0, 0, 0])[:, None] * np.ones(3))
    for options, inputs, outputs in [
        ((), [ids, weight], [y]),
        ((-1,), [ids.astype(float), weight], [y]),
        ((-1,), [(2,), weight], [y]),
        ((-1,), [ids, np.ones(4)], [y]),
        ((-1,), [ids, (4, 3)], [y]),
        ((-1,), [ids, weight], [np.ones((2, 4))]),
        ((-1,), [ids, weight], [np.ones((3, 3))]),
        ((-1,), [ids], [y]),
    ]:
        with pytest.raises(ValueError, match="do not fit embedding"):
            forward(options, inputs, outputs)
