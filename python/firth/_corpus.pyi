# What python/firth sees of src/corpus.pyx.
from collections.abc import Callable, Iterable
from typing import Any

def count(
    sentences: Iterable[Iterable[str | int]],
    counts: dict[Any, int],
    prune: Callable[[], object] | None = None,
    limit: int = 0,
) -> tuple[int, int]: ...
def encode(
    sentences: Iterable[Iterable[str | int]], key_to_index: dict[Any, int]
) -> tuple[bytearray, int, int]: ...
