"""Answers to the exercises of docs/course/08-deep-networks.md."""

import numpy as np

from firth import Tensor, nn, optim


def test_1_the_first_step_of_adam() -> None:
    """It is the rate, whatever the size of the gradient.

    After one gradient g, m = 0.1 g and v = 0.001 g^2. Divided by 1 - 0.9 and by 1 - 0.999 they
    are g and g^2, so that the step is rate * g / |g|: the rate, with the sign of g.
    """
    for g in (0.001, -1.0, 1000.0):
        p = nn.Parameter(np.zeros(1))
        p.grad = np.array([g])
        optim.Adam([p], lr=0.1).step()
        np.testing.assert_allclose(p.data, [-0.1 * np.sign(g)], rtol=1e-4)


def test_2_a_bias_before_batch_norm_does_nothing() -> None:
    """Batch norm subtracts the mean over the batch, and the bias is a part of that mean.

    a + b has the mean mu + b, so (a + b) - (mu + b) = a - mu. What has no effect has the gradient
    0: the layer may go without a bias.
    """
    nn.manual_seed(0)
    x = Tensor(np.random.default_rng(0).normal(size=(16, 3)))
    linear = nn.Linear(3, 5, dtype=np.float64)
    norm = nn.BatchNorm1d(5, dtype=np.float64)
    before = norm(linear(x))
    (before * before * before).sum().backward()
    assert linear.bias.grad is not None
    assert linear.weight.grad is not None
    assert np.abs(linear.bias.grad).max() < 1e-10
    assert np.abs(linear.weight.grad).max() > 0.1
    linear.bias.data += 100
    np.testing.assert_allclose(norm(linear(x)).data, before.data, atol=1e-10)


def test_3_weights_for_leaky_relu() -> None:
    """v = 2 / (n (1 + 0.2^2)).

    Half of the numbers keep their square, the other half keeps 0.2^2 of it: E(h^2) is
    (1 + 0.2^2) / 2 of Var(a), and Var(a) = n v E(h^2). The factor is 1 where n v (1.04) / 2 = 1.
    """
    n, slope = 200, 0.2
    v = 2 / (n * (1 + slope**2))
    weight = nn.init.kaiming_normal_(Tensor(np.empty((n, n))), a=slope)
    assert abs(weight.data.var() / v - 1) < 0.05  # what He's function of firth draws

    rng = np.random.default_rng(0)

    def size_after_30_layers(variance: float) -> float:
        h = rng.normal(size=(500, n))
        for _ in range(30):
            a = h @ (np.sqrt(variance) * rng.normal(size=(n, n)))
            h = np.where(a > 0, a, slope * a)
        return float(np.sqrt((h**2).mean()))

    assert 0.3 < size_after_30_layers(v) < 3
    assert size_after_30_layers(v / 2) < 1e-3  # 2 ** -15 = 3e-5
