"""`Perceptron` and scikit-learn's: all of its checks, and the same bits."""

from __future__ import annotations

import contextlib
import io
import itertools
import warnings

import numpy as np
import pytest

from firth import Perceptron

sklearn = pytest.importorskip("sklearn")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore:Estimator Perceptron does not inherit"),  # on purpose
]

from sklearn.base import clone, is_classifier  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.linear_model import Perceptron as Theirs  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

# scikit-learn's own class fails them, and lists them so: weights are no repeated rows.
EXPECTED = {
    f"check_sample_weight_equivalence_on_{kind}_data": "a row that is repeated comes at other times"
    for kind in ("dense", "sparse")
}


with warnings.catch_warnings():  # it is asked for checks when tests are collected
    warnings.simplefilter("ignore")
    checks = parametrize_with_checks([Perceptron()], expected_failed_checks=lambda _: EXPECTED)


@checks
@pytest.mark.filterwarnings("ignore:Maximum number of iteration")  # theirs warns, too
def test_scikit_learns_estimator_checks(estimator, check):
    check(estimator)


def both(settings, *arguments, call="fit", given=None, **options):
    """Ours and theirs after the same call; the errors of both, if they have any."""
    models = given or (Perceptron(**settings), Theirs(**settings))
    for model in models:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            getattr(model, call)(*arguments, **options)
    ours, theirs = models
    for name in ("coef_", "intercept_", "classes_"):
        got, want = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_array_equal(got, want, err_msg=f"{name} {settings}")
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
    for name in ("n_iter_", "t_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), (name, settings)
    return models


def data(n=120, d=9, classes=2, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    X = rng.standard_normal((n, d)) + rng.standard_normal((classes, d))[y]
    X[rng.random((n, d)) < 0.3] = 0
    return X.astype(dtype), y


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.float16])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_same_bits(classes, dtype):
    choices = {
        "eta0": [1.0, 0.1, 1e-3],
        "tol": [1e-3, None, 0.0],
        "shuffle": [True, False],
        "fit_intercept": [True, False],
        "early_stopping": [True, False],
    }
    for case, values in enumerate(itertools.product(*choices.values())):
        settings = dict(zip(choices, values, strict=True), max_iter=30, random_state=case)
        X, y = data(150, (1, 9, 64)[case % 3], classes, seed=case)
        X = (10 * X).astype(dtype) if dtype is np.int64 else X.astype(dtype)
        ours, theirs = both(settings, X, y)
        np.testing.assert_array_equal(ours.decision_function(X), theirs.decision_function(X))
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        assert ours.score(X, y) == theirs.score(X, y)


def test_digits():
    X, y = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    for dtype in (np.float64, np.float32):
        for settings in ({}, {"eta0": 0.1, "tol": None, "max_iter": 40}, {"early_stopping": True}):
            both(settings, X.astype(dtype), y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sparse(dtype):
    sparse = pytest.importorskip("scipy.sparse")
    for seed, classes in ((0, 2), (1, 3)):
        X, y = data(90, 20, classes, dtype, seed)
        for form in (sparse.csr_array, sparse.csr_matrix, sparse.coo_array, sparse.csc_matrix):
            for settings in ({"eta0": 0.1}, {"early_stopping": True}, {"fit_intercept": False}):
                ours, theirs = both(settings, form(X), y)
                np.testing.assert_array_equal(
                    ours.decision_function(form(X)), theirs.decision_function(form(X))
                )
        ours, theirs = ours.sparsify(), theirs.sparsify()
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("classes", [2, 3])
def test_weights(classes, dtype):
    X, y = data(80, 6, classes, dtype)
    weights = np.random.default_rng(1).random(80)
    weights[::7] = 0
    weights[3] = -0.5
    for class_weight in (None, "balanced", {0: 2.5, 1: 0.3}, {0: 3}):
        for early in (False, True):
            settings = {"class_weight": class_weight, "early_stopping": early, "eta0": 0.3}
            both(settings, X, y, sample_weight=weights)
    both({}, X, y, sample_weight=2)
    start = np.random.default_rng(2).standard_normal((1 if classes == 2 else classes, 6))
    both({}, X, y, coef_init=start.copy(), intercept_init=start[:, 0].copy())
    both({"early_stopping": True, "max_iter": 2}, X, y, coef_init=start.copy())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("classes", [2, 3])
def test_further_training(classes, dtype):
    X, y = data(100, 6, classes, dtype)
    models = both({"eta0": 0.1}, X[:40], y[:40], call="partial_fit", classes=np.arange(classes))
    for start in (0, 40, 80):
        part = slice(start, start + 40)
        models = both({}, X[part], y[part], call="partial_fit", given=models)
    models = both({}, X, y, given=models)
    models = both({}, X[:50], y[:50], call="partial_fit", given=models, sample_weight=np.arange(50))
    settings = {"warm_start": True, "max_iter": 2, "tol": None, "eta0": 0.7}
    models = both(settings, X, y)
    for _ in range(3):
        models = both(settings, X, y, given=models)


def test_random_states():
    """One generator is drawn from by both in the same places: they go on alike."""
    X, y = data()
    for classes in (2, 3):
        X, y = data(90, 5, classes)
        for early in (False, True):
            states = [np.random.RandomState(7) for _ in range(2)]
            ours, theirs = (
                kind(random_state=state, early_stopping=early, eta0=0.2)
                for kind, state in zip((Perceptron, Theirs), states, strict=True)
            )
            for _ in range(2):
                both({}, X, y, given=(ours, theirs))
            assert states[0].randint(1 << 30) == states[1].randint(1 << 30)
    results = []
    for kind in (Perceptron, Theirs):
        np.random.seed(3)  # noqa: NPY002
        results.append(kind(random_state=None).fit(X, y).coef_)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    "y",
    [
        np.array(["b", "a"] * 20), np.array(["bb", "a", "ccc", "a"] * 10, object),
        np.array([1.0, -1.0] * 20), np.array([True, False] * 20), [7, 300] * 20,
        np.array([3, 1, 2, 1], np.uint8).repeat(10),
    ],
    ids=["str", "object", "float", "bool", "list", "uint8"],
)  # fmt: skip
def test_labels(y):
    X = np.random.default_rng(0).standard_normal((40, 3))
    ours, theirs = both({}, X, y)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.predict(X).dtype == theirs.predict(X).dtype
    weights = np.linspace(0, 1, 40)
    assert ours.score(X, y, weights) == theirs.score(X, y, weights)


