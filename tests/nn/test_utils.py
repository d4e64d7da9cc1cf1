"""Clipping of gradients."""

from __future__ import annotations

import numpy as np
import pytest

from firth.nn.module import Parameter
from firth.nn.utils import clip_grad_norm_, clip_grad_value_


def parameter(*gradient: float) -> Parameter:
    made = Parameter(np.zeros(len(gradient)))
    made.grad = np.array(gradient, np.float64)
    return made


def test_norm(backend):
    p, q, without = parameter(3, 0), parameter(4), Parameter(np.zeros(2))
    assert clip_grad_norm_([p, q, without], 10.0) == 5
    np.testing.assert_array_equal(p.grad, [3, 0])
    assert clip_grad_norm_([p, q], 1.0) == 5
    np.testing.assert_allclose([*p.grad, *q.grad], [0.6, 0, 0.8], rtol=1e-6)
    assert clip_grad_norm_(p, 1.0) == pytest.approx(0.6, rel=1e-6)


def test_value():
    p = parameter(-3, 0.5, 2)
    clip_grad_value_([p, Parameter(np.zeros(2))], 1.0)
    np.testing.assert_array_equal(p.grad, [-1, 0.5, 1])
    clip_grad_value_(p, 0.25)
    np.testing.assert_array_equal(p.grad, [-0.25, 0.25, 0.25])


def test_what_cannot_be_clipped_is_refused():
    p = parameter(np.nan, 1)
    with pytest.raises(RuntimeError, match="the norm of the gradients is nan"):
        clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(p.grad, [np.nan, 1])
    with pytest.raises(ValueError, match="norm_type must be 2, got 1"):
        clip_grad_norm_(p, 1.0, norm_type=1)
    with pytest.raises(ValueError, match="max_norm must be"):
        clip_grad_norm_(p, -1.0)
    with pytest.raises(ValueError, match="clip_value must be"):
        clip_grad_value_(p, -1.0)
