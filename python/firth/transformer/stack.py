"""A stack of transformer layers that runs: weights packed for the ISA level in use."""

from __future__ import annotations

import functools
import math
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.formats.blocks import BlockArray, block_type, quantize
from firth.formats.files import forget_pages
from firth.kernels._dispatch import active, active_level
from firth.transformer import angles, reference
from firth.transformer.plan import Arrays, Batch, Plan, Result, Weights, check
from firth.transformer.weights import floats

Precision = Literal["float32", "bfloat16", "int8", "stored", "stored_int8"]
PRECISIONS = get_args(Precision)
_APART = 4  # inputs of a product that int8 leaves in float32; see benchmarks/NOTES.md
_LOOKED_AT = 128  # tokens of the text that shows them
POOLINGS = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


class Stack:
    """The layers of a model.

    Parameters
    ----------
    plan : Plan
    weights : Weights
        Kept; float16, bfloat16 and blocks are widened, but where they are stored.
    precision : {"float32", "bfloat16", "int8", "stored", "stored_int8"}
        Of the operands of products with weights. bfloat16 rounds both to 8 bits of mantissa, sums
        are float32. int8 has a scale and an offset for each row of weights and for each token, and
        exact sums; the few inputs of each product that are the largest stay in float32. stored
        takes each matrix in the type that it has: blocks of codes (`firth.formats.blocks`) meet
        inputs of 14 bits with a scale for each 32 of them, floats meet float32. stored_int8 is the
        same with inputs of 8 bits, and floats cut to Q8_0. All else is float32.

    Attributes
    ----------
    apart : list of lists
        Of int8, once it has run: for each layer the inputs that stay in float32, of the products
        with query, key and value, with out, with gate and up, and with down.
    half_caches : bool
        Whether keys and values of generators are kept in float16: where products are not of
        floats, and keys have no bias (that of Qwen2 is above 100 in places).

    Raises
    ------
    ValueError
        A weight is missing, unknown or of a shape that the plan does not say.
    """

    def __init__(self, plan: Plan, weights: Weights, precision: Precision = "float32") -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"Stack: precision must be one of {PRECISIONS}, got {precision!r}")
        check(plan, weights)
        single: dict[int, dict[str, NDArray[Any]]] = {}  # shared layers stay one object
        stored = precision.startswith("stored")
        bytes_alone = precision == "stored_int8"
        prepare = functools.partial(_stored, bytes_alone=bytes_alone) if stored else _floats
        for layer in weights.layers:
            single.setdefault(id(layer), prepare(layer))
        self.plan = plan
        self.precision = precision
        self._outside = prepare(weights.outside)
        self._layers = [single[id(layer)] for layer in weights.layers]
        self.weights = weights if stored else Weights(self._outside, list[Arrays](self._layers))
        self.apart: list[list[list[int]]] = []
        every = [weights.outside, *weights.layers]
        self.half_caches = not any("attention.key.bias" in arrays for arrays in every) and (
            precision not in ("float32", "stored")
            or any(isinstance(array, BlockArray) for arrays in every for array in arrays.values())
        )
        self._native: dict[str, _native.transformer.Stack] = {}

    def __repr__(self) -> str:
        return f"Stack<{self.plan.layers} layers of {self.plan.width}, {self.precision}>"

    @property
    def native(self) -> _native.transformer.Stack:
        """The stack of the active level; packed when first asked for."""
        level = active_level()
        if level.name not in self._native:
            tables: dict[Any, tuple[NDArray[Any], NDArray[Any]]] = {}  # layers that share one
            keys = list(zip(self.plan.thetas, self.plan.scaling or self.plan.thetas, strict=True))
            rows = np.arange(angles.count(self.plan))
            for i, key in enumerate(keys):
                if key not in tables:
                    cosines, sines = angles.table(self.plan, i, rows)
                    tables[key] = cosines.astype(np.float32), sines.astype(np.float32)
            turns = [tables[key] for key in keys]

            def packed(precision: Precision) -> _native.transformer.Stack:
                return _native.transformer.Stack(
                    level,
                    self.plan,
                    self._outside,
                    self._layers,
                    turns,
                    precision,
                    self.apart,
                    _release,
                )

            if self.precision == "int8" and not self.apart:
                self.apart = self._apart(packed("float32"))
            self._native[level.name] = packed(self.precision)
        return self._native[level.name]

    def _apart(self, stack: _native.transformer.Stack) -> list[list[list[int]]]:
        """The inputs of each layer's products that int8 leaves in float32: the largest ones.

        Trained models have a few inputs that are far larger than the others, in every text. So any
        text shows them, also one of random tokens.
        """
        most = min(_LOOKED_AT, self.most_tokens or _LOOKED_AT)
        tokens = len(self.weights.outside["tokens"])
        ids = np.random.default_rng(0).integers(0, tokens, most).astype(np.int32)
        found = stack.greatest_inputs(ids)
        for layer in self.weights.layers:  # those that share weights share the inputs
            same = [i for i, other in enumerate(self.weights.layers) if other is layer]
            found[same] = found[same].max(axis=0)
        width, queries = self.plan.width, self.plan.heads * self.plan.head_width
        parts = np.split(found, np.cumsum([width, queries, width]), axis=1)
        return [
            [np.sort(np.argsort(-part[i], kind="stable")[:_APART]).tolist() for part in parts]
            for i in range(self.plan.layers)
        ]

    @functools.cached_property
    def multiplications(self) -> int:
        """How many a token takes in its products with weights."""
        return sum(
            math.prod(array.shape)
            for layer in self.weights.layers
            for array in layer.values()
            if array.ndim == 2
        )

    @property
    def most_tokens(self) -> int | None:
        """How many tokens a text may have, or None."""
        table = self.weights.outside.get("positions")
        if table is not None:
            return len(table) - self.plan.position_offset
        return self.plan.positions or None

    def run(self, batch: Batch, *, states: bool = False, attentions: bool = False) -> Result:
        """All tokens of a batch through all layers.

        A text's result has the same bits in any batch and on any number of threads.

        Raises
        ------
        ValueError
            Ids, types or positions that the tables do not have, a text that is too long, or a
            memory without cross-attention or of another width.
        """
        if active() == "numpy":
            found = reference.run(self.plan, self.weights, batch)
            return Result(
                found.hidden,
                found.states if states else None,
                found.attentions if attentions else None,
            )
        hidden, all_states, flat, _ = self._run(batch, True, states, attentions, "")
        return Result(
            hidden,
            list(all_states) if states else None,
            self._squares(batch, flat) if attentions else None,
        )

    def pool(self, batch: Batch, pooling: str) -> NDArray[np.float32]:
        """One vector a text, (B, D): ``pooling`` of those of its tokens that are seen.

        cls takes the first, lasttoken the last; mean_sqrt_len_tokens is the sum over the square
        root of the number, weightedmean has weights of 1, 2, ... A text without tokens gives zeros.
        """
        if active() == "numpy":
            return pooled(batch, reference.run(self.plan, self.weights, batch).hidden, pooling)
        found: NDArray[np.float32] = self._run(batch, False, False, False, pooling)[3]
        return found

    def _run(
        self, batch: Batch, hidden: bool, states: bool, attentions: bool, pooling: str
    ) -> tuple[NDArray[np.float32], ...]:
        batch = angles.with_rows(self.plan, batch)
        return self.native.run(
            batch.ids,
            batch.offsets,
            types=batch.types,
            positions=batch.positions,
            seen=batch.seen,
            masks=batch.mask,
            memory=batch.memory,
            memory_offsets=batch.memory_offsets,
            memory_seen=batch.memory_seen,
            hidden=hidden,
            states=states,
            attentions=attentions,
            pooling=pooling,
        )

    def _squares(self, batch: Batch, flat: NDArray[np.float32]) -> list[list[NDArray[np.float32]]]:
        heads, counts = self.plan.heads, np.diff(batch.offsets)
        ends = np.concatenate([[0], np.cumsum(heads * counts**2)])
        return [
            [
                row[a:b].reshape(heads, n, n)
                for (a, b), n in zip(pairwise(ends), counts, strict=True)
            ]
            for row in flat
        ]


