"""`NearestNeighbors` against float64 by hand, and against scikit-learn where that is installed."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from firth import NearestNeighbors
from processes import printed

EPS = np.finfo(np.float64).eps


def by_hand(queries, rows, metric):
    """Distances (q, n) in float64 from differences (no cancellation), scaled to spare overflow."""
    queries, rows = np.asarray(queries, np.float64), np.asarray(rows, np.float64)
    if metric == "cosine":

        def unit(x):
            x = x / np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
            length = np.linalg.norm(x, axis=1, keepdims=True)
            return x / np.where(length > 0, length, 1)

        return np.clip(1 - unit(queries) @ unit(rows).T, 0, 2)
    scale = 2.0 ** np.frexp(np.abs(rows).max())[1]
    difference = queries[:, None] / scale - rows[None] / scale
    return np.sqrt((difference**2).sum(axis=2)) * scale


def tolerance(metric, d, distances):
    """Sums of d products in two orders; the cosine's are of numbers of at most 1; denormals."""
    return 4 * (d + 4) * EPS * (1 if metric == "cosine" else distances) + 1e-323


def check(near, queries, rows, metric, k):
    """Distances are the k smallest, each that of its index; equal ones are ordered by index."""
    distances, indices = near.kneighbors(queries, k)
    assert distances.dtype == np.float64
    assert indices.dtype == np.int64
    true = by_hand(queries, rows, metric)
    best = np.sort(true, axis=1)[:, :k]
    allowed = tolerance(metric, rows.shape[1], best)
    assert (np.abs(distances - best) <= allowed).all()
    assert (np.abs(np.take_along_axis(true, indices, axis=1) - best) <= allowed).all()
    same = distances[:, 1:] == distances[:, :-1]
    assert (indices[:, 1:] > indices[:, :-1])[same].all()
    assert (distances[:, 1:] >= distances[:, :-1]).all()
    assert all(len(set(row)) == k for row in indices.tolist())
    radius = float(np.median(best[:, -1]))
    for found, by, all_ in zip(*near.radius_neighbors(queries, radius), true, strict=True):
        assert (found <= radius).all()
        slack = tolerance(metric, rows.shape[1], radius)
        sure = np.flatnonzero(all_ < radius - slack)
        maybe = np.flatnonzero(all_ <= radius + slack)
        assert set(sure) <= set(by.tolist()) <= set(maybe)


def made(name, rng):
    """Rows (n, d) and queries that float32 alone would get wrong."""
    rows, queries = rng.standard_normal((2000, 6)), rng.standard_normal((40, 6))
    if name == "float32":
        return rows.astype(np.float32), queries.astype(np.float32)
    if name == "float64":
        return rows, queries
    if name == "wide":
        return rng.standard_normal((1500, 300)), rng.standard_normal((20, 300))
    if name == "far from zero":  # as times in seconds
        return rows + 1.7e9, queries + 1.7e9
    if name == "nearly the same":
        return 1 + 1e-9 * rows, 1 + 1e-9 * queries
    if name == "integers, many ties":
        return rng.integers(-3, 4, (2000, 3)), rng.integers(-3, 4, (40, 3))
    if name == "large":
        return rows * 1e300, queries * 1e300
    if name == "small":
        return rows * 1e-310, queries * 1e-310
    if name == "float32 near its limits":
        return (rows * 3e37).astype(np.float32), (queries * 3e37).astype(np.float32)
    if name == "float16":
        return (100 * rows).astype(np.float16), (100 * queries).astype(np.float16)
    if name == "queries far away":
        return rows, queries * 1e25
    if name == "zeros among them":
        rows[::7] = 0
        queries[::5] = 0
        return rows, queries
    raise AssertionError(name)


KINDS = [
    "float32", "float64", "wide", "far from zero", "nearly the same", "integers, many ties",
    "large", "small", "float32 near its limits", "float16", "queries far away", "zeros among them",
]  # fmt: skip


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_are_those_of_float64(kind, metric):
    rows, queries = made(kind, np.random.default_rng(3))
    near = NearestNeighbors(metric=metric).fit(rows)
    check(near, queries, rows, metric, 10)
    check(near, queries[:3], rows, metric, len(rows))


