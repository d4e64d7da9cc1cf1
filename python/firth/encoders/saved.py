"""A folder of sentence-transformers: its files read into a `Content`, and written from one.

============================== ===================================================================
modules.json                   what comes one after the other, and the folder of each
config_sentence_transformers   prompts, the similarity
sentence_bert_config.json      beside the transformer: max_seq_length, do_lower_case
1_Pooling/config.json, ...     of the other modules, with their model.safetensors
============================== ===================================================================

Without ``modules.json`` it is a transformer alone, and the mean of its tokens' vectors is taken.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from dataclasses import dataclass
from typing import Any

from firth.encoders import modules
from firth.encoders.modules import Module, Pooling
from firth.errors import FormatError
from firth.formats import safetensors
from firth.formats.files import PathLike, atomic
from firth.transformer.files import read_json

_MODULES, _SETTINGS = "modules.json", "config_sentence_transformers.json"
_KIND = "sentence_transformers.models."
# The older the model, the more is in the name.
_LIMITS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# What belongs to a transformer and its tokenizer.
_PARTS: tuple[str, ...] = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "*token*.json",
)
_PARTS += ("vocab.*", "merges.txt", "*.model", "added_tokens.json")


@dataclass
class Content:
    """What a folder says.

    Attributes
    ----------
    transformer : str
        The folder of the transformer and its tokenizer.
    limits : dict
        Of sentence_bert_config.json.
    settings : dict and str
        Of config_sentence_transformers.json, and its path.
    """

    transformer: str
    limits: dict[str, Any]
    settings: tuple[dict[str, Any], str]
    parts: list[tuple[str, str]]  # kind and folder of what follows the transformer

    def read_modules(self, width: int) -> tuple[Pooling, list[Module]]:
        """The pooling and what follows it, for a transformer of that width."""
        if not self.parts:
            return Pooling(width), []
        (kind, folder), *rest = self.parts
        if kind != "Pooling":
            raise FormatError(
                f"{_MODULES}: a Pooling must follow the transformer, got {kind}", folder
            )
        pooling = Pooling.read(_config(folder), folder, width)
        following, width = list[Module](), pooling.width
        for kind, folder in rest:
            following.append(modules.read(kind, _config(folder), folder, width))
            width = following[-1].width
        return pooling, following


def _config(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, "config.json")
    return read_json(path) if os.path.exists(path) else {}


def read(folder: str) -> Content:
    """What a folder says.

    Raises
    ------
    FormatError
        A file is malformed, or names what firth does not have.
    """
    path = os.path.join(folder, _SETTINGS)
    settings = read_json(path) if os.path.exists(path) else {}, path
    parts = _parts(folder)
    transformer = parts[0][1] if parts else folder
    for name in _LIMITS:
        if os.path.exists(path := os.path.join(transformer, name)):
            return Content(transformer, _checked(read_json(path), path), settings, parts[1:])
    return Content(transformer, {}, settings, parts[1:])


def _checked(limits: dict[str, Any], path: str) -> dict[str, Any]:
    most = limits.get("max_seq_length")
    if most is not None and (type(most) is not int or most < 1):
        raise FormatError(f"max_seq_length must be a number from 1, got {most!r}", path)
    return limits


def _parts(folder: str) -> list[tuple[str, str]]:
    """Kind and folder of every module; none where there is no modules.json."""
    path = os.path.join(folder, _MODULES)
    if not os.path.exists(path):
        return []
    if os.path.getsize(path) > 1_000_000:
        raise FormatError("is too large for a list of modules", path)
    try:
        with open(path, "rb") as file:
            entries = json.load(file)
        parts = [(str(one["type"]).rpartition(".")[2], str(one["path"])) for one in entries]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(f"malformed list of modules: {error}", path) from None
    if not parts or parts[0][0] != "Transformer":
        hint = ": firth.StaticModel reads it" if parts and parts[0][0] == "StaticEmbedding" else ""
        raise FormatError(
            f"begins with {parts[0][0] if parts else 'nothing'}, wanted a Transformer{hint}", path
        )
    for _, name in parts:
        # A name only: a path could lead out of the folder.
        if os.path.basename(name) != name or name == "..":
            raise FormatError(f"{name!r} is not the name of a folder", path)
    return [(kind, os.path.join(folder, name) if name else folder) for kind, name in parts]


def write(
    path: PathLike,
    content: Content,
    pooling: Pooling,
    following: list[Module],
    settings: dict[str, Any],
    limits: dict[str, Any],
) -> None:
    """Write a folder; the transformer's own files are copied."""
    root = os.fspath(path)
    os.makedirs(root, exist_ok=True)
    for pattern in _PARTS:
        for source in glob.glob(os.path.join(glob.escape(content.transformer), pattern)):
            target = os.path.join(root, os.path.basename(source))
            if not (os.path.exists(target) and os.path.samefile(source, target)):
                with open(source, "rb") as file, atomic(target) as copy:
                    shutil.copyfileobj(file, copy, 1 << 20)
    entries: list[dict[str, Any]] = [
        {"idx": 0, "name": "0", "path": "", "type": _KIND + "Transformer"}
    ]
    behind: list[Pooling | Module] = [pooling, *following]
    for i, module in enumerate(behind, 1):
        name = f"{i}_{module.kind}"
        entries.append({"idx": i, "name": str(i), "path": name, "type": _KIND + module.kind})
        folder = os.path.join(root, name)
        os.makedirs(folder, exist_ok=True)
        if module.config:
            _write(os.path.join(folder, "config.json"), module.config)
        if isinstance(module, Module) and module.arrays:
            safetensors.write(os.path.join(folder, "model.safetensors"), module.arrays)
    _write(os.path.join(root, _LIMITS[0]), limits)
    _write(os.path.join(root, _SETTINGS), settings)
    _write(os.path.join(root, _MODULES), entries)  # last: with it the folder is whole


def _write(path: str, values: Any) -> None:
    with atomic(path) as file:
        file.write(json.dumps(values, indent=2, ensure_ascii=False).encode())