STORED = (
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
)  # fmt: skip
"""Types of blocks that native code multiplies as they are."""
_FLOATS = {"float32": 0, "float16": 1, "bfloat16": 30}  # their numbers in GGUF


def _stored(arrays: Arrays, bytes_alone: bool) -> dict[str, Any]:
    """Matrices of weights as (type, rows of bytes, columns), the others as float32.

    With ``bytes_alone`` those of floats are cut to Q8_0, where their rows are whole blocks.
    """
    found: dict[str, Any] = {}
    q8_0 = block_type("Q8_0")
    for name, array in arrays.items():
        if not (name in _MATRICES or name.endswith(".weight")):
            found[name] = np.ascontiguousarray(array, np.float32)
        elif isinstance(array, BlockArray):
            found[name] = (array.type.number, array.data, array.shape[1])
        elif bytes_alone and array.shape[1] % q8_0.block == 0:
            found[name] = (q8_0.number, quantize(floats(array), q8_0), array.shape[1])
        else:
            number = _FLOATS.get(array.dtype.name)
            rows = np.ascontiguousarray(array, None if number is not None else np.float32)
            found[name] = (number or 0, rows.view(np.uint8), array.shape[1])
    return found


_MATRICES = ("tokens",)


def _release(arrays: Arrays) -> None:
    """Pages of files whose content has been packed: they need not stay in this process's memory."""
    for array in arrays.values():
        forget_pages(array[1] if isinstance(array, tuple) else array)


def _floats(arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {name: floats(array) for name, array in arrays.items()}


def pooled(batch: Batch, hidden: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """`Stack.pool` in NumPy, from the tokens' vectors (N, D)."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}")
    out = np.zeros((len(batch), hidden.shape[1]), np.float32)
    seen = np.ones(len(hidden), bool) if batch.seen is None else batch.seen
    for b, (begin, end) in enumerate(pairwise(batch.offsets)):
        places = np.flatnonzero(seen[begin:end])
        rows = hidden[begin:end][places].astype(np.float64)
        if not len(rows):
            continue
        if pooling == "cls":
            out[b] = rows[0]
        elif pooling == "lasttoken":
            out[b] = rows[-1]
        elif pooling == "max":
            out[b] = rows.max(0)
        elif pooling == "weightedmean":
            out[b] = (places + 1) @ rows / (places + 1).sum()
        else:
            out[b] = rows.sum(0) / (len(rows) if pooling == "mean" else len(rows) ** 0.5)
    return out
