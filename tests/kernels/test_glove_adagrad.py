from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from firth.kernels import glove_adagrad

WORDS = 12
RSQRT = 4e-7  # relative error of the native 1 / sqrt, as isa/generic.h states it


def make(dim, records, seed=0, scale=0.3):
    """States and a batch in which rows meet again and again, some of them on the diagonal."""
    rng = np.random.default_rng(seed)
    words, contexts = (
        np.stack(
            [
                scale * rng.standard_normal((WORDS, dim + 1)),
                1 + rng.random((WORDS, dim + 1)) * 20,
            ],
            axis=1,
        ).astype(np.float32)
        for _ in range(2)
    )
    rows, columns = rng.integers(0, WORDS, (2, records))
    rows[::5] = columns[::5]
    log_counts = np.log(1 + 50 * rng.random(records)).astype(np.float32)
    weights = rng.random(records).astype(np.float32)
    return words, contexts, rows, columns, log_counts, weights


def tolerance(before, after, records, dim, rate):
    """Bound on the difference from the float64 reference after a batch.

    A product of D terms errs by D eps |w||c|, so diff errs by that and the rounding of its other
    terms; a step (rate * gradient / sqrt(S), S >= 1) by rate * |w|_max times the error of diff,
    plus the relative errors of 1 / sqrt and of four roundings. A row meets at most all records, and
    an earlier error e enters a later diff times sqrt(D) |w|, so it grows by at most
    1 + rate |w|^2 sqrt(D) each time: below a factor of 4 for these sizes. Biases step with rate 1
    and component 1. Sums of squares err by twice the gradient times its error.
    """
    eps = float(np.finfo(np.float32).eps)
    largest = max(np.abs(before).max(), np.abs(after[:, 0]).max(), 1.0)
    length = np.sqrt(dim) * largest
    diff = length**2 + 2 * largest + 5
    diff_error = (dim + 4) * eps * diff
    step_error = max(rate * largest, 1.0) * (diff_error + (RSQRT + 4 * eps) * diff)
    return 4 * records * step_error * max(1.0, 2 * diff)


@pytest.mark.parametrize("dim", [1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 64, 97, 100, 112, 300])
def test_against_reference(backend, dim):
    # One record first, where the bound is tight, then a batch.
    for records in (1, 40):
        words, contexts, *batch = make(dim, records, seed=dim, scale=dim**-0.5)
        ours, want = (words.copy(), contexts.copy()), (words.astype(float), contexts.astype(float))
        cost = glove_adagrad(*ours, *batch, 0.05)
        expected = glove_adagrad.reference(*want, *batch, 0.05)
        for got, wanted, old in zip(ours, want, (words, contexts), strict=True):
            bound = tolerance(old[:, 0], wanted, records, dim, 0.05)
            assert np.abs(got - wanted).max() <= bound
            vectors = np.abs(
                wanted[batch[0 if old is words else 1]] - old[batch[0 if old is words else 1]]
            )
            assert vectors.max() > 1e-3
        eps = float(np.finfo(np.float32).eps)
        assert abs(cost - expected) <= 40 * (dim + 8) * eps * expected
        assert expected > 0


def test_every_lane_moves(backend):
    """No dimension is left out, and each by its own gradient: a tight bound lane by lane."""
    for dim in (5, 19, 100):
        words, contexts, *_ = make(dim, 1, seed=3)
        old_words, old_contexts = words.copy(), contexts.copy()
        glove_adagrad(words, contexts, [2], [5], [1.5], [0.7], 0.05)
        w, c = old_words[2].astype(float), old_contexts[5].astype(float)
        step = 0.7 * (w[0, :-1] @ c[0, :-1] + w[0, -1] + c[0, -1] - 1.5)
        for state, own, other in ((words[2], w, c), (contexts[5], c, w)):
            gradient = np.append(0.05 * step * other[0, :-1], step)
            assert np.abs(gradient).min() > 0
            eps = float(np.finfo(np.float32).eps)
            # diff errs by (D + 4) eps of its terms, the rest by some roundings and 1 / sqrt
            relative = (dim + 4) * eps * 4 * np.sqrt(dim) / abs(step) + RSQRT + 6 * eps
            moved = np.abs(gradient) * relative
            np.testing.assert_array_less(
                np.abs(state[0] - (own[0] - gradient / np.sqrt(own[1]))),
                moved + eps * np.abs(own[0]) + 1e-9,
            )
            np.testing.assert_array_less(
                np.abs(state[1] - (own[1] + gradient**2)),
                2 * np.abs(gradient) * moved + eps * own[1] + 1e-9,
            )
        untouched = np.arange(WORDS) != 2
        assert_array_equal(words[untouched], old_words[untouched])


