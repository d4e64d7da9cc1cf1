"""PyTorch as oracle of convolutions, pools and batch norms: results, gradients, state."""

from __future__ import annotations

import numpy as np
import pytest

from firth import nn, optim
from firth.nn import functional
from firth.nn.modules import batch_norm, convolution, pooling
from firth.nn.tape import Tensor

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")

# class, arguments, shape of the input
LAYERS = [
    ("Conv2d", (3, 5, 3), {}, (4, 3, 9, 8)),
    ("Conv2d", (1, 32, 3), {"padding": 1}, (2, 1, 28, 28)),
    ("Conv2d", (40, 17, 3), {"padding": 1, "bias": False}, (2, 40, 14, 14)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 3), "padding": (2, 1)}, (2, 4, 11, 10)),
    ("Conv2d", (4, 6, 3), {"dilation": (1, 2), "groups": 2}, (2, 4, 11, 10)),
    ("Conv2d", (6, 6, 5), {"stride": 2, "groups": 6, "padding": 2}, (2, 6, 15, 16)),
    ("Conv2d", (3, 4, 4), {"padding": "same"}, (2, 3, 7, 9)),
    ("Conv2d", (3, 4, (2, 3)), {"padding": "valid"}, (2, 3, 7, 9)),
    ("Conv2d", (3, 4, 1), {"stride": 3}, (2, 3, 7, 9)),
    ("Conv2d", (3, 4, 3), {}, (0, 3, 7, 9)),
    ("Conv2d", (2, 3, 7), {"padding": 6, "dilation": 2}, (1, 2, 3, 5)),
    ("Conv2d", (16, 16, 3), {}, (1, 16, 3, 3)),
    ("Conv2d", (16, 33, 3), {"padding": (0, 2)}, (3, 16, 5, 17)),
    ("Conv2d", (64, 32, 3), {"padding": 1, "groups": 2}, (2, 64, 7, 7)),
    ("Conv2d", (18, 16, 3), {"padding": 1, "bias": False}, (17, 18, 1, 31)),
    ("Conv2d", (16, 20, 3), {"stride": 2, "padding": 1}, (2, 16, 9, 10)),
    ("Conv2d", (16, 20, 3), {"dilation": 2, "padding": 2}, (2, 16, 9, 10)),
    ("Conv2d", (16, 20, (3, 1)), {"padding": (1, 0)}, (2, 16, 9, 10)),
    ("Conv1d", (3, 5, 4), {"padding": 2}, (3, 3, 31)),
    ("Conv1d", (4, 6, 3), {"stride": 2, "dilation": 3, "groups": 2}, (3, 4, 200)),
    ("Conv1d", (3, 5, 4), {"padding": "same", "dilation": 2}, (3, 3, 31)),
    ("Conv1d", (16, 16, 3), {"padding": 1, "bias": False}, (2, 16, 33)),
    ("Conv1d", (6, 12, 5), {"groups": 6, "stride": 3, "padding": 4}, (1, 6, 7)),
    ("MaxPool2d", (2,), {}, (2, 3, 9, 35)),
    ("MaxPool2d", (3, 2, 1), {}, (2, 3, 9, 8)),
    ("MaxPool2d", ((3, 2), (1, 2), (1, 0), (2, 1)), {}, (2, 3, 9, 8)),
    ("MaxPool1d", (3, 2), {"padding": 1}, (2, 3, 20)),
    ("AvgPool2d", (2,), {}, (2, 3, 9, 35)),
    ("AvgPool2d", (3, 2, 1), {}, (2, 3, 9, 8)),
    ("AvgPool2d", (3, 2, 1), {"count_include_pad": False}, (2, 3, 9, 8)),
    ("AvgPool1d", (3, 2, 1), {"count_include_pad": False}, (2, 3, 9)),
    ("AdaptiveAvgPool2d", (1,), {}, (2, 3, 9, 8)),
    ("AdaptiveAvgPool1d", (1,), {}, (2, 3, 9)),
    ("BatchNorm2d", (5,), {}, (4, 5, 6, 7)),
    ("BatchNorm2d", (5,), {"momentum": None, "eps": 0.1}, (4, 5, 6, 7)),
    ("BatchNorm2d", (5,), {"affine": False, "momentum": 0.3}, (4, 5, 6, 7)),
    ("BatchNorm2d", (5,), {"track_running_stats": False}, (4, 5, 6, 7)),
    ("BatchNorm1d", (37,), {}, (21, 37)),
    ("BatchNorm1d", (5,), {}, (3, 5, 11)),
]


