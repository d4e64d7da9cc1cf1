"""transformers' processors of logits as oracle of the steps of sampling."""

from __future__ import annotations

import numpy as np
import pytest

from firth.generators.sampling import Sampler, Sampling

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def theirs(given: dict[str, float], logits: np.ndarray, ids: list[int]) -> np.ndarray:
    """Probabilities after transformers' steps, in the order of its ``generate``."""
    from transformers import generation

    kinds = {
        "repetition_penalty": generation.RepetitionPenaltyLogitsProcessor,
        "temperature": generation.TemperatureLogitsWarper,
        "top_k": generation.TopKLogitsWarper,
        "top_p": generation.TopPLogitsWarper,
        "min_p": generation.MinPLogitsWarper,
    }
    scores = torch.tensor(logits[None])
    for name, kind in kinds.items():
        if name in given:
            scores = kind(given[name])(torch.tensor([ids]), scores)
    return scores.double().softmax(-1)[0].numpy()


def ours(given: dict[str, float], logits: np.ndarray, ids: list[int]) -> np.ndarray:
    """Probabilities of ids, read off by numbers in place of random ones."""

    class Ruler:
        """Numbers in steps of equal length."""

        def __init__(self, steps: int) -> None:
            self.numbers = iter((np.arange(steps) + 0.5) / steps)

        def random(self) -> float:
            return float(next(self.numbers))

    steps = 4000
    choose = Sampler(Sampling(**given), ids)
    choose._random = Ruler(steps)
    processed = choose.processed(logits)
    drawn = [choose._choose(processed) for _ in range(steps)]
    return np.bincount(drawn, minlength=len(logits)) / steps


@pytest.mark.parametrize(
    "given",
    [
        {}, {"temperature": 0.7}, {"temperature": 1.8}, {"top_k": 5}, {"top_p": 0.8},
        {"top_p": 0.31}, {"min_p": 0.2}, {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.7, "temperature": 0.6, "top_k": 12, "top_p": 0.9, "min_p": 0.05},
        {"temperature": 2.5, "top_k": 20, "top_p": 0.5}, {"top_p": 0.95, "min_p": 0.3},
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_steps(given, seed):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, 60).astype(np.float32)
    ids = random.integers(0, 60, 10).tolist()
    got, want = ours(given, logits, ids), theirs(given, logits, ids)
    # each probability is a count of steps, at most one off at both of its ends
    np.testing.assert_allclose(got, want, atol=2 / 4000)
    kept = want > 1 / 1000
    assert (got[kept] > 0).all()
    assert not got[want == 0].any()
