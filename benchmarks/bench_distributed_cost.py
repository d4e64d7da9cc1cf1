"""Jobs on a Ray cluster: what they cost, and their memory.

Cost: seconds and bytes that pass through Ray's object stores, for parts of the corpus, on one
worker and on two. The model of a job is

    seconds = start + compute * bytes of text / workers + moved bytes / bandwidth / workers

with the bandwidth between two object stores as measured here, and `start` and `compute` fitted.
The prediction for 100 machines and 1 TB puts measured numbers into it: bytes of words and pairs
grow as powers of the text that are fitted to the same runs; those of averages are as many for each
round, replica and word of the vocabulary as here.

Memory: memory of its own (RssAnon) of every worker while pairs are counted within a budget, by the
system and by Ray's metrics. Pages of the object store are shared and belong to no worker.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from bench_distributed import cluster, pairs_on_ray, prepared, skipgram
from distributed_jobs import digest
from harness import QUICK
from report import number

MACHINES, PROCESSORS, TEXT, VOCABULARY = 100, 2, 1e12, 1_000_000  # of the prediction
BUDGET = 256 << 20
SECONDS_OF_METRICS = 60.0
NOT_AT_WORK = ("IDLE", "DashboardAgent", "RuntimeEnvAgent")


def created() -> int:
    """Bytes of all objects that were put into the stores so far, copies included."""
    import ray
    from ray._private.internal_api import node_stats

    total = 0
    for node in ray.nodes():
        if node["Alive"]:
            stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], False)
            total += stats.store_stats.cumulative_created_bytes
    return total


class Run(NamedTuple):
    """A run of a job: workers, bytes of text, seconds, and bytes through the object stores."""

    workers: int
    length: int
    seconds: float
    moved: int


def bandwidth() -> float:
    """Bytes a second from one node's store into another's."""
    import ray

    @ray.remote(num_cpus=1)
    def make(count: int) -> Any:
        return np.ones(count, np.uint8)

    @ray.remote(num_cpus=1)
    def take(array: Any) -> int:
        return int(array[-1])

    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    first, second = (
        {"scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)}
        for node in ray.nodes()[:2]
    )
    found = []
    for _ in range(5):
        reference = make.options(**first).remote(256 << 20)
        ray.wait([reference], fetch_local=False)
        start = time.perf_counter()
        ray.get(take.options(**second).remote(reference))
        found.append((256 << 20) / (time.perf_counter() - start))
    return float(np.median(found[1:]))


def parts_of(path: str, folder: Path) -> dict[int, str]:
    """A quarter, a half and the whole of the corpus, by their bytes."""
    with open(path, "rb") as file:
        text = file.read()
    found = {}
    for share in (4, 2, 1):
        end = text.find(b"\n", len(text) // share) + 1 or len(text)
        part = folder / f"corpus-{share}.txt"
        part.write_bytes(text[:end])
        found[end] = str(part)
    return found


@contextlib.contextmanager
def counted_rounds(found: list[int]) -> Iterator[None]:
    """Note how many rounds an epoch has, of each training."""
    from firth.distributed.rounds import Rounds

    begin = Rounds.begin

    def noting(self: Any, version: int, count: int) -> None:
        found.append(count)
        begin(self, version, count)

    with mock.patch.object(Rounds, "begin", noting):
        yield


def cost(path: str, folder: Path) -> str:
    """Runs, models and the prediction as Markdown."""
    import ray

    from firth.distributed import build_vocab

    jobs: dict[str, Callable[[str, int], Any]] = {
        "vocabulary": lambda part, workers: build_vocab(part).index_to_key,
        "vocabulary and pairs": pairs_on_ray,
        "skip-gram, an epoch": lambda part, workers: skipgram(part, workers).wv.vectors,
    }
    parts = parts_of(path, folder)
    runs: dict[str, list[Run]] = {name: [] for name in jobs}
    kept: dict[Any, str] = {}  # digests of results; replicas make others than one worker
    averages = []  # bytes of a round, for each replica and word of the vocabulary
    speed = 0.0
    ray.shutdown()
    with cluster(1):
        found = {length: build_vocab(part) for length, part in parts.items()}
    sizes = {length: len(words.index_to_key) for length, words in found.items()}
    tokens = max(found.values(), key=lambda one: one.total_words).total_words / max(parts)
    for workers in (1, 2):
        ray.shutdown()
        with cluster(workers):
            if workers == 2:
                speed = bandwidth()
            for name, job in jobs.items():
                for length, part in parts.items():
                    rounds: list[int] = []
                    first = job(part, workers)  # then workers are alive, files in memory
                    before, start = created(), time.perf_counter()
                    with counted_rounds(rounds):
                        again = job(part, workers)
                    seconds = time.perf_counter() - start
                    # `bench_distributed` checks that one worker gives what one process does.
                    key = (name, length, workers * ("skip-gram" in name))
                    if {digest(first), digest(again)} != {kept.setdefault(key, digest(first))}:
                        raise RuntimeError(f"{name}, {workers} workers: another result")
                    runs[name].append(Run(workers, length, seconds, created() - before))
                    print(name, runs[name][-1], rounds, flush=True)
                    if workers == 2 and rounds:
                        averages.append(runs[name][-1].moved / (rounds[0] * 2 * sizes[length]))
    lines = [
        f"Bandwidth from one store to another: {speed / 1e9:.2f} GB/s. Words of the vocabulary: "
        + ", ".join(f"{count:,} in {length / 1e6:.0f} MB" for length, count in sizes.items())
        + ". Bytes that a round of averages moves, for each replica and word of the vocabulary: "
        + ", ".join(f"{one:.0f}" for one in averages) + ".", "",
        "| job | workers | text | seconds | model | moved bytes |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    models = {name: fitted(some, speed) for name, some in runs.items()}
    for name, some in runs.items():
        start, compute, _ = models[name]
        for run in some:
            told = start + compute * run.length / run.workers + run.moved / speed / run.workers
            lines.append(
                f"| {name} | {run.workers} | {run.length / 1e6:.0f} MB | {run.seconds:.2f} | "
                f"{told:.2f} | {run.moved / 1e6:,.0f} MB |"
            )
    lines += ["", "| job | start | compute, one processor | the model is off by at most |"]
    lines.append("|---|---|---|---|")
    for name, (start, compute, worst) in models.items():
        lines.append(f"| {name} | {start:.2f} s | {1e-6 / compute:.1f} MB/s | {worst:.0%} |")
    lines += ["", *predicted(runs, models, speed, float(np.median(averages)), tokens)]
    return "\n".join(lines)


def predicted(
    runs: dict[str, list[Run]], models: dict[str, tuple[float, float, float]], speed: float,
    average: float, tokens: float,
) -> list[str]:  # fmt: skip
    """The table of what `MACHINES` take for `TEXT`; ``tokens``: words in a byte of text."""
    from firth.distributed import word2vec

    total = MACHINES * PROCESSORS
    lines = [
        f"Predicted for {MACHINES} machines of {PROCESSORS} processors and {TEXT / 1e12:.0f} TB of "
        f"text, with this bandwidth between machines; skip-gram with the {VOCABULARY:,} most "
        "frequent words:", "",
        "| job | how moved bytes grow | moved by a machine | compute | moving | all |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    rows = []
    for name in ("vocabulary", "vocabulary and pairs"):
        factor, exponent = power(runs[name])
        rows.append((name, f"text^{exponent:.2f}", factor * TEXT**exponent / MACHINES))
    longest = TEXT * tokens / total
    short = longest / word2vec._ROUNDS / total
    for told, interval in (
        ("by default", min(short, word2vec._PER_WORD * VOCABULARY)),
        ("4 for each word of the vocabulary", word2vec._PER_WORD * VOCABULARY),
    ):
        moved = longest / interval * average * VOCABULARY * PROCESSORS
        name = f"skip-gram, an epoch, interval {told} ({interval:,.0f} words)"
        rows.append((name, "rounds x vocabulary", moved))
    for name, growth, moved in rows:
        start, compute, _ = models[name.partition(", interval")[0]]
        computing, moving = compute * TEXT / total, moved / speed
        lines.append(
            f"| {name} | {growth} | {number(moved / 1e9)} GB | {number(computing / 60)} min | "
            f"{number(moving / 60)} min | {number((start + computing + moving) / 60)} min |"
        )
    return lines


def fitted(found: list[Run], speed: float) -> tuple[float, float, float]:
    """Start, seconds a byte, and the greatest relative error of the model over its runs."""
    workers, lengths, seconds, moved = np.array(found, float).T
    known = moved / speed / workers
    matrix = np.stack([np.ones(len(found)), lengths / workers], 1) / seconds[:, None]
    answer = np.linalg.lstsq(matrix, (seconds - known) / seconds, rcond=None)[0]
    start, compute = max(0.0, float(answer[0])), float(answer[1])
    told = start + compute * lengths / workers + known
    return start, compute, float(np.abs(told / seconds - 1).max())


def power(found: list[Run]) -> tuple[float, float]:
    """Moved bytes on two workers as factor * text^exponent."""
    pairs = [(run.length, run.moved) for run in found if run.workers == 2]
    lengths, moved = np.log(np.array(pairs, float)).T
    exponent, offset = np.polyfit(lengths, moved, 1)
    return float(np.exp(offset)), float(exponent)


# Memory


class Watch:
    """Looks at the memory of workers until it is told to end."""

    def __init__(self) -> None:
        self.system = self.metrics = 0.0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=one) for one in (self._system, self._metrics)]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _system(self) -> None:
        while not self._end.wait(0.02):
            for status in Path("/proc").glob("[0-9]*/status"):
                with contextlib.suppress(OSError):
                    line = (status.parent / "cmdline").read_bytes()
                    if line.startswith(b"ray::") and b"Agent" not in line:
                        text = status.read_text()
                        if found := re.search(r"RssAnon:\s+(\d+) kB", text):
                            self.system = max(self.system, int(found[1]) * 1024.0)

    def _metrics(self) -> None:
        import ray

        urls = [
            f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
            for node in ray.nodes()
        ]
        while not self._end.wait(0.5):
            for url in urls:
                with contextlib.suppress(OSError):
                    text = urllib.request.urlopen(url, timeout=5).read().decode()
                    for line in text.splitlines():
                        # the sum of a node's workers of one kind: a node has one worker here
                        found = re.match(r'ray_component_uss_bytes{Component="ray::(\w+)', line)
                        if found and found[1] not in NOT_AT_WORK:
                            self.metrics = max(self.metrics, float(line.split()[-1]))


def memory(path: str) -> str:
    """A line of counting pairs within a budget on two nodes of a worker each."""
    from firth.distributed.cooccurrences import PROCESS

    os.environ |= {"RAY_metrics_report_interval_ms": "500"}
    with cluster(2), Watch() as watch:
        until = time.monotonic() + SECONDS_OF_METRICS  # Ray tells them every few seconds
        while time.monotonic() < until:
            pairs_on_ray(path, 2, BUDGET)
    allowed = BUDGET + PROCESS
    verdict = "within" if max(watch.system, watch.metrics) <= allowed else "**above**"
    told = f"{watch.metrics / 2**20:.0f} MiB" if watch.metrics else "not measured (none came)"
    return (
        f"Counting pairs with a budget of {BUDGET >> 20} MiB, and {PROCESS >> 20} MiB for the "
        f"process itself: most of a worker's own memory {watch.system / 2**20:.0f} MiB by the "
        f"system, {verdict} {allowed >> 20} MiB; by Ray's metrics {told}."
    )


def run() -> str:
    """The cost of jobs, and the memory of workers."""
    with prepared() as (path, folder):
        text = cost(path, folder)
    told = "" if QUICK else f"\n\n**Memory**\n\n{memory(path)}"
    return f"**Cost**\n\n{text}{told}"
