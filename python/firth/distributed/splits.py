"""Files as splits: ranges of bytes of which a worker takes the lines that begin there.

Knows no Ray. A file in the place of another (its size or its time changed since `plan`) is refused,
so work that is repeated gives what it gave before.
"""

from __future__ import annotations

import contextlib
import glob
import math
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from firth.arguments import shortened
from firth.formats.files import COMPRESSED, PathLike, plain
from firth.optional import needs
from firth.words.corpus import Corpus, FileCorpus, opened

SPLIT = 64 << 20  # bytes: seconds of work, so little is lost with a worker
RUN = 4 * SPLIT  # of a task that merges what it finds in its splits

Paths = PathLike | Sequence[PathLike]  # files, patterns of `glob`, or what fsspec opens (has "://")


@dataclass(frozen=True)
class Split:
    """The lines that begin in bytes ``[start, stop)`` of a file; of a packed file there is one.

    ``size`` and ``changed`` (a time, or what the store calls one) are the file's at planning.
    """

    path: str
    start: int
    stop: int
    size: int
    changed: str

    @property
    def bytes(self) -> int:
        """How much of the file it is."""
        return self.stop - self.start


def files(where: str, paths: Paths) -> list[str]:
    """The files that are meant, in the order given; those of a pattern sorted by name.

    Raises
    ------
    FileNotFoundError
        A file does not exist, or a pattern finds none. IsADirectoryError: a folder.
    TypeError, ValueError, ImportError
        What is given is no path; fsspec does not know it, or lacks a package for it.
    """
    found: list[str] = []
    given: Any = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    several = list(given) if isinstance(given, Collection) else [given]
    for one in several:
        if not isinstance(one, (str, os.PathLike)):
            raise TypeError(f"{where}: files must be a path or several, got {shortened(one)}")
    for path in map(os.fspath, several):
        if "://" in path:
            system, name = _system(where, path)
            names = system.glob(name) if glob.has_magic(name) else [name]
            matches = [system.unstrip_protocol(one) for one in sorted(names)]
        elif glob.has_magic(path) and not os.path.exists(path):
            matches = sorted(filter(os.path.isfile, glob.glob(path, recursive=True)))
            matches = [os.path.abspath(one) for one in matches]
        else:
            matches = [os.path.abspath(path)]
        if not matches:
            raise FileNotFoundError(f"{where}: no file matches {path}")
        found += matches
    for path in found:
        state(where, path)
    if not found:
        raise FileNotFoundError(f"{where}: no files are given")
    return found


def state(where: str, path: str) -> tuple[int, str]:
    """Size of a file, and when it was changed."""
    if "://" in path:
        system, name = _system(where, path)
        try:
            facts = system.info(name)
        except FileNotFoundError:
            raise FileNotFoundError(f"{where}: {path} does not exist") from None
        if facts["type"] != "file":
            raise IsADirectoryError(f"{where}: {path} is no file")
        names = ("mtime", "LastModified", "last_modified", "updated", "etag", "ETag")
        return int(facts["size"]), str([facts[name] for name in names if name in facts])
    if not os.path.exists(path):
        raise FileNotFoundError(f"{where}: {path} does not exist")
    if not os.path.isfile(path):
        raise IsADirectoryError(f"{where}: {path} is no regular file; give files, or a pattern")
    facts = os.stat(path)
    return facts.st_size, str(facts.st_mtime_ns)


def plan(where: str, paths: Paths, size: int = SPLIT) -> list[Split]:
    """The splits of some files in order, each of at most ``size`` bytes where it is not packed.

    ValueError where the files hold nothing. The same files have the same splits, whatever the
    number of workers.
    """
    splits = []
    for path in files(where, paths):
        length, changed = state(where, path)
        step = length if packed(path) else size
        for start in range(0, length, max(1, step)):
            splits.append(Split(path, start, min(length, start + step), length, changed))
    if not splits:
        raise ValueError(f"{where}: the corpus is empty")
    return splits


