from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import check_updates, update_tolerance
from firth.kernels import skipgram_negative_sampling

WORDS = 40


def make(dim, rows, negative, width=None, seed=0, scale=0.25):
    """Weights and a batch with words and negatives repeated, some negatives equal to centres."""
    rng = np.random.default_rng(seed)
    w_in = (scale * rng.standard_normal((WORDS, dim))).astype(np.float32)
    w_out = (scale * rng.standard_normal((WORDS, dim))).astype(np.float32)
    centers = rng.integers(0, 8, rows)
    negatives = rng.integers(0, 8, (rows, negative))
    if width is None:
        return w_in, w_out, centers, rng.integers(0, 8, rows), negatives
    contexts = rng.integers(0, 8, (rows, width))
    contexts[rng.random((rows, width)) < 0.2] = -1
    return w_in, w_out, centers, contexts, negatives


def tolerance(w_in, w_out, batch, rate):
    """A context gets a step of each output as often as it occurs, an output one of each context."""
    centers, contexts, negatives = batch
    width = contexts[0].size
    updates = max(
        np.bincount(contexts[contexts >= 0], minlength=1).max() * (1 + negatives.shape[1]),
        np.bincount([*centers, *negatives.ravel()]).max() * width,
    )
    length = max(np.linalg.norm(w, axis=1).max() for w in (w_in, w_out))
    return update_tolerance(length, max(np.abs(w_in).max(), np.abs(w_out).max()), updates, rate)


def check(w_in, w_out, batch, rate):
    """The batch against the reference in float64."""
    ours = w_in.copy(), w_out.copy()
    loss = skipgram_negative_sampling(*ours, *batch, rate)
    losses = []

    def reference(rate):
        want = w_in.astype(np.float64), w_out.astype(np.float64)
        losses.append(skipgram_negative_sampling.reference(*want, *batch, rate))
        return want

    bound = tolerance(*reference(rate), batch, rate)
    check_updates(ours, reference, rate, bound)
    # each of the batch's scores errs by about D bounds; the loss has slope <= 1 in each
    scores = batch[1].size * (1 + batch[2].shape[1])
    assert abs(loss - losses[0]) <= scores * (bound * w_in.shape[1] + 1e-6 * abs(losses[0]))


@pytest.mark.parametrize("width", [None, 1, 2, 3, 5, 10])
@pytest.mark.parametrize("dim", [1, 3, 7, 8, 16, 17, 31, 32, 33, 64, 97, 100, 112])
def test_against_reference(backend, dim, width):
    w_in, w_out, *batch = make(dim, 3, 5, width, seed=dim)
    check(w_in, w_out, batch, 0.05)


@pytest.mark.parametrize("negative", [0, 1, 4, 5, 6, 7, 11, 12, 20])
@pytest.mark.parametrize("width", [None, 7])
def test_numbers_of_negatives(backend, negative, width):
    w_in, w_out, *batch = make(50, 3, negative, width, seed=negative)
    check(w_in, w_out, batch, 0.05)


def test_padded_rows_and_canaries(backend):
    """Rows with a stride: nothing between them is touched."""
    whole_in, whole_out = np.full((2, WORDS, 40), 7.0, np.float32)
    w_in, w_out, *batch = make(33, 6, 5, 4)
    view_in, view_out = whole_in[:, :33], whole_out[:, :33]
    view_in[:], view_out[:] = w_in, w_out
    skipgram_negative_sampling(view_in, view_out, *batch, 0.05)
    skipgram_negative_sampling(w_in, w_out, *batch, 0.05)
    assert_array_equal(view_in, w_in)
    assert_array_equal(view_out, w_out)
    assert (whole_in[:, 33:] == 7).all()
    assert (whole_out[:, 33:] == 7).all()


