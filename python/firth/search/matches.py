"""What searches of an `Index` return."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Matches(NamedTuple):
    """What `Index.search` found, best first; equal scores by lower id (of str: by first addition).

    First the ids, then the scores (`firth.kernels.cosine_topk` has them in the other order).
    For one query arrays (m,), without padding. For many arrays (Q, m), m the most that a query
    found: a query with fewer is padded with ids of -1 (str ids: None) and scores of NaN, and
    `counts` has the number of real ones.
    """

    ids: NDArray[Any]  # int64, or object arrays of str
    scores: NDArray[np.float32]

    @property
    def counts(self) -> Any:
        """How many matches each query has: (Q,) int64, or an int for one query."""
        counts = np.count_nonzero(~np.isnan(self.scores), axis=-1)
        return int(counts) if self.scores.ndim == 1 else counts


class MatchesInRange(NamedTuple):
    """What `Index.search_range` found, in the order of `Matches`.

    For one query two arrays (m,); for many two lists of Q arrays, of any lengths.
    """

    ids: Any  # int64, or object arrays of str
    scores: Any  # float32
