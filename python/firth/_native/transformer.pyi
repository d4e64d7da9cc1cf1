# Stacks of transformer layers.
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from firth._native import Level

class Stack:
    def __init__(
        self,
        level: Level,
        plan: Any,
        outside: dict[str, NDArray[Any]],
        layers: list[dict[str, NDArray[Any]]],
        angles: list[tuple[NDArray[Any], NDArray[Any]]],
        precision: str,
        apart: list[list[list[int]]],
        packed: Callable[[dict[str, Any]], object],
    ) -> None: ...
    def greatest_inputs(self, ids: NDArray[Any]) -> NDArray[Any]: ...
    @property
    def nbytes(self) -> int: ...
    def run(
        self,
        ids: NDArray[Any],
        offsets: NDArray[Any],
        *,
        types: NDArray[Any] | None,
        positions: NDArray[Any] | None,
        seen: NDArray[Any] | None,
        masks: list[NDArray[Any]] | None,
        memory: NDArray[Any] | None,
        memory_offsets: NDArray[Any] | None,
        memory_seen: NDArray[Any] | None,
        hidden: bool,
        states: bool,
        attentions: bool,
        pooling: str,
    ) -> tuple[Any, Any, Any, Any]: ...

class Cache:
    def __init__(self, stack: Stack, half: bool, memory: NDArray[Any] | None) -> None: ...
    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def first(self, n: int) -> Cache: ...
    def shorten(self, n: int) -> None: ...

def extend(
    stack: Stack,
    ids: NDArray[Any],
    offsets: NDArray[Any],
    positions: NDArray[Any] | None,
    caches: list[Cache | None],
    wanted: NDArray[Any],
) -> NDArray[Any]: ...
def scores(stack: Stack, states: NDArray[Any]) -> NDArray[Any]: ...
