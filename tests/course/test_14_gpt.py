"""Answers to the exercises of docs/course/14-gpt.md."""

from typing import Any

import numpy as np

from firth import Tensor, nn, optim
from firth.nn import functional


def test_1_perplexity() -> None:
    """All V tokens alike: p = 1 / V for each, so that the loss is ln V and the perplexity V.

    The text of two halves: the mean of the losses, ln 2 and ln 8, is ln 4. Perplexities have a
    geometric mean, sqrt(2 * 8) = 4, not an arithmetic one, which would be 5.
    """
    even = functional.cross_entropy(Tensor(np.zeros((6, 50))), np.arange(6)).item()
    assert round(np.exp(even), 6) == 50
    probabilities = np.array([1 / 2] * 10 + [1 / 8] * 10)
    assert round(float(np.exp(-np.log(probabilities).mean())), 6) == 4


def test_2_without_the_mask_it_cheats() -> None:
    """The loss of random tokens falls far below ln 12: place t reads its target at place t + 1.

    With the mask it cannot, since random tokens cannot be known: ln 12 is the least. The model that
    cheats is of no use: when it writes, the place after the last is empty.
    """

    class Reader(nn.Module):
        def __init__(self, causal: bool) -> None:
            super().__init__()
            self.causal = causal
            self.tokens, self.places = nn.Embedding(12, 32), nn.LearnedPositions(9, 32)
            layer = nn.TransformerEncoderLayer(
                32, 4, 64, dropout=0.0, batch_first=True, norm_first=True
            )
            self.layers, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(32, 12)

        def forward(self, ids: Any) -> Any:
            vectors = self.places(self.tokens(ids))
            return self.head(self.layers(vectors, is_causal=self.causal))

    def learn(causal: bool) -> tuple[float, float]:
        """Losses at the end: at all places but the last, and at the last."""
        nn.manual_seed(0)
        rng, model = np.random.default_rng(0), Reader(causal)
        step = nn.TrainingStep(
            model,
            lambda model, x, y: functional.cross_entropy(model(x), y),
            optim.Adam(model.parameters(), lr=5e-3),
        )
        for _ in range(300):
            ids = rng.integers(12, size=(64, 10))
            step(ids[:, :-1], ids[:, 1:])
        ids = rng.integers(12, size=(500, 10))
        with nn.no_grad():
            scores = model(ids[:, :-1])
            before = functional.cross_entropy(scores[:, :-1], ids[:, 1:-1]).item()
            return before, functional.cross_entropy(scores[:, -1], ids[:, -1]).item()

    least = np.log(12)
    honest, honest_last = learn(causal=True)
    cheat, cheat_last = learn(causal=False)
    assert min(honest, honest_last) > least - 0.05
    assert cheat < 0.1
    assert cheat_last > least - 0.05  # behind the last place there is nothing to read


def test_3_temperature() -> None:
    """p_i / p_j = exp((z_i - z_j) / T): the ratio to the power of 1 / T.

    3 to 1 becomes 9 to 1 at T = 0.5, and sqrt 3 to 1 at T = 2. Towards 0 the larger one gets
    everything, towards infinity all get the same.
    """
    logits = np.log([3.0, 1.0])

    def ratio(temperature: float) -> float:
        p = functional.softmax(Tensor(logits / temperature), -1).data
        return float(p[0] / p[1])

    np.testing.assert_allclose([ratio(1), ratio(0.5), ratio(2)], [3, 9, np.sqrt(3)])
    assert ratio(0.01) > 1e40
    assert abs(ratio(1e6) - 1) < 1e-5
