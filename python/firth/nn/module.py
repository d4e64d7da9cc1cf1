"""Modules: trees of parameters with a forward function, under PyTorch's names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.nn.device import check_device
from firth.nn.device import device as Device
from firth.nn.tape import Tensor, wrote

_data: Any = Tensor.__dict__["data"]


def _set_data(parameter: Parameter, value: Any) -> None:
    array = Tensor(value).data
    before = getattr(parameter, "data", array)
    if array.shape != before.shape or array.dtype.kind != "f":
        raise ValueError(
            f"Parameter: data must be real numbers of shape {before.shape}, got {array.dtype} of "
            f"shape {array.shape}; a module gets another shape by a new Parameter"
        )
    _data.__set__(parameter, array)


class Parameter(Tensor):
    """A tensor that a module trains: it requires a gradient unless told otherwise.

    What is assigned to its `data` must have the shape of what is there, else ValueError: the
    gradient, the optimizer's state and the module's sizes are of that shape.
    """

    __slots__ = ()

    data: Any = property(_data.__get__, _set_data)

    def __init__(self, array: ArrayLike, requires_grad: bool = True) -> None:
        super().__init__(array, requires_grad)


def _array(buffer: NDArray[Any] | Tensor) -> NDArray[Any]:
    return buffer.data if isinstance(buffer, Tensor) else buffer


_structure = _modes = 0


def version() -> tuple[int, int]:
    """Numbers of the structure of all modules, and of their modes: compiled steps watch them.

    A structure does not come again, modes do: the second is a sum over the modules in eval mode.
    """
    return _structure, _modes


def _changed() -> None:
    global _structure
    _structure += 1


class Keys(NamedTuple):
    """Names that a state lacked, and that the module lacks."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Handle:
    """Takes a hook away, by `remove` or when called."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Take the hook away; once."""
        if self._hook in self._hooks:
            _changed()
            self._hooks.remove(self._hook)

    __call__ = remove


Hook = Callable[["Module", tuple[Any, ...], Any], Any]


