"""What `MLPClassifier` and `MLPRegressor` share: parameters, training by epochs, outputs.

`mlp_reference` has the steps, `mlp_targets` what is learnt. n = samples, d = features, K = outputs.
(Above 500 lines: one training, whose parts share all parameters.)
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firth import kernels
from firth.errors import warn
from firth.estimator import Estimator, integer, real, warning
from firth.networks.inputs import generator, hold_out, sample_weights
from firth.networks.mlp_native import Native
from firth.networks.mlp_reference import (
    Network,
    Optimizer,
    Reference,
    Samples,
    activated,
    gradient,
    split,
)
from firth.optional import needs
from firth.progress import progress_bar

if TYPE_CHECKING:
    pass

_SLICE = 1 << 31  # multiplications between two looks at Ctrl-C
_SHOWN_SECONDS = 0.1  # between two looks at the progress bar
_LEAST_RATE = 1e-6  # at which an adaptive rate stops training
_WARM, _START, _END = 0.3, 1 / 25, 1 / 25e4  # of onecycle: share of steps that rise, factors


@dataclass
class State:
    """What further training needs besides the weights; no attribute of scikit-learn's."""

    optimizer: Optimizer | None = None
    rate_init: float = 0.0  # and the rest: of the call that made the optimizer
    schedule: str = "constant"
    power_t: float = 0.5
    idle: int = 0  # epochs in a row that brought nothing


