"""What an encoder-decoder is: two architectures in the same files, and an output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from firth.transformer.architecture import Architecture
from firth.transformer.config import Config
from firth.transformer.weights import Names


def _nothing(config: Config, names: Names) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Side(Architecture):
    """The encoder or the decoder.

    Attributes
    ----------
    more : function of Config and Names
        Arrays outside of the layers that are not in a file as they are needed.
    """

    more: Callable[[Config, Names], dict[str, Any]] = _nothing


class Head(NamedTuple):
    """What makes logits of states: factor * states W^T + bias.

    Attributes
    ----------
    weight : tuple of str
        Names of W, of which the first that is there counts.
    factor : float
    bias : str or None
        Its name; it may be missing.
    """

    weight: tuple[str, ...]
    factor: float
    bias: str | None


class Pair(NamedTuple):
    """An encoder, a decoder that attends to its states, and its output."""

    encoder: Side
    decoder: Side
    head: Callable[[Config], Head]
