"""Steps of training against PyTorch, scikit-learn and JAX: section 4 of "Networks that train".

All that is compared begins with the same weights, sees the same batches in the same order and must
have the same losses, or gradients, before anything is timed. The transformers are in bench_gpt and
bench_seq2seq, the perceptron in bench_networks.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import firth
from firth import nn, optim
from firth.nn import functional
from harness import THREADS, Row, Timing, compared, interleave, size
from training_peers import Layers, batches_of, jax_epochs, torch_epochs

ROUNDS = 11
RATE = 1e-3


def run() -> list[Row]:
    """About 5 minutes."""
    return [*digits(), *xor(), *recurrent(), *convolutional(), *backward_alone()]


# ---- what they share -----------------------------------------------------------------------------


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Of firth, PyTorch and BLAS; JAX has one a core, whatever is asked."""
    import torch
    from threadpoolctl import threadpool_limits

    firth.set_num_threads(count)
    torch.set_num_threads(count)
    with threadpool_limits(count):
        yield
    firth.set_num_threads(THREADS)
    torch.set_num_threads(THREADS)


def peak(count: int, dtype: type = np.float32) -> float:
    """Multiply-adds x 2 a second of a large product on so many threads, the best of some."""
    n = size(1024, 256)
    a = np.random.default_rng(0).standard_normal((n, n)).astype(dtype)
    with threads(count):
        best = min(seconds_of(lambda: firth.kernels.matmul(a, a)) for _ in range(30))
    return 2 * n**3 / best


def seconds_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def floor(work: str, flops: float, ours: Timing, count: int) -> Row:
    """A row against the time that the products alone would take at the speed of a large one."""
    least = Timing([flops / peak(count)])
    what = "its products at the speed of 1024 x 1024 x 1024"
    row = compared(work, what, least, ours, "ms", kind="budget", threads=str(count))
    return Row(**(vars(row) | {"peer_spread": None}))


# ---- multilayer perceptrons ----------------------------------------------------------------------


def started(X: Any, y: Any, settings: dict[str, Any]) -> Layers:
    """The weights that `MLPClassifier` begins with: steps of next to nothing leave them."""
    model = fitted(firth, X, y, settings | {"max_iter": 1, "learning_rate_init": 1e-30})
    return list(zip(model.coefs_, model.intercepts_, strict=True))


def module_epochs(
    layers: Layers, activation: str, X: Any, y: Any, batch: int, rate: float
) -> Callable[[int], list[float]]:
    """firth's modules and `TrainingStep`."""
    modules: list[nn.Module] = []
    for coef, intercept in layers:
        linear = nn.Linear(*coef.shape)
        linear.load_state_dict({"weight": np.ascontiguousarray(coef.T), "bias": intercept})
        modules += [linear, nn.ReLU() if activation == "relu" else nn.Tanh()]
    model = nn.Sequential(*modules[:-1])
    binary = layers[-1][0].shape[1] == 1
    criterion = nn.BCEWithLogitsLoss() if binary else nn.CrossEntropyLoss()
    targets = y[:, None].astype(np.float32) if binary else y
    step = nn.TrainingStep(
        model, lambda model, x, y: criterion(model(x), y), optim.Adam(model.parameters(), rate)
    )
    batches = batches_of(X, targets, batch)
    return lambda count: [step(x, y) for _ in range(count) for x, y in batches]


