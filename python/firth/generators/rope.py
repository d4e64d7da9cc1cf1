"""Rotary positions of a configuration: base, and what makes longer texts readable.

``rope_parameters`` of newer files, ``rope_scaling`` and ``rope_theta`` of older ones. All kinds of
scaling come out as one divisor for each pair (`firth.transformer.plan.Scaling`):

linear       all pairs alike (Chen et al., arXiv:2306.15595)
llama3       slow pairs only, of which a text saw less than a turn (arXiv:2407.21783)
yarn         the same with other borders, and a factor of the scores (Peng et al., arXiv:2309.00071)
longrope     what a search found, one list for short and one for long texts (arXiv:2402.13753)
dynamic      none up to the number of positions that the model has. Behind it the angles of all
             tokens would change with each further one, and all keys: firth does not go there
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firth.arguments import Real, Whole, shortened
from firth.errors import FormatError
from firth.transformer.config import THETA, Config
from firth.transformer.plan import Scaling

_KINDS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope", "su")
_FACTOR = Real(1e-3, 1e6)
_LENGTH = Whole(2, 1 << 20)


class Rope(NamedTuple):
    """What a plan says of rotary positions, of one kind of layers.

    Attributes
    ----------
    theta : float
    rotated : int
    scaling : Scaling or None
    long_after : int
    positions : int
        How many a text may have.
    """

    theta: float
    rotated: int
    scaling: Scaling | None
    long_after: int
    positions: int


def rope(config: Config, head_width: int, theta: float, kind: str = "full_attention") -> Rope:
    """The rotary positions that a configuration says.

    Parameters
    ----------
    config : Config
    head_width : int
    theta : float
        Where ``rope_parameters`` does not say it.
    kind : str
        Of the layers, "full_attention" or "sliding_attention", which may differ. What a file says
        of all layers is not for those with a window.

    Raises
    ------
    FormatError
        A field is missing or out of its range, or the type is none of the above.
    """
    field, given = parameters(config, kind)

    def number(name: str, rule: Real | Whole, default: Any = None) -> Any:
        return config.number(given, f"{field}.{name}", rule, default)

    theta = number("rope_theta", THETA, theta)
    part = 1.0
    if config.turns_part:
        part = number("partial_rotary_factor", Real(0, 1, above=True), config.partial_rotary_factor)
    rotated = int(head_width * part + 1e-6)  # a quotient that was rounded down counts as whole
    if rotated < 2 or rotated % 2:
        raise FormatError(
            f"config: {field}: {rotated} of {head_width} dimensions of a head turn: must be even",
            config.path,
        )
    name, most = rope_type(config, kind), int(config.max_position_embeddings)
    if name in ("default", "dynamic"):
        return Rope(theta, rotated, None, 0, most)
    rates = theta ** (-np.arange(0, rotated, 2) / rotated)
    trained = config.get("original_max_position_embeddings") or number(
        "original_max_position_embeddings", _LENGTH, config.max_position_embeddings
    )
    longer = most / trained

    def stretched(factor: float) -> int:
        """Files give the positions that were trained, or those that scaling makes of them."""
        return max(most, int(min(trained * factor, _LENGTH.most)))

    if name in ("longrope", "su"):
        factor = number("factor", _FACTOR, longer)
        root = math.sqrt(1 + math.log(factor) / math.log(trained)) if factor > 1 else 1.0
        short = _list(config, given, field, "short_factor", rotated // 2)
        long = _list(config, given, field, "long_factor", rotated // 2)
        same = short == long
        scaling = Scaling(short, number("attention_factor", _FACTOR, root), () if same else long)
        return Rope(theta, rotated, scaling, 0 if same else trained, stretched(factor))
    factor = number("factor", _FACTOR, longer if name == "yarn" else None)
    if name == "linear":
        return Rope(theta, rotated, Scaling((factor,) * len(rates)), 0, stretched(factor))
    if name == "llama3":
        low = number("low_freq_factor", _FACTOR)
        high = number("high_freq_factor", Real(low, 1e6, above=True))
        scaling = _llama3(rates, factor, low, high, trained)
        return Rope(theta, rotated, scaling, 0, stretched(factor))
    fast, slow = number("beta_fast", _FACTOR, 32.0), number("beta_slow", _FACTOR, 1.0)
    divisors = _yarn(theta, rotated, factor, trained, fast, slow, given.get("truncate", True))
    warmth = _temperature(factor, 1.0)
    if given.get("mscale") and given.get("mscale_all_dim"):
        above, below = number("mscale", _FACTOR), number("mscale_all_dim", _FACTOR)
        warmth = _temperature(factor, above) / _temperature(factor, below)
    scaling = Scaling(divisors, number("attention_factor", _FACTOR, warmth))
    return Rope(theta, rotated, scaling, 0, stretched(factor))


def rope_type(config: Config, kind: str = "full_attention") -> str:
    """Which kind of scaling a configuration names; FormatError for one that is not known."""
    field, given = parameters(config, kind)
    name = given.get("rope_type", given.get("type", "default"))
    if name not in _KINDS:
        raise FormatError(
            f"config: {field}.rope_type must be one of {_KINDS}, got {shortened(name)}",
            config.path,
        )
    return str(name)


def parameters(config: Config, kind: str) -> tuple[str, Mapping[str, Any]]:
    """The object that says it, of that kind of layers where they differ; and its name."""
    for field in ("rope_parameters", "rope_scaling"):
        given = config.get(field)
        if given is None:
            continue
        if isinstance(given, dict) and kind in given:
            field, given = f"{field}[{kind!r}]", given[kind]
        elif kind != "full_attention":
            return field, {}
        if not isinstance(given, dict):
            raise FormatError(
                f"config: {field} must be an object, got {shortened(given)}", config.path
            )
        return field, given
    return "rope_parameters", {}


def _list(
    config: Config, given: Mapping[str, Any], field: str, name: str, count: int
) -> tuple[float, ...]:
    values = given.get(name)
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(type(v) in (int, float) and 1e-3 <= v <= 1e6 for v in values)
    ):
        raise FormatError(
            f"config: {field}.{name} must list {count} numbers from 0.001 to 1e6, one a pair",
            config.path,
        )
    return tuple(float(v) for v in values)


def _llama3(
    rates: NDArray[np.float64], factor: float, low: float, high: float, trained: int
) -> Scaling:
    """Pairs that turn less than ``low`` times in a text are slowed, more than ``high`` are not."""
    turns = trained * rates / (2 * np.pi)
    share = np.clip((turns - low) / (high - low), 0, 1)  # of the old rate
    return Scaling(tuple((1 / ((1 - share) / factor + share)).tolist()))


def _yarn(
    theta: float,
    rotated: int,
    factor: float,
    trained: int,
    fast: float,
    slow: float,
    whole: bool,
) -> tuple[float, ...]:
    """Pairs that turn more than ``fast`` times in a text keep their rate, others are slowed.

    Those between ``fast`` and ``slow`` in part; whole: the borders are whole numbers of pairs.
    """

    def pair(turns: float) -> float:
        return rotated * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair(fast), pair(slow)
    if whole:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotated - 1)
    slowed = np.clip((np.arange(rotated // 2) - low) / ((high - low) or 0.001), 0, 1)
    return tuple((1 / (slowed / factor + (1 - slowed))).tolist())


def _temperature(factor: float, scale: float) -> float:
    """YaRN's factor of queries and keys."""
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0
