"""Files of Stanford's GloVe tools, except ``vectors.txt``, which `word2vec.read_text` reads.

Parameters: ``glove`` keeps 2 V (d + 1) numbers, for each word its vector and its bias, then the
same for each word as a context. ``-binary 1`` writes them as raw float64 without the words, whose
order is that of ``vocab.txt`` (lines ``word count``, `word2vec.read_counts`). ``-model 0`` writes
them as text, one line a word: vector, bias, context vector, context bias; a last line ``<unk>``
holds the means over the 100 rarest words.

Co-occurrences: records of int32 word, int32 context (both counted from 1), float64 count.
All numbers are little-endian. V = words, d = dimensions of a vector.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError, TruncatedError
from firth.formats import word2vec
from firth.formats.files import PathLike

_RECORD = np.dtype([("row", "<i4"), ("column", "<i4"), ("count", "<f8")])


def read_parameters(path: PathLike) -> tuple[list[str], NDArray[np.float32]]:
    """Read the text of ``-model 0``: words, and their parameters (2, V, d + 1).

    Raises FormatError for another file; a file of plain vectors with an even number of numbers in
    each line cannot be distinguished from it.
    """
    words = word2vec.read_text(path, header=False)
    numbers = words.vectors.shape[1]
    if numbers % 2 or numbers < 4:
        raise FormatError(
            f"has {numbers} numbers in a line, not two vectors with biases: it is not of -model 0",
            path, 0,
        )  # fmt: skip
    halves = words.vectors.reshape(len(words.vectors), 2, -1).swapaxes(0, 1)
    return words.keys, np.ascontiguousarray(halves)


def read_binary_parameters(path: PathLike, count: int) -> NDArray[np.float64]:
    """Read the binary file of ``count`` words: parameters (2, count, d + 1).

    ``-save-gradsq`` writes sums of squared gradients in the same form. Raises TruncatedError, which
    is an EOFError too, where the file is too short for ``count`` words.
    """
    size = os.path.getsize(path)
    row = 2 * 8 * count
    if not count or size % row or size < 2 * row:
        raise TruncatedError(f"has {size} bytes, not 16 (d + 1) for each of {count} words", path)
    return np.fromfile(path, "<f8").reshape(2, count, -1)


def read_cooccurrences(
    path: PathLike,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Read ``cooccurrence.bin``, shuffled or not: rows and columns from 0, and counts, (N,) each.

    Raises TruncatedError if the last record is incomplete, FormatError for invalid numbers.
    """
    size = os.path.getsize(path)
    if size % _RECORD.itemsize:
        raise TruncatedError(f"has {size} bytes, not a multiple of 16", path, size)
    records = np.fromfile(path, _RECORD)
    bad = (records["row"] < 1) | (records["column"] < 1) | ~(records["count"] > 0)
    if bad.any():
        raise FormatError("holds an invalid record", path, 16 * int(bad.argmax()))
    return records["row"] - 1, records["column"] - 1, records["count"].copy()
