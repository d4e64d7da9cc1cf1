"""What training does with gradients before a step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from firth.arguments import check_real
from firth.nn.tape import Tensor
from firth.nn.updates import grad_norm


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients together so that their Euclidean norm is at most ``max_norm``.

    A step of an optimizer does it in passing: ``optimizer.step(clip_norm=...)``.

    Parameters
    ----------
    parameters : Tensor, or iterable of them
        Those without gradient are skipped.
    max_norm : float
    norm_type : float
        2, the Euclidean norm.
    error_if_nonfinite : bool
        Whether RuntimeError is raised where the norm is NaN or infinite; nothing is changed then.

    Returns
    -------
    float
        The norm before.
    """
    check_real("clip_grad_norm_: max_norm", max_norm)
    if norm_type != 2:
        raise ValueError(f"clip_grad_norm_: norm_type must be 2, got {norm_type}")
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    gradients = [t.grad for t in tensors if t.grad is not None]
    norm, factor = grad_norm(gradients, max_norm)
    if error_if_nonfinite and not np.isfinite(norm):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {norm}")
    if factor != 1:
        for gradient in gradients:
            gradient *= gradient.dtype.type(factor)
    return float(norm)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring each element of the gradients into [-clip_value, clip_value], in place.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are left out.
    clip_value : float, at least 0
        ValueError for another number.
    """
    check_real("clip_grad_value_: clip_value", clip_value)
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for tensor in tensors:
        if tensor.grad is not None:
            np.clip(tensor.grad, -clip_value, clip_value, out=tensor.grad)
