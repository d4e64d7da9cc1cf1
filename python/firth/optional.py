"""Packages that firth can use but does not require: imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any


def needs(module: str, what: str, package: str | None = None) -> Any:
    """Import a module and return it.

    Parameters
    ----------
    module : str
    what : str
        What needs it: the message begins with this.
    package : str, optional
        Its name for pip, where that is not the first part of the module's.

    Raises
    ------
    ImportError
        It is missing; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = package or module.partition(".")[0]
        raise ImportError(f"{what} needs {package}: pip install {package}") from error
