"""An LSTM learns to write like Shakespeare, character by character.

It reads a text from left to right and keeps in its state what it has to remember; of the state it
says how probable each next character is. The loss is the mean of -log of what it said of the right
one: log 65 = 4.17 nats at first, since there are 65 characters. The last tenth of the text is held
out.

python examples/char_lstm.py (reads ../shared/data/shakespeare.txt; 3 minutes, or less with
--steps N)
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import firth
from firth import nn, optim
from firth.nn import functional as F

TEXT = Path(__file__).resolve().parents[2] / "shared" / "data" / "shakespeare.txt"
WIDTH, LENGTH, BATCH, STEPS, RATE = 256, 128, 32, 2000, 4e-3

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=STEPS, help="of training")
options = parser.parse_args()

text = TEXT.read_text()
characters = sorted(set(text))
ids = np.searchsorted(characters, list(text))
training, held_out = np.split(ids, [len(ids) * 9 // 10])


class Network(nn.Module):
    """Vectors of characters, an LSTM, and the layer that makes logits of what it shows.

    With x the vector of a character, and s the logistic function, step t of the LSTM is

    i, f, o = s(W x + U h + b), each with its own W, U, b      what to write, keep and show
    c = f c + i tanh(W' x + U' h + b')                         the memory
    h = o tanh(c)                                              what it shows; logits are V h + b"
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(characters), 64)
        self.lstm = nn.LSTM(64, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, len(characters))

    def forward(self, ids: Any, state: Any = None) -> tuple[firth.Tensor, Any]:
        """What the LSTM shows at each step, and its state (h, c) after the last."""
        return self.lstm(self.embedding(ids), state)


def loss(model: Network, inputs: Any, targets: Any) -> firth.Tensor:
    """-log of the probability of the right characters, a mean; starts without memory."""
    hidden, _ = model(inputs)
    return F.linear_cross_entropy(hidden, model.head.weight, targets, linear_bias=model.head.bias)


nn.manual_seed(0)
rng = np.random.default_rng(0)
model = Network()
optimizer = optim.Adam(model.parameters(), lr=RATE)
schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
step = nn.TrainingStep(model, loss, optimizer, clip_norm=1.0)  # gradients of long sequences explode
print(f"{sum(p.data.size for p in model.parameters()):,} parameters, {len(training):,} characters")
start, losses = time.monotonic(), list[float]()
for number in range(1, options.steps + 1):
    windows = rng.integers(len(training) - LENGTH, size=(BATCH, 1)) + np.arange(LENGTH + 1)
    losses.append(step(training[windows[:, :-1]], training[windows[:, 1:]]))
    schedule.step()
    if number % (options.steps // 10) == 0:
        mean = np.mean(losses[-options.steps // 10 :])
        print(f"step {number:5} after {time.monotonic() - start:3.0f} s: {mean:.3f} nats")

# The text held out is read in one go, from a first character to the last: 10 strips beside each
# other, each of which goes on with the state that it has.
model.eval()
strips = held_out[: len(held_out) // 10 * 10].reshape(10, -1)
with nn.no_grad():
    found = loss(model, strips[:, :-1], strips[:, 1:]).item()
print(f"held out: {found:.3f} nats a character. It writes:\n")

# Of what it says, a character is drawn and read as the next one.
state, written = None, "\n"
with nn.no_grad():
    for _ in range(400):
        hidden, state = model([[characters.index(written[-1])]], state)
        logits = model.head(hidden).numpy().ravel() / 0.8  # a bit more sure than it is
        p = np.exp(logits - logits.max())
        written += rng.choice(characters, p=p / p.sum())
print(written)
assert found < (1.80 if options.steps >= STEPS else 2.8)
