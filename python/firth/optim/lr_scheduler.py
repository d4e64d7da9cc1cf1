"""Schedules of learning rates, named as in torch.optim.lr_scheduler.

A schedule is a function of the number of steps that were made: `rates` says it. ``step`` sets the
rates of all groups of the optimizer to what it gives for the next number.

(Above 500 lines: a dozen schedules, each a formula and its parameters.)
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from firth.arguments import check_real, check_whole
from firth.optim.optimizer import Optimizer


class LRScheduler:
    """What all schedules have in common.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups get their first rates at once. TypeError for another object.
    last_epoch : int
        -1 begins. Otherwise a training goes on behind so many steps, and KeyError says where a
        group lacks ``initial_lr``, which the first schedule wrote.

    Attributes
    ----------
    optimizer : Optimizer
    base_lrs : list of float
        The rates of the groups before the first schedule was made.
    last_epoch : int
        How often `step` was called.
    """

    _plain: tuple[str, ...] = ("last_epoch", "base_lrs")
    """Attributes that are the state."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer must be one of firth.optim")
        check_whole(f"{type(self).__name__}: last_epoch", last_epoch, -1)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: group {i} lacks initial_lr")
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def rates(self, epoch: int) -> list[float]:
        """The rate of each group after ``epoch`` steps, a list of float; a subclass defines it."""
        raise NotImplementedError

    def step(self) -> None:
        """Go on by one: after each epoch, or each batch where the schedule counts batches.

        ValueError where groups were added to the optimizer since the schedule was made.
        """
        self._set(self.last_epoch + 1)

    def _set(self, epoch: int) -> None:
        self._check_groups()
        rates = self.rates(epoch)
        self.last_epoch = epoch
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _check_groups(self) -> None:
        groups = len(self.optimizer.param_groups)
        if groups != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__}: the optimizer has {groups} groups, had "
                f"{len(self.base_lrs)}; make a new schedule after add_param_group"
            )

    def get_last_lr(self) -> list[float]:
        """The rates of the groups now, a list of float."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes: plain numbers."""
        return {name: getattr(self, name) for name in self._plain}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned. The rates are the optimizer's and stay."""
        state = {name: state_dict[name] for name in self._plain}  # KeyError before any change
        for name, value in state.items():
            setattr(self, name, value)


