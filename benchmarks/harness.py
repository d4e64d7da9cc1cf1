"""What every benchmark shares: interleaved timing, one row of the table, the machine line.

A benchmark file `bench_<name>.py` has `run() -> list[Row]`: it makes its data, checks that firth's
answer is right, then times firth and the peers in turn (A B A B ...) with equal threads, so that a
machine whose speed drifts is unfair to nobody. `run.py` collects the rows into RESULTS.md.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

THREADS = 2


@dataclass(frozen=True)
class Row:
    """One line of RESULTS.md. Figures are medians; `spread` is (max - min) / median of ours."""

    work: str
    peer_name: str
    peer: float
    ours: float
    unit: str  # "ms", "GFLOP/s", "words/s", ...
    goal: float | None = None  # how many times better than the peer; None where it is only told
    higher_is_better: bool = False
    spread: float | None = None

    @property
    def ratio(self) -> float:
        """How many times better than the peer: above 1 is faster."""
        return self.ours / self.peer if self.higher_is_better else self.peer / self.ours


@dataclass(frozen=True)
class Timing:
    """Seconds a call over the repeats of one subject."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        return (max(self.seconds) - min(self.seconds)) / self.median


def interleave(
    subjects: Mapping[str, Callable[[], object]],
    repeats: int = 5,
    minimum: float = 0.02,
    pause: float = 0.15,
) -> dict[str, Timing]:
    """Time the subjects in turn after one warm-up each.

    A round calls each subject often enough to last `minimum` seconds and counts the mean of its
    calls; the median over `repeats` rounds is the figure. Before its turn a subject gets `pause`
    seconds and one call that does not count: the thread pools of OpenBLAS and OpenMP go on spinning
    after a call and take a core from whoever comes next (measured here: OpenBLAS burns about
    100 ms, PyTorch about 10 ms).
    """
    calls = {}
    for name, subject in subjects.items():
        subject()
        start = time.perf_counter()
        subject()
        once = time.perf_counter() - start
        calls[name] = max(1, min(1000, int(minimum / max(once, 1e-9))))
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(repeats):
        for name, subject in subjects.items():
            time.sleep(pause)
            subject()
            start = time.perf_counter()
            for _ in range(calls[name]):
                subject()
            seconds[name].append((time.perf_counter() - start) / calls[name])
    return {name: Timing(values) for name, values in seconds.items()}


def machine() -> str:
    """One line: processor, cores, memory, compiler-independent; for the head of RESULTS.md."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return f"{name}, {THREADS} threads, {platform.system()}, Python {platform.python_version()}, commit {commit}"  # noqa: E501
