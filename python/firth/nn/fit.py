"""The loop that trains a network: epochs of batches, validation, checkpoints, early stopping.

(Above 500 lines: the loop is one idea, and half of them say what it takes and keeps.)
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from firth.arguments import check_real, check_whole, shortened
from firth.epochs import check_checkpoint, new_run, remove_checkpoint, run_epochs
from firth.errors import FormatError
from firth.formats import container
from firth.formats.files import PathLike
from firth.nn import inspection, tape
from firth.nn.module import Module
from firth.nn.program import TrainingStep, check_optimizer
from firth.nn.tape import Array, Tensor

_KIND = "network in training"


@dataclass
class History:
    """What `fit` measured: one number an epoch in each list.

    Attributes
    ----------
    loss : list of float
        Mean over the samples, as they were trained.
    validation_loss : list of float
        Mean over the samples of ``validation``; empty where there is none.
    lr : list of float
        Learning rate of the first group at the end of the epoch.
    seconds : list of float
    metrics : dict of str to list of float
        What callbacks returned; NaN for epochs without.
    best_epoch : int or None
        From 0: the one with the lowest validation loss, or loss where there is no validation.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int | None = None

    def __len__(self) -> int:
        return len(self.loss)

    def plot(self) -> Any:
        """Draw losses, metrics and learning rate of the epochs: a matplotlib Figure."""
        return inspection.plot_history(self)


class _Stopped(Exception):
    """Training ends before its last epoch."""


