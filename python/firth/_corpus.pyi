# What python/firth sees of src/corpus.pyx.
from collections.abc import Callable, Iterable

def count(
    sentences: Iterable[Iterable[str]],
    counts: dict[str, int],
    prune: Callable[[], object] | None = None,
    limit: int = 0,
) -> tuple[int, int]: ...
def encode(
    sentences: Iterable[Iterable[str]], key_to_index: dict[str, int]
) -> tuple[bytearray, int, int]: ...
