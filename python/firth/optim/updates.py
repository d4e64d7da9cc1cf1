"""The steps of optimizers: how one step changes a parameter, for all parameters of a group at once.

Inputs of each: numbers (float64: the learning rate, the momentum, and for each parameter the number
of its step, from 1), what `ClipGradNorm` gave (float64: the norm, the factor of all gradients) or
None, then for each parameter the array p, its gradient g and its states, all of one shape; None for
those of a parameter that has no gradient. p and the states are changed in place. What changes from
step to step is in arrays, so that the same call with the same arrays is the next step.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.nn.tape import Array
from firth.nn.updates import Update


class Step(Update):
    """An update of parameters."""

    @property
    @abc.abstractmethod
    def states(self) -> tuple[str, ...]:
        """What is kept of each parameter from step to step, under PyTorch's names."""

    @abc.abstractmethod
    def change(self, lr: float, momentum: float, number: float, p: Array, g: Any, *states: Any) \
            -> None:  # fmt: skip
        """Step number ``number`` of one parameter."""

    def run(self, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> None:
        numbers, factor, *arrays = inputs
        assert numbers is not None
        each = 2 + len(self.states)
        for i, number in enumerate(numbers[2:]):
            p, g, *states = arrays[i * each : (i + 1) * each]
            if g is None:
                continue
            assert p is not None
            scaled = g if factor is None else g * p.dtype.type(factor[1])
            self.change(float(numbers[0]), float(numbers[1]), float(number), p, scaled, *states)


@dataclass(frozen=True)
class Sgd(Step):
    """g += weight_decay p; b = momentum b + (1 - dampening) g; p -= lr b.

    b = g at the first step. With nesterov, p -= lr (g + momentum b); without momentum, p -= lr g.
    """

    heavy: bool  # there is momentum
    dampening: float
    nesterov: bool
    weight_decay: float

    name: ClassVar[str] = "sgd"

    @property
    def states(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.heavy else ()

    def options(self) -> tuple[float, ...]:
        return self.heavy, self.dampening, self.nesterov, self.weight_decay

    def change(
        self, lr: float, momentum: float, number: float, p: Array, g: Any, *states: Any
    ) -> None:
        g = g + self.weight_decay * p
        if states:
            (b,) = states
            b[...] = momentum * b + (1 if number == 1 else 1 - self.dampening) * g
            g = g + momentum * b if self.nesterov else b
        p -= lr * g


@dataclass(frozen=True)
class Adam(Step):
    """m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p -= lr m' / (sqrt(v') + eps).

    m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t) are what m and v would be had they not begun
    at 0. Weight decay is added to g, or, decoupled, p *= 1 - lr weight_decay. beta1 is the momentum
    of the numbers.
    """

    beta2: float
    eps: float
    weight_decay: float
    decoupled: bool

    name: ClassVar[str] = "adam"
    states: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def options(self) -> tuple[float, ...]:
        return self.beta2, self.eps, self.weight_decay, self.decoupled

    def change(
        self, lr: float, momentum: float, number: float, p: Array, g: Any, *states: Any
    ) -> None:
        m, v = states
        if self.decoupled:
            p *= 1 - lr * self.weight_decay
        else:
            g = g + self.weight_decay * p
        m += (1 - momentum) * (g - m)
        v[...] = self.beta2 * v + (1 - self.beta2) * g * g
        root = np.sqrt(1 - self.beta2**number)
        p -= lr / (1 - momentum**number) * m / (np.sqrt(v) / p.dtype.type(root) + self.eps)


@dataclass(frozen=True)
class Adagrad(Step):
    """g += weight_decay p; s += g^2; p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)."""

    lr_decay: float
    eps: float
    weight_decay: float

    name: ClassVar[str] = "adagrad"
    states: ClassVar[tuple[str, ...]] = ("sum",)

    def options(self) -> tuple[float, ...]:
        return self.lr_decay, self.eps, self.weight_decay

    def change(
        self, lr: float, momentum: float, number: float, p: Array, g: Any, *states: Any
    ) -> None:
        (s,) = states
        g = g + self.weight_decay * p
        s += g * g
        p -= lr / (1 + (number - 1) * self.lr_decay) * g / (np.sqrt(s) + self.eps)


@dataclass(frozen=True)
class RmsProp(Step):
    """g += weight_decay p; s = alpha s + (1 - alpha) g^2; p -= lr g / (sqrt(s) + eps).

    Centered: m = alpha m + (1 - alpha) g, and s - m^2 in place of s. With momentum the quotient q
    goes into b = momentum b + q; p -= lr b.
    """

    alpha: float
    eps: float
    weight_decay: float
    centered: bool
    heavy: bool  # there is momentum

    name: ClassVar[str] = "rmsprop"

    @property
    def states(self) -> tuple[str, ...]:
        means = ("grad_avg",) if self.centered else ()
        return ("square_avg", *means, *(("momentum_buffer",) if self.heavy else ()))

    def options(self) -> tuple[float, ...]:
        return self.alpha, self.eps, self.weight_decay, self.centered, self.heavy

    def change(
        self, lr: float, momentum: float, number: float, p: Array, g: Any, *states: Any
    ) -> None:
        s, *more = states
        g = g + self.weight_decay * p
        s[...] = self.alpha * s + (1 - self.alpha) * g * g
        spread = s
        if self.centered:
            m = more.pop(0)
            m += (1 - self.alpha) * (g - m)
            spread = s - m * m
        q = g / (np.sqrt(spread) + self.eps)
        if self.heavy:
            (b,) = more
            b[...] = momentum * b + q
            q = b
        p -= lr * q