def test_large_scores(backend):
    """Independent: no update at |score| >= 6. Shared: the step that the formula gives."""
    for score in (6.0, 7.0, 100.0, -6.0, -100.0):
        w_in, w_out = np.ones((1, 1), np.float32), np.full((1, 1), score, np.float32)
        none = np.zeros((1, 0), np.int64)
        skipgram_negative_sampling(w_in, w_out, [0], [0], none, 0.5)
        assert w_in[0, 0] == 1
        assert w_out[0, 0] == np.float32(score)
        loss = skipgram_negative_sampling(w_in, w_out, [0], [[0]], none, 0.5)
        assert loss == pytest.approx(np.logaddexp(0, -score), rel=1e-5, abs=1e-30)
        step = 0.5 * (1 - 1 / (1 + np.exp(-score)))
        # one rounding of the step (4 eps) and one of the sum
        assert w_in[0, 0] == pytest.approx(1 + step * score, rel=8 * 2.0**-23)


def test_nan_reaches_the_rows_it_meets(backend):
    for width in (None, 2):
        w_in, w_out, centers, contexts, negatives = make(20, 1, 0, width, seed=3)
        contexts[...] = 1
        w_in[1] = np.nan
        loss = skipgram_negative_sampling(w_in, w_out, centers, contexts, negatives, 0.1)
        assert np.isnan(loss)
        assert np.isnan(w_out[centers[0]]).all()
        assert np.isfinite(np.delete(w_out, centers[0], axis=0)).all()


def test_empty_batch(backend):
    w_in, w_out, *_ = make(8, 1, 1)
    before = w_in.copy()
    none = np.zeros((0, 3), np.int64)
    assert skipgram_negative_sampling(w_in, w_out, [], [], none, 0.1) == 0
    assert skipgram_negative_sampling(w_in, w_out, [], none, none, 0.1) == 0
    assert skipgram_negative_sampling(w_in, w_out, [3], [[-1, -1]], [[1]], 0.1) == 0
    assert_array_equal(w_in, before)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"w_in": np.zeros((4, 3))}, TypeError, "w_in must be float32"),
        ({"w_in": np.zeros((4, 2), np.float32)}, ValueError, "equal D"),
        ({"w_in": np.zeros((4, 6), np.float32)[:, ::2]}, ValueError, "contiguous rows"),
        ({"centers": [4]}, IndexError, r"centers must be in \[0, 4\), got 4"),
        ({"contexts": [-1]}, IndexError, r"contexts must be in \[0, 4\), got -1"),
        ({"contexts": [[-2]]}, IndexError, r"contexts must be in \[-1, 4\)"),
        ({"negatives": [[0.5]]}, TypeError, "negatives must be integers"),
        ({"negatives": [0]}, ValueError, "negatives"),
        ({"centers": [0, 1]}, ValueError, "want centers"),
        ({"learning_rate": np.nan}, ValueError, "finite"),
    ],
)
def test_errors_come_before_any_change(change, error, text):
    arguments = {
        "w_in": np.ones((4, 3), np.float32), "w_out": np.ones((4, 3), np.float32),
        "centers": [0], "contexts": [1], "negatives": [[2]], "learning_rate": 0.1,
    } | change  # fmt: skip
    with pytest.raises(error, match=text):
        skipgram_negative_sampling(**arguments)
    assert (arguments["w_out"] == 1).all()


def test_overlap_and_read_only_are_refused():
    w = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="overlap"):
        skipgram_negative_sampling(w, w, [0], [1], [[2]], 0.1)
    other = np.ones((4, 3), np.float32)
    other.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        skipgram_negative_sampling(w, other, [0], [1], [[2]], 0.1)


@pytest.mark.parametrize("strides", [(9, 4), (4, 9)])
def test_matrices_with_different_row_strides(backend, strides):
    rng = np.random.default_rng(3)
    bases = [rng.standard_normal((12, stride)).astype(np.float32) for stride in strides]
    wanted = [base[:, :4].copy() for base in bases]
    loss = skipgram_negative_sampling.reference(*wanted, [1, 11], [5, 6], [[7, 8], [9, 10]], 0.1)
    before = [base[:, 4:].copy() for base in bases]
    got = skipgram_negative_sampling(
        *[base[:, :4] for base in bases], [1, 11], [5, 6], [[7, 8], [9, 10]], 0.1
    )
    assert got == pytest.approx(loss, rel=1e-5)
    for base, want, rest in zip(bases, wanted, before, strict=True):
        np.testing.assert_allclose(base[:, :4], want, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(base[:, 4:], rest)
