"""The perceptron's rule step by step, as one works it by hand: `Perceptron.trace`.

The numbers are fractions, exact as on paper: 0.3 - 0.1 - 0.2 is 0 here, where floats have
-2.8e-17 and so another side of the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.networks import pictures
from firth.networks.rule import shuffled


class Step(NamedTuple):
    """One sample of one epoch: what the neuron said, and its weights afterwards.

    Attributes
    ----------
    epoch : int
        From 1.
    sample : int
        Its row.
    x : tuple of d floats
    target, output : int
        0 or 1; output is 1 where z >= 0.
    z : float
        The weighted sum, before the change.
    error : int
        target - output.
    coef : tuple of d floats
    intercept : float
    """

    epoch: int  # from 1
    sample: int  # its row
    x: tuple[float, ...]
    target: int  # 0 or 1
    z: float
    output: int  # 1 where z >= 0
    error: int  # target - output
    coef: tuple[float, ...]
    intercept: float


@dataclass(frozen=True)
class Trace(Sequence[Step]):
    """A training as a sequence of `Step`; printed it is a table.

    Attributes
    ----------
    coef, intercept
        The weights at the start, a tuple of d floats and a float.
    steps : list of Step
    converged : bool
        Whether the last epoch had no errors.
    repeats : int, optional
        The epoch after which the weights were those of the end, so that all from there on would
        come again and again: the classes cannot be told apart by a line. 0 is the start.
    """

    coef: tuple[float, ...]
    intercept: float
    steps: list[Step]
    converged: bool
    repeats: int | None

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __getitem__(self, place: Any) -> Any:
        return self.steps[place]

    def __str__(self) -> str:
        features = range(1, len(self.coef) + 1)
        head = ["epoch", "sample", *(f"x{j}" for j in features), "target", "z", "output", "error"]
        head += [*(f"w{j}" for j in features), "b"]
        rows = [head, [""] * (len(features) + 6) + [f"{v:.6g}" for v in self._weights(-1)]]
        for place, step in enumerate(self.steps):
            numbers = (step.epoch, step.sample, *step.x, step.target, step.z, step.output)
            error = f"{step.error:+d}" if step.error else "0"
            rows.append([f"{v:.6g}" for v in numbers] + [error])
            rows[-1] += [f"{v:.6g}" for v in self._weights(place)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.rjust, row, widths)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)

    def _weights(self, place: int) -> tuple[float, ...]:
        """Weights and intercept after a step; those of the start for -1."""
        after = self.steps[place] if place >= 0 else self
        return (*after.coef, after.intercept)

    animate = pictures.animate


def traced(
    x: NDArray[Any],
    targets: NDArray[Any],
    coef: Any,
    intercept: Any,
    *,
    rate: float,
    fit_intercept: bool,
    most: int,
    seed: int | None,
) -> Trace:
    """The trace of at most ``most`` epochs over x (n, d), targets (n,) 0 or 1.

    It ends after an epoch without errors, or with weights that were there before. The order is that
    of the rows where ``seed`` is None.
    """
    rows = [[_exact(value) for value in row] for row in x]
    w, b, step = [_exact(value) for value in coef], _exact(intercept), _exact(rate)
    start = tuple(map(float, w)), float(b)
    order = np.arange(len(rows))
    places = order if seed is None else shuffled(len(rows), seed)
    seen = {(*w, b): 0}
    steps: list[Step] = []
    converged, repeats = False, None
    for epoch in range(1, most + 1):
        order, wrong = order[places], False
        for i in order.tolist():
            z = sum((p * q for p, q in zip(w, rows[i], strict=True)), b)
            target, output = int(targets[i]), int(z >= 0)
            error = target - output
            if error:
                wrong = True
                w = [p + step * error * q for p, q in zip(w, rows[i], strict=True)]
                b += step * error if fit_intercept else 0
            point, weights = (tuple(map(float, some)) for some in (rows[i], w))
            steps.append(Step(epoch, i, point, target, float(z), output, error, weights, float(b)))
        if not wrong:
            converged = True
            break
        if seed is None:
            repeats = seen.setdefault((*w, b), epoch)
            if repeats < epoch:
                break
            repeats = None
    return Trace(*start, steps, converged, repeats)


def _exact(value: Any) -> Fraction:
    """A number as its shortest decimal notation says it, so 0.1 is a tenth."""
    return Fraction(int(value)) if isinstance(value, (bool, np.bool_)) else Fraction(str(value))
