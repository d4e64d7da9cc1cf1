"""Containers: modules in a row, in a list, under names; parameters likewise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from firth.nn.module import Module, Parameter
from firth.nn.tape import Tensor

Part = TypeVar("Part")


class Identity(Module):
    """Its input, of any type, as torch.nn.Identity.

    Arguments of any kind are taken and not used, so that it can stand in for any layer.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class _Numbered(Module):
    """Modules under the names 0, 1, ...; or others, as Sequential has them."""

    def _name(self, index: int) -> str:
        names: list[str] = list(self._modules)
        if not -len(names) <= index < len(names):
            raise IndexError(
                f"{type(self).__name__}: index {index} is out of range, there are {len(names)}"
            )
        return names[index]

    def _checked(self, module: Any) -> Module:
        if not isinstance(module, Module):
            raise TypeError(
                f"{type(self).__name__}: modules are wanted, got {type(module).__name__}"
            )
        return module

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name(index), self._checked(module))

    def __delitem__(self, index: int) -> None:
        name = self._name(index)
        kept = [(key, module) for key, module in self._modules.items() if key != name]
        numbered = all(key.isdigit() for key in self._modules)
        self._exchange(
            {str(i) if numbered else key: module for i, (key, module) in enumerate(kept)}
        )

    def _exchange(self, modules: dict[str, Module]) -> None:
        for name in list(self._modules):
            delattr(self, name)
        for name, module in modules.items():
            self.add_module(name, module)

    def append(self, module: Module) -> Any:
        """Add one at the end; returns the container."""
        self.add_module(str(len(self)), self._checked(module))
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add several at the end; returns the container."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Put one before another, as in a list; returns the container, with new numbers."""
        modules = list(self)
        modules.insert(index, self._checked(module))
        self._exchange({str(i): one for i, one in enumerate(modules)})
        return self


class Sequential(_Numbered):
    """Modules in a row: each gets what the one before it returns.

    Parameters
    ----------
    *modules : Module, or one mapping of str to Module
        With a mapping their names are its keys, else their numbers. An index gets a module, a
        slice a Sequential of the same modules.
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, self._checked(module))
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        found: Module = self._modules[self._name(index)]
        return found


class ModuleList(_Numbered):
    """Modules in a list, so that they are parts of the module that holds it.

    As torch.nn.ModuleList. It cannot be called: the module that holds it says what is done with
    them.

    Parameters
    ----------
    modules : iterable of Module
        TypeError for anything else. An index gets a module (IndexError where there is none), a
        slice a ModuleList of the same modules.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return ModuleList(list(self)[index])
        found: Module = self._modules[self._name(index)]
        return found


class _Named(Module, Generic[Part]):
    """Parts under names: what ModuleDict and ParameterDict have in common."""

    _kept: str  # the attribute of a module that holds such parts

    @property
    def _parts(self) -> Mapping[str, Part]:
        parts: Mapping[str, Part] = self.__dict__[self._kept]
        return parts

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    def __setitem__(self, name: str, part: Any) -> None:
        raise NotImplementedError

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def update(self, parts: Mapping[str, Any]) -> None:
        """Add several, of a mapping of names to parts."""
        for name, part in parts.items():
            self[name] = part

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._parts.keys()

    def values(self) -> Iterable[Part]:
        """The parts."""
        return self._parts.values()

    def items(self) -> Iterable[tuple[str, Part]]:
        """Names and parts."""
        return self._parts.items()


class ModuleDict(_Named[Module]):
    """Modules under names, so that they are parts of the module that holds it.

    As torch.nn.ModuleDict. It cannot be called: the module that holds it says what is done with
    them.

    Parameters
    ----------
    modules : mapping of str to Module, optional
        TypeError for other values. A name gets its module; KeyError where there is none.
    """

    _kept = "_modules"

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"ModuleDict: modules are wanted, got {type(module).__name__}")
        self.add_module(name, module)


def _parameter(where: str, value: Any) -> Parameter:
    """A tensor becomes a parameter, as in PyTorch."""
    if isinstance(value, Parameter):
        return value
    if isinstance(value, Tensor):
        return Parameter(value.data)
    raise TypeError(f"{where}: parameters are wanted, got {type(value).__name__}")


class ParameterList(Module):
    """Parameters in a list, so that they are parts of the module that holds it.

    Tensors become parameters. An index gets a parameter, a slice a ParameterList.
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self.extend(values)

    def _name(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ParameterList: index {index} is out of range, there are {len(self)}")
        return str(index % len(self))

    @overload
    def __getitem__(self, index: int) -> Parameter: ...
    @overload
    def __getitem__(self, index: slice) -> ParameterList: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return self._parameters[self._name(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self.register_parameter(self._name(index), _parameter("ParameterList", value))

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters.values())

    def append(self, value: Any) -> ParameterList:
        """Add one at the end; returns the list."""
        self.register_parameter(str(len(self)), _parameter("ParameterList", value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add several at the end; returns the list."""
        for value in values:
            self.append(value)
        return self


class ParameterDict(_Named[Parameter]):
    """Parameters under names, so that they are parts of the module that holds it.

    Tensors become parameters.
    """

    _kept = "_parameters"

    def __init__(self, parameters: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.update(parameters or {})

    def __setitem__(self, name: str, value: Any) -> None:
        self.register_parameter(name, _parameter("ParameterDict", value))
