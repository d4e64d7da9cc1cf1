from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import check_updates, update_tolerance
from firth.kernels import cbow_negative_sampling

WORDS = 40


def make(dim, rows, negative, width, shared, seed=0, scale=0.25):
    """Weights and a batch with words and negatives repeated, some negatives equal to centres."""
    rng = np.random.default_rng(seed)
    w_in = (scale * rng.standard_normal((WORDS, dim))).astype(np.float32)
    w_out = (scale * rng.standard_normal((WORDS, dim))).astype(np.float32)
    centers = rng.integers(0, 8, rows)
    contexts = rng.integers(0, 8, (rows, width))
    contexts[rng.random((rows, width)) < 0.2] = -1
    return (
        w_in,
        w_out,
        centers,
        contexts,
        rng.integers(0, 8, negative if shared else (rows, negative)),
    )


def tolerance(w_in, w_out, batch, rate, mean):
    """Rows that meet are no longer than a window's mean or sum.

    A row of w_in takes the changes of all outputs as often as it occurs, one of w_out a step for
    each window of a group.
    """
    centers, contexts, negatives = batch
    rows = [w_in[c[c >= 0]] for c in contexts]
    sums = [r.sum(0) / (max(1, len(r)) if mean else 1) for r in rows]
    length = max(np.linalg.norm(row) for row in (*sums, *w_in, *w_out))
    largest = max(np.abs(part).max() for part in (*sums, w_in, w_out))
    windows = np.bincount(centers, minlength=WORDS)
    drawn = np.bincount(negatives.ravel(), minlength=WORDS)
    updates = max(
        np.bincount(contexts[contexts >= 0], minlength=1).max() * (1 + negatives.shape[-1]),
        (windows + drawn * (len(centers) if negatives.ndim == 1 else 1)).max(),
    )
    return update_tolerance(length, largest, updates, rate)


def check(w_in, w_out, batch, rate, mean=True, **weight):
    """The batch against the reference in float64."""
    ours = w_in.copy(), w_out.copy()
    loss = cbow_negative_sampling(*ours, *batch, rate, mean, **weight)
    losses = []

    def reference(rate):
        want = w_in.astype(np.float64), w_out.astype(np.float64)
        losses.append(cbow_negative_sampling.reference(*want, *batch, rate, mean, **weight))
        return want

    bound = tolerance(*reference(rate), batch, rate, mean)
    check_updates(ours, reference, rate, bound)
    # each of the batch's scores errs by about D bounds; the loss has slope <= 1 in each
    scores = len(batch[0]) * (1 + batch[2].shape[-1])
    assert abs(loss - losses[0]) <= scores * (bound * w_in.shape[1] + 1e-6 * abs(losses[0]))


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("width", [1, 2, 5, 10])
@pytest.mark.parametrize("dim", [1, 3, 7, 8, 16, 17, 31, 33, 64, 97, 100])
def test_against_reference(backend, dim, width, shared, mean):
    scale = 0.25 if mean else 0.05
    w_in, w_out, *batch = make(dim, 3, 5, width, shared, seed=dim, scale=scale)
    check(w_in, w_out, batch, 0.05, mean)


@pytest.mark.parametrize("negative", [0, 1, 4, 5, 6, 7, 11, 12, 20])
@pytest.mark.parametrize("shared", [True, False])
def test_numbers_of_negatives(backend, negative, shared):
    w_in, w_out, *batch = make(50, 3, negative, 7, shared, seed=negative)
    check(w_in, w_out, batch, 0.05)


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 15, 16, 17, 40])
def test_sizes_of_groups(backend, rows):
    """Windows of a group with one centre see each other's step on it; negatives count half."""
    w_in, w_out, *batch = make(33, rows, 10, 4, True, seed=rows, scale=0.1)
    check(w_in, w_out, batch, 0.05, weight=0.5)
    one, two = w_out.copy(), w_out.copy()
    cbow_negative_sampling(w_in.copy(), one, *batch, 0.02, weight=0.5)
    cbow_negative_sampling(w_in.copy(), two, *batch, 0.02)
    assert np.abs(one - two).max() > 100 * np.finfo(np.float32).eps


def test_padded_rows_and_canaries(backend):
    """Rows with a stride: nothing between them is touched."""
    for shared in (True, False):
        whole_in, whole_out = np.full((WORDS, 40), 7.0, np.float32), np.full((WORDS, 37), 7.0, "f4")
        w_in, w_out, *batch = make(33, 6, 5, 4, shared)
        view_in, view_out = whole_in[:, :33], whole_out[:, :33]
        view_in[:], view_out[:] = w_in, w_out
        cbow_negative_sampling(view_in, view_out, *batch, 0.05)
        cbow_negative_sampling(w_in, w_out, *batch, 0.05)
        assert_array_equal(view_in, w_in)
        assert_array_equal(view_out, w_out)
        assert (whole_in[:, 33:] == 7).all()
        assert (whole_out[:, 33:] == 7).all()


