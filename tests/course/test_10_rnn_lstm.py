"""Answers to the exercises of docs/course/10-rnn-lstm.md."""

import numpy as np

from firth import Tensor, nn


def test_1_one_step_further() -> None:
    """h4 = tanh(0.8 * 0.6544) = 0.4804, whose slope is 1 - 0.4804^2 = 0.7692.

    By x1: the step back is one more factor, 0.7692 * 0.8 = 0.6154, of 0.1259: 0.0775. By x4 it is
    0.7692 * 0.5 = 0.3846: five times as much.
    """
    layer = nn.RNN(1, 1, bias=False, dtype=np.float64)
    layer.weight_ih_l0.data[...], layer.weight_hh_l0.data[...] = 0.5, 0.8
    x = Tensor(np.array([1.0, 0.0, 1.0, 0.0])[:, None, None], requires_grad=True)
    _, last = layer(x)
    assert round(last.item(), 4) == 0.4804
    assert round(1 - last.item() ** 2, 4) == 0.7692
    last.sum().backward()
    assert x.grad is not None
    assert round(float(x.grad[0, 0, 0]), 4) == 0.0775
    assert round(float(x.grad[3, 0, 0]), 4) == 0.3846


def test_2_an_lstm_that_counts() -> None:
    """c = c + 1 where x = 1: the forget gate is always open, the input gate where x is.

    i = sigmoid(40 x - 20) is 0 or 1, f = sigmoid(20) = 1, g = tanh(20) = 1. What is shown does not
    matter. Nothing looks at h, so U = 0.
    """
    layer = nn.LSTM(1, 1, dtype=np.float64)
    layer.load_state_dict({
        "weight_ih_l0": np.array([[40.0], [0.0], [0.0], [0.0]]),  # input, forget, g, output
        "weight_hh_l0": np.zeros((4, 1)),
        "bias_ih_l0": np.array([-20.0, 20.0, 20.0, 0.0]),
        "bias_hh_l0": np.zeros(4),
    })  # fmt: skip
    bits = np.random.default_rng(0).integers(0, 2, (200, 5)).astype(float)
    _, (_, memory) = layer(Tensor(bits[:, :, None]))
    np.testing.assert_allclose(memory.data.ravel(), bits.sum(axis=0), atol=1e-4)


def test_3_the_largest_eigenvalue_decides() -> None:
    """0.9 per step: U^k = 0.5^k (one direction) + 0.9^k (the other), and 0.5^k is soon nothing."""
    u = np.array([[0.7, 0.2], [0.2, 0.7]])
    np.testing.assert_allclose(u @ [1, 1], [0.9, 0.9])
    np.testing.assert_allclose(u @ [1, -1], [0.5, -0.5])
    layer = nn.RNN(2, 2, bias=False, nonlinearity="relu", dtype=np.float64)
    layer.weight_ih_l0.data[...], layer.weight_hh_l0.data[...] = np.eye(2), u
    x = np.full((40, 1, 2), 10.0)
    states, _ = layer(Tensor(x))
    assert (states.data > 0).all()  # so that relu does nothing, and the network is linear
    norms = nn.gradients_by_step(layer, x)
    ratios = norms[:-1] / norms[1:]
    assert np.allclose(ratios[:20], 0.9, atol=1e-4)
    assert not np.isclose(ratios[-1], 0.9, atol=1e-2)
