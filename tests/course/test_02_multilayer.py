"""Answers to the exercises of docs/course/02-multilayer.md."""

import numpy as np

from firth import Tensor, nn
from firth.nn import functional as F


def test_1_backward_by_hand() -> None:
    """The target is 0, so p is too large and dz = p - t is positive: all steps go the other way.

    Both inputs are 1, so each row of dW1 has the same number twice, that of da.
    """
    x, t = np.array([1.0, 1.0]), 0.0
    W1, b1 = np.array([[0.5, -0.4], [-0.3, 0.6]]), np.array([0.1, -0.1])
    w2, b2 = np.array([0.7, 0.2]), 0.0
    h = np.tanh(W1 @ x + b1)  # of a = (0.2, 0.2)
    p = 1 / (1 + np.exp(-(w2 @ h + b2)))
    assert h.round(4).tolist() == [0.1974, 0.1974]
    assert round(float(p), 4) == 0.5443
    dz = p - t
    da = dz * w2 * (1 - h**2)
    assert dz > 0
    assert (dz * h).round(4).tolist() == [0.1074, 0.1074]  # dw2
    assert np.outer(da, x).round(4).tolist() == [[0.3662, 0.3662], [0.1046, 0.1046]]

    network = nn.Sequential(
        nn.Linear(2, 2, dtype=np.float64), nn.Tanh(), nn.Linear(2, 1, dtype=np.float64)
    )
    network.load_state_dict(
        {"0.weight": W1, "0.bias": b1, "2.weight": w2[None], "2.bias": np.array([b2])}
    )
    F.binary_cross_entropy_with_logits(
        network(Tensor(x[None])), Tensor(np.zeros((1, 1)))
    ).backward()
    wanted = {"0.weight": np.outer(da, x), "0.bias": da, "2.weight": [dz * h], "2.bias": [dz]}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad, wanted[name], rtol=1e-12)


def test_2_xor_of_two_relus() -> None:
    """h1 = ReLU(x1 + x2) counts the inputs, h2 = ReLU(x1 + x2 - 1) says how many are too many.

    h1 - 2 h2 is then 0, 1, 1 and 2 - 2 = 0.
    """
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    network.load_state_dict(
        {
            "0.weight": np.ones((2, 2)),
            "0.bias": np.array([0.0, -1.0]),
            "2.weight": np.array([[1.0, -2.0]]),
            "2.bias": np.zeros(1),
        }
    )
    inputs = Tensor(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32))
    assert network(inputs).data[:, 0].tolist() == [0, 1, 1, 0]


def test_3_gradients_vanish() -> None:
    """Each sigmoid multiplies by s (1 - s), 0.25 at most; each ReLU that is on multiplies by 1.

    The first sigmoid gives 0.25 at 0, the later ones less: 3.9e-7 is left, of at most 0.25^10,
    which is 9.5e-7.
    """
    x = Tensor(np.array([0.0]), requires_grad=True)
    y, product = x, 1.0
    for _ in range(10):
        y = y.sigmoid()
        product *= y.item() * (1 - y.item())
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, product, rtol=1e-12)
    assert f"{product:.1e}" == "3.9e-07"
    assert product < 0.25**10

    x = Tensor(np.array([1.0]), requires_grad=True)
    y = x
    for _ in range(10):
        y = y.relu()
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0]
