# What python/firth sees of src/*.cpp, a file a submodule; stubtest compares it with the module.
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

def usable_levels() -> list[Level]: ...
def compiled_levels() -> list[str]: ...

MOST_THREADS: int

def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
