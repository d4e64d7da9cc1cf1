# fastText's files, classifier and training.
from typing import Any

from numpy.typing import NDArray

from firth._native import Level

def fasttext_entries(
    data: Any, most: int
) -> tuple[int, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...
def fasttext_vocabulary(
    text: Any, label: str, min_count: int, min_label_count: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], int, int]: ...
def fasttext_tokens(text: bytes) -> list[bytes]: ...
def product_quantise(
    values: NDArray[Any], dsub: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]: ...

class FastTextModel:
    def __init__(
        self,
        level: Level,
        text: NDArray[Any],
        ends: NDArray[Any],
        counts: NDArray[Any],
        labels: int,
        label: str,
        min_n: int,
        max_n: int,
        bucket: int,
        word_ngrams: int,
        pruned: NDArray[Any] | None,
        loss: int,
        supervised: bool,
        input: NDArray[Any],
        output: NDArray[Any] | None,
        quantiser: tuple[NDArray[Any], int, NDArray[Any] | None, NDArray[Any] | None] | None,
    ) -> None: ...
    def find(self, word: bytes) -> int: ...
    def word_rows(self, word: bytes) -> NDArray[Any]: ...
    def line_rows(self, text: bytes) -> NDArray[Any]: ...
    def mean(self, rows: NDArray[Any]) -> NDArray[Any]: ...
    def unit_vectors(self) -> NDArray[Any]: ...
    def predict(
        self, texts: list[str], k: int, threshold: float, names: list[str]
    ) -> tuple[list[list[str]], list[NDArray[Any]]]: ...
    def evaluate(
        self, text: Any, k: int, threshold: float
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...

class FastTextTrainer:
    def __init__(
        self,
        model: FastTextModel,
        text: Any,
        loss: int,
        negative: int,
        epochs: int,
        rate: float,
        seed: int,
    ) -> None: ...
    @property
    def blocks(self) -> int: ...
    def train(self, epoch: int, first: int, last: int, workers: int) -> tuple[float, int]: ...
