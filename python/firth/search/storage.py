"""An index on disk: a file that is mapped, and a log of the changes since it was written.

Beside the file (`firth.search.file`), ``<path>.log`` (`firth.formats.log`) records every addition
and removal before it becomes visible. Opening an index maps the file and replays the log.

When the log has outgrown the file, or many rows are dead, or on `compact`, a new file is written
beside the old one and replaces it by a rename; then an empty log replaces the log. Each file has a
random *key*, which its log has too, and the key of the file that it *replaces*: between the two
renames the log is that of the old file, whose content is all in the new one, so it is ignored. A
log with a third key belongs to another file, and that is an error.

A process that changes an index holds a lock on its log; readers need none. As files are only
replaced, never changed, a reader keeps what it has opened. It opens the log first: a new file is
always in place before its log.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import FormatError, warn
from firth.formats import container, log
from firth.formats.files import PathLike
from firth.interrupt import deferred_interrupt
from firth.search import records
from firth.search.file import KIND, File, write
from firth.search.segments import Segment
from firth.search.state import State
from firth.search.table import COMPACT_FROM, Table

if sys.platform != "win32":  # there, nothing keeps two processes from writing to one index
    import fcntl

_LOG_FROM = 1 << 24  # bytes of a log from which it may outgrow its file

SHARDED = "ids.firth"  # what the folder of a sharded index has, and no other


class Stored:
    """The files of an index that may be changed; as `firth.search.table.Log` wants it.

    It does not know its table, so that an index that is no longer used is closed at once.
    """

    def __init__(self, path: str, file: io.FileIO, content: File, mmap: bool) -> None:
        self.path, self._log, self._mmap = path, log_of(path), mmap
        self._process = os.getpid()
        self._adopt(file, content)

    def _adopt(self, file: io.FileIO, content: File) -> None:
        self._file, self._key, self._cells = file, content.key, content.state.cells
        self._writer = log.Writer(file, content.key)
        self._failed_at = 0  # size of the log when the last automatic compaction failed
        self._unsure = False  # whether a sync has failed: the system may have dropped what it held
        self._synced_folder = False

    def added(
        self,
        state: State,
        labels: NDArray[np.int64],
        names: Sequence[str],
        parts: list[tuple[Segment, slice]],
    ) -> int:
        """Log an addition."""
        payload = records.addition(state.next_label, labels, names, parts)
        return self._append(state.log_end, records.ADD, payload)

    def removed(self, state: State, labels: NDArray[np.int64]) -> int:
        """Log a removal."""
        return self._append(state.log_end, records.REMOVE, [labels])

    def _append(self, end: int, kind: int, payload: list[Any]) -> int:
        self._check_process()
        try:
            return self._writer.append(end, kind, payload)
        except OSError as error:
            error.filename = self._log
            raise

    def rewind(self, end: int) -> None:
        """Remove the record of a change that failed."""
        if os.getpid() == self._process:
            self._writer.rewind(end)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise io.UnsupportedOperation(
                f"{self.path}: only the process that opened the index may change it, not its forks"
            )

    def flush(self, table: Table) -> None:
        """Sync the log to disk."""
        self._check_process()
        if self._unsure:
            self.compact(table)
            return
        try:
            os.fsync(self._file.fileno())
            if not self._synced_folder:
                _sync_folder(self.path)
        except OSError as error:
            self._unsure, error.filename = True, self._log
            raise
        self._synced_folder = True

    def compact_if_due(self, table: Table) -> None:
        """`compact` where the log has outgrown the file, or a quarter of the rows are dead.

        Or after new cells, which would be trained again whenever the log is replayed.
        """
        state = table.state
        rows = sum(segment.rows for segment in state.segments)
        dead = rows - state.live
        size = state.log_end
        due = (dead > COMPACT_FROM and dead > rows / 4) or state.cells is not self._cells
        if not (due or size > _LOG_FROM) or size < 2 * self._failed_at:
            return
        try:
            if due or size > os.path.getsize(self.path):
                self.compact(table)
        except Exception as error:  # the change itself is safe in the log
            self._failed_at = size
            warn(f"the index could not be compacted: {error!r}")

    def compact(self, table: Table) -> None:
        """Rewrite the file with the changes in the log, and begin a new log.

        The caller holds the lock of writers. If the disk is full, nothing has changed.
        """
        self._check_process()
        self._check_file()
        _sweep(self.path)
        state, key = table.state, secrets.token_bytes(16)
        with deferred_interrupt() as interrupted, contextlib.ExitStack() as opened:
            # Until file and log are known to fit each other: what is added to the log of a file
            # that has been replaced counts for nothing.
            reason = "its log could not be replaced; close it and open it again"
            table.log = Refusing(self.path, reason, self.leave)
            fresh, temporary, problem = None, "", None
            try:
                fresh, temporary = _new_log(self.path)
                opened.enter_context(fresh)
                write(self.path, table, state, key, self._key)
            except BaseException as error:
                problem = error
            # A write may fail when the new file is in its place already (a sync).
            content = File(self.path, self._mmap, verify=False)
            if fresh is not None and content.key == key:
                os.replace(temporary, self._log)
                opened.pop_all()
                self._file.close()
                self._adopt(fresh, content)
                table.mapped, table.key = content.table.mapped, key
                table.show(replace(content.state, version=state.version))
            elif content.key != self._key:
                raise FormatError("was replaced by another program", self.path)
            elif fresh is not None:
                fresh.close()
                os.unlink(temporary)
            table.log = self
        if problem is not None:
            raise problem
        if interrupted.is_set():
            raise KeyboardInterrupt

    def _check_file(self) -> None:
        """FormatError if another program has replaced our file."""
        try:
            found = container.read(self.path, KIND, mmap="r", decode=False).meta.get("key")
        except FileNotFoundError:
            return
        if found != self._key.hex():
            raise FormatError(
                "was replaced by another program; the changes to the replaced file are in "
                f"its log, {self._log}",
                self.path,
            )

    def close(self, table: Table) -> None:
        """Sync the log, or remove it if it is empty, and release the index."""
        try:
            empty = log.is_empty(table.state.log_end)
            if os.getpid() == self._process and not empty:
                self.flush(table)
            elif os.getpid() == self._process:
                with contextlib.suppress(OSError):
                    if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._log)):
                        os.unlink(self._log)
        finally:
            self.leave()

    def leave(self) -> None:
        """Let others open the index."""
        if os.getpid() == self._process and not self._file.closed and sys.platform != "win32":
            # A child that has only just begun still has the file open, and so would keep the lock.
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()


class Refusing:
    """In place of a log for an index that must not be changed."""

    def __init__(self, path: str, reason: str, leave: Callable[[], None] | None = None) -> None:
        self.path, self._reason, self._leave = path, reason, leave

    def refuse(self, *_: Any) -> Any:
        """Raise io.UnsupportedOperation (a ValueError and an OSError)."""
        raise io.UnsupportedOperation(f"{self.path}: {self._reason}")

    added = removed = compact = refuse

    def flush(self, table: Table) -> None:
        """There is nothing to sync."""

    compact_if_due = flush

    def rewind(self, end: int) -> None:
        """Nothing was written."""

    def leave(self) -> None:
        """Let others open the index."""
        if self._leave is not None:
            self._leave()

    def close(self, table: Table) -> None:
        """There is nothing to sync; release the index."""
        self.leave()


def log_of(path: PathLike) -> str:
    """The log beside a file."""
    return os.path.realpath(path) + ".log"


def _locked(path: str, path_of_index: PathLike) -> io.FileIO:
    """The log of this name, locked for this process, created if necessary.

    BlockingIOError with the name of the index if another process has locked it.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        file = io.FileIO(os.open(path, flags, 0o666), "r+")
        try:
            if sys.platform == "win32":
                return file
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    return file
        except BlockingIOError:
            file.close()
            raise BlockingIOError(
                errno.EAGAIN, "the index is open for writing elsewhere", os.fspath(path_of_index)
            ) from None
        except BaseException:
            file.close()
            raise
        file.close()  # it was removed or replaced meanwhile


