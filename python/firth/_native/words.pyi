# Corpora, trainers of word vectors, n-grams.
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from firth._native import Level

class WordTrainer:
    def __init__(
        self,
        level: Level,
        network: Any,
        ids: NDArray[Any],
        alpha: float,
        min_alpha: float,
        epochs: int,
    ) -> None: ...
    @property
    def blocks(self) -> int: ...
    def start(self, block: int) -> int: ...
    def train(
        self,
        epoch: int,
        first: int,
        last: int,
        workers: int,
        loss: float = 0.0,
        pairs: int = 0,
        effective: int = 0,
        draws: int = 0,
    ) -> tuple[float, int, int, int]: ...

class CooccurrenceCounter:
    def __init__(
        self,
        ids: NDArray[Any],
        *,
        lead: int,
        vocabulary: int,
        weights: NDArray[Any],
        symmetric: bool,
    ) -> None: ...
    def bounds(self) -> NDArray[Any]: ...
    def rows(
        self, first: int, last: int, before: Sequence[tuple[NDArray[Any], ...]]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...

class GloveTrainer:
    def __init__(
        self,
        level: Level,
        words: NDArray[Any],
        contexts: NDArray[Any],
        parts: list[NDArray[Any]],
        units: NDArray[Any],
        *,
        dim: int,
        symmetric: bool,
        rate: float,
        clip: float,
        seed: int,
    ) -> None: ...
    @property
    def visits(self) -> int: ...
    def train(self, epoch: int, first: int, last: int, workers: int) -> tuple[float, int]: ...

class WordCounter:
    def __init__(self) -> None: ...
    def add(self, text: Any) -> None: ...
    def finish(self) -> tuple[list[bytes], NDArray[Any]]: ...
    @property
    def total_words(self) -> int: ...
    @property
    def sentences(self) -> int: ...

class WordEncoder:
    def __init__(self, words: list[bytes]) -> None: ...
    def encode(self, text: Any, last: bool) -> NDArray[Any]: ...

def glove_blocks(
    rows: tuple[NDArray[Any], ...],
    first: int,
    vocabulary: int,
    block: int,
    x_max: float,
    alpha: float,
    seed: int,
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def subword_ids(
    text: bytes, ends: NDArray[Any], min_n: int, max_n: int, bucket: int
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def subword_means(
    rows: NDArray[Any] | None,
    ngrams: NDArray[Any],
    offsets: NDArray[Any],
    ids: NDArray[Any],
    out: NDArray[Any],
) -> None: ...
def cut_at_space(text: Any) -> int: ...
def transport(costs: NDArray[Any], supply: NDArray[Any], demand: NDArray[Any]) -> float: ...
