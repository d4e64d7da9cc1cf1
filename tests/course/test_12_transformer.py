"""Answers to the exercises of docs/course/12-transformer.md."""

import numpy as np

from firth import Tensor, nn


def random_rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 32))


def test_1_a_causal_decoder_does_not_look_ahead() -> None:
    """Only the last output may change: the places before it do not see the last token."""
    nn.manual_seed(0)
    layer = nn.TransformerDecoderLayer(32, 4, 64, dropout=0.0, dtype=np.float64)
    decoder = nn.TransformerDecoder(layer, 3)
    target, memory = random_rows(5, seed=0), Tensor(random_rows(6, seed=1))
    other = target.copy()
    other[4] += 1
    first, second = (decoder(Tensor(x), memory, tgt_is_causal=True).data for x in (target, other))
    assert (first[:4] == second[:4]).all()
    assert np.abs(first[4] - second[4]).max() > 0.01
    seen = [decoder(Tensor(x), memory).data for x in (target, other)]  # without the mask
    assert np.abs(seen[0][0] - seen[1][0]).max() > 1e-4


def test_2_products_of_positions_depend_on_the_distance() -> None:
    """sin a sin b + cos a cos b = cos(a - b): the product is the sum of cos(k omega_i).

    For k = 0 that is d / 2, as each of the d / 2 hands of the clock has length 1.
    """
    table = nn.SinusoidalPositions(60, 32, dtype=np.float64).table
    products = table @ table.T
    omega = 10000.0 ** (-np.arange(0, 32, 2) / 32)
    for k in (0, 1, 7):
        expected = np.cos(k * omega).sum()
        np.testing.assert_allclose(np.diagonal(products, k), expected)
    np.testing.assert_allclose(np.diagonal(products), 16)


def test_3_without_positions_the_order_of_the_source_is_lost() -> None:
    """The memory's rows are exchanged in the same way, and the decoder's output is the same.

    Cross attention is a weighted sum over the memory, and a sum has no order.
    """
    nn.manual_seed(0)
    model = nn.Transformer(32, 4, 2, 2, 64, dropout=0.0, dtype=np.float64)
    source, target = random_rows(6, seed=0), Tensor(random_rows(4, seed=1))
    order = [0, 4, 2, 3, 1, 5]
    memory = model.encoder(Tensor(source)).data
    exchanged = model.encoder(Tensor(source[order])).data
    np.testing.assert_allclose(exchanged, memory[order], atol=1e-10)

    def written(source: np.ndarray) -> np.ndarray:
        return np.asarray(model(Tensor(source), target, tgt_is_causal=True).data)

    np.testing.assert_allclose(written(source[order]), written(source), atol=1e-10)
    places = nn.SinusoidalPositions(6, 32, dtype=np.float64).table
    assert np.abs(written(source[order] + places) - written(source + places)).max() > 0.01