def fitted(module: Any, X: Any, y: Any, settings: dict[str, Any]) -> Any:
    """`MLPClassifier` of firth or scikit-learn, after all epochs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training ends before its loss has settled
        return module.MLPClassifier(**settings).fit(X, y)


def mean_losses(losses: list[float], rows: int, batch: int) -> list[float]:
    """The mean loss of each epoch, of the losses of its steps."""
    weights = [min(batch, rows - i) for i in range(0, rows, batch)]
    steps = np.reshape(losses, (-1, len(weights)))
    return list(np.average(steps, axis=1, weights=weights))


def perceptrons(
    work: str, X: Any, y: Any, settings: dict[str, Any], batch: int, goals: tuple[float, float],
    unit: str, flops: float | None = None,
) -> list[Row]:  # fmt: skip
    """Rows of a step of a multilayer perceptron, ``goals`` against torch and scikit-learn, JAX."""
    from sklearn import neural_network

    epochs, activation = settings["max_iter"], settings["activation"]
    steps = epochs * len(batches_of(X, y, batch))
    rate = settings["learning_rate_init"]
    single = X.astype(np.float32)
    layers = started(single, y, settings)
    whole = {"JAX jit, all epochs in a scan": {"whole": True}} if batch >= len(X) else {}

    # Parity: the mean loss of each epoch.
    want = fitted(firth, X, y, settings).loss_curve_
    theirs = fitted(neural_network, X, y, settings).loss_curve_
    np.testing.assert_allclose(want, theirs, rtol=1e-6)
    given = (layers, activation, single, y, batch, rate)
    others: dict[str, Callable[[int], list[float]]] = {
        "torch eager": torch_epochs(*given),
        "torch.compile": torch_epochs(*given, compiled=True),
        "JAX jit": jax_epochs(*given),
        **{name: jax_epochs(*given, **more) for name, more in whole.items()},
        "TrainingStep": module_epochs(*given),
    }
    for name, run in others.items():
        # These are float32, and Adam's steps have the size of the rate however small gradients are:
        # curves part by rounding, and come back.
        losses = mean_losses(run(epochs), len(X), batch)
        np.testing.assert_allclose(losses[:3], want[:3], rtol=1e-3, err_msg=name)
        np.testing.assert_allclose(losses, want, rtol=2e-2, err_msg=name)

    rows = []
    for count in (THREADS, 1):
        subjects: dict[str, Callable[[], object]] = {
            name: partial(run, epochs)
            for name, run in others.items()
            if count == THREADS or "JAX" not in name
        }
        for dtype in (np.float32, np.float64):
            for name, module in (("firth", firth), ("scikit-learn", neural_network)):
                subjects[f"{name}, {dtype.__name__}"] = partial(
                    fitted, module, X.astype(dtype), y, settings
                )
        with threads(count):
            times = interleave(subjects, ROUNDS)
        times = {name: timing * (1 / steps) for name, timing in times.items()}
        ours = times["firth, float32"]
        for dtype in ("float64", "float32"):
            rows.append(
                compared(f"{work}, MLPClassifier, {dtype}", "scikit-learn",
                         times[f"scikit-learn, {dtype}"], times[f"firth, {dtype}"], unit,
                         goals[0], threads=str(count))
            )  # fmt: skip
        for name in others:
            if name not in times or name == "TrainingStep":
                continue
            # A loop that is compiled as a whole is no step: it has no goal.
            goal = None if name in whole else goals["JAX" in name]
            for title, timing in (
                ("MLPClassifier, float32", ours),
                ("TrainingStep", times["TrainingStep"]),
            ):
                rows.append(
                    compared(f"{work}, {title}", name, times[name], timing, unit,
                             goal if title.startswith("MLP") else None, threads=str(count))
                )  # fmt: skip
        if flops:
            rows.append(floor(f"{work}, MLPClassifier, float32", flops, ours, count))
    return rows


def digits() -> list[Row]:
    """A step of 64-256-128-10 over batches of 200, of 20 epochs of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X, units = X / 16, (64, 256, 128, 10)
    settings = {
        "hidden_layer_sizes": units[1:-1], "activation": "relu", "max_iter": size(20, 2),
        "batch_size": 200, "alpha": 0.0, "shuffle": False, "random_state": 0, "tol": 0.0,
        "n_iter_no_change": 1000, "learning_rate_init": RATE,
    }  # fmt: skip
    weights = [a * b for a, b in itertools.pairwise(units)]
    mean_batch = len(X) / math.ceil(len(X) / 200)
    flops = 2 * mean_batch * (3 * sum(weights) - weights[0])  # nobody needs the gradient by X
    return perceptrons("MLP 64-256-128-10, batch 200, Adam step", X, y, settings, 200, (5, 2),
                       "ms", flops)  # fmt: skip


def xor() -> list[Row]:
    """An epoch, which is one step, of 2-2-1 on XOR."""
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float64), np.array([0, 1, 1, 0])
    settings = {
        "hidden_layer_sizes": (2,), "activation": "tanh", "max_iter": size(500, 20),
        "batch_size": 4, "alpha": 0.0, "shuffle": False, "random_state": 42, "tol": 0.0,
        "n_iter_no_change": 10_000, "learning_rate_init": 0.01,
    }  # fmt: skip
    return perceptrons("MLP 2-2-1 on XOR, one epoch", X, y, settings, 4, (20, 3), "us")


