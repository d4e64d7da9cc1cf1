"""The architectures that there are, by the ``model_type`` of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firth.encoders import albert, bert, distilbert, electra, modernbert, mpnet, nomic, roberta
from firth.encoders.architecture import Architecture
from firth.formats.files import PathLike
from firth.transformer import architecture
from firth.transformer.config import Config

_KNOWN = {
    kind: module.ARCHITECTURE
    for module in (bert, roberta, distilbert, albert, electra, mpnet, modernbert, nomic)
    for kind in module.ARCHITECTURE.kinds
}
KINDS = tuple(_KNOWN)
"""Every ``model_type`` that is known."""


def find(values: Mapping[str, Any], path: PathLike | None = None) -> tuple[Architecture, Config]:
    """As `firth.transformer.architecture.find`, among the encoders."""
    return architecture.find(_KNOWN, "encoders", values, path)
