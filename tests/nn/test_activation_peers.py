"""PyTorch as oracle of activations and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth.nn.modules import activation as modules
from firth.nn.operations import activation as ours
from firth.nn.tape import Tensor

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")

F = torch.nn.functional
CASES = [
    (ours.relu, F.relu, {}),
    (ours.gelu, F.gelu, {}),
    (ours.gelu, F.gelu, {"approximate": "tanh"}),
    (ours.silu, F.silu, {}),
    (ours.tanh, torch.tanh, {}),
    (ours.sigmoid, torch.sigmoid, {}),
    (ours.leaky_relu, F.leaky_relu, {}),
    (ours.leaky_relu, F.leaky_relu, {"negative_slope": 0.2}),
    (ours.elu, F.elu, {}),
    (ours.elu, F.elu, {"alpha": 0.3}),
    (ours.softmax, F.softmax, {"dim": -1}),
    (ours.log_softmax, F.log_softmax, {"dim": 2}),
]


def close(got: Any, want: Any, dtype: type) -> None:
    tolerance = 1e-12 if dtype == np.float64 else 4e-6  # of values below 10
    np.testing.assert_allclose(got, want.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].__name__}{case[2] or ''}")
def test_functions(case, dtype):
    function, theirs, arguments = case
    rng = np.random.default_rng(0)
    x = (3 * rng.normal(size=(3, 7, 33))).astype(dtype)
    x[0, 0, :3] = 0, -0.0, 30
    dy = rng.normal(size=x.shape).astype(dtype)
    tensor = Tensor(x, requires_grad=True)
    got = function(tensor, **arguments)
    got.backward(dy)
    other = torch.tensor(x, requires_grad=True)
    want = theirs(other, **arguments)
    want.backward(torch.tensor(dy))
    close(got.data, want.detach(), dtype)
    close(tensor.grad, other.grad, dtype)


def test_modules_take_the_same_arguments():
    x = np.random.default_rng(0).normal(size=(4, 6))
    for name, arguments in [
        ("ReLU", ()), ("GELU", ()), ("GELU", ("tanh",)), ("SiLU", ()), ("Tanh", ()),
        ("Sigmoid", ()), ("LeakyReLU", (0.3,)), ("ELU", (0.3,)), ("Softmax", (1,)),
        ("LogSoftmax", (-1,)),
    ]:  # fmt: skip
        got = getattr(modules, name)(*arguments)(Tensor(x))
        want = getattr(torch.nn, name)(*arguments)(torch.tensor(x))
        close(got.data, want, np.float64)
