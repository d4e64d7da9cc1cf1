"""Ctrl-C that waits until the current step is complete: an update of training, a saved file.

SIGTERM, with which Slurm, Kubernetes and kill end a process, and SIGHUP, which comes when the
terminal goes, are treated like Ctrl-C.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# What ends a process beside Ctrl-C, and the exit code of a program that does so.
ENDING = {
    getattr(signal, name): code
    for name, code in (("SIGTERM", 143), ("SIGHUP", 129))
    if hasattr(signal, name)
}
# Each with Python's own handler; a handler that a program has installed is left alone.
_SIGNALS: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    **dict.fromkeys(ENDING, signal.SIG_DFL),
}
_waiting: list[threading.Event] = []  # of the blocks of `deferred_interrupt` in the main thread


def interrupt() -> None:
    """Do in the main thread what Ctrl-C does, also where the process ignores SIGINT.

    It is ignored in the background of a shell script.
    """
    if not _waiting:
        raise KeyboardInterrupt
    _waiting[0].set()  # as a handler: that of the outermost block stays


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Inside the block Ctrl-C, SIGTERM and SIGHUP only set the event, which the caller checks.

    Only the main thread gets signals; elsewhere nothing is changed.
    """
    event = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    replaced = [one for one, own in _SIGNALS.items() if signal.getsignal(one) is own]
    try:
        _waiting.append(event)
        for one in replaced:
            signal.signal(one, handle)
        yield event
    finally:
        for one in replaced:
            signal.signal(one, _SIGNALS[one])
        if event in _waiting:
            _waiting.remove(event)
