"""What an encoder's architecture is: a plan, tables of names, and heads.

`bert.ARCHITECTURE` and its likes are made of these; `models` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firth.encoders.heads import Head
from firth.transformer import architecture
from firth.transformer.architecture import Table as Table
from firth.transformer.architecture import table_rows as table_rows
from firth.transformer.config import Config

Positions = Callable[[Config, NDArray[np.int32]], NDArray[np.int32]]


@dataclass(frozen=True, kw_only=True)
class Architecture(architecture.Architecture):
    """An encoder as its paper describes it.

    Attributes
    ----------
    heads : function of Config
        By name of the task: see `firth.encoders.heads`.
    positions : function of Config and ids (B, S), optional
        Rows of the table of positions, where they depend on the ids.
    """

    heads: Callable[[Config], Mapping[str, Head]]
    positions: Positions | None = None
