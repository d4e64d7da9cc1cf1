"""Random weights for a configuration, by the names of a file: for tests and lessons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from firth.encoders.architecture import Architecture, table_rows
from firth.transformer.config import Config
from firth.transformer.plan import layer_shapes, shapes
from firth.transformer.weights import Part, Source

Shape = tuple[int, ...]


def random_arrays(
    architecture: Architecture, config: Config, heads: Sequence[str], seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Arrays of the stack and of the heads that are named.

    Matrices are normal with the deviation that ``initializer_range`` says [0.02], gains are 1,
    biases 0.
    """
    rng = np.random.default_rng(seed)
    deviation = np.float32(config.get("initializer_range", 0.02))
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, shape, value in _wanted(architecture, config, heads):
        if name not in arrays:
            arrays[name] = np.full(shape, value, np.float32)
            if len(shape) > 1:
                rng.standard_normal(dtype=np.float32, out=arrays[name])
                arrays[name] *= deviation
    return arrays


def _wanted(
    architecture: Architecture, config: Config, heads: Sequence[str]
) -> Iterator[tuple[str, Shape, float]]:
    """Name in the file, shape, and the value of what is not random."""
    plan, rows = architecture.plan(config), table_rows(config)
    outside = architecture.outside(config)
    narrow: dict[str, NDArray[np.float32]] = {}
    if "projection.weight" in outside:
        narrow["projection.weight"] = np.empty((plan.width, config.embedding_size), np.float32)
    tables = [(outside, list(shapes(plan, narrow)))]
    tables += [(table, list(layer_shapes(plan))) for table in architecture.layers(config)]
    for table, known in tables:
        for ours, shape, _ in known:
            if ours in table and (place := _place(table[ours])) is not None:
                whole = tuple(rows[ours] if n is None else n for n in shape)
                name, count = place
                yield name, (count or whole[0], *whole[1:]), float(ours.endswith(".gain"))
    known_heads = architecture.heads(config)
    for head in (known_heads[name] for name in heads if name in known_heads):
        width = plan.width
        for step in head.steps:
            for part, (source, shape) in step.sources(width).items():
                name, _ = _place(source) or ("", 0)
                gain = part == "weight" and len(shape) == 1
                yield name, shape, float(gain)
            width = getattr(step, "outputs", width)


def _place(source: Source) -> tuple[str, int] | None:
    """Name in the file, and the number of rows there if it is that of a part; None: not needed."""
    every = source if isinstance(source, tuple) else (source,)
    parts = [Part(one) if isinstance(one, str) else one for one in every]
    return None if parts[-1].name.endswith("?") else (parts[0].name, parts[0].of)
