"""Gradients that vanish and explode: why a plain recurrent network forgets and an LSTM does not.

A recurrent network computes h_t = f(h_{t-1}, x_t). What the last state still depends on of an input
t steps before is a product of t derivatives,

    dh_T / dh_{T-t} = J_T J_{T-1} ... J_{T-t+1},    J = diag(tanh') W    of a plain one,

which shrinks or grows like a power. In an LSTM c_t = f_t c_{t-1} + i_t g_t, so that dc_t / dc_{t-1}
is the forget gate f_t, but for what goes through h: near 1 where the network wants to remember.

python examples/gradients.py (some seconds; --plot FILE draws the curves)
"""

import argparse

import numpy as np

from firth import Tensor, nn, optim
from firth.nn import functional

parser = argparse.ArgumentParser()
parser.add_argument("--plot", metavar="FILE", help="save a picture of the gradients")
arguments = parser.parse_args()

STEPS, WIDTH = 60, 32


def plain(size: float) -> nn.RNN:
    """A plain network whose W is a rotation times a number: all its eigenvalues have this size."""
    layer = nn.RNN(4, WIDTH)
    layer.weight_hh_l0.data[...] = size * np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    layer.bias_hh_l0.data[...] = layer.bias_ih_l0.data[...] = 0
    return layer


def lstm(forget: float) -> nn.LSTM:
    """An LSTM whose forget gates start near sigmoid(forget)."""
    layer = nn.LSTM(4, WIDTH)
    layer.bias_hh_l0.data[...] = layer.bias_ih_l0.data[...] = 0  # input, forget, cell, output
    layer.bias_hh_l0.data[WIDTH : 2 * WIDTH] = forget
    return layer


# 1. How much the last state depends on the input of each step. Inputs are small: there tanh' is
# near 1, and J near W.
rng = np.random.default_rng(0)
nn.manual_seed(0)
x = 0.1 * rng.normal(size=(STEPS, 16, 4))
norms = {
    "plain, W of size 0.8": nn.gradients_by_step(plain(0.8), x),
    "plain, W of size 2": nn.gradients_by_step(plain(2.0), x),
    "LSTM, forget gates 0.98": nn.gradients_by_step(lstm(4.0), x),
}
print(f"gradient by the first input / by the last, {STEPS} steps:")
for name, values in norms.items():
    print(f"  {name:24} {values[0] / values[-1]:8.1e}")
vanishing, exploding, kept = (values[0] / values[-1] for values in norms.values())
assert vanishing < 1e-4
assert exploding > 1e4
assert 0.1 < kept < 1000


# 2. What follows: to tell at the end which of four signs came first, 40 signs before. Gradients
# that explode are cut (clip_norm); those that vanish are gone.
class Memory(nn.Module):
    """The first of the signs (T, N, 4), out of the last state of a recurrent layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(WIDTH, 4)

    def forward(self, signs: Tensor) -> Tensor:
        """Scores (N, 4) of what the first sign was."""
        return self.head(self.layer(signs)[0][-1])


def signs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rows of signs (40, count, 4), and the first of each."""
    chosen = rng.integers(4, size=(40, count))
    return np.eye(4, dtype=np.float32)[chosen], chosen[0]


def learn(layer: nn.Module) -> float:
    """Train for 300 steps; the share of new rows whose first sign is known at the end."""
    model = Memory(layer)
    step = nn.TrainingStep(
        model, lambda model, x, y: functional.cross_entropy(model(x), y),
        optim.Adam(model.parameters(), lr=0.005), clip_norm=1.0,
    )  # fmt: skip
    for _ in range(300):
        step(*signs(64))
    x, first = signs(1000)
    return float((model(Tensor(x)).data.argmax(axis=1) == first).mean())


print("the first of 40 signs is remembered by")
shares = {
    "plain, as it is made": learn(nn.RNN(4, WIDTH)),  # W is random, of size 0.6
    "LSTM, as it is made": learn(nn.LSTM(4, WIDTH)),  # forget gates 0.5: it forgets too
    "LSTM, forget gates 0.98": learn(lstm(4.0)),
    "plain, W of size 1": learn(plain(1.0)),  # a rotation neither shrinks nor grows
}
for name, share in shares.items():
    print(f"  {name:24} {share:6.1%}, by chance 25 %")
assert shares["plain, as it is made"] < 0.5
assert shares["LSTM, forget gates 0.98"] > 0.99

if arguments.plot:
    nn.plot_gradients_by_step(norms).savefig(arguments.plot)
