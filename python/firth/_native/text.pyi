# Tokenizers, and terms of texts.
from typing import Any

from numpy.typing import NDArray

class WordPiece:
    def __init__(
        self,
        tokens: list[bytes],
        ids: NDArray[Any],
        prefix: bytes,
        unknown: int,
        longest_word: int,
        reserved: list[tuple[str, int]],
    ) -> None: ...
    def set_page(self, page: int, entries: NDArray[Any], more: list[int]) -> None: ...
    def encode(
        self, texts: tuple[str, ...], most_characters: int, most_ids: int, places: bool
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], list[int], NDArray[Any], NDArray[Any]]: ...

class Layout:
    def __init__(
        self,
        offsets: NDArray[Any],
        parts: list[int],
        room: int | None,
        truncation: str,
        left: bool,
        stride: int | None,
    ) -> None: ...
    @property
    def samples(self) -> NDArray[Any]: ...
    @property
    def offsets(self) -> NDArray[Any]: ...
    @property
    def truncated(self) -> int: ...
    @property
    def longest(self) -> int: ...
    def fill(
        self,
        values: NDArray[Any] | None,
        around: list[int],
        width: int | None,
        left: bool,
        padding: int,
    ) -> NDArray[Any]: ...
    def fill_spans(self, spans: NDArray[Any], width: int | None, left: bool) -> NDArray[Any]: ...

class TermCounts:
    def __init__(
        self, analyzer: str, shortest: int, least: int, most: int, stop_words: list[bytes]
    ) -> None: ...
    def know(self, terms: list[str]) -> None: ...
    def set_page(self, page: int, entries: NDArray[Any], more: list[int]) -> None: ...
    def add(self, texts: tuple[str, ...]) -> list[int]: ...
    def terms(self) -> list[str]: ...
    def order(self) -> NDArray[Any]: ...
    def rows(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...

def place_terms(
    offsets: NDArray[Any],
    ids: NDArray[Any],
    counts: NDArray[Any],
    columns: NDArray[Any],
    by_columns: bool,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
def weigh_terms(
    offsets: NDArray[Any],
    ids: NDArray[Any],
    values: NDArray[Any],
    idf: NDArray[Any] | None,
    norm: str | None,
) -> bool: ...
