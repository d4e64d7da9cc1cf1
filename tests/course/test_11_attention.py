"""Answers to the exercises of docs/course/11-attention.md."""

import numpy as np

from firth import Tensor, nn
from firth.nn import functional


def test_1_the_second_token() -> None:
    """q2 = (0, 1): scores (1, 0, 1) / sqrt 2, exponentials 2.0281, 1, 2.0281, sum 5.0562.

    Weights 0.4011, 0.1978, 0.4011; output 0.4011 (2, 0) + 0.1978 (0, 1) + 0.4011 (2, 1)
    = (1.6044, 0.5989).
    """
    keys = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    values = np.array([[2.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    scores = keys @ [0.0, 1.0] / np.sqrt(2)
    assert scores.round(4).tolist() == [0.7071, 0, 0.7071]
    weights = np.exp(scores) / np.exp(scores).sum()
    assert weights.round(4).tolist() == [0.4011, 0.1978, 0.4011]
    by_hand = weights @ values
    assert by_hand.round(4).tolist() == [1.6044, 0.5989]
    parts = (np.array([[0.0, 1.0]]), keys, values)
    q, k, v = (Tensor(x[None, None]) for x in parts)  # a batch of one text, with one head
    found = functional.scaled_dot_product_attention(q, k, v)
    np.testing.assert_allclose(found.data[0, 0, 0], by_hand)


def test_2_large_queries_make_a_dictionary() -> None:
    """The largest score gets all weight: a dictionary, which returns one value.

    With W_q = W_k = 1 scores are dot products of embeddings. Of vectors of length 1 the largest
    product is that with itself (Cauchy and Schwarz), so that every token gets its own value.
    """
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    layer = nn.MultiheadAttention(16, 1, bias=False, dtype=np.float64)
    layer.load_state_dict({
        "in_proj_weight": np.concatenate([100 * np.eye(16), np.eye(16), np.eye(16)]),
        "out_proj.weight": np.eye(16),
    })  # fmt: skip
    x = Tensor(rows)
    found, weights = layer(x, x, x)
    assert weights is not None
    np.testing.assert_allclose(weights.data, np.eye(6), atol=1e-3)
    np.testing.assert_allclose(found.data, rows, atol=1e-2)


def test_3_what_attention_costs() -> None:
    """3 n d^2 for the matrices, n^2 d for the scores and as much for the means: 2 n^2 d.

    2 n^2 d > 3 n d^2 where n > 3 d / 2: beyond 768 tokens for d = 512.
    """
    d = 512

    def multiply_adds(n: int) -> tuple[int, int]:
        layer = nn.MultiheadAttention(d, 8, bias=False)
        x = np.zeros((n, d), np.float32)
        all_of_it = nn.summary(layer, x, x, x).operations
        table = 2 * n * n * d
        return all_of_it - table - n * d * d, table  # without the matrix at the end

    for n in (6, 768):
        assert multiply_adds(n) == (3 * n * d * d, 2 * n * n * d)
    assert 2 * 768**2 * d == 3 * 768 * d**2
