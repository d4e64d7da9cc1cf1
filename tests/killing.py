"""A child that writes and is killed at a random place, for tests of what a kill may lose."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable


def killed(write: Callable[[int], None], wanted: int, seconds: float) -> int:
    """Fork, let the child write, kill it; returns how many changes it has reported.

    Parameters
    ----------
    write : function
        Of a pipe, to which it writes ``b"o"`` when it begins and ``b"."`` after each change that
        has returned. It never ends by itself.
    wanted : int
        Reports to wait for; however slow they are, they come.
    seconds : float
        To wait then.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            write(send)
        finally:
            os._exit(1)
    os.close(send)
    said = b""
    while len(said) < wanted and (more := os.read(receive, 1 << 16)):
        said += more
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer failed by itself"
    while more := os.read(receive, 1 << 16):
        said += more
    os.close(receive)
    return said.count(b".")
