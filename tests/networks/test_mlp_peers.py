"""`MLPClassifier`, `MLPRegressor` and scikit-learn's: all of its checks, and the same results."""

from __future__ import annotations

import contextlib
import io
import itertools
import warnings

import numpy as np
import pytest

from firth import MLPClassifier, MLPRegressor

sklearn = pytest.importorskip("sklearn")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore:Estimator MLP.* does not inherit"),  # on purpose
]

from sklearn import neural_network  # noqa: E402
from sklearn.base import clone, is_classifier, is_regressor  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
KINDS = ("binary", "multiclass", "multilabel", "regression", "outputs")

with warnings.catch_warnings():  # they are asked for checks when tests are collected
    warnings.simplefilter("ignore")
    checks = parametrize_with_checks([MLPClassifier(), MLPRegressor()])


@checks
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # theirs warns, too
@pytest.mark.filterwarnings("ignore:batch_size")
def test_scikit_learns_estimator_checks(estimator, check):
    check(estimator)


def data(kind, n=90, d=6, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    scores = np.tanh(X @ rng.standard_normal((d, 3))) + 0.3 * rng.standard_normal((n, 3))
    y = {
        "binary": (scores[:, 0] > 0).astype(int),
        "multiclass": scores.argmax(axis=1),
        "multilabel": (scores > 0.2).astype(int),
        "regression": scores[:, 0],
        "outputs": scores,
        "poisson": rng.poisson(np.exp(scores[:, 0])).astype(float),
    }[kind]
    return X.astype(dtype), y


def pair(kind, settings):
    name = "MLPRegressor" if kind in ("regression", "outputs", "poisson") else "MLPClassifier"
    ours = MLPRegressor if name == "MLPRegressor" else MLPClassifier
    return ours(**settings), getattr(neural_network, name)(**settings)


def after(models, *arguments, call="fit", **options):
    """Both after the same call, with attributes that agree."""
    for model in models:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(model, call)(*arguments, **options)
    ours, theirs = models
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    tolerance = 1e-6  # of whole trainings, in which rounding errors grow
    if ours.coefs_[0].dtype == np.float32:
        tolerance = 2e-3
    for name in ("coefs_", "intercepts_"):
        for got, want in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=name)
    for name in (
        "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_",
    ):  # fmt: skip
        if hasattr(theirs, name):
            got, want = getattr(ours, name), getattr(theirs, name)
            if want is None:
                assert got is None
            else:
                np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=name)
    return models


