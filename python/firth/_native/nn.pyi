from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from firth._native import Level

_Array = NDArray[Any] | tuple[int, ...] | None

def forward(
    level: Level,
    name: str,
    options: Sequence[float],
    inputs: Sequence[_Array],
    outputs: Sequence[_Array],
    saved: Sequence[_Array],
    *,
    f64: bool,
    seed: int = 0,
    bfloat16: bool = False,
) -> None: ...
def backward(
    level: Level,
    name: str,
    options: Sequence[float],
    inputs: Sequence[_Array],
    outputs: Sequence[_Array],
    saved: Sequence[_Array],
    output_gradients: Sequence[_Array],
    input_gradients: Sequence[_Array],
    *,
    add: int,
    f64: bool,
    seed: int = 0,
    bfloat16: bool = False,
) -> None: ...
def operations() -> list[str]: ...

class Program:
    def __init__(
        self,
        level: Level,
        *,
        f64: bool,
        arena: int,
        places: Sequence[tuple[_Array, int | None]],
        calls: Sequence[tuple[Any, ...]],
    ) -> None: ...
    def run(self, places: Sequence[int], arrays: Sequence[Any], seed: int) -> None: ...
