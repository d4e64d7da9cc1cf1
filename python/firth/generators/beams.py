"""The texts that an encoder-decoder writes of one other text: token by token, or by beam search.

Both are written as `hypotheses`, each with a cache that holds all of its tokens but the last. A
step of a model gives each hypothesis a row of logits, `take` goes on by these.

V = tokens there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firth.generators.generation_config import GenerationConfig, TokenRules
from firth.generators.sampling import Sampler, Sampling, largest
from firth.kernels import log_softmax
from firth.transformer.cached import Cache

_NEVER = np.float32(-1e9)  # the score of what has not ended, and of the beams that do not exist yet


@dataclass
class Hypothesis:
    """A text on its way.

    Attributes
    ----------
    ids : list of int
        With the start.
    cache : Cache
    score : float32
        The sum of its logarithms of probabilities.
    """

    ids: list[int]
    cache: Cache
    score: np.float32


class Continuation:
    """A text that goes on by one token at a time.

    Parameters
    ----------
    cache : Cache
        Empty, with what the text attends to.
    config : GenerationConfig
    most : int
        New tokens at most.
    sampler : Sampler
    ended : function of int
        Whether a new token ends the text; called with each.

    Attributes
    ----------
    hypotheses : list of Hypothesis
        One, and none when the text has ended.
    found : list of lists of int
        The text, without the start.
    """

    def __init__(
        self,
        cache: Cache,
        config: GenerationConfig,
        most: int,
        sampler: Sampler,
        ended: Callable[[int], bool],
    ) -> None:
        start = Hypothesis([config.decoder_start_token_id], cache.first(0), np.float32(0))
        self.hypotheses = [start] if most else []
        self.found: list[list[int]] = [[]]
        self._config, self._rules, self._most = config, TokenRules(config, most), most
        self._sampler, self._ended = sampler, ended

    def take(self, logits: NDArray[np.float32]) -> None:
        """One more token, by logits (1, V)."""
        ids, new = self.hypotheses[0].ids, self.found[0]
        if forced := self._rules.forced(ids):
            chosen = min(forced)
            self._sampler.accept(chosen)
        else:
            allowed = None
            if banned := self._rules.banned(ids):
                allowed = np.ones(logits.shape[1], bool)
                allowed[banned] = False
            chosen = self._sampler(logits[0], allowed)
        ids.append(chosen)
        new.append(chosen)
        if self._ended(chosen) or chosen in self._config.eos_token_id or len(new) == self._most:
            self.hypotheses = []


class Beams:
    """Beam search, as transformers' ``generate`` does it.

    ``num_beams`` hypotheses go on in all ways, and the most probable ones that have not ended are
    the next. Of those that end among the first ``num_beams`` the best by score / length **
    ``length_penalty`` are kept.

    Parameters
    ----------
    cache, config, most
        As of `Continuation`.
    sampling : Sampling
        Its bias and penalties count.

    Attributes
    ----------
    hypotheses : list of Hypothesis
        ``num_beams``, and none when the search has ended.
    """

    def __init__(
        self, cache: Cache, config: GenerationConfig, most: int, sampling: Sampling
    ) -> None:
        self.hypotheses = [
            Hypothesis(
                [config.decoder_start_token_id], cache.first(0), _NEVER if i else np.float32(0)
            )
            for i in range(config.num_beams if most else 0)
        ]
        self._config, self._rules, self._most = config, TokenRules(config, most), most
        self._sampling = sampling
        self._done: list[tuple[np.float32, list[int]]] = []  # the best first

    @property
    def found(self) -> list[list[int]]:
        """The texts that have ended, without the start, the best first."""
        return [ids for _, ids in self._done] or [[]]

    def take(self, logits: NDArray[np.float32]) -> None:
        """One more token of each hypothesis, by logits (num_beams, V)."""
        config, count = self._config, self._config.num_beams
        scores = log_softmax(logits)
        for row, one in zip(scores, self.hypotheses, strict=True):
            self._change(row, one.ids)
        if config.renormalize_logits:
            scores = log_softmax(scores)
        scores += np.array([one.score for one in self.hypotheses], np.float32)[:, None]
        flat = scores.ravel()
        most = min(max(2, 1 + len(config.eos_token_id)) * count, len(flat))
        places = np.flatnonzero(flat >= largest(flat, most))
        places = places[np.argsort(-flat[places], kind="stable")][:most]
        length = len(self.hypotheses[0].ids)  # of the new ones, without the start
        following: list[Hypothesis] = []
        taken = set()
        for i, place in enumerate(places.tolist()):
            parent, chosen = divmod(place, logits.shape[1])
            before, score = self.hypotheses[parent], flat[place]
            ids = [*before.ids, chosen]
            if chosen in config.eos_token_id or length == self._most:
                if i < count:
                    self._end(score / np.float32(length**config.length_penalty), ids[1:])
            elif len(following) < count:
                cache = before.cache.first(length) if parent in taken else before.cache
                taken.add(parent)
                following.append(Hypothesis(ids, cache, score))
        self.hypotheses = [] if self._is_over(following, length) else following

    def _change(self, row: NDArray[np.float32], ids: list[int]) -> None:
        """Bias, penalties and rules, in place."""
        if self._sampling.changes_logits:
            sampler = Sampler(self._sampling, ids[:1], len(row))
            for one in ids[1:]:
                sampler.accept(one)
            row[:] = sampler.processed(row)
        row[self._rules.banned(ids)] = -np.inf
        if forced := self._rules.forced(ids):
            row[:] = -np.inf
            row[list(forced)] = 0

    def _end(self, score: np.float32, ids: list[int]) -> None:
        """Keep a text if it is among the best."""
        if score > _NEVER:
            self._done = sorted([*self._done, (score, ids)], key=lambda one: -one[0])
            del self._done[self._config.num_beams :]

    def _is_over(self, following: list[Hypothesis], length: int) -> bool:
        config = self._config
        full = len(self._done) == config.num_beams
        if not following or (full and config.early_stopping is True):
            return True
        if config.early_stopping == "never" and config.length_penalty > 0:
            length = self._most
        best = following[0].score / np.float32(length**config.length_penalty)
        return not best > (self._done[-1][0] if full else _NEVER)
