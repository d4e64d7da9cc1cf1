"""The actors of all shards: which one is asked, what happens when one is lost, changes of all.

Knows no Ray: an `Engine` makes the calls. What it must promise is that an actor does one call after
another, in the order in which they were made.

Actor 0 of a shard writes its file; the others, its followers, have opened the same file and make
each change in memory. A change is sent to all actors of all shards in one *turn* (a lock), and so
is a search: each search comes before a change or after it, wherever. That is a matter of order, and
nobody waits; the numbers of changes in the answers prove it, and where they differ (an actor was
lost meanwhile) the search is made again.

A lost actor has a new one in its place at once, whose first call opens the file. If a change is
under way, it is that one's second call. Calls for a shard go to followers that have opened their
file, or else wait in actor 0, so no follower shows what it has read from a file too early.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from firth.distributed.shard import Mark, Role, Unopened
from firth.distributed.shard_files import Change

_STEP = 0.5  # seconds between two looks at what has become of actors
_PAUSE = 0.05  # before an actor is replaced that has just been replaced


class Lost(Exception):
    """An actor has ended, or cannot be reached: nobody knows whether it has made a call."""


class Engine(Protocol):
    """Makes calls of actors, each a `firth.distributed.shard.Shard`."""

    def start(self) -> Any:
        """A new actor; it may come to life later."""

    def call(self, actor: Any, method: str, *arguments: Any) -> Any:
        """A reference to what the method will return. Never waits; ConnectionError: it cannot."""

    def done(self, references: Sequence[Any], timeout: float) -> list[Any]:
        """Those of which the value is known, as soon as there is one, or after a time."""

    def value(self, reference: Any) -> Any:
        """What a method returned; raises what it raised, or `Lost`."""

    def shared(self, value: Any) -> Any:
        """An argument of several calls, which is sent once."""

    def stop(self, actor: Any) -> None:
        """End an actor."""


@dataclass(eq=False)
class Actor:
    """One actor of a shard."""

    handle: Any
    shard: int
    number: int
    opening: Any  # a reference: what makes it ready; None: it is
    busy: int = 0  # searches that it has to do


@dataclass(frozen=True)
class Call:
    """A call that is under way."""

    actor: Actor
    reference: Any


@dataclass
class Pending:
    """A change that has begun and not ended."""

    parts: dict[int, Change]
    left: dict[int, Any]  # shards that have not said that it is in their file: the call, or None
    moved: set[int] = field(default_factory=set)  # shards that have rewritten their file


class Replicas:
    """The actors of all shards; see the head of this module.

    Parameters
    ----------
    where : str
        The function that opens them, for messages.
    engine : Engine
    files : sequence of str
        Of the shards.
    replicas : int
        Actors of each.
    writable, verify : bool
    timeout : float
        Seconds to wait for an actor that comes to life.

    Raises what opening a file raises, TimeoutError where an actor does not come to life.
    """

    def __init__(
        self, where: str, engine: Engine, files: Sequence[str], replicas: int, writable: bool,
        verify: bool, timeout: float,
    ) -> None:  # fmt: skip
        self._engine, self._files = engine, files
        self._writable, self._timeout = writable, timeout
        self.turn = threading.RLock()
        self.version = 0  # changes so far
        self.pending: Pending | None = None
        self._marks: list[Mark | None] = [None] * len(files)
        self._problems: dict[int, str] = {}  # why a shard could not be opened
        self._calls = 0
        self._actors: list[list[Actor]] = [[] for _ in files]
        try:
            for shard in range(len(files)):
                for number in range(replicas):
                    self._actors[shard].append(self._start(shard, number, verify))
            until = time.monotonic() + timeout
            for shard, actors in enumerate(self._actors):
                for number in range(len(actors)):
                    self._marks[shard] = self._first_mark(where, shard, number, until)
        except BaseException:
            self.stop()
            raise

    def _first_mark(self, where: str, shard: int, number: int, until: float) -> Mark:
        """What an actor has opened; one that is lost meanwhile is replaced."""
        while True:
            actor = self._actors[shard][number]
            while not self._engine.done([actor.opening], _STEP):
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"{where}: the actor of {self._files[shard]} has not come to life within "
                        f"{self._timeout:.0f} s: the cluster has no processor for it"
                    )
            try:
                mark: Mark = self._engine.value(actor.opening)
            except Lost as error:
                if time.monotonic() > until:
                    raise ConnectionError(
                        f"{where}: the actor of {self._files[shard]}: {error}"
                    ) from error
                time.sleep(_PAUSE)
                self.replace(actor, error)
                continue
            actor.opening = None
            return mark

    @property
    def rows(self) -> int:
        """The rows of all shards when they were opened."""
        return sum(mark.rows for mark in self._marks if mark is not None)

    @property
    def shards(self) -> range:
        """The numbers of the shards."""
        return range(len(self._files))

    # Actors

    def _start(self, shard: int, number: int, verify: bool = False) -> Actor:
        role: Role = "read"
        if self._writable:
            role = "follow" if number else "write"
        actor = Actor(self._engine.start(), shard, number, None)
        self._open(actor, role, verify)
        return actor

    def _open(self, actor: Actor, role: Role, verify: bool = False) -> None:
        """Let an actor open its file, and make the change that is under way."""
        shard, pending, engine = actor.shard, self.pending, self._engine
        part = None if pending is None else pending.parts.get(shard)
        actor.opening = engine.call(
            actor.handle, "open", self._files[shard], role, self.version - (part is not None),
            self._marks[shard] if role == "read" else None, verify, self._timeout,
        )  # fmt: skip
        if pending is not None and part is not None:
            reference = engine.call(actor.handle, "change", part, self.version)
            if actor.number == 0:
                pending.left[shard] = reference
            else:
                actor.opening = reference

    def replace(self, actor: Actor, reason: BaseException) -> None:
        """A new actor in the place of one that is lost, or that could not open its file."""
        with self.turn:
            actors = self._actors[actor.shard]
            if actor in actors:  # nobody else has
                self._problems[actor.shard] = str(reason)
                self._engine.stop(actor.handle)
                actors[actor.number] = self._start(actor.shard, actor.number)

    def _ready(self, actor: Actor) -> bool:
        """Whether an actor has opened its file. One that cannot is replaced."""
        with self.turn:  # so that it does not begin to open its file again meanwhile
            if actor.opening is not None and self._engine.done([actor.opening], 0):
                try:
                    self._engine.value(actor.opening)
                except Exception as error:
                    self.replace(actor, error)
                    return False
                actor.opening = None
            return actor.opening is None

    def submit(
        self, shard: int, method: str, arguments: tuple[Any, ...], first: bool, ready: bool
    ) -> Call | None:
        """A call of the actor of a shard that has least to do; the caller has the turn.

        ``first``: of actor 0. ``ready``: None where no actor has opened its file.
        """
        actors = self._actors[shard][:1] if first else self._actors[shard]
        if not actors:
            raise io.UnsupportedOperation(f"{method}: the index was closed")
        chosen = [actor for actor in list(actors) if self._ready(actor)]
        if not chosen:
            if ready:
                return None
            chosen = self._actors[shard][:1]
        self._calls += 1
        turned = self._calls // len(self._files)
        actor = min(chosen, key=lambda one: (one.busy, (one.number + turned) % len(actors)))
        actor.busy += 1
        return Call(actor, self._engine.call(actor.handle, method, *arguments))

    def gather(
        self,
        where: str,
        calls: dict[int, Call | None],
        method: str,
        arguments: Mapping[int, tuple[Any, ...]],
        *,
        first: bool = False,
        partial: bool = False,
        timeout: float,
    ) -> tuple[dict[int, Any], dict[int, Call]]:
        """What the calls of shards return, and the calls that returned it.

        Where an actor is lost, its call is made of another one.

        Parameters
        ----------
        calls
            As `submit` gave them, with these arguments.
        partial : bool
            Leave out shards that do not answer within ``timeout`` seconds, or cannot. Otherwise
            ConnectionError, where a shard cannot be opened again within so many seconds.
        """
        until = time.monotonic() + timeout
        limits: dict[int, float] = {}
        answers: dict[int, Any] = {}
        answered: dict[int, Call] = {}
        waiting = {shard: call for shard, call in calls.items() if call is not None}
        try:
            while waiting and not (partial and time.monotonic() >= until):
                step = min(_STEP, max(0.0, until - time.monotonic())) if partial else _STEP
                references = [call.reference for call in waiting.values()]
                done = set(self._engine.done(references, step))
                for shard, call in list(waiting.items()):
                    if call.reference not in done:
                        if not partial and not self._ready(call.actor):
                            self._check_limit(where, shard, limits, timeout)
                        continue
                    try:
                        answers[shard] = self._engine.value(call.reference)
                        answered[shard] = call
                        new = None
                    except (Lost, Unopened) as error:
                        self.replace(call.actor, error)
                        if not partial:
                            self._check_limit(where, shard, limits, timeout)
                        with self.turn:
                            new = self.submit(shard, method, arguments[shard], first, partial)
                    call.actor.busy -= 1
                    del waiting[shard]
                    if new is not None:
                        waiting[shard] = new
        finally:
            for call in waiting.values():
                call.actor.busy -= 1
        return answers, answered

    def _check_limit(
        self, where: str, shard: int, limits: dict[int, float], timeout: float
    ) -> None:
        """ConnectionError where a shard has been without an actor for so many seconds."""
        now = time.monotonic()
        if shard not in limits:
            limits[shard] = now + timeout
        elif now > limits[shard]:
            raise ConnectionError(f"{where}: {self.problem(shard)}, for {timeout:.0f} s now")
        else:
            time.sleep(_PAUSE)

    def problem(self, shard: int) -> str:
        """Why a shard does not answer."""
        why = self._problems.get(shard, "no actor has come to life")
        return f"shard {shard} ({self._files[shard]}) cannot be opened again: {why}"

    # Changes

    def begin(self, change: Change) -> None:
        """Send each shard its part of a change; the caller has the turn, and none is pending."""
        parts = change.parts(len(self._files))
        version = self.version
        self.version = version + 1
        # Actors that are replaced from here on get their part by that.
        self.pending = Pending(parts, dict.fromkeys(parts))
        for shard, actors in enumerate(self._actors):
            for actor in actors:
                if actor.number and not self._ready(actor):
                    # It might open the file when the change is in it, and so has to do it again.
                    self._open(actor, "follow")
                    continue
                part = parts.get(shard)
                reference = self._engine.call(actor.handle, "change", part, self.version)
                if actor.number == 0 and part is not None:
                    self.pending.left[shard] = reference

    def finish(self, where: str, timeout: float) -> None:
        """Wait until the change that is pending, if any, is in the files of all shards.

        After an exception it is still pending, and the next call goes on with it.

        Raises
        ------
        ConnectionError
            A shard cannot be opened again. RuntimeError: it cannot make the change.
        """
        pending = self.pending
        if pending is None:
            return
        limits: dict[int, float] = {}
        while pending.left:
            for shard in list(pending.left):
                self._finish_shard(where, pending, shard, limits, timeout)
        moved = set(pending.moved)
        self.pending = None
        self.renew(moved)

    def _finish_shard(
        self, where: str, pending: Pending, shard: int, limits: dict[int, float], timeout: float
    ) -> None:
        with self.turn:
            actor = self._actors[shard][0]
            if pending.left[shard] is None:
                part = pending.parts[shard]
                pending.left[shard] = self._engine.call(actor.handle, "change", part, self.version)
            reference = pending.left[shard]
        if not self._engine.done([reference], _STEP):
            if not self._ready(actor):
                self._check_limit(where, shard, limits, timeout)
            return
        try:
            mark = self._engine.value(reference)
        except (Lost, Unopened) as error:
            self.replace(actor, error)
            self._check_limit(where, shard, limits, timeout)
        except Exception as error:
            with self.turn:
                pending.left[shard] = None
            raise RuntimeError(
                f"{where}: shard {shard} ({self._files[shard]}) cannot make the change "
                f"({type(error).__name__}: {error}); it is recorded, and made by the next call "
                "that can, or when the index is opened again"
            ) from error
        else:
            del pending.left[shard]
            self.note(shard, mark, pending.moved)

    def note(self, shard: int, mark: Mark, moved: set[int]) -> None:
        """Remember what the file of a shard is now; ``moved`` gets those that were rewritten."""
        before = self._marks[shard]
        if before is None or before.key != mark.key:
            moved.add(shard)
        self._marks[shard] = mark

    def renew(self, shards: set[int]) -> None:
        """Let followers open files that were rewritten: they map the old ones still."""
        with self.turn:
            for shard in shards:
                for actor in self._actors[shard][1:]:
                    self._open(actor, "follow")

    def stop(self) -> None:
        """End all actors."""
        with self.turn:
            actors, self._actors = self._actors, [[] for _ in self._files]
            for actor in (one for some in actors for one in some):
                self._engine.stop(actor.handle)

    def close(self) -> None:
        """Close the files, then end all actors."""
        with self.turn:
            references: list[Any] = []
            with contextlib.suppress(ConnectionError):  # actors have ended with the connection
                references = [
                    self._engine.call(some[0].handle, "close") for some in self._actors if some
                ]
        until = time.monotonic() + self._timeout
        while references and time.monotonic() < until:
            done = self._engine.done(references, _STEP)
            references = [one for one in references if one not in done]
        self.stop()