class Module:
    """A part of a network: parameters, buffers and modules that are its attributes.

    A subclass sets them in ``__init__``, after ``super().__init__()``, and computes in `forward`.
    Names, orders and shapes of ``state_dict`` are PyTorch's, so that weights go both ways.

    Attributes
    ----------
    training : bool
        Whether dropout and batch norm behave as in training; see `train` and `eval`.
    """

    _unnamed: ClassVar[frozenset[str]] = frozenset()
    """Buffers that are no part of the state."""

    training: bool

    def __init__(self) -> None:
        self.__dict__["_parameters"] = {}
        self.__dict__["_buffers"] = {}
        self.__dict__["_modules"] = {}
        self.__dict__["_hooks"] = []
        self.__dict__["training"] = True

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the module computes; a subclass defines it. Calls of the module come here."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """What `forward` computes, after the hooks."""
        try:
            result = self.forward(*inputs, **named)
        except AttributeError as error:
            asked = error.obj  # for what it has not
            if isinstance(asked, (list, tuple)) and any(asked is x for x in inputs):
                raise TypeError(
                    f"{type(self).__name__}: inputs must be tensors, got {type(asked).__name__}; "
                    "firth.tensor() makes one"
                ) from None
            raise
        for hook in self._hooks:
            changed = hook(self, inputs, result)
            result = result if changed is None else changed
        return result

    # ---- the tree -------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        _changed()
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() first")
        home = self._home(name, value)
        for table in (self._parameters, self._buffers, self._modules, self.__dict__):
            if table is not home:
                table.pop(name, None)
        home[name] = value  # in the place that the name has had, so that orders stay

    def _home(self, name: str, value: Any) -> Any:
        """The table for a value; TypeError where it cannot take the place of what is there."""
        if isinstance(value, Parameter):
            return self._parameters
        if isinstance(value, Module):
            return self._modules
        for table, kinds in (
            (self._parameters, (Parameter,)),
            (self._buffers, (Tensor, np.ndarray)),
            (self._modules, (Module,)),
        ):
            if name in table:
                if value is not None and not isinstance(value, kinds):
                    wanted = " or ".join(kind.__name__ for kind in kinds)
                    raise TypeError(
                        f"{type(self).__name__}: {name} must be a {wanted}, or None, "
                        f"got {type(value).__name__}; del it first"
                    )
                return table
        return self.__dict__

    def __getattr__(self, name: str) -> Any:
        for table in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(table, ()):
                return self.__dict__[table][name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        _changed()
        for table in (self._parameters, self._buffers, self._modules, self.__dict__):
            if name in table:
                del table[name]
                return
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Set a parameter by its name, as an assignment does; None for one that is absent.

        ValueError for a name that is empty or has dots, TypeError for what is no Parameter.
        """
        self._check_child("register_parameter", name, parameter, Parameter)
        _changed()
        self._parameters[name] = parameter

    def register_buffer(
        self, name: str, array: NDArray[Any] | Tensor | None, persistent: bool = True
    ) -> None:
        """Set an array, or a tensor, that is not trained.

        It is part of the state where ``persistent``. As an attribute it is what was given.
        """
        self._check_child("register_buffer", name, array, (np.ndarray, Tensor))
        _changed()
        self._buffers[name] = array
        if not persistent:
            self.__dict__["_unnamed"] = self._unnamed | {name}

    def add_module(self, name: str, module: Module | None) -> None:
        """Set a module by its name, as an assignment does; None for one that is absent.

        ValueError for a name that is empty or has dots, TypeError for what is no Module.
        """
        self._check_child("add_module", name, module, Module)
        _changed()
        self._modules[name] = module

    def _check_child(self, function: str, name: str, value: Any, kinds: Any) -> None:
        if not name or "." in name:
            raise ValueError(f"{function}: name must have letters and no dots, got {name!r}")
        if value is not None and not isinstance(value, kinds):
            wanted = kinds if isinstance(kinds, tuple) else (kinds,)
            raise TypeError(
                f"{function}: {name} must be a {' or '.join(kind.__name__ for kind in wanted)}, "
                f"or None, got {type(value).__name__}"
            )

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Modules right below, by name."""
        yield from ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator[Module]:
        """Modules right below."""
        yield from (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """The module and all below, each once, by their path.

        Pairs such as ``("encoder.0", module)``. The module's own path is ``prefix``.
        """
        seen: set[int] = set()
        waiting: list[tuple[str, Module]] = [(prefix, self)]
        while waiting:
            path, module = waiting.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            dot = path and f"{path}."
            waiting += [(f"{dot}{name}", child) for name, child in module.named_children()][::-1]

    def modules(self) -> Iterator[Module]:
        """The module and all below, each once."""
        yield from (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Parameters of this module and all below, each once, by their path.

        Pairs such as ``("encoder.0.weight", parameter)``; of one that is shared, its first path.
        """
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield (f"{path}.{name}" if path else name), parameter

    def parameters(self) -> Iterator[Parameter]:
        """Parameters of this module and all below, each once."""
        yield from (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Buffers of this module and all below, by their path: pairs of str and ndarray."""
        for path, module in self.named_modules():
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    yield (f"{path}.{name}" if path else name), _array(buffer)

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Call a function with each module, those below first; returns the module."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    # ---- state ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Parameters and buffers by their path, the arrays themselves.

        A parameter that several modules share stands under each of its names.
        """
        state: dict[str, NDArray[Any]] = {}
        for path, module in self._every():
            dot = path and f"{path}."
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    state[dot + name] = parameter.data
            for name, buffer in module._buffers.items():
                if buffer is not None and name not in module._unnamed:
                    state[dot + name] = _array(buffer)
        return state

    def _every(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """As `named_modules`, a shared module under each of its paths."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._every(f"{prefix}.{name}" if prefix else name)

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Keys:
        """Copy values into parameters and buffers.

        Parameters
        ----------
        state : mapping of str to array_like
            Arrays, tensors of firth or PyTorch.
        strict : bool
            Whether names must be those of `state_dict`, none more and none less.

        Returns
        -------
        (missing_keys, unexpected_keys)
            Lists of names.

        Raises
        ------
        KeyError
            ``strict``, and names are missing or unknown; they are listed.
        ValueError, TypeError
            An array has another shape, or holds no real numbers. Nothing is changed then, as with
            KeyError.
        """
        own = self.state_dict()
        where = f"{type(self).__name__}.load_state_dict"
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if strict and (missing or unknown):
            raise KeyError(f"{where}: missing keys {missing}, unknown keys {unknown}")
        new = {}
        for name in own.keys() & state.keys():
            value = state[name]
            detached = value.detach() if hasattr(value, "detach") else value
            new[name] = np.asarray(detached)
            if new[name].shape != own[name].shape:
                raise ValueError(
                    f"{where}: {name} must have shape {own[name].shape}, got {new[name].shape}"
                )
            if new[name].dtype.kind in "cOSUMm":
                raise TypeError(f"{where}: {name} must hold real numbers, got {new[name].dtype}")
        for name, array in new.items():
            own[name][...] = array
        wrote(*[own[name] for name in new])
        return Keys(missing, unknown)

    # ---- modes ----------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Behave as in training (dropout, batch norm), or not, with all below. Returns itself."""
        global _modes
        for module in self.modules():
            if module.training != bool(mode):
                module.__dict__["training"] = bool(mode)
                _modes += hash((id(module),)) * (-1 if mode else 1)
        return self

    def eval(self) -> Module:
        """Behave as in use: ``train(False)``. Returns the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters: ``grad`` is None."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Set whether all parameters get gradients, and so are trained. Returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def to(self, *given: Any, dtype: Any = None, device: Any = None) -> Module:
        """Bring parameters and real buffers to float32 or float64, in place.

        A device may be given too: it must be the CPU.

        Raises
        ------
        TypeError
            Another dtype.
        ValueError
            Another device.
        """
        for one in given:
            if isinstance(one, (str, Device)):
                device = one
            else:
                dtype = one
        check_device(device)
        if dtype is None:
            return self
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"to: dtype must be float32 or float64, got {np.dtype(dtype)}")
        for module in self.modules():
            for parameter in module._parameters.values():
                if parameter is not None:
                    parameter.data = parameter.data.astype(dtype)
                    parameter.grad = None
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.dtype.kind == "f":
                    changed = _array(buffer).astype(dtype)
                    module._buffers[name] = (
                        Tensor(changed) if isinstance(buffer, Tensor) else changed
                    )
        return self

    def cpu(self) -> Module:
        """The module itself: there is only the CPU."""
        return self

    def cuda(self, device: Any = None) -> Module:
        """Refused with ValueError: firth runs on the CPU only."""
        check_device("cuda")
        return self

    def float(self) -> Module:
        """As ``to(float32)``."""
        return self.to(np.float32)

    def double(self) -> Module:
        """As ``to(float64)``."""
        return self.to(np.float64)

    def register_forward_hook(self, hook: Hook) -> Handle:
        """Call ``hook(module, inputs, result)`` after each forward.

        What it returns takes the place of the result, unless None. The value of this function has
        ``remove()``, which takes the hook away.
        """
        _changed()
        self._hooks.append(hook)
        return Handle(self._hooks, hook)

    def extra_repr(self) -> str:
        """The arguments, for repr; a subclass may define it."""
        return ""

    def __repr__(self) -> str:
        lines = [
            f"  ({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self.named_children()
        ]
        name = type(self).__name__
        if not lines:
            return f"{name}({self.extra_repr()})"
        return f"{name}(\n" + "\n".join([*filter(None, [self.extra_repr()]), *lines]) + "\n)"
