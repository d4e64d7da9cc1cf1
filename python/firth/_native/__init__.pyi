# What python/firth sees of src/*.cpp, a file a submodule; stubtest compares it with the module.
from typing import Any

from numpy.typing import NDArray

from . import fasttext as fasttext
from . import files as files
from . import kernels as kernels
from . import search as search
from . import text as text
from . import words as words

class Level:
    @property
    def name(self) -> str: ...
    @property
    def vector_bytes(self) -> int: ...
    def matmul(self, a: NDArray[Any], b: NDArray[Any] | Packed, out: NDArray[Any]) -> None: ...
    def pack(self, b: NDArray[Any]) -> Packed: ...
    def attention(
        self,
        query: NDArray[Any],
        key: NDArray[Any],
        value: NDArray[Any],
        mask: NDArray[Any] | None,
        causal: bool,
        scale: float,
        out: NDArray[Any],
    ) -> None: ...

class Packed:
    @property
    def nbytes(self) -> int: ...

def usable_levels() -> list[Level]: ...
def compiled_levels() -> list[str]: ...

MOST_THREADS: int

def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
