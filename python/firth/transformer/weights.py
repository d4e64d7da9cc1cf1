"""Weights of a stack from the arrays of a file, by a table of names.

A table has for each name of `firth.transformer.plan` where its array is: a name in the file, or a
`Part` of an array there. A name that ends with "?" may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.transformer.plan import Arrays, Weights


@dataclass(frozen=True)
class Part:
    """Rows ``begin`` to ``end`` of an array, or of its transpose."""

    name: str
    begin: int = 0
    end: int | None = None
    transposed: bool = False


Source = str | Part


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

    def find(self, source: Source) -> NDArray[Any] | None:
        """The array, or None where it may be missing and is.

        Raises
        ------
        FormatError
            It is missing, or too short for its part.
        """
        part = Part(source) if isinstance(source, str) else source
        name = part.name.removesuffix("?")
        for prefix in self.prefixes:
            array = self.arrays.get(prefix + name)
            if array is None:
                continue
            if part.transposed:
                array = array.T
            if part.end is not None and (array.ndim < 1 or len(array) < part.end):
                raise FormatError(f"array {name!r} of shape {array.shape} is too small", self.path)
            return array[part.begin : part.end] if part.end is not None else array
        if part.name.endswith("?"):
            return None
        raise FormatError(f"has no array {self.prefixes[0] + name!r}", self.path)

    def read(self, table: Mapping[str, Source]) -> dict[str, NDArray[Any]]:
        """The arrays of a table that are there."""
        found = {name: self.find(source) for name, source in table.items()}
        return {name: array for name, array in found.items() if array is not None}

    def weights(
        self, outside: Mapping[str, Source], layers: Sequence[Mapping[str, Source]]
    ) -> Weights:
        """Those of a stack. A table that stands in ``layers`` several times is a shared layer."""
        read: dict[int, dict[str, NDArray[Any]]] = {}
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