def test_clip(backend):
    """Components beyond the clip step by exactly clip * rate / sqrt(S); biases are not clipped."""
    words, contexts = (np.ones((1, 2, 20), np.float32) for _ in range(2))
    words[0, 0, :4] = 1e4
    old = contexts.copy()
    glove_adagrad(words, contexts, [0], [0], [0.0], [1.0], 0.1, 2.0)
    eps = float(np.finfo(np.float32).eps)
    assert np.abs(contexts[0, 0, :-1] - (old[0, 0, :-1] - 0.2)).max() <= 4 * eps + 0.2 * RSQRT
    assert contexts[0, 0, -1] < -1e4


def test_padded_rows_and_canaries(backend):
    """Rows and planes with strides: nothing between them is touched, and results are the same."""
    words, contexts, *batch = make(33, 30)
    whole = np.full((2, WORDS, 3, 40), 7.0, np.float32)
    views = whole[0, :, :2, :34], whole[1, :, :2, :34]
    views[0][:], views[1][:] = words, contexts
    glove_adagrad(*views, *batch)
    glove_adagrad(words, contexts, *batch)
    assert_array_equal(views[0], words)
    assert_array_equal(views[1], contexts)
    assert (whole[:, :, 2] == 7).all()
    assert (whole[:, :, :, 34:] == 7).all()


def test_empty_batch_and_nan(backend):
    words, contexts, *_ = make(10, 1)
    old = words.copy()
    assert glove_adagrad(words, contexts, [], [], [], []) == 0
    assert_array_equal(words, old)
    words[1, 0, 3] = np.nan
    assert np.isnan(glove_adagrad(words, contexts, [1], [1], [0.0], [1.0]))
    assert np.isnan(contexts[1, 0]).any()


def test_bad_arguments():
    words, contexts, *batch = make(4, 3)
    before = words.copy(), contexts.copy()
    rows, columns, log_counts, weights = batch
    cases = [
        (TypeError, "words must be float32", (words.astype(float), contexts, *batch)),
        (TypeError, "rows must be integers", (words, contexts, rows + 0.5, *batch[1:])),
        (ValueError, r"words must have shape \(V, 2, D \+ 1\)", (words[:, 0], contexts, *batch)),
        (ValueError, "one D", (words, contexts[:, :, :3], *batch)),
        (ValueError, "contiguous", (words[:, ::-1], contexts, *batch)),
        (ValueError, "overlap", (words, words, *batch)),
        (
            IndexError, r"columns must be in \[0, 12\), got 12",
            (words, contexts, rows, columns * 0 + 12, log_counts, weights),
        ),
        (ValueError, r"must be \(B,\)", (words, contexts, rows, columns, log_counts[:2], weights)),
        (
            ValueError, "weights must be finite",
            (words, contexts, rows, columns, log_counts, weights * np.inf),
        ),
        (ValueError, "learning_rate must be positive", (words, contexts, *batch, 0.0)),
        (ValueError, "grad_clip must be positive", (words, contexts, *batch, 0.1, 0.0)),
    ]  # fmt: skip
    for error, message, arguments in cases:
        with pytest.raises(error, match=message):
            glove_adagrad(*arguments)
    frozen = words.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        glove_adagrad(frozen, contexts, *batch)
    assert_array_equal(words, before[0])
    assert_array_equal(contexts, before[1])
