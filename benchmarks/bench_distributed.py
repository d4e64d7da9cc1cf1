"""Jobs on a Ray cluster against the same jobs without Ray; their cost and their memory.

Overhead: one worker, which has one processor of a cluster that runs already, against this process
with one thread, on the dev corpus. What a worker needs to come to life counts.

Cost: seconds and bytes that pass through Ray's object stores, for parts of the corpus, on one
worker and on two. The model of a job is

    seconds = start + compute * bytes of text / workers + moved bytes / bandwidth / workers

with the bandwidth between two object stores as measured here, and `start` and `compute` fitted.
The prediction for 100 machines and 1 TB puts measured numbers into it: how words, pairs and
averages grow is fitted to the same runs as powers of the text.

Memory: anonymous memory (RssAnon) of every worker while pairs are counted within a budget, by the
system and by Ray's metrics. Pages of the object store are shared and belong to no worker.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import firth
from bench_encoders import minilm, paragraphs
from bench_words import corpus_file
from distributed_jobs import digest
from harness import QUICK, Row, compared, interleave, size
from report import number

STORE = 2 << 30
GOAL = 1 / 1.1
ALONE = "firth without Ray"
SKIPGRAM = {"sg": 1, "vector_size": 100, "epochs": 1, "sample": 1e-4, "seed": 1}
MACHINES, PROCESSORS, TEXT = 100, 2, 1e12  # of the prediction
BUDGET = 256 << 20


@contextlib.contextmanager
def cluster(nodes: int, cpus: int = 1) -> Iterator[Any]:
    """A cluster whose workers have the priority of other processes, and this process joins."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ |= {
        "RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled",
        "RAY_metrics_report_interval_ms": "500",
        # A worker has one processor, whatever this process has: it inherits these.
        "FIRTH_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1",
    }  # fmt: skip
    settings = {"num_cpus": cpus, "object_store_memory": STORE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Cluster(
            initialize_head=True, head_node_args={**settings, "include_dashboard": False}
        )
        try:
            for _ in range(nodes - 1):
                made.add_node(**settings)
            ray.init(address=made.address, logging_level="error", log_to_driver=False)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


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


# The jobs, without Ray and with it


def words_alone(path: str) -> list[str]:
    model = firth.Word2Vec(min_count=5)
    model.build_vocab(corpus_file=path)
    return model.wv.index_to_key


def model_on(path: str) -> firth.Word2Vec:
    model = firth.Word2Vec(**SKIPGRAM, workers=1)
    model.build_vocab(corpus_file=path)
    return model


def pairs_alone(path: str) -> list[Any]:
    """The vocabulary is counted too, as it is on a cluster."""
    from firth.words.cooccurrences import cooccurrences
    from firth.words.corpus import opened

    model = firth.Word2Vec(min_count=5)
    model.build_vocab(corpus_file=path)
    with opened("bench", None, path) as text:
        ids = text.encode(model.wv.index_to_key, model.wv.key_to_index)
    return totals(cooccurrences(ids, len(model.wv), window=10, memory=1 << 30))


def pairs_on_ray(path: str, workers: int, memory: int = 1 << 30) -> list[Any]:
    from firth.distributed import build_vocab
    from firth.distributed.cooccurrences import cooccurrences

    words = build_vocab(path)
    rows = cooccurrences(
        path, words.index_to_key, words.counts, window=10, workers=workers, memory=memory
    )
    return totals(rows)


def totals(waves: Iterable[tuple[int, Any]]) -> list[Any]:
    """What rows come to, however many come at a time: entries, columns and whole counts add up."""
    found = [0, 0, 0.0]
    for _, (lengths, columns, values) in waves:
        found[0] += len(lengths)
        found[1] += int(columns.sum(dtype=np.int64))
        found[2] += float(np.rint(values * 2520).sum())  # 2520: the unit of a window of ten
    return found


def glove(path: str, workers: int | None) -> firth.GloVe:
    from firth.distributed import train

    model = firth.GloVe(vector_size=100, window=10, epochs=2, workers=1, memory=1.0)
    if workers is None:
        model.build_vocab(corpus_file=path)
        model.train(corpus_file=path)
        return model
    return train(model, path, workers=workers)


def skipgram(path: str, workers: int | None) -> firth.Word2Vec:
    from firth.distributed import train

    if workers is None:
        model = model_on(path)
        model.train(corpus_file=path)
        return model
    return train(firth.Word2Vec(**SKIPGRAM), path, workers=workers)


def overhead(path: str, folder: Path) -> list[Row]:
    """Rows of one worker against none."""
    from firth.distributed import ShardedIndex, build_knowledge_base, build_vocab, embed
    from firth.distributed.datasets import open_embedding

    texts = paragraphs(size(4000, 50))
    lines = folder / "texts.txt"
    lines.write_text("\n".join(" ".join(text.split()) for text in texts) + "\n", encoding="utf-8")
    spoken = lines.read_text(encoding="utf-8").splitlines()
    documents = folder / "documents"
    documents.mkdir()
    for i in range(0, len(texts), 20):
        (documents / f"{i:05}.txt").write_text("\n\n".join(texts[i : i + 20]), encoding="utf-8")
    runs = iter(range(10**6))

    def base(on_ray: bool) -> list[Any]:
        place = folder / f"kb-{next(runs)}"
        if on_ray:
            made = build_knowledge_base(documents, place, workers=1)
        else:
            made = firth.KnowledgeBase(place)
            made.add(documents)
        with made:
            best = made.search(texts[0], 10)
            return [made.documents, [(one.text, one.score) for one in best]]

    def vectors_alone() -> Any:
        out = firth.SentenceTransformer(minilm()).encode(spoken)
        np.save(folder / f"{next(runs)}.npy", out)
        return out

    def vectors_on_ray() -> Any:
        out = folder / f"out-{next(runs)}"
        embed(str(lines), str(minilm()), out=out, format="npy", workers=1)
        return np.concatenate([vectors for _, vectors in open_embedding(out)])

    count = size(200_000, 2000)
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((count, 384), dtype=np.float32)
    queries = rng.standard_normal((1000, 384), dtype=np.float32)
    index = firth.Index(384)
    index.add(matrix)
    with ShardedIndex.build(matrix, shards=1, path=folder / "index") as sharded:
        for many in (1000, 32, 1):
            ours, theirs = sharded.search(queries[:many], 10), index.search(queries[:many], 10)
            if digest(ours.ids, ours.scores) != digest(theirs.ids, theirs.scores):
                raise RuntimeError("search: not the answer of one index")
        found = {
            many: interleave({
                "alone": lambda many=many: index.search(queries[:many], 10),
                "ray": lambda many=many: sharded.search(queries[:many], 10),
            })
            for many in (1000, 32, 1)
        }  # fmt: skip
    work: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "vocabulary": (lambda: words_alone(path), lambda: build_vocab(path).index_to_key),
        "vocabulary and pairs, window 10": (
            lambda: pairs_alone(path), lambda: pairs_on_ray(path, 1),
        ),
        "GloVe, 2 epochs": (
            lambda: glove(path, None).wv.vectors, lambda: glove(path, 1).wv.vectors,
        ),
        "skip-gram, an epoch": (
            lambda: skipgram(path, None).wv.vectors, lambda: skipgram(path, 1).wv.vectors,
        ),
        f"embedding {len(spoken):,} texts": (vectors_alone, vectors_on_ray),
        f"knowledge base of {len(texts):,} paragraphs": (lambda: base(False), lambda: base(True)),
    }  # fmt: skip
    rows = []
    for name, (alone, on_ray) in work.items():
        if digest(alone()) != digest(on_ray()):
            raise RuntimeError(f"{name}: not the result of one process")
        times = interleave({"alone": alone, "ray": on_ray}, 3)
        rows.append(row(name, times["alone"], times["ray"]))
        print(rows[-1], flush=True)
    for many, times in found.items():
        name = f"search, {count:,} x 384, {many:,} queries at once"
        rows.append(row(name, times["alone"], times["ray"], "ms", GOAL if many > 1 else None))
    return rows


