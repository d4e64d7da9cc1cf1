"""Optimizers: groups of parameters with their settings and states, under PyTorch's names.

(Above 500 lines: five classes that list and check PyTorch's arguments, and the base they share.)
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from firth.arguments import check_real
from firth.nn.tape import Array, Tensor, tracing, wrote
from firth.nn.updates import grad_norm, update
from firth.optim import updates
from firth.optim.updates import Step

_REFUSED = {"amsgrad", "capturable", "differentiable", "foreach", "fused", "maximize"}
"""Arguments of PyTorch's that may be given where they change nothing."""


class Optimizer(abc.ABC):
    """What all optimizers have in common.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Each dict is a group: ``params`` and the settings that it has of its own.
    defaults : dict
        Settings of groups that have none of their own.

    Attributes
    ----------
    param_groups : list of dict
        ``params`` and all settings; what is changed here holds from the next step on.
    state : dict of Tensor to dict of str to ndarray
        What is kept of each parameter, from its first step on; ``step`` is the number of its steps.

    Raises
    ------
    TypeError
        ``params`` are no tensors, or an argument is unknown.
    ValueError
        There are no parameters, one is there twice, or a setting is out of range.
    """

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], defaults: dict[str, Any]
    ) -> None:
        self._name = type(self).__name__
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Array]] = {}
        self.generation = 0  # how often the arrays of states have been exchanged
        self._numbers: list[Array] = []  # of each group, see firth.optim.updates
        self._checked: list[tuple[list[Any], Step]] = []  # settings of each group, their update
        if isinstance(params, (Tensor, Mapping)):
            raise TypeError(f"{self._name}: params must be an iterable of tensors or of dicts")
        given: list[Any] = list(params)
        if not given:
            raise ValueError(f"{self._name}: params are empty")
        groups = given if isinstance(given[0], Mapping) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    @abc.abstractmethod
    def _step(self, group: Mapping[str, Any]) -> Step:
        """The update that the settings of a group ask for; ValueError where they are wrong."""

    def _check(self, group: Mapping[str, Any], *names: str) -> None:
        for name in names:
            check_real(f"{self._name}: {name}", group[name])

    def _momentum(self, group: Mapping[str, Any]) -> float:
        return float(group.get("momentum", 0))

    def _initial(self, group: Mapping[str, Any]) -> float:
        """What states hold before the first step."""
        return 0.0

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with settings of their own.

        Parameters
        ----------
        param_group : dict
            ``params``, a tensor or an iterable of them, and settings; others are ``defaults``.

        Raises
        ------
        TypeError, ValueError
            As `Optimizer`.
        """
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(f"{self._name}: a group must be a dict with params")
        given = param_group["params"]
        tensors = [given] if isinstance(given, Tensor) else list(given)
        if not tensors:
            raise ValueError(f"{self._name}: params of a group are empty")
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for i, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"{self._name}: params must be tensors, got {type(tensor).__name__} at {i}"
                )
            if tensor._record is not None:
                raise ValueError(f"{self._name}: parameter {i} was made by an operation")
            if id(tensor) in known:
                raise ValueError(f"{self._name}: parameter {i} of a group is there twice")
            known.add(id(tensor))
        unknown = sorted(param_group.keys() - self.defaults.keys() - {"params"} - _REFUSED)
        if unknown:
            raise TypeError(f"{self._name}: unknown settings {unknown}")
        refuse(self._name, {k: v for k, v in param_group.items() if k in _REFUSED})
        group = {name: param_group.get(name, value) for name, value in self.defaults.items()}
        group = {"params": tensors, **group}
        self._checked.append((_settings(group), self._step(group)))
        self.param_groups.append(group)
        self.generation += 1
        self._numbers.append(np.zeros(2 + len(tensors)))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients (``grad`` is None), or set them to 0 without ``set_to_none``."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad[...] = 0

    def step(
        self, closure: Callable[[], Any] | None = None, *, clip_norm: float | None = None
    ) -> Any:
        """Change each parameter that has a gradient, once.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and the gradients first.
        clip_norm : float, optional
            All gradients together are scaled to this Euclidean norm where theirs is greater, as by
            `firth.nn.utils.clip_grad_norm_`, in the same pass. The gradients stay as they are.

        Returns
        -------
        What ``closure`` returned.

        Raises
        ------
        ValueError
            A gradient does not fit its parameter, or a setting is out of range. No parameter is
            changed.
        """
        result = closure() if closure else None
        if clip_norm is not None:
            check_real(f"{self._name}.step: clip_norm", clip_norm)
        ready = [self._arrays(i) for i in range(len(self.param_groups))]
        factor = None
        if clip_norm is not None:
            gradients = [
                p.grad
                for group in self.param_groups
                for p in group["params"]
                if p.requires_grad and p.grad is not None
            ]
            factor = grad_norm(gradients, clip_norm)
        if not tracing():
            self.advance(self.stepped())
        for numbers, (operation, by_dtype) in zip(self._numbers, ready, strict=True):
            for arrays in by_dtype:
                update(operation, [numbers, factor, *arrays])
        if not tracing():
            parameters = [p for group in self.param_groups for p in group["params"]]
            wrote(*[p.data for p in parameters if p.requires_grad and p.grad is not None])
        return result

    # A compiled step (firth.nn.TrainingStep) runs the updates of `step` again, on the same arrays.

    def updates(self) -> tuple[Step, ...]:
        """The update that each group's settings ask for now."""
        return tuple(self._update(i) for i in range(len(self.param_groups)))

    def _update(self, index: int) -> Step:
        group = self.param_groups[index]
        settings = _settings(group)
        if self._checked[index][0] != settings:  # checking takes longer than a small step
            self._checked[index] = settings, self._step(group)
        return self._checked[index][1]

    def arrays(self) -> list[Array]:
        """All arrays that `step` reads or changes, but for gradients."""
        states = [array for state in self.state.values() for array in state.values()]
        parameters = [p.data for group in self.param_groups for p in group["params"]]
        return [*self._numbers, *states, *parameters]

    def stepped(self) -> list[Array]:
        """Of each group 1 for parameters that the next step changes, after two zeros."""
        return [
            np.array([0.0, 0.0, *[p.requires_grad and p.grad is not None for p in group["params"]]])
            for group in self.param_groups
        ]

    def advance(self, stepped: Sequence[Array]) -> None:
        """Write the numbers of the next step of the parameters that `stepped` names, by group."""
        for numbers, group, steps in zip(self._numbers, self.param_groups, stepped, strict=True):
            numbers += steps
            numbers[0], numbers[1] = group["lr"], self._momentum(group)

    def _arrays(self, index: int) -> tuple[Step, list[list[Array | None]]]:
        """The update of a group, and for each dtype of its parameters the arrays after the numbers.

        States that are not there yet are made.
        """
        group, numbers = self.param_groups[index], self._numbers[index]
        operation = self._update(index)
        names, parameters = operation.states, group["params"]
        stepped = [p.grad is not None and p.requires_grad for p in parameters]
        dtypes = {p.data.dtype for p, steps in zip(parameters, stepped, strict=True) if steps}
        found: list[list[Array | None]] = [[] for _ in dtypes]
        for i, p in enumerate(parameters):
            data, gradient = p.data, p.grad
            for dtype, arrays in zip(dtypes, found, strict=True):
                if not stepped[i] or data.dtype != dtype:
                    arrays += (None,) * (2 + len(names))
                    continue
                if gradient.shape != data.shape or gradient.dtype != dtype:
                    raise ValueError(
                        f"{self._name}.step: the gradient of parameter {i} must have shape "
                        f"{data.shape} and {dtype}, has {gradient.shape} and {gradient.dtype}"
                    )
                if not data.flags.writeable:
                    raise ValueError(f"{self._name}.step: parameter {i} is read-only")
                if p not in self.state:
                    self.state[p] = {"step": numbers[2 + i : 3 + i].reshape(())}
                state = self.state[p]
                arrays += data, np.asarray(gradient, order="C")
                for name in names:
                    if name not in state:
                        state[name] = np.full(data.shape, self._initial(group), dtype)
                    array = state[name]
                    if array.shape != data.shape or array.dtype != dtype:
                        raise ValueError(
                            f"{self._name}.step: parameter {i} has changed its shape or dtype; "
                            "make a new optimizer"
                        )
                    arrays.append(array)
        return operation, found

    def state_dict(self) -> dict[str, Any]:
        """Settings, and states by the number of the parameter: the arrays themselves, not copies.

        Returns
        -------
        dict
            ``state``: dict of int to dict of str to ndarray; ``param_groups``: list of dict, whose
            ``params`` are these numbers. PyTorch's layout.
        """
        groups, state, count = [], {}, 0
        for group in self.param_groups:
            numbers = range(count, count + len(group["params"]))
            count = numbers.stop
            groups.append({**group, "params": list(numbers)})
            for i, p in zip(numbers, group["params"], strict=True):
                if p in self.state:
                    state[i] = dict(self.state[p])
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, here or in PyTorch; arrays are copied.

        Raises
        ------
        KeyError
            ``state_dict`` lacks a part.
        ValueError
            Groups, shapes or settings do not fit. Nothing is changed then, as with KeyError.
        """
        where = f"{self._name}.load_state_dict"
        groups, states = state_dict["param_groups"], state_dict["state"]
        sizes = [len(group["params"]) for group in self.param_groups]
        if (found := [len(group["params"]) for group in groups]) != sizes:
            raise ValueError(f"{where}: groups must have {sizes} parameters, have {found}")
        new_groups, new_numbers = [], []
        new_state: dict[Tensor, dict[str, Array]] = {}
        for own, group in zip(self.param_groups, groups, strict=True):
            refuse(where, {k: v for k, v in group.items() if k in _REFUSED})
            settings = {k: v for k, v in group.items() if k not in _REFUSED | {"params"}}
            new = {**own, **settings, "params": own["params"]}
            names = {"step", *self._step(new).states}
            numbers = np.zeros(2 + len(own["params"]))
            for i, (p, index) in enumerate(zip(own["params"], group["params"], strict=True)):
                given = {k: v for k, v in states.get(index, {}).items() if v is not None}
                if unknown := sorted(given.keys() - names):
                    raise ValueError(f"{where}: parameter {index} has unknown states {unknown}")
                if not given:
                    continue
                numbers[2 + i] = float(given.pop("step", 1))  # PyTorch's SGD counts none
                new_state[p] = {"step": numbers[2 + i : 3 + i].reshape(())}
                for name, value in given.items():
                    array = np.array(value, p.dtype, order="C")
                    if array.shape != p.shape:
                        raise ValueError(
                            f"{where}: {name} of parameter {index} must have shape {p.shape}, "
                            f"got {array.shape}"
                        )
                    new_state[p][name] = array
            new_groups.append(new)
            new_numbers.append(numbers)
        self.param_groups, self._numbers, self.state = new_groups, new_numbers, new_state
        self.generation += 1

    def __repr__(self) -> str:
        lines = [
            f"  {i}: {len(group['params'])} parameters, "
            + ", ".join(f"{name}={group[name]}" for name in self.defaults)
            for i, group in enumerate(self.param_groups)
        ]
        return f"{self._name}(\n" + "\n".join(lines) + "\n)"


def _settings(group: Mapping[str, Any]) -> list[Any]:
    """All but the parameters: == of tensors compares elements."""
    return [value for name, value in group.items() if name != "params"]


def refuse(where: str, given: Mapping[str, Any]) -> None:
    """Refuse what optimizers of PyTorch know and these do not, unless it is off."""
    for name, value in given.items():
        if name not in _REFUSED:
            raise TypeError(f"{where}: unknown argument {name}")
        if value:
            raise ValueError(f"{where}: {name} is not supported")


class SGD(Optimizer):
    """Stochastic gradient descent: `updates.Sgd` has the formula.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        Learning rate.
    momentum, dampening, weight_decay : float
    nesterov : bool
        Needs momentum and no dampening.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        **unsupported: Any,
    ) -> None:
        refuse("SGD", unsupported)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
            },
        )

    def _step(self, group: Mapping[str, Any]) -> Step:
        self._check(group, "lr", "momentum", "weight_decay")
        check_real("SGD: dampening", group["dampening"], -1e30)
        heavy = group["momentum"] != 0
        if group["nesterov"] and (not heavy or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs momentum above 0 and dampening 0")
        return updates.Sgd(
            heavy, group["dampening"], bool(group["nesterov"]), group["weight_decay"]
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015): `updates.Adam` has the formula.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        Learning rate.
    betas : (float, float)
        Shares that the means of the gradient and of its square keep at each step.
    eps, weight_decay : float
    decoupled_weight_decay : bool
        As in `AdamW`.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        decoupled_weight_decay: bool = False,
        **unsupported: Any,
    ) -> None:
        refuse(type(self).__name__, {"amsgrad": amsgrad, **unsupported})
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _momentum(self, group: Mapping[str, Any]) -> float:
        return float(group["betas"][0])

    def _step(self, group: Mapping[str, Any]) -> Step:
        self._check(group, "lr", "eps", "weight_decay")
        betas = group["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{self._name}: betas must be two numbers in [0, 1), got {betas}")
        return updates.Adam(
            betas[1], group["eps"], group["weight_decay"], bool(group["decoupled_weight_decay"])
        )


