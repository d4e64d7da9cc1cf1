"""Ctrl-C that waits until what is under way is whole: an update of training, a saved file."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Inside the block Ctrl-C only sets the event; who entered looks at it when it suits.

    Only the main thread gets signals; elsewhere, or where SIGINT has another handler than Python's
    own, nothing is changed.
    """
    event = threading.Event()
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield event
        return

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
