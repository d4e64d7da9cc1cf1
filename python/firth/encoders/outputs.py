"""What a model returns: arrays by attribute, by name and by place, as transformers has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class ModelOutput:
    """Arrays by name. What was not asked for is None as an attribute, and missing elsewhere.

    >>> output = ModelOutput(logits=[1, 2], hidden_states=None)
    >>> output.logits, output["logits"], output[0], output.hidden_states, len(output)
    ([1, 2], [1, 2], [1, 2], None, 1)
    """

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            if key not in self.keys():
                raise KeyError(f"{key!r} is not among {self.keys()}")
            return self.__dict__[key]
        return self.to_tuple()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __repr__(self) -> str:
        shapes = [f"{name}={_shape(value)}" for name, value in self.items()]
        return f"ModelOutput({', '.join(shapes)})"

    def keys(self) -> list[str]:
        """The names of what there is."""
        return [name for name, value in self.__dict__.items() if value is not None]

    def values(self) -> list[Any]:
        """The values of what there is: arrays, or tuples of them."""
        return [value for value in self.__dict__.values() if value is not None]

    def items(self) -> list[tuple[str, Any]]:
        """Pairs of name and value, of what there is."""
        return [(name, value) for name, value in self.__dict__.items() if value is not None]

    def to_tuple(self) -> tuple[Any, ...]:
        """What there is, without names, as of ``return_dict=False``."""
        return tuple(self.values())


def _shape(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} x {_shape(value[0])}" if value else "()"
    return str(getattr(value, "shape", value))