def test_float32_alone_would_not_do():
    """The data above are hard: rounded to float32 they have other neighbours."""
    for kind in ("far from zero", "nearly the same"):
        rows, queries = made(kind, np.random.default_rng(3))
        rounded = by_hand(queries.astype(np.float32), rows.astype(np.float32), "euclidean")
        found = NearestNeighbors().fit(rows).kneighbors(queries, 5, return_distance=False)
        assert (np.argsort(rounded, axis=1)[:, :5] != found).mean() > 0.5


def test_ties_come_by_index():
    rows = np.zeros((500, 2))
    rows[100] = 1e-300
    distances, indices = NearestNeighbors().fit(rows).kneighbors([[0.0, 0.0]], 300)
    assert indices.tolist() == [[*range(100), *range(101, 301)]]
    assert (distances == 0).all()


def test_own_row_is_no_neighbour():
    rows = np.array([[0.0], [1.0], [1.0], [1.0], [5.0]])
    near = NearestNeighbors(n_neighbors=1, radius=1.0).fit(rows)
    distances, indices = near.kneighbors()
    assert distances.ravel().tolist() == [1, 0, 0, 0, 4]
    assert indices.ravel().tolist() == [1, 2, 1, 2, 1]
    _, indices = near.radius_neighbors()
    assert [row.tolist() for row in indices] == [[1, 2, 3], [2, 3, 0], [1, 3, 0], [1, 2, 0], []]


def test_graphs():
    pytest.importorskip("scipy")
    near = NearestNeighbors(n_neighbors=2, radius=1.5).fit([[0.0], [3.0], [1.0]])
    graph = near.kneighbors_graph([[0.0], [3.0], [1.0]])
    assert graph.toarray().tolist() == [[1, 0, 1], [0, 1, 1], [1, 0, 1]]
    assert near.kneighbors_graph(mode="distance").toarray().tolist() == [
        [0, 3, 1], [3, 0, 2], [1, 2, 0],
    ]  # fmt: skip
    graph = near.radius_neighbors_graph(mode="distance")
    assert graph.toarray().tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    with pytest.raises(ValueError, match="Unsupported mode"):
        near.kneighbors_graph(mode="both")


def test_parameters_and_state():
    near = NearestNeighbors(n_neighbors=3, radius=0.5)
    assert near.get_params() == {
        "algorithm": "auto", "leaf_size": 30, "metric": "minkowski", "metric_params": None,
        "n_jobs": None, "n_neighbors": 3, "p": 2, "radius": 0.5,
    }  # fmt: skip
    assert repr(near) == "NearestNeighbors(n_neighbors=3, radius=0.5)"
    assert near.set_params(n_neighbors=4) is near
    assert near.n_neighbors == 4
    with pytest.raises(ValueError, match="Invalid parameter 'k'"):
        near.set_params(k=1)
    rows = np.random.default_rng(0).standard_normal((300, 4))
    near.fit(rows)
    assert near.effective_metric_ == "euclidean"
    assert (near.n_samples_fit_, near.n_features_in_) == (300, 4)
    expected = near.kneighbors(rows[:5])
    for other in (pickle.loads(pickle.dumps(near)), copy.deepcopy(near)):
        for got, wanted in zip(other.kneighbors(rows[:5]), expected, strict=True):
            assert (got == wanted).all()


