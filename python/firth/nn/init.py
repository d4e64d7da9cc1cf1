"""Initial values of parameters, named as PyTorch's; drawn from `firth.nn.manual_seed`'s stream.

Each changes the tensor in place and returns it. A weight has shape (outputs, inputs, kernel...).
Xavier's and Kaiming's keep the spread of values (fan_in) or of gradients (fan_out) from layer to
layer: a sum over n inputs of spread 1, times weights of spread 1 / sqrt(n), has spread 1 again.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from firth.arguments import check_real
from firth.nn.tape import Tensor, generator

_PLAIN = {
    "linear", "sigmoid", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d",
}  # fmt: skip


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b). In place; returns the tensor."""
    tensor.data[...] = generator().uniform(a, b, tensor.shape)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal, of this mean and standard deviation. In place; returns the tensor.

    Raises
    ------
    ValueError
        ``std`` is negative or not finite.
    """
    check_real("normal_: std", std)
    tensor.data[...] = generator().normal(mean, std, tensor.shape)
    return tensor


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Normal, of which only what lies in [a, b] is taken; others are drawn again. In place.

    Parameters
    ----------
    tensor : Tensor
    mean, std : float
        Of the numbers before the cut.
    a, b : float
        Bounds as they are, not in standard deviations; as in PyTorch.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    ValueError
        ``std`` is not above 0, ``a`` is not below ``b``, or hardly any number would lie in between.
    """
    check_real("trunc_normal_: std", std, above=True)
    if not a < b:
        raise ValueError(f"trunc_normal_: a must be below b, got {a} and {b}")
    normal = NormalDist(mean, std)
    if not normal.cdf(b) - normal.cdf(a) > 0:
        raise ValueError(f"trunc_normal_: [{a}, {b}] is too far from the mean {mean}")
    rng = generator()
    values = rng.normal(mean, std, tensor.shape)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = rng.normal(mean, std, int(outside.sum()))
    tensor.data[...] = values
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Everywhere ``val``. In place; returns the tensor."""
    tensor.data[...] = val
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Everywhere 0. In place; returns the tensor."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Everywhere 1. In place; returns the tensor."""
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """1 on the diagonal, else 0. In place; returns the tensor. ValueError if not of 2 axes."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: the tensor must have 2 axes, got shape {tensor.shape}")
    tensor.data[...] = np.eye(tensor.shape[0], tensor.shape[1])
    return tensor


def fans(tensor: Tensor) -> tuple[int, int]:
    """Inputs and outputs of each element of a weight.

    Parameters
    ----------
    tensor : Tensor, shape (outputs, inputs, kernel...)

    Returns
    -------
    tuple of two int
        fan_in = inputs times the kernel's size, fan_out = outputs times it.

    Raises
    ------
    ValueError
        The tensor has fewer than 2 axes.
    """
    if tensor.ndim < 2:
        raise ValueError(f"init: a weight must have 2 axes or more, got shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much weights must be larger because of the activation that follows.

    ``param`` is the slope of leaky_relu, 0.01 by default.
    """
    if nonlinearity in _PLAIN:
        return 1.0
    if nonlinearity == "tanh":
        return 5 / 3
    if nonlinearity == "relu":
        return math.sqrt(2)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity == "selu":
        return 3 / 4
    raise ValueError(f"calculate_gain: unknown nonlinearity {nonlinearity!r}")


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform, of spread gain sqrt(2 / (inputs + outputs)) (Glorot and Bengio, 2010).

    The numbers lie within gain sqrt(6 / (fan_in + fan_out)), see `fans`. In place; returns the
    tensor. ValueError where it has fewer than 2 axes.
    """
    bound = math.sqrt(3.0) * gain * math.sqrt(2 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal, of spread gain sqrt(2 / (inputs + outputs)); otherwise as `xavier_uniform_`."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform, of spread gain / sqrt(fan) (He et al., 2015). In place; returns the tensor.

    Parameters
    ----------
    tensor : Tensor, shape (outputs, inputs, kernel...)
    a : float
        The slope of leaky_relu.
    mode : {"fan_in", "fan_out"}
        Which of `fans` it is.
    nonlinearity : str
        The activation that follows, whose gain is `calculate_gain`'s.

    Raises
    ------
    ValueError
        Another mode or activation, or a tensor of fewer than 2 axes.
    """
    bound = math.sqrt(3.0) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal, of spread gain / sqrt(fan); otherwise as `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity))


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Rows (or columns, where these are fewer) at right angles, of length ``gain``.

    Axes behind the first count as one (Saxe et al., 2013).
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: the tensor must have 2 axes, got shape {tensor.shape}")
    if tensor.data.size == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.data.size // rows
    flat = generator().normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(flat)
    q *= np.sign(np.diag(r))  # so that all directions are equally likely
    tensor.data[...] = gain * (q if rows >= columns else q.T).reshape(tensor.shape)
    return tensor
