"""How an encoder-decoder writes where nothing else is asked for: ``generation_config.json``.

Its fields have transformers' names and meanings. Folders without it have them in ``config.json``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from firth.arguments import Real, Rules, Whole, check_all, check_whole, shortened
from firth.errors import FormatError, warn
from firth.formats.files import PathLike
from firth.transformer.files import read_json

_FILE = "generation_config.json"
_RULES: Rules = {
    "max_length": Whole(1, optional=True),
    "min_length": Whole(0),
    "num_beams": Whole(1, 1024),
    "length_penalty": Real(-5.0, 5.0),  # a length to this power is a float32
    "no_repeat_ngram_size": Whole(0),
    "repetition_penalty": Real(0.0, 1e6, above=True),
}
# What changes texts and is not there, and the value that changes nothing.
_UNKNOWN = {
    "encoder_no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1.0, "sequence_bias": None,
    "exponential_decay_length_penalty": None, "num_beam_groups": 1, "begin_suppress_tokens": None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Fields of ``generation_config.json``.

    Attributes
    ----------
    decoder_start_token_id : int
        Before the first token.
    eos_token_id : tuple of int
        Each ends a text.
    max_length, min_length : int
        Tokens of a text, the start included: at most, or None; and before it may end.
    num_beams : int
        1: the likeliest token each time.
    length_penalty : float
        The power of the length by which the sums of log probabilities are divided.
    early_stopping : bool or "never"
        When the search ends: as soon as ``num_beams`` texts have ended (True), when no better one
        is likely (False), or when there can be none ("never").
    no_repeat_ngram_size : int
        As many tokens in a row occur once. 0: no such rule.
    repetition_penalty : float
        `firth.generators.sampling`.
    bad_words_ids : tuple of tuples of int
        Tokens in a row that never come.
    forced_bos_token_id : int or None
        The first token.
    forced_eos_token_id : tuple of int
        The last token of a text that has become too long is one of these; empty: any.
    renormalize_logits : bool
        Whether probabilities sum to 1 again after these rules.
    """

    decoder_start_token_id: int
    eos_token_id: tuple[int, ...] = ()
    max_length: int | None = None
    min_length: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()
    renormalize_logits: bool = False

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _RULES}
        for name, value in check_all("generate", _RULES, given).items():
            object.__setattr__(self, name, value)
        early: object = self.early_stopping
        if not isinstance(early, bool) and early != "never":
            got = shortened(early)
            raise ValueError(f"generate: early_stopping must be a bool or 'never', got {got}")


def read(folder: PathLike, config: Mapping[str, Any], vocabulary: int) -> GenerationConfig:
    """What a model's folder says.

    Parameters
    ----------
    folder : path-like
    config : mapping
        Its ``config.json``, whose fields count where there is no ``generation_config.json``.
    vocabulary : int
        Ids are below this.

    Raises
    ------
    FormatError
        A field is malformed.
    """
    path = os.path.join(folder, _FILE)
    if not os.path.exists(path):
        path, values = os.path.join(folder, "config.json"), dict(config)
    else:
        ids = ("decoder_start_token_id", "eos_token_id")
        values = {name: config.get(name) for name in ids}
        values |= {name: one for name, one in read_json(path).items() if one is not None}
    for name, neutral in _UNKNOWN.items():
        if values.get(name, neutral) not in (neutral, None):
            warn(f"{path}: {name} is {shortened(values[name])}; firth writes without it")

    def ids_of(name: str, given: Any) -> tuple[int, ...]:
        try:
            found = list(_ids(given))
            for one in found:
                check_whole(name, one, 0, vocabulary - 1)
        except (TypeError, ValueError) as error:
            raise FormatError(str(error), path) from None
        return tuple(map(int, found))

    def one_of(name: str) -> int | None:
        found = ids_of(name, values.get(name))
        if len(found) > 1:
            raise FormatError(f"{name} must be one id, got {shortened(values[name])}", path)
        return found[0] if found else None

    start = one_of("decoder_start_token_id")
    if start is None:
        raise FormatError("decoder_start_token_id is missing", path)
    ends = ids_of("eos_token_id", values.get("eos_token_id"))
    words = values.get("bad_words_ids") or []
    if not isinstance(words, list) or not all(isinstance(word, list) and word for word in words):
        raise FormatError(f"bad_words_ids must be lists of ids, got {shortened(words)}", path)
    suppressed = [[i] for i in ids_of("suppress_tokens", values.get("suppress_tokens"))]
    bad = [ids_of("bad_words_ids", word) for word in (*words, *suppressed)]
    numbers = {name: values[name] for name in _RULES if values.get(name) is not None}
    try:
        return GenerationConfig(
            decoder_start_token_id=start,
            eos_token_id=ends,
            bad_words_ids=tuple(word for word in bad if word not in [(end,) for end in ends]),
            forced_bos_token_id=one_of("forced_bos_token_id"),
            forced_eos_token_id=ids_of("forced_eos_token_id", values.get("forced_eos_token_id")),
            early_stopping=values.get("early_stopping") or False,
            renormalize_logits=bool(values.get("renormalize_logits")),
            **numbers,
        )
    except (TypeError, ValueError) as error:
        raise FormatError(str(error).removeprefix("generate: "), path) from None


def _ids(given: Any) -> Iterator[Any]:
    if isinstance(given, list):
        yield from given
    elif given is not None:
        yield given


class TokenRules:
    """Which tokens may follow.

    Parameters
    ----------
    config : GenerationConfig
    most : int
        Tokens of a text at most, the start not included.
    """

    def __init__(self, config: GenerationConfig, most: int) -> None:
        self._config, self._most = config, most

    def forced(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The tokens of which one must follow ``ids``, which begin with the start; or none: any."""
        config = self._config
        if config.forced_eos_token_id and len(ids) == self._most:
            return config.forced_eos_token_id
        if config.forced_bos_token_id is not None and len(ids) == 1:
            return (config.forced_bos_token_id,)
        return ()

    def banned(self, ids: Sequence[int]) -> list[int]:
        """The tokens that must not follow ``ids``."""
        config = self._config
        found = list(config.eos_token_id) if len(ids) < config.min_length else []
        for word in config.bad_words_ids:
            if len(word) <= len(ids) + 1 and tuple(ids[len(ids) + 1 - len(word) :]) == word[:-1]:
                found.append(word[-1])
        size = config.no_repeat_ngram_size
        if 0 < size <= len(ids):
            last = ids[len(ids) + 1 - size :]
            for at in range(len(ids) + 1 - size):
                if ids[at : at + size - 1] == last:
                    found.append(ids[at + size - 1])
        return found
