"""Threads in every operation: what `make tsan` runs, and the bits that they must not change."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import firth
from firth import _native, nn, optim
from firth.nn import functional as F
from firth.nn import tape
from firth.nn.tape import Call, Tensor
from network_cases import CASES, X

OPTIMIZERS = {"adagrad": optim.Adagrad, "adam": optim.Adam, "rmsprop": optim.RMSprop,
              "sgd": optim.SGD}  # fmt: skip


@pytest.fixture(autouse=True)
def _threads():
    before = firth.info().threads
    yield
    firth.set_num_threads(before)


def run(name: str, dtype: type, threads: int) -> list[np.ndarray]:
    """Outputs and gradients."""
    firth.set_num_threads(threads)
    nn.manual_seed(0)
    if name in OPTIMIZERS:
        parameter = nn.Parameter(X.astype(dtype))
        parameter.grad = (X + 1).astype(dtype)
        OPTIMIZERS[name]([parameter], lr=0.1).step(clip_norm=1.0)
        return [parameter.data]
    function, arrays = CASES[name]
    tensors = [Tensor(x.astype(dtype), requires_grad=True) for x in arrays]
    made = function(*tensors)
    outputs = list(made) if isinstance(made, tuple) else [made]
    total = sum((y * y).sum() for y in outputs)
    total.backward()
    return [y.data for y in outputs] + [x.grad for x in tensors]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_change_no_bit_of_any_operation(dtype):
    calls: list[Any] = []
    for name in [*CASES, *OPTIMIZERS]:
        alone, shared = run(name, dtype, 1), run(name, dtype, 2)
        with tape.trace(calls):  # what was run
            run(name, dtype, 2)
        for one, other in zip(alone, shared, strict=True):
            np.testing.assert_array_equal(one, other, name)
            assert np.isfinite(one).all(), name
    called = [call for call in calls if isinstance(call, Call)]
    assert {call.name for call in called} == set(_native.nn.operations())
    assert {call.name for call in called if call.gradients is not None} == set(CASES)


def trained(seed: int, steps: int = 20) -> list[np.ndarray]:
    """Weights after some compiled steps."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((64, 96)).astype(np.float32), rng.integers(0, 10, 64)
    weights = [rng.standard_normal(shape) / 10 for shape in ((128, 96), (128,), (10, 128), (10,))]
    model = nn.Sequential(nn.Linear(96, 128), nn.GELU(), nn.Linear(128, 10))
    for parameter, array in zip(model.parameters(), weights, strict=True):
        parameter.data[...] = array
    step = nn.TrainingStep(
        model, lambda model, x, y: F.cross_entropy(model(x), y), optim.Adam(model.parameters())
    )
    for _ in range(steps):
        step(x, y)
    return [parameter.data for parameter in model.parameters()]


def test_threads_of_python_train_beside_each_other():
    firth.set_num_threads(2)
    wanted = [trained(seed) for seed in range(3)]
    found: dict[int, list[np.ndarray]] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: trained(seed)}))
        for seed in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, weights in enumerate(wanted):
        for one, other in zip(weights, found[seed], strict=True):
            np.testing.assert_array_equal(one, other)