def test_without_scikit_learn():
    """It is not required, and not imported if installed, which would take a second."""
    loaded = "import sys; from firth import NearestNeighbors; NearestNeighbors().fit([[1, 2]] * 9)"
    printed(f"{loaded}; assert 'sklearn' not in sys.modules")
    code = """
import sys
sys.modules["sklearn"] = None
from firth import NearestNeighbors
near = NearestNeighbors(n_neighbors=2, metric="cosine")
print(near, near.get_params() == NearestNeighbors().set_params(**near.get_params()).get_params())
try:
    near.kneighbors([[1.0]])
except ValueError as error:
    print(error)
try:
    near.set_params(k=3)
except ValueError as error:
    print(error)
print(near.fit([[1.0, 0.0], [0.0, 2.0], [3.0, 0.1]]).kneighbors([[9.0, 0.0]])[1].tolist())
"""
    lines = printed(code).splitlines()
    assert lines[0] == "NearestNeighbors(metric='cosine', n_neighbors=2) True"
    assert "is not fitted yet" in lines[1]
    assert lines[2].startswith("Invalid parameter 'k'")
    assert lines[3] == "[[0, 2]]"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "manhattan"}, "'metric' parameter"),
        ({"p": 1}, "'p' parameter"),
        ({"metric_params": {"w": [1]}}, "'metric_params' parameter"),
        ({"n_neighbors": 0}, "'n_neighbors' parameter"),
        ({"n_neighbors": 2.0}, "'n_neighbors' parameter"),
        ({"radius": -1.0}, "'radius' parameter"),
        ({"algorithm": "hnsw"}, "'algorithm' parameter"),
        ({"leaf_size": 0}, "'leaf_size' parameter"),
        ({"n_jobs": 1.5}, "'n_jobs' parameter"),
    ],
)
def test_bad_parameters(changes, message):
    with pytest.raises(ValueError, match=message):
        NearestNeighbors(**changes).fit([[1.0], [2.0]])


def test_a_radius_below_zero_is_refused():
    near = NearestNeighbors().fit(np.eye(3))
    for radius in (-1, -1e-9, float("nan")):
        with pytest.raises(ValueError, match=r"radius == .*, must be >= 0\."):
            near.radius_neighbors(np.eye(3), radius=radius)
    assert [len(one) for one in near.radius_neighbors(np.eye(3), 0, False)] == [1, 1, 1]


