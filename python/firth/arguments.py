"""Numbers and texts that users give, checked before anything changes.

A trainer has one table, name of the parameter to `Whole` or `Real`. It is used by the constructor,
again when training starts (attributes can be assigned), and for the settings in a file.
"""

from __future__ import annotations

import numbers
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Whole:
    """Whole numbers from ``least`` to ``most``; with ``optional`` None, too."""

    least: int = 0
    most: int = 2**31 - 1
    optional: bool = False


@dataclass(frozen=True)
class Real:
    """Finite numbers from ``least`` to ``most``; with ``above`` not ``least`` itself.

    With ``optional`` None, too.
    """

    least: float = 0.0
    most: float = 1e30
    above: bool = False
    optional: bool = False


Rules = Mapping[str, Whole | Real]


def check_all(where: str, rules: Rules, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that have a rule, as int, float or None; ``where`` is the function, for messages.

    Raises ValueError for a number out of its range, TypeError for what is no number.
    """
    checked: dict[str, Any] = {}
    for name, rule in rules.items():
        if name not in values:
            continue
        value = values[name]
        if rule.optional and value is None:
            checked[name] = None
        elif isinstance(rule, Real):
            check_real(f"{where}: {name}", value, rule.least, rule.most, above=rule.above)
            checked[name] = float(value)
        else:
            check_whole(f"{where}: {name}", value, rule.least, rule.most)
            checked[name] = int(value)
    return checked


def check_whole(name: str, value: Any, least: int = 0, most: int = 2**31 - 1) -> None:
    """ValueError where ``value`` is no whole number in this range, TypeError where no number."""
    real = isinstance(value, numbers.Real)
    if not (real and least <= value <= most and value % 1 == 0):
        kind = ValueError if real else TypeError
        raise kind(f"{name} must be a whole number from {least} to {most}, got {shortened(value)}")


def integer(name: str, value: Any, least: int) -> int:
    """A size as an int: an integer from ``least`` up, below 2^31; unlike 3.0, which is no size.

    ValueError for another integer, TypeError for anything else, bool among them.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {shortened(value)}")
    if not least <= (number := operator.index(value)) < 1 << 31:
        raise ValueError(f"{name} must be at least {least} and below 2**31, got {number}")
    return number


def check_real(
    name: str, value: Any, least: float = 0.0, most: float = 1e30, *, above: bool = False
) -> None:
    """The same for a number that need not be whole; with ``above`` it is not ``least`` either."""
    real = isinstance(value, numbers.Real)
    if not (real and least <= value <= most and not (above and value == least)):
        kind = ValueError if real else TypeError
        bound = f"above {least:g} and at most {most:g}" if above else f"from {least:g} to {most:g}"
        raise kind(f"{name} must be a number {bound}, got {shortened(value)}")


def check_text(name: str, value: Any) -> None:
    """TypeError where ``value`` is no str, ValueError where it has a lone surrogate."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {shortened(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} has the lone surrogate {value[error.start]!a} at character {error.start}: "
            "not Unicode"
        ) from None


def shortened(value: Any) -> str:
    """``repr`` of at most 60 characters; also of an integer too long to be printed."""
    try:
        text = repr(value)
    except ValueError:
        text = f"an integer of {value.bit_length()} bits"
    return text if len(text) <= 60 else text[:57] + "..."
