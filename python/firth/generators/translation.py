"""Models that read one text and write another: an encoder, and a decoder that attends to it.

S = tokens of the text that is read, T = of the one that is written, D = width, V = tokens there
are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.generators import marian, t5
from firth.generators.sides import Side
from firth.transformer.architecture import pick
from firth.transformer.cached import Cache, extend, scores
from firth.transformer.config import Config
from firth.transformer.files import read_arrays, read_config
from firth.transformer.plan import Batch, Plan, Weights, check
from firth.transformer.stack import Stack
from firth.transformer.weights import Names, floats

_KNOWN = {pair.decoder.kinds[0]: pair for module in (t5, marian) for pair in module.PAIRS}
# What files have besides: the embeddings again, and what an old T5 had and never used.
_NEEDLESS = re.compile(
    r"^(model\.)?((en|de)coder\.embed_tokens|lm_head|shared|decoder\.block\.0\.layer\.1\."
    r"EncDecAttention\.relative_attention_bias)\.weight$"
)


@dataclass(repr=False)
class EncoderDecoder:
    """T5, Marian or BART.

    Attributes
    ----------
    encoder : Stack
    decoder : Stack
        With the output, in the type that the file has.
    factor : float
        Of the states before the output.
    bias : ndarray (V,) float32
        Of the logits.
    config : Config
        As the decoder reads it.
    """

    encoder: Stack
    decoder: Stack
    factor: float
    bias: NDArray[np.float32]
    config: Config

    def __repr__(self) -> str:
        return f"EncoderDecoder<{self.config.model_type}, {self.encoder!r}, {self.decoder!r}>"

    def encode(self, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The states (S, D) of each text that is read."""
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        ids = np.fromiter(itertools.chain.from_iterable(texts), np.int32, ends[-1])
        return np.split(self.encoder.run(Batch(ids, ends)).hidden, ends[1:-1])

    def cache(self, memory: NDArray[np.float32]) -> Cache:
        """For `extend`: a text that is not begun, and what it attends to (S, D)."""
        return Cache(self.decoder, half=False, memory=memory)

    def extend(
        self, texts: Sequence[Sequence[int]], caches: Sequence[Cache]
    ) -> NDArray[np.float32]:
        """What each new token says of the next one.

        Parameters
        ----------
        texts : sequence of sequences of int
            New tokens of each text that is written; it begins with the start.
        caches : sequence of Cache
            Of the same texts, all different; they have the new tokens afterwards.

        Returns
        -------
        ndarray (N, V) float32
            Of the tokens of all texts, one behind the other.
        """
        states = extend(self.decoder, texts, caches)
        return scores(self.decoder, np.float32(self.factor) * states) + self.bias


def load(folder: PathLike) -> EncoderDecoder:
    """An encoder-decoder from a folder with config.json and safetensors.

    Raises
    ------
    FormatError
        A file is malformed, holds a model that firth does not know, or another than its
        configuration says.
    FileNotFoundError
        A file is missing.
    """
    values, config_path = read_config(folder)
    kind = values.get("model_type")
    known = {name: pair.decoder for name, pair in _KNOWN.items()}
    pick(known, "the encoder-decoders", "config: model_type", kind, config_path)
    pair = _KNOWN[str(kind)]
    arrays, arrays_path = read_arrays(folder)
    names = Names(arrays, arrays_path, ("", *pair.decoder.prefixes))
    _, plan, weights = _side(pair.encoder, values, config_path, names)
    encoder = Stack(plan, weights)
    config, plan, weights = _side(pair.decoder, values, config_path, names)
    head, (rows, width) = pair.head(config), (config.vocab_size, config.hidden_size)
    output, bias = names.find(head.weight), np.zeros(rows, np.float32)
    names.check(output, (rows, width), head.weight)
    if head.bias and (found := names.find(f"{head.bias}?")) is not None:
        names.check(found, (1, rows), head.bias)
        bias = floats(found)[0]
    if rest := [name for name in names.unread() if not _NEEDLESS.search(name)]:
        raise FormatError(
            f"has {len(rest)} arrays that no {kind} has, such as {rest[0]!r}", arrays_path
        )
    if output is not weights.outside["tokens"]:
        weights = Weights({**weights.outside, "head.weight": output}, weights.layers)
    return EncoderDecoder(encoder, Stack(plan, weights, "stored"), head.factor, bias, config)


def _side(
    side: Side, values: Mapping[str, Any], path: PathLike, names: Names
) -> tuple[Config, Plan, Weights]:
    """A side: files name the numbers of both, and newer ones the encoder's once more."""
    own = {name: value for name, value in values.items() if name not in side.aliases}
    config = side.checked(own, path)
    plan, found = side.plan(config), side.weights(config, names)
    weights = Weights({**found.outside, **side.more(config, names)}, found.layers)
    try:
        check(plan, weights)
    except ValueError as error:
        raise FormatError(str(error), names.path) from None
    return config, plan, weights
