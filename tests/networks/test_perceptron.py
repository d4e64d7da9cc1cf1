"""`Perceptron`: results known by hand, native code against the reference, arguments and state."""

from __future__ import annotations

import copy
import pickle
import sys
import warnings

import numpy as np
import pytest

from firth import Perceptron, kernels
from firth.networks.inputs import draw, samples_of
from firth.networks.rule import OVERFLOWED, STOPPED, Problems, Rule, reference, run_epochs, shuffled
from processes import printed

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
AND, OR, XOR = (np.array(targets) for targets in ([0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0]))


def blobs(n=60, d=7, classes=2, dtype=np.float64, seed=0):
    """Overlapping classes, so that there are errors in every epoch; some features are zeros."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    X = rng.standard_normal((n, d)) + rng.standard_normal((classes, d))[y]
    X[rng.random((n, d)) < 0.2] = 0
    return X.astype(dtype), y


def quiet(model, *arguments, **options):
    """`fit` that may end before it converges."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*arguments, **options)


# Results


def test_the_course():
    neuron = Perceptron(eta0=0.1, random_state=42).fit(INPUTS, AND)
    np.testing.assert_allclose(neuron.coef_, [[0.2, 0.2]], rtol=1e-15)
    np.testing.assert_allclose(neuron.intercept_, [-0.2], rtol=1e-15)
    assert neuron.predict(INPUTS).tolist() == AND.tolist()
    assert (neuron.n_iter_, neuron.t_, neuron.score(INPUTS, AND)) == (9, 37.0, 1.0)
    neuron.fit(INPUTS, OR)
    np.testing.assert_allclose(neuron.coef_, [[0.2, 0.2]], rtol=1e-15)
    np.testing.assert_allclose(neuron.intercept_, [-0.1], rtol=1e-15)
    assert (neuron.n_iter_, neuron.score(INPUTS, OR)) == (8, 1.0)


def test_xor_is_impossible():
    """No line has more than three of the four on their sides, and no training finds one."""
    for seed in range(20):
        neuron = quiet(Perceptron(random_state=seed, tol=None, max_iter=200), INPUTS, XOR)
        assert neuron.score(INPUTS, XOR) <= 0.75
    neuron = Perceptron(eta0=0.1, random_state=42).fit(INPUTS, XOR)
    assert (neuron.coef_.tolist(), neuron.intercept_.tolist()) == ([[0, 0]], [0])
    assert (neuron.n_iter_, neuron.score(INPUTS, XOR)) == (6, 0.5)


def test_given_weights():
    """McCulloch and Pitts: the neuron fires where enough of its inputs do."""
    neuron = Perceptron()
    neuron.coef_, neuron.classes_ = np.array([[1.0, 1.0]]), np.array([0, 1])
    for threshold, targets in ((1, OR), (2, AND)):
        neuron.intercept_ = np.array([0.5 - threshold])
        assert neuron.predict(INPUTS).tolist() == targets.tolist()
    assert neuron.partial_fit(INPUTS, OR).score(INPUTS, OR) == 1, "from there on it can learn"


def test_more_than_two_classes():
    X, y = np.repeat(np.eye(3), 4, axis=0), np.repeat(["red", "green", "blue"], 4)
    model = Perceptron().fit(X, y)
    assert model.classes_.tolist() == ["blue", "green", "red"]
    assert model.coef_.shape == (3, 3)
    assert model.decision_function(X).shape == (12, 3)
    assert model.predict(X).tolist() == y.tolist()
    # one neuron a class, so the others' labels do not matter
    alone = Perceptron(shuffle=False, tol=None, max_iter=3)
    several = quiet(copy.copy(alone), X, y)
    for place, name in enumerate(several.classes_):
        one = quiet(copy.copy(alone), X, y == name)
        assert one.coef_.tolist() == [several.coef_[place].tolist()]


def test_shuffling():
    """Each epoch moves all samples as the first did."""
    places = shuffled(50, 12345)
    assert sorted(places) == list(range(50))
    assert (places != np.arange(50)).sum() > 40
    assert shuffled(3, 0).tolist() == shuffled(3, 1).tolist()
    # By hand: xorshift of 1 gives 270369, then 67634689; 270369 % 3 = 0, 67634689 % 2 = 1.
    assert shuffled(3, 1).tolist() == [0, 2, 1]


