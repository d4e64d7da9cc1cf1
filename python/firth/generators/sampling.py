"""The choice of the next token.

The steps are transformers' ``generate``, in its order, with OpenAI's two penalties and bias before
them:

1. ``logit_bias`` is added.
2. ``repetition_penalty``: logits of ids that were there are divided by it, or multiplied where
   they are negative.
3. ``frequency_penalty`` times the count of an id among those generated is taken off, and
   ``presence_penalty`` once where there is any.
4. Logits are divided by ``temperature``; with 0 the largest is taken, the lowest id of equal ones.
5. ``top_k``: the largest logits, and those equal to the last of them.
6. ``top_p``: the fewest of the most probable ids whose probabilities sum to at least that.
7. ``min_p``: ids with at least that part of the largest probability.
8. An id is drawn by its probability among the rest.

Probabilities are float64. One number of a generator is used for each choice, so what is drawn
depends on the seed, the logits and how many ids were drawn before.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.arguments import Real, Rules, Whole, check_all, check_real, check_whole, shortened

_RULES: Rules = {
    "temperature": Real(0.0, 1e6),
    "top_p": Real(0.0, 1.0, above=True),
    "top_k": Whole(0),
    "min_p": Real(0.0, 1.0),
    "repetition_penalty": Real(0.0, 1e6, above=True),
    "frequency_penalty": Real(-1e6, 1e6),
    "presence_penalty": Real(-1e6, 1e6),
    "seed": Whole(-(2**63), 2**64 - 1, optional=True),
}


@dataclass(frozen=True)
class Sampling:
    """How ids are chosen.

    Parameters
    ----------
    temperature : float
        0: always the most probable id. 1: as the model says. More: flatter.
    top_p, min_p : float
        1 and 0 keep every id.
    top_k : int
        0 keeps every id.
    repetition_penalty : float
        1 changes nothing.
    frequency_penalty, presence_penalty : float
        0 changes nothing.
    seed : int, optional
        None: another text each time.
    logit_bias : dict of int to float
        Added to the logits of ids; -inf forbids one.

    Raises
    ------
    TypeError, ValueError
        A value is no number, or out of its range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _RULES}
        for name, value in check_all("Sampling", _RULES, given).items():
            object.__setattr__(self, name, value)
        bias: object = self.logit_bias
        if not isinstance(bias, Mapping):
            got = shortened(bias)
            raise TypeError(f"Sampling: logit_bias must be a dict of id to number, got {got}")
        for token_id, added in bias.items():
            check_whole("Sampling: an id of logit_bias", token_id)
            if added != -np.inf:
                check_real(f"Sampling: logit_bias[{token_id}]", added, -1e30, 1e30)


class Logprob(NamedTuple):
    """An id and the logarithm of its probability."""

    id: int
    logprob: float