class MultilayerPerceptron(Estimator):
    """Fully connected layers, trained by stochastic gradients or L-BFGS."""

    coefs_: list[NDArray[Any]]
    intercepts_: list[NDArray[Any]]
    loss_: float
    best_loss_: float | None
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    n_iter_: int
    t_: int
    n_layers_: int
    n_outputs_: int
    out_activation_: str
    _state: State

    # The constructor's arguments, for type checkers: subclasses set them.
    hidden_layer_sizes: Any
    activation: str
    solver: str
    alpha: float
    batch_size: Any
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: Any
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: Any
    max_fun: int
    dropout: float
    progress: bool | None

    def _check_all(self) -> None:
        def at_least(least: float, value: Any) -> bool:
            return real(value) and least <= value < math.inf

        def one_of(*names: str) -> dict[str, Any]:
            return {"names": names}

        state = self.random_state
        texts = {
            "activation": one_of("identity", "logistic", "tanh", "relu"),
            "solver": one_of("lbfgs", "sgd", "adam"),
            "learning_rate": one_of("constant", "invscaling", "adaptive", "cosine", "onecycle"),
        }
        wanted = {
            name: (f"a str among {sorted(kinds['names'])}", getattr(self, name) in kinds["names"]
                   if isinstance(getattr(self, name), str) else False)
            for name, kinds in texts.items()
        }  # fmt: skip
        wanted |= {
            name: ("a float of at least 0", at_least(0, getattr(self, name)))
            for name in ("alpha", "power_t", "tol")
        }
        wanted |= {
            name: ("a float above 0", at_least(0, getattr(self, name)) and getattr(self, name) > 0)
            for name in ("learning_rate_init", "epsilon")
        }
        wanted |= {
            name: ("a float from 0 to below 1", at_least(0, getattr(self, name))
                   and getattr(self, name) < 1)
            for name in ("validation_fraction", "beta_1", "beta_2", "dropout")
        }  # fmt: skip
        wanted |= {
            name: ("an int of at least 1", integer(getattr(self, name))
                   and getattr(self, name) >= 1)
            for name in ("max_iter", "max_fun")
        }  # fmt: skip
        wanted |= {
            name: ("a bool", isinstance(getattr(self, name), (bool, np.bool_)))
            for name in ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping")
        }
        wanted |= {
            "batch_size": ("'auto' or an int of at least 1",
                           (isinstance(self.batch_size, str) and self.batch_size == "auto")
                           or (integer(self.batch_size) and self.batch_size >= 1)),
            "hidden_layer_sizes": ("an array-like of ints, or an int of at least 1",
                                   not integer(self.hidden_layer_sizes)
                                   or self.hidden_layer_sizes >= 1),
            "momentum": ("a float from 0 to 1",
                         at_least(0, self.momentum) and self.momentum <= 1),
            "n_iter_no_change": ("an int of at least 1 or inf",
                                 (integer(self.n_iter_no_change) and self.n_iter_no_change >= 1)
                                 or (real(self.n_iter_no_change)
                                     and self.n_iter_no_change == math.inf)),
            "random_state": ("an int from 0 to 2^32 - 1, a RandomState or None",
                             state is None or state is np.random
                             or isinstance(state, np.random.RandomState)
                             or (integer(state) and 0 <= state < 1 << 32)),
            "verbose": ("a bool or an int of at least 0", isinstance(self.verbose, (bool, np.bool_))
                        or (integer(self.verbose) and self.verbose >= 0)),
            "progress": ("a bool or None", self.progress is None
                         or isinstance(self.progress, (bool, np.bool_))),
        }  # fmt: skip
        self._check_parameters(wanted)
        if self.solver == "lbfgs" and self.dropout:
            raise ValueError(
                "dropout: solver='lbfgs' needs the same loss at each look, which dropout changes: "
                "use 'adam' or 'sgd'"
            )

    def _sizes(self) -> tuple[int, ...]:
        given = self.hidden_layer_sizes
        sizes = list(given) if hasattr(given, "__iter__") else [given]
        if not all(integer(size) for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be ints, got {given!r}")
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return tuple(int(size) for size in sizes)

    def _check_partial_fit(self) -> None:
        self._check_all()
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.learning_rate in ("cosine", "onecycle"):
            raise ValueError(
                f"partial_fit: learning_rate={self.learning_rate!r} goes by the epochs of fit, "
                "of which there is no number here"
            )

    # Subclasses say what outputs are for.

    def _validation_score(self, outputs: Any, y: Any, output: str, weights: Any) -> float:
        raise NotImplementedError

    # Training

    def _learn(
        self, X: Any, y: NDArray[Any], weights: Any, output: str, *, partial: bool,
        stratify: bool = False, factors: NDArray[Any] | None = None,
    ) -> None:  # fmt: skip
        """Train on targets y (n, K), from the start or, in further training, from what there is.

        Nothing of the estimator changes before training ends. ``weights`` are as given to `fit`,
        ``factors`` (n,) what they are multiplied by.
        """
        sizes = self._sizes()
        more = hasattr(self, "coefs_") and (partial or self.warm_start)
        data = self._like_fitted(X, sparse=True) if more else self._checked(X, sparse=True)
        n, d = data.shape
        if len(y) != n:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {[n, len(y)]}"
            )
        dtype = np.dtype(np.float32 if data.dtype == np.float32 else np.float64)
        units = (d, *sizes, y.shape[1])
        if more:
            dtype = self.coefs_[0].dtype
            found = (d, *(len(intercept) for intercept in self.intercepts_))
            if found != units:
                raise ValueError(
                    f"warm_start or partial_fit: layers of {units} units cannot go on with "
                    f"weights of {found}; use fit without warm_start"
                )
        if weights is not None or factors is not None:
            weights = sample_weights(weights, n, dtype, False)
            if factors is not None:
                weights = sample_weights(weights * factors, n, dtype, False)
        random = generator(self.random_state)
        if more:
            values = np.concatenate([w.ravel() for w in self.coefs_ + self.intercepts_])
        else:
            values = self._drawn(units, random).astype(dtype)
        network = Network(units, self.activation, output, values)
        X_own = data.astype(dtype, copy=False)
        samples = Samples(
            X_own if hasattr(data, "toarray") else np.require(X_own, dtype, ["C", "A"]),
            np.require(y, dtype, ["C", "A"]), weights,
        )  # fmt: skip
        found_here: dict[str, Any] = {"t_": self.t_ if more else 0}
        if self.solver == "lbfgs":
            self._by_lbfgs(network, samples, found_here)
        else:
            state = self._state if more else State()
            self._by_steps(network, samples, found_here, random, state, partial, stratify)
        if not np.isfinite(network.values).all():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        if not more:
            self._set_features(X, data)
        coefs, intercepts = network.layers
        self.coefs_ = [coef.copy() for coef in coefs]
        self.intercepts_ = [intercept.copy() for intercept in intercepts]
        self.n_layers_, self.n_outputs_, self.out_activation_ = len(units), units[-1], output
        self.__dict__.update(found_here)

    def _drawn(self, units: tuple[int, ...], random: Any) -> NDArray[np.float64]:
        """Weights to begin with, by Glorot and Bengio (2010)."""
        values = np.empty(sum((a + 1) * b for a, b in itertools.pairwise(units)))
        for coef, intercept in zip(*split(values, units), strict=True):
            bound = math.sqrt((2.0 if self.activation == "logistic" else 6.0) / sum(coef.shape))
            coef[:] = random.uniform(-bound, bound, coef.shape)
            intercept[:] = random.uniform(-bound, bound, intercept.shape)
        return values

    def _by_lbfgs(self, network: Network, samples: Samples, found: dict[str, Any]) -> None:
        optimize = needs("scipy.optimize", f"{type(self).__name__} with solver='lbfgs'")
        wide = Network(network.units, network.activation, network.output, network.values)
        into = np.empty(len(network.values), np.float64)

        def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            wide.values = values
            return gradient(wide, samples, float(self.alpha), into), into

        result = optimize.minimize(
            loss, network.values, method="L-BFGS-B", jac=True,
            options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
        )  # fmt: skip
        if result.status != 0:
            more = f" Increase max_iter={self.max_iter}." if result.nit >= self.max_iter else ""
            warn(
                f"lbfgs failed to converge after {result.nit} iteration(s) "
                f"(status={result.status}): {result.message}.{more} You might also want to scale "
                "the data.",
                warning("ConvergenceWarning"),
            )
        network.values[:] = result.x
        found.update(n_iter_=min(int(result.nit), int(self.max_iter)), loss_=float(result.fun))
        if self.verbose:
            print(f"Iteration {found['n_iter_']}, loss = {found['loss_']:.8f}")

    def _by_steps(
        self, network: Network, samples: Samples, found: dict[str, Any], random: Any, state: State,
        partial: bool, stratify: bool,
    ) -> None:  # fmt: skip
        """Epochs of sgd or adam, until they bring nothing; ``found`` gets the attributes."""
        optimizer = state.optimizer
        if optimizer is None or not partial:
            optimizer = self._optimizer(network.values)
            state = State(optimizer, float(self.learning_rate_init), self.learning_rate,
                          float(self.power_t), state.idle)  # fmt: skip
        else:
            state = State(optimizer, state.rate_init, state.schedule, state.power_t, state.idle)
        held_out = None
        if self.early_stopping:
            samples, held_out = self._held_out(samples, random, stratify)
        n = len(samples.y)
        size = min(200, n) if self.batch_size == "auto" else int(self.batch_size)
        if size > n:
            warn(f"batch_size={size} is larger than the {n} samples: they are one batch")
            size = n
        seed = int(random.randint(1 << 31, dtype=np.int64)) if self.dropout else 0
        # Sparse rows are multiplied by SciPy.
        kind = Reference if kernels.active() == "numpy" or hasattr(samples.X, "toarray") else Native
        trainer = kind(network, optimizer, samples, float(self.alpha), float(self.dropout), seed,
                       size)  # fmt: skip
        earlier = hasattr(self, "loss_curve_") and (partial or self.warm_start)
        curve = list(self.loss_curve_) if earlier else []
        scores = list(self.validation_scores_ or []) if earlier else []
        best_loss = self.best_loss_ if earlier else None
        best_loss = math.inf if best_loss is None else best_loss
        best_score = self.best_validation_score_ if earlier else None
        best_score = -math.inf if best_score is None else best_score
        best_values = network.values.copy() if held_out else None
        tol, patience = float(self.tol), self.n_iter_no_change
        order = np.arange(n)
        most = 1 if partial else int(self.max_iter)
        steps = -(-n // size)
        rates = np.full(steps, optimizer.rate)
        each = max(1, _SLICE // (6 * size * len(network.values)))  # steps of a call
        epoch, shown = 0, time.monotonic()
        try:
            with (
                progress_bar(most, "epochs", "training", False if partial else self.progress) as
                bar,
                np.errstate(over="ignore", invalid="ignore", divide="ignore"),
            ):  # fmt: skip
                while epoch < most:
                    if self.shuffle:
                        places = np.arange(n)
                        random.shuffle(places)
                        order = order[places]
                    if state.schedule in ("cosine", "onecycle"):
                        places = epoch * steps + np.arange(steps)
                        rates = scheduled(state.schedule, state.rate_init, places, most * steps)
                    elif rates[0] != optimizer.rate:
                        rates[:] = optimizer.rate
                    loss = 0.0
                    for first in range(0, steps, each):
                        rows = order[first * size : (first + each) * size]
                        loss += trainer.run(rows, rates[first : first + each])
                    epoch += 1
                    loss /= n
                    if not (math.isfinite(loss) or np.isfinite(network.values).all()):
                        break
                    curve.append(loss)
                    found["t_"] += n
                    if self.verbose:
                        print(f"Iteration {epoch}, loss = {loss:.8f}")
                    if held_out is not None:
                        score = self._held_out_score(network, held_out)
                        scores.append(score)
                        if self.verbose:
                            print(f"Validation score: {score:f}")
                        state.idle = state.idle + 1 if score < best_score + tol else 0
                        if score > best_score:
                            best_score, best_values = score, network.values.copy()
                    else:
                        state.idle = state.idle + 1 if loss > best_loss - tol else 0
                        best_loss = min(best_loss, loss)
                    if state.schedule == "invscaling" and self.solver == "sgd":
                        optimizer.rate = state.rate_init / (found["t_"] + 1) ** state.power_t
                    now = time.monotonic()
                    if now - shown > _SHOWN_SECONDS:
                        shown = now
                        bar.note(f"loss {loss:.4f}")
                        bar.update(epoch - bar.n)
                    if state.idle > patience and self._stops(optimizer, state):
                        break
                    if epoch == most and not partial:
                        warn(
                            f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached "
                            "and the optimization hasn't converged yet.",
                            warning("ConvergenceWarning"),
                        )
                bar.update(epoch - bar.n)
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
        if held_out is not None and best_values is not None:
            network.values[:] = best_values
        found.update(
            _state=state, n_iter_=epoch, loss_=curve[-1] if curve else math.nan, loss_curve_=curve,
            best_loss_=best_loss if held_out is None else None,
            validation_scores_=None if held_out is None else scores,
            best_validation_score_=None if held_out is None else best_score,
        )  # fmt: skip

    def _stops(self, optimizer: Optimizer, state: State) -> bool:
        """What follows idle epochs: the end, or (adaptive) a fifth of the rate."""
        what = "Validation score" if self.early_stopping else "Training loss"
        text = (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} "
            "consecutive epochs."
        )
        stops, end = True, " Stopping."
        if state.schedule == "adaptive" and self.solver == "sgd":
            stops = optimizer.rate <= _LEAST_RATE
            end = " Learning rate too small. Stopping."
            if not stops:
                state.idle = 0
                optimizer.rate /= 5.0
                end = f" Setting learning rate to {optimizer.rate:f}"
        if self.verbose:
            print(text + end)
        return stops

    def _optimizer(self, values: NDArray[Any]) -> Optimizer:
        adam = self.solver == "adam"
        return Optimizer(
            self.solver, float(self.learning_rate_init), float(self.momentum),
            bool(self.nesterovs_momentum), float(self.beta_1), float(self.beta_2),
            float(self.epsilon), np.zeros_like(values), np.zeros_like(values[: len(values) * adam]),
        )  # fmt: skip

    def _held_out(self, samples: Samples, random: Any, stratify: bool) -> tuple[Samples, Samples]:
        """The samples to learn from, and those of validation."""
        n, fraction = len(samples.y), float(self.validation_fraction)
        tested = math.ceil(fraction * n)
        if tested < 2 or tested >= n:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                f"your dataset: validation_fraction={fraction} of {n} samples holds out {tested}."
                if tested < 2
                else f"validation_fraction={fraction} of {n} samples leaves none to learn from"
            )
        labels = samples.y[:, 0] if stratify else None
        train, test = (
            Samples(samples.X[rows], samples.y[rows],
                    None if samples.weights is None else samples.weights[rows])
            for rows in hold_out(n, fraction, labels, random)
        )  # fmt: skip
        for part, what in ((train, "training"), (test, "validation")):
            if part.weights is not None and not part.weights.any():
                raise ValueError(
                    f"The sample weights for {what} set are all zero, consider using a different "
                    "random state."
                )
        return train, test

    def _held_out_score(self, network: Network, held_out: Samples) -> float:
        outputs = outputs_of(held_out.X, *network.layers, network.activation, network.output)
        return self._validation_score(outputs, held_out.y, network.output, held_out.weights)

    # Asking

    def _outputs(self, X: Any, method: str) -> NDArray[Any]:
        """Values of the last layer (n, K)."""
        self._check_fitted("coefs_", method)
        data = self._like_fitted(X, sparse=True)
        dtype = self.coefs_[0].dtype
        return outputs_of(
            data.astype(dtype, copy=False), self.coefs_, self.intercepts_, self.activation,
            self.out_activation_,
        )  # fmt: skip

    def plot_curves(self) -> Any:
        """Draw the loss of each epoch, and with ``early_stopping`` the validation scores.

        Returns
        -------
        matplotlib.figure.Figure
            Notebooks show it; ``.savefig("curves.png")`` saves it.

        Raises
        ------
        ValueError
            Not fitted, or by ``solver="lbfgs"``, which has no epochs.
        ImportError
            matplotlib is missing; the message says how to install it.
        """
        self._check_fitted("coefs_", "plot_curves")
        if not getattr(self, "loss_curve_", None):
            raise ValueError("plot_curves: solver='lbfgs' has no epochs, and so no curves")
        module = needs("matplotlib.figure", "plot_curves")
        needs("matplotlib.backends.backend_agg", "plot_curves").FigureCanvasAgg(
            figure := module.Figure(figsize=(6, 4), dpi=120, layout="constrained")
        )
        axes = figure.add_subplot()
        epochs = np.arange(1, len(self.loss_curve_) + 1)
        axes.plot(epochs, self.loss_curve_, color="#1f77b4", label="training loss")
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        if self.validation_scores_:
            right = axes.twinx()
            right.plot(epochs[-len(self.validation_scores_) :], self.validation_scores_,
                       color="#d62728", label="validation score")  # fmt: skip
            right.set_ylabel("validation score")
        figure.legend(loc="outside upper center", ncols=2)
        return figure