def ours(name: str, arguments: tuple, options: dict, dtype: type):
    module = next(m for m in (convolution, pooling, batch_norm) if hasattr(m, name))
    named = {**options} if module is pooling else {**options, "dtype": dtype}
    return getattr(module, name)(*arguments, **named)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer[0]}{layer[1:]}")
def test_layer(backend, layer, dtype):
    name, arguments, options, shape = layer
    rng = np.random.default_rng(5)
    theirs = getattr(torch.nn, name)(*arguments, **options)
    theirs = theirs.to(torch.float64 if dtype == np.float64 else torch.float32)
    mine = ours(name, arguments, options, dtype)
    assert repr(mine).split("(")[0] == name
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=tuple(parameter.shape))))
    mine.load_state_dict(theirs.state_dict())
    # sums of up to some hundred products of order 1, in any order
    tolerance = 4000 * np.finfo(dtype).eps
    for step in range(3):
        if step == 2:
            mine.eval()
            theirs.eval()
        x = rng.normal(size=shape).astype(dtype)
        a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, z = mine(a), theirs(b)
        assert y.shape == tuple(z.shape)
        dy = rng.normal(size=y.shape).astype(dtype)
        mine.zero_grad()
        theirs.zero_grad()
        y.backward(dy)
        z.backward(torch.tensor(dy))
        np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=tolerance, atol=tolerance)
        for (key, p), (other, q) in zip(
            mine.named_parameters(), theirs.named_parameters(), strict=True
        ):
            assert key == other
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=tolerance, atol=tolerance)
        state = theirs.state_dict()
        assert list(mine.state_dict()) == list(state)
        for key, array in mine.state_dict().items():
            np.testing.assert_allclose(array, state[key].numpy(), rtol=tolerance, atol=tolerance)
    theirs.load_state_dict({k: torch.as_tensor(v) for k, v in mine.state_dict().items()})


def network(module):
    """A network of images of 3 x 9 x 10 in one library's classes."""
    layers = [
        module.Conv2d(3, 16, 3, padding=1, bias=False), module.BatchNorm2d(16), module.ReLU(),
        module.Conv2d(16, 16, 3, padding=1), module.ReLU(), module.MaxPool2d(2),
        module.Conv2d(16, 24, 3, stride=2, padding=1, groups=8), module.BatchNorm2d(24),
        module.Tanh(), module.AvgPool2d(2, 1, 0, False, True), module.Flatten(),
        module.Linear(24 * 1 * 2, 5),
    ]  # fmt: skip
    return module.Sequential(*layers)


@pytest.mark.parametrize("compiled", [False, True], ids=["tape", "compiled"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ten_steps_of_a_network(backend, dtype, compiled):
    rng = np.random.default_rng(3)
    torch.manual_seed(0)
    mine, theirs = network(nn), network(torch.nn)
    mine.to(dtype)
    theirs.to(torch.float64 if dtype == np.float64 else torch.float32)
    mine.load_state_dict(theirs.state_dict())
    first = optim.SGD(mine.parameters(), lr=0.05, momentum=0.9)
    second = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    step = nn.TrainingStep(mine, lambda model, x, y: functional.cross_entropy(model(x), y), first)
    # rounding that ten steps carry on
    tolerance = 2e5 * np.finfo(dtype).eps
    for _ in range(10):
        x, y = rng.normal(size=(8, 3, 9, 10)).astype(dtype), rng.integers(5, size=8)
        if compiled:
            loss = step(x, y)
        else:
            first.zero_grad()
            made = functional.cross_entropy(mine(Tensor(x)), y)
            made.backward()
            first.step()
            loss = made.item()
        second.zero_grad()
        wanted = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        wanted.backward()
        second.step()
        np.testing.assert_allclose(loss, wanted.item(), rtol=tolerance)
        if not compiled:
            for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
                np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=0, atol=tolerance)
    state = theirs.state_dict()
    assert list(mine.state_dict()) == list(state)
    for name, array in mine.state_dict().items():
        np.testing.assert_allclose(array, state[name].numpy(), rtol=tolerance, atol=tolerance)
    mine.eval()
    theirs.eval()
    np.testing.assert_allclose(
        mine(Tensor(x)).data, theirs(torch.tensor(x)).detach().numpy(), rtol=0, atol=10 * tolerance
    )