def row(name: str, alone: Any, ray: Any, unit: str = "s", goal: float | None = GOAL) -> Row:
    return compared(name, ALONE, alone, ray, unit, goal, kind="self", threads="1")


# Cost


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
        end = text.index(b"\n", len(text) // share - 1) + 1
        part = folder / f"corpus-{share}.txt"
        part.write_bytes(text[:end])
        found[end] = str(part)
    return found


def cost(path: str, folder: Path) -> str:
    """Runs, models and the prediction as Markdown."""
    from firth.distributed import build_vocab

    jobs: dict[str, Callable[[str, int], Any]] = {
        "vocabulary": lambda part, workers: build_vocab(part),
        "vocabulary and pairs": pairs_on_ray,
        "skip-gram, an epoch": skipgram,
    }
    parts = parts_of(path, folder)
    words = {length: len(firth.distributed.build_vocab(part).raw.words)
             for length, part in parts.items()}  # fmt: skip
    runs: dict[str, list[tuple[int, int, float, int]]] = {name: [] for name in jobs}
    speed = 0.0
    for workers in (1, 2):
        import ray

        ray.shutdown()
        with cluster(workers):
            if workers == 2:
                speed = bandwidth()
            for name, job in jobs.items():
                for length, part in parts.items():
                    job(part, workers)  # workers are alive, files in memory
                    before, start = created(), time.perf_counter()
                    job(part, workers)
                    seconds = time.perf_counter() - start
                    runs[name].append((workers, length, seconds, created() - before))
                    print(name, runs[name][-1], flush=True)
    lines = [
        f"Bandwidth from one store to another: {speed / 1e9:.2f} GB/s. Different words: "
        + ", ".join(f"{count:,} in {length / 1e6:.0f} MB" for length, count in words.items())
        + ".", "",
        "| job | workers | text | seconds | model | moved bytes |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    models = []
    for name, found in runs.items():
        start, compute, worst = fitted(found, speed)
        for workers, length, seconds, moved in found:
            told = start + compute * length / workers + moved / speed / workers
            lines.append(
                f"| {name} | {workers} | {length / 1e6:.0f} MB | {seconds:.2f} | {told:.2f} | "
                f"{moved / 1e6:,.0f} MB |"
            )
        models.append((name, start, compute, worst, *power(found)))
    lines += [
        "",
        "| job | start | compute, one processor | the model is off by at most | moved bytes grow "
        f"as | predicted: {MACHINES} machines of {PROCESSORS} processors, 1 TB |",
        "|---|---|---|---|---|---|",
    ]
    total = MACHINES * PROCESSORS
    for name, start, compute, worst, factor, exponent in models:
        moved = factor * TEXT**exponent
        seconds = start + compute * TEXT / total + moved / speed / MACHINES
        lines.append(
            f"| {name} | {start:.2f} s | {1e-6 / compute:.1f} MB/s | {worst:.0%} | "
            f"text^{exponent:.2f}, {number(moved / 1e9)} GB for 1 TB | {number(seconds / 60)} min |"
        )
    return "\n".join(lines)


def fitted(found: list[tuple[int, int, float, int]], speed: float) -> tuple[float, float, float]:
    """Start, seconds a byte, and the greatest relative error of the model over its runs."""
    workers, lengths, seconds, moved = (np.array(column, float) for column in zip(*found))  # noqa: B905
    known = moved / speed / workers
    matrix = np.stack([np.ones(len(found)), lengths / workers], 1) / seconds[:, None]
    answer = np.linalg.lstsq(matrix, (seconds - known) / seconds, rcond=None)[0]
    start, compute = max(0.0, float(answer[0])), float(answer[1])
    told = start + compute * lengths / workers + known
    return start, compute, float(np.abs(told / seconds - 1).max())


def power(found: list[tuple[int, int, float, int]]) -> tuple[float, float]:
    """Moved bytes on two workers as factor * text^exponent."""
    pairs = [(length, moved) for workers, length, _, moved in found if workers == 2]
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
                        if line.startswith("ray_component_uss") and "ray::_" in line:
                            scale = 1.0 if "uss_bytes" in line else 1e6
                            self.metrics = max(self.metrics, float(line.split()[-1]) * scale)


def memory(path: str) -> str:
    """A line of counting pairs within a budget on two nodes of a worker each."""
    from firth.distributed.cooccurrences import PROCESS

    with cluster(2), Watch() as watch:
        pairs_on_ray(path, 2, BUDGET)
    allowed = BUDGET + PROCESS
    verdict = "within" if max(watch.system, watch.metrics) <= allowed else "**above**"
    told = f"{watch.metrics / 2**20:.0f} MiB" if watch.metrics else "not measured (none came)"
    return (
        f"Counting pairs with a budget of {BUDGET >> 20} MiB, and {PROCESS >> 20} MiB for the "
        f"process itself: most of a worker's own memory {watch.system / 2**20:.0f} MiB by the "
        f"system, {verdict} {allowed >> 20} MiB; by Ray's metrics {told}."
    )


@contextlib.contextmanager
def prepared() -> Iterator[tuple[str, Path]]:
    """The corpus and a folder, while this process has one thread."""
    before = firth.info().threads
    firth.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            yield str(corpus_file()), Path(name)
    finally:
        firth.set_num_threads(before)


def run() -> list[Row]:
    """One worker against none."""
    with prepared() as (path, folder), cluster(1):
        return overhead(path, folder)


def costs() -> str:
    """The cost of jobs, and the memory of workers."""
    with prepared() as (path, folder):
        text = cost(path, folder)
    told = "" if QUICK else f"\n\n**Memory**\n\n{memory(path)}"
    return f"**Cost**\n\n{text}{told}"
