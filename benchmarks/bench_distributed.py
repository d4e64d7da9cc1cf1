"""Jobs on a Ray cluster against the same jobs without Ray.

One worker, which has one processor of a cluster that runs already, against this process with one
thread, on the dev corpus. What a worker needs to come to life counts.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import firth
from bench_encoders import minilm, paragraphs
from bench_words import corpus_file
from distributed_jobs import digest
from harness import Row, compared, interleave, size

STORE = 2 << 30
GOAL = 1 / 1.1
ALONE = "firth without Ray"
SKIPGRAM = {"sg": 1, "vector_size": 100, "sample": 1e-4, "seed": 1}


@contextlib.contextmanager
def cluster(nodes: int, cpus: int = 1) -> Iterator[Any]:
    """A cluster whose workers have the priority of other processes, and this process joins."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ |= {
        "RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled",
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


# The jobs, without Ray and with it


def words_alone(path: str) -> list[str]:
    model = firth.Word2Vec(min_count=5)
    model.build_vocab(corpus_file=path)
    return model.wv.index_to_key


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


def skipgram(path: str, workers: int | None, epochs: int = 1) -> firth.Word2Vec:
    from firth.distributed import train

    model = firth.Word2Vec(**SKIPGRAM, epochs=epochs, workers=1)
    if workers is None:
        model.build_vocab(corpus_file=path)
        model.train(corpus_file=path)
        return model
    return train(model, path, workers=workers)


def overhead(path: str, folder: Path) -> list[Row]:
    """Rows of one worker against none."""
    from firth.distributed import ShardedIndex, build_knowledge_base, build_vocab, embed
    from firth.distributed.datasets import open_embedding

    texts = paragraphs(size(2000, 50))
    lines = folder / "texts.txt"
    lines.write_text("\n".join(" ".join(text.split()) for text in texts) + "\n", encoding="utf-8")
    long = folder / "lines.txt"  # so that the start of a worker and its model counts for little
    with open(path, encoding="utf-8") as corpus:
        long.write_text("".join(itertools.islice(corpus, size(8000, 50))), encoding="utf-8")
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

    def vectors_alone(lines: Path) -> Any:
        spoken = lines.read_text(encoding="utf-8").splitlines()
        out = firth.SentenceTransformer(minilm()).encode(spoken)
        np.save(folder / f"{next(runs)}.npy", out)
        return out

    def vectors_on_ray(lines: Path) -> Any:
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
        "skip-gram, 5 epochs, as by default": (
            lambda: skipgram(path, None, 5).wv.vectors, lambda: skipgram(path, 1, 5).wv.vectors,
        ),
        f"embedding {len(texts):,} texts": (
            lambda: vectors_alone(lines), lambda: vectors_on_ray(lines),
        ),
        f"embedding {size(8000, 50):,} lines of the corpus": (
            lambda: vectors_alone(long), lambda: vectors_on_ray(long),
        ),
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