def runs(where: str, paths: Paths, workers: int, most: int = RUN) -> list[list[Split]]:
    """The splits of each task, one behind the other: the fewer tasks, the less there is to merge.

    All tasks have as many bytes, at most ``most``, and workers as many tasks (but for packed files,
    which are not cut). ValueError where the files hold nothing.
    """
    whole = plan(where, paths, 1 << 62)
    total = sum(one.bytes for one in whole)
    size = math.ceil(total / (workers * math.ceil(total / workers / most)))
    found: list[list[Split]] = [[]]
    room = size
    for one in whole:
        start = one.start
        while start < one.stop:
            if room <= 0:
                found.append([])
                room = size
            stop = one.stop if packed(one.path) else min(one.stop, start + room)
            found[-1].append(replace(one, start=start, stop=stop))
            room -= stop - start
            start = stop
    return found


def packed(path: str) -> bool:
    """Whether a file is compressed, by its name."""
    return path.lower().endswith((*COMPRESSED, ".zip"))


def opened_file(path: str) -> Any:
    """A file, local or remote, as one of bytes."""
    if "://" in path:
        system, name = _system("reading", path)
        return system.open(name, "rb")
    return open(path, "rb")


def check_unchanged(split: Split) -> None:
    """RuntimeError where the file is another than when it was planned."""
    if state("reading", split.path) != (split.size, split.changed):
        raise RuntimeError(f"{split.path}: the file changed while the work was going on")


@contextlib.contextmanager
def local(split: Split) -> Iterator[tuple[str, int, int]]:
    """The path of a file of this machine, and which bytes of it are the split's lines.

    Of a packed file these are all, as they are stored. RuntimeError as of `check_unchanged`.
    """
    check_unchanged(split)
    with contextlib.ExitStack() as stack:
        start, stop = 0, split.size
        if not packed(split.path):
            with opened_file(split.path) as file:
                start, stop = _whole_lines(file, split)
        if "://" not in split.path:
            yield split.path, start, stop
            return
        suffix = os.path.splitext(split.path)[1]
        copy: Any = stack.enter_context(tempfile.NamedTemporaryFile(suffix=suffix))
        if start:  # so that no word at the beginning is taken for a byte order mark
            copy.write(b"\n")
        with opened_file(split.path) as file:
            file.seek(start)
            _copy(file, copy, stop - start)
        copy.flush()
        before = int(start > 0)
        yield copy.name, before, before + stop - start


@contextlib.contextmanager
def lines(split: Split) -> Iterator[Corpus]:
    """The corpus of a split's lines. RuntimeError as of `check_unchanged`."""
    with contextlib.ExitStack() as stack:
        path, start, stop = stack.enter_context(local(split))
        if start == stop:  # inside a line
            yield stack.enter_context(opened("reading", [], None))
            return
        file = stack.enter_context(plain(path, progress=False))
        if packed(split.path):
            yield FileCorpus(file, split.path, False)
        else:
            yield FileCorpus(file, split.path, False, start, stop)


def _whole_lines(file: BinaryIO, split: Split) -> tuple[int, int]:
    """Where the first line begins, and where the last one ends."""
    start = _line_start(file, split.start, split.size)
    return start, max(start, _line_start(file, split.stop, split.size))


def _line_start(file: BinaryIO, position: int, size: int) -> int:
    """The first position from this one on where a line begins, or the end of the file."""
    if position == 0:
        return 0
    position -= 1  # if this is the end of a line, the next one begins where was asked
    file.seek(position)
    while position < size:
        block = file.read(1 << 16)
        if not block:
            return size
        found = block.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(block)
    return size


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    left = length
    while left:
        block = source.read(min(left, 1 << 22))
        if not block:
            raise RuntimeError("the file became shorter while it was read")
        target.write(block)
        left -= len(block)


def _system(where: str, path: str) -> tuple[Any, str]:
    """The file system of a path with "://", and its name there."""
    core = needs("fsspec.core", f"{where}: {path}")
    try:
        system, name = core.url_to_fs(path)
    except ImportError as error:  # fsspec says which package
        raise ImportError(f"{where}: {path}: {error} (with pip)") from error
    except ValueError as error:
        raise ValueError(
            f"{where}: {path}: {error}; give local files, or install the package that brings this "
            "protocol to fsspec"
        ) from None
    return system, str(name)
