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

Weights are float32 as the logits, which are no more exact, and are added up in float64. One number
of a generator is used for each choice, so what is drawn depends on the seed, the logits and how
many ids were drawn before.
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

    @property
    def changes_logits(self) -> bool:
        """Whether any of the steps 1 to 3 does something."""
        penalties = self.frequency_penalty or self.presence_penalty or self.repetition_penalty != 1
        return bool(penalties or self.logit_bias)


class Logprob(NamedTuple):
    """An id and the logarithm of its probability.

    Attributes
    ----------
    id : int
    logprob : float
        Natural logarithm, at most 0.
    """

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
            largest = int(self._bias_ids.max())
            check_whole("Sampler: an id of logit_bias", largest, 0, vocabulary - 1)
        known = dict.fromkeys(prompt)
        self._at = {token_id: at for at, token_id in enumerate(known)}
        self._seen = np.fromiter(known, np.int64, len(known))  # each id once
        self._counts = np.zeros(len(known))  # times that it was generated

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
        at = self._at.setdefault(token_id, len(self._at))
        if at == len(self._seen):
            self._seen = np.append(self._seen, token_id)
            self._counts = np.append(self._counts, 0.0)
        self._counts[at] += 1

    def processed(
        self, logits: NDArray[np.float32], allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Logits after steps 1 to 3 of `Sampling`, as a call would draw from them.

        Parameters
        ----------
        logits : ndarray, shape (vocabulary,), float32
            Not changed.
        allowed : ndarray, shape (vocabulary,), bool, optional
            Ids that may be chosen; others get -inf.

        Returns
        -------
        ndarray, shape (vocabulary,), float32
            ``logits`` itself where nothing changes it.
        """
        found = logits
        if self.sampling.changes_logits:
            found = self._penalised(logits)
        if allowed is not None:
            found = np.where(allowed, found, np.float32(-np.inf))
        return found

    def _penalised(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        sampling, found = self.sampling, logits.copy()
        if len(self._bias_ids):
            found[self._bias_ids] = (found[self._bias_ids] + self._bias).astype(np.float32)
        ids, counts = self._seen, self._counts
        own = found[ids].astype(np.float64)
        penalty = sampling.repetition_penalty
        if penalty != 1:
            own = np.where(own < 0, own * penalty, own / penalty)
        own -= sampling.frequency_penalty * counts + sampling.presence_penalty * (counts > 0)
        found[ids] = own.astype(np.float32)
        return found

    def chances(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probability of each id to be chosen by `__call__`, (vocabulary,); sums to 1.

        Raises
        ------
        ValueError
            As `__call__`.
        """
        ids, weights = self._weights(self.processed(logits))
        found = np.zeros(len(logits))
        found[slice(None) if ids is None else ids] = weights / weights.sum(dtype=np.float64)
        return found

    def _choose(self, logits: NDArray[np.float32]) -> int:
        ids, weights = self._weights(logits)
        at = _drawn(weights, self._random.random()) if self.sampling.temperature else 0
        return at if ids is None else int(ids[at])

    def _weights(
        self, logits: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.float32]]:
        """Ids that can be chosen, None for all, and their weights."""
        sampling = self.sampling
        best = int(logits.argmax())  # of NaN the first
        largest = float(logits[best])
        if not np.isfinite(largest):
            kind = "are all forbidden" if largest == -np.inf else f"have {largest} among them"
            raise ValueError(f"Sampler: the logits {kind}")
        if sampling.temperature == 0:
            return np.array([best]), np.ones(1, np.float32)
        ids = self._kept(logits)
        scores = logits if ids is None else logits[ids]
        with np.errstate(over="ignore"):  # a tiny temperature: inf, whose weight is 0
            depths = (logits[best] - scores) / np.float32(max(sampling.temperature, 1e-30))
        if sampling.min_p > 0 and sampling.top_p == 1:  # most need no exp
            near = np.flatnonzero(depths < 1e-6 - np.log(sampling.min_p))
            ids, depths = near if ids is None else ids[near], depths[near]
        weights = np.exp(-depths)
        if sampling.top_p < 1:
            inside = _nucleus(weights, sampling.top_p)
            ids = inside if ids is None else ids[inside]
            weights = weights[inside]
        if sampling.min_p > 0:  # the largest weight is 1
            inside = np.flatnonzero(weights >= sampling.min_p)
            ids = inside if ids is None else ids[inside]
            weights = weights[inside]
        return ids, weights

    def _kept(self, logits: NDArray[np.float32]) -> NDArray[np.int64] | None:
        """Ids that top_k keeps, in their order; None for all."""
        most = self.sampling.top_k
        if not most or most >= len(logits):
            return None
        return np.flatnonzero(logits >= largest(logits, most))


def largest(logits: NDArray[np.floating], most: int) -> np.floating:
    """The value that comes at place ``most`` from the top.

    It is at least the value at that place among the largest of each row of 32, so what is smaller
    than that is not sorted.
    """
    rows = len(logits) // 32
    if rows > most:
        tops = logits[: rows * 32].reshape(rows, 32).max(axis=1)
        logits = logits[logits >= np.partition(tops, rows - most)[rows - most]]
    found: np.floating = np.partition(logits, len(logits) - most)[len(logits) - most]
    return found


def _nucleus(weights: NDArray[np.floating], top_p: float) -> NDArray[np.int64]:
    """Places of the fewest largest weights that sum to ``top_p`` of all, in their order.

    Mostly these are few: the largest 512 are sorted first, then more.
    """
    wanted = top_p * weights.sum(dtype=np.float64)
    most = 512
    while True:
        whole = most >= len(weights)
        bound = weights.min() if whole else largest(weights, most)
        places = np.flatnonzero(weights >= bound)
        order = places[np.argsort(-weights[places], kind="stable")]  # of equal ones the lowest id
        sums = np.cumsum(weights[order], dtype=np.float64)
        if whole or sums[-1] > wanted:
            kept: NDArray[np.int64] = np.sort(order[: int(np.searchsorted(sums, wanted)) + 1])
            return kept
        most *= 8


def _drawn(weights: NDArray[np.floating], number: float) -> int:
    """The place at which the sum of the weights passes ``number`` times the whole sum.

    Sums of 64 weights first, then those of one row.
    """
    rows = len(weights) // 64
    body = weights[: rows * 64].reshape(rows, 64).sum(axis=1, dtype=np.float64)
    sums = np.cumsum(np.append(body, weights[rows * 64 :].sum(dtype=np.float64)))
    rest = number * sums[-1]
    # what rounding puts behind the last weight belongs to it
    row = int(min(np.searchsorted(sums, rest, "right"), np.searchsorted(sums, sums[-1])))
    rest -= sums[row - 1] if row else 0.0
    inner = np.cumsum(weights[row * 64 : row * 64 + 64], dtype=np.float64)
    at = min(np.searchsorted(inner, rest, "right"), np.searchsorted(inner, inner[-1]))
    return row * 64 + int(at)


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
    greatest = scores.max()
    scores -= greatest + np.log(np.exp(scores - greatest).sum())
    if not most:
        return float(scores[token_id]), []
    places = np.flatnonzero(logits >= largest(logits, most))
    order = places[np.lexsort((places, -scores[places]))][:most]
    return float(scores[token_id]), [Logprob(int(i), float(scores[i])) for i in order]
