"""The folder of a model: ``config.json`` and safetensors, as transformers writes them."""

from __future__ import annotations

import json
import os
from typing import Any

from numpy.typing import NDArray

from firth.errors import FormatError
from firth.formats import safetensors
from firth.formats.files import PathLike

_CONFIG, _WHOLE, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "pytorch_model.pt")


def read_config(folder: PathLike) -> tuple[dict[str, Any], str]:
    """The content of ``config.json``, and its path."""
    path = os.path.join(folder, _CONFIG)
    if not os.path.exists(path):
        raise FileNotFoundError(f"from_pretrained: {os.fspath(folder)} has no {_CONFIG}")
    return read_json(path), path


def read_arrays(folder: PathLike) -> tuple[dict[str, NDArray[Any]], str]:
    """All arrays of a model, mapped; and the path of the file that names them.

    Raises
    ------
    FileNotFoundError
        No weights, or a part of them is missing.
    FormatError
        Weights in a pickle only, or a malformed file.
    """
    whole, index = os.path.join(folder, _WHOLE), os.path.join(folder, _INDEX)
    if os.path.exists(whole):
        return safetensors.mapped(whole), whole
    if os.path.exists(index):
        return _read_parts(folder, index), index
    for name in _PICKLES:
        if os.path.exists(path := os.path.join(folder, name)):
            raise FormatError(
                "is a pickle, which can run any code when it is read. Where you trust it, convert "
                "it with PyTorch: transformers.AutoModel.from_pretrained(folder)"
                ".save_pretrained(folder)",
                path,
            )
    raise FileNotFoundError(
        f"from_pretrained: {os.fspath(folder)} has neither {_WHOLE} nor {_INDEX}"
    )


def _read_parts(folder: PathLike, index: str) -> dict[str, NDArray[Any]]:
    """Arrays that are spread over several files."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise FormatError("has no object 'weight_map'", index)
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    arrays = {}
    for name, file in places.items():
        # A name only: a path could lead out of the folder.
        if not isinstance(file, str) or os.path.basename(file) != file or file in ("", ".", ".."):
            raise FormatError(f"weight_map: {file!r} is not the name of a file", index)
        if file not in parts:
            path = os.path.join(folder, file)
            if not os.path.exists(path):
                raise FileNotFoundError(f"from_pretrained: {index} names {file}, which is missing")
            parts[file] = safetensors.mapped(path)
        if name not in parts[file]:
            raise FormatError(f"weight_map: {file} has no array {name!r}", index)
        arrays[name] = parts[file][name]
    return arrays


def read_json(path: PathLike) -> dict[str, Any]:
    """The object in a JSON file of at most 10 MB; FormatError where there is none."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > 10_000_000:
            raise FormatError(f"has {size} bytes, too many for a configuration", path)
        content = file.read()
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"malformed JSON: {error}", path) from None
    if not isinstance(values, dict):
        raise FormatError("malformed JSON: not an object", path)
    return values