# ---- LSTM, CNN -----------------------------------------------------------------------------------


def recurrent() -> list[Row]:
    """A layer of LSTM over whole sequences, forward and backward."""
    import torch

    steps, batch, inputs, hidden = size(64, 4), 32, 256, 512
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, inputs)).astype(np.float32)
    gradient = rng.standard_normal((steps, batch, hidden)).astype(np.float32)
    theirs, ours = torch.nn.LSTM(inputs, hidden), nn.LSTM(inputs, hidden)
    ours.load_state_dict({name: p.detach().numpy() for name, p in theirs.named_parameters()})

    def subject(model: Any, x: Any, gradient: Any) -> Callable[[], Any]:
        def once() -> Any:
            x.grad = None
            model.zero_grad()
            output, _ = model(x)
            output.backward(gradient)
            return [x.grad, *(p.grad for p in model.parameters())]

        return once

    subjects = {
        "firth": subject(ours, firth.Tensor(x, requires_grad=True), gradient),
        "torch": subject(theirs, torch.tensor(x, requires_grad=True), torch.tensor(gradient)),
    }
    for got, want in zip(subjects["firth"](), subjects["torch"](), strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-3, atol=2e-3)
    with threads(THREADS):
        times = interleave(subjects, ROUNDS)
    work = f"LSTM {inputs} to {hidden}, batch {batch}, {steps} steps, forward and backward"
    flops = 3 * 2 * steps * batch * (inputs + hidden) * 4 * hidden
    return [
        compared(work, "torch", times["torch"], times["firth"], "ms", 1.8),
        floor(work, flops, times["firth"], THREADS),
    ]


