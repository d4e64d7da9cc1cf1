"""What every format shares.

Files written whole or not at all, and bytes read from plain or compressed files.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import mmap
import os
import secrets
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from firth.errors import FormatError, TruncatedError

Path = str | os.PathLike[str]


def _gzip(file: BinaryIO, mode: Any) -> gzip.GzipFile:
    return gzip.GzipFile("", mode, fileobj=file, mtime=0)  # the same bytes at any time


# Suffix, first bytes, opener. Reading goes by the bytes, writing by the suffix.
_COMPRESSIONS: tuple[tuple[str, bytes, Any], ...] = (
    (".gz", b"\x1f\x8b", _gzip),
    (".bz2", b"BZh", bz2.open),
    (".xz", b"\xfd7zXZ\x00", lzma.open),
)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends without an exception.

    The bytes go to a temporary file in the same folder, are synced to disk and renamed. If the
    block or the disk fails, the temporary file is removed and ``path`` is as it was; a killed
    process may leave the temporary file (``.<name>.<random>.tmp``), never a half-written ``path``.
    A device or a pipe (``/dev/stdout``) is written directly.
    """
    target = os.path.realpath(path)  # a symbolic link stays one; the file behind it is replaced
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as direct:
            yield direct
        return
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        file = open(temporary, "xb")  # noqa: SIM115 (closed below, before the rename)
    except OSError as error:
        error.filename = os.fspath(path)  # what was asked for, not our temporary name
        raise
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        # As for a full disk: which file it was.
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = os.fspath(path)
        raise
    if os.name == "posix":  # the rename itself reaches the disk with the folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def writing(path: Path, *, append: bool = False) -> Iterator[BinaryIO]:
    """`atomic`, compressed where the name ends in .gz, .bz2 or .xz.

    With ``append`` the file is extended in place, which cannot be atomic.
    """
    with contextlib.ExitStack() as stack:
        file: BinaryIO = stack.enter_context(open(path, "ab") if append else atomic(path))  # noqa: SIM115
        for suffix, _, opener in _COMPRESSIONS:
            if os.fspath(path).endswith(suffix):
                file = stack.enter_context(opener(file, "wb"))
        yield file


@contextlib.contextmanager
def contents(path: Path) -> Iterator[bytes | mmap.mmap]:
    """The bytes of a file: mapped, or decompressed into memory (recognised by the first bytes).

    Raises FormatError for a damaged compressed file and for a zip archive.
    """
    with open(path, "rb") as file:
        head = file.peek(8)[:8]
        if head.startswith(b"PK\x03\x04"):
            raise FormatError("is a zip archive; unpack it first", path, 0)
        for _, magic, opener in _COMPRESSIONS:
            if head.startswith(magic):
                try:
                    plain = opener(file, "rb").read()
                except EOFError as error:
                    raise TruncatedError(f"compressed data is cut short: {error}", path) from None
                except (OSError, lzma.LZMAError, zlib.error) as error:
                    raise FormatError(f"damaged compressed data: {error}", path) from None
                yield plain
                return
        if head and os.path.isfile(path):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield mapped
        else:
            yield file.read()