def same_answers(models, X, y):
    ours, theirs = models
    tolerance = 1e-6 if ours.coefs_[0].dtype == np.float64 else 2e-3
    if is_classifier(ours):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        assert (ours.predict(X) != theirs.predict(X)).mean() < tolerance
        assert ours.predict(X).dtype == theirs.predict(X).dtype
        for call in ("predict_proba", "predict_log_proba"):
            got, want = getattr(ours, call)(X), getattr(theirs, call)(X)
            np.testing.assert_allclose(np.exp(got), np.exp(want), rtol=tolerance, err_msg=call)
            assert got.dtype == want.dtype
    else:
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=10 * tolerance)
    weights = np.linspace(0.1, 1, len(y))
    for options in ({}, {"sample_weight": weights}):
        assert abs(ours.score(X, y, **options) - theirs.score(X, y, **options)) <= 10 * tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_same_results(activation, solver, kind):
    settings = {"activation": activation, "solver": solver, "random_state": 3, "max_iter": 40}
    if solver == "lbfgs":
        settings["max_iter"] = 15  # later on rounding errors decide where a line search ends
    X, y = data(kind)
    for hidden, more in (
        ((7,), {}),
        ((8, 5), {"batch_size": 32, "alpha": 0.1, "learning_rate_init": 0.02}),
        ((), {"shuffle": False, "batch_size": 90}),
        (4, {"batch_size": 7}),
    ):
        models = after(pair(kind, {**settings, "hidden_layer_sizes": hidden, **more}), X, y)
        same_answers(models, X, y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_early_stopping(solver, kind):
    X, y = data(kind, 130)
    weights = np.random.default_rng(1).random(130)
    settings = {"solver": solver, "early_stopping": True, "learning_rate_init": 0.01,
                "max_iter": 60, "n_iter_no_change": 5, "hidden_layer_sizes": (9,)}  # fmt: skip
    for seed, fraction in ((0, 0.1), (1, 0.25), (2, 0.9)):
        models = pair(kind, {**settings, "random_state": seed, "validation_fraction": fraction})
        same_answers(after(models, X, y), X, y)
        same_answers(after(models, X, y, sample_weight=weights), X, y)


@pytest.mark.parametrize("kind", KINDS)
def test_weights(kind):
    X, y = data(kind)
    weights = np.random.default_rng(1).random(90)
    weights[::7] = 0
    for solver in ("lbfgs", "sgd", "adam"):
        settings = {"solver": solver, "random_state": 0, "max_iter": 10, "batch_size": 40}
        models = pair(kind, settings)
        same_answers(after(models, X, y, sample_weight=weights), X, y)
        after(models, X, y, sample_weight=2.0 * weights)


@pytest.mark.parametrize("rate", ["constant", "invscaling", "adaptive"])
def test_sgd(rate):
    X, y = data("multiclass")
    for momentum, nesterov, power in ((0.9, True, 0.5), (0.9, False, 0.3), (0, True, 0.5)):
        settings = {"solver": "sgd", "learning_rate": rate, "momentum": momentum, "power_t": power,
                    "nesterovs_momentum": nesterov, "learning_rate_init": 0.2, "max_iter": 150,
                    "random_state": 5, "tol": 1e-3, "n_iter_no_change": 3}  # fmt: skip
        after(pair("multiclass", settings), X, y)


def test_adam():
    X, y = data("binary")
    settings = {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3, "random_state": 5, "max_iter": 30}
    models = after(pair("binary", settings), X, y)
    after(pair("binary", {**settings, "n_iter_no_change": np.inf, "tol": 10}), X, y)
    same_answers(models, X, y)


def test_poisson():
    X, y = data("poisson")
    weights = np.linspace(0.2, 1, 90)
    for solver in ("lbfgs", "sgd", "adam"):
        settings = {"loss": "poisson", "solver": solver, "random_state": 0, "max_iter": 15}
        models = after(pair("poisson", settings), X, y)
        same_answers(models, X, y)
        after(models, X, y, sample_weight=weights)


@pytest.mark.parametrize("kind", KINDS)
def test_float32(kind):
    X, y = data(kind, dtype=np.float32)
    for solver in ("sgd", "adam"):
        settings = {"solver": solver, "random_state": 0, "max_iter": 20}
        models = after(pair(kind, settings), X, y)
        same_answers(models, X, y)
        assert {w.dtype for w in models[0].coefs_ + models[0].intercepts_} == {np.dtype(np.float32)}
    ours = pair(kind, {"solver": "lbfgs", "max_iter": 5})[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours.fit(X, y)
    assert ours.coefs_[0].dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_further_training(solver, kind):
    X, y = data(kind, 120)
    models = pair(kind, {"solver": solver, "learning_rate": "invscaling", "random_state": 2,
                         "max_iter": 30})  # fmt: skip
    options = {} if kind in ("regression", "outputs") else {"classes": np.arange(3)}
    if kind == "binary":
        options = {"classes": [0, 1]}
    after(models, X[:50], y[:50], call="partial_fit", **options)
    for start in (0, 50, 100):
        after(models, X[start : start + 50], y[start : start + 50], call="partial_fit")
    after(models, X, y)  # from the start
    after(models, X, y, call="partial_fit")
    for model in models:
        model.set_params(warm_start=True, max_iter=4, learning_rate_init=0.005)
    for _ in range(3):
        same_answers(after(models, X, y), X, y)


def test_random_states():
    """One generator is drawn from by both in the same places: they go on alike."""
    for kind, early in itertools.product(("binary", "multiclass"), (False, True)):
        X, y = data(kind)
        states = [np.random.RandomState(7) for _ in range(2)]
        models = pair(kind, {"early_stopping": early, "max_iter": 4})
        for model, state in zip(models, states, strict=True):
            model.set_params(random_state=state)
        for _ in range(2):
            after(models, X, y)
        assert states[0].randint(1 << 30) == states[1].randint(1 << 30)
    results = []
    for model in pair("binary", {"random_state": None, "max_iter": 3}):
        np.random.seed(3)  # noqa: NPY002
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append(model.fit(X, y).coefs_[0])
    np.testing.assert_allclose(*results)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sparse(dtype):
    sparse = pytest.importorskip("scipy.sparse")
    X, y = data("multiclass", dtype=dtype)
    X[np.random.default_rng(0).random(X.shape) < 0.5] = 0
    for form in (sparse.csr_array, sparse.csr_matrix, sparse.csc_matrix):
        for solver in ("lbfgs", "adam"):
            settings = {"solver": solver, "random_state": 1, "max_iter": 8, "batch_size": 32}
            models = pair("multiclass", settings)
            if dtype == np.float32 and solver == "lbfgs":
                continue  # theirs has float64 weights then
            after(models, form(X), y)
            same_answers(models, form(X), y)
    after(pair("multiclass", {"early_stopping": True, "max_iter": 5, "random_state": 0}),
          sparse.csr_array(X), y)  # fmt: skip


@pytest.mark.parametrize(
    "y",
    [
        np.array(["b", "a"] * 20), np.array(["bb", "a", "ccc", "a"] * 10, object),
        np.array([1.0, -1.0] * 20), np.array([True, False] * 20), [7, 300] * 20,
        np.array([3, 1, 2, 1], np.uint8).repeat(10), [5] * 40,
        np.array([[True, False], [False, True]] * 20), np.array([[1.0, 0], [0, 0]] * 20),
    ],
    ids=["str", "object", "float", "bool", "list", "uint8", "one", "bools", "floats"],
)  # fmt: skip
def test_labels(y):
    X = np.random.default_rng(0).standard_normal((40, 3))
    models = pair("binary", {"max_iter": 6, "random_state": 0})
    same_answers(after(models, X, y), X, y)


@pytest.mark.parametrize(
    ("X", "y", "settings"),
    [
        ([[1.0], [2.0]], [0, 1, 1], {}),
        ([[1.0], [np.inf]], [0, 1], {}),
        ([[1.0], [2.0]], None, {}),
        ([1.0, 2.0], [0, 1], {}),
        ([[1.0], [2.0]], [0.5, 0.1], {}),
        ([[1.0], [2.0]], [[0, 2], [1, 5]], {}),
        ([[1.0], [2.0]], [0, 1], {"hidden_layer_sizes": (3, -1)}),
        ([[1.0], [2.0]], [0, 1], {"hidden_layer_sizes": 0}),
        ([[1.0], [2.0]], [0, 1], {"activation": "gelu"}),
        ([[1.0], [2.0]], [0, 1], {"solver": "newton"}),
        ([[1.0], [2.0]], [0, 1], {"alpha": -1.0}),
        ([[1.0], [2.0]], [0, 1], {"batch_size": 0}),
        ([[1.0], [2.0]], [0, 1], {"beta_1": 1.0}),
        ([[1.0], [2.0]], [0, 1], {"momentum": 1.5}),
        ([[1e300], [1e-300]], [0, 1], {"learning_rate_init": 1e300, "activation": "identity"}),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:Stochastic")  # theirs
def test_the_same_errors(X, y, settings):
    errors = []
    for model in pair("binary", settings):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared below
            model.fit(np.array(X), y)
        errors.append(str(caught.value))
    assert errors[0][:18] == errors[1][:18]


def test_verbose():
    X, y = data("binary")
    for settings in (
        {"early_stopping": True, "max_iter": 5},
        {"tol": 1.0},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 1},
    ):
        lines = []
        for model in pair("binary", {**settings, "verbose": True, "random_state": 0}):
            with contextlib.redirect_stdout(io.StringIO()) as out, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(X, y)
            lines.append(out.getvalue())
        assert lines[0] == lines[1]


def test_in_scikit_learns_company():
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = data("multiclass")
    settings = {"hidden_layer_sizes": (5,), "random_state": 4, "max_iter": 20, "solver": "lbfgs"}
    ours, theirs = pair("multiclass", settings)
    assert theirs.get_params().items() <= ours.get_params().items()
    assert clone(ours).get_params() == ours.get_params()
    assert is_classifier(ours)
    assert is_regressor(MLPRegressor())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert make_pipeline(StandardScaler(), ours).fit(X, y).score(X, y) > 0.6
        searched = [
            GridSearchCV(model, {"alpha": [1e-4, 10.0]}, cv=3).fit(X, y) for model in (ours, theirs)
        ]
    np.testing.assert_allclose(*(one.cv_results_["mean_test_score"] for one in searched))
    with pytest.raises(NotFittedError):
        MLPClassifier().predict(X)
    with pytest.warns(ConvergenceWarning):
        MLPClassifier(max_iter=1).fit(X, y)
    with pytest.warns(ConvergenceWarning):
        MLPClassifier(max_iter=1, solver="lbfgs").fit(X, y)
