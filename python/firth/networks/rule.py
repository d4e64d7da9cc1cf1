"""Epochs of the perceptron's rule as scikit-learn 1.9 runs them, to the same bits.

`reference` says what an epoch computes; `run_epochs` runs it, or native code where the backend is
not numpy. n = samples, d = features, K = problems, T = float32 or float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels import active
from firth.kernels._dispatch import active_level

Floats = NDArray[np.float32] | NDArray[np.float64]

RUNNING, STOPPED, OVERFLOWED = range(3)


@dataclass(frozen=True)
class Samples:
    """What is learnt from, contiguous. Sparse samples have columns and starts, as CSR matrices."""

    values: Floats  # (n, d), or all numbers of sparse samples
    columns: NDArray[np.int32] | None
    starts: NDArray[np.int32] | None  # (n + 1,)
    labels: NDArray[np.int32]  # (n,), from 0
    weights: Floats  # (n,)
    held_out: NDArray[np.uint8]  # (n,), 1 where a sample is not learnt from


@dataclass(frozen=True)
class Problems:
    """K classifiers, each of one label against all others, and how far they got."""

    positive: NDArray[np.int32]  # (K,), the label
    weights: NDArray[np.float64]  # (K, 2), of its samples, of the others
    seeds: NDArray[np.uint32]  # (K,), of the order
    coef: Floats  # (K, d)
    intercept: NDArray[np.float64]  # (K,)
    order: NDArray[np.int32]  # (K, n), of the last epoch
    best: NDArray[np.float64]  # (K,), the least mean loss of an epoch
    loss: NDArray[np.float64]  # (K,), the sum of the last epoch
    idle: NDArray[np.int32]  # (K,), epochs in a row that were no better than the best
    epochs: NDArray[np.int32]  # (K,), how many there were
    status: NDArray[np.int32]  # (K,), RUNNING, STOPPED or OVERFLOWED

    def each(self) -> Iterator[Problems]:
        """Each problem alone, as views."""
        for k in range(len(self.positive)):
            yield Problems(**{name: value[k : k + 1] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Rule:
    """How problems are learnt; an epoch counts as better if its mean loss is, by ``tol``."""

    rate: float
    intercept_decay: float  # by which updates of the intercept are multiplied
    fit_intercept: bool
    shuffle: bool
    tol: float  # -inf: never stop
    patience: int  # idle epochs after which a problem stops


def run_epochs(samples: Samples, problems: Problems, rule: Rule, most: int) -> None:
    """Run at most ``most`` further epochs of each problem that is running, in place."""
    if active() == "numpy":
        reference(samples, problems, rule, most)
    else:
        _native.networks.perceptron_epochs(
            active_level(), samples, problems, **vars(rule), most=most
        )


def shuffled(n: int, seed: int) -> NDArray[np.int64]:
    """Where each sample of an epoch stood in the one before.

    Fisher-Yates with Marsaglia's xorshift of 32 bits, of which 31 are taken. All epochs are
    shuffled with the same seed, so all move alike.
    """
    places, state = np.arange(n), seed or 1
    for i in range(n - 1):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        j = i + (state & 0x7FFFFFFF) % (n - i)
        places[[i, j]] = places[[j, i]]
    return places


def reference(samples: Samples, problems: Problems, rule: Rule, most: int) -> None:
    """What `run_epochs` computes."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for problem in problems.each():
            _learn(samples, problem, rule, most)


def _learn(samples: Samples, problem: Problems, rule: Rule, most: int) -> None:
    order, w, dtype = problem.order[0], problem.coef[0], problem.coef.dtype
    n, d = len(order), len(w)
    positive = samples.labels == problem.positive[0]
    y = np.where(positive, 1.0, -1.0)
    weights = np.where(positive, *problem.weights[0]).astype(dtype) * samples.weights
    learnt = samples.held_out == 0
    places = shuffled(n, int(problem.seeds[0])) if rule.shuffle else np.arange(n)
    for _ in range(most):
        if problem.status[0] != RUNNING:
            break
        order[:] = order[places]
        loss, intercept = 0.0, float(problem.intercept[0])
        for i in order[learnt[order]].tolist():
            if samples.columns is None or samples.starts is None:
                x, columns = samples.values[i], np.arange(d, dtype=np.int32)
            else:
                here = slice(samples.starts[i], samples.starts[i + 1])
                x, columns = samples.values[here], samples.columns[here]
            # Products in T, added one after the other in float64.
            terms = np.concatenate([[0.0], w[columns] * x])
            z = (float(dtype.type(np.cumsum(terms)[-1])) + intercept) * y[i]
            if not z <= 0:
                continue
            loss -= z
            update = rule.rate * y[i] * float(weights[i])
            if update == 0:
                continue
            c = float(dtype.type(update))
            for j, value in zip(columns.tolist(), x.tolist(), strict=True):
                w[j] = float(w[j]) + value * c
            if rule.fit_intercept:
                intercept += update * rule.intercept_decay
        problem.intercept[0], problem.loss[0] = intercept, loss
        problem.epochs[0] += 1
        if not (np.isfinite(w).all() and np.isfinite(intercept)):
            problem.status[0] = OVERFLOWED
            break
        mean = loss / int(learnt.sum())
        idle = rule.tol > -np.inf and mean > problem.best[0] - rule.tol
        problem.idle[0] = problem.idle[0] + 1 if idle else 0
        problem.best[0] = min(problem.best[0], mean)
        if problem.idle[0] >= rule.patience:
            problem.status[0] = STOPPED