def outputs_of(
    X: Any, coefs: list[Any], intercepts: list[Any], activation: str, output: str
) -> NDArray[Any]:
    """Values (n, K) of the last layer; a row's bits do not depend on the others."""
    values = X
    for coef, intercept in zip(coefs, intercepts, strict=True):
        if hasattr(values, "toarray"):
            z = values @ coef + intercept
        else:
            z = kernels.matmul(values, coef, bias=intercept)
        values = activated(z, output if coef is coefs[-1] else activation)
    return np.asarray(values)


def scheduled(name: str, rate: float, steps: NDArray[Any], total: int) -> NDArray[np.float64]:
    """The rate of each of these steps (from 0) of ``total``.

    cosine: from ``rate`` to 0 along half a wave. onecycle (Smith and Topin 2017): along one from
    ``rate`` / 25 to ``rate`` in the first 30 % of the steps, then to ``rate`` / 250,000.
    """

    def between(begin: float, end: float, share: Any) -> Any:
        return end + (begin - end) * (1 + np.cos(np.pi * share)) / 2

    if name == "cosine":
        return np.asarray(rate * between(1, 0, steps / total))
    top, last = _WARM * total - 1, total - 1
    rises = between(_START, 1, steps / max(top, 1))
    falls = between(1, _END, np.maximum(steps - top, 0) / max(last - top, 1))
    rates: NDArray[np.float64] = rate * np.where(steps <= top, rises, falls)
    return rates
