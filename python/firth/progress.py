"""The progress of long work: a bar on a terminal or in a notebook, lines of a log elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

_logger = logging.getLogger("firth")
_SECONDS = 10.0  # between two lines of the log


class Progress:
    """Work done so far, ``n`` of ``total``; made by `progress_bar`."""

    def __init__(
        self, total: int, unit: str, label: str, bar: Any, logged: bool, begun: int = 0
    ) -> None:
        self.n, self.total, self._before = begun, total, begun
        self._unit, self._label, self._bar, self._logged = unit.strip(), label, bar, logged
        self._note = ""
        self._began = self._spoke = time.monotonic()

    def update(self, count: int) -> None:
        """Add to the work done; a count that would pass the total stops there."""
        if self.total:
            count = min(count, self.total - self.n)  # tqdm drops a total that is exceeded
        self.n += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._logged and time.monotonic() - self._spoke >= _SECONDS:
            self._spoke = time.monotonic()
            _logger.info("%s", self._line())

    def note(self, text: str) -> None:
        """Text after the numbers: the epoch, the loss."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def _line(self) -> str:
        rate = (self.n - self._before) / max(self._spoke - self._began, 1e-9)
        line = f"{self._label}: {self.n:,} {self._unit}, {rate:,.0f} {self._unit}/s"
        if self.total:
            left = (self.total - self.n) / rate if rate else float("inf")
            line = f"{self._label}: {self.n / self.total:.1%} of {self.total:,} {self._unit}, "
            line += f"{rate:,.0f} {self._unit}/s, {left:,.0f} s left"
        return line + (f", {self._note}" if self._note else "")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def progress_bar(
    total: int, unit: str, label: str, progress: bool | None = None, begun: int = 0
) -> Progress:
    """A bar with rate and ETA: always, never, or (None) only on a terminal and in a notebook.

    Where None shows no bar, as under nohup, the logger "firth" gets a line of level INFO every ten
    seconds. ``total`` 0: unknown. ``begun``: what earlier runs have done of it, which counts in no
    rate.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if progress is False or not (progress or terminal or "IPython" in sys.modules):
        return Progress(total, unit, label, None, progress is None, begun)
    from tqdm.auto import tqdm

    bar = tqdm(
        total=total or None,
        initial=begun,
        unit=unit,
        unit_scale=True,
        desc=label,
        disable=None if progress is None else False,
        mininterval=0.2,
    )
    shown = not bar.disable
    return Progress(total, unit, label, bar if shown else None, not shown, begun)