def test_large_scores(backend):
    """Independent: no update at |score| >= 6. Shared: the step that the formula gives."""
    for score in (6.0, 7.0, 100.0, -6.0, -100.0):
        w_in, w_out = np.ones((1, 1), np.float32), np.full((1, 1), score, np.float32)
        cbow_negative_sampling(w_in, w_out, [0], [[0, 0]], np.zeros((1, 0), np.int64), 0.5)
        assert w_in[0, 0] == 1
        assert w_out[0, 0] == np.float32(score)
        none = np.zeros(0, np.int64)
        loss = cbow_negative_sampling(w_in, w_out, [0], [[0, 0]], none, 0.5)
        assert loss == pytest.approx(np.logaddexp(0, -score), rel=1e-5, abs=1e-30)
        step = 0.5 * (1 - 1 / (1 + np.exp(-score)))
        # both contexts are the one row; one rounding of the step (4 eps) and one of each sum
        assert w_in[0, 0] == pytest.approx(1 + 2 * step * score, rel=10 * 2.0**-23)


def test_nan_reaches_the_rows_it_meets(backend):
    for shared in (True, False):
        w_in, w_out, centers, contexts, negatives = make(20, 1, 0, 2, shared, seed=3)
        contexts[...] = [[1, 2]]
        w_in[1] = np.nan
        loss = cbow_negative_sampling(w_in, w_out, centers, contexts, negatives, 0.1)
        assert np.isnan(loss)
        assert np.isnan(w_out[centers[0]]).all()
        assert np.isnan(w_in[2]).all()
        assert np.isfinite(np.delete(w_out, centers[0], axis=0)).all()


def test_empty_batch(backend):
    w_in, w_out, *_ = make(8, 1, 1, 1, True)
    before, before_out = w_in.copy(), w_out.copy()
    none = np.zeros((0, 3), np.int64)
    assert cbow_negative_sampling(w_in, w_out, [], none, none, 0.1) == 0
    assert cbow_negative_sampling(w_in, w_out, [], none, [1, 2], 0.1) == 0
    assert cbow_negative_sampling(w_in, w_out, [3], [[-1, -1]], [[1]], 0.1) == 0
    assert cbow_negative_sampling(w_in, w_out, [3], [[-1, -1]], [1], 0.1) == 0
    assert cbow_negative_sampling(w_in, w_out, [3], np.zeros((1, 0), np.int64), [1], 0.1) == 0
    assert_array_equal(w_in, before)
    assert_array_equal(w_out, before_out)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"w_in": np.zeros((4, 3))}, TypeError, "w_in must be float32"),
        ({"w_in": np.zeros((4, 2), np.float32)}, ValueError, "equal D"),
        ({"w_in": np.zeros((4, 6), np.float32)[:, ::2]}, ValueError, "contiguous rows"),
        ({"centers": [4]}, IndexError, r"centers must be in \[0, 4\), got 4"),
        ({"contexts": [[-2]]}, IndexError, r"contexts must be in \[-1, 4\)"),
        ({"contexts": [1]}, ValueError, "want centers"),
        ({"negatives": [[0.5]]}, TypeError, "negatives must be integers"),
        ({"negatives": [4]}, IndexError, r"negatives must be in \[0, 4\), got 4"),
        ({"negatives": [[0], [1]]}, ValueError, "want centers"),
        ({"centers": [0, 1]}, ValueError, "want centers"),
        ({"learning_rate": np.nan}, ValueError, "learning_rate must be finite"),
        ({"weight": np.inf, "negatives": [2]}, ValueError, "weight must be finite"),
        ({"weight": 0.5}, ValueError, "weight must be 1"),
    ],
)
def test_errors_come_before_any_change(change, error, text):
    arguments = {
        "w_in": np.ones((4, 3), np.float32), "w_out": np.ones((4, 3), np.float32),
        "centers": [0], "contexts": [[1]], "negatives": [[2]], "learning_rate": 0.1,
    } | change  # fmt: skip
    with pytest.raises(error, match=text):
        cbow_negative_sampling(**arguments)
    assert (arguments["w_out"] == 1).all()


def test_overlap_and_read_only_are_refused():
    w = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="cbow_negative_sampling: w_in and w_out overlap"):
        cbow_negative_sampling(w, w, [0], [[1]], [[2]], 0.1)
    other = np.ones((4, 3), np.float32)
    other.flags.writeable = False
    with pytest.raises(ValueError, match="w_out must be writeable"):
        cbow_negative_sampling(w, other, [0], [[1]], [[2]], 0.1)
