"""Common parts of the benchmarks: interleaved timing, rows of the tables, sizes for a quick trial.

A benchmark file `bench_<name>.py` has `run() -> list[Row]`: it makes its data, checks that firth's
answer is right, then times firth and the peers in turn (A B A B ...), so that a machine whose speed
drifts favours neither. `run.py` runs it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from report import Row

THREADS = 2

QUICK = bool(os.environ.get("FIRTH_BENCH_QUICK"))
"""Whether this is a trial of the code (`run.py --quick`): small data, nothing recorded."""


def limit_threads() -> None:
    """Set the threads of all libraries' pools; before NumPy and the peers are imported."""
    for pool in ("OMP", "OPENBLAS", "RAYON", "FIRTH"):
        os.environ.setdefault(f"{pool}_NUM_THREADS", str(THREADS))


TILES_PEAK = 6320.0
"""GFLOP/s of bfloat16 on the matrix tiles of two cores of Granite Rapids."""


def has_tiles() -> bool:
    """Whether firth runs on matrix tiles here, where goals are higher."""
    import firth

    return firth.info().backend == "native:tiles"


def size(full: int, quick: int | None = None) -> int:
    """A number of rows, words, queries: `full`, or in a trial `quick` (default: a hundredth)."""
    if not QUICK:
        return full
    return max(full // 100, 1) if quick is None else quick


@dataclass(frozen=True)
class Timing:
    """Seconds per call over the repeats of one subject."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        return (max(self.seconds) - min(self.seconds)) / self.median

    def __mul__(self, factor: float) -> Timing:
        return Timing([factor * once for once in self.seconds])


def compared(
    work: str,
    peer_name: str,
    peer: Timing,
    ours: Timing,
    unit: str,
    goal: float | None = None,
    *,
    amount: float | None = None,
    kind: str = "peer",
    threads: str = f"{THREADS}",
    note: str = "",
) -> Row:
    """A row of two timings: in seconds, ms or us, or as `amount` of work a second."""
    scale = {"ms": 1e3, "us": 1e6}.get(unit, 1.0)

    def figure(timing: Timing) -> float:
        return timing.median * scale if amount is None else amount / timing.median

    return Row(
        work, peer_name, figure(peer), figure(ours), unit, goal, amount is not None, ours.spread,
        peer.spread, kind, threads, note,
    )  # fmt: skip


def best_run(row: Row, peer: Timing, ours: Timing, amount: float) -> Row:
    """The row of the fastest run of each, beside the medians: see NOTES.md, skip-gram training."""
    return Row(
        f"{row.work}, best runs", row.peer_name, amount / min(peer.seconds),
        amount / min(ours.seconds), row.unit, None, True, threads=row.threads,
    )  # fmt: skip


def interleave(
    subjects: Mapping[str, Callable[[], object]],
    repeats: int = 5,
    minimum: float = 0.02,
    pause: float = 0.2,
) -> dict[str, Timing]:
    """Time the subjects in turn after a warm-up of each.

    A round calls each subject often enough to last `minimum` seconds and counts the mean of its
    calls; the median over `repeats` rounds is the figure. Before its turn a subject gets `pause`
    seconds and one call that does not count: the thread pools of OpenBLAS and OpenMP go on spinning
    after a call and take a core from the next subject (measured here: OpenBLAS burns about 100 ms,
    PyTorch about 10 ms).

    A subject whose call takes more than a second has three rounds, in turn with the others, and no
    uncounted call in them: what that would warm is a thousandth of it.
    """
    calls, slow = {}, set()
    for name, subject in subjects.items():
        start = time.perf_counter()
        subject()
        if time.perf_counter() - start > 1:
            calls[name] = 1
            slow.add(name)
            continue
        start = time.perf_counter()
        subject()
        once = time.perf_counter() - start
        calls[name] = max(1, min(1000, int(minimum / max(once, 1e-9))))
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(max(repeats, 3) if slow else repeats):
        for name, subject in subjects.items():
            if name in slow and turn >= 3:
                continue
            time.sleep(pause)
            if name not in slow:
                subject()
            start = time.perf_counter()
            for _ in range(calls[name]):
                subject()
            seconds[name].append((time.perf_counter() - start) / calls[name])
    return {name: Timing(values) for name, values in seconds.items()}


def extrapolated(few: Timing, many: Timing, counts: tuple[int, int], total: int) -> Timing:
    """Seconds for `total` questions from those for two smaller counts of the same rounds.

    A call costs fixed + marginal * questions. Scaling one measurement up would multiply the fixed
    part too, in favour of the side that is not scaled.
    """
    whole = []
    for a, b in zip(few.seconds, many.seconds, strict=True):
        marginal = (b - a) / (counts[1] - counts[0])
        whole.append(a + marginal * (total - counts[0]))
    return Timing(whole)


def fit_note(few: Timing, many: Timing, counts: tuple[int, int]) -> str:
    """What `extrapolated` found, for the note of its row."""
    marginal = (many.median - few.median) / (counts[1] - counts[0])
    fixed = few.median - marginal * counts[0]
    return (
        f"peer fitted from {counts[0]} and {counts[1]}: "
        f"{1e3 * fixed:.3g} ms + {1e3 * marginal:.3g} ms each"
    )