# Native code against the reference


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_native_has_the_bits_of_the_reference(kind, dtype):
    sparse = pytest.importorskip("scipy.sparse") if kind == "sparse" else None
    levels = [name for name in kernels.backends() if name.startswith("native")]
    for case, (n, d, classes) in enumerate([(40, 1, 2), (60, 7, 2), (33, 40, 3), (1, 5, 2)]):
        X, y = blobs(n, d, classes, dtype, seed=case)
        y[: min(n, classes)] = np.arange(classes)[:n]
        data = sparse.csr_array(X) if sparse else X
        weights = np.linspace(0.5, 2, n).astype(dtype)
        held_out = (np.arange(n) % 5 == 4).astype(np.uint8)
        labels = y.astype(np.int32)
        samples = samples_of(data, X.dtype, labels, weights, held_out)
        for shuffle, fit_intercept, tol in ((True, True, -np.inf), (False, False, 1e-3)):
            rule = Rule(0.3, 0.01 if sparse else 1.0, fit_intercept, shuffle, tol, 2)
            results = []
            for backend in ("numpy", *levels):
                problems = problems_of(classes, n, d, dtype)
                with kernels.use(backend):
                    run_epochs(samples, problems, rule, 3)
                    run_epochs(samples, problems, rule, 4)
                results.append(problems)
            for name, want in vars(results[0]).items():
                for got in results[1:]:
                    np.testing.assert_array_equal(getattr(got, name), want, err_msg=name)
                    assert getattr(got, name).dtype == want.dtype
            assert results[0].coef.any()
            if tol < 0:
                assert results[0].epochs.tolist() == [7] * classes


def problems_of(count, n, d, dtype):
    _, seeds = draw(5, count, None, np.zeros(n, np.int32), np.ones(n))
    return Problems(
        np.arange(count, dtype=np.int32), np.array([[1.5, 0.7]] * count), np.resize(seeds, count),
        np.zeros((count, d), dtype), np.zeros(count),
        np.tile(np.arange(n, dtype=np.int32), (count, 1)), np.full(count, np.inf), np.zeros(count),
        *(np.zeros(count, np.int32) for _ in range(3)),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", ["large", "small", "cancelling"])
def test_samples_are_not_passed_by_mistake(scale, dtype):
    """Where sums overflow, underflow or cancel, a product in another order says nothing."""
    limits = np.finfo(dtype)
    rng = np.random.default_rng(1)
    X = rng.standard_normal((50, 24))
    y = rng.integers(2, size=50)
    if scale == "large":
        X *= float(limits.max) ** 0.5 / 20
    elif scale == "small":
        X *= float(limits.smallest_normal) ** 0.5 * 1e-3
    else:  # sums of pairs that vanish, but for their rounding
        X[:, 1::2] = -X[:, ::2] * (1 + 2 * limits.eps * rng.integers(-1, 2, (50, 12)))
    X = X.astype(dtype)
    labels, ones, none = y.astype(np.int32), np.ones(50, dtype), np.zeros(50, np.uint8)
    samples = samples_of(X, X.dtype, labels, ones, none)
    start = problems_of(2, 50, 24, dtype)
    start.coef[:] = np.resize(X[0], start.coef.shape)
    results = []
    for run in (reference, run_epochs):
        problems = copy.deepcopy(start)
        run(samples, problems, Rule(1.0, 1.0, True, True, -np.inf, 5), 6)
        results.append(problems)
    for name, want in vars(results[0]).items():
        np.testing.assert_array_equal(getattr(results[1], name), want, err_msg=name)
    assert (results[0].loss > 0).all()


def test_any_number_of_threads_has_the_same_bits():
    code = """
import numpy as np, firth, warnings
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, y = rng.standard_normal((200, 30)), rng.integers(5, size=200)
model = firth.Perceptron(max_iter=20).fit(X, y)
print(model.coef_.tobytes().hex(), model.intercept_.tobytes().hex())
"""
    assert printed(f"import firth; firth.set_num_threads(1)\n{code}") == printed(
        f"import firth; firth.set_num_threads(3)\n{code}"
    )


def test_the_reference_serves_without_native_code():
    X, y = blobs(30, 4, 3)
    native = quiet(Perceptron(max_iter=8), X, y)
    with kernels.use("numpy"):
        numpy = quiet(Perceptron(max_iter=8), X, y)
    np.testing.assert_array_equal(native.coef_, numpy.coef_)
    np.testing.assert_array_equal(native.intercept_, numpy.intercept_)
    assert native.n_iter_ == numpy.n_iter_


def test_overflow_leaves_the_model_as_it_was():
    X, y = blobs()
    model = quiet(Perceptron(), X, y)
    before = copy.deepcopy(vars(model))
    for backend in ("numpy", "native"):
        with (
            kernels.use(backend),
            pytest.raises(ValueError, match="under-/overflow occurred at epoch #1"),
        ):
            model.fit(1e10 * X, y, sample_weight=1e300)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(model, name), value)
    problems = problems_of(1, 2, 1, np.float64)
    rows = samples_of(np.array([[1e308], [1e308]]), np.dtype(float), np.zeros(2, np.int32),
                      np.full(2, 9.0), np.zeros(2, np.uint8))  # fmt: skip
    run_epochs(rows, problems, Rule(1.0, 1.0, True, False, 0.0, 1), 5)
    assert (problems.status.tolist(), problems.epochs.tolist()) == ([OVERFLOWED], [1])
    assert STOPPED != OVERFLOWED