class AdamW(Adam):
    """Adam with weight decay that is no part of the gradient (Loshchilov and Hutter, 2019).

    Each parameter is multiplied by 1 - lr weight_decay before Adam's step; as torch.optim.AdamW.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        Learning rate.
    betas : (float, float)
        Shares that the means of the gradient and of its square keep at each step, in [0, 1).
    eps, weight_decay : float
        At least 0.
    amsgrad, **unsupported
        PyTorch's; ValueError where one is set. Other errors as `Optimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        **unsupported: Any,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, decoupled_weight_decay=True,
            **unsupported,
        )  # fmt: skip


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011): `updates.Adagrad` has the formula.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        Learning rate.
    lr_decay, weight_decay : float
    initial_accumulator_value : float
        What the sums of squares begin with.
    eps : float
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        **unsupported: Any,
    ) -> None:
        refuse("Adagrad", {"foreach": foreach, **unsupported})
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
            },
        )

    def _initial(self, group: Mapping[str, Any]) -> float:
        return float(group["initial_accumulator_value"])

    def _step(self, group: Mapping[str, Any]) -> Step:
        self._check(group, "lr", "lr_decay", "eps", "weight_decay", "initial_accumulator_value")
        return updates.Adagrad(group["lr_decay"], group["eps"], group["weight_decay"])


class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012): `updates.RmsProp` has the formula.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        Learning rate.
    alpha : float
        Share that the mean of squares keeps at each step.
    eps, weight_decay, momentum : float
    centered : bool
        Divide by an estimate of the gradient's standard deviation.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse(
            "RMSprop",
            {
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
            },
        )

    def _step(self, group: Mapping[str, Any]) -> Step:
        self._check(group, "lr", "momentum", "alpha", "eps", "weight_decay")
        return updates.RmsProp(
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            bool(group["centered"]),
            group["momentum"] != 0,
        )
