"""One thread a model, which goes on with the texts of all users together, step by step.

Requests are served in the order in which they came, as many texts at once as there are slots; each
has the bits that it would have alone. A prompt is taken in parts, so that others go on meanwhile.
The event loop makes runs and reads what comes of them; nothing else is shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from firth.errors import SILENT
from firth.serve import errors
from firth.serve.errors import APIError

if TYPE_CHECKING:
    from firth.generators import CausalLM, Run

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """What a step has brought to a run.

    Attributes
    ----------
    index : int
        Of the run in its job.
    text : str
        What has become sure; may be empty.
    tokens : int
        New tokens of the run so far.
    finish_reason : "stop", "length" or None
        None until the end.
    """

    index: int
    text: str
    tokens: int
    finish_reason: str | None


class Job:
    """The runs of a request. Made by `Engine.submit`; iterating gives its pieces as they come."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.cancelled = False
        self.submitted = time.monotonic()
        self.started = self.first = self.ended = 0.0
        self._pieces: asyncio.Queue[Piece | APIError] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        going = len(self.runs)
        try:
            while going:
                piece = await self._pieces.get()
                if isinstance(piece, APIError):
                    raise piece
                going -= piece.finish_reason is not None
                yield piece
                await asyncio.sleep(0)  # others go on, and it is seen who has left
        finally:
            self.cancelled = True  # its slots are free after the next step

    def tell(self, piece: Piece | APIError) -> None:
        """Hand over a piece, from the engine's thread."""
        try:
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)
        except RuntimeError:  # the loop is closed: nobody waits
            self.cancelled = True

    @property
    def times(self) -> dict[str, float]:
        """Seconds, under Groq's names."""
        first = self.first or self.ended
        return {
            "queue_time": self.started - self.submitted,
            "prompt_time": first - self.started,
            "completion_time": self.ended - first,
            "total_time": self.ended - self.started,
        }


