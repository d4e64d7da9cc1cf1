"""Initial values of parameters; PyTorch's distributions are compared in tests/optim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from firth.nn import init
from firth.nn.tape import Tensor, manual_seed


def weight(*shape: int) -> Tensor:
    return Tensor(np.full(shape, np.nan, np.float32))


def test_seeds_give_the_same_values():
    found = []
    for seed in (1, 1, 2):
        manual_seed(seed)
        found.append(init.kaiming_uniform_(weight(3, 4)).data)
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_spread_follows_the_fans():
    manual_seed(0)
    x = weight(40, 30, 5, 5)
    assert init.fans(x) == (750, 1000)
    bound = math.sqrt(6 / 1750)
    assert abs(init.xavier_uniform_(x).data).max() == pytest.approx(bound, rel=1e-3)
    assert init.xavier_normal_(x).data.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    made = init.kaiming_normal_(x, mode="fan_out", nonlinearity="relu").data
    assert made.std() == pytest.approx(math.sqrt(2 / 1000), rel=0.02)
    # PyTorch's linear layers: within 1 / sqrt(inputs)
    made = init.kaiming_uniform_(x, a=math.sqrt(5)).data
    assert abs(made).max() == pytest.approx(1 / math.sqrt(750), rel=1e-3)


def test_truncated_normal_stays_inside():
    manual_seed(0)
    made = init.trunc_normal_(weight(100, 100), std=3.0, a=-1.0, b=2.0).data
    assert made.min() >= -1
    assert made.max() <= 2
    assert made.mean() > 0.3


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (4, 2, 3), (3, 3), (0, 4)])
def test_orthogonal_rows(shape):
    made = init.orthogonal_(weight(*shape), gain=2.0).data.reshape(shape[0], math.prod(shape[1:]))
    products = made @ made.T if made.shape[0] <= made.shape[1] else made.T @ made
    np.testing.assert_allclose(products, 4 * np.eye(len(products)), atol=1e-5)


def test_constants():
    np.testing.assert_array_equal(init.zeros_(weight(2)).data, 0)
    np.testing.assert_array_equal(init.ones_(weight(2)).data, 1)
    np.testing.assert_array_equal(init.constant_(weight(2), 3).data, 3)
    np.testing.assert_array_equal(init.eye_(weight(2, 3)).data, np.eye(2, 3))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="a weight must have 2 axes or more"):
        init.xavier_normal_(weight(3))
    with pytest.raises(ValueError, match="eye_: the tensor must have 2 axes"):
        init.eye_(weight(3))
    with pytest.raises(ValueError, match="orthogonal_: the tensor must have 2 axes"):
        init.orthogonal_(weight(3))
    with pytest.raises(ValueError, match="unknown nonlinearity 'relu6'"):
        init.calculate_gain("relu6")
    with pytest.raises(ValueError, match="mode must be"):
        init.kaiming_normal_(weight(3, 3), mode="fan_avg")
    with pytest.raises(ValueError, match="std must be"):
        init.normal_(weight(3), std=-1)
    with pytest.raises(ValueError, match="a must be below b"):
        init.trunc_normal_(weight(3), a=2, b=1)
    with pytest.raises(ValueError, match="too far from the mean"):
        init.trunc_normal_(weight(3), a=100, b=101)