def fit(
    model: Module,
    data: Any,
    loss: Callable[[Any, Any], Tensor],
    optimizer: Any,
    epochs: int,
    *,
    batch_size: int = 32,
    shuffle: bool = True,
    validation: Any = None,
    scheduler: Any = None,
    schedule_by: Literal["epoch", "step"] = "epoch",
    clip_norm: float | None = None,
    accumulate: int = 1,
    patience: int | None = None,
    callbacks: Sequence[Callable[[Module, dict[str, float]], Mapping[str, float] | None]] = (),
    checkpoint: PathLike | None = None,
    resume: bool = False,
    seed: int | None = None,
    compile: bool = False,
    progress: bool | None = None,
) -> History:
    """Train a network; afterwards it is in eval mode.

    Parameters
    ----------
    model : Module
    data : tuple of arrays, or iterable of batches
        The last array of a tuple are the targets, those before it the inputs: ``(X, y)``. A batch
        is such a tuple too. Real numbers get the dtype of the model and come as tensors, others as
        arrays. An iterable without a length is read into a list first.
    loss : callable
        ``loss(model(*inputs), targets)``, the mean over the samples of a batch.
    optimizer : of firth.optim
    epochs : int
    batch_size : int
        Samples a batch, where ``data`` are arrays.
    shuffle : bool
        Whether the samples of arrays come in another order in each epoch.
    validation : as ``data``, optional
        Its loss is computed after each epoch.
    scheduler : of firth.optim.lr_scheduler, optional
    schedule_by : {"epoch", "step"}
        Whether the scheduler goes on after each epoch, or each step of the optimizer.
    clip_norm : float, optional
        As of the optimizer's step.
    accumulate : int
        Batches whose gradients make one step, which is that of one large batch of them all.
    patience : int, optional
        Stop after so many epochs without a lower validation loss (loss, without validation), and
        go back to the parameters of the best epoch.
    callbacks : sequence of callable
        ``callback(model, numbers)`` after each epoch, with ``epoch`` (from 1), ``loss``,
        ``validation_loss``, ``lr`` and ``seconds``. Numbers that it returns become metrics.
        StopIteration ends the training.
    checkpoint : path-like, optional
        Where the state is written every ten minutes, and on Ctrl-C, SIGTERM or SIGHUP. It is
        removed when training is complete.
    resume : bool
        Go on from the checkpoint where there is one, to the same bits as without interruption. The
        arguments must be those of before; ``epochs`` may be more.
    seed : int, optional
        Of the order of samples and of dropout; by default drawn from what `manual_seed` seeds.
    compile : bool
        Whether steps are compiled (`TrainingStep`): faster where layers are small, for models and
        losses whose Python code does the same at each step, and without ``accumulate``. A loss that
        is not finite has changed the parameters then, and dropout draws other numbers after
        ``resume``.
    progress : bool, optional
        A bar with rate and time left: always, never, or where a terminal or notebook shows it.

    Returns
    -------
    History

    Raises
    ------
    FloatingPointError
        The loss is not finite; parameters and buffers are those from before the step.
    ValueError, TypeError
        Data are empty or of different lengths, an argument is out of range, the optimizer is of
        another model or the scheduler of another optimizer.
    FormatError
        The checkpoint is damaged or of another training.
    KeyboardInterrupt
        On Ctrl-C, SIGTERM or SIGHUP, after the checkpoint is written.
    """
    check_whole("fit: epochs", epochs, 1)
    check_whole("fit: accumulate", accumulate, 1)
    if patience is not None:
        check_whole("fit: patience", patience, 1)
    if clip_norm is not None:
        check_real("fit: clip_norm", clip_norm, above=True)
    if schedule_by not in ("epoch", "step"):
        raise ValueError(f"fit: schedule_by must be 'epoch' or 'step', got {schedule_by!r}")
    if compile and accumulate > 1:
        raise ValueError("fit: compile and accumulate do not go together")
    if resume and checkpoint is None:
        raise ValueError("fit: resume needs a checkpoint")
    check_checkpoint("fit", checkpoint)
    dtype = next((p.dtype for p in model.parameters()), None)
    if dtype is None:
        raise ValueError("fit: the model has no parameters")
    check_optimizer("fit", model, optimizer)
    if scheduler is not None and scheduler.optimizer is not optimizer:
        raise ValueError("fit: scheduler is of another optimizer")
    found = None
    if resume and checkpoint is not None and os.path.exists(checkpoint):
        found = _read(checkpoint)
    if seed is None:
        seed = found.meta["settings"]["seed"] if found else int(tape.generator().integers(1 << 31))
    check_whole("fit: seed", seed)
    batches = _batches("data", data, batch_size, dtype, seed if shuffle else None)
    held_out = (
        None if validation is None else _batches("validation", validation, batch_size, dtype, None)
    )
    steps = -(-batches.count // accumulate)
    run = new_run(epochs, seconds=0.0, stale=0)
    history, best = History(), dict[str, Array]()
    random = np.random.default_rng(seed)
    settings = {
        "batches": batches.count, "accumulate": accumulate, "shuffle": shuffle, "seed": seed,
    }  # fmt: skip

    def save() -> None:
        assert checkpoint is not None
        run["seconds"] += time.monotonic() - clock[0]
        clock[0] = time.monotonic()
        arrays = {f"model.{name}": array for name, array in model.state_dict().items()}
        arrays |= {f"best.{name}": array for name, array in best.items()}
        state = optimizer.state_dict()
        for index, one in state["state"].items():
            arrays |= {f"state.{index}.{name}": array for name, array in one.items()}
        meta = {
            "run": run,
            "settings": settings,
            "history": asdict(history),
            "groups": state["param_groups"],
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "random": random.bit_generator.state,
        }
        container.write(checkpoint, _KIND, arrays, meta)

    if found and checkpoint is not None:
        for name, value in settings.items():
            if (other := found.meta["settings"][name]) != value:
                raise FormatError(f"is of a training with {name} {other}, not {value}", checkpoint)
        run |= {**found.meta["run"], "epochs": epochs}
        if run["epoch"] > epochs:
            raise FormatError(f"is of epoch {run['epoch']}, epochs are {epochs}", checkpoint)
        _restore(found, checkpoint, model, optimizer, scheduler)
        best |= _named(found.arrays, "best.")
        history = History(**found.meta["history"])
        random.bit_generator.state = found.meta["random"]

    clock = [time.monotonic()]
    compiled = None
    if compile:
        compiled = TrainingStep(
            model,
            lambda model, *batch: loss(model(*batch[:-1]), batch[-1]),
            optimizer,
            clip_norm=clip_norm,
            bfloat16=tape._bfloat16.get(),
        )
    waiting: list[Iterator[Any]] = []  # of the epoch that runs

    def train(first: int, last: int) -> None:
        if not waiting:
            model.train()
            waiting.append(batches.read(run["epoch"], first * accumulate))
        for number in range(first, last):
            group = []
            for _ in range(min(accumulate, batches.count - number * accumulate)):
                group.append(_next(waiting[0], batches.count))
            _step(number * accumulate, group)
            if scheduler is not None and schedule_by == "step":
                scheduler.step()

    def _step(number: int, group: list[Any]) -> None:
        """One step of the optimizer, of one batch or several, the first of which is `number`."""
        sizes = [len(batch[0]) for batch in group]
        total = 0.0
        if compiled:
            try:
                run["loss"] += sizes[0] * compiled(*group[0])
            except FloatingPointError as error:
                where = f"in epoch {run['epoch'] + 1}, batch {number + 1}"
                raise FloatingPointError(f"fit: {error} {where}") from None
            run["pairs"] += sizes[0]
            return
        optimizer.zero_grad()
        buffers = {name: array.copy() for name, array in model.named_buffers()}
        for i, (size, (*inputs, target)) in enumerate(zip(sizes, group, strict=True)):
            result = loss(model(*inputs), target)
            value = _value(result)
            if not math.isfinite(value):
                optimizer.zero_grad()
                for name, array in model.named_buffers():  # batch norm has moved its statistics
                    array[...] = buffers.get(name, array)
                raise FloatingPointError(
                    f"fit: the loss is {value} in epoch {run['epoch'] + 1}, batch "
                    f"{number + i + 1}; the parameters are those before it"
                )
            share = size / sum(sizes)
            result.backward(None if share == 1 else np.full(result.shape, share))
            total += value * size
        optimizer.step(clip_norm=clip_norm)
        run["loss"] += total
        run["pairs"] += sum(sizes)

    def on_epoch_end(mean: float) -> None:
        waiting.clear()
        numbers = {"epoch": float(run["epoch"]), "loss": mean}
        watched = mean
        if held_out is not None:
            watched = numbers["validation_loss"] = _evaluate(model, held_out, loss)
            history.validation_loss.append(watched)
        if scheduler is not None and schedule_by == "epoch":
            scheduler.step(*([watched] if getattr(scheduler, "watches", False) else []))
        numbers["lr"] = float(optimizer.param_groups[0]["lr"])
        numbers["seconds"] = run["seconds"] + time.monotonic() - clock[0]
        run["seconds"], clock[0] = 0.0, time.monotonic()
        for name in ("loss", "lr", "seconds"):
            getattr(history, name).append(numbers[name])
        values = history.validation_loss or history.loss
        if history.best_epoch is None or values[-1] < values[history.best_epoch]:
            history.best_epoch, run["stale"] = len(history) - 1, 0
            if patience is not None:
                best.update({name: array.copy() for name, array in model.state_dict().items()})
        else:
            run["stale"] += 1
        stopped = False
        for callback in callbacks:
            try:
                _record(history, callback, callback(model, numbers))
            except StopIteration:
                stopped = True
        if stopped or (patience is not None and run["stale"] >= patience):
            raise _Stopped

    unit = "batches" if batches.samples is None else "samples"

    def done(step: int) -> float:
        count = min(step * accumulate, batches.count)
        return count if batches.samples is None else min(count * batch_size, batches.samples)

    with contextlib.suppress(_Stopped), tape._set(tape._generator, random):
        run_epochs(
            train, run, steps, done, unit=unit, workers=1, progress=progress,
            cure="take a lower learning rate", checkpoint=checkpoint, save=save,
            on_epoch_end=on_epoch_end,
        )  # fmt: skip
    if best:
        model.load_state_dict(best)
    optimizer.zero_grad()
    model.eval()
    if checkpoint is not None:
        remove_checkpoint(checkpoint)
    return history


def _value(result: Any) -> float:
    if not isinstance(result, Tensor) or result.data.size != 1:
        shape = result.shape if isinstance(result, Tensor) else type(result).__name__
        raise TypeError(f"fit: loss must return a tensor of one number, got {shape}")
    return float(result.item())


def _next(batches: Iterator[Any], count: int) -> Any:
    try:
        return next(batches)
    except StopIteration:
        raise ValueError(f"fit: data have fewer batches than their length {count}") from None


def _record(history: History, callback: Any, metrics: Any) -> None:
    """Keep what a callback returned."""
    if metrics is None:
        return
    name = getattr(callback, "__name__", type(callback).__name__)
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f"fit: callback {name} must return None, or numbers by their names as "
            f"{{'accuracy': 0.9}}, got {type(metrics).__name__}"
        )
    for key, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"fit: callback {name} must return numbers, got {shortened(value)} for {key!r}"
            ) from None
        row = history.metrics.setdefault(key, [])
        row += [math.nan] * (len(history) - 1 - len(row)) + [number]