class LambdaLR(LRScheduler):
    """The first rate times ``lr_lambda(epoch)``, as torch.optim.lr_scheduler.LambdaLR.

    Parameters
    ----------
    optimizer, last_epoch
        As of `LRScheduler`.
    lr_lambda : function of int to float, or list of one for each group
        Of the number of steps, from 0. ValueError for another number of functions.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        count = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * count if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != count:
            raise ValueError(f"LambdaLR: lr_lambda must have {count} functions, one a group")
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int) -> list[float]:
        return [
            base * factor(epoch)
            for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]


class StepLR(LRScheduler):
    """The first rate times ``gamma`` after each ``step_size`` epochs.

    Parameters
    ----------
    optimizer, last_epoch
        As of `LRScheduler`.
    step_size : int
        At least 1; ValueError for less.
    gamma : float
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        check_whole("StepLR: step_size", step_size, 1)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int) -> list[float]:
        return [base * self.gamma ** (epoch // self.step_size) for base in self.base_lrs]


class ExponentialLR(LRScheduler):
    """The first rate times ``gamma``, a float, after each epoch: lr gamma^epoch.

    Other arguments are those of `LRScheduler`.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int) -> list[float]:
        return [base * self.gamma**epoch for base in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """From the first rate down to ``eta_min`` along half a cosine of ``T_max`` epochs, and back.

    eta_min + (lr - eta_min) (1 + cos(pi epoch / T_max)) / 2 (Loshchilov and Hutter,
    arXiv:1608.03983).

    Parameters
    ----------
    optimizer, last_epoch
        As of `LRScheduler`.
    T_max : int
        At least 1; ValueError for less.
    eta_min : float
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        check_whole("CosineAnnealingLR: T_max", T_max, 1)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int) -> list[float]:
        share = (1 + math.cos(math.pi * epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


class LinearLR(LRScheduler):
    """The first rate times a factor that goes from one number to another in ``total_iters``.

    start_factor + (end_factor - start_factor) min(epoch, total_iters) / total_iters.

    Parameters
    ----------
    optimizer, last_epoch
        As of `LRScheduler`.
    start_factor, end_factor : float
        Above 0, or from 0; up to 1.
    total_iters : int
        At least 1. ValueError for what is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_real("LinearLR: start_factor", start_factor, 0, 1, above=True)
        check_real("LinearLR: end_factor", end_factor, 0, 1)
        check_whole("LinearLR: total_iters", total_iters, 1)
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int) -> list[float]:
        share = min(epoch, self.total_iters) / self.total_iters
        factor = self.start_factor + (self.end_factor - self.start_factor) * share
        return [base * factor for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """The first rate times ``gamma`` for each of the ``milestones`` that has come.

    Parameters
    ----------
    optimizer, last_epoch
        As of `LRScheduler`.
    milestones : sequence of int
        Epochs, in any order; one that is there twice counts twice. ValueError for one below 0.
    gamma : float
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        for epoch in milestones:
            check_whole("MultiStepLR: milestones", epoch, 0)
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int) -> list[float]:
        return [
            base * self.gamma ** bisect.bisect_right(self.milestones, epoch)
            for base in self.base_lrs
        ]


class ConstantLR(LRScheduler):
    """The first rate times ``factor`` for ``total_iters`` epochs, then the first rate.

    Parameters
    ----------
    optimizer, last_epoch
        As of `LRScheduler`.
    factor : float, from 0 to 1
    total_iters : int
        At least 0. ValueError for what is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_real("ConstantLR: factor", factor, 0, 1)
        check_whole("ConstantLR: total_iters", total_iters, 0)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int) -> list[float]:
        factor = self.factor if epoch < self.total_iters else 1.0
        return [base * factor for base in self.base_lrs]


class PolynomialLR(LRScheduler):
    """The first rate times the ``power`` of what is left of ``total_iters`` epochs.

    (1 - min(epoch, total_iters) / total_iters)^power; 0 from there on.

    Parameters
    ----------
    optimizer, last_epoch
        As of `LRScheduler`.
    total_iters : int
        At least 1.
    power : float
        At least 0. ValueError for what is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        check_whole("PolynomialLR: total_iters", total_iters, 1)
        check_real("PolynomialLR: power", power, 0)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int) -> list[float]:
        left = 1 - min(epoch, self.total_iters) / self.total_iters
        return [base * left**self.power for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """From the first rate down to ``eta_min`` along half a cosine, again and again.

    The first way down has ``T_0`` epochs, each other ``T_mult`` times those of the one before
    (Loshchilov and Hutter, arXiv:1608.03983).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        check_whole("CosineAnnealingWarmRestarts: T_0", T_0, 1)
        check_whole("CosineAnnealingWarmRestarts: T_mult", T_mult, 1)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int) -> list[float]:
        whole = self.T_0
        if self.T_mult == 1:
            epoch %= whole
        while epoch >= whole:
            epoch -= whole
            whole *= self.T_mult
        share = (1 + math.cos(math.pi * epoch / whole)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


class OneCycleLR(LRScheduler):
    """From a low rate up to ``max_lr`` and down to a very low one (Smith, 2018), batch by batch.

    Momentum (beta1 of Adam) goes the other way.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float, or list of one for each group
    total_steps : int
        How often `step` will be called; or ``epochs`` times ``steps_per_epoch``.
    pct_start : float
        Share of the steps in which the rate rises.
    anneal_strategy : {"cos", "linear"}
    cycle_momentum : bool
    base_momentum, max_momentum : float, or list of one for each group
    div_factor, final_div_factor : float
        The first rate is max_lr / div_factor, the last one the first / final_div_factor.
    three_phase : bool
        Fall to the first rate as long as it rose, then to the last one.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            check_whole("OneCycleLR: epochs", epochs, 1)
            check_whole("OneCycleLR: steps_per_epoch", steps_per_epoch, 1)
            total_steps = epochs * steps_per_epoch
        check_whole("OneCycleLR: total_steps", total_steps, 1)
        check_real("OneCycleLR: pct_start", pct_start, 0, 1)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}"
            )
        if cycle_momentum and not {"momentum", "betas"} & optimizer.defaults.keys():
            raise ValueError("OneCycleLR: cycle_momentum needs an optimizer with momentum or betas")
        groups = optimizer.param_groups
        self.total_steps, self.cosine = total_steps, anneal_strategy == "cos"
        top = _of_each(groups, max_lr, "max_lr")
        first = [rate / div_factor for rate in top]
        last = [rate / final_div_factor for rate in first]
        up, end = pct_start * total_steps - 1, total_steps - 1
        low, high = (
            _of_each(groups, value, name)
            for value, name in ((base_momentum, "base_momentum"), (max_momentum, "max_momentum"))
        )
        # (last step, rates there, momenta there)
        self._points: list[tuple[float, list[float], list[float]]] = [
            (0.0, first, high),
            (up, top, low),
        ]
        if three_phase:
            self._points.append((2 * up, first, high))
        self._points.append((float(end), last, high))
        self.cycle_momentum = cycle_momentum
        if last_epoch == -1:
            for group, rate in zip(groups, first, strict=True):
                group["initial_lr"] = rate
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int) -> list[float]:
        return self._at(epoch, 1)

    def _at(self, epoch: int, what: Literal[1, 2]) -> list[float]:
        if epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: there are only {self.total_steps} steps")
        number = 1
        while epoch > self._points[number][0] and number < len(self._points) - 1:
            number += 1
        begin, end = self._points[number - 1], self._points[number]
        length = end[0] - begin[0]
        share = (epoch - begin[0]) / length if length else 1.0
        if self.cosine:
            share = (1 - math.cos(math.pi * share)) / 2
        return [a + (b - a) * share for a, b in zip(begin[what], end[what], strict=True)]

    def _set(self, epoch: int) -> None:
        super()._set(epoch)
        if self.cycle_momentum:
            _set_momenta(self.optimizer, self._at(epoch, 2))


