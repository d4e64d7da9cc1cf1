from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import check_updates, update_tolerance
from firth.kernels import hierarchical_softmax

WORDS = 40


def make(dim, rows, length, width=None, seed=0, scale=0.25):
    """Weights and a batch whose paths begin at one root; words and nodes are repeated."""
    rng = np.random.default_rng(seed)
    w_in = (scale * rng.standard_normal((WORDS, dim))).astype(np.float32)
    w_tree = (scale * rng.standard_normal((WORDS - 1, dim))).astype(np.float32)
    paths = [rng.permutation(max(length, 8) - 1)[: length - 1] for _ in range(rows)]
    points = np.array([[0, *(1 + path)][:length] for path in paths], np.int64)
    points[:, 1:][rng.random((rows, max(0, length - 1))) < 0.2] = -1
    codes = rng.integers(0, 2, points.shape)
    codes[points < 0] = 77
    if width is None:
        return w_in, w_tree, points, codes, rng.integers(0, 8, rows)
    contexts = rng.integers(0, 8, (rows, width))
    contexts[rng.random((rows, width)) < 0.2] = -1
    return w_in, w_tree, points, codes, contexts


def tolerance(w_in, w_tree, batch, rate):
    """A word gets a step of each node as often as it occurs, a node one of each context."""
    points, _, contexts = batch
    updates = max(
        np.bincount(contexts[contexts >= 0], minlength=1).max() * points.shape[1],
        np.bincount(points[points >= 0]).max() * contexts[0].size,
    )
    length = max(np.linalg.norm(w, axis=1).max() for w in (w_in, w_tree))
    return update_tolerance(length, max(np.abs(w_in).max(), np.abs(w_tree).max()), updates, rate)


def check(w_in, w_tree, batch, rate):
    """The batch against the reference in float64."""
    ours = w_in.copy(), w_tree.copy()
    loss = hierarchical_softmax(*ours, *batch, rate)
    losses = []

    def reference(rate):
        want = w_in.astype(np.float64), w_tree.astype(np.float64)
        losses.append(hierarchical_softmax.reference(*want, *batch, rate))
        return want

    bound = tolerance(*reference(rate), batch, rate)
    check_updates(ours, reference, rate, bound)
    # each of the batch's scores errs by about D bounds; the loss has slope <= 1 in each
    scores = batch[0].shape[1] * batch[2].size
    assert abs(loss - losses[0]) <= scores * (bound * w_in.shape[1] + 1e-6 * abs(losses[0]))


@pytest.mark.parametrize("width", [None, 1, 2, 3, 5, 10])
@pytest.mark.parametrize("dim", [1, 3, 7, 8, 16, 17, 31, 32, 33, 64, 97, 100, 112])
def test_against_reference(backend, dim, width):
    w_in, w_tree, *batch = make(dim, 3, 6, width, seed=dim)
    check(w_in, w_tree, batch, 0.05)


@pytest.mark.parametrize("length", [1, 2, 5, 6, 7, 12, 13, 20, 38])
@pytest.mark.parametrize("width", [None, 7])
def test_lengths_of_paths(backend, length, width):
    w_in, w_tree, *batch = make(50, 3, length, width, seed=length)
    check(w_in, w_tree, batch, 0.05)


def test_padded_rows_and_canaries(backend):
    """Rows with a stride: nothing between them is touched."""
    for width in (None, 4):
        whole_in, whole_tree = np.full((WORDS, 40), 7, "f4"), np.full((WORDS - 1, 37), 7, "f4")
        w_in, w_tree, *batch = make(33, 6, 5, width)
        view_in, view_tree = whole_in[:, :33], whole_tree[:, :33]
        view_in[:], view_tree[:] = w_in, w_tree
        hierarchical_softmax(view_in, view_tree, *batch, 0.05)
        hierarchical_softmax(w_in, w_tree, *batch, 0.05)
        assert_array_equal(view_in, w_in)
        assert_array_equal(view_tree, w_tree)
        assert (whole_in[:, 33:] == 7).all()
        assert (whole_tree[:, 33:] == 7).all()


