"""What `KnowledgeBase.add` is given: files, folders and texts, one `Source` after another."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from firth.arguments import check_text, shortened
from firth.errors import FormatError
from firth.rag import readers
from firth.rag.filters import JOINED, plain
from firth.rag.readers import Reading, unicode_only


@dataclass
class Root:
    """A file or folder that was given, as the knowledge base remembers it."""

    name: str  # as it was given: names of documents begin with it
    metadata: dict[str, Any]


@dataclass
class Source:
    """A text, or a file that may hold several documents; ``path`` is absolute, None for a text."""

    name: str
    path: str | None
    metadata: dict[str, Any]
    text: str | None = None

    def data(self) -> bytes:
        """What the file or the text holds."""
        if self.path is None:
            return str(self.text).encode()
        with open(self.path, "rb") as file:
            return file.read()

    def digest(self, data: bytes) -> bytes:
        """Of all that its documents depend on."""
        return digest_of(self.metadata, data)

    def readings(self, data: bytes) -> list[Reading]:
        """Its documents; errors as `readers.read`."""
        return (
            [readers.plain_text(str(self.text))]
            if self.path is None
            else readers.read(self.path, data)
        )


def digest_of(*parts: Any) -> bytes:
    """A digest of strings, bytes and what JSON can hold."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def sources(given: Any, metadata: dict[str, Any]) -> tuple[list[Source], dict[str, Root]]:
    """Texts and single files, and roots by their absolute path: all files and folders.

    Raises
    ------
    TypeError, ValueError
        What is given is none of these, or empty.
    FileNotFoundError
        A path leads nowhere.
    """
    if isinstance(given, Mapping):
        for name, text in given.items():
            if not isinstance(name, str) or not isinstance(text, str) or not name:
                raise TypeError(
                    f"add: names and texts must be str, got {shortened(name)}: {shortened(text)}"
                )
            check_text("add: a name", name)
            check_text("add: a text", text)
        return [Source(n, None, metadata, text) for n, text in given.items()], {}
    alone = isinstance(given, (str, os.PathLike))
    if alone:
        given = [given]
    elif isinstance(given, (bytes, bytearray)) or not isinstance(given, Iterable):
        raise TypeError(f"add: sources must be paths or texts, got {shortened(given)}")
    texts: dict[str, Source] = {}
    roots: dict[str, Root] = {}
    for one in given:
        if not isinstance(one, (str, os.PathLike)):
            raise TypeError(f"add: sources must be paths or texts, got {shortened(one)}")
        if _is_path(one, alone):
            name = os.path.normpath(os.fspath(one))
            check_text("add: the path of a source", os.path.realpath(name))
            roots[os.path.realpath(name)] = Root(name, metadata)
        else:
            text = str(one)
            check_text("add: a text", text)
            name = f"text:{digest_of(text).hex()[:12]}"
            texts[name] = Source(name, None, metadata, text)
    return list(texts.values()), roots


def _is_path(one: str | os.PathLike[str], alone: bool) -> bool:
    """Whether it is a path, or a text; ``alone``: nothing else was given."""
    if not isinstance(one, str):
        if not os.path.exists(one):
            raise FileNotFoundError(f"add: there is no file or folder {os.fspath(one)!r}")
        return True
    if not one.strip():
        raise ValueError("add: a text must not be empty; give {name: text} for one that is")
    try:
        if os.path.exists(one):
            return True
    except ValueError:  # a zero character
        return False
    short = len(one) < 1000 and "\n" not in one
    suffix = os.path.splitext(one)[1].lower()
    # A word of ASCII alone is a mistyped name; in a list it may be a short text, and other scripts
    # write whole sentences without a space.
    word = not any(map(str.isspace, one)) and (os.sep in one or (alone and one.isascii()))
    if short and (suffix in readers.READERS or word):
        raise FileNotFoundError(
            f"add: there is no file {one!r}; if it is a text, give {{name: text}}"
        )
    return False


def checked_metadata(metadata: Any) -> dict[str, Any]:
    """Metadata as it is kept: values of SQLite, or lists of them; TypeError or ValueError."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"add: metadata must be a dict, got {shortened(metadata)}")
    kept = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or name in (*JOINED, "document") or not name:
            raise ValueError(f"add: metadata cannot have the name {shortened(name)}")
        check_text("add: a name of metadata", name)
        several = isinstance(value, (list, tuple))
        values = [plain("add: metadata", name, one) for one in (value if several else [value])]
        kept[name] = values if several else values[0]
    return kept


def files(path: str, root: Root, apart: str, skipped: list[str]) -> Iterator[Source]:
    """The files of a root: itself, or those below it, in order of their names.

    Hidden files and the folder ``apart`` are not looked at; what else is not read is added to
    ``skipped``.
    """
    if not os.path.isdir(path):
        if os.path.splitext(path)[1].lower() not in readers.READERS:
            known = ", ".join(sorted(readers.READERS))
            raise FormatError(f"no reader for this suffix; there are {known}", path)
        if not os.path.isfile(path):
            raise FormatError(_NO_FILE, path)
        yield Source(root.name, path, root.metadata)
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(
            name for name in folders
            if not name.startswith(".") and os.path.join(folder, name) != apart
        )  # fmt: skip
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*names, *links]):
            if name.startswith("."):
                continue
            one = os.path.join(folder, name)
            shown = os.path.join(root.name, os.path.relpath(one, path))
            if reason := _why_not(one, path):
                skipped.append(f"{shown}: {reason}")
            else:
                yield Source(shown, one, root.metadata)


_NO_FILE = "is no file but a pipe, a socket or a device"


def _why_not(one: str, root: str) -> str:
    """Why what is in a folder is not read; empty where it is. Nothing is opened: a pipe blocks."""
    if not os.path.exists(one):
        return "a link that leads nowhere"
    if not os.path.realpath(one).startswith(os.path.join(root, "")):
        return "a link that leads out of the folder"
    if os.path.isdir(one):
        return "a link to a folder"
    if not os.path.isfile(one):
        return _NO_FILE
    if unicode_only(one) != one:
        return "its name is no Unicode"
    if os.path.splitext(one)[1].lower() not in readers.READERS:
        return "no reader for this suffix"
    return ""
