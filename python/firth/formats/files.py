"""What every format shares.

Files written whole or not at all, and bytes read from plain or compressed files.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError, TruncatedError
from firth.optional import needs
from firth.progress import progress_bar

if sys.platform != "win32":  # there, nothing keeps two calls from writing to one folder
    import fcntl

PathLike = str | os.PathLike[str]  # what every function takes for a path

_MEGABYTE = 1 << 20
_BLOCK = 4 * _MEGABYTE  # bytes read at a time: they are still in a cache when they are used
_LARGE = 64 * _MEGABYTE  # a file from this size on shows its progress


# Modules for packed files are imported where they are used: they take longer than a short start.


def _gzip(file: BinaryIO, mode: Any) -> Any:
    import gzip

    return gzip.GzipFile("", mode, fileobj=file, mtime=0)  # the same bytes at any time


def _bz2(file: BinaryIO, mode: Any) -> Any:
    import bz2

    return bz2.open(file, mode)


def _xz(file: BinaryIO, mode: Any) -> Any:
    import lzma

    return lzma.open(file, mode)


def _zstandard() -> Any:
    return needs("zstandard", "a file of Zstandard")


def _zst(file: BinaryIO, mode: Any) -> Any:
    if mode == "rb":
        return _ZstandardReader(file)
    return _zstandard().ZstdCompressor(level=10).stream_writer(file, closefd=False)


# Suffix, first bytes, opener. Reading goes by the bytes, writing by the suffix.
_COMPRESSIONS: tuple[tuple[str, bytes, Any], ...] = (
    (".gz", b"\x1f\x8b", _gzip),
    (".bz2", b"BZh", _bz2),
    (".xz", b"\xfd7zXZ\x00", _xz),
    (".zst", b"\x28\xb5\x2f\xfd", _zst),
)


COMPRESSED = tuple(suffix for suffix, _, _ in _COMPRESSIONS)  # that can be written


@contextlib.contextmanager
def atomic(path: PathLike) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends without an exception.

    The bytes go to a temporary file in the same folder, are synced to disk and renamed. If the
    block or the disk fails, the temporary file is removed and ``path`` is unchanged; a killed
    process may leave the temporary file (``.<name>.<random>.tmp``), never a half-written ``path``.
    A device or a pipe (``/dev/stdout``) is written directly.
    """
    target = os.path.realpath(path)  # a symbolic link stays one; the file behind it is replaced
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as direct:
            yield direct
        return
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:200]}.{os.urandom(4).hex()}.tmp")
    try:
        file = open(temporary, "xb")  # noqa: SIM115 (closed below, before the rename)
    except OSError as error:
        error.filename = os.fspath(path)  # the caller's path, not our temporary name
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
        # For errors such as a full disk: name the file.
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
def writing(path: PathLike, *, append: bool = False) -> Iterator[BinaryIO]:
    """`atomic`, compressed where the name ends in .gz, .bz2, .xz or .zst.

    With ``append`` the file is extended in place, which cannot be atomic.
    """
    name = os.fspath(path).lower()
    with contextlib.ExitStack() as stack:
        file: BinaryIO = stack.enter_context(open(path, "ab") if append else atomic(path))  # noqa: SIM115
        for suffix, _, opener in _COMPRESSIONS:
            if name.endswith(suffix):
                file = stack.enter_context(opener(file, "wb"))
        yield file