class Sampler:
    """Chooses the ids of one text.

    Parameters
    ----------
    sampling : Sampling
    prompt : sequence of int
        The ids before the text, which ``repetition_penalty`` counts and the others do not.
    vocabulary : int, optional
        The number of logits; ids of ``logit_bias`` are checked against it.
    """

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int] = (), vocabulary: int | None = None
    ) -> None:
        self.sampling = sampling
        self._random = np.random.Generator(
            np.random.PCG64(None if sampling.seed is None else sampling.seed % 2**64)
        )
        self._bias_ids = np.fromiter(sampling.logit_bias, np.int64, len(sampling.logit_bias))
        self._bias = np.fromiter(sampling.logit_bias.values(), np.float64, len(self._bias_ids))
        if vocabulary is not None and len(self._bias_ids):
            check_whole("Sampler: an id of logit_bias", self._bias_ids.max(), 0, vocabulary - 1)
        self._seen = dict.fromkeys(prompt, 0)  # times that each was generated
        self._plain = not (
            len(self._bias_ids)
            or sampling.repetition_penalty != 1
            or sampling.frequency_penalty
            or sampling.presence_penalty
        )

    def __call__(
        self, logits: NDArray[np.float32], allowed: NDArray[np.bool_] | None = None
    ) -> int:
        """Choose an id and remember it.

        Parameters
        ----------
        logits : ndarray, shape (vocabulary,), float32
            Not changed.
        allowed : ndarray, shape (vocabulary,), bool, optional
            Ids that may be chosen.

        Raises
        ------
        ValueError
            No id has a probability: all are forbidden, or a logit is NaN.
        """
        token_id = self._choose(self.processed(logits, allowed))
        self.accept(token_id)
        return token_id

    def accept(self, token_id: int) -> None:
        """Count an id that something else has chosen, such as a constraint."""
        self._seen[token_id] = self._seen.get(token_id, 0) + 1

    def processed(
        self, logits: NDArray[np.float32], allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Logits after steps 1 to 3, as `__call__` would draw from them."""
        found = logits
        if not self._plain:
            found = self._penalised(logits)
        if allowed is not None:
            found = np.where(allowed, found, np.float32(-np.inf))
        return found

    def _penalised(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        sampling, found = self.sampling, logits.copy()
        if len(self._bias_ids):
            found[self._bias_ids] = (found[self._bias_ids] + self._bias).astype(np.float32)
        if not self._seen:
            return found
        ids = np.fromiter(self._seen, np.int64, len(self._seen))
        counts = np.fromiter(self._seen.values(), np.float64, len(ids))
        own = found[ids].astype(np.float64)
        penalty = sampling.repetition_penalty
        if penalty != 1:
            own = np.where(own < 0, own * penalty, own / penalty)
        own -= sampling.frequency_penalty * counts + sampling.presence_penalty * (counts > 0)
        found[ids] = own.astype(np.float32)
        return found

    def _choose(self, logits: NDArray[np.float32]) -> int:
        sampling = self.sampling
        best = int(logits.argmax())  # of NaN the first
        largest = float(logits[best])
        if not np.isfinite(largest):
            kind = "are all forbidden" if largest == -np.inf else f"have {largest} among them"
            raise ValueError(f"Sampler: the logits {kind}")
        if sampling.temperature == 0:
            return best
        ids = self._kept(logits)
        scores = logits if ids is None else logits[ids]
        with np.errstate(over="ignore"):  # a tiny temperature: inf, whose weight is 0
            depths = (largest - scores.astype(np.float64)) / sampling.temperature
        weights = np.exp(-depths)
        if sampling.top_p < 1:
            inside = _nucleus(weights, depths, sampling.top_p)
            ids = inside if ids is None else ids[inside]
            weights = weights[inside]
        if sampling.min_p > 0:  # the largest weight is 1
            inside = np.flatnonzero(weights >= sampling.min_p)
            ids = inside if ids is None else ids[inside]
            weights = weights[inside]
        sums = np.cumsum(weights)
        at = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        at = min(at, int(np.searchsorted(sums, sums[-1])))  # a product may be rounded up
        return at if ids is None else int(ids[at])

    def _kept(self, logits: NDArray[np.float32]) -> NDArray[np.int64] | None:
        """Ids that top_k keeps, in their order; None for all."""
        most = self.sampling.top_k
        if not most or most >= len(logits):
            return None
        last = np.partition(logits, len(logits) - most)[len(logits) - most]
        return np.flatnonzero(logits >= last)


def _nucleus(
    weights: NDArray[np.float64], depths: NDArray[np.float64], top_p: float
) -> NDArray[np.int64]:
    """Places of the fewest largest weights that sum to ``top_p`` of all, in their order.

    Weights, which are ``exp(-depths)``, are added up in bins of equal depth; only those of the bin
    in which the sum is reached are sorted.
    """
    bins = np.minimum(depths * 32, 2047).astype(np.int64)
    sums = np.cumsum(np.bincount(bins, weights))
    wanted = top_p * sums[-1]
    last = int(np.searchsorted(sums, wanted))
    edge = np.flatnonzero(bins == last)
    order = edge[np.argsort(-weights[edge], kind="stable")]  # of equal ones the lowest id first
    before = sums[last - 1] if last else 0.0
    count = int(np.searchsorted(before + np.cumsum(weights[order]), wanted)) + 1
    inside = bins < last
    inside[order[:count]] = True
    return np.flatnonzero(inside)


def logprobs(
    logits: NDArray[np.float32], token_id: int, most: int = 0
) -> tuple[float, list[Logprob]]:
    """Log probabilities that the model itself gives, before any step of sampling.

    Parameters
    ----------
    logits : ndarray, shape (vocabulary,), float32
    token_id : int
        The id that was chosen.
    most : int
        How many of the most probable ids to return.

    Returns
    -------
    logprob : float
        That of ``token_id``; computed in float64.
    top : list of Logprob
        The most probable ids, the first of equal ones first.
    """
    check_whole("logprobs: most", most, 0, len(logits))
    token_id = operator.index(token_id)
    scores = logits.astype(np.float64)
    largest = scores.max()
    scores -= largest + np.log(np.exp(scores - largest).sum())
    if not most:
        return float(scores[token_id]), []
    last = np.partition(logits, len(logits) - most)[len(logits) - most]
    places = np.flatnonzero(logits >= last)
    order = places[np.lexsort((places, -scores[places]))][:most]
    return float(scores[token_id]), [Logprob(int(i), float(scores[i])) for i in order]
