"""Schedules of learning rates; tests/optim/test_optimizer_peers.py compares them with PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from firth import optim
from firth.nn.module import Parameter
from firth.optim import lr_scheduler
from firth.optim.lr_scheduler import get_cosine_schedule_with_warmup


def optimizer(lr: float = 1.0) -> optim.SGD:
    return optim.SGD([Parameter(np.ones(2))], lr=lr, momentum=0.5)


def rates(schedule: lr_scheduler.LRScheduler, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        schedule.step()
    return found


def test_rates_of_small_schedules():
    assert rates(lr_scheduler.StepLR(optimizer(), 2), 5) == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert rates(lr_scheduler.LinearLR(optimizer(), 0.5, 1, 2), 4) == [0.5, 0.75, 1, 1]
    steps = lr_scheduler.MultiStepLR(optimizer(), [3, 1])
    assert rates(steps, 4) == pytest.approx([1, 0.1, 0.1, 0.01])
    assert rates(lr_scheduler.ConstantLR(optimizer(), 0.5, 2), 4) == [0.5, 0.5, 1, 1]
    assert rates(lr_scheduler.PolynomialLR(optimizer(), 4, 2), 6) == [1, 0.5625, 0.25, 0.0625, 0, 0]
    warm = rates(lr_scheduler.CosineAnnealingWarmRestarts(optimizer(), 1, 2), 8)
    assert warm == pytest.approx(
        [1, 1, 0.5, *((1 + math.cos(i * math.pi / 4)) / 2 for i in range(4)), 1]
    )
    cosine = rates(lr_scheduler.CosineAnnealingLR(optimizer(), 2), 5)
    assert cosine == pytest.approx([1, 0.5, 0, 0.5, 1])
    warm = rates(get_cosine_schedule_with_warmup(optimizer(), 2, 4), 6)
    assert warm == pytest.approx([0, 0.5, 1, 0.5, 0, (1 + math.cos(1.5 * math.pi)) / 2])


def test_a_schedule_goes_on_from_its_state():
    def made() -> lr_scheduler.LRScheduler:
        one = optimizer()
        return lr_scheduler.SequentialLR(
            one, [lr_scheduler.LinearLR(one), lr_scheduler.ExponentialLR(one, 0.5)], [3]
        )

    whole = rates(made(), 9)
    first = made()
    assert rates(first, 4) == whole[:4]
    second = made()
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    assert rates(second, 5) == whole[4:]


def test_plateau_wants_a_number_and_goes_on_from_its_state():
    one = optimizer()
    schedule = lr_scheduler.ReduceLROnPlateau(one, patience=1, factor=0.5)
    with pytest.raises(TypeError, match="needs the number"):
        schedule.step()
    for value in (3, 4, 5):
        schedule.step(value)
    assert one.param_groups[0]["lr"] == 0.5
    schedule.step(6)
    other = lr_scheduler.ReduceLROnPlateau(optimizer(), patience=1, factor=0.5)
    other.load_state_dict(schedule.state_dict())
    other.step(7)
    assert other.get_last_lr() == [0.5]


def test_groups_that_came_later_want_a_new_schedule():
    optimizer = optim.SGD([Parameter(np.ones(1, np.float32))], lr=0.1)
    step, plateau = lr_scheduler.StepLR(optimizer, 1), lr_scheduler.ReduceLROnPlateau(optimizer)
    optimizer.add_param_group({"params": [Parameter(np.ones(1, np.float32))], "lr": 0.5})
    with pytest.raises(ValueError, match="StepLR: the optimizer has 2 groups, had 1; make a new"):
        step.step()
    with pytest.raises(ValueError, match="ReduceLROnPlateau: the optimizer has 2 groups"):
        plateau.step(1.0)
    assert step.last_epoch == plateau.last_epoch == 0
    lr_scheduler.StepLR(optimizer, 1).step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.05])


def test_bad_arguments_are_refused():
    one = optimizer()
    with pytest.raises(TypeError, match="StepLR: optimizer must be one of"):
        lr_scheduler.StepLR(None, 3)
    with pytest.raises(ValueError, match="StepLR: step_size must be a whole number from 1"):
        lr_scheduler.StepLR(one, 0)
    with pytest.raises(KeyError, match="group 0 lacks initial_lr"):
        lr_scheduler.ExponentialLR(one, 0.9, last_epoch=3)
    with pytest.raises(ValueError, match="give total_steps, or epochs"):
        lr_scheduler.OneCycleLR(one, 1.0)
    with pytest.raises(ValueError, match="max_lr must have 1 numbers"):
        lr_scheduler.OneCycleLR(one, [1.0, 2.0], total_steps=3)
    with pytest.raises(ValueError, match="anneal_strategy"):
        lr_scheduler.OneCycleLR(one, 1.0, total_steps=3, anneal_strategy="sqrt")
    with pytest.raises(ValueError, match="cycle_momentum needs"):
        lr_scheduler.OneCycleLR(optim.Adagrad([Parameter(np.ones(2))]), 1.0, total_steps=3)
    cycle = lr_scheduler.OneCycleLR(one, 1.0, total_steps=3)
    for _ in range(3):
        cycle.step()
    with pytest.raises(ValueError, match="there are only 3 steps"):
        cycle.step()
    with pytest.raises(ValueError, match="one fewer than schedulers"):
        lr_scheduler.SequentialLR(one, [cycle], [3])
    with pytest.raises(ValueError, match="of the same optimizer"):
        lr_scheduler.SequentialLR(optimizer(), [cycle], [])
    several = lr_scheduler.SequentialLR(one, [cycle], [])
    before = several.state_dict()
    with pytest.raises(ValueError, match="got states of 0 schedules, has 1"):
        several.load_state_dict({**before, "last_epoch": 9, "schedulers": []})
    with pytest.raises(KeyError):
        several.load_state_dict({"last_epoch": 9, "schedulers": before["schedulers"]})
    assert several.state_dict() == before
    with pytest.raises(ValueError, match="factor must be in"):
        lr_scheduler.ReduceLROnPlateau(one, factor=1.0)
