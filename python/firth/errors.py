"""The exceptions that firth adds to Python's own, and warnings that point at the caller's line.

The first two say that a file is not what it should be.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextvars import ContextVar

__all__ = ["ContextError", "FormatError", "TruncatedError"]


class FormatError(ValueError):
    """A file is not what its name or header promises.

    Parameters
    ----------
    problem : str
    path : path-like, optional
    offset : int, optional
        Byte of the file where the problem was met; for a compressed file, after decompression.

    Notes
    -----
    The message holds all three; ``path`` and ``offset`` are kept as attributes.
    """

    def __init__(
        self,
        problem: str,
        path: str | os.PathLike[str] | None = None,
        offset: int | None = None,
    ) -> None:
        self.path = None if path is None else os.fspath(path)
        self.offset = offset
        place = "" if offset is None else f" (byte {offset})"
        super().__init__(problem + place if path is None else f"{self.path}: {problem}{place}")


class TruncatedError(FormatError, EOFError):
    """A file ends before what its header promises: a cut download, a wrong count."""


class ContextError(ValueError):
    """A prompt has more tokens than the context of a model has room for."""


SILENT = ContextVar("firth.errors.SILENT", default=False)
"""Whether `warn` says nothing in this context: for callers whose users would not see it."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of the line outside of firth that led here."""
    if SILENT.get():
        return
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _inside(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)


def _inside(module: str) -> bool:
    return module.split(".")[0] == "firth" or module == "contextlib"
