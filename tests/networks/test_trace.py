"""`Perceptron.trace` against the course's calculation by hand."""

from __future__ import annotations

import numpy as np
import pytest

from firth import Perceptron

INPUTS = [[0, 0], [0, 1], [1, 0], [1, 1]]
AND, XOR = [0, 0, 0, 1], [0, 1, 1, 0]


def by_hand(**options):
    neuron = Perceptron(eta0=0.1, shuffle=False, **options)
    return neuron.trace(INPUTS, AND, coef_init=[0.3, -0.1], intercept_init=0.2)


def test_the_hand_calculation():
    trace = by_hand()
    # epoch, z, output, error, w1, w2, b of each step, worked with pencil and paper
    steps = [
        (1, 0.2, 1, -1, 0.3, -0.1, 0.1),
        (1, 0.0, 1, -1, 0.3, -0.2, 0.0),
        (1, 0.3, 1, -1, 0.2, -0.2, -0.1),
        (1, -0.1, 0, 1, 0.3, -0.1, 0.0),
        (2, 0.0, 1, -1, 0.3, -0.1, -0.1),
        (2, -0.2, 0, 0, 0.3, -0.1, -0.1),
        (2, 0.2, 1, -1, 0.2, -0.1, -0.2),
        (2, -0.1, 0, 1, 0.3, 0.0, -0.1),
        (3, -0.1, 0, 0, 0.3, 0.0, -0.1),
        (3, -0.1, 0, 0, 0.3, 0.0, -0.1),
        (3, 0.2, 1, -1, 0.2, 0.0, -0.2),
        (3, 0.0, 1, 0, 0.2, 0.0, -0.2),
        (4, -0.2, 0, 0, 0.2, 0.0, -0.2),
        (4, -0.2, 0, 0, 0.2, 0.0, -0.2),
        (4, 0.0, 1, -1, 0.1, 0.0, -0.3),
        (4, -0.2, 0, 1, 0.2, 0.1, -0.2),
        (5, -0.2, 0, 0, 0.2, 0.1, -0.2),
        (5, -0.1, 0, 0, 0.2, 0.1, -0.2),
        (5, 0.0, 1, -1, 0.1, 0.1, -0.3),
        (5, -0.1, 0, 1, 0.2, 0.2, -0.2),
        (6, -0.2, 0, 0, 0.2, 0.2, -0.2),
        (6, 0.0, 1, -1, 0.2, 0.1, -0.3),
        (6, -0.1, 0, 0, 0.2, 0.1, -0.3),
        (6, 0.0, 1, 0, 0.2, 0.1, -0.3),
        (7, -0.3, 0, 0, 0.2, 0.1, -0.3),
        (7, -0.2, 0, 0, 0.2, 0.1, -0.3),
        (7, -0.1, 0, 0, 0.2, 0.1, -0.3),
        (7, 0.0, 1, 0, 0.2, 0.1, -0.3),
    ]
    got = [(s.epoch, s.z, s.output, s.error, *s.coef, s.intercept) for s in trace]
    assert got == steps
    assert [s.x for s in trace][:4] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [s.target for s in trace] == AND * 7
    assert trace.converged
    assert trace.repeats is None
    # as the course states them
    assert (trace[3].coef, trace[3].intercept) == ((0.3, -0.1), 0)
    assert (trace[5].coef, trace[5].intercept) == ((0.3, -0.1), -0.1)


def test_the_table():
    lines = str(by_hand(max_iter=1)).splitlines()
    assert lines == [
        "epoch  sample  x1  x2  target     z  output  error   w1    w2     b",
        "                                                    0.3  -0.1   0.2",
        "    1       0   0   0       0   0.2       1     -1  0.3  -0.1   0.1",
        "    1       1   0   1       0     0       1     -1  0.3  -0.2     0",
        "    1       2   1   0       0   0.3       1     -1  0.2  -0.2  -0.1",
        "    1       3   1   1       1  -0.1       0     +1  0.3  -0.1     0",
    ]


def test_xor_repeats_itself():
    """After finitely many epochs the weights are old ones: from there on it goes in a circle."""
    trace = Perceptron(eta0=0.1, shuffle=False).trace(INPUTS, XOR)
    assert not trace.converged
    ends = [(0, 0, 0)] + [(*step.coef, step.intercept) for step in trace[3::4]]
    assert ends[-1] == ends[trace.repeats]
    assert len(set(ends)) == len(ends) - 1
    assert any(step.error for step in trace[4 * trace.repeats :])


def test_the_order_of_fit():
    """Shuffled, samples come as `fit` takes them."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(-9, 10, (12, 3)), rng.integers(2, size=12)
    model = Perceptron(random_state=3, max_iter=1, tol=None)
    trace = model.trace(X, y, intercept_init=0.5)  # so that z is never 0
    model.fit(X, y, intercept_init=0.5)
    assert sorted(step.sample for step in trace) == list(range(12))
    assert [step.sample for step in trace] != list(range(12))
    assert trace[-1].coef == tuple(model.coef_[0])
    assert trace[-1].intercept == model.intercept_[0]
    assert all(step.z for step in trace)


def test_nothing_is_kept():
    neuron = Perceptron()
    neuron.trace(INPUTS, AND)
    assert set(vars(neuron)) == set(neuron.get_params())
    same = Perceptron(fit_intercept=False, max_iter=3).trace(INPUTS, AND)
    assert {step.intercept for step in same} == {0}
    assert len(same) == 12


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([0, 1, 2, 0], {}, "y must have two classes, got 3"),
        (AND[:2], {}, "inconsistent numbers of samples"),
        (AND, {"coef_init": [1.0]}, "does not match dataset"),
        (AND, {"intercept_init": [1.0, 2.0]}, "does not match dataset"),
        (AND, {"coef_init": [1.0, np.nan]}, "coef_init contains NaN"),
    ],
)
def test_refused(y, options, message):
    with pytest.raises(ValueError, match=message):
        Perceptron().trace(INPUTS, y, **options)