def _set_momenta(optimizer: Optimizer, momenta: Sequence[float]) -> None:
    """Momentum, or beta1, of each group."""
    for group, momentum in zip(optimizer.param_groups, momenta, strict=True):
        if "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class CyclicLR(LRScheduler):
    """From ``base_lr`` straight up to ``max_lr`` and back, again and again (Smith, 2017).

    Momentum (beta1 of Adam) goes the other way.

    Parameters
    ----------
    optimizer : Optimizer
    base_lr, max_lr : float, or list of one for each group
    step_size_up, step_size_down : int
        How many steps it goes up, and down; down as many as up where that is not given.
    mode : {"triangular", "triangular2", "exp_range"}
        What the distance from ``base_lr`` is multiplied by: 1, half as much in each cycle, or
        ``gamma`` to the number of steps.
    gamma : float
    scale_fn : callable, optional
        What it is multiplied by, instead of ``mode``: of the number of the cycle, from 1, or of
        the steps, as ``scale_mode`` says.
    scale_mode : {"cycle", "iterations"}
    cycle_momentum : bool
    base_momentum, max_momentum : float, or list of one for each group

    Raises
    ------
    ValueError
        There is no such mode, or the optimizer has no momentum.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[int], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        down = step_size_up if step_size_down is None else step_size_down
        check_whole("CyclicLR: step_size_up", step_size_up, 1)
        check_whole("CyclicLR: step_size_down", down, 1)
        scales: dict[str, tuple[Callable[[int], float], str]] = {
            "triangular": (lambda cycle: 1.0, "cycle"),
            "triangular2": (lambda cycle: 0.5 ** (cycle - 1), "cycle"),
            "exp_range": (lambda step: gamma**step, "iterations"),
        }
        if mode not in scales:
            raise ValueError(f"CyclicLR: mode must be one of {sorted(scales)}, got {mode!r}")
        if scale_mode not in ("cycle", "iterations"):
            raise ValueError(
                f"CyclicLR: scale_mode must be 'cycle' or 'iterations', got {scale_mode!r}"
            )
        if cycle_momentum and not {"momentum", "betas"} & optimizer.defaults.keys():
            raise ValueError("CyclicLR: cycle_momentum needs an optimizer with momentum or betas")
        self._scale, by = scales[mode] if scale_fn is None else (scale_fn, scale_mode)
        self._by_cycle, self.cycle_momentum = by == "cycle", cycle_momentum
        self.up, self.down = step_size_up, down
        groups = optimizer.param_groups
        self.max_lrs = _of_each(groups, max_lr, "CyclicLR: max_lr")
        self.base_momentums = _of_each(groups, base_momentum, "CyclicLR: base_momentum")
        self.max_momentums = _of_each(groups, max_momentum, "CyclicLR: max_momentum")
        first = _of_each(groups, base_lr, "CyclicLR: base_lr")
        if last_epoch == -1:
            for group, rate in zip(groups, first, strict=True):
                group["initial_lr"] = rate
        super().__init__(optimizer, last_epoch)

    def _share(self, epoch: int) -> float:
        """The place between the two rates: 0 at the base, 1 at the top of the first cycle."""
        cycle, place = divmod(epoch, self.up + self.down)
        height = place / self.up if place <= self.up else 1 - (place - self.up) / self.down
        return height * self._scale(cycle + 1 if self._by_cycle else epoch)

    def rates(self, epoch: int) -> list[float]:
        share = self._share(epoch)
        return [a + (b - a) * share for a, b in zip(self.base_lrs, self.max_lrs, strict=True)]

    def _set(self, epoch: int) -> None:
        super()._set(epoch)
        if self.cycle_momentum:
            share = self._share(epoch)
            ends = zip(self.max_momentums, self.base_momentums, strict=True)
            _set_momenta(self.optimizer, [high + (low - high) * share for high, low in ends])


def _of_each(groups: Sequence[Any], value: float | Sequence[float], name: str) -> list[float]:
    values = list(value) if isinstance(value, Sequence) else [value] * len(groups)
    if len(values) != len(groups):
        raise ValueError(f"{name} must have {len(groups)} numbers, one a group, got {len(values)}")
    return values


class SequentialLR(LRScheduler):
    """One schedule after the other: the next one begins at its milestone, from its own step 0.

    Parameters
    ----------
    optimizer, last_epoch
        As of `LRScheduler`.
    schedulers : sequence of LRScheduler
        Of this optimizer.
    milestones : sequence of int
        Epochs, rising, one fewer than schedules.

    Raises
    ------
    ValueError
        Milestones of another number or order, or a schedule of another optimizer.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "SequentialLR: milestones must be one fewer than schedulers, got "
                f"{len(milestones)} and {len(schedulers)}"
            )
        if list(milestones) != sorted(set(milestones)):
            raise ValueError(f"SequentialLR: milestones must rise, got {list(milestones)}")
        if any(one.optimizer is not optimizer for one in schedulers):
            raise ValueError("SequentialLR: schedulers must be of the same optimizer")
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer, last_epoch)

    def _set(self, epoch: int) -> None:
        number = bisect.bisect_right(self.milestones, epoch)
        begin = self.milestones[number - 1] if number else 0
        self.schedulers[number]._set(epoch - begin)
        self.last_epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes, with the states of all schedules."""
        own = super().state_dict()
        return {**own, "schedulers": [one.state_dict() for one in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; ValueError for another number of schedules."""
        states = state_dict["schedulers"]
        if len(states) != len(self.schedulers):
            raise ValueError(
                f"SequentialLR: got states of {len(states)} schedules, has {len(self.schedulers)}"
            )
        super().load_state_dict(state_dict)
        for one, state in zip(self.schedulers, states, strict=True):
            one.load_state_dict(state)


