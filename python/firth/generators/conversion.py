"""The folder of a model as what a GGUF file of it holds, in the layout of llama.cpp's converter.

Nothing is read of a matrix before it is asked for. What a GGUF file cannot say of a configuration
is an error: the metadata are read again and must give the same plan.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import shortened
from firth.errors import FormatError
from firth.formats.files import PathLike
from firth.formats.gguf import Gguf
from firth.generators import architectures, gguf, vocabulary
from firth.generators.loading import Loaded, load
from firth.generators.rope import parameters
from firth.transformer.files import read_arrays, read_config
from firth.transformer.plan import Plan, Scaling
from firth.transformer.weights import Names, floats

_NAMES = {kind: name for name, kind in gguf.KINDS.items()} | {"mistral": "llama", "olmo3": "olmo2"}


def read(folder: PathLike) -> Gguf:
    """Metadata and arrays of a model's folder, which `firth.formats.gguf.write` takes.

    Raises
    ------
    FormatError
        A file is malformed, or holds what GGUF has no place for; the message names it.
    FileNotFoundError
        A file is missing.
    """
    loaded = load(folder)
    kind = loaded.config.model_type
    name = _NAMES[kind]
    metadata = _metadata(name, loaded)
    arrays = _arrays(name, loaded, folder)
    rope, factors = _scaling(name, loaded)
    metadata |= {f"{name}.{key}": value for key, value in rope.items()}
    arrays |= factors
    tokenizer = vocabulary.metadata(folder, loaded.config.vocab_size)
    file = Gguf(metadata | tokenizer, arrays, os.fspath(folder), {})
    _check(name, loaded, file)
    return file


def _metadata(name: str, loaded: Loaded) -> dict[str, Any]:
    plan, config = loaded.plan, loaded.config
    norm = "layer_norm_epsilon" if plan.norm == "layer" else "layer_norm_rms_epsilon"
    found: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "block_count": plan.layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": plan.width,
        "feed_forward_length": plan.hidden,
        "attention.head_count": plan.heads,
        f"attention.{norm}": plan.epsilon,
    }
    if plan.thetas:
        near, far = _near_and_far(plan)
        found |= {
            "attention.head_count_kv": plan.key_heads,
            "attention.key_length": plan.head_width,
            "attention.value_length": plan.head_width,
            "rope.dimension_count": plan.rotated,
            "rope.freq_base": plan.thetas[far],
        }
        if plan.thetas[near] != plan.thetas[far]:
            found["rope.freq_base_swa"] = plan.thetas[near]
    windows = {window + 1 for window in plan.windows} - {0}
    if windows:
        found["attention.sliding_window"] = windows.pop()
        if name == "olmo2":
            found["attention.sliding_window_pattern"] = np.array(plan.windows) >= 0
    if plan.softcap:
        found["attn_logit_softcapping"] = plan.softcap
    if loaded.softcap:
        found["final_logit_softcapping"] = loaded.softcap
    general = {"general.architecture": name, "general.type": "model"}
    return general | {f"{name}.{key}": _number(value) for key, value in found.items()}


def _number(value: Any) -> Any:
    return np.float32(value).item() if isinstance(value, float) else value


def _near_and_far(plan: Plan) -> tuple[int, int]:
    """A layer with a window and one without; where there is one kind only, twice the first."""
    near = [i for i, window in enumerate(plan.windows) if window >= 0]
    far = [i for i in range(plan.layers) if i not in near]
    return (near or far)[0], (far or near)[0]


def _scaling(name: str, loaded: Loaded) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and arrays of rotary positions that are scaled."""
    plan, config = loaded.plan, loaded.config
    scaling = plan.scaling[_near_and_far(plan)[1]] if plan.scaling else None
    if scaling is None:
        return {}, {}
    _, said = parameters(config, "full_attention")
    kind = said.get("rope_type", said.get("type"))
    divisors = np.array(scaling.divisors, np.float32)
    if kind == "linear":
        return {"rope.scaling.type": kind, "rope.scaling.factor": float(divisors[0])}, {}
    if kind == "llama3":
        return {}, {gguf.FACTORS[0]: divisors}
    longest = config.max_position_embeddings
    trained = config.get("original_max_position_embeddings") or said.get(
        "original_max_position_embeddings", longest
    )
    found: dict[str, Any] = {"rope.scaling.original_context_length": int(trained)}
    if kind == "yarn":
        factor = float(said.get("factor", longest / trained))
        found |= {"rope.scaling.type": kind, "rope.scaling.factor": factor}
        for ours, theirs in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
            if said.get(ours) is not None:
                found[f"rope.scaling.{theirs}"] = float(said[ours])
        if not math.isclose(scaling.factor, 0.1 * math.log(max(factor, 1)) + 1):
            found["rope.scaling.yarn_attn_factor"] = scaling.factor
        return found, {}
    found["rope.scaling.attn_factor"] = scaling.factor
    long = np.array(scaling.long or scaling.divisors, np.float32)
    return found, dict(zip(gguf.FACTORS[1:], (divisors, long), strict=True))


