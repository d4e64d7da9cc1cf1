"""Where models come from: a folder, an installed package, the Hugging Face cache, or its hub."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from firth.errors import FormatError
from firth.formats import hub
from firth.formats.files import PathLike
from firth.transformer.files import read_json

_FILES = ("*.json", "*.txt", "*.model", "model*.safetensors", "*/*.json", "*/model*.safetensors")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def folder_of(
    name: PathLike,
    *,
    token: str | bool | None = None,
    cache_folder: PathLike | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    owner: str | None = None,
) -> str:
    """The folder of a model.

    Parameters
    ----------
    name : path-like
        A folder; the name of an installed package that carries a model; or a name on the Hugging
        Face hub, whose cache is looked at first.
    token : str, optional
        For private models on the hub.
    cache_folder : path-like, optional
        Instead of huggingface_hub's.
    revision : str, optional
        A branch, tag or commit on the hub.
    local_files_only : bool
        Download nothing.
    owner : str, optional
        Whose models on the hub may be named without it; they come before models without an owner.

    Raises
    ------
    FileNotFoundError
        None of these.
    NotADirectoryError
        A file.
    """
    given = os.fspath(name)
    if os.path.isdir(given):
        return given
    if os.path.exists(given):
        raise NotADirectoryError(f"{given} is a file; give the folder it is in")
    if revision is None and (found := _in_package(given)):
        return found
    names = [given] if owner is None or "/" in given else [f"{owner}/{given}", given]
    for one in names:
        if found := _in_cache(one, cache_folder, revision or "main"):
            return found
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", given):  # a path, or no name at all
        raise FileNotFoundError(f"there is no folder {given!r}")
    if local_files_only:
        raise FileNotFoundError(
            f"{given!r} is no folder, no installed package, and not in the Hugging Face cache"
        )
    for one in names:
        try:
            return hub.folder(one, _FILES, token, cache_folder=cache_folder, revision=revision)
        except FileNotFoundError:
            if one == names[-1]:
                raise
    raise AssertionError("a name is tried at least once")


def place_of(name: PathLike, *, token: str | bool | None = None) -> str:
    """The GGUF file or the folder of a generator.

    Parameters
    ----------
    name : path-like
        A GGUF file; a folder that holds one and no config.json; an installed package with such a
        folder or file; or as `folder_of`.
    token : str, optional
        For private models on the hub.

    Raises
    ------
    FileNotFoundError
        None of these, or several GGUF files to choose from.
    """
    given = os.fspath(name)
    if os.path.isfile(given):
        return given
    roots = [given] if os.path.isdir(given) else _places_in_package(given)
    for root in roots:
        if os.path.isfile(os.path.join(root, "config.json")):
            return root
    for root in roots:
        files = sorted(
            entry
            for entry in os.listdir(root)
            if re.search(r"(?<!-of-\d{5})\.gguf$|-00001-of-\d{5}\.gguf$", entry)
        )
        if len(files) > 1:
            raise FileNotFoundError(f"{root} has several models, name one: {', '.join(files)}")
        if files:
            return os.path.join(root, files[0])
    return folder_of(given, token=token)


class Found(NamedTuple):
    """A model on this machine."""

    name: str  # that `folder_of` or `place_of` takes
    folder: str  # or the GGUF file
    kind: str  # its model_type, or GGUF
    source: str  # "package" or "cache"


def installed() -> Iterator[Found]:
    """All models in installed packages and in the Hugging Face cache.

    What is no model, or cannot be read, is left out.
    """
    for distribution in importlib.metadata.distributions():
        places = {str(file.parent) for file in distribution.files or () if file.name == _WEIGHTS[0]}
        for place in sorted(places):
            yield from _found(
                distribution.metadata["Name"], str(distribution.locate_file(place)), "package"
            )
        for file in distribution.files or ():
            if file.suffix == ".gguf":
                path = str(distribution.locate_file(file))
                yield Found(distribution.metadata["Name"], path, "GGUF", "package")
    root = _cache(None)
    for entry in sorted(os.listdir(root)) if os.path.isdir(root) else ():
        if entry.startswith("models--"):
            name = entry.removeprefix("models--").replace("--", "/")
            if folder := _in_cache(name, None, "main"):
                yield from _found(name, folder, "cache")


def _found(name: str, folder: str, source: str) -> Iterator[Found]:
    if _holds(folder):
        try:
            kind = str(read_json(os.path.join(folder, "config.json")).get("model_type", "?"))
        except (FormatError, OSError):
            return
        yield Found(name, folder, kind, source)


def _holds(folder: str) -> bool:
    """Whether a folder has a model's configuration and weights."""
    return os.path.isfile(os.path.join(folder, "config.json")) and any(
        os.path.isfile(os.path.join(folder, name)) for name in _WEIGHTS
    )


def _in_package(name: str) -> str | None:
    """The folder of the model in an installed package, which is not imported."""
    return next((folder for folder in _places_in_package(name) if _holds(folder)), None)


def _places_in_package(name: str) -> list[str]:
    """The folder of a package and those in it."""
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
        for folder in (str(root), *(entry.path for entry in _folders(root)))
    ]


def _folders(root: str) -> list[os.DirEntry[str]]:
    with os.scandir(root) as entries:
        return sorted((one for one in entries if one.is_dir()), key=lambda one: one.name)


def _cache(folder: PathLike | None) -> str:
    """Where huggingface_hub keeps models, by its variables."""
    if folder is not None:
        return os.fspath(folder)
    if where := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return os.path.expanduser(where)
    cache = os.environ.get("XDG_CACHE_HOME", os.path.join("~", ".cache"))
    home = os.environ.get("HF_HOME", os.path.join(cache, "huggingface"))
    return os.path.join(os.path.expanduser(home), "hub")


def _in_cache(name: str, cache: PathLike | None, revision: str) -> str | None:
    """The folder of a model in the cache, where all of it is there."""
    root = os.path.join(_cache(cache), "models--" + name.replace("/", "--"))
    commit = revision
    try:
        with open(os.path.join(root, "refs", revision), encoding="utf-8") as file:
            commit = file.read(100).strip()
    except (OSError, ValueError):  # no branch or tag: a commit, or nothing
        pass
    folder = os.path.join(root, "snapshots", commit)
    return folder if _holds(folder) else None
