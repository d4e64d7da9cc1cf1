"""PyTorch as oracle of optimizers, schedules and initialisations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth import optim
from firth.nn import init
from firth.nn.module import Parameter
from firth.nn.tape import Tensor, manual_seed
from firth.nn.utils import clip_grad_norm_, clip_grad_value_
from firth.optim import lr_scheduler
from firth.optim.lr_scheduler import get_cosine_schedule_with_warmup

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
    ),
]
torch = pytest.importorskip("torch")

SHAPES: list[tuple[int, ...]] = [(3, 5), (7,), (), (130, 33)]
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "betas": (0.3, 0.9), "eps": 1e-3}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.01}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"momentum": 0.9, "centered": True, "alpha": 0.4, "eps": 1e-4}),
]


def pair(dtype: Any, shapes: list[tuple[int, ...]] = SHAPES) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(1)
    values = [np.asarray(rng.normal(size=shape).astype(dtype)) for shape in shapes]
    return (
        [Parameter(v.copy()) for v in values],
        [torch.nn.Parameter(torch.tensor(v)) for v in values],
    )


def give_gradients(ours: list[Any], theirs: list[Any], rng: np.random.Generator) -> None:
    for p, q in zip(ours, theirs, strict=True):
        g = np.asarray(rng.normal(size=p.shape).astype(p.dtype))
        p.grad, q.grad = g.copy(), torch.tensor(g)


def array(tensor: Any) -> Any:
    return tensor.detach().numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_ten_steps(name, settings, dtype, tolerance):
    ours, theirs = pair(dtype)
    mine = getattr(optim, name)(ours, **settings)
    other = getattr(torch.optim, name)(theirs, **settings)
    rng = np.random.default_rng(2)
    for _ in range(10):
        give_gradients(ours, theirs, rng)
        mine.step()
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        # a step is of the size of lr, so its roundings are of that of eps lr; parameters of order 1
        np.testing.assert_allclose(p.data, array(q), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_states_of_theirs_load(name, settings):
    ours, theirs = pair(np.float64)
    other = getattr(torch.optim, name)(theirs, **settings)
    rng = np.random.default_rng(2)
    for _ in range(3):
        give_gradients(ours, theirs, rng)
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        p.data[...] = array(q)
    mine = getattr(optim, name)(ours, lr=7.0)
    mine.load_state_dict(other.state_dict())
    for _ in range(3):
        give_gradients(ours, theirs, rng)
        mine.step()
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, array(q), rtol=1e-13, atol=1e-13)


def test_defaults_are_theirs():
    for name in ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop"):
        ours, theirs = pair(np.float32)
        group = getattr(optim, name)(ours).param_groups[0]
        wanted = getattr(torch.optim, name)(theirs).param_groups[0]
        assert {k: v for k, v in group.items() if k != "params"} == {
            k: wanted[k] for k in group if k != "params"
        }
        missing = wanted.keys() - group.keys()
        assert all(not wanted[k] for k in missing), missing


def test_clipping():
    for norm in (0.5, 1e6):
        ours, theirs = pair(np.float32)
        give_gradients(ours, theirs, np.random.default_rng(0))
        found = clip_grad_norm_(ours, norm)
        assert found == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, norm)), rel=1e-6)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-6)
    clip_grad_value_(ours, 0.25)
    torch.nn.utils.clip_grad_value_(theirs, 0.25)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(p.grad, q.grad.numpy())


SCHEDULES: dict[str, Any] = {
    "LambdaLR": lambda m, o: m.LambdaLR(o, lambda e: 0.95**e),
    "two lambdas": lambda m, o: m.LambdaLR(o, [lambda e: 1 / (1 + e), lambda e: 0.9**e]),
    "StepLR": lambda m, o: m.StepLR(o, 7, 0.5),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 13, 0.01),
    "LinearLR": lambda m, o: m.LinearLR(o),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [30, 5, 5, 11], 0.5),
    "ConstantLR": lambda m, o: m.ConstantLR(o, 0.25, 9),
    "PolynomialLR": lambda m, o: m.PolynomialLR(o, 17, 2.0),
    "CosineAnnealingWarmRestarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 5, 2, 0.01),
    "CosineAnnealingWarmRestarts alike": lambda m, o: m.CosineAnnealingWarmRestarts(o, 7),
    "LinearLR down": lambda m, o: m.LinearLR(o, 1.0, 0.1, 20),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 1.0, total_steps=41),
    "OneCycleLR three": lambda m, o: m.OneCycleLR(
        o, [1.0, 2.0], epochs=9, steps_per_epoch=5, three_phase=True, pct_start=0.25
    ),
    "OneCycleLR linear": lambda m, o: m.OneCycleLR(
        o, 1.0, total_steps=50, anneal_strategy="linear", base_momentum=0.7
    ),
    "CyclicLR": lambda m, o: m.CyclicLR(o, 0.01, 0.5, 4, 7),
    "CyclicLR triangular2": lambda m, o: m.CyclicLR(
        o, [0.01, 0.02], [0.5, 0.4], 3, mode="triangular2", base_momentum=0.7, max_momentum=0.95
    ),
    "CyclicLR exp_range": lambda m, o: m.CyclicLR(
        o, 0.1, 1.0, 5, mode="exp_range", gamma=0.97, cycle_momentum=False
    ),
    "CyclicLR scale_fn": lambda m, o: m.CyclicLR(
        o, 0.1, 1.0, 5, scale_fn=lambda step: 1 / (1 + step), scale_mode="iterations"
    ),
    "SequentialLR": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 5), m.ExponentialLR(o, 0.8), m.StepLR(o, 3)], [5, 20]
    ),
}


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name, kind):
    ours, theirs = pair(np.float32)
    extra = {"momentum": 0.9} if kind == "SGD" else {}
    optimizers, schedules = [], []
    for module, schedules_of, parameters in (
        (optim, lr_scheduler, ours),
        (torch.optim, torch.optim.lr_scheduler, theirs),
    ):
        groups = [{"params": parameters[:2], "lr": 0.5}, {"params": parameters[2:]}]
        optimizers.append(getattr(module, kind)(groups, lr=0.1, **extra))
        schedules.append(SCHEDULES[name](schedules_of, optimizers[-1]))
    for _ in range(41):
        got, want = ([dict(g) for g in o.param_groups] for o in optimizers)
        for mine, other in zip(got, want, strict=True):
            assert mine["lr"] == pytest.approx(other["lr"], rel=1e-12, abs=1e-12)
            for key in ("betas", "momentum"):
                if key in other:
                    assert mine[key] == pytest.approx(other[key], rel=1e-12)
        assert schedules[0].get_last_lr() == pytest.approx(schedules[1].get_last_lr(), rel=1e-12,
                                                           abs=1e-12)  # fmt: skip
        for o, s in zip(optimizers, schedules, strict=True):
            o.step()
            s.step()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau(mode, threshold_mode):
    ours, theirs = pair(np.float32)
    arguments = {
        "mode": mode, "threshold_mode": threshold_mode, "patience": 2, "cooldown": 1,
        "threshold": 0.05, "min_lr": 1e-4,
    }  # fmt: skip
    mine, other = optim.SGD(ours, lr=0.1), torch.optim.SGD(theirs, lr=0.1)
    a = lr_scheduler.ReduceLROnPlateau(mine, **arguments)
    b = torch.optim.lr_scheduler.ReduceLROnPlateau(other, **arguments)
    rng = np.random.default_rng(4)
    rates = set()
    for _ in range(60):
        value = float(rng.normal())
        a.step(value)
        b.step(value)
        rates.add(mine.param_groups[0]["lr"])
        assert mine.param_groups[0]["lr"] == pytest.approx(other.param_groups[0]["lr"], rel=1e-12)
    assert len(rates) == 4


def test_warmup_and_cosine():
    transformers = pytest.importorskip("transformers")
    ours, theirs = pair(np.float32)
    mine, other = optim.SGD(ours, lr=0.1), torch.optim.SGD(theirs, lr=0.1)
    for cycles in (0.5, 2.0):
        a = get_cosine_schedule_with_warmup(mine, 7, 40, cycles)
        b = transformers.get_cosine_schedule_with_warmup(other, 7, 40, cycles)
        for _ in range(45):
            assert a.get_last_lr() == pytest.approx(b.get_last_lr(), rel=1e-12, abs=1e-12)
            other.step()
            a.step()
            b.step()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("xavier_uniform_", {"gain": 2.0}),
        ("xavier_normal_", {}),
        ("kaiming_uniform_", {}),
        ("kaiming_uniform_", {"a": 5**0.5}),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}),
        ("kaiming_normal_", {"nonlinearity": "tanh"}),
        ("normal_", {"mean": 3.0, "std": 0.5}),
        ("uniform_", {"a": -2.0, "b": 0.5}),
        ("trunc_normal_", {"std": 2.0}),
        ("trunc_normal_", {"a": 0.5, "b": 3.0}),
        ("orthogonal_", {"gain": 1.5}),
        ("eye_", {}),
        ("constant_", {"val": 3.0}),
    ],
)
def test_initial_values_have_their_distribution(name, arguments):
    torch.manual_seed(0)
    manual_seed(0)
    shape = (100, 300) if name in ("eye_", "orthogonal_") else (60, 50, 2, 5)
    got = getattr(init, name)(Tensor(np.empty(shape, np.float32)), **arguments).data
    want = getattr(torch.nn.init, name)(torch.empty(shape), **arguments).numpy()
    spread = float(want.std())
    # 30 000 draws: means and quantiles of both are within some spread / sqrt(30 000)
    for share in (0.02, 0.25, 0.5, 0.75, 0.98):
        assert np.quantile(got, share) == pytest.approx(
            np.quantile(want, share), abs=0.06 * spread + 1e-6
        )
    assert got.std() == pytest.approx(spread, rel=0.03)
    assert abs(got).max() <= abs(want).max() * 1.5 + 1e-6


def test_gains():
    for name, param in (("relu", None), ("tanh", None), ("leaky_relu", 0.3), ("leaky_relu", None),
                        ("selu", None), ("sigmoid", None), ("conv2d", None)):  # fmt: skip
        assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)