def test_bad_questions():
    near = NearestNeighbors()
    with pytest.raises(ValueError, match="not fitted yet"):
        near.kneighbors([[1.0]])
    near.fit(np.ones((6, 2)))
    with pytest.raises(ValueError, match=r"n_neighbors <= n_samples_fit, but n_neighbors = 7"):
        near.kneighbors([[1.0, 2.0]], 7)
    with pytest.raises(ValueError, match=r"n_neighbors < n_samples_fit, but n_neighbors = 6"):
        near.kneighbors(n_neighbors=6)
    with pytest.raises(ValueError, match=r"Expected n_neighbors > 0\. Got 0"):
        near.kneighbors([[1.0, 2.0]], 0)
    with pytest.raises(TypeError, match="enter integer value"):
        near.kneighbors([[1.0, 2.0]], 1.5)
    with pytest.raises(ValueError, match="X has 3 features, but NearestNeighbors is expecting 2"):
        near.kneighbors([[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="contains NaN"):
        near.kneighbors([[1.0, np.nan]])
    with pytest.raises(ValueError, match="return_distance must be True"):
        near.radius_neighbors([[1.0, 2.0]], return_distance=False, sort_results=True)


class Frame:
    """The part of a data frame that names of columns need."""

    def __init__(self, values, columns):
        self.values, self.columns = np.asarray(values, np.float64), columns

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_feature_names():
    near = NearestNeighbors(n_neighbors=1).fit(Frame([[1, 2], [3, 4]], ["a", "b"]))
    assert near.feature_names_in_.tolist() == ["a", "b"]
    assert near.kneighbors(Frame([[3, 4]], ["a", "b"]), return_distance=False).tolist() == [[1]]
    with pytest.raises(ValueError, match="must be in the same order"):
        near.kneighbors(Frame([[3, 4]], ["b", "a"]))
    with pytest.raises(ValueError, match="unseen at fit time:\n- c\nFeature names seen"):
        near.kneighbors(Frame([[3, 4]], ["a", "c"]))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        near.kneighbors([[3.0, 4.0]])
    with pytest.raises(TypeError, match="only supported if all input features have string names"):
        near.fit(Frame([[1, 2], [3, 4]], ["a", 1]))
    near.fit([[1.0, 2.0]])
    assert not hasattr(near, "feature_names_in_")
    with pytest.warns(UserWarning, match="was fitted without feature names"):
        near.kneighbors(Frame([[3, 4]], ["a", "b"]))


# scikit-learn


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:Estimator NearestNeighbors does not inherit")  # on purpose
def test_scikit_learns_estimator_checks():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    for metric in ("minkowski", "cosine"):
        results = checks.check_estimator(NearestNeighbors(metric=metric), on_skip=None)
        unmet = {one["check_name"] for one in results if one["status"] != "passed"}
        assert unmet <= {"check_array_api_input"}  # skipped: it wants SCIPY_ARRAY_API
        assert len(results) > 35


@pytest.mark.peer
@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_the_same_as_scikit_learn(algorithm, dtype):
    neighbors = pytest.importorskip("sklearn.neighbors")
    rng = np.random.default_rng(5)
    rows, queries = (
        (20 * rng.standard_normal((n, 8))).astype(dtype) for n in (1500, 60)
    )  # fmt: skip
    metrics = ["minkowski", "l2"] + ["cosine"] * (algorithm == "brute")
    for metric in metrics:
        radius = 0.3 if metric == "cosine" else 30.0
        settings = {"metric": metric, "algorithm": algorithm, "n_neighbors": 7, "radius": radius}
        ours = NearestNeighbors(**settings).fit(rows)
        theirs = neighbors.NearestNeighbors(**settings).fit(rows)
        assert ours.get_params() == theirs.get_params()
        assert ours.effective_metric_ == theirs.effective_metric_
        # Brute force computes x.x - 2 x.y + y.y, so its error is relative to the squares, and of
        # float32 data the result is float32.
        eps = np.finfo(np.float32 if algorithm == "brute" and dtype == np.float32 else float).eps
        error = 64 * eps
        if algorithm == "brute" and metric != "cosine":
            error += 64 * EPS * (rows.astype(float) ** 2).sum(axis=1).max()
        for X in (queries, None):
            (a, i), (b, j) = ours.kneighbors(X), theirs.kneighbors(X)
            assert (np.abs(a - b) <= error * (1 + b)).all()
            # The last is not clear: the next one may be as near.
            gaps = np.diff(b, axis=1, append=b[:, -1:], prepend=-1)
            clear = gaps > 4 * error * (1 + b.max())
            assert (i == j)[clear[:, 1:] & clear[:, :-1]].all()
            a, i = ours.radius_neighbors(X)
            b, j = theirs.radius_neighbors(X, sort_results=True)
            assert sum(map(len, i)) > 3 * len(i)
            for one, other, mine, their in zip(a, b, i, j, strict=True):
                if dtype == np.float64:  # others have rows on the edge
                    assert set(mine) == set(their)
                    assert (np.abs(one - other) <= error * (1 + other)).all()
            for mode in ("connectivity", "distance"):
                one, other = (each.kneighbors_graph(X, mode=mode) for each in (ours, theirs))
                assert type(one) is type(other)
                assert one.shape == other.shape
                if dtype == np.float64:
                    assert abs(one - other).max() <= error * (1 + other.max())


@pytest.mark.peer
def test_in_scikit_learns_company():
    base = pytest.importorskip("sklearn.base")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    near = NearestNeighbors(n_neighbors=3, metric="cosine")
    again = base.clone(near)
    assert again is not near
    assert again.get_params() == near.get_params()
    assert near.__sklearn_tags__().target_tags.required is False
    rows = np.random.default_rng(0).standard_normal((50, 4))
    pipeline = make_pipeline(StandardScaler(), near).fit(rows)
    assert pipeline[-1].kneighbors(pipeline[:-1].transform(rows), 1)[1].ravel().tolist() == list(
        range(50)
    )


def test_cosine_distance_of_parallel_rows_is_zero() -> None:
    rows = np.random.default_rng(0).standard_normal((30, 7))
    near = NearestNeighbors(metric="cosine", n_neighbors=2).fit(np.concatenate([rows, 3 * rows]))
    distances, _ = near.kneighbors(rows / 7)
    np.testing.assert_array_equal(distances, np.zeros((30, 2)))
