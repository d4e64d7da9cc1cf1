"""The architectures that there are, by the ``model_type`` of a configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from firth.arguments import shortened
from firth.encoders import albert, bert, distilbert, electra, modernbert, mpnet, nomic, roberta
from firth.encoders.architecture import Architecture
from firth.encoders.config import Config
from firth.errors import FormatError
from firth.formats.files import PathLike

_KNOWN = {
    kind: module.ARCHITECTURE
    for module in (bert, roberta, distilbert, albert, electra, mpnet, modernbert, nomic)
    for kind in module.ARCHITECTURE.kinds
}
KINDS = tuple(_KNOWN)
"""Every ``model_type`` that is known."""


def find(values: Mapping[str, Any], path: PathLike | None = None) -> tuple[Architecture, Config]:
    """The architecture of a configuration, and the configuration, checked.

    Raises
    ------
    FormatError
        Its ``model_type`` is missing or none of those that are known, which the message lists; or
        a field is bad.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in _KNOWN:
        raise FormatError(
            f"config: model_type {shortened(kind)} is not one of the encoders that firth knows: "
            + ", ".join(KINDS),
            path,
        )
    architecture = _KNOWN[kind]
    config = Config(values, architecture.defaults, architecture.aliases, path)
    try:
        architecture.plan(config)  # refuses numbers that do not fit together
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(f"config: {error}", path) from None
    return architecture, config


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
