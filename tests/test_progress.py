"""Bars on a terminal, lines of a log elsewhere; Ctrl-C and SIGTERM that wait."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from firth import progress
from firth.interrupt import deferred_interrupt
from firth.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_count_that_passes_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm would show 300/? from then on."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(200, " words", "training") as bar:
        for _ in range(3):
            bar.update(100)
        bar.note("epoch 1/1")
        assert bar.n == 200
        assert bar._bar.n == 200
        assert "100%" in str(bar._bar)
        bar.update(-150)  # a download that starts anew
        assert bar.n == bar._bar.n == 50


@pytest.mark.parametrize(
    ("given", "stream", "bar", "lines"),
    [
        (None, Terminal, True, 0),
        (None, io.StringIO, False, 3),
        (True, io.StringIO, True, 0),
        (False, Terminal, False, 0),
        (False, io.StringIO, False, 0),
    ],
)
def test_where_it_is_shown(
    given: bool | None, stream: Any, bar: bool, lines: int,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    shown, now = stream(), [0.0]
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with (
        caplog.at_level(logging.INFO, "firth"),
        progress_bar(1000, " words", "training", given) as p,
    ):
        for _ in range(7):
            now[0] += 5
            p.note("loss 1.5")
            p.update(100)
    assert ("training" in shown.getvalue()) is bar
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == lines
    if lines:
        assert messages[0] == "training: 20.0% of 1,000 words, 20 words/s, 40 s left, loss 1.5"
        assert {record.name for record in caplog.records} == {"firth"}


def test_work_of_an_earlier_run(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier work took none of this run's time: rates and ETA count only the work of now."""
    now = [0.0]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, "firth"), progress_bar(100, "B", "x", None, 80) as bar:
        now[0] = 10
        bar.update(10)
    assert caplog.messages == ["x: 90.0% of 100 B, 1 B/s, 10 s left"]
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(100, "B", "x", None, 80) as bar:
        assert (bar.n, bar._bar.n, bar._bar.initial) == (80, 80, 80)


def test_an_unknown_total(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", -1.0)
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    with caplog.at_level(logging.INFO, "firth"), progress_bar(0, "B", "unpacking") as bar:
        bar.update(5)
        bar.update(5)
    assert caplog.records[-1].getMessage().startswith("unpacking: 10 B, ")


def test_a_notebook_gets_its_bar() -> None:
    """tqdm.auto chooses by the kind of shell that IPython says it is."""
    script = (
        "import sys, types\n"
        "m = types.ModuleType('IPython'); m.get_ipython = lambda: None\n"
        "sys.modules['IPython'] = m\n"
        "from firth.progress import progress_bar\n"
        "import tqdm.auto as auto\n"
        "seen = []\n"
        "class Bar(auto.tqdm):\n"
        "    def __init__(self, **k):\n"
        "        seen.append(k)\n"
        "        super().__init__(**k | {'disable': False})\n"
        "auto.tqdm = Bar\n"
        "p = progress_bar(5, 'B', 'x'); p.update(5)\n"
        "assert seen[0]['total'] == 5 and p._bar.n == 5"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_wait(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with deferred_interrupt() as interrupted:
        os.kill(os.getpid(), number)
        assert interrupted.wait(5)
    assert signal.getsignal(number) is before


def test_a_handler_of_somebody_else_stays() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with deferred_interrupt() as interrupted:
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        assert not interrupted.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