class ReduceLROnPlateau(LRScheduler):
    """The rates times ``factor`` where a number has not improved for more than ``patience`` epochs.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether a lower or a higher number is better.
    factor : float
        Below 1.
    patience : int
    threshold : float
        By how much a number must improve to count: of the best one ("rel") or itself ("abs").
    threshold_mode : {"rel", "abs"}
    cooldown : int
        Epochs after a reduction in which nothing is counted.
    min_lr : float, or list of one for each group
    eps : float
        Reductions that change a rate by less are not made.
    """

    watches = True  # its step takes a number
    _plain = ("last_epoch", "base_lrs", "best", "num_bad_epochs", "cooldown_counter")

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be in [0, 1), got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode must be 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}"
            )
        check_whole("ReduceLROnPlateau: patience", patience)
        check_whole("ReduceLROnPlateau: cooldown", cooldown)
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = _of_each(optimizer.param_groups, min_lr, "ReduceLROnPlateau: min_lr")
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0
        super().__init__(optimizer)

    def step(self, metrics: float | None = None) -> None:  # the first one, of __init__, has none
        """Look at the number of an epoch, such as the validation loss; TypeError without one."""
        self._check_groups()
        self.last_epoch += 1
        if metrics is None:
            if self.last_epoch:
                raise TypeError("ReduceLROnPlateau: step needs the number to look at")
            return
        value = float(metrics)
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                reduced = max(group["lr"] * self.factor, least)
                if group["lr"] - reduced > self.eps:
                    group["lr"] = reduced
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _better(self, value: float) -> bool:
        # a share of the best number, as PyTorch has it: best (1 - threshold), best (1 + threshold)
        sign = -1 if self.mode == "min" else 1
        if math.isinf(self.best):
            return sign * value > sign * self.best
        step = self.threshold * (self.best if self.threshold_mode == "rel" else 1)
        return sign * value > sign * (self.best + sign * step)


def get_cosine_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
) -> LambdaLR:
    """Linearly from 0 up to the first rate, then down to 0 along a cosine, batch by batch.

    Parameters
    ----------
    optimizer : Optimizer
    num_warmup_steps, num_training_steps : int
        Steps of the rise, and of all.
    num_cycles : float
        Waves of the cosine: half a wave falls once.
    """
    check_whole("get_cosine_schedule_with_warmup: num_warmup_steps", num_warmup_steps)
    check_whole("get_cosine_schedule_with_warmup: num_training_steps", num_training_steps)

    def factor(step: int) -> float:
        if step < num_warmup_steps:
            return step / max(1, num_warmup_steps)
        done = (step - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps)
        return max(0.0, (1 + math.cos(2 * math.pi * num_cycles * done)) / 2)

    return LambdaLR(optimizer, factor, last_epoch)
