# Segments, the searches over them, and the map of labels.
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth._native import Level

def search(
    level: Level,
    segments: list[Segment],
    metric: str,
    queries: NDArray[Any],
    k: int,
    version: int,
    filters: list[NDArray[Any]],
    filter_of: NDArray[Any] | None,
    exclusions: list[NDArray[Any]],
    exclusion_of: NDArray[Any] | None,
    threads: int,
    exact: bool = False,
    cells: NDArray[Any] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], tuple[int, int, int]]: ...
def search_range(
    level: Level,
    segments: list[Segment],
    metric: str,
    queries: NDArray[Any],
    thresholds: NDArray[Any],
    version: int,
    filters: list[NDArray[Any]],
    filter_of: NDArray[Any] | None,
    exclusions: list[NDArray[Any]],
    exclusion_of: NDArray[Any] | None,
    threads: int,
    exact: bool = False,
    cells: NDArray[Any] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], tuple[int, int, int]]: ...
def analogies(
    level: Level,
    keys: NDArray[Any],
    scales: NDArray[Any] | None,
    left_out: NDArray[Any],
    words: NDArray[Any],
    analogies: NDArray[Any],
    queries: NDArray[Any],
    rows: NDArray[Any],
    undecided: NDArray[Any],
) -> None: ...

class Segment:
    def __init__(
        self,
        vectors: NDArray[Any],
        *,
        scales: NDArray[Any] | None = None,
        labels: NDArray[Any] | None = None,
        first_label: int = 0,
        died: NDArray[Any] | None = None,
        rows: int,
        first_slot: int,
        codes: NDArray[Any] | None = None,
        bounds: NDArray[Any] | None = None,
        coded: int = 0,
        centre: NDArray[Any] | None = None,
        order: NDArray[Any] | None = None,
        cell_blocks: NDArray[Any] | None = None,
    ) -> None: ...

class IdMap:
    def __init__(self) -> None: ...
    def set(self, labels: NDArray[Any], slots: NDArray[Any]) -> NDArray[Any]: ...
    def find(self, labels: NDArray[Any]) -> NDArray[Any]: ...
    def remove(self, labels: NDArray[Any]) -> None: ...
    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
