"""Folders of static embeddings, as model2vec and sentence-transformers write them.

======================================================================= =====================
files                                                                   the table's name
======================================================================= =====================
config.json, model.safetensors, tokenizer.json                          embeddings
config_sentence_transformers.json, model.safetensors, tokenizer.json    embedding.weight
config_sentence_transformers.json, 0_StaticEmbedding/{model.safetensors,
tokenizer.json}                                                         embedding.weight
======================================================================= =====================

A table with another name than its layout prescribes is read too. ``weights`` (one per token) and
``mapping`` (token to row of the table) are optional.
"""

from __future__ import annotations

import json
import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats import safetensors
from firth.formats.files import PathLike, atomic
from firth.tokenizers import Tokenizer

_LAYOUTS = (
    ("config.json", "model.safetensors", "tokenizer.json"),
    ("config_sentence_transformers.json", "model.safetensors", "tokenizer.json"),
    (
        "config_sentence_transformers.json",
        "0_StaticEmbedding/model.safetensors",
        "0_StaticEmbedding/tokenizer.json",
    ),
)
FILES = sorted({name for layout in _LAYOUTS for name in layout})
"""All names that a folder may have, to be asked for on a hub."""


@dataclass(frozen=True)
class Content:
    """What `read` returns; T = tokens, V = rows, D = dimensions."""

    embeddings: NDArray[Any]  # (V, D)
    tokenizer: Tokenizer
    config: dict[str, Any]
    weights: NDArray[Any] | None  # (T,)
    mapping: NDArray[Any] | None  # (T,), rows of the table


def read(folder: PathLike) -> Content:
    """Read a folder.

    Raises
    ------
    FormatError
        The folder lacks a file, or one of them is malformed or does not fit the others.
    """
    root = pathlib.Path(folder)
    for layout in _LAYOUTS:
        config_path, table_path, tokenizer_path = (root / name for name in layout)
        if config_path.exists() and table_path.exists() and tokenizer_path.exists():
            break
    else:
        raise FormatError("has no model2vec or sentence-transformers static model", folder)
    try:
        config = json.loads(config_path.read_bytes())
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise FormatError(f"malformed JSON: {error}", config_path) from None
    arrays = safetensors.read(table_path)
    tokenizer = Tokenizer.from_file(tokenizer_path)
    embeddings = arrays.get("embeddings", arrays.get("embedding.weight"))
    if embeddings is None or embeddings.ndim != 2:
        raise FormatError("holds no matrix 'embeddings' or 'embedding.weight'", table_path)
    weights, mapping = arrays.get("weights"), arrays.get("mapping")
    tokens = len(tokenizer.tokens)
    for name, array, kinds in (("weights", weights, "f"), ("mapping", mapping, "iu")):
        if array is not None and (array.shape != (tokens,) or array.dtype.kind not in kinds):
            raise FormatError(
                f"{name!r} is {array.dtype} of shape {array.shape}, wanted one for each of "
                f"{tokens} tokens",
                table_path,
            )
    if mapping is None and len(embeddings) != tokens:
        raise FormatError(f"has {len(embeddings)} rows for {tokens} tokens", table_path)
    if mapping is not None and not 0 <= mapping.min() <= mapping.max() < len(embeddings):
        raise FormatError(f"'mapping' points behind the {len(embeddings)} rows", table_path)
    return Content(embeddings, tokenizer, config, weights, mapping)


def write(folder: PathLike, content: Content) -> None:
    """Write a folder in model2vec's layout, which sentence-transformers reads too."""
    root = pathlib.Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    arrays = {"embeddings": content.embeddings}
    if content.weights is not None:
        arrays["weights"] = content.weights
    if content.mapping is not None:
        arrays["mapping"] = content.mapping
    config = {**content.config, "embedding_dtype": np.dtype(content.embeddings.dtype).name}
    config.pop("vocabulary_quantization", None)
    if content.mapping is not None:
        config["vocabulary_quantization"] = len(content.embeddings)
    kind = "sentence_transformers.models"
    modules = [{"idx": 0, "name": "0", "path": ".", "type": f"{kind}.StaticEmbedding"}]
    if config.get("normalize"):
        modules.append({"idx": 1, "name": "1", "path": "1_Normalize", "type": f"{kind}.Normalize"})
    safetensors.write(root / "model.safetensors", arrays)
    for name, text in (
        ("tokenizer.json", content.tokenizer.json),
        ("config.json", json.dumps(config, indent=4)),
        ("modules.json", json.dumps(modules, indent=4)),
    ):
        with atomic(root / name) as file:
            file.write(text.encode())
