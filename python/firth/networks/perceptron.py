"""`Perceptron`: scikit-learn's class of that name, with the bits of its results.

`rule` has the epochs, `inputs` what they are given: samples, weights, and random numbers in
scikit-learn's order. n = samples, d = features. (Above 500 lines: one class, whose parameters,
errors and docstrings are scikit-learn's.)
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firth.estimator import Estimator, check_finite, integer, real, warning
from firth.networks import pictures
from firth.networks.inputs import (
    class_weights,
    classes_of,
    draw,
    initial,
    labels_of,
    places_of,
    sample_weights,
    samples_of,
)
from firth.networks.rule import OVERFLOWED, RUNNING, STOPPED, Problems, Rule, Samples, run_epochs
from firth.networks.trace import Trace, traced
from firth.optional import needs

if TYPE_CHECKING:
    from typing_extensions import Self

_MOST = np.iinfo(np.int32).max
_SLICE = 1 << 27  # numbers that are read between two looks at Ctrl-C
_SPARSE_DECAY = 0.01  # of updates of the intercept: a sparse sample changes few other weights


class Perceptron(Estimator):
    """Rosenblatt's perceptron: a line between two classes, moved by each sample on its wrong side.

    Parameters, methods, results and errors are those of ``sklearn.linear_model.Perceptron`` 1.9;
    `trace`, `plot` and given weights are for learning how it works.

    Parameters
    ----------
    penalty : None
        Others: ``sklearn.linear_model.Perceptron``. So `alpha` and `l1_ratio` have no effect.
    alpha : float, default 0.0001
    l1_ratio : float, default 0.15
    fit_intercept : bool, default True
    max_iter : int, default 1000
        Epochs of `fit` at most.
    tol : float, optional, default 1e-3
        An epoch whose mean loss is not lower than the best by this counts as idle; None: no end
        before `max_iter`.
    shuffle : bool, default True
        Whether each epoch has another order.
    verbose : int, default 0
        Above 0, each epoch prints its figures.
    eta0 : float, default 1.0
        The learning rate, by which updates are multiplied.
    n_jobs : int, optional
        No effect: use `firth.set_num_threads`. Of more than two classes each is a task.
    random_state : int, RandomState or None, default 0
    early_stopping : bool, default False
        Hold out `validation_fraction` of the samples, and call an epoch idle that does not raise
        their accuracy by `tol`.
    validation_fraction : float, default 0.1
    n_iter_no_change : int, default 5
        Idle epochs in a row after which training ends.
    class_weight : dict, "balanced" or None
        Factors of updates, by label.
    warm_start : bool, default False
        Whether `fit` begins with the weights that there are.

    Attributes
    ----------
    coef_ : ndarray (1, n_features), or (n_classes, n_features) of more than two classes
        float32 where X was, else float64.
    intercept_ : ndarray (1,) or (n_classes,)
    classes_ : ndarray (n_classes,)
    n_iter_ : int
        Epochs; of several classes the most.
    t_ : float
        1 + the updates that there could have been.
    n_features_in_, feature_names_in_

    Notes
    -----
    A sample x with target y, 1 or -1, is wrong where y (w.x + b) <= 0, and then w += eta0 y x and
    b += eta0 y. With more than two classes there is one such neuron for each, against the others.

    Same bits as scikit-learn on x86-64, whatever the threads and the ISA level: decision values are
    NumPy's products, as scikit-learn's are. Sparse X needs SciPy, and has 1 / 100 of each update of
    the intercept. Different from scikit-learn: an array for `coef_init` is not written to.

    >>> import firth
    >>> neuron = firth.Perceptron(eta0=0.1, random_state=42)
    >>> neuron.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1]).coef_
    array([[0.2, 0.2]])
    """

    coef_: Any
    intercept_: NDArray[Any]
    classes_: NDArray[Any]
    n_iter_: int
    t_: float

    def __init__(
        self,
        *,
        penalty: None = None,
        alpha: float = 0.0001,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        eta0: float = 1.0,
        n_jobs: int | None = None,
        random_state: Any = 0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: Any = None,
        warm_start: bool = False,
    ) -> None:
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.eta0 = eta0
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(sparse=True),
        )

    def _check_all(self) -> None:
        whole = integer(self.random_state) and 0 <= self.random_state < 1 << 32
        random = isinstance(self.random_state, np.random.RandomState)
        wanted = {
            "penalty": ("None (others: sklearn.linear_model.Perceptron)", self.penalty is None),
            "alpha": ("a float of at least 0", real(self.alpha) and self.alpha >= 0),
            "l1_ratio": ("a float from 0 to 1", real(self.l1_ratio) and 0 <= self.l1_ratio <= 1),
            "max_iter": ("an int of at least 1", integer(self.max_iter) and self.max_iter >= 1),
            "tol": ("a float of at least 0, or None",
                    self.tol is None or (real(self.tol) and self.tol >= 0)),
            "verbose": ("an int of at least 0", isinstance(self.verbose, (bool, np.bool_))
                        or (integer(self.verbose) and self.verbose >= 0)),
            "eta0": ("a float above 0", real(self.eta0) and 0 < self.eta0 < math.inf),
            "n_jobs": ("an int or None", self.n_jobs is None or integer(self.n_jobs)),
            "random_state": ("an int from 0 to 2^32 - 1, a RandomState or None",
                             self.random_state is None or whole or random
                             or self.random_state is np.random),
            "validation_fraction": ("a float between 0 and 1", real(self.validation_fraction)
                                    and 0 < self.validation_fraction < 1),
            "n_iter_no_change": ("an int of at least 1",
                                 integer(self.n_iter_no_change) and self.n_iter_no_change >= 1),
            "class_weight": ("a dict, 'balanced' or None", self.class_weight is None
                             or isinstance(self.class_weight, dict)
                             or (isinstance(self.class_weight, str)
                                 and self.class_weight == "balanced")),
        }  # fmt: skip
        for name in ("fit_intercept", "shuffle", "early_stopping", "warm_start"):
            wanted[name] = ("a bool", isinstance(getattr(self, name), (bool, np.bool_)))
        self._check_parameters(wanted)

    # Training

    def fit(
        self,
        X: Any,
        y: Any,
        coef_init: Any = None,
        intercept_init: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Learn from all samples until epochs bring nothing. Returns self.

        Parameters
        ----------
        X : array_like or sparse matrix (n_samples, n_features)
            float32 and float64 are used as they are, others become float64.
        y : array_like (n_samples,)
            Labels: whole numbers or strings, of two classes or more.
        coef_init, intercept_init : array_like, shapes of `coef_` and `intercept_`, optional
            Weights to begin with.
        sample_weight : array_like (n_samples,) or float, optional
            Factors of updates.

        Raises
        ------
        TypeError, ValueError
            A parameter is out of its range; X is not 2-D, empty, complex, NaN or infinite; y is of
            another length, no labels, or of one class; weights do not fit, or overflowed.

        Warns
        -----
        ConvergenceWarning
            Training ended with `max_iter`. (A UserWarning where scikit-learn is not in use.)
        """
        self._check_all()
        labels = labels_of(y, type(self).__name__)
        classes = classes_of(labels)
        if self.warm_start and getattr(self, "coef_", None) is not None:
            coef_init = self.coef_ if coef_init is None else coef_init
            intercept_init = self.intercept_ if intercept_init is None else intercept_init
        data = self._checked(X, sparse=True)
        dtype = data.dtype if data.dtype in (np.float32, np.float64) else np.dtype(np.float64)
        width = data.shape[1]
        count = 1 if len(classes) == 2 else len(classes)
        coef = initial("coef_init", coef_init, (count, width), dtype)
        intercept = initial("intercept_init", intercept_init, (count,), dtype)
        self._learn(data, labels, classes, sample_weight, coef, intercept, self.max_iter, 1.0)
        self._set_features(X, data)
        if self.tol is not None and self.n_iter_ == self.max_iter:
            warnings.warn(
                "Maximum number of iteration reached before convergence. Consider increasing "
                "max_iter to improve the fit.",
                warning("ConvergenceWarning"),
                stacklevel=2,
            )
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Learn from these samples once. Returns self.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`; y need not have all classes.
        classes : array_like (n_classes,)
            All classes that there will be; only the first call needs them.
        """
        self._check_all()
        first = not hasattr(self, "classes_")
        if first:
            if self.early_stopping:
                raise ValueError("early_stopping should be False with partial_fit")
            if self.class_weight == "balanced":
                raise ValueError(
                    "class_weight 'balanced' is not supported for partial_fit: pass weights as a "
                    "dict, as sklearn.utils.compute_class_weight gives them for all samples."
                )
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
        labels = labels_of(y, type(self).__name__)
        if classes is not None:
            given = classes_of(np.asarray(classes))
            if not first and not np.array_equal(self.classes_, given):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, "
                    f"was: {self.classes_!r}"
                )
        known = self.classes_ if classes is None else given
        data = self._checked(X, sparse=True) if first else self._like_fitted(X, sparse=True)
        count = 1 if len(known) == 2 else len(known)
        coef, intercept = getattr(self, "coef_", None), getattr(self, "intercept_", None)
        if hasattr(coef, "toarray"):
            raise ValueError("partial_fit: coef_ is sparse, call densify() before")
        dtype = data.dtype if coef is None else np.asarray(coef).dtype
        if dtype not in (np.float32, np.float64):
            dtype = np.dtype(np.float64)
        if coef is not None and np.shape(coef)[-1] != data.shape[1]:
            raise ValueError(
                f"Number of features {data.shape[1]} does not match previous data "
                f"{np.shape(coef)[-1]}."
            )
        coef = initial("coef_", coef, (count, data.shape[1]), dtype)
        # That of two classes is float64 from the first epoch on, whatever X is.
        kept = np.zeros(count) if intercept is None else np.array(intercept, np.float64).ravel()
        self._learn(data, labels, known, sample_weight, coef, kept, 1, getattr(self, "t_", 1.0))
        if first:
            self._set_features(X, data)
        return self

    def _learn(
        self,
        data: Any,
        y: NDArray[Any],
        classes: NDArray[Any],
        sample_weight: Any,
        coef: NDArray[Any],
        intercept: NDArray[np.float64],
        most: int,
        t: float,
    ) -> None:
        """Run at most ``most`` epochs from these weights, which are written to, and keep them."""
        n, dtype = data.shape[0], coef.dtype
        if len(y) != n:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {[n, len(y)]}"
            )
        labels = places_of(y, classes)
        by_class = class_weights(self.class_weight, labels, classes)
        weights = sample_weights(sample_weight, n, dtype, self.early_stopping)
        if len(classes) < 2:
            raise ValueError(
                f"The number of classes has to be greater than one; got {len(classes)} class"
            )
        binary = len(coef) == 1
        fraction = self.validation_fraction if self.early_stopping else None
        held_out, seeds = draw(self.random_state, len(coef), fraction, labels, weights)
        samples = samples_of(data, dtype, labels, weights, held_out)
        problems = Problems(
            np.array([1] if binary else range(len(coef)), np.int32),
            np.array([by_class[::-1]] if binary else [(one, 1.0) for one in by_class], np.float64),
            seeds, coef, intercept, np.tile(np.arange(n, dtype=np.int32), (len(coef), 1)),
            np.full(len(coef), np.inf), np.zeros(len(coef)),
            *(np.zeros(len(coef), np.int32) for _ in range(3)),
        )  # fmt: skip
        for part in problems.each() if self.verbose else [problems]:
            self._run(data, samples, part, most)
        self.classes_ = classes
        self.coef_ = coef
        self.intercept_ = intercept if binary else intercept.astype(dtype)
        self.n_iter_ = int(problems.epochs.max())
        self.t_ = t + self.n_iter_ * n

    def _run(self, data: Any, samples: Samples, problems: Problems, most: int) -> None:
        """Epochs until all problems have stopped; ValueError where weights overflow."""
        tol = -np.inf if self.tol is None else float(self.tol)
        decay = 1.0 if samples.columns is None else _SPARSE_DECAY
        patience = min(int(self.n_iter_no_change), _MOST)
        rule = Rule(float(self.eta0), decay, bool(self.fit_intercept), bool(self.shuffle),
                    -np.inf if self.early_stopping else tol, patience)  # fmt: skip
        work = samples.values.size * len(problems.positive) + len(samples.labels)
        step = 1 if self.verbose or self.early_stopping else max(1, _SLICE // work)
        count = len(problems.positive)
        best, idle = np.full(count, -np.inf), np.zeros(count, np.int64)
        held = samples.held_out == 1
        learnt = int((~held).sum())
        rows = samples.values if samples.columns is None else data.astype(samples.values.dtype)
        validation = (rows[held], samples.labels[held], samples.weights[held])
        done = 0
        while done < most and (problems.status == RUNNING).any():
            running = problems.status == RUNNING
            step = min(step, most - done)
            run_epochs(samples, problems, rule, step)
            done += step
            if (problems.status == OVERFLOWED).any():
                epoch = int(problems.epochs[problems.status == OVERFLOWED][0])
                raise ValueError(
                    f"Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input "
                    "data with StandardScaler or MinMaxScaler might help."
                )
            for k in np.flatnonzero(running) if self.early_stopping else ():
                X, labels, weights = validation
                scores = X @ problems.coef[k : k + 1].T + problems.intercept[k : k + 1]
                right = (scores.ravel() > 0) == (labels == problems.positive[k])
                score = float(np.average(right, weights=weights))
                idle[k] = idle[k] + 1 if tol > -np.inf and score < best[k] + tol else 0
                best[k] = max(best[k], score)
                if idle[k] >= patience:
                    problems.status[k] = STOPPED
            if self.verbose:
                extra = f", Validation score: {score:f}" if self.early_stopping else ""
                print(
                    f"-- Epoch {done}\nNorm: {np.linalg.norm(problems.coef):.2f}, "
                    f"NNZs: {np.count_nonzero(problems.coef)}, "
                    f"Bias: {problems.intercept[0]:.6f}, T: {done * learnt}, "
                    f"Avg. loss: {problems.loss[0] / learnt:f}{extra}"
                )

    # Asking

    def decision_function(self, X: Any) -> NDArray[Any]:
        """w.x + b of each sample.

        Parameters
        ----------
        X : array_like or sparse matrix (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples,) of two classes, above 0 for ``classes_[1]``; else (n_samples,
        n_classes)
        """
        self._check_fitted("coef_", "decision_function")
        scores = self._like_fitted(X, sparse=True) @ self.coef_.T
        if hasattr(scores, "toarray"):
            scores = scores.toarray()
        values: NDArray[Any] = scores + self.intercept_
        return values.ravel() if values.shape[1:] == (1,) else values

    def predict(self, X: Any) -> NDArray[Any]:
        """The class (n_samples,) of each sample of X (n_samples, n_features)."""
        self._check_fitted("coef_", "predict")
        scores = self.decision_function(X)
        places = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[places]
        return predicted

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of the samples of X whose class y (n_samples,) is predicted.

        ``sample_weight`` (n_samples,) weighs them; ValueError where y has another shape.
        """
        predicted, y = self.predict(X), np.asarray(y)
        if y.shape != predicted.shape:
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: "
                f"{[len(y), len(predicted)]}"
            )
        return float(np.average(y == predicted, weights=sample_weight))

    def sparsify(self) -> Self:
        """Make `coef_` a sparse matrix of SciPy, which saves memory where it is mostly zeros."""
        self._check_fitted("coef_", "sparsify")
        self.coef_ = needs("scipy.sparse", "sparsify").csr_array(self.coef_)
        return self

    def densify(self) -> Self:
        """Make `coef_` an array again, as training needs it."""
        self._check_fitted("coef_", "densify")
        if hasattr(self.coef_, "toarray"):
            self.coef_ = self.coef_.toarray()
        return self

    # Understanding

    plot = pictures.plot

    def trace(self, X: Any, y: Any, coef_init: Any = None, intercept_init: Any = None) -> Trace:
        """Every step of the rule as a table, as one works it by hand; nothing is kept.

        The neuron fires (says 1, the second class) where z = w.x + b >= 0; its error is target
        minus output, and each sample changes w by eta0 error x and b by eta0 error. The numbers are
        exact, not rounded to floats. Samples come in the order of X with ``shuffle=False``, else in
        that of `fit`. It ends after an epoch without errors, where weights come that were there
        before (with ``shuffle=False``: then it would go on like this for ever), or with `max_iter`.

        `fit` differs in one thing: where w.x + b is exactly 0 it takes the sample for wrong,
        whatever its class.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
        y : array_like (n_samples,)
            Two classes.
        coef_init : array_like (n_features,), intercept_init : float, optional
            Weights to begin with [0].

        Raises
        ------
        ValueError
            As in `fit`, or another number of classes than two.

        Examples
        --------
        >>> import firth
        >>> neuron = firth.Perceptron(eta0=0.5, shuffle=False)
        >>> print(neuron.trace([[0], [1]], [1, 0]))
        epoch  sample  x1  target     z  output  error    w1     b
                                                           0     0
            1       0   0       1     0       1      0     0     0
            1       1   1       0     0       1     -1  -0.5  -0.5
            2       0   0       1  -0.5       0     +1  -0.5     0
            2       1   1       0  -0.5       0      0  -0.5     0
            3       0   0       1     0       1      0  -0.5     0
            3       1   1       0  -0.5       0      0  -0.5     0
        """
        self._check_all()
        labels = labels_of(y, type(self).__name__)
        classes = classes_of(labels)
        data = self._checked(X)
        if len(labels) != len(data):
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: "
                f"{[len(data), len(labels)]}"
            )
        if len(classes) != 2:
            raise ValueError(f"trace: y must have two classes, got {len(classes)}")
        coef = np.zeros(data.shape[1], int) if coef_init is None else np.asarray(coef_init).ravel()
        intercept = np.asarray(0 if intercept_init is None else intercept_init).ravel()
        if coef.shape != data.shape[1:] or intercept.shape != (1,):
            raise ValueError("trace: coef_init or intercept_init does not match dataset.")
        for name, values in (("coef_init", coef), ("intercept_init", intercept)):
            check_finite(values, name)
        targets = places_of(labels, classes)
        _, seeds = draw(self.random_state, 1, None, targets, targets)
        return traced(
            data, targets, coef, intercept[0], rate=self.eta0, fit_intercept=self.fit_intercept,
            most=self.max_iter, seed=int(seeds[0]) if self.shuffle else None,
        )  # fmt: skip