@pytest.fixture
def small_slices(monkeypatch):
    """Training looks for Ctrl-C after each epoch."""
    monkeypatch.setattr(sys.modules["firth.networks.perceptron"], "_SLICE", 1)


def test_slices_are_one_training(small_slices, monkeypatch):
    X, y = blobs(classes=3)
    calls = []
    monkeypatch.setattr(
        sys.modules["firth.networks.perceptron"],
        "run_epochs",
        lambda *arguments: calls.append(arguments) or run_epochs(*arguments),
    )
    cut = quiet(Perceptron(max_iter=50), X, y)
    assert 3 < len(calls) <= 50
    monkeypatch.undo()
    whole = quiet(Perceptron(max_iter=50), X, y)
    assert cut.coef_.tolist() == whole.coef_.tolist()
    assert cut.n_iter_ == whole.n_iter_ == len(calls)


def test_ctrl_c_leaves_the_model_as_it_was(small_slices, monkeypatch):
    X, y = blobs(classes=3)
    model = quiet(Perceptron(warm_start=True, tol=None, max_iter=3), X, y)
    before = copy.deepcopy(vars(model))

    def interrupted(samples, problems, rule, most):
        run_epochs(samples, problems, rule, most)
        if problems.epochs[0] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["firth.networks.perceptron"], "run_epochs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(model, name), value)


# State


def test_partial_fit_is_an_epoch():
    X, y = blobs(classes=3)
    whole = quiet(Perceptron(shuffle=False, tol=None, max_iter=4), X, y)
    parts = Perceptron(shuffle=False)
    for _ in range(4):
        parts.partial_fit(X, y, classes=[0, 1, 2])
    assert parts.coef_.tolist() == whole.coef_.tolist()
    assert (parts.n_iter_, parts.t_) == (1, whole.t_)


def test_warm_start_goes_on():
    X, y = blobs()
    warm = Perceptron(shuffle=False, tol=None, max_iter=3, warm_start=True)
    quiet(warm, X, y)
    quiet(warm, X, y)
    once = quiet(Perceptron(shuffle=False, tol=None, max_iter=6), X, y)
    assert warm.coef_.tolist() == once.coef_.tolist()
    begun = quiet(Perceptron(shuffle=False, tol=None, max_iter=3), X, y)
    first, kept = begun.coef_, begun.coef_.copy()
    quiet(begun, X, y, coef_init=first, intercept_init=begun.intercept_)
    assert begun.coef_.tolist() == once.coef_.tolist()
    assert first.tolist() == kept.tolist(), "what is given is not written to"


