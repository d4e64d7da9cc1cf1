"""What an architecture is: a plan, tables of names, and heads.

`bert.ARCHITECTURE` and its likes are made of these; `models` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.encoders.config import Config
from firth.encoders.heads import Head
from firth.transformer.plan import Plan, Weights, layer_shapes, shapes
from firth.transformer.weights import Names, Source

Table = Mapping[str, Source]
"""For each name of `firth.transformer.plan.Weights` where a file has its array."""

Positions = Callable[[Config, NDArray[np.int32]], NDArray[np.int32]]


@dataclass(frozen=True)
class Architecture:
    """An encoder as its paper describes it.

    Attributes
    ----------
    kinds : tuple of str
        Its ``model_type`` in configurations.
    prefixes : tuple of str
        In front of the body's names in files that have a head too.
    defaults : mapping
        Of the configuration.
    plan : function of Config
    outside, layers : functions of Config
        Tables of names, one, and one a layer; the same object for layers that share weights.
    heads : function of Config
        By name of the task: see `firth.encoders.heads`.
    aliases : mapping
        Other names of the configuration's fields.
    positions : function of Config and ids (B, S), optional
        Rows of the table of positions, where they depend on the ids.
    """

    kinds: tuple[str, ...]
    prefixes: tuple[str, ...]
    defaults: Mapping[str, Any]
    plan: Callable[[Config], Plan]
    outside: Callable[[Config], Table]
    layers: Callable[[Config], Sequence[Table]]
    heads: Callable[[Config], Mapping[str, Head]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    positions: Positions | None = None

    def weights(self, config: Config, names: Names) -> Weights:
        """Those of the stack, of the shapes that the configuration says.

        Raises
        ------
        FormatError
            An array is missing or has another shape or dtype; the message has its name in the file.
        """
        plan, outside, layers = self.plan(config), self.outside(config), self.layers(config)
        found, rows = names.weights(outside, layers), table_rows(config)
        if (name := "projection.weight") in found.outside:  # the shapes of others depend on it
            names.check(found.outside[name], (plan.width, config.embedding_size), outside[name])
        for name, shape, _ in shapes(plan, found.outside):
            if name in found.outside:
                exact = (rows[name], *shape[1:]) if name in rows else shape
                names.check(found.outside[name], exact, outside[name])
        for table, arrays in zip(layers, found.layers, strict=True):
            for name, shape, _ in layer_shapes(plan):
                if name in arrays:
                    names.check(arrays[name], shape, table[name])
        return found


def table_rows(config: Config) -> dict[str, int]:
    """How many rows the tables outside of the layers have."""
    return {
        "tokens": config.vocab_size,
        "positions": config.max_position_embeddings,
        "types": config.get("type_vocab_size", 0),
        "relative": config.get("relative_attention_num_buckets", 0),
    }