class Engine:
    """The scheduler of a model.

    Parameters
    ----------
    model : CausalLM
    slots : int
        Texts that go on at once.
    queue : int
        Texts that may wait; while so many do, requests are refused with 429.

    Attributes
    ----------
    prompt_tokens, cached_tokens, new_tokens : int
        Of all texts that have ended.
    """

    def __init__(self, model: CausalLM, slots: int = 8, queue: int = 64) -> None:
        self.model, self._slots, self._queue = model, slots, queue
        self._batch = model.batch()
        self._waiting: deque[tuple[Job, int]] = deque()
        self._going: dict[Run, tuple[Job, int]] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._seconds = 1.0  # of a request, lately
        self.prompt_tokens = self.cached_tokens = self.new_tokens = 0

    @property
    def waiting(self) -> int:
        """Texts that wait."""
        return len(self._waiting)

    @property
    def going(self) -> int:
        """Texts that go on."""
        return len(self._going)

    def check_room(self) -> None:
        """Refuse a request where too many wait."""
        if self._closed:
            raise APIError(503, "the server is closing", "closing", retry_after=5)
        with self._wake:
            self._waiting = deque(one for one in self._waiting if not one[0].cancelled)
            waiting = self.waiting
        if waiting >= self._queue:
            seconds = self._seconds * waiting / self._slots
            raise APIError(429, f"{waiting} texts wait already", retry_after=max(seconds, 1))

    async def begin(self, make: Callable[[], Sequence[Run]]) -> Job:
        """The job of runs that are made in a thread: prompts and grammars take their time.

        Raises
        ------
        APIError
            A value of the request is not possible, or too many wait.
        """
        self.check_room()
        try:
            return self.submit(await in_thread(make))
        except Exception as error:
            raise errors.of(error) from error

    def submit(self, runs: Sequence[Run]) -> Job:
        """Queue the runs of a request; from the event loop."""
        job = Job(runs)
        with self._wake:
            self.check_room()
            self._waiting += [(job, i) for i in range(len(runs))]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="firth", daemon=True)
                self._thread.start()
            self._wake.notify()
        return job

    def close(self) -> None:
        """Take no more requests; return when those there are have ended."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    # In the engine's thread

    def _work(self) -> None:
        while self._admit():
            try:
                self._batch.step()
            except Exception as error:  # of all texts; what was computed may not be whole
                self._batch = self.model.batch()
                for job, _ in self._going.values():
                    self._end(job, errors.failed(error))
            for run in list(self._going):
                self._report(run)

    def _admit(self) -> bool:
        """Fill the slots, or wait for a request; False where there is nothing left to do."""
        with self._wake:
            while not (self._waiting or self._going or self._closed):
                self._wake.wait()
            free = min(self._slots - len(self._going), len(self._waiting))
            fresh = [self._waiting.popleft() for _ in range(free)]
        for job, i in fresh:
            if not job.cancelled:
                self._begin(job, i)
        return bool(self._going or self._waiting or not self._closed)

    def _begin(self, job: Job, index: int) -> None:
        run = job.runs[index]
        job.started = job.started or time.monotonic()
        self._going[run] = job, index
        try:
            self._batch.join(run)
        except Exception as error:
            self._end(job, errors.failed(error))

    def _report(self, run: Run) -> None:
        """Tell what the last step has brought to a run, and free its slot where it has ended."""
        job, index = self._going[run]
        text = run.text
        if text is None or job.cancelled:
            self._leave(run)
            return
        try:
            piece = run.taken()
            if text.finished:
                piece += run.end()
        except Exception as error:
            self._end(job, errors.of(error))
            self._leave(run)
            return
        new = len(text.ids) - text.prompt
        if new and not job.first:
            job.first = time.monotonic()
        if text.finished:
            job.ended = time.monotonic()
            self._seconds += 0.2 * (job.ended - job.started - self._seconds)
            self._leave(run)
        if piece or text.finished or (new and run.top is not None):
            job.tell(Piece(index, piece, new, text.finished))

    def _end(self, job: Job, error: APIError) -> None:
        job.tell(error)
        job.cancelled = True

    def _leave(self, run: Run) -> None:
        del self._going[run]
        if run in self._batch.runs:
            self._batch.leave(run)
        if run.text is not None:
            self.prompt_tokens += run.text.prompt
            self.cached_tokens += run.text.reused
            self.new_tokens += len(run.text.ids) - run.text.prompt


async def in_thread(call: Callable[[], T]) -> T:
    """What a call returns, from a thread; who cancels it waits for its end.

    It gives no warnings: the user of a server could neither see nor heed them.
    """

    def silent() -> T:
        SILENT.set(True)  # in the thread's own context
        return call()

    task = asyncio.ensure_future(asyncio.to_thread(silent))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await task
        raise


class Turns:
    """Lets one request at a time have a model, in the order in which they came.

    Parameters
    ----------
    queue : int
        Requests that may wait; more are refused with 429.
    """

    def __init__(self, queue: int = 64) -> None:
        self._lock, self._queue, self._waiting = asyncio.Lock(), queue, 0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn, and have it while the block runs."""
        if self._waiting >= self._queue:
            raise APIError(429, f"{self._waiting} requests wait already", retry_after=1)
        self._waiting += 1
        try:
            async with self._lock:
                yield
        finally:
            self._waiting -= 1

    async def run(self, call: Callable[[], T]) -> T:
        """What the call returns, when it has had its turn, from a thread."""
        async with self.turn():
            return await in_thread(call)


class Gone(APIError):
    """The client has closed the connection: nobody reads this."""

    def __init__(self) -> None:
        super().__init__(499, "the client has closed the connection", "closed")  # nginx's status


class Events(StreamingResponse):
    """A job as a stream; whoever stops to listen ends the job."""

    def __init__(self, events: AsyncIterator[bytes], job: Job | None) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            with contextlib.suppress(Gone):
                await unless_gone(receive, self.stream_response(send))
        finally:
            if self._job is not None:
                self._job.cancelled = True


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """The result of some work, which ends early where the client closes the connection."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        return task.result()
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
