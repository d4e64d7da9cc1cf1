"""Ctrl-C that waits until the current step is complete: an update of training, a saved file.

SIGTERM, with which Slurm, Kubernetes and kill end a process, is treated like Ctrl-C.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Each with Python's own handler; a handler that a program has installed is left alone.
_SIGNALS: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Inside the block Ctrl-C and SIGTERM only set the event, which the caller checks.

    Only the main thread gets signals; elsewhere nothing is changed.
    """
    event = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()

    replaced = []
    if threading.current_thread() is threading.main_thread():
        replaced = [one for one, own in _SIGNALS.items() if signal.getsignal(one) is own]
    try:
        for one in replaced:
            signal.signal(one, handle)
        yield event
    finally:
        for one in replaced:
            signal.signal(one, _SIGNALS[one])