def _arrays(name: str, loaded: Loaded, folder: PathLike) -> dict[str, Any]:
    plan = loaded.plan
    architecture, config = architectures.find(*read_config(folder))
    names = Names(*read_arrays(folder), ("", *architecture.prefixes))
    table = architecture.outside(config)
    sources = {str(one): table[ours] for ours, one in gguf.outside(table).items()}
    for i, layer in enumerate(architecture.layers(config)):
        sources |= gguf.sources(layer, i)
    arrays = {one: names.find(source) for one, source in sources.items()}
    if loaded.output is not None:
        arrays[gguf.OUTPUT] = loaded.output
    for one, array in arrays.items():
        if name in gguf.NEIGHBOURS and (".attn_q." in one or ".attn_k." in one):
            order = _neighbours(plan, plan.heads if ".attn_q." in one else plan.key_heads)
            arrays[one] = Rows(array, order) if array.ndim == 2 else array[order]
    return {one: floats(array) if array.ndim == 1 else array for one, array in arrays.items()}


def _neighbours(plan: Plan, heads: int) -> NDArray[np.int64]:
    """The order of rows in which the two of a rotary pair are neighbours."""
    head = np.arange(plan.head_width)
    head[: plan.rotated] = head[: plan.rotated].reshape(2, -1).T.ravel()
    return (np.arange(heads)[:, None] * plan.head_width + head).ravel()


class Rows:
    """The rows of a matrix in another order, which are read when they are asked for."""

    def __init__(self, matrix: NDArray[Any], order: NDArray[np.int64]) -> None:
        self.shape, self.ndim, self.dtype = matrix.shape, matrix.ndim, matrix.dtype
        self._matrix, self._order = matrix, order

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return self._matrix[self._order[rows]]


def _check(name: str, loaded: Loaded, file: Gguf) -> None:
    """FormatError where the file would be read as another model."""
    architecture, config = architectures.find_gguf(file)
    plan = architecture.plan(config)
    fields = {one.name for one in dataclasses.fields(Plan)} - {"interleaved", "positions"}
    pairs = {one: (getattr(loaded.plan, one), getattr(plan, one)) for one in sorted(fields)}
    pairs["final_logit_softcapping"] = loaded.softcap, config.get("final_logit_softcapping") or 0.0
    for field, (wanted, got) in pairs.items():
        if not _same(wanted, got):
            raise FormatError(
                f"config: GGUF files of {name} cannot say that {field} is {shortened(wanted)}: it "
                f"would be read as {shortened(got)}",
                loaded.config.path,
            )


def _same(a: Any, b: Any) -> bool:
    """Equal but for what float32 rounds."""
    if isinstance(a, Scaling) and isinstance(b, Scaling):
        a, b = dataclasses.astuple(a), dataclasses.astuple(b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6)
    return bool(a == b)