def _new_log(path: PathLike) -> tuple[io.FileIO, str]:
    """An empty log, locked, under a temporary name."""
    folder, name = os.path.split(log_of(path))
    temporary = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(4)}.tmp")
    return _locked(temporary, path), temporary


def _sweep(path: str) -> None:
    """Remove temporary files of killed writers, which may be large."""
    folder, name = os.path.split(path)
    left = re.compile(rf"\.{re.escape(name[:200])}(\.log)?\.[0-9a-f]{{8}}\.tmp")
    with os.scandir(folder) as entries:
        for entry in entries:
            if left.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _sync_folder(path: PathLike) -> None:
    if os.name == "posix":
        descriptor = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# Saving and opening


def save(path: PathLike, table: Table) -> None:
    """Write a copy of an index. An existing index file is replaced, with its log."""
    target, state, key = os.path.realpath(path), table.state, secrets.token_bytes(16)
    if os.path.exists(target) and not os.path.isfile(target):  # a pipe: it can have no log
        write(path, table, state, key, bytes(16))
        return
    beside = log_of(path)
    try:
        lock = _locked(beside, path)
    except OSError as error:
        error.filename = os.fspath(path)
        raise
    with lock:
        try:
            with open(beside, "rb") as file:
                old = log.Reader(file, beside).key
            write(path, table, state, key, old or bytes(16))
        except BaseException:
            if os.fstat(lock.fileno()).st_size > 0:  # it was there before
                raise
            os.unlink(beside)
            raise
        os.unlink(beside)


