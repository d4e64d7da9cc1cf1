"""A model in fewer bytes: a GGUF file or a folder as a GGUF file in blocks of another type."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats import gguf
from firth.formats.blocks import BlockArray, BlockType, block_type, quantize
from firth.formats.files import PathLike
from firth.generators import conversion
from firth.progress import Progress, progress_bar
from firth.transformer.where import place_of

# The types that there are, and the number by which llama.cpp calls a file whose matrices are mostly
# of it.
FILE_TYPES = {
    "F32": 0, "F16": 1, "BF16": 32, "Q8_0": 7, "Q6_K": 18, "Q5_K": 16, "Q5_1": 9, "Q5_0": 8,
    "Q4_K": 14, "Q4_1": 3, "Q4_0": 2,
}  # fmt: skip
# What takes the place of a type where rows are not whole blocks of it; of the others, F16.
_INSTEAD = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0"}
_QUANTIZATION_VERSION = 2  # of the layout of ggml's blocks

# Matrices that are small and that much depends on: positions, segments, norms, routers.
_KEPT = ("position_embd.weight", "token_types.weight", "_norm.weight", "ffn_gate_inp.weight")
_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"
_CHUNK = 1 << 22  # weights at a time


def quantize_file(
    source: PathLike, target: PathLike, type: str, *, progress: bool | None = None
) -> dict[str, int]:
    """Write a model as a GGUF file, its matrices in blocks of a type.

    Vectors, norms and embeddings of positions are in float32. What makes logits (the matrix
    "output", or the embeddings where it is missing) becomes Q8_0 where ``type`` has fewer bits,
    Q6_K with Q4_K and Q5_K. A matrix whose rows are not whole blocks becomes Q8_0, Q5_1 or Q5_0 in
    place of Q6_K, Q5_K or Q4_K, else F16. Memory holds one matrix at a time.

    Parameters
    ----------
    source : path-like
        A GGUF file, where any of a split model stands for all; or a folder with config.json,
        safetensors and a tokenizer, or with one GGUF model.
    target : path-like
        Written atomically.
    type : str
        A key of `FILE_TYPES`.
    progress : bool, optional
        A bar; None: on a terminal.

    Returns
    -------
    dict of str to int
        How many arrays there are of each type.

    Raises
    ------
    ValueError
        ``type`` is none of these, or a weight is NaN, infinite or too large for it.
    FormatError
        A file is malformed, has no matrices, or says what GGUF has no place for.
    """
    if type not in FILE_TYPES:
        names = ", ".join(FILE_TYPES)
        raise ValueError(f"quantize_file: type must be one of {names}, got {type!r}")
    file = _read(source)
    logits = _OUTPUT if _OUTPUT in file.arrays else _EMBEDDINGS
    matrices = {name for name, array in file.arrays.items() if _is_matrix(name, array)}
    if not matrices:
        raise FormatError("has no matrices that could be quantised", file.path)
    total = sum(file.arrays[name].shape[0] * file.arrays[name].shape[1] for name in matrices)
    with progress_bar(total, " weights", f"writing {os.path.basename(target)}", progress) as bar:
        arrays: dict[str, NDArray[Any] | gguf.Blocks] = {}
        for name, array in file.arrays.items():
            if name in matrices:
                wanted = _type_of(array, type, name == logits)
                arrays[name] = _Quantized(name, array, wanted, bar)
            else:
                arrays[name] = _kept(array)
        gguf.write(target, _metadata(file, type), arrays)
    return dict(Counter(_name_of(array) for array in arrays.values()))


def lossy(source: PathLike) -> bool:
    """Whether matrices of a model are in blocks already: quantising adds its own errors.

    ``source`` is a GGUF file, or a model's folder.
    """
    return any(isinstance(array, BlockArray) for array in _read(source).arrays.values())


def _read(source: PathLike) -> gguf.Gguf:
    place = place_of(source) if os.path.isdir(source) else source
    return conversion.read(place) if os.path.isdir(place) else gguf.read(place)


def _metadata(file: gguf.Gguf, type: str) -> dict[str, Any]:
    kept = {
        key: file.dtypes[key].type(value) if key in file.dtypes else value
        for key, value in file.metadata.items()
    }
    return kept | {
        "general.file_type": np.uint32(FILE_TYPES[type]),
        "general.quantization_version": np.uint32(_QUANTIZATION_VERSION),
    }


def _is_matrix(name: str, array: NDArray[Any] | BlockArray) -> bool:
    """Whether an array gets the new type."""
    if not name.endswith(".weight") or name.endswith(_KEPT) or array.ndim != 2:
        return False
    return isinstance(array, BlockArray) or array.dtype.kind not in "iu"


def _type_of(array: NDArray[Any] | BlockArray, type: str, logits: bool) -> BlockType:
    if logits and type.startswith("Q"):
        type = "Q6_K" if type.endswith("_K") else "Q8_0"
    while array.shape[1] % block_type(type).block:
        type = _INSTEAD.get(type, "F16")
    return block_type(type)


def _kept(array: NDArray[Any] | BlockArray) -> NDArray[Any] | BlockArray:
    """An array as it is, but norms and such in float32, which llama.cpp expects."""
    if isinstance(array, BlockArray) or array.dtype.itemsize != 2 or array.dtype.kind == "i":
        return array
    return array.astype(np.float32) if array.ndim <= 2 else array


def _name_of(array: NDArray[Any] | gguf.Blocks) -> str:
    return array.dtype.name if isinstance(array, np.ndarray) else array.type.name


class _Quantized:
    """A matrix in blocks that are made when they are asked for."""

    def __init__(
        self, name: str, source: NDArray[Any] | BlockArray, type: BlockType, bar: Progress
    ) -> None:
        rows, columns = source.shape
        self.shape, self.type = (rows, columns), type
        self._name, self._source, self._bar = name, source, bar

    @property
    def data(self) -> NDArray[np.uint8]:
        rows, columns = self.shape
        source = self._source
        if isinstance(source, BlockArray) and source.type == self.type:
            self._bar.update(rows * columns)
            return source.data
        blocks = np.empty((rows, columns // self.type.block * self.type.bytes), np.uint8)
        step = max(1, _CHUNK // max(1, columns))
        for begin in range(0, rows, step):
            some = slice(begin, begin + step)
            weights = source.dequantize(some) if isinstance(source, BlockArray) else source[some]
            try:
                blocks[some] = quantize(weights, self.type)
            except ValueError as error:
                raise ValueError(f"{self._name}: {error}") from None
            self._bar.update(weights.size)
        return blocks