@contextlib.contextmanager
def held(where: str, folder: PathLike) -> Iterator[None]:
    """Hold a folder for one call; it leaves nothing behind, also where the process is killed.

    BlockingIOError while another call holds it, in this process or elsewhere; ``where`` begins it.
    Network file systems that cannot lock folders keep nobody out.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"{where}: another call is writing to {os.fspath(folder)}"
            ) from None
        except OSError:  # a file system that cannot lock folders
            pass
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child may have the descriptor, too
        os.close(descriptor)


def forget_pages(array: NDArray[Any]) -> None:
    """Give back the memory of a mapped file's pages under an array; they are read again if needed.

    An array that is no view of a mapped file, or that can be written to, is left alone.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:  # its pages may hold what no file does
            return
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    if not isinstance(base, mmap.mmap) or not hasattr(base, "madvise") or not array.size:
        return
    start = array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE  # pages that are the array's alone
    last = (start + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if array.flags.c_contiguous and first < last:
        base.madvise(mmap.MADV_DONTNEED, first, last - first)


def _damaged() -> tuple[type[Exception], ...]:
    """What decompressors say of damaged data."""
    import lzma
    import zipfile
    import zlib

    return OSError, lzma.LZMAError, zlib.error, zipfile.BadZipFile


class Beside:
    """A thread that makes calls one after another, beside the one that asks for them.

    Made of SimpleQueue, which is one piece of C: Ctrl-C between two lines of ThreadPoolExecutor or
    of Future, which are Python around locks, may leave a lock taken, and then both threads wait for
    ever.

    Attributes
    ----------
    waiting : int
        Calls whose results have not been taken yet.
    """

    def __init__(self, name: str) -> None:
        self.waiting = 0
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for call in iter(self._calls.get, None):
            try:
                self._results.put((call(), None))
            except BaseException as error:  # belongs to who takes the result
                self._results.put((None, error))

    def start(self, call: Callable[[], Any]) -> None:
        """Make a call after those that were asked for before."""
        self._calls.put(call)
        self.waiting += 1

    @property
    def ready(self) -> bool:
        """Whether `take` would not wait."""
        return not self._results.empty()

    def take(self) -> Any:
        """Wait for the oldest call, return what it returned or raise what it raised."""
        value = None
        if self.waiting:
            value, self._error = self._results.get()
            self.waiting -= 1
        if self._error is not None:
            raise self._error
        return value

    def close(self) -> None:
        """Wait until all calls are made, and end the thread."""
        self._calls.put(None)
        self._thread.join()


class Source:
    """The bytes of a file in order, read ahead by a thread of its own; see `reading`.

    Attributes
    ----------
    path : path-like
    size : int or None
        Bytes of a plain file; None (unknown) where it is compressed or a pipe.
    packed : int
        Bytes of the file on disk, compressed or not; 0 for a pipe.
    offset : int
        Bytes consumed so far, after decompression.
    """

    # Two buffers: while one is read, the thread fills the other behind a margin, into which
    # the unread rest of the first is copied.
    def __init__(self, path: PathLike, packed: int, stream: Any, raw: Any, progress: Any) -> None:
        self.path, self.packed, self.offset = path, packed, 0
        self.size = packed if stream is raw and packed else None
        self._stream, self._raw, self._progress = stream, raw, progress
        self._margin = 1 << 16
        self._buffer, self._other = bytearray(), bytearray()
        self._start = self._stop = 0  # the valid part of _buffer
        self._thread: Beside | None = None
        self._at_end = False

    def peek(self, minimum: int) -> memoryview:
        """At least ``minimum`` of the next bytes, fewer only at the end of the file.

        They are not consumed; the view is valid until the next `peek`. All ``minimum`` bytes are
        held in memory, so the caller must bound it.
        """
        while self._stop - self._start < minimum and not self._at_end:
            try:
                self._advance()
            except EOFError as error:
                raise TruncatedError(f"compressed data is cut short: {error}", self.path) from None
            except _damaged() as error:
                if self.size is not None:
                    raise  # of the disk
                raise FormatError(f"damaged compressed data: {error}", self.path) from None
        return memoryview(self._buffer)[self._start : self._stop]

    def _advance(self) -> None:
        rest = self._stop - self._start
        if self._thread is None:  # the first block
            self._other = bytearray(self._margin + _BLOCK)
            filled = self._fill(self._other)
        else:
            filled = self._thread.take()
        if rest > self._margin:
            self._margin = 2 * rest
            new = self._other[-_BLOCK:]
            self._other = bytearray(self._margin) + new
            self._buffer = self._buffer + bytearray(len(self._other) - len(self._buffer))
        self._other[self._margin - rest : self._margin] = self._buffer[self._start : self._stop]
        self._buffer, self._other = self._other, self._buffer
        self._start, self._stop = self._margin - rest, self._margin + filled
        self._at_end = filled < _BLOCK
        if self._at_end:
            self.close()
            return
        if self._thread is None:
            self._thread = Beside("firth-reading")
        if len(self._other) < len(self._buffer):
            self._other = bytearray(len(self._buffer))
        self._thread.start(functools.partial(self._fill, self._other))

    def _fill(self, buffer: bytearray) -> int:
        """Read a block behind the margin; fewer bytes only at the end of the file."""
        done = 0
        with memoryview(buffer) as whole, whole[self._margin :] as view:
            while done < len(view):
                if self._stream is self._raw:
                    count = self._raw.readinto(view[done:])
                else:
                    data = self._stream.read(min(len(view) - done, _MEGABYTE))
                    count = len(data)
                    view[done : done + count] = data
                if not count:
                    break
                done += count
        return done

    def close(self) -> None:
        """Stop reading ahead."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def skip(self, count: int) -> None:
        """Consume bytes that `peek` has returned."""
        self.offset += count
        self._start += count
        if self._progress is not None:
            self._progress.update(self.passed - self._progress.n)

    @property
    def passed(self) -> int:
        """Bytes of the file on disk, compressed or not, that have been consumed; 0 for a pipe."""
        if self.size is not None:
            return self.offset
        return self._raw.tell() if self.packed else 0

    def lines(self, longest: int = _MEGABYTE) -> Iterator[tuple[int, bytes]]:
        """Offset and bytes of each line to the end of the file, its newline included.

        FormatError for a line of more than ``longest`` bytes.
        """
        unfinished = b""
        while True:
            start = self.offset - len(unfinished)
            view = self.peek(1)
            data, read = unfinished + bytes(view), len(view)
            self.skip(read)
            complete = [line + b"\n" for line in data.split(b"\n")]
            complete[-1] = complete[-1][:-1]  # what follows the last newline
            unfinished = complete.pop() if read or not complete[-1] else b""
            for line in complete:
                yield start, line
                start += len(line)
            if not read:
                return
            if len(unfinished) > longest:
                raise FormatError(f"has a line longer than {longest} bytes", self.path, start)


@contextlib.contextmanager
def reading(path: PathLike, *, progress: bool = False) -> Iterator[Source]:
    """The bytes of a file in order, decompressed if necessary, never all at once.

    gzip, bzip2, xz, Zstandard and zip archives with one file in them are recognised by their first
    bytes. With ``progress`` a large file shows a bar on a terminal.

    Raises FormatError for a zip archive with several files; damage shows while reading.
    """
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(open(path, "rb"))
        size = os.fstat(raw.fileno()).st_size if os.path.isfile(path) else 0
        bar = None
        if progress and size > _LARGE:
            bar = stack.enter_context(progress_bar(size, "B", f"reading {os.path.basename(path)}"))
        head = raw.peek(8)[:8]
        stream: Any = raw
        for _, magic, opener in _COMPRESSIONS:
            if head.startswith(magic):
                stream = stack.enter_context(opener(raw, "rb"))
        if head.startswith(b"PK\x03\x04"):
            stream = stack.enter_context(_only_member(raw, path))
        source = Source(path, size, stream, raw, bar)
        stack.callback(source.close)
        yield source


@contextlib.contextmanager
def plain(
    path: PathLike, *, most: int | None = None, progress: bool | None = None
) -> Iterator[BinaryIO]:
    """A regular file with the decompressed bytes, which can be mapped: the file itself or a copy.

    Compressed files and pipes are copied to a temporary file, which the system removes even if the
    process is killed; ``progress`` shows a bar meanwhile (None: on a terminal). "-" is standard
    input. FormatError if the copy would have more than ``most`` bytes; further errors as of
    `reading`.
    """
    import tempfile

    path = "/dev/stdin" if path == "-" else path
    with reading(path) as source:
        if source.size is not None:
            with open(path, "rb") as file:
                yield file
            return
        label = f"unpacking {os.path.basename(path)}"
        shown = progress if source.packed > _LARGE else False
        with (
            tempfile.TemporaryFile() as copy,
            progress_bar(source.packed, "B", label, shown) as bar,
        ):
            while len(view := source.peek(1)):
                if most is not None and source.offset + len(view) > most:
                    raise FormatError(f"unpacks to more than {most} bytes", path)
                copy.write(view)
                source.skip(len(view))
                bar.update(source.passed - bar.n)
            copy.seek(0)
            yield copy


def _only_member(raw: BinaryIO, path: PathLike) -> Any:
    import zipfile

    try:
        archive = zipfile.ZipFile(raw)
        names = [entry for entry in archive.namelist() if not entry.endswith("/")]
        names = [entry for entry in names if not entry.startswith("__MACOSX/")]
        if len(names) == 1:
            return archive.open(names[0])
    except Exception as error:  # a damaged archive fails in any way
        raise FormatError(f"is a zip archive that cannot be read: {error}", path, 0) from None
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    raise FormatError(f"holds {len(names)} files ({listed}); unpack the one you mean", path, 0)


class _ZstandardReader:
    """Decompresses as it is read: unlike the package's own reader it detects a truncated file."""

    # One kilobyte may unpack to 32 megabytes (128 kB from a block of 4 bytes), which bounds memory.
    _STEP = 1024

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._frame, self._rest, self._held = file, None, b"", b""
        self._new_frame: Any = _zstandard().ZstdDecompressor().decompressobj

    def __enter__(self) -> _ZstandardReader:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, count: int) -> bytes:
        while not self._held:
            data = self._rest or self._file.read(self._STEP)
            if not data:
                if self._frame is not None:
                    raise EOFError("the last frame has no end")
                return b""
            frame = self._frame or self._new_frame()
            try:
                self._held = frame.decompress(data)
            except _zstandard().ZstdError as error:
                raise OSError(str(error)) from None
            self._rest, self._frame = (frame.unused_data, None) if frame.eof else (b"", frame)
        data, self._held = self._held[:count], self._held[count:]
        return data