def convolutional() -> list[Row]:
    """A step of Adam of two convolutions and a linear layer."""
    import torch
    from torch.nn import functional as torch_functional

    images, classes, channels = size(64, 4), 10, (1, 32, 64)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, 1, 28, 28)).astype(np.float32)
    y = rng.integers(classes, size=images)

    def model_of(module: Any, functional: Any) -> Any:
        class Net(module.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.conv1 = module.Conv2d(channels[0], channels[1], 3, padding=1)
                self.conv2 = module.Conv2d(channels[1], channels[2], 3, padding=1)
                self.out = module.Linear(channels[2] * 7 * 7, classes)

            def forward(self, x: Any) -> Any:
                x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
                x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
                return self.out(x.reshape((images, -1)))

        return Net()

    theirs = model_of(torch.nn, torch_functional)
    ours = model_of(nn, functional)
    ours.load_state_dict({name: p.detach().numpy() for name, p in theirs.named_parameters()})
    step = nn.TrainingStep(
        ours,
        lambda model, x, y: functional.cross_entropy(model(x), y),
        optim.Adam(ours.parameters(), RATE),
    )
    optimizer = torch.optim.Adam(theirs.parameters(), RATE, fused=True)
    given, targets = torch.tensor(x), torch.tensor(y)

    def torch_step() -> Any:
        optimizer.zero_grad()
        loss = torch_functional.cross_entropy(theirs(given), targets)
        loss.backward()
        optimizer.step()
        return loss.detach()

    subjects = {"firth": lambda: step(x, y), "torch": torch_step}
    for _ in range(10):
        np.testing.assert_allclose(subjects["firth"](), float(subjects["torch"]()), rtol=1e-3)
    with threads(THREADS):
        times = interleave(subjects, ROUNDS)
    work = f"CNN of two convolutions (1, 32, 64) on {images} x 1 x 28 x 28, step"
    first, second = 28 * 28 * 9 * channels[1], 14 * 14 * 9 * channels[1] * channels[2]
    flops = 2 * images * (2 * first + 3 * second + 3 * channels[2] * 49 * classes)
    return [
        compared(work, "torch", times["torch"], times["firth"], "ms", 2.0),
        floor(work, flops, times["firth"], THREADS),
    ]


# ---- backward alone ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An operation: the two libraries' functions have one name and the same arguments."""

    work: str
    shapes: list[tuple[int, ...]]  # of its inputs, which all have gradients
    call: Callable[..., Any]  # (functional, *inputs)


def cases() -> list[Case]:
    """Operations at the sizes of small transformers and of networks that are smaller still."""
    found = []
    for rows, n in ((2048, 384), (512, 768), (8192, 256)):
        found.append(
            Case(f"LayerNorm {rows} x {n}", [(rows, n), (n,), (n,)],
                 lambda f, x, w, b: f.layer_norm(x, (x.shape[-1],), w, b))
        )  # fmt: skip
    for rows, n in ((2048, 1536), (512, 3072), (200, 256)):
        found.append(Case(f"GELU {rows} x {n}", [(rows, n)], lambda f, x: f.gelu(x)))
    for rows, n in ((12288, 256), (2048, 1024), (512, 8192), (16384, 32)):
        found.append(Case(f"softmax {rows} x {n}", [(rows, n)], lambda f, x: f.softmax(x, dim=-1)))
    for batch, heads, length, width, causal in (
        (8, 6, 256, 64, True), (8, 6, 256, 64, False), (64, 8, 32, 32, False),
        (1, 12, 1024, 64, True),
    ):  # fmt: skip
        found.append(
            Case(f"attention {batch} x {heads} x {length} x {width}{', causal' * causal}",
                 [(batch, heads, length, width)] * 3,
                 lambda f, q, k, v, causal=causal: f.scaled_dot_product_attention(
                     q, k, v, is_causal=causal))
        )  # fmt: skip
    for rows, k, n in ((2048, 384, 1536), (2048, 1536, 384), (512, 768, 768), (200, 64, 256)):
        found.append(
            Case(f"linear {rows} x {k} x {n}", [(rows, k), (n, k), (n,)],
                 lambda f, x, w, b: f.linear(x, w, b))
        )  # fmt: skip
    return found


def forwarded(call: Any, functional: Any, inputs: list[Any], gradient: Any) -> tuple[Any, Any]:
    """The output, and the gradient by it."""
    for x in inputs:
        x.grad = None
    return call(functional, *inputs), gradient


def backward_times(subjects: dict[str, Callable[[], tuple[Any, Any]]]) -> dict[str, Timing]:
    """Seconds of ``output.backward(gradient)``; forward, before each, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, forward in subjects.items():
            time.sleep(0.05)
            taken: list[float] = []
            while len(taken) < 3 or sum(taken) < size(20, 1) / 1000:
                output, gradient = forward()
                taken.append(seconds_of(partial(output.backward, gradient)))
            seconds[name].append(statistics.median(taken[1:]))
    return {name: Timing(values) for name, values in seconds.items()}


def backward_alone() -> list[Row]:
    """Gradients by all inputs of single operations."""
    import torch
    from torch.nn import functional as torch_functional

    rng = np.random.default_rng(0)
    rows = []
    for case in cases():
        arrays = [rng.standard_normal(shape).astype(np.float32) for shape in case.shapes]
        ours = [firth.Tensor(x, requires_grad=True) for x in arrays]
        theirs = [torch.tensor(x, requires_grad=True) for x in arrays]
        shape = case.call(functional, *ours).shape
        gradient = rng.standard_normal(shape).astype(np.float32)

        subjects = {
            "firth": partial(forwarded, case.call, functional, ours, gradient),
            "torch": partial(
                forwarded, case.call, torch_functional, theirs, torch.tensor(gradient)
            ),
        }
        for subject in subjects.values():
            output, by = subject()
            output.backward(by)
        for got, want in zip(ours, theirs, strict=True):
            scale = float(want.grad.abs().max())
            np.testing.assert_allclose(got.grad, want.grad.numpy(), rtol=1e-3, atol=1e-5 * scale)
        with threads(THREADS):
            times = backward_times(subjects)
        rows.append(
            compared(f"backward of {case.work}", "torch", times["torch"], times["firth"], "ms", 1.0)
        )
    mean = [statistics.geometric_mean(getattr(row, side) for row in rows)
            for side in ("peer", "ours")]  # fmt: skip
    rows.append(Row("backward alone, geometric mean of the above", "torch", *mean, "ms", 1.2))
    return rows
