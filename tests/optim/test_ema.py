"""Averages of weights."""

from __future__ import annotations

import numpy as np
import pytest

from firth.nn.modules.linear import Linear
from firth.optim import ExponentialMovingAverage


def test_means_and_the_module_that_has_them():
    model = Linear(2, 1, bias=False, dtype=np.float64)
    array = model.weight.data
    array[...] = 1
    means = ExponentialMovingAverage(model, 0.75)
    for value in (5.0, 9.0):
        array[...] = value
        means.update()
    wanted = 0.75 * (0.75 * 1 + 0.25 * 5) + 0.25 * 9
    with means.applied():
        np.testing.assert_allclose(array, wanted)
    np.testing.assert_array_equal(array, 9)
    with pytest.raises(ZeroDivisionError), means.applied():
        1 / 0  # noqa: B018
    np.testing.assert_array_equal(array, 9)
    other = ExponentialMovingAverage(model)
    other.load_state_dict(means.state_dict())
    np.testing.assert_allclose(other.state_dict()["weight"], wanted)
    assert model.weight.data is array


def test_what_does_not_fit_is_refused():
    model = Linear(2, 1)
    with pytest.raises(ValueError, match="decay must be"):
        ExponentialMovingAverage(model, 1.5)
    means = ExponentialMovingAverage(model)
    with pytest.raises(ValueError, match="weight must have shape"):
        means.load_state_dict({"weight": np.ones(3), "bias": np.ones(1)})
    with pytest.raises(KeyError):
        means.load_state_dict({"weight": np.ones((1, 2))})
