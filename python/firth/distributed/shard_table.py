"""A sharded index but for its arguments and results: its ids, its actors, how it changes.

What `firth.search.table` is to an `Index`. ``ids.firth`` is open here, the shards in actors.
A change is written to a file, then made in the ids and sent to the actors in one turn; when all
shards have it in their files, its file is removed.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arguments import check_real, shortened
from firth.distributed import shard_files
from firth.distributed.replicas import Call, Engine, Replicas
from firth.distributed.shard import Mark, make
from firth.distributed.shard_files import Change, Folder
from firth.errors import FormatError
from firth.interrupt import deferred_interrupt
from firth.search.arguments import whole
from firth.search.index import Index
from firth.search.state import State

_TRIES = 50  # of a reader, while another program changes the index
_PAUSE = 0.1  # seconds between two of them

Arguments = dict[int, tuple[Any, ...]]  # of a method, for each shard that is asked


class ShardTable:
    """The content of a sharded index.

    Parameters
    ----------
    where : str
        The function that opens it, for messages.
    folder : Folder
        With all its indexes.
    engine : Engine
    mode, replicas, timeout, verify
        As of `ShardedIndex.open`, and so are the errors.
    """

    def __init__(
        self, where: str, folder: Folder, engine: Engine, mode: str, replicas: int,
        timeout: float, verify: bool,
    ) -> None:  # fmt: skip
        self.folder, self.engine, self.timeout = folder, engine, timeout
        self.writing = threading.RLock()  # held by a writer from begin to end
        self._refusal = "" if mode == "r+" else "the index was opened for reading (mode='r')"
        self._closed = False
        self._recorded = False  # whether the change that is pending is in a file
        self._rows: tuple[State, NDArray[np.uint16]] | None = None  # the shard of each row
        for _ in range(_TRIES if mode == "r" else 1):
            before = folder.moment()
            if before is None and mode == "r":
                time.sleep(_PAUSE)
                continue
            self.ids = Index.open(folder.ids, mode, verify=verify)
            try:
                self.actors = Replicas(
                    where, engine, folder.files, replicas, mode == "r+", verify, timeout
                )
            except BaseException:
                self.ids.close()
                raise
            if mode == "r+" or before == folder.moment():
                break
            self.actors.stop()
        else:
            raise BlockingIOError(
                f"{where}: a change of {folder.path} is under way, or was interrupted: open it for "
                "writing, which completes it"
            )
        try:
            self._recover(where)
        except BaseException:
            self.leave()
            raise

    def _recover(self, where: str) -> None:
        """Make the change that was interrupted, if there is one."""
        if not os.path.exists(self.folder.change):
            rows = self.actors.rows
            if rows != len(self.ids):
                raise FormatError(
                    f"names {len(self.ids)} rows, the shards have {rows}: the files do not belong "
                    "together",
                    self.folder.ids,
                )
            return
        change = Change.read(self.folder.change)
        self._recorded = True
        make(self.ids._table, change.of_ids())
        self.actors.begin(change)
        self.finish(where)

    def check_open(self) -> None:
        """io.UnsupportedOperation for an index that was closed."""
        if self._closed:
            raise io.UnsupportedOperation(f"{self.folder.path}: the index was closed")

    def check_writable(self) -> None:
        """The same, also for one that was opened for reading."""
        self.check_open()
        if self._refusal:
            raise io.UnsupportedOperation(f"{self.folder.path}: {self._refusal}")

    # Changes; the caller holds `writing`

    def change(self, where: str, change: Change, recorded: bool = True) -> None:
        """Make a change, all of it or nothing.

        Not ``recorded``, it is not waited for: the index counts for nothing before it is built.
        """
        self.finish(where)
        if recorded:
            change.write(self.folder.change)
        with deferred_interrupt() as interrupted, self.actors.turn:
            try:
                make(self.ids._table, change.of_ids())
            except BaseException:
                if recorded:
                    os.unlink(self.folder.change)
                raise
            self._recorded = recorded
            self.actors.begin(change)
        if recorded:
            self.finish(where)
        if interrupted.is_set():
            raise KeyboardInterrupt

    def finish(self, where: str) -> None:
        """Wait for the change that is pending, if any; see `Replicas.finish`."""
        self.actors.finish(where, self.timeout)
        if self._recorded:
            self.ids.flush()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.folder.change)
            self._recorded = False

    # Questions

    def ask(
        self,
        where: str,
        prepare: Callable[[], tuple[State, Arguments]],
        partial: bool = False,
        timeout: float | None = None,
    ) -> tuple[State, dict[int, Any], tuple[int, ...]]:
        """Answers of shards that belong together, the state of the ids, and what is missing.

        Parameters
        ----------
        where : str
            The method of a `firth.distributed.shard.Shard` that is called, also for messages.
        prepare : callable
            Gives a state of the ids, and the arguments.
        partial, timeout
            As of `ShardedIndex.search`.
        """
        if timeout is None:
            timeout = self.timeout
        check_real(f"{where}: timeout", timeout, 0, 1e9, above=True)
        if not isinstance(partial, (bool, np.bool_)):
            raise TypeError(f"{where}: partial must be True or False, got {shortened(partial)}")
        actors = self.actors
        while True:
            with actors.turn:
                self.check_open()
                state, arguments = prepare()
                version = actors.version
                calls = {
                    shard: actors.submit(shard, where, given, False, partial)
                    for shard, given in arguments.items()
                }
            answers, answered = actors.gather(
                where, calls, where, arguments, partial=partial, timeout=timeout
            )
            late = [shard for shard, (changes, _) in answers.items() if changes != version]
            if late and (actors.version != version or not partial):
                self._catch_up(where, version, [answered[shard] for shard in late])
                continue
            found = {shard: answers[shard][1] for shard in sorted(answers) if shard not in late}
            return state, found, tuple(sorted(set(arguments) - set(found)))

    def _catch_up(self, where: str, version: int, late: list[Call]) -> None:
        """Go on with a change that actors have not made."""
        if self.actors.version != version:  # they have made another one meanwhile: all is well
            return
        with self.writing:
            if self.actors.pending is not None:
                self.finish(where)
            elif self.actors.version == version:
                for call in late:
                    self.actors.replace(call.actor, RuntimeError("it has missed a change"))

    def each(self, method: str, arguments: Arguments) -> dict[int, Any]:
        """What a method returns in the actors that write; the caller holds `writing`."""
        self.finish(method)
        with self.actors.turn:
            calls = {
                shard: self.actors.submit(shard, method, given, True, False)
                for shard, given in arguments.items()
            }
        answers, _ = self.actors.gather(
            method, calls, method, arguments, first=True, timeout=self.timeout
        )
        return {shard: value for shard, (_, value) in sorted(answers.items())}

    def rewritten(self, marks: dict[int, Mark]) -> None:
        """Let followers open the files that writers have rewritten."""
        moved: set[int] = set()
        for shard, mark in marks.items():
            self.actors.note(shard, mark, moved)
        self.actors.renew(moved)

    def every(self, *arguments: Any) -> Arguments:
        """The same arguments for all shards."""
        return dict.fromkeys(self.actors.shards, arguments)

    def routed(self, state: State, given: Any) -> list[Any]:
        """What each shard gets of choices of rows."""
        shards, of = len(self.folder.files), None
        if shard_files.has_mask(given):
            if self._rows is None or self._rows[0] is not state:
                self._rows = state, shard_files.live_shards(state, shards)
            of = self._rows[1]
        return shard_files.routed(given, state.live, of, shards)

    def labels(self, state: State, ids: NDArray[Any]) -> NDArray[np.int64]:
        """The labels, in a state of the ids, of what a shard has found; any for None."""
        if ids.dtype != object:
            return ids
        names = ids.ravel().tolist()
        table = self.ids._table
        with table.publishing:
            known, now = table._known_names(), table.state
            found = [0 if name is None else known.get(name, -1) for name in names]
        # An id that was removed and added again since, or renumbered, has another label now.
        if now is not state and (
            now.names is not state.names
            or not all(0 <= label < state.next_label for label in found)
        ):
            known = {name: label for label, name in enumerate(state.each_name())}
            found = [0 if name is None else known[name] for name in names]
        return np.array(found, np.int64).reshape(ids.shape)

    # Files

    def save(self, target: Folder) -> None:
        """Write all indexes to another folder; the caller holds `writing`."""
        self.each("save", {shard: (file,) for shard, file in enumerate(target.files)})
        for file in target.files:
            if not os.path.exists(file):
                raise FileNotFoundError(
                    f"save: {file} was written on another node; give a folder that all nodes share"
                )
        self.ids.save(target.ids)

    def close(self) -> None:
        """Complete what is pending, and `leave`."""
        with self.writing:
            if not self._closed:
                try:
                    self.finish("close")
                finally:
                    self.leave()

    def leave(self) -> None:
        """Let others open the index, and end the actors."""
        self._closed = True
        self.actors.close()
        self.ids.close()


def checked_options(where: str, replicas: Any, cpus: Any, timeout: Any) -> tuple[int, int, float]:
    """Replicas, processors of an actor and seconds, checked; ``where`` begins errors."""
    check_real(f"{where}: timeout", timeout, 0, 1e9, above=True)
    return (
        whole(f"{where}: replicas", replicas, 1),
        whole(f"{where}: cpus", cpus, 1),
        float(timeout),
    )
