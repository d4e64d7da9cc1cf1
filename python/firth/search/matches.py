"""What searches of an `Index` return."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.search.state import State


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


def padded(
    state: State,
    labels: NDArray[np.int64],
    scores: NDArray[np.float32],
    counts: NDArray[np.int64],
    single: bool,
) -> Matches:
    """The `Matches` of labels and scores (Q, k), of which ``counts`` (Q,) are valid.

    ``single``: of one query. Scores behind those that are valid are overwritten.
    """
    if single:
        count = int(counts[0])
        return Matches(state.ids(labels[0, :count]), scores[0, :count])
    most = int(counts.max()) if len(counts) else labels.shape[1]
    labels, scores = labels[:, :most], scores[:, :most]
    if (counts == most).all():
        return Matches(state.ids(labels), scores)
    own = np.arange(most) < counts[:, None]
    scores[~own] = np.nan
    text = state.id_type is str
    ids = np.full(own.shape, None if text else -1, object if text else np.int64)
    ids[own] = state.ids(labels[own])
    return Matches(ids, scores)
