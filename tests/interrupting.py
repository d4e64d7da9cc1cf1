"""Signals that arrive in the middle of a training."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest


def interrupt(
    monkeypatch: pytest.MonkeyPatch,
    room: Any,
    trainer: str,
    strikes: Callable[[list[int]], bool],
    number: int = signal.SIGTERM,
) -> list[int]:
    """A signal before those calls of a native trainer's `train` for which ``strikes`` holds.

    It is given the epochs of all calls so far, the list that is returned too. Lasts until
    ``monkeypatch.undo``.
    """
    original, epochs = getattr(room, trainer), []

    class Interrupting:
        def __init__(self, *arguments: Any, **named: Any) -> None:
            self._trainer = original(*arguments, **named)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._trainer, name)

        def train(self, epoch: int, *arguments: Any) -> Any:
            epochs.append(epoch)
            if strikes(epochs):
                os.kill(os.getpid(), number)
            return self._trainer.train(epoch, *arguments)

    monkeypatch.setattr(room, trainer, Interrupting)
    return epochs
