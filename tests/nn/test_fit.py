"""The loop that trains networks: what it computes, how it stops, goes on and refuses."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import optim
from firth.errors import FormatError
from firth.formats import safetensors
from firth.nn.fit import History, fit
from firth.nn.module import Module
from firth.nn.modules.activation import Tanh
from firth.nn.modules.batch_norm import BatchNorm1d
from firth.nn.modules.containers import Sequential
from firth.nn.modules.dropout import Dropout
from firth.nn.modules.linear import Linear
from firth.nn.objects import load, save
from firth.nn.operations.cross_entropy import cross_entropy
from firth.nn.operations.losses import mse_loss
from firth.nn.program import TrainingStep
from firth.nn.tape import Tensor, generator, manual_seed
from firth.optim import lr_scheduler


def problem(n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    return x, np.tanh(x @ rng.normal(size=(3, 2))) + 0.1


def network(dropout: float = 0.0) -> Sequential:
    manual_seed(5)
    return Sequential(Linear(3, 8), Tanh(), Dropout(dropout), Linear(8, 2))


def trained(**arguments: Any) -> tuple[Sequential, History]:
    model = network(arguments.pop("dropout", 0.0))
    data = arguments.pop("data", problem())
    optimizer = arguments.pop("optimizer", None) or optim.Adam(model.parameters(), lr=0.01)
    given = {"epochs": 4, "batch_size": 16, "seed": 3, "progress": False, **arguments}
    return model, fit(model, data, mse_loss, optimizer, **given)


def states(model: Module) -> list[np.ndarray]:
    return [array.copy() for array in model.state_dict().values()]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_loss_falls_and_is_the_mean_over_samples(backend):
    model, history = trained(epochs=30)
    assert history.loss[-1] < 0.3 * history.loss[0]
    assert len(history) == len(history.lr) == len(history.seconds) == 30
    assert history.validation_loss == []
    assert not model.training
    # without a step the loss of the epoch is that of all samples, though the last batch is shorter
    frozen = network()
    got = fit(frozen, problem(), mse_loss, optim.SGD(frozen.parameters(), lr=0), 1,
              batch_size=16, validation=problem())  # fmt: skip
    x, y = (Tensor(array.astype(np.float32)) for array in problem())
    wanted = mse_loss(frozen(x), y).item()
    assert got.loss == pytest.approx([wanted], rel=1e-5)
    assert got.validation_loss == pytest.approx([wanted], rel=1e-5)


def test_it_is_the_loop_that_one_writes_by_hand(backend):
    x, y = problem(48)
    model, _ = trained(data=(x, y), shuffle=False, clip_norm=0.1)
    other = network()
    optimizer = optim.Adam(other.parameters(), lr=0.01)
    for _ in range(4):
        for i in range(0, 48, 16):
            optimizer.zero_grad()
            rows = slice(i, i + 16)
            inputs, targets = (Tensor(a[rows].astype(np.float32)) for a in (x, y))
            mse_loss(other(inputs), targets).backward()
            optimizer.step(clip_norm=0.1)
    assert same(states(model), states(other))
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 48, 16)]
    assert same(states(model), states(trained(data=batches, clip_norm=0.1)[0]))
    read_once, _ = trained(data=iter(batches), clip_norm=0.1)
    assert same(states(model), states(read_once))


def test_compiled_steps_are_those_of_the_tape(backend):
    model, history = trained(clip_norm=0.1)
    other, compiled = trained(clip_norm=0.1, compile=True)
    assert same(states(model), states(other))
    assert history.loss == compiled.loss
    x, y = problem()
    y[3] = np.inf
    with pytest.raises(FloatingPointError, match=r"fit: .*the loss is inf in epoch 1, batch"):
        trained(data=(x, y), compile=True)


def test_seeds_decide_order_and_dropout():
    first = states(trained(dropout=0.3)[0])
    assert same(first, states(trained(dropout=0.3)[0]))
    assert not same(first, states(trained(dropout=0.3, seed=4)[0]))
    assert not same(first, states(trained(dropout=0.3, shuffle=False)[0]))
    manual_seed(1)
    model = network()
    manual_seed(1)
    fit(model, problem(), mse_loss, optim.SGD(model.parameters()), 2)
    manual_seed(1)
    other = network()
    manual_seed(1)
    fit(other, problem(), mse_loss, optim.SGD(other.parameters()), 2)
    assert same(states(model), states(other))


def test_accumulated_batches_are_one_large_batch():
    # 50 samples: batches of 16, 16, 16 and 2 against 32 and 18
    small, first = trained(accumulate=2)
    large, second = trained(batch_size=32)
    for a, b in zip(states(small), states(large), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5)
    assert first.loss == pytest.approx(second.loss, rel=1e-4)


@pytest.mark.parametrize("kind", ["arrays", "batches"])
@pytest.mark.parametrize("strike", [1, 5, 8])
def test_training_that_was_killed_goes_on_to_the_same_bits(strike, kind, tmp_path):
    x, y = problem()
    data = (x, y) if kind == "arrays" else [(x[i : i + 7], y[i : i + 7]) for i in range(0, 50, 7)]

    def run(model: Module, path: Path | None, resume: bool = False, stop: int = -1) -> History:
        groups = [{"params": list(model[0].parameters()), "lr": 0.05},
                  {"params": list(model[3].parameters())}]  # fmt: skip
        optimizer = optim.AdamW(groups, lr=0.01)
        schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100)
        calls = 0

        def loss(output: Tensor, target: Tensor) -> Tensor:
            nonlocal calls
            calls += model.training
            if calls == stop and model.training:
                os.kill(os.getpid(), signal.SIGTERM)
            return mse_loss(output, target)

        return fit(
            model, data, loss, optimizer, 3, batch_size=16, validation=problem(20),
            scheduler=schedule, schedule_by="step", clip_norm=1.0, accumulate=2, patience=2,
            checkpoint=path, resume=resume, seed=3, progress=False,
            callbacks=[lambda model, numbers: {"twice": 2 * numbers["loss"]}],
        )  # fmt: skip

    whole = network(0.2)
    wanted = run(whole, None)
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt, match="resume goes on"):
        run(network(0.2), path, stop=strike)
    assert path.exists()
    model = network(0.2)
    for parameter in model.parameters():
        parameter.data[...] = 7  # nothing of it may be left
    got = run(model, path, resume=True)
    assert not path.exists()
    assert same(states(model), states(whole))
    assert got.loss == wanted.loss
    assert got.validation_loss == wanted.validation_loss
    assert got.lr == wanted.lr
    assert got.metrics == wanted.metrics
    assert len(got.metrics["twice"]) == 3
    assert got.best_epoch == wanted.best_epoch


def interrupted(path: Path, **arguments: Any) -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return mse_loss(output, target)

    model = network()
    with pytest.raises(KeyboardInterrupt):
        fit(model, problem(), loss, optim.Adam(model.parameters()), 3, checkpoint=path, seed=3,
            **arguments)  # fmt: skip


def test_checkpoints_of_other_trainings_are_refused(tmp_path):
    path = tmp_path / "state"
    interrupted(path)
    model = network()
    before = states(model)

    def again(model: Module, optimizer: Any = None, epochs: int = 3, **more: Any) -> History:
        optimizer = optimizer or optim.Adam(model.parameters())
        return fit(model, problem(), mse_loss, optimizer, epochs, checkpoint=path, resume=True,
                   **more)  # fmt: skip

    with pytest.raises(FormatError, match="of a training with batches 2, not 5"):
        again(model, batch_size=10)
    with pytest.raises(FormatError, match="of a training with seed 3, not 4"):
        again(model, seed=4)
    with pytest.raises(FormatError, match=r"of another training: .*missing keys"):
        again(Sequential(Linear(3, 2), Linear(2, 2), Linear(2, 2)))
    with pytest.raises(FormatError, match=r"of another training: .*unknown states"):
        again(model, optim.SGD(model.parameters()))
    assert same(states(model), before)
    optimizer = optim.Adam(model.parameters())
    with pytest.raises(FormatError, match="another scheduler"):
        again(model, optimizer, scheduler=lr_scheduler.StepLR(optimizer, 2))
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(FormatError, match="checksum"):
        again(model)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(FileExistsError, match="is a file, but none of firth's"):
        again(model)
    path.unlink()
    assert len(again(model)) == 3  # there is none: from the start


def test_early_stopping_restores_the_best(backend):
    x, y = problem(60)
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.3)
    kept = []

    def keep(model: Module, numbers: dict[str, float]) -> None:
        kept.append(states(model))
        if numbers["epoch"] == 3:  # from here on it goes wrong
            optimizer.param_groups[0]["lr"] = 30.0

    history = fit(model, (x, y), mse_loss, optimizer, 50, validation=(x, y), patience=2, seed=1,
                  callbacks=[keep])  # fmt: skip
    assert history.best_epoch == int(np.argmin(history.validation_loss))
    assert len(history) == history.best_epoch + 3
    assert same(states(model), kept[history.best_epoch])


def test_callbacks_give_metrics_and_stop(backend):
    seen = []

    def callback(model: Module, numbers: dict[str, float]) -> Any:
        seen.append(numbers)
        if numbers["epoch"] == 3:
            raise StopIteration
        return {"half": numbers["loss"] / 2} if numbers["epoch"] == 2 else None

    _, history = trained(epochs=9, callbacks=[callback], validation=problem(10))
    assert len(history) == 3
    assert [sorted(numbers) for numbers in seen] == [
        ["epoch", "loss", "lr", "seconds", "validation_loss"]
    ] * 3
    assert np.isnan(history.metrics["half"][0])
    assert history.metrics["half"][1] == history.loss[1] / 2


def test_schedules_go_on_by_epoch_or_step():
    for by, wanted in (("epoch", [0.1, 0.05, 0.05]), ("step", [0.0125, 0.1 / 2**6, 0.1 / 2**9])):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        if by == "epoch":
            schedule: Any = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5,
                                                           cooldown=5, threshold=1e9)  # fmt: skip
        else:
            schedule = lr_scheduler.ExponentialLR(optimizer, 0.5)
        history = fit(model, problem(48), mse_loss, optimizer, 3, batch_size=16,
                      scheduler=schedule, schedule_by=by)  # fmt: skip
        assert history.lr == pytest.approx(wanted)


def test_a_loss_that_is_not_finite_names_its_batch():
    x, y = problem(64)
    y[40] = np.nan
    model = network()
    kept = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        kept.append(states(model))
        return mse_loss(output, target)

    with pytest.raises(FloatingPointError, match="the loss is nan in epoch 1, batch 3; the param"):
        fit(model, (x, y), loss, optim.SGD(model.parameters()), 2, batch_size=16, shuffle=False)
    assert same(states(model), kept[-1])
    assert not same(kept[0], kept[-1])
    assert all(p.grad is None for p in model.parameters())


def test_statistics_are_those_before_a_loss_that_is_not_finite():
    x, y = problem(64)
    x[40] = np.nan
    model = Sequential(BatchNorm1d(3), Linear(3, 2))
    kept = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        value = mse_loss(output, target)
        if np.isfinite(value.item()):
            kept.append(states(model))
        return value

    for accumulate in (1, 2):
        with pytest.raises(FloatingPointError, match="the loss is nan in epoch 1, batch 3"):
            fit(model, (x, y), loss, optim.SGD(model.parameters(), lr=0.0), 1, batch_size=16,
                shuffle=False, accumulate=accumulate)  # fmt: skip
        assert same(states(model), kept[-1])
        assert model[0].num_batches_tracked == 2 * accumulate


def test_what_callbacks_return_is_checked():
    def text(model: Module, numbers: dict[str, float]) -> Any:
        return "0.9"

    with pytest.raises(TypeError, match="fit: callback text must return None, or numbers by their"):
        trained(callbacks=[text])
    with pytest.raises(TypeError, match="must return numbers, got 'high' for 'accuracy'"):
        trained(callbacks=[lambda model, numbers: {"accuracy": "high"}])


def test_classes_and_networks_of_several_inputs(backend):
    class Two(Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = Linear(3, 4), Linear(2, 4)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.one(a) + self.two(b)

    manual_seed(0)
    x, y = problem(80)
    labels = (y[:, 0] > 0).astype(np.int32) + 2 * (y[:, 1] > 0)
    model = Two()
    history = fit(model, (x, y, labels), cross_entropy, optim.Adam(model.parameters(), 0.1), 20)
    assert history.loss[-1] < 0.3 * history.loss[0]


def test_bad_arguments_are_refused():
    x, y = problem()
    for arguments, error, message in (
        ({"data": (x, y[:-1])}, ValueError, "data must have arrays of one length, got 50 and 49"),
        ({"data": (x[:0], y[:0])}, ValueError, "data must not be empty"),
        ({"data": []}, ValueError, "data must not be empty"),
        ({"data": (x,)}, ValueError, r"data must be \(inputs, targets\)"),
        ({"data": x}, TypeError, "data must be a tuple of arrays or an iterable"),
        ({"data": [x]}, TypeError, "batch 1 of data must be"),
        ({"data": [(x, y[:3])]}, ValueError, "batch 1 of data must have arrays of one length"),
        ({"data": (x, 3)}, TypeError, "data must be arrays of numbers with an axis"),
        ({"data": (x.astype(str), y)}, TypeError, "data must be arrays of numbers"),
        ({"validation": (x, y[:1])}, ValueError, "validation must have arrays of one length"),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number from 1"),
        ({"epochs": 0}, ValueError, "epochs must be"),
        ({"accumulate": 0}, ValueError, "accumulate must be"),
        ({"patience": 0}, ValueError, "patience must be"),
        ({"clip_norm": 0}, ValueError, "clip_norm must be"),
        ({"schedule_by": "day"}, ValueError, "schedule_by must be"),
        ({"compile": True, "accumulate": 2}, ValueError, "compile and accumulate do not go"),
        ({"resume": True}, ValueError, "resume needs a checkpoint"),
        ({"checkpoint": "/nowhere/at/all"}, FileNotFoundError, "does not exist"),
    ):
        with pytest.raises(error, match=f"fit: {message}" if error is not FileNotFoundError
                           else message):  # fmt: skip
            trained(**arguments)
    model = Module()
    with pytest.raises(ValueError, match="the model has no parameters"):
        fit(model, (x, y), mse_loss, None, 1)
    model, other = network(), network()
    with pytest.raises(ValueError, match="fit: optimizer has no parameter of the model"):
        fit(model, (x, y), mse_loss, optim.SGD(other.parameters()), 1)
    schedule = optim.lr_scheduler.StepLR(optim.SGD(model.parameters()), 1)
    with pytest.raises(ValueError, match="fit: scheduler is of another optimizer"):
        fit(model, (x, y), mse_loss, optim.SGD(model.parameters()), 1, scheduler=schedule)
    with pytest.raises(TypeError, match=r"loss must return a tensor of one number, got \(32, 2\)"):
        fit(model, (x, y), lambda a, b: a, optim.SGD(model.parameters()), 1)

    class Short(list[Any]):
        def __len__(self) -> int:
            return 3

    with pytest.raises(ValueError, match="fewer batches than their length 3"):
        fit(model, Short([(x, y)]), mse_loss, optim.SGD(model.parameters()), 1)


def test_saved_networks_load(tmp_path):
    model, _ = trained()
    save(model.state_dict(), tmp_path / "model.safetensors")
    assert list(safetensors.read(tmp_path / "model.safetensors")) == list(model.state_dict())
    other = network()
    found = load(tmp_path / "model.safetensors")
    other.load_state_dict(found)
    assert same(states(model), states(other))
    with pytest.raises(KeyError, match=r"missing keys .*'1.weight'"):
        Sequential(Linear(3, 8), Linear(8, 2)).load_state_dict(found)
    with pytest.raises(ValueError, match=r"0\.weight must have shape"):
        Sequential(Linear(4, 8), Tanh(), Tanh(), Linear(8, 2)).load_state_dict(found)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_step_draws_random_numbers_only_for_a_model_that_uses_them(backend, dropout):
    x, y = problem()
    model = network(dropout)
    step = TrainingStep(
        model, lambda model, x, y: mse_loss(model(x), y), optim.Adam(model.parameters())
    )
    x, y = x.astype(np.float32), y.astype(np.float32)
    for _ in range(3):
        before = generator().bit_generator.state
        step(x, y)
        assert (generator().bit_generator.state == before) == (dropout == 0)
