"""Updates: native calls that change arrays in place and have no gradient."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from firth.kernels._dispatch import active, calls
from firth.nn.tape import Array, Call, run


class Update(abc.ABC):
    """A function that changes some of its inputs; an instance holds the options of one call.

    As an `Operation`, a subclass is a frozen dataclass that defines in NumPy what the native code
    of the same `name` computes.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def options(self) -> tuple[float, ...]:
        """The numbers that the native code gets."""

    @abc.abstractmethod
    def run(self, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> None:
        """Compute it in NumPy."""


def update(
    operation: Update, inputs: Sequence[Array | None], outputs: Sequence[Array] = ()
) -> None:
    """Run an update; arrays are C-contiguous, real ones of one dtype, numbers float64."""
    backend = active()
    calls[backend] += 1
    if backend == "numpy":
        with np.errstate(all="ignore"):
            operation.run(inputs, outputs)
        return
    f64 = all(x is None or x.dtype == np.float64 for x in inputs)
    run(Call(operation.name, operation.options(), inputs, outputs, (), f64, None, False))


@dataclass(frozen=True)
class ClipGradNorm(Update):
    """The Euclidean norm of all gradients, and the factor that brings it to ``max_norm`` at most.

    Inputs are the gradients, None for one that is missing; the output is
    (norm, min(1, max_norm / (norm + 1e-6))), float64.
    """

    max_norm: float

    name: ClassVar[str] = "clip_grad_norm"

    def options(self) -> tuple[float, ...]:
        return (self.max_norm,)

    def run(self, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> None:
        wide = [g.astype(np.float64).ravel() for g in inputs if g is not None]
        norm = np.sqrt(sum(g @ g for g in wide))
        outputs[0][:] = norm, np.minimum(1.0, self.max_norm / (norm + 1e-6))


def grad_norm(gradients: Sequence[Any], max_norm: float) -> Array:
    """The output of `ClipGradNorm` for gradients of any real dtypes, and None."""
    found = np.empty(2)
    dtypes = sorted({g.dtype for g in gradients if g is not None})
    if len(dtypes) < 2:
        update(ClipGradNorm(max_norm), gradients, [found])
        return found
    parts = [grad_norm([g for g in gradients if g is not None and g.dtype == d], 0) for d in dtypes]
    norm = np.hypot(parts[0][0], parts[1][0])
    found[:] = norm, np.minimum(1.0, max_norm / (norm + 1e-6))
    return found
