"""How operations are checked: native code against the page's NumPy, gradients by differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from firth.nn import tape
from firth.nn.tape import Operation, Tensor, apply_all


def run(
    operation: Operation, inputs: Sequence[Any], gradients: Sequence[Any] | None = None
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Outputs of an operation, and the gradients by its real inputs.

    `inputs` are arrays or None; those of float32 and float64 become tensors, as an operation
    takes them. Without `gradients` they are the same numbers at each call.
    """
    dtype = next(x.dtype for x in inputs if x is not None and x.dtype.kind == "f")
    tensors = [
        Tensor(x.copy(), requires_grad=True) if x is not None and x.dtype == dtype else x
        for x in inputs
    ]
    outputs = list(apply_all(operation, *tensors))
    if gradients is None:
        gradients = output_gradients([x.data for x in outputs])
    # what the walk along the tape does once the gradients by all outputs are known
    record = outputs[0]._record
    assert record is not None
    tape._run_backward(record, [None if g is None else g.astype(dtype) for g in gradients], {})
    return [x.data for x in outputs], [x.grad if isinstance(x, Tensor) else None for x in tensors]


def output_gradients(outputs: Sequence[Any]) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.normal(size=x.shape).astype(x.dtype) for x in outputs]


def reference(
    operation: Operation, inputs: Sequence[Any], seed: int = 0
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """The page's NumPy in float64, with the gradients that `run` has."""
    wide = [x.astype(np.float64) if x is not None and x.dtype == np.float32 else x for x in inputs]
    with np.errstate(all="ignore"):
        outputs, saved = operation.forward(*wide, seed=seed)
        dtype = next(x.dtype for x in inputs if x is not None and x.dtype.kind == "f")
        gradients = [
            g.astype(np.float64) for g in output_gradients([x.astype(dtype) for x in outputs])
        ]
        found = operation.backward(wide, outputs, saved, gradients, seed)
    return outputs, found


def check_gradients(operation: Operation, inputs: Sequence[Any], seed: int = 0) -> None:
    """Backward against central differences of forward in float64, in random directions.

    <u, J v> of a direction v of one input and a gradient u of the outputs is <J^T u, v>: by
    differences on the left, by backward on the right (torch.autograd.gradcheck's tolerances are
    1e-5 and 1e-3; these are 1e-7 of the terms' size, and 1e-6).
    """
    rng = np.random.default_rng(3)
    inputs = [None if x is None else x.copy() for x in inputs]
    outputs, saved = _forward(operation, inputs, seed)
    gradients = [rng.normal(size=x.shape) for x in outputs]
    found = operation.backward(inputs, outputs, saved, gradients, seed)
    assert len(found) == len(inputs)
    step = 1e-6
    for i, x in enumerate(inputs):
        if x is None or x.dtype != np.float64:
            assert found[i] is None
            continue
        assert found[i] is not None
        assert found[i].shape == x.shape
        direction = rng.normal(size=x.shape)
        sides = []
        for sign in (0.5, -0.5):
            moved = [None if y is None else y.copy() for y in inputs]
            moved[i] = x + sign * step * direction
            made, _ = _forward(operation, moved, seed)
            sides.append(made)
        terms = [g * (a - b) / step for g, a, b in zip(gradients, sides[0], sides[1], strict=True)]
        wanted = sum(float(t.sum()) for t in terms)
        size = sum(float(np.abs(t).sum()) for t in terms)
        got = float((found[i] * direction).sum())
        assert abs(got - wanted) <= 1e-7 * size + 1e-6 * abs(wanted) + 1e-8, (
            f"{operation.name}: gradient by input {i}: {got}, differences {wanted}"
        )


def _forward(operation: Operation, inputs: Sequence[Any], seed: int) -> Any:
    with np.errstate(all="ignore"):
        return operation.forward(*inputs, seed=seed)