@pytest.mark.parametrize("code", [0, 1])
def test_large_scores(backend, code):
    """Independent: no update at |score| >= 6. Shared: the step that the formula gives."""
    for score in (6.0, 7.0, 100.0, -6.0, -100.0):
        w_in, w_tree = np.ones((1, 1), np.float32), np.full((1, 1), score, np.float32)
        hierarchical_softmax(w_in, w_tree, [[0]], [[code]], [0], 0.5)
        assert w_in[0, 0] == 1
        assert w_tree[0, 0] == np.float32(score)
        loss = hierarchical_softmax(w_in, w_tree, [[0]], [[code]], [[0]], 0.5)
        want = np.logaddexp(0, score if code else -score)
        assert loss == pytest.approx(want, rel=1e-5, abs=1e-30)
        step = 0.5 * (1 - code - 1 / (1 + np.exp(-score)))
        # one rounding of the step (4 eps) and one of the sum
        assert w_in[0, 0] == pytest.approx(1 + step * score, rel=8 * 2.0**-23, abs=8 * 2.0**-23)


def test_nan_reaches_the_rows_it_meets(backend):
    for width in (None, 2):
        w_in, w_tree, points, codes, contexts = make(20, 1, 4, width, seed=3)
        contexts[...] = 1
        w_in[1] = np.nan
        loss = hierarchical_softmax(w_in, w_tree, points, codes, contexts, 0.1)
        path = points[points >= 0]
        assert np.isnan(loss)
        assert np.isnan(w_tree[path]).all()
        assert np.isfinite(np.delete(w_tree, path, axis=0)).all()


def test_empty_batch(backend):
    w_in, w_tree, *_ = make(8, 1, 1)
    before, before_tree = w_in.copy(), w_tree.copy()
    none = np.zeros((0, 3), np.int64)
    assert hierarchical_softmax(w_in, w_tree, none, none, [], 0.1) == 0
    assert hierarchical_softmax(w_in, w_tree, none, none, none, 0.1) == 0
    assert hierarchical_softmax(w_in, w_tree, [[3]], [[0]], [[-1, -1]], 0.1) == 0
    assert hierarchical_softmax(w_in, w_tree, [[-1, -1]], [[0, 0]], [2], 0.1) == 0
    assert hierarchical_softmax(w_in, w_tree, [[-1, -1]], [[0, 0]], [[2]], 0.1) == 0
    path = np.zeros((1, 0), np.int64)
    assert hierarchical_softmax(w_in, w_tree, path, path, [2], 0.1) == 0
    assert_array_equal(w_in, before)
    assert_array_equal(w_tree, before_tree)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"w_in": np.zeros((4, 3))}, TypeError, "w_in must be float32"),
        ({"w_tree": np.zeros((3, 2), np.float32)}, ValueError, "w_in and w_tree must have equal D"),
        ({"points": [[0, 3]]}, IndexError, r"points must be in \[-1, 3\), got 3"),
        ({"points": [[1, 1]]}, ValueError, "points must be different on a path, got 1 twice"),
        ({"points": [0, 1]}, ValueError, "want points and codes"),
        ({"codes": [[0, 2]]}, IndexError, r"codes must be in \[0, 2\), got 2"),
        ({"codes": [[0, 0.5]]}, TypeError, "codes must be integers"),
        ({"codes": [[0]]}, ValueError, "want points and codes"),
        ({"contexts": [-1]}, IndexError, r"contexts must be in \[0, 4\), got -1"),
        ({"contexts": [[-2]]}, IndexError, r"contexts must be in \[-1, 4\)"),
        ({"contexts": [0, 1]}, ValueError, "want points and codes"),
        ({"learning_rate": np.nan}, ValueError, "finite"),
    ],
)
def test_errors_come_before_any_change(change, error, text):
    arguments = {
        "w_in": np.ones((4, 3), np.float32), "w_tree": np.ones((3, 3), np.float32),
        "points": [[0, 1]], "codes": [[0, 1]], "contexts": [1], "learning_rate": 0.1,
    } | change  # fmt: skip
    before = arguments["w_in"].copy()
    with pytest.raises(error, match=text):
        hierarchical_softmax(**arguments)
    assert_array_equal(arguments["w_in"], before)


def test_overlap_and_read_only_are_refused():
    w = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="w_in and w_tree overlap"):
        hierarchical_softmax(w, w, [[0]], [[1]], [2], 0.1)
    other = np.ones((4, 3), np.float32)
    other.flags.writeable = False
    with pytest.raises(ValueError, match="w_tree must be writeable"):
        hierarchical_softmax(w, other, [[0]], [[1]], [2], 0.1)
