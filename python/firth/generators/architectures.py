"""The architectures that there are, by the names that files give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firth.formats.files import PathLike
from firth.formats.gguf import Gguf
from firth.generators import gemma, gguf, gpt2, llama, olmo, phi, qwen, smollm3
from firth.transformer import architecture
from firth.transformer.architecture import Architecture
from firth.transformer.config import Config

_KNOWN = {
    kind: one
    for module in (gpt2, llama, qwen, gemma, phi, olmo, smollm3)
    for one in module.ARCHITECTURES
    for kind in one.kinds
}
KINDS = tuple(_KNOWN)
"""Every ``model_type`` of a config.json that is known."""


def find(values: Mapping[str, Any], path: PathLike | None = None) -> tuple[Architecture, Config]:
    """As `firth.transformer.architecture.find`, among the generators.

    Of Gemma 3 with pictures, the part for text.
    """
    text = values.get("text_config")
    if values.get("model_type") == "gemma3" and isinstance(text, dict):
        values = text | {"model_type": "gemma3_text"}
    return architecture.find(_KNOWN, "generators", values, path)


def find_gguf(file: Gguf) -> tuple[Architecture, Config]:
    """The architecture of a GGUF file, and its configuration, checked.

    Raises
    ------
    FormatError
        ``general.architecture`` is missing or not known, or a key is bad.
    """
    field, path = "general.architecture", file.path
    name = file.metadata.get(field)
    known = {own: _KNOWN[kind] for own, kind in gguf.KINDS.items()}
    architecture.pick(known, "the generators", field, name, path)
    values, aliases = gguf.values_of(file, str(name))
    found = _KNOWN[values["model_type"]]
    return found, found.checked(values, path, aliases)