def _evaluate(model: Module, batches: _Batches, loss: Callable[[Any, Any], Tensor]) -> float:
    """The mean loss of all samples."""
    model.eval()
    total, samples = 0.0, 0
    with tape.no_grad():
        for *inputs, target in batches.read(0, 0):
            size = len(inputs[0])
            total += _value(loss(model(*inputs), target)) * size
            samples += size
    return total / samples


class _Batches:
    """Batches of data, epoch by epoch."""

    count: int  # of batches
    samples: int | None = None  # where it is known
    seed: int | None = None  # of the order

    def read(self, epoch: int, first: int) -> Iterator[list[Any]]:
        """The batches of an epoch from one on."""
        raise NotImplementedError


class _Arrays(_Batches):
    """Batches of whole arrays, in an order that the seed and the epoch say."""

    def __init__(
        self, name: str, arrays: Sequence[Any], batch_size: int, dtype: Any, seed: int | None
    ) -> None:
        check_whole("fit: batch_size", batch_size, 1)
        self.arrays = [_array(name, array) for array in arrays]
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"fit: {name} must have arrays of one length, got {' and '.join(map(str, lengths))}"
            )
        self.samples = lengths[0]
        if not self.samples:
            raise ValueError(f"fit: {name} must not be empty")
        self.count = -(-self.samples // batch_size)
        self.size, self.dtype, self.seed = batch_size, dtype, seed

    def read(self, epoch: int, first: int) -> Iterator[list[Any]]:
        order = None
        if self.seed is not None:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.arrays[0]))
        for start in range(first * self.size, len(self.arrays[0]), self.size):
            rows: Any = slice(start, start + self.size)
            yield [_given(x[rows if order is None else order[rows]], self.dtype)
                   for x in self.arrays]  # fmt: skip


