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
from firth.nn.operations.projections import projections
from firth.nn.operations.recurrent import gru, lstm, rnn
from firth.nn.operations.shapes import cat
from firth.nn.tape import Call, Tensor

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 512, 256)
IDS = RNG.integers(0, 300, (64, 40))
ANGLES = F.rotary_angles(128, 32)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cell(function: Any, gates: int) -> tuple[Any, list[np.ndarray]]:
    shapes = [(gates * 32, 24), (gates * 32, 32), (gates * 32,), (gates * 32,)]
    return lambda x, *weights: function(x, None, weights), [
        normal(30, 16, 24), *[normal(*shape) / 8 for shape in shapes],
    ]  # fmt: skip


X, ROW, IMAGES, HEADS = normal(256, 512), normal(512), normal(4, 8, 40, 40), normal(2, 4, 128, 32)
# A function of tensors and its arrays, large enough for threads to share the work.
CASES: dict[str, tuple[Any, list[np.ndarray]]] = {
    "activation": (F.gelu, [X]),
    "attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.1),
        [HEADS, HEADS + 1, HEADS - 1],
    ),
    "avg_pool": (lambda x: F.avg_pool2d(x, 3, 2), [IMAGES]),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        [IMAGES, ROW[:8], ROW[8:16]],
    ),
    "binary_cross_entropy_with_logits": (
        lambda x: F.binary_cross_entropy_with_logits(x, X > 0), [X],
    ),
    "combine": (lambda x, y, row: x * y + row, [X, X + 1, ROW]),
    "concatenate": (lambda x, y: cat([x, y], 1), [X, X + 1]),
    "convolution": (
        lambda x, w, b: F.conv2d(x, w, b, padding=1, activation="relu"),
        [IMAGES, normal(8, 8, 3, 3), ROW[:8]],
    ),
    "cross_entropy": (lambda x: F.cross_entropy(x, CLASSES), [X]),
    "difference_loss": (lambda x, y: F.mse_loss(x, y), [X, X + 1]),
    "dropout": (lambda x: F.dropout(x, 0.3), [X]),
    "embedding": (lambda table: F.embedding(IDS, table), [normal(300, 128)]),
    "expand": (lambda x: x.expand(64, 32, 512), [normal(64, 1, 512)]),
    "gru": cell(gru, 3),
    "info_nce": (lambda q, k: F.info_nce(q, k), [X, X + 1]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (512,), w, b), [X, ROW, ROW + 1]),
    "linear": (
        lambda x, w, b: F.linear(x, w, b, activation="tanh"), [X, normal(64, 512), ROW[:64]],
    ),
    "linear_cross_entropy": (
        lambda x, w: F.linear_cross_entropy(x, w, CLASSES), [X, normal(512, 512)],
    ),
    "lstm": cell(lstm, 4),
    "map": (lambda x: x.exp(), [X]),
    "masked_fill": (lambda x: x.masked_fill(X > 0, 7.0), [X]),
    "matmul": (lambda x, y: x @ y, [X, normal(512, 64)]),
    "max_pool": (lambda x: F.max_pool2d(x, 3, 2), [IMAGES]),
    "maximum": (lambda x: x.amax(1), [X]),
    "nll_loss": (lambda x: F.nll_loss(x, CLASSES), [X]),
    "permute": (lambda x: x.transpose(0, 1), [X]),
    "projections": (
        lambda x, y, w: projections([x, y], [32, 32], w), [X, X + 1, normal(64, 512)],
    ),
    "reshape": (lambda x: x.reshape(512, 256), [X]),
    "rms_norm": (lambda x, w: F.rms_norm(x, (512,), w), [X, ROW]),
    "rnn": cell(rnn, 1),
    "rotary": (lambda x: F.rotary(x, *ANGLES), [HEADS]),
    "slice": (lambda x: x[1:, ::2], [X]),
    "softmax": (F.softmax, [X]),
    "sum": (lambda x: x.mean(0), [X]),
}  # fmt: skip
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
        with tape.trace(calls):
            run(name, dtype, 1)
        for one, other in zip(run(name, dtype, 1), run(name, dtype, 2), strict=True):
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