def test_random_data():
    """Small data sets of all kinds, where many decision values are exactly 0."""
    rng = np.random.default_rng(0)
    for case in range(150):
        n, d = rng.integers(4, 40), rng.integers(1, 12)
        X = rng.integers(-2, 3, (n, d)) * rng.choice([1.0, 0.1, 1e-3, 1e5])
        y = rng.integers(rng.integers(2, 5), size=n)
        y[:2] = 0, 1
        settings = {
            "eta0": float(rng.choice([0.1, 1, 3])), "random_state": case,
            "n_iter_no_change": int(rng.integers(1, 7)), "max_iter": int(rng.integers(1, 60)),
            "tol": [None, 0.0, 1e-3, 0.1][rng.integers(4)], "shuffle": bool(rng.integers(2)),
        }  # fmt: skip
        both(settings, X.astype(rng.choice([np.float32, np.float64])), y)


@pytest.mark.parametrize(
    ("X", "y", "options"),
    [
        ([[1e10], [-1e10], [1e10]], [0, 1, 1], {"sample_weight": 1e300}),
        ([[1.0], [2.0]], [0, 0], {}),
        ([[1.0], [2.0]], [0.5, 0.1], {}),
        ([[1.0], [2.0]], [0, 1, 1], {}),
        ([[1.0], [np.inf]], [0, 1], {}),
        ([[1.0], [2.0]], [0, 1], {"coef_init": [1, 2]}),
        ([[1.0], [2.0]], [0, 1], {"sample_weight": [0, 0]}),
        ([[1.0], [2.0]], None, {}),
        ([1.0, 2.0], [0, 1], {}),
    ],
)
def test_the_same_errors(X, y, options):
    errors = []
    for kind in (Perceptron, Theirs):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared below
            kind().fit(np.array(X), y, **options)
        errors.append(str(caught.value))
    assert errors[0].split(".")[0][:18] == errors[1].split(".")[0][:18]


def test_in_scikit_learns_company():
    from sklearn.model_selection import GridSearchCV
    from sklearn.multiclass import OneVsOneClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = Perceptron(eta0=0.1, random_state=4)
    assert model.get_params() == Theirs(eta0=0.1, random_state=4).get_params()
    assert clone(model).get_params() == model.get_params()
    assert is_classifier(model)
    X, y = data(classes=3)
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    assert pipeline.score(X, y) > 0.5
    searched = [
        GridSearchCV(kind(), {"eta0": [0.1, 1.0], "penalty": [None]}, cv=3).fit(X, y)
        for kind in (Perceptron, Theirs)
    ]
    np.testing.assert_array_equal(*(one.cv_results_["mean_test_score"] for one in searched))
    assert OneVsOneClassifier(model).fit(X, y).predict(X).shape == y.shape
    with pytest.raises(NotFittedError):
        Perceptron().predict(X)
    with pytest.warns(ConvergenceWarning):
        Perceptron(max_iter=1).fit(X, y)


def test_verbose():
    """Each line begins as theirs."""
    X, y = data()
    for early in (False, True):
        lines = []
        for kind in (Perceptron, Theirs):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                kind(verbose=1, early_stopping=early).fit(X, y)
            lines.append(
                [line for line in out.getvalue().splitlines() if line.startswith(("--", "Norm"))]
            )
        assert len(lines[0]) == len(lines[1])
        for ours, theirs in zip(*lines, strict=True):
            assert theirs.startswith(ours.split(", Validation")[0])
