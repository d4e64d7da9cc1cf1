"""Answers to the exercises of docs/course/13-bert.md."""

import numpy as np

import firth
from firth import Tensor
from firth.nn import functional


def test_1_what_is_hidden_of_512_tokens() -> None:
    """512 * 0.15 * 0.8 = 61.4 masks, and 512 * 0.15 * 0.1 = 7.7 that are asked for and visible.

    A random token is the original itself in one of V cases, which changes nothing here.
    """
    rng = np.random.default_rng(0)
    asked = rng.random((2000, 512)) < 0.15
    how = rng.random((2000, 512))
    masks = (asked & (how < 0.8)).sum(axis=1).mean()
    visible = (asked & (how >= 0.8) & (how < 0.9)).sum(axis=1).mean()
    assert abs(masks - 61.4) < 1
    assert abs(visible - 7.7) < 0.3


def test_2_both_sides() -> None:
    """From the first layer on: before it, a vector knows its own token and place.

    With a causal mask never: no layer lets a token see what stands behind it.
    """
    config = {
        "model_type": "bert", "vocab_size": 20, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 8,
    }  # fmt: skip
    model = firth.BertModel.from_config(config)
    ids = np.array([[2, 5, 6, 7, 8]])
    other = np.array([[2, 5, 6, 7, 9]])

    def difference(mask: np.ndarray, layer: int) -> float:
        first, second = (
            model(x, mask, output_hidden_states=True).hidden_states[layer][0, 1]
            for x in (ids, other)
        )
        return float(np.abs(first - second).max())

    everything, causal = np.ones((1, 5), int), np.tri(5, dtype=int)[None]
    assert difference(everything, 0) == 0
    assert difference(everything, 1) > 1e-4
    assert [difference(causal, layer) for layer in (0, 1, 2)] == [0, 0, 0]


def test_3_constant_answers() -> None:
    """0.5: ln 2 = 0.6931. 0.9: the mean of -ln 0.9 and -ln 0.1, 1.2040: to be sure costs more.

    With a share s of pairs that belong together the loss is -s ln p - (1 - s) ln (1 - p). Its
    derivative -s / p + (1 - s) / (1 - p) is 0 at p = s: 0.8, where the loss is 0.5004.
    """

    def loss(p: float, share: float) -> float:
        labels = np.arange(100) >= 100 * share  # 0: follows, 1: does not
        logits = np.tile([np.log(p), np.log(1 - p)], (100, 1))
        return float(functional.cross_entropy(Tensor(logits), labels.astype(int)).item())

    assert round(loss(0.5, share=0.5), 4) == 0.6931
    assert round(loss(0.9, share=0.5), 4) == 1.2040
    choices = np.arange(1, 100) / 100
    assert min(choices, key=lambda p: loss(float(p), share=0.8)) == 0.8
    assert round(loss(0.8, share=0.8), 4) == 0.5004
