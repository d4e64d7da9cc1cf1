"""Where models come from: a folder, an installed package, the Hugging Face cache, or its hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from firth.errors import FormatError
from firth.formats import hub, packages
from firth.formats.files import PathLike
from firth.transformer.files import read_json

_FILES = (
    "*.json", "*.txt", "*.model", "*.spm", "model*.safetensors", "*/*.json", "*/model*.safetensors",
)  # fmt: skip
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

# A name on the hub, and which of its GGUF files: a type as in their names, or the file itself.
_HUB_NAME = re.compile(
    r"([\w.-]+/[\w.-]+)(?::([\w.-]+)|/((?:(?!\.)[^/\\]+/)*(?!\.)[^/\\]+\.gguf))?"
)
_GENERATOR = (
    "is a generator, which firth.CausalLM reads; wanted a folder with config.json and "
    "model.safetensors, or the name of one"
)
_USUAL = "Q4_K_M"  # of several types; llama.cpp takes it, too


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
    given = os.path.expanduser(name)
    if os.path.isdir(given):
        return given
    if os.path.exists(given):
        if given.endswith(".gguf"):
            raise NotADirectoryError(f"{given} {_GENERATOR}")
        raise NotADirectoryError(f"{given} is a file; give the folder it is in")
    if revision is None:
        if found := _in_package(given):
            return found
        for place in packages.folders(given):
            if files := _models(os.listdir(place)):
                raise FileNotFoundError(f"{os.path.join(place, files[0])} {_GENERATOR}")
    names = [given] if owner is None or "/" in given else [f"{owner}/{given}", given]
    for one in names:
        if found := _in_cache(one, cache_folder, revision or "main"):
            return found
    if not re.fullmatch(r"(?!\.)[\w.-]+(/[\w.-]+)?", given):  # a path, or no name at all
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
        folder or file; or as `folder_of`. Of a model on the hub that has GGUF files only, the one
        there is, or that of type Q4_K_M; ``owner/name:Q8_0`` and ``owner/name/file.gguf`` say
        which. What the cache has is not asked for again.
    token : str, optional
        For private models on the hub.

    Raises
    ------
    FileNotFoundError
        None of these, or several GGUF files to choose from.
    """
    given = os.path.expanduser(name)
    if os.path.isfile(given):
        return given
    roots = [given] if os.path.isdir(given) else packages.folders(given)
    for root in roots:
        if os.path.isfile(os.path.join(root, "config.json")):
            return root
    for root in roots:
        files = _models(os.listdir(root))
        if len(files) > 1:
            raise FileNotFoundError(f"{root} has several models, name one: {', '.join(files)}")
        if files:
            return os.path.join(root, files[0])
    if given.endswith(".gguf") and (given.startswith(".") or given.count("/") < 2):
        raise FileNotFoundError(f"there is no file {given!r}")
    if (match := _HUB_NAME.fullmatch(given)) and not _in_cache(given, None, "main"):
        name_there, kind, file = match.groups()
        if found := _on_hub(name_there, kind, file, token):
            return found
    return folder_of(given, token=token)


def _on_hub(name: str, kind: str | None, file: str | None, token: str | bool | None) -> str | None:
    """A GGUF file of the cache or the hub; None where none was asked for and safetensors are."""
    root = _snapshot(name, None, "main")
    cached = _files_under(root)
    if len(found := _chosen(cached, kind, file)) == 1 and _parts(found[0], cached):
        return os.path.join(root, found[0])
    listed = hub.names(name, token)
    if kind is None and file is None and (not _models(listed) or set(_WEIGHTS) & set(listed)):
        return None
    found = _chosen(listed, kind, file)
    if not found or not (parts := _parts(found[0], listed)):
        wanted = file or f"model of type {kind}"
        raise FileNotFoundError(f"{name} has no {wanted}, but {', '.join(_models(listed))}")
    if len(found) > 1:
        raise FileNotFoundError(
            f"{name} has several models, name one, as {name}/{found[0]}: {', '.join(found)}"
        )
    return os.path.join(hub.folder(name, parts, token, force_download=True), found[0])


def _models(files: Iterable[str]) -> list[str]:
    """GGUF files that are models: of a split one the first, nothing for pictures."""
    return sorted(
        file
        for file in files
        if re.search(r"(?<!-of-\d{5})\.gguf$|-00001-of-\d{5}\.gguf$", file)
        and not re.match("mmproj|imatrix", os.path.basename(file))
    )


def _chosen(files: Sequence[str], kind: str | None, file: str | None) -> list[str]:
    """Those of the GGUF files that a name means; one where it is clear."""
    if file is not None:
        return [file] if file in files else []
    models = _models(files)
    if kind is None and len(models) == 1:
        return models
    whole = rf"(?<![a-z0-9]){re.escape(kind or _USUAL)}(?![a-z0-9_])"
    named = [model for model in models if re.search(whole, model, re.IGNORECASE)]
    return named or (models if kind is None else [])


def _parts(file: str, files: Sequence[str]) -> list[str]:
    """All files of a split model, or the one file; nothing where some are missing."""
    if not (split := re.fullmatch(r"(.*)-\d{5}-of-(\d{5})\.gguf", file, re.DOTALL)):
        return [file]
    names = [f"{split[1]}-{i + 1:05}-of-{split[2]}.gguf" for i in range(int(split[2]))]
    return names if set(names) <= set(files) else []


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
    import importlib.metadata  # here, since the start of a generator need not wait for it

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
                continue
            snapshot = _snapshot(name, None, "main")
            for model in _models(_files_under(snapshot)):
                yield Found(f"{name}/{model}", os.path.join(snapshot, model), "GGUF", "cache")


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
    return next((folder for folder in packages.folders(name) if _holds(folder)), None)


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
    folder = _snapshot(name, cache, revision)
    return folder if _holds(folder) else None


def _snapshot(name: str, cache: PathLike | None, revision: str) -> str:
    """Where the cache has a model, if it has it."""
    root = os.path.join(_cache(cache), "models--" + name.replace("/", "--"))
    commit = revision
    try:
        with open(os.path.join(root, "refs", revision), encoding="utf-8") as file:
            commit = file.read(100).strip()
    except (OSError, ValueError):  # no branch or tag: a commit, or nothing
        pass
    return os.path.join(root, "snapshots", commit)


def _files_under(root: str) -> list[str]:
    """All files of a folder and those in it, by their path there, with slashes."""
    return [
        os.path.relpath(os.path.join(folder, file), root).replace(os.sep, "/")
        for folder, _, files in os.walk(root)
        for file in files
    ]
