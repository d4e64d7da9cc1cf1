"""What a multilayer perceptron computes, in NumPy: outputs, loss, gradient, updates.

This is the definition, and what runs with ``FIRTH_BACKEND=numpy``. Formulas are scikit-learn's.
n = samples, d = features, K = outputs. All weights are one array: those of each layer (inputs,
outputs), then the intercepts of each, so that an update is a few operations whatever the layers.

Backward, for the loss of a batch with weights s_i (1 where none are given) and S their sum:

    delta of the outputs = s_i (a - y) / S     as all three pairs of loss and output have it
    dW = a_before^T delta + alpha W / S        db = sum of the rows of delta
    delta before = (delta W^T) f'(z)           f' from the value f(z): tanh 1 - a^2, logistic
                                               a (1 - a), relu a > 0
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class Network:
    """Layers with their weights."""

    units: tuple[int, ...]  # d, hidden layers, K
    activation: str  # of hidden layers: identity, logistic, tanh or relu
    output: str  # of the last one: identity, exp (loss: poisson), logistic or softmax
    values: Array  # (number of all weights,)

    @property
    def layers(self) -> tuple[list[Array], list[Array]]:
        """Views of the weights: coefs (inputs, outputs) and intercepts (outputs,) of each layer."""
        return split(self.values, self.units)


def split(values: Array, units: Sequence[int]) -> tuple[list[Array], list[Array]]:
    """Views of one array of all weights, or of anything that there is for each of them."""
    coefs, intercepts, begin = [], [], 0
    for before, after in itertools.pairwise(units):
        coefs.append(values[begin : begin + before * after].reshape(before, after))
        begin += before * after
    for after in units[1:]:
        intercepts.append(values[begin : begin + after])
        begin += after
    return coefs, intercepts


@dataclass
class Optimizer:
    """How weights follow gradients, and what it remembers between steps."""

    solver: str  # sgd or adam
    rate: float  # of the step to come
    momentum: float
    nesterov: bool
    beta_1: float
    beta_2: float
    epsilon: float
    first: Array  # of each weight: the velocity of sgd, the mean gradient of adam
    second: Array  # of adam: the mean squared gradient; empty for sgd
    steps: int = 0

    def factor(self, rate: float) -> float:
        """The rate of the next step, made larger at the start of adam, whose means begin at 0."""
        if self.solver == "sgd":
            return rate
        t = self.steps + 1
        return float(rate * np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t))

    def update(self, values: Array, gradient: Array, rate: float) -> None:
        """Change ``values`` by one step of this rate."""
        rate = self.factor(rate)
        self.steps += 1
        if self.solver == "sgd":
            self.first[:] = self.momentum * self.first - rate * gradient
            values += self.momentum * self.first - rate * gradient if self.nesterov else self.first
            return
        self.first[:] = self.beta_1 * self.first + (1 - self.beta_1) * gradient
        self.second[:] = self.beta_2 * self.second + (1 - self.beta_2) * gradient**2
        values -= rate * self.first / (np.sqrt(self.second) + self.epsilon)


@dataclass
class Samples:
    """What is learnt. Rows of X may be those of a sparse matrix of SciPy."""

    X: Any  # (n, d), dtype of the weights
    y: Array  # (n, K), same dtype
    weights: Array | None  # (n,), same dtype


class Reference:
    """Steps of training over given rows."""

    def __init__(
        self, network: Network, optimizer: Optimizer, samples: Samples, alpha: float,
        dropout: float, seed: int,
    ) -> None:  # fmt: skip
        self.network, self.optimizer, self.samples = network, optimizer, samples
        self.alpha, self.dropout, self.seed = alpha, dropout, seed
        self._gradient = np.empty_like(network.values)

    def run(self, rows: NDArray[np.int64], size: int, rates: Array) -> float:
        """A step for each ``size`` of these rows, with its rate; the sum of losses x samples.

        A batch whose weights are all 0 says nothing, and is passed over.
        """
        total = 0.0
        for batch, rate in zip(range(0, len(rows), size), rates.tolist(), strict=True):
            chosen = rows[batch : batch + size]
            weights = None if self.samples.weights is None else self.samples.weights[chosen]
            if weights is not None and not weights.any():
                continue
            part = Samples(self.samples.X[chosen], self.samples.y[chosen], weights)
            masks = self._masks(len(chosen)) if self.dropout else None
            loss = gradient(self.network, part, self.alpha, self._gradient, masks, 1 - self.dropout)
            self.optimizer.update(self.network.values, self._gradient, rate)
            total += loss * len(chosen)
        return total

    def _masks(self, n: int) -> list[Array]:
        """For each hidden layer 0 with probability `dropout`, else 1 / (1 - dropout)."""
        return [
            dropout_mask(self.seed, self.optimizer.steps, layer, n * units, self.dropout)
            .reshape(n, units)
            .astype(self.network.values.dtype)
            for layer, units in enumerate(self.network.units[1:-1])
        ]


def gradient(
    network: Network,
    samples: Samples,
    alpha: float,
    out: Array,
    masks: list[Array] | None = None,
    kept: float = 1.0,
) -> float:
    """The loss of a batch with its penalty, and the gradient by all weights, into ``out``.

    ``masks`` (n, units) multiply the values of each hidden layer: 0, or 1 / ``kept``.
    """
    coefs = network.layers[0]
    of_coefs, of_intercepts = split(out, network.units)
    weights = samples.weights
    values = forward(network, samples.X, masks)
    total = float(len(samples.y) if weights is None else weights.sum())
    loss = loss_of(network.output, samples.y, values[-1], weights)
    loss += 0.5 * alpha * sum(float(np.vdot(coef, coef)) for coef in coefs) / total
    delta = values[-1] - samples.y
    if weights is not None:
        delta *= weights[:, None]
    for layer in range(len(coefs) - 1, -1, -1):
        of_coefs[layer][:] = (values[layer].T @ delta + alpha * coefs[layer]) / total
        of_intercepts[layer][:] = delta.sum(axis=0) / total
        if layer:
            delta = delta @ coefs[layer].T
            after = values[layer] if masks is None else kept * values[layer]
            if masks is not None:
                delta *= masks[layer - 1]
            if network.activation == "tanh":
                delta *= 1 - after**2
            elif network.activation == "logistic":
                delta *= after * (1 - after)
            elif network.activation == "relu":
                delta[after == 0] = 0
    return loss


def forward(network: Network, X: Any, masks: list[Array] | None = None) -> list[Any]:
    """X and the values of all layers after it, of which `masks` drop some of the hidden ones."""
    coefs, intercepts = network.layers
    values = [X]
    for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        z = values[-1] @ coef
        z += intercept
        last = layer == len(coefs) - 1
        z = activated(z, network.output if last else network.activation)
        values.append(z if last or masks is None else z * masks[layer])
    return values


def activated(z: Array, activation: str) -> Array:
    """f(z), z (n, units)."""
    if activation == "relu":
        return np.maximum(z, 0)
    if activation == "tanh":
        return np.tanh(z)
    if activation == "exp":
        return np.exp(z)
    if activation == "logistic":
        small = np.exp(-np.abs(z))
        return np.asarray(np.where(z < 0, small, z.dtype.type(1)) / (1 + small))
    if activation == "softmax":
        powers = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    return z


def loss_of(output: str, y: Array, p: Array, weights: Array | None) -> float:
    """The mean loss of outputs p for targets y, both (n, K): of that pair of output and loss."""
    if output == "identity":
        return 0.5 * float(np.average((y - p) ** 2, weights=weights, axis=0).mean())
    if output == "exp":
        positive = np.where(y > 0, y, 1)
        terms = y * np.log(positive / p) - y + p
        return float(np.average(terms, weights=weights, axis=0).sum())
    least = np.finfo(p.dtype).eps
    p = np.clip(p, least, 1 - least)
    logs = np.where(y > 0, np.log(p), 0 if output == "softmax" else np.log(1 - p))
    return -float(np.average(logs, weights=weights, axis=0).sum())


def dropout_mask(seed: int, step: int, layer: int, count: int, dropout: float) -> Array:
    """0 or 1 / (1 - dropout), float64 (count,): of SplitMix64's numbers from a start of its own."""
    with np.errstate(over="ignore"):
        start = _mixed(np.uint64(seed) + np.uint64(step) * _GOLDEN)
        start = _mixed(start + np.uint64(layer) * _GOLDEN)
        numbers = _mixed(start + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    kept = (numbers >> np.uint64(40)) >= round(dropout * (1 << 24))
    return np.where(kept, 1 / (1 - dropout), 0)


def _mixed(z: Any) -> Any:
    """SplitMix64's function of its state."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