class _Iterable(_Batches):
    """Batches that an iterable gives, the same in each epoch or not."""

    def __init__(self, name: str, data: Iterable[Any], dtype: Any) -> None:
        sized = hasattr(data, "__len__") and not isinstance(data, Iterator)
        self.name, self.data, self.dtype = name, data if sized else list(data), dtype
        self.count = len(self.data)  # type: ignore[arg-type]
        if not self.count:
            raise ValueError(f"fit: {name} must not be empty")

    def read(self, epoch: int, first: int) -> Iterator[list[Any]]:
        for i, batch in enumerate(self.data):
            if i < first:
                continue
            if not isinstance(batch, (tuple, list)) or len(batch) < 2:
                raise TypeError(f"fit: batch {i + 1} of {self.name} must be (inputs, targets)")
            arrays = [_array(self.name, array) for array in batch]
            if len({len(array) for array in arrays}) > 1 or not len(arrays[0]):
                raise ValueError(
                    f"fit: batch {i + 1} of {self.name} must have arrays of one length above 0, "
                    f"got {' and '.join(str(len(array)) for array in arrays)}"
                )
            yield [_given(array, self.dtype) for array in arrays]


def _batches(name: str, data: Any, batch_size: int, dtype: Any, seed: int | None) -> _Batches:
    if isinstance(data, tuple):
        if len(data) < 2:
            raise ValueError(f"fit: {name} must be (inputs, targets), got {len(data)} arrays")
        return _Arrays(name, data, batch_size, dtype, seed)
    if isinstance(data, np.ndarray) or not isinstance(data, Iterable):
        raise TypeError(
            f"fit: {name} must be a tuple of arrays or an iterable of batches, "
            f"got {type(data).__name__}"
        )
    return _Iterable(name, data, dtype)


def _array(name: str, given: Any) -> Array:
    array = given.data if isinstance(given, Tensor) else np.asarray(given)
    if not array.ndim or array.dtype.kind not in "fiub":
        raise TypeError(
            f"fit: {name} must be arrays of numbers with an axis of samples, got {array.dtype} of "
            f"shape {array.shape}"
        )
    return array


def _given(array: Array, dtype: Any) -> Any:
    """An array as the model gets it."""
    return Tensor(array.astype(dtype, copy=False)) if array.dtype.kind == "f" else array


def _named(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _read(path: PathLike) -> container.Content:
    found = container.read(path, _KIND)
    wanted = {"run", "settings", "history", "groups", "scheduler", "random"}
    if missing := sorted(wanted - found.meta.keys()):
        raise FormatError(f"lacks {missing}", path)
    return found


def _restore(
    found: container.Content, path: PathLike, model: Module, optimizer: Any, scheduler: Any
) -> None:
    """Take over a checkpoint; FormatError where it is of another model or optimizer."""
    state: dict[int, dict[str, Array]] = {}
    for name, array in _named(found.arrays, "state.").items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = array
    groups = [
        {k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in group.items()}
        for group in found.meta["groups"]
    ]
    if (scheduler is None) != (found.meta["scheduler"] is None):
        raise FormatError("is of a training with another scheduler", path)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    try:
        model.load_state_dict(_named(found.arrays, "model."))
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        if scheduler is not None:
            scheduler.load_state_dict(found.meta["scheduler"])
    except (KeyError, ValueError) as error:
        model.load_state_dict(before)
        raise FormatError(f"is of another training: {error.args[0]}", path) from None
