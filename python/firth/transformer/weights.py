"""Weights of a stack from the arrays of a file, by a table of names.

A table has for each name of `firth.transformer.plan` where its array is: a name in the file, a
`Part` of an array there, or a tuple of these, of which the first that is there counts. A name that
ends with "?" may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats.blocks import BlockArray
from firth.formats.files import PathLike
from firth.transformer.plan import Arrays, Weights


@dataclass(frozen=True)
class Part:
    """Rows ``begin`` to ``end`` of an array, or of its transpose.

    ``of``: how many rows the whole has; 0: any number that is enough. ``plus`` is added to its
    numbers: Gemma's files have the gains of norms less 1.
    """

    name: str
    begin: int = 0
    end: int | None = None
    transposed: bool = False
    of: int = 0
    plus: float = 0.0


Source = str | Part | tuple[str | Part, ...]


def _all(source: Source) -> tuple[str | Part, ...]:
    return source if isinstance(source, tuple) else (source,)


def floats(array: NDArray[Any] | BlockArray, rows: Any = slice(None)) -> NDArray[np.float32]:
    """Rows of an array as float32, in memory where they are not so already."""
    if isinstance(array, BlockArray):
        return array.dequantize(rows)
    return np.ascontiguousarray(array[rows], np.float32)


class Names:
    """The arrays of a file by the names that newer files of the same kind have.

    Parameters
    ----------
    arrays : mapping
    path : path
        For errors.
    prefixes : sequence of str
        Each is tried in front of a name, in this order.
    """

    def __init__(self, arrays: Arrays, path: PathLike, prefixes: Sequence[str] = ("",)) -> None:
        self.path = path
        self.arrays = {_new_name(name): array for name, array in arrays.items()}
        self.prefixes = prefixes
        self._read: set[str] = set()

    def find(self, source: Source) -> Any:
        """The array, or None where it may be missing and is.

        Raises
        ------
        FormatError
            It is missing, or its part has no room in it.
        """
        parts = [Part(one) if isinstance(one, str) else one for one in _all(source)]
        for part in parts:
            name = part.name.removesuffix("?")
            for prefix in self.prefixes:
                array = self.arrays.get(prefix + name)
                if array is None:
                    continue
                self._read.add(prefix + name)
                if part.transposed:
                    array = array.T
                if part.plus:
                    array = floats(array) + np.float32(part.plus)
                if part.end is None:
                    return array
                rows = len(array) if array.ndim else 0
                if rows < part.end or part.of not in (0, rows):
                    raise FormatError(
                        f"array {name!r} of shape {array.shape} must have {part.of or part.end} "
                        "rows",
                        self.path,
                    )
                return array[part.begin : part.end]
        if parts[-1].name.endswith("?"):
            return None
        raise FormatError(f"has no array {self.prefixes[0] + parts[0].name!r}", self.path)

    def unread(self) -> list[str]:
        """The names of the file that nothing has asked for yet."""
        return sorted(set(self.arrays) - self._read)

    def has(self, name: str) -> bool:
        """Whether there is an array of that name."""
        return any(prefix + name in self.arrays for prefix in self.prefixes)

    def read(self, table: Mapping[str, Source]) -> dict[str, Any]:
        """The arrays of a table that are there."""
        found = {name: self.find(source) for name, source in table.items()}
        return {name: array for name, array in found.items() if array is not None}

    def check(self, array: Any, shape: tuple[int | None, ...], source: Source) -> None:
        """FormatError where an array of the file has another shape, or no floating point."""
        first = _all(source)[0]
        name = (first if isinstance(first, str) else first.name).removesuffix("?")
        if array.ndim != len(shape) or any(
            want not in (None, n) for want, n in zip(shape, array.shape, strict=True)
        ):
            raise FormatError(
                f"array {name!r} has shape {array.shape}, the configuration says {shape}", self.path
            )
        if isinstance(array, BlockArray):
            return
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise FormatError(f"array {name!r} is {array.dtype}, wanted floating point", self.path)

    def weights(
        self, outside: Mapping[str, Source], layers: Sequence[Mapping[str, Source]]
    ) -> Weights:
        """Those of a stack. A table that stands in ``layers`` several times is a shared layer."""
        read: dict[int, dict[str, Any]] = {}
        for table in layers:
            if id(table) not in read:
                read[id(table)] = self.read(table)
        return Weights(self.read(outside), [read[id(table)] for table in layers])


def _new_name(name: str) -> str:
    """Old checkpoints call gain and bias of a norm gamma and beta."""
    for old, new in (("gamma", "weight"), ("beta", "bias")):
        if name.endswith(f"LayerNorm.{old}"):
            return name.removesuffix(old) + new
    return name
