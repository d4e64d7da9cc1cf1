"""Jobs on a Ray cluster whose workers, hosts, drivers and network fail while they run.

Three hosts with a processor each and one with Ray's head and the driver, as network namespaces
of this machine (`ray_nodes`). Each job runs once undisturbed, then again and again with one
failure at a random moment (seeded): a worker that works is killed; a host, with all it runs, and
started again after two seconds; the driver, and started again by the same command; or a host's
network is cut for ten seconds. Every run must give the digest of the undisturbed one. Work that was
done again: text that workers began to read or to embed, against the undisturbed run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import ray_nodes
from bench_rag import DATA, documents
from bench_words import corpus_file
from distributed_jobs import JOBS, prepare, work
from harness import QUICK, size

KINDS = {"worker": 3, "host": 2, "driver": 2, "network": 1}  # failures of each kind for a job
SECONDS = 240.0  # after which a run has failed
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Run:
    """What became of a job."""

    digest: str | None
    seconds: float
    work: int
    failed: bool  # whether something was there to be killed


def once(
    hosts: ray_nodes.Hosts, job: str, source: Path, kind: str | None, after: float,
    draw: random.Random,
) -> Run:  # fmt: skip
    """Run a job in a copy of a folder, with one failure after some seconds."""
    folder = source.parent / "job"  # the same for all runs: documents are named by their paths
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, copy_function=os.link)
    command = [sys.executable, str(HERE / "distributed_jobs.py"), job, str(folder)]
    output = source.parent / "output.txt"
    output.write_text("")
    start = time.monotonic()
    driver = hosts.driver(command, output)
    failed, mend = kind is None, None
    while time.monotonic() - start < SECONDS:
        elapsed = time.monotonic() - start
        if not failed and elapsed > after and (folder / "work").exists():
            host = draw.randrange(1, hosts.workers + 1)
            if kind == "worker":
                failed = hosts.kill_worker(draw)
            elif kind == "host":
                hosts.kill(host)
                failed, mend = True, (elapsed + 2, host)
            elif kind == "network":
                hosts.cut(host)
                failed, mend = True, (elapsed + 10, host)
            elif driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()
                failed, driver = True, hosts.driver(command, output)
        if mend is not None and elapsed > mend[0]:
            hosts.boot(mend[1]) if kind == "host" else hosts.mend(mend[1])
            mend = None
        if driver.poll() is not None and mend is None:
            break
        time.sleep(0.02)
    seconds = time.monotonic() - start
    if driver.poll() is None:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    done = folder / f"{job}.done"
    digest = json.loads(done.read_text())["digest"] if done.exists() else None
    if digest is None:
        print(f"{job}, {kind}: {output.read_text()[-3000:]}", file=sys.stderr, flush=True)
    return Run(digest, seconds, work(folder), failed)


def run() -> str:
    """A table: job, kind of failure, how often, how often the result was the same."""
    if reason := ray_nodes.available():
        return f"Not measured: {reason}."
    draw = random.Random(1)
    lines = [
        "| job | undisturbed | failure | times | same result | seconds, median | work done again, "
        "median and most |",
        "|---|---|---|---|---|---|---|",
    ]
    kills = same = 0
    with tempfile.TemporaryDirectory() as name, ray_nodes.hosts(3, cpus=2) as hosts:
        source = Path(name) / "source"
        texts = [text for text in documents().values() if text]
        with open(corpus_file(), "rb") as corpus:
            text = corpus.read(size(3_000_000, 300_000))
        text = text[: text.rindex(b"\n") + 1]
        paragraphs = [" ".join(part.split()) for one in texts for part in one.split("\n\n")]
        few = Path(name) / "documents"
        few.mkdir()
        for path in sorted((DATA / "docs").glob("*.txt"))[: size(20, 4)]:
            shutil.copy(path, few)
        prepare(source, text, [one for one in paragraphs if one][: size(800, 100)], few)
        for job in JOBS:
            plain = once(hosts, job, source, None, 0.0, draw)
            if plain.digest is None:
                raise RuntimeError(f"{job}: does not end")
            for kind, times in KINDS.items():
                runs = []
                for _ in range(1 if QUICK else times):
                    after = draw.uniform(0.2, 0.9) * plain.seconds
                    for _ in range(3):  # where it ended before anything could be killed
                        found = once(hosts, job, source, kind, after, draw)
                        if found.failed:
                            break
                        after *= 0.7
                    runs.append(found)
                    print(job, kind, found, found.digest == plain.digest, flush=True)
                hit = [one for one in runs if one.failed]
                equal = sum(one.digest == plain.digest for one in hit)
                again = [max(0.0, one.work / max(1, plain.work) - 1) for one in hit] or [0.0]
                kills, same = kills + len(hit), same + equal
                lines.append(
                    f"| {job} | {plain.seconds:.0f} s | {kind} | {len(hit)} | "
                    f"{equal} of {len(hit)} | "
                    f"{statistics.median([one.seconds for one in hit] or [0.0]):.0f} | "
                    f"{statistics.median(again):.0%}, {max(again):.0%} |"
                )
    return "\n".join([f"{kills} failures, {same} with the same result.", "", *lines])
