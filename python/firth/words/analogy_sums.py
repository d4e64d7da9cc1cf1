"""The best rows of many analogies a : b = c : ?, whose words are few.

The score of an analogy is a sum of three products, and the products of all its words with a row are
few: `cosine_topk` needs as many multiplications for one query as here for one word.
csrc/engines/search/analogies.h says why the rows are those that a search finds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import _native, geometry
from firth.kernels import active
from firth.kernels._dispatch import active_level

_A_WORD = 4  # analogies for each word from which its products pay
_MOST_DIMENSIONS = 1 << 16  # of the bound
_BLOCK = 256  # queries that are computed at once, in cache
_NUMBERS = 1 << 24  # of the queries of a call: Ctrl-C is checked between calls


def at_once(d: int) -> int:
    """How many analogies a call of `topk` may have, for vectors (D,)."""
    return max(1, min(1 << 15, _NUMBERS // (d + 1)))


def queries(units: NDArray[np.float64], terms: NDArray[np.int64], dtype: Any) -> NDArray[Any]:
    """The directions b - a + c, (N, D), of rows a, b, c (N, 3) of vectors (W, D) of length 1."""
    found = np.empty((len(terms), units.shape[1]), dtype)
    for start in range(0, len(terms), _BLOCK):
        a, b, c = units[terms[start : start + _BLOCK].T]
        found[start : start + _BLOCK] = geometry.unit(b + c - a)
    return found


def pays(vectors: NDArray[Any], count: int, words: int) -> bool:
    """Whether `topk` is the faster way for ``count`` analogies of these vectors (V, D)."""
    return (
        count >= _A_WORD * words
        and 0 < vectors.shape[1] <= _MOST_DIMENSIONS
        and vectors.dtype != np.float64
        and vectors.flags.c_contiguous
        and active().startswith("native")
    )


def topk(
    vectors: NDArray[Any],
    norms: NDArray[Any],
    scales: NDArray[np.float32] | None,
    units: NDArray[np.float64],
    terms: NDArray[np.int64],
    queries: NDArray[np.float32],
    found: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The best rows of analogies, (N, k), written to ``found``: what `cosine_topk` gives.

    Parameters
    ----------
    vectors, norms, scales
        (V, D) of float32, float16, or int8 with scales (V,). A row whose norm is NaN is out.
    units : (W, D)
        The words' vectors of length 1.
    terms : (N, 3)
        a, b and c of each analogy, as rows of ``units``.
    queries : (N, D)
        Of `queries`.
    found : (N, k)
        Rows, best first, -1 where there are fewer.

    Returns
    -------
    ndarray
        The analogies that float32 cannot decide, since too many rows are too close to each other:
        nothing is found for these.
    """
    undecided = np.empty(len(terms), bool)
    _native.search.analogies(
        active_level(), vectors, scales, np.isnan(norms), units.astype(np.float32),
        terms.astype(np.uint32), queries, found, undecided,
    )  # fmt: skip
    return np.flatnonzero(undecided)
