"""Generators from the files they come in: what a model consists of, mapped and not widened.

S = tokens of a text, D = width, V = tokens there are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats import gguf
from firth.formats.files import PathLike
from firth.generators import architectures
from firth.generators import gguf as names_in_gguf
from firth.kernels.matmul import matmul
from firth.transformer.architecture import read_weights
from firth.transformer.config import Config
from firth.transformer.files import read_arrays, read_config
from firth.transformer.plan import Batch, Plan, Weights, check
from firth.transformer.stack import Stack
from firth.transformer.weights import Names, floats
from firth.transformer.where import place_of

# What files have besides, and no model reads: tables that are computed, masks, pictures.
_NEEDLESS = re.compile(
    r"(rotary_emb\.inv_freq|\.attn\.(masked_)?bias)$|^(model\.)?(vision_tower|multi_modal_projector)\."
)


@dataclass(repr=False)
class Loaded:
    """A generator out of a file.

    Attributes
    ----------
    plan : Plan
    weights : Weights
        As they are in the file: arrays of NumPy, or `firth.formats.blocks.BlockArray`.
    output : array (V, D) or BlockArray, or None
        What makes logits of states; None: the embeddings of the tokens.
    softcap : float
        c of c tanh(logit / c), which the logits become. 0: they stay.
    config : Config
    path : str
        The file that names the arrays.
    metadata : dict, or None
        Of a GGUF file.
    """

    plan: Plan
    weights: Weights
    output: Any
    softcap: float
    config: Config
    path: str
    metadata: dict[str, Any] | None = None

    def __repr__(self) -> str:
        plan = self.plan
        return f"Loaded<{self.config.model_type}, {plan.layers} layers of {plan.width}>"

    @cached_property
    def stack(self) -> Stack:
        """The layers, in float32."""
        return Stack(self.plan, self.weights)

    def logits(self, ids: Any) -> NDArray[np.float32]:
        """What each token of a text says of the next one.

        Parameters
        ----------
        ids : array_like of int, shape (S,)

        Returns
        -------
        ndarray (S, V) float32

        Raises
        ------
        ValueError
            An id that is no token, or more tokens than there are positions.
        """
        ids = np.asarray(ids, np.int32)
        hidden = self.stack.run(Batch(ids, np.array([0, len(ids)], np.int64))).hidden
        table = self.weights.outside["tokens"] if self.output is None else self.output
        logits: NDArray[np.float32] = matmul(hidden, floats(table).T)
        return self.softcap * np.tanh(logits / self.softcap) if self.softcap else logits


def load(path: PathLike) -> Loaded:
    """A generator: its plan, its weights as they are in the file, its configuration.

    Parameters
    ----------
    path : path-like
        A GGUF file, any of a split model; a folder with config.json and safetensors, as
        transformers writes it, or with one GGUF model; an installed package or a name on the
        Hugging Face hub that has such a folder.

    Raises
    ------
    FormatError
        A file is malformed, holds a model that firth does not know, or another than its
        configuration says; the message names file and field.
    FileNotFoundError
        A file is missing.
    """
    place = place_of(path)
    return _from_gguf(place) if os.path.isfile(place) else _from_folder(place)


def _from_folder(path: str) -> Loaded:
    values, config_path = read_config(path)
    architecture, config = architectures.find(values, config_path)
    arrays, arrays_path = read_arrays(path)
    names = Names(arrays, arrays_path, ("", *architecture.prefixes))
    weights = architecture.weights(config, names)
    head = "lm_head.weight"
    if not names.has(head) and names.has(other := f"language_model.{head}"):
        head = other
    output = None if config.tie_word_embeddings else names.find(head)
    needless = {head} if config.tie_word_embeddings else set()
    return _loaded(architecture.plan(config), weights, output, head, config, names, needless)


def _from_gguf(path: str) -> Loaded:
    file = gguf.read(path)
    architecture, config = architectures.find_gguf(file)
    plan = architecture.plan(config)
    names = Names(file.arrays, path)
    layers = [
        names_in_gguf.layer(table, i, plan) for i, table in enumerate(architecture.layers(config))
    ]
    outside = names_in_gguf.outside(architecture.outside(config))
    weights = read_weights(plan, outside, layers, config, names)
    head = names_in_gguf.OUTPUT
    output = None if config.tie_word_embeddings else names.find(head)
    needless = set(names_in_gguf.FACTORS)
    return _loaded(plan, weights, output, head, config, names, needless, file.metadata)


def _loaded(
    plan: Plan,
    weights: Weights,
    output: Any,
    head: str,
    config: Config,
    names: Names,
    needless: set[str],
    metadata: Mapping[str, Any] | None = None,
) -> Loaded:
    """Check what was found, and that nothing is left over."""
    try:
        check(plan, weights)
    except ValueError as error:
        raise FormatError(str(error), names.path) from None
    if output is not None:
        names.check(output, (config.vocab_size, plan.width), head)
    rest = [n for n in names.unread() if n not in needless and not _NEEDLESS.search(n)]
    if rest:
        raise FormatError(
            f"has {len(rest)} arrays that no {config.model_type} has, such as {rest[0]!r}",
            names.path,
        )
    return Loaded(
        plan,
        weights,
        output,
        config.get("final_logit_softcapping") or 0.0,
        config,
        os.fspath(names.path),
        None if metadata is None else dict(metadata),
    )