def test_early_stopping_holds_samples_out():
    X, y = blobs(n=100)
    model = quiet(Perceptron(early_stopping=True, validation_fraction=0.2), X, y)
    held_out, _ = draw(0, 1, 0.2, y.astype(np.int32), np.ones(100))
    assert held_out.sum() == 20
    assert abs(held_out[y == 1].sum() - 0.2 * (y == 1).sum()) < 1
    noise = np.where(held_out[:, None] == 1, 0, 100 * X)  # what is held out is not learnt
    other = quiet(Perceptron(early_stopping=True, validation_fraction=0.2, max_iter=1, tol=None),
                  X, y)  # fmt: skip
    same = quiet(copy.copy(other), np.where(held_out[:, None] == 1, noise, X), y)
    assert other.coef_.tolist() == same.coef_.tolist()
    assert model.n_iter_ < 1000
    for wrong, message in (
        ([0] * 99 + [1], "least populated classes in y have only 1 member"),
        (np.arange(100) // 2, "fewer than the 50 classes"),
    ):
        with pytest.raises(ValueError, match=message):
            Perceptron(early_stopping=True).fit(X, wrong)
    with pytest.raises(ValueError, match="sample weights for validation set are all zero"):
        Perceptron(early_stopping=True).fit(X, y, sample_weight=0)


def test_weights_of_classes_and_samples():
    X, y = blobs(n=30)
    settings = {"shuffle": False, "tol": None, "max_iter": 5}
    by_class = quiet(Perceptron(class_weight={0: 2.0, 1: 0.5}, **settings), X, y)
    by_sample = quiet(Perceptron(**settings), X, y, sample_weight=np.where(y == 0, 2.0, 0.5))
    assert by_class.coef_.tolist() == by_sample.coef_.tolist()
    balanced = quiet(Perceptron(class_weight="balanced", **settings), X, y)
    counts = np.bincount(y)
    named = dict(enumerate(len(y) / (2 * counts)))
    named = quiet(Perceptron(class_weight=named, **settings), X, y)
    assert balanced.coef_.tolist() == named.coef_.tolist()
    assert balanced.coef_.tolist() != by_class.coef_.tolist()


def test_verbose(capsys):
    Perceptron(verbose=1, eta0=0.1, random_state=42).fit(INPUTS, AND)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 9
    assert lines[:2] == [
        "-- Epoch 1", "Norm: 0.00, NNZs: 0, Bias: -0.200000, T: 4, Avg. loss: 0.050000",
    ]  # fmt: skip
    quiet(Perceptron(verbose=1, early_stopping=True, max_iter=2), *blobs(classes=3))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("--")] == ["-- Epoch 1", "-- Epoch 2"] * 3
    assert all("Validation score: " in line for line in lines[1::2])


def test_parameters_and_state():
    model = Perceptron(eta0=0.5, max_iter=7)
    assert repr(model) == "Perceptron(eta0=0.5, max_iter=7)"
    assert model.set_params(eta0=2.0).get_params()["eta0"] == 2.0
    X, y = blobs()
    with pytest.warns(UserWarning, match="Maximum number of iteration reached"):
        model.set_params(max_iter=1).fit(X, y)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert other.decision_function(X).tolist() == model.decision_function(X).tolist()


def test_sparse():
    sparse = pytest.importorskip("scipy.sparse")
    X, y = blobs(classes=3)
    settings = {"fit_intercept": False, "max_iter": 10}  # of intercepts updates are smaller
    dense = quiet(Perceptron(**settings), X, y)
    for form in ("csr_array", "csc_matrix", "coo_array", "lil_matrix"):
        given = getattr(sparse, form)(X)
        model = quiet(Perceptron(**settings), given, y)
        assert model.coef_.tolist() == dense.coef_.tolist()
        assert model.predict(given).tolist() == dense.predict(X).tolist()
    assert sparse.issparse(model.sparsify().coef_)
    assert model.predict(given).tolist() == dense.predict(X).tolist()
    assert model.predict(X).tolist() == dense.predict(X).tolist()
    with pytest.raises(ValueError, match=r"coef_ is sparse, call densify\(\)"):
        model.partial_fit(X, y)
    assert model.densify().coef_.tolist() == dense.coef_.tolist()
    broken = sparse.csr_array(X)
    broken.indices[3] = 70
    with pytest.raises(IndexError, match="a column is out of range"):
        Perceptron().fit(broken, y)


def test_without_scikit_learn():
    """It is not required, and not imported if installed, which would take a second."""
    fit = "firth.Perceptron(max_iter=1).fit([[0.0], [1.0]] * 3, [0, 1] * 3).predict([[2.0]])"
    loaded = printed(
        "import sys, firth, warnings\nwarnings.simplefilter('ignore')\n"
        f"{fit}\nprint([x for x in ('sklearn', 'scipy', 'matplotlib') if x in sys.modules])"
    )
    assert loaded.strip() == "[]"
    code = """
import sys
sys.modules["sklearn"] = None
import firth
try:
    firth.Perceptron().predict([[1.0]])
except ValueError as error:
    print(error)
"""
    assert "is not fitted yet" in printed(code)


# Arguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"penalty": "l2"}, "'penalty' parameter"),
        ({"alpha": -1.0}, "'alpha' parameter"),
        ({"l1_ratio": 2}, "'l1_ratio' parameter"),
        ({"fit_intercept": 1}, "'fit_intercept' parameter"),
        ({"max_iter": 0}, "'max_iter' parameter"),
        ({"tol": -1e-3}, "'tol' parameter"),
        ({"shuffle": "yes"}, "'shuffle' parameter"),
        ({"verbose": -1}, "'verbose' parameter"),
        ({"eta0": 0.0}, "'eta0' parameter"),
        ({"n_jobs": 1.5}, "'n_jobs' parameter"),
        ({"random_state": -1}, "'random_state' parameter"),
        ({"early_stopping": None}, "'early_stopping' parameter"),
        ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
        ({"n_iter_no_change": 0}, "'n_iter_no_change' parameter"),
        ({"class_weight": "even"}, "'class_weight' parameter"),
        ({"warm_start": 0}, "'warm_start' parameter"),
    ],
)
def test_bad_parameters(changes, message):
    with pytest.raises(ValueError, match=message):
        Perceptron(**changes).fit(INPUTS, AND)


@pytest.mark.parametrize(
    ("X", "y", "options", "error", "message"),
    [
        (INPUTS, None, {}, ValueError, "requires y to be passed"),
        (INPUTS, AND[:3], {}, ValueError, r"inconsistent numbers of samples: \[4, 3\]"),
        (INPUTS, np.eye(4), {}, ValueError, r"y should be a 1d array, got an array of shape"),
        (INPUTS, [0, 0, 0, 0], {}, ValueError, "greater than one; got 1 class"),
        (INPUTS, [0.5, 0, 1, 1], {}, ValueError, "Unknown label type: continuous"),
        (INPUTS, [0, 1, np.nan, 1], {}, ValueError, "Input y contains NaN"),
        (INPUTS, [1j, 1, 1, 1], {}, ValueError, "Complex data not supported"),
        (INPUTS, [b"a", b"b"] * 2, {}, TypeError, "labels represented as bytes"),
        (INPUTS, np.array([None, 1, 1, 1]), {}, ValueError, "Unknown label type: NoneType"),
        (INPUTS, np.array(["a", np.nan, "b", "a"], object), {}, ValueError, "y contains NaN"),
        (INPUTS[0], [0], {}, ValueError, "Expected 2D array, got 1D array"),
        ([[0, np.nan]] * 4, AND, {}, ValueError, "Input X contains NaN"),
        (INPUTS, AND, {"coef_init": [1, 2, 3]}, ValueError, "coef_init does not match dataset"),
        (INPUTS, AND, {"intercept_init": [1, 2]}, ValueError, "intercept_init does not match"),
        (INPUTS, AND, {"sample_weight": [1, 2]}, ValueError, r"sample_weight.shape == \(2,\)"),
        (INPUTS, AND, {"sample_weight": np.eye(4)}, ValueError, "must be 1D array or scalar"),
        (INPUTS, AND, {"sample_weight": 0}, ValueError, "at least one non-zero number"),
    ],
)
def test_bad_data(X, y, options, error, message):
    model = Perceptron()
    with pytest.raises(error, match=message):
        model.fit(X, y, **options)
    assert set(vars(model)) == set(model.get_params())


def test_bad_questions():
    model = Perceptron()
    for method in ("predict", "decision_function"):
        with pytest.raises(ValueError, match=f"not fitted yet.*{method}"):
            getattr(model, method)(INPUTS)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(INPUTS, AND)
    with pytest.raises(ValueError, match="classes should include all valid labels"):
        model.partial_fit(INPUTS, AND, classes=[1, 2])
    with pytest.raises(ValueError, match="early_stopping should be False"):
        Perceptron(early_stopping=True).partial_fit(INPUTS, AND, classes=[0, 1])
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        Perceptron(class_weight="balanced").partial_fit(INPUTS, AND, classes=[0, 1])
    with pytest.raises(ValueError, match=r"The classes, \[1\], are not in class_weight"):
        Perceptron(class_weight={0: 2, 5: 1}).fit(INPUTS, AND)
    model.fit(INPUTS, AND)
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        model.partial_fit(INPUTS, AND, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="X has 3 features, but Perceptron is expecting 2"):
        model.predict(np.eye(3))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(INPUTS, AND[:2])
    with pytest.warns(UserWarning, match="column-vector y"):
        model.fit(INPUTS, AND[:, None])
