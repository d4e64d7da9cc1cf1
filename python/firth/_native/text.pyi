# Tokenizers.
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
