"""Models of the Hugging Face hub: from its cache on this machine, or downloaded into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firth.formats.files import PathLike


def folder(
    name: str,
    files: Sequence[str],
    token: str | bool | None = None,
    *,
    force_download: bool = False,
    cache_folder: PathLike | None = None,
    revision: str | None = None,
) -> str:
    """The folder in which huggingface_hub keeps these files of a model.

    Parameters
    ----------
    name : str
        As in ``sentence-transformers/all-MiniLM-L6-v2``.
    files : sequence of str
        Names, or patterns with ``*``.
    token : str, optional
        For private models.
    force_download : bool
        Ask the hub whether there is something newer than what the cache has.
    cache_folder : path-like, optional
        Instead of huggingface_hub's.
    revision : str, optional
        A branch, tag or commit.

    Raises
    ------
    FileNotFoundError
        There is no such model, no network, or no huggingface_hub.
    """
    huggingface_hub = _package(name)
    given: dict[str, Any] = {"cache_dir": cache_folder, "revision": revision}
    given = {key: value for key, value in given.items() if value is not None}
    error: Exception | None = None
    for local_only in (False,) if force_download else (True, False):
        try:
            found: str = huggingface_hub.snapshot_download(
                name, token=token, allow_patterns=list(files), local_files_only=local_only, **given
            )
            return found
        except (OSError, ValueError) as problem:  # what its own exceptions derive from
            error = problem
    raise _refused(name, error) from error


def names(name: str, token: str | bool | None = None) -> list[str]:
    """The paths of all files of a model on the hub.

    Raises
    ------
    FileNotFoundError
        As `folder`.
    """
    package = _package(name)
    try:
        found = package.model_info(name, token=token).siblings
    except Exception as problem:  # those of the package that it talks HTTP with are of any kind
        raise _refused(name, problem) from problem
    return [file.rfilename for file in found or ()]


def _package(name: str) -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise FileNotFoundError(
            f"from_pretrained: no folder {name!r}; models of the Hugging Face hub need "
            "huggingface_hub: pip install huggingface_hub"
        ) from None
    return huggingface_hub


def _refused(name: str, problem: Exception | None) -> FileNotFoundError:
    why = str(problem).partition("\n")[0]
    return FileNotFoundError(
        f"from_pretrained: no folder {name!r}, and the Hugging Face hub does not give it: {why}; "
        "`firth models` lists what is on this machine"
    )
