"""Models that read one text and write another: an encoder, and a decoder that attends to it.

S = tokens of the text that is read, T = of the one that is written, D = width, V = tokens there
are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import Whole, check_whole
from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.generators import marian, t5
from firth.generators.sides import Side
from firth.kernels.matmul import matmul
from firth.transformer.architecture import pick
from firth.transformer.config import Config
from firth.transformer.files import read_arrays, read_config
from firth.transformer.plan import Batch, Weights, check
from firth.transformer.stack import Stack
from firth.transformer.weights import Names, floats
from firth.transformer.where import folder_of

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
    encoder, decoder : Stack
    output : array (V, D)
        What makes logits of states.
    factor : float
        Of the states before.
    bias : ndarray (V,) float32
        Of the logits.
    config : Config
        As the decoder reads it.
    """

    encoder: Stack
    decoder: Stack
    output: Any
    factor: float
    bias: NDArray[np.float32]
    config: Config

    def __repr__(self) -> str:
        return f"EncoderDecoder<{self.config.model_type}, {self.encoder!r}, {self.decoder!r}>"

    def encode(self, ids: Any) -> NDArray[np.float32]:
        """The states (S, D) of a text that is read."""
        return self.encoder.run(_batch(ids)).hidden

    def logits(self, ids: Any, memory: NDArray[np.float32]) -> NDArray[np.float32]:
        """What each token of the text that is written says of the next one.

        Parameters
        ----------
        ids : array_like of int, shape (T,)
            What is written so far; it begins with ``config.decoder_start_token_id``.
        memory : ndarray (S, D) float32
            `encode` of the text that is read.

        Returns
        -------
        ndarray (T, V) float32
        """
        hidden = self.decoder.run(_batch(ids, memory)).hidden
        logits = matmul(np.float32(self.factor) * hidden, floats(self.output).T)
        return logits + self.bias

    def greedy(self, ids: Any, max_new_tokens: int) -> list[int]:
        """The likeliest token, one after the other, until the end of the text.

        Parameters
        ----------
        ids : array_like of int, shape (S,)
        max_new_tokens : int

        Returns
        -------
        list of int
            Without the start, with the token that ends a text if there was one.
        """
        check_whole("greedy: max_new_tokens", max_new_tokens)
        ends = self.config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        memory, written = self.encode(ids), [self.config.decoder_start_token_id]
        for _ in range(max_new_tokens):
            written.append(int(self.logits(written, memory)[-1].argmax()))
            if written[-1] in ends:
                break
        return written[1:]


def _batch(ids: Any, memory: NDArray[np.float32] | None = None) -> Batch:
    """A text alone, and what it attends to."""
    ids = np.asarray(ids, np.int32)
    offsets = np.array([0, len(ids)], np.int64)
    if memory is None:
        return Batch(ids, offsets)
    return Batch(ids, offsets, memory=memory, memory_offsets=np.array([0, len(memory)], np.int64))


def load(path: PathLike) -> EncoderDecoder:
    """An encoder-decoder from a folder with config.json and safetensors.

    Parameters
    ----------
    path : path-like
        As `firth.transformer.where.folder_of`.

    Raises
    ------
    FormatError
        A file is malformed, holds a model that firth does not know, or another than its
        configuration says.
    FileNotFoundError
        A file is missing.
    """
    folder = folder_of(path)
    values, config_path = read_config(folder)
    kind = values.get("model_type")
    known = {name: pair.decoder for name, pair in _KNOWN.items()}
    pick(known, "the encoder-decoders", "config: model_type", kind, config_path)
    pair = _KNOWN[str(kind)]
    arrays, arrays_path = read_arrays(folder)
    names = Names(arrays, arrays_path, ("", *pair.decoder.prefixes))
    _, encoder = _stack(pair.encoder, values, config_path, names)
    config, decoder = _stack(pair.decoder, values, config_path, names)
    head, (rows, width) = pair.head(config), (config.vocab_size, config.hidden_size)
    output, bias = names.find(head.weight), np.zeros(rows, np.float32)
    names.check(output, (rows, width), head.weight)
    if head.bias and (found := names.find(f"{head.bias}?")) is not None:
        names.check(found, (1, rows), head.bias)
        bias = floats(found)[0]
    config.number(config.to_dict(), "decoder_start_token_id", Whole(0, rows - 1), None)
    if rest := [name for name in names.unread() if not _NEEDLESS.search(name)]:
        raise FormatError(
            f"has {len(rest)} arrays that no {kind} has, such as {rest[0]!r}", arrays_path
        )
    return EncoderDecoder(encoder, decoder, output, head.factor, bias, config)


def _stack(
    side: Side, values: Mapping[str, Any], path: PathLike, names: Names
) -> tuple[Config, Stack]:
    """A side: files name the numbers of both, and newer ones the encoder's once more."""
    own = {name: value for name, value in values.items() if name not in side.aliases}
    config = side.checked(own, path)
    plan, found = side.plan(config), side.weights(config, names)
    weights = Weights({**found.outside, **side.more(config, names)}, found.layers)
    try:
        check(plan, weights)
    except ValueError as error:
        raise FormatError(str(error), names.path) from None
    return config, Stack(plan, weights)
