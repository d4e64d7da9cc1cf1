"""`MLPClassifier` and `MLPRegressor`: scikit-learn's classes of these names, and what they lack.

`mlp_base` trains, `mlp_reference` has the formulas. n = samples, d = features. (Above 500 lines:
half of them are the parameters and attributes of two classes, which are scikit-learn's.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firth.networks import pictures
from firth.networks.inputs import class_weights, classes_of
from firth.networks.mlp_base import MultilayerPerceptron
from firth.networks.mlp_targets import (
    Classes,
    accuracy,
    find_classes,
    labels_from,
    r2,
    read_labels,
    read_numbers,
    targets_of,
)

if TYPE_CHECKING:
    from typing_extensions import Self

_OUTPUTS = {"binary": "logistic", "multilabel": "logistic", "multiclass": "softmax"}


class MLPClassifier(MultilayerPerceptron):
    """Fully connected layers that tell classes apart, trained by the slope of their loss.

    Parameters, attributes, methods and results are those of
    ``sklearn.neural_network.MLPClassifier`` 1.9; `class_weight`, `dropout`, two schedules of
    `learning_rate`, `progress`, `plot` and `plot_curves` are more than it has.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, or int, default (100,)
        Units of each hidden layer; () is logistic regression.
    activation : {"identity", "logistic", "tanh", "relu"}, default "relu"
        Of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default "adam"
        lbfgs looks at all samples for each step and is best for few of them; it needs SciPy.
    alpha : float, default 0.0001
        Factor of the penalty ``|coefs|^2 / 2``, which is divided by the samples of the batch.
    batch_size : int or "auto", default "auto"
        Samples of a step, "auto" min(200, n).
    learning_rate : {"constant", "invscaling", "adaptive", "cosine", "onecycle"}
        invscaling (rate / t^power_t) and adaptive (a fifth of it where `n_iter_no_change` epochs
        brought nothing) are for sgd. cosine falls to 0 along half a wave over the steps of
        `max_iter` epochs; onecycle rises from a 25th for 30 % of them before it falls.
    learning_rate_init : float, default 0.001
    power_t : float, default 0.5
    max_iter : int, default 200
        Epochs at most; of lbfgs steps.
    shuffle : bool, default True
        Whether each epoch has another order.
    random_state : int, RandomState or None, default None
    tol : float, default 1e-4
        An epoch whose loss is not lower than the best by this counts as idle; the slope at which
        lbfgs stops.
    verbose : bool, default False
        Whether each epoch prints its loss.
    warm_start : bool, default False
        Whether `fit` begins with the weights that there are.
    momentum : float, default 0.9
    nesterovs_momentum : bool, default True
    early_stopping : bool, default False
        Hold out `validation_fraction` of the samples, call an epoch idle that does not raise their
        score by `tol`, and keep the weights of the best.
    validation_fraction : float, default 0.1
    beta_1, beta_2, epsilon : float, default 0.9, 0.999, 1e-8
        Of adam.
    n_iter_no_change : int or inf, default 10
        Training ends when more epochs in a row are idle.
    max_fun : int, default 15000
        Losses that lbfgs computes at most.
    dropout : float, default 0.0
        Probability with which a step leaves out each hidden unit; others count 1 / (1 - dropout).
    class_weight : dict, "balanced" or None
        Factors of losses, by label; not for tables of labels.
    progress : bool, optional
        A bar with rate and ETA: always, never, or (None) only on a terminal and in a notebook.

    Attributes
    ----------
    coefs_ : list of ndarray (units of a layer, units of the next)
        float32 where X was, else float64.
    intercepts_ : list of ndarray (units,)
    classes_ : ndarray (n_classes,)
    loss_ : float
        Of the last epoch, with its penalty.
    loss_curve_ : list of float
        Of each epoch; not of lbfgs, as the next three.
    best_loss_ : float or None
    validation_scores_, best_validation_score_ : list of float, float; None without early_stopping
    n_iter_ : int
        Epochs; of lbfgs steps.
    t_ : int
        Samples that were learnt from, repeated ones included.
    n_layers_, n_outputs_ : int
    out_activation_ : str
        logistic for two classes and for tables of labels, softmax for more classes.
    n_features_in_, feature_names_in_

    Notes
    -----
    Random numbers are scikit-learn's, and in float64 results agree with its to about 1e-6 after
    whole trainings: sums are added in another order. The prediction for a row has the same bits in
    any batch. Sparse X needs SciPy. A batch whose weights are all 0 is passed over, and lbfgs too
    gives weights of the dtype of X.

    >>> import firth
    >>> model = firth.MLPClassifier((2,), "tanh", learning_rate_init=0.01, max_iter=10_000,
    ...                             random_state=42)
    >>> model.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    MLPClassifier(activation='tanh', hidden_layer_sizes=(2,), learning_rate_init=0.01, max_iter=10000, random_state=42)
    >>> model.predict([[0, 0], [0, 1], [1, 0], [1, 1]])
    array([0, 1, 1, 0])
    """  # noqa: E501 - a line of output

    classes_: NDArray[Any]
    _kind: str

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        class_weight: Any = None,
        progress: bool | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.class_weight = class_weight
        self.progress = progress

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(multi_label=True),
            input_tags=InputTags(sparse=True),
        )

    def _check_all(self) -> None:
        super()._check_all()
        given = self.class_weight
        self._check_parameters({
            "class_weight": ("a dict, 'balanced' or None", given is None or isinstance(given, dict)
                             or (isinstance(given, str) and given == "balanced")),
        })  # fmt: skip

    @property
    def _classes(self) -> Classes:
        return Classes(self._kind, self.classes_)

    # Training

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from all samples until epochs bring nothing. Returns self.

        Parameters
        ----------
        X : array_like or sparse matrix (n_samples, n_features)
            float32 is trained in float32, others in float64.
        y : array_like (n_samples,) or (n_samples, n_outputs)
            Labels: whole numbers or strings; or a table of 0 and 1, of which each column is a class
            that a sample may have.
        sample_weight : array_like (n_samples,) or float, optional
            Factors of losses.

        Raises
        ------
        TypeError, ValueError
            A parameter is out of its range; X is not 2-D, empty, complex, NaN or infinite; y is of
            another length or no labels; weights do not fit, or overflowed.
        ImportError
            ``solver="lbfgs"`` without SciPy.

        Warns
        -----
        ConvergenceWarning
            Training ended with `max_iter`. (A UserWarning where scikit-learn is not in use.)
        """
        self._check_all()
        labels = read_labels(y, type(self).__name__)
        classes = find_classes(labels)
        if self.warm_start and hasattr(self, "coefs_"):
            if classes.kind != self._kind or not np.array_equal(classes.labels, self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous "
                    f"call to fit. Previously got {self.classes_}, `y` has {classes.labels}"
                )
            classes = self._classes
        self._learn_labels(X, labels, classes, sample_weight, partial=False)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Learn from these samples once; sgd and adam only. Returns self.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`; y need not have all classes.
        classes : array_like (n_classes,)
            All classes that there will be; only the first call needs them.
        """
        self._check_partial_fit()
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit: pass weights as a dict, "
                "as sklearn.utils.compute_class_weight gives them for all samples."
            )
        labels = read_labels(y, type(self).__name__)
        if first:
            known = find_classes(labels if labels.ndim == 2 else classes_of(np.asarray(classes)))
        else:
            known = self._classes
        if classes is not None and not np.array_equal(
            classes_of(np.asarray(classes)), known.labels
        ):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{known.labels!r}"
            )
        self._learn_labels(X, labels, known, sample_weight, partial=True)
        return self

    def _learn_labels(
        self, X: Any, y: NDArray[Any], classes: Classes, sample_weight: Any, *, partial: bool
    ) -> None:
        targets = targets_of(y, classes)
        factors = None
        if self.class_weight is not None:
            if classes.kind == "multilabel":
                raise ValueError("class_weight is for single labels, y is a table of them")
            places = (
                targets.argmax(axis=1) if classes.kind == "multiclass" else targets[:, 0]
            ).astype(np.int32)
            factors = class_weights(self.class_weight, places, classes.labels)[places]
        self._learn(X, targets, sample_weight, _OUTPUTS[classes.kind], partial=partial,
                    stratify=classes.kind == "binary", factors=factors)  # fmt: skip
        self._kind, self.classes_ = classes

    def _validation_score(self, outputs: Any, y: Any, output: str, weights: Any) -> float:
        return accuracy(outputs, y, output, weights)

    # Asking

    def predict(self, X: Any) -> NDArray[Any]:
        """The class (n_samples,) of each sample of X (n_samples, n_features), or a table.

        The table (n_samples, n_outputs) is of 0 and 1, where one was fitted.
        """
        outputs = self._outputs(X, "predict")
        return labels_from(outputs, self._classes)

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """The probability of each class.

        Parameters
        ----------
        X : array_like or sparse matrix (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_classes)
            In the order of `classes_`. Rows sum to 1, but for tables of labels.
        """
        outputs = self._outputs(X, "predict_proba")
        return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """The logarithm of `predict_proba`, (n_samples, n_classes); -inf where that is 0."""
        with np.errstate(divide="ignore"):
            logarithms: NDArray[Any] = np.log(self.predict_proba(X))
        return logarithms

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of the samples of X whose y, labels or a row of a table, is predicted.

        Parameters
        ----------
        X : array_like or sparse matrix (n_samples, n_features)
        y : array_like (n_samples,), or (n_samples, n_labels)
        sample_weight : array_like (n_samples,), optional

        Raises
        ------
        ValueError
            y has another shape than what is predicted.
        """
        predicted, y = self.predict(X), np.asarray(y)
        if y.shape != predicted.shape:
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: "
                f"{[len(y), len(predicted)]}"
                if len(y) != len(predicted)
                else f"score: y must have shape {predicted.shape}, got {y.shape}"
            )
        right = (y == predicted).all(axis=1) if y.ndim == 2 else y == predicted
        return float(np.average(right, weights=sample_weight))

    # Understanding

    plot = pictures.plot


class MLPRegressor(MultilayerPerceptron):
    """Fully connected layers that predict numbers, trained by the slope of their loss.

    Parameters, attributes, methods and results are those of
    ``sklearn.neural_network.MLPRegressor`` 1.9; `dropout`, two schedules of `learning_rate`,
    `progress` and `plot_curves` are more than it has.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default "squared_error"
        Half the squared error, the mean over outputs; or half the Poisson deviance, whose outputs
        are exponentials and whose y is at least 0.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init,
    power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum,
    nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon,
    n_iter_no_change, max_fun, dropout, progress
        As of `MLPClassifier`.

    Attributes
    ----------
    coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_,
    best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, n_features_in_, feature_names_in_
        As of `MLPClassifier`; scores are R^2.
    out_activation_ : str
        identity, or exp for the loss poisson.

    Notes
    -----
    As of `MLPClassifier`.

    >>> import firth
    >>> model = firth.MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", random_state=0)
    >>> model.fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]).predict([[3.0]]).round(2)
    array([7.])
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        progress: bool | None = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.progress = progress

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(sparse=True),
        )

    def _check_all(self) -> None:
        super()._check_all()
        self._check_parameters(
            {"loss": ("a str among ['poisson', 'squared_error']",
                      isinstance(self.loss, str) and self.loss in ("squared_error", "poisson"))}
        )  # fmt: skip

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from all samples until epochs bring nothing. Returns self.

        Parameters
        ----------
        X : array_like or sparse matrix (n_samples, n_features)
            float32 is trained in float32, others in float64.
        y : array_like (n_samples,) or (n_samples, n_outputs)
            Real numbers.
        sample_weight : array_like (n_samples,) or float, optional
            Factors of losses.

        Raises
        ------
        TypeError, ValueError, ImportError
            As of `MLPClassifier.fit`; y is no numbers, or negative for the loss poisson.

        Warns
        -----
        ConvergenceWarning
            Training ended with `max_iter`. (A UserWarning where scikit-learn is not in use.)
        """
        self._check_all()
        self._learn_numbers(X, y, sample_weight, partial=False)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from these samples, as given to `fit`, once; sgd and adam only. Returns self."""
        self._check_partial_fit()
        self._learn_numbers(X, y, sample_weight, partial=True)
        return self

    def _learn_numbers(self, X: Any, y: Any, sample_weight: Any, *, partial: bool) -> None:
        targets = read_numbers(y, type(self).__name__)
        if self.loss == "poisson" and (targets < 0).any():
            raise ValueError("y: the loss poisson needs numbers of at least 0")
        output = "exp" if self.loss == "poisson" else "identity"
        targets = targets.reshape(len(targets), -1)
        self._learn(X, targets, sample_weight, output, partial=partial)

    def _validation_score(self, outputs: Any, y: Any, output: str, weights: Any) -> float:
        return r2(y, outputs, weights) if np.isfinite(outputs).all() else float("nan")

    def predict(self, X: Any) -> NDArray[Any]:
        """The numbers (n_samples,) of X (n_samples, n_features), (n_samples, n_outputs) of more."""
        outputs = self._outputs(X, "predict")
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2: the share of the variance of y that is predicted, the mean over outputs.

        1 at best, and negative where the mean of y is nearer. Arguments are those of `fit`;
        ValueError for another number of samples.
        """
        predicted, y = self.predict(X), np.asarray(y)
        if len(y) != len(predicted):
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: "
                f"{[len(y), len(predicted)]}"
            )
        return r2(y, predicted, sample_weight)
