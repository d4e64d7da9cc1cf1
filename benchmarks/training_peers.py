"""Small networks that PyTorch and JAX train as `firth.MLPClassifier` does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

Layers = list[tuple[Any, Any]]  # weights (before, after) and biases (after) of each layer
Epochs = Callable[[int], list[float]]
"""Trains for some epochs, from where the last call ended; the mean loss of each of its steps."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's, in all libraries


def batches_of(X: Any, y: Any, size: int) -> list[tuple[Any, Any]]:
    """In the order of the rows."""
    return [(X[i : i + size], y[i : i + size]) for i in range(0, len(X), size)]


def torch_epochs(
    layers: Layers, activation: str, X: Any, y: Any, batch: int, rate: float, compiled: bool = False
) -> Epochs:
    """Eager, or with forward and backward by `torch.compile`; Adam is torch's fastest, fused."""
    import torch
    from torch import nn

    modules: list[nn.Module] = []
    for coef, intercept in layers:
        linear = nn.Linear(*coef.shape)
        linear.load_state_dict({"weight": torch.tensor(coef.T), "bias": torch.tensor(intercept)})
        modules += [linear, nn.ReLU() if activation == "relu" else nn.Tanh()]
    model = nn.Sequential(*modules[:-1])
    binary = layers[-1][0].shape[1] == 1
    criterion = nn.BCEWithLogitsLoss() if binary else nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), rate, fused=True)
    targets = torch.tensor(y[:, None], dtype=torch.float32) if binary else torch.tensor(y)
    batches = batches_of(torch.tensor(X), targets, batch)

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = criterion(model(x), y)
        return loss

    loss_now = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def epochs(count: int) -> list[float]:
        losses = []
        for _ in range(count):
            for x, y in batches:
                optimizer.zero_grad()
                loss = loss_now(x, y)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
        return torch.stack(losses).tolist()

    return epochs


def jax_epochs(
    layers: Layers, activation: str, X: Any, y: Any, batch: int, rate: float, whole: bool = False
) -> Epochs:
    """A jitted step called for each batch; with ``whole`` all epochs of one batch are one call."""
    import jax
    import jax.numpy as jnp

    function = jax.nn.relu if activation == "relu" else jnp.tanh
    binary = layers[-1][0].shape[1] == 1

    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        for i, (coef, intercept) in enumerate(parameters):
            x = x @ coef + intercept
            if i + 1 < len(parameters):
                x = function(x)
        if binary:
            z = x[:, 0]
            return jnp.mean(jax.nn.softplus(z) - z * y)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1))

    def step(state: Any, x: Any, y: Any) -> Any:
        parameters, first, second, t = state
        loss, gradient = jax.value_and_grad(loss_of)(parameters, x, y)
        t += 1
        of = jax.tree_util.tree_map
        first = of(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, first, gradient)
        second = of(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, second, gradient)
        now, scale = rate / (1 - BETA_1**t), 1 / jnp.sqrt(1 - BETA_2**t)
        parameters = of(
            lambda p, m, v: p - now * m / (jnp.sqrt(v) * scale + EPSILON), parameters, first, second
        )
        return (parameters, first, second, t), loss

    parameters = [(jnp.array(coef), jnp.array(intercept)) for coef, intercept in layers]
    zeros = [jax.tree_util.tree_map(jnp.zeros_like, parameters) for _ in range(2)]
    state: Any = (parameters, *zeros, jnp.zeros(()))
    batches = batches_of(jnp.array(X), jnp.array(y), batch)
    stepped = jax.jit(step, donate_argnums=0)

    @functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
    def scanned(state: Any, count: int) -> Any:
        return jax.lax.scan(lambda now, _: step(now, *batches[0]), state, length=count)

    def epochs(count: int) -> list[float]:
        nonlocal state
        if whole:
            state, losses = scanned(state, count)
            found: list[float] = np.asarray(losses).tolist()
            return found
        found = []
        for _ in range(count):
            for x, y in batches:
                state, loss = stepped(state, x, y)
                found.append(loss)
        return [float(loss) for loss in found]

    return epochs