def is_sharded(path: PathLike) -> bool:
    """Whether a path is the folder of a sharded index, which `firth.distributed` reads."""
    return os.path.isfile(os.path.join(path, SHARDED))


def open_table(path: PathLike, mode: str, mmap: bool, verify: bool) -> Table:
    """Open what `save` wrote; see `Index.open`."""
    if mode not in ("r", "r+"):
        raise ValueError(f"Index.open: mode must be 'r' or 'r+', got {mode!r}")
    if is_sharded(path):
        raise FormatError(
            "is the folder of a sharded index: firth.distributed.ShardedIndex.open reads it", path
        )
    if mode == "r":
        os.stat(path)
        return _open_to_read(path, mmap, verify)
    File(path, True, False)  # before a log is created beside a file that is not an index
    lock = _locked(log_of(path), path)
    try:
        content = File(path, mmap, verify)
        with open(log_of(path), "rb") as file:
            reader = log.Reader(file, log_of(path))
            belongs = records.replay(content, reader, log_of(path))
        if not belongs and reader.key is not None:  # its records are in the file already
            fresh, temporary = _new_log(path)
            os.replace(temporary, log_of(path))
            lock.close()
            lock = fresh
        end = reader.end if belongs else 0
        if os.fstat(lock.fileno()).st_size > end:
            lock.truncate(end)  # an incomplete record
    except BaseException:
        lock.close()
        raise
    stored = Stored(os.path.realpath(path), lock, content, mmap)
    table = content.table
    table.log = stored
    weakref.finalize(table, stored.leave)
    return table


def _open_to_read(path: PathLike, mmap: bool, verify: bool) -> Table:
    tries = 3
    while True:
        with contextlib.ExitStack() as stack:
            file = None
            with contextlib.suppress(FileNotFoundError):
                file = stack.enter_context(open(log_of(path), "rb"))
            content = File(path, mmap, verify)
            table = content.table
            table.state = content.state
            try:
                if file is not None:
                    records.replay(content, log.Reader(file, log_of(path)), log_of(path))
            except records.Foreign:
                # Between the two, the file may have been rewritten twice.
                if tries == 0:
                    raise
                tries -= 1
                continue
            table.log = Refusing(
                os.path.realpath(path), "the index was opened for reading (mode='r')"
            )
            return table
