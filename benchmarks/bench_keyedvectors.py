"""Questions to vectors against gensim: neighbours of 1000 words, of one, and Google's analogies.

gensim answers one question at a time, so it is timed on some of them and its time scaled up.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gensim.models
import numpy as np
from gensim.test.utils import datapath

import firth
from harness import THREADS, Row, interleave

SOME = 10  # questions of gensim's in one measurement of the neighbours
ANALOGIES = 60  # and of the analogies


def made_up(names: list[str], d: int) -> tuple[firth.KeyedVectors, Any]:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(names), d), dtype=np.float32)
    ours = firth.KeyedVectors(d)
    ours.add_vectors(names, vectors)
    peer = gensim.models.KeyedVectors(d)
    peer.index_to_key, peer.vectors = names, vectors
    peer.key_to_index = dict(ours.key_to_index)
    ours.fill_norms()
    peer.fill_norms()
    return ours, peer


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def neighbours() -> list[Row]:
    ours, peer = made_up([f"w{row}" for row in range(500_000)], 300)
    queries = [f"w{row}" for row in range(0, 500_000, 500)]
    for query, answer in zip(queries[:3], ours.most_similar_batch(queries[:3]), strict=True):
        assert [key for key, _ in answer] == [key for key, _ in peer.most_similar(query)]
    times = interleave(
        {
            "peer": lambda: [peer.most_similar(query) for query in queries[:SOME]],
            "batch": lambda: ours.most_similar_batch(queries),
            "single": lambda: [ours.most_similar(query) for query in queries[:SOME]],
        },
        3,
    )
    each = times["peer"].median / SOME
    rows = [
        Row("most_similar, 1000 queries, 500,000 x 300",
            f"gensim one by one (scaled up from {SOME})", each * 1000, times["batch"].median, "s",
            20, spread=times["batch"].spread),
        Row("most_similar, one query, 500,000 x 300", "gensim", each * 1e3,
            times["single"].median / SOME * 1e3, "ms", spread=times["single"].spread),
    ]  # fmt: skip
    for name in ("float16", "int8"):
        small = ours.astype(name)
        small.fill_norms()
        timing = interleave({"batch": lambda kv=small: kv.most_similar_batch(queries)}, 2)["batch"]
        rows.append(
            Row(f"most_similar, 1000 queries, stored as {name}", "gensim (float32)", each * 1000,
                timing.median, "s", spread=timing.spread)
        )  # fmt: skip
    return rows


def analogies(count: int, d: int) -> Row:
    lines = Path(datapath("questions-words.txt")).read_text().splitlines()
    words = list(dict.fromkeys(word for line in lines if line[0] != ":" for word in line.split()))
    ours, peer = made_up(words + [f"w{row}" for row in range(count - len(words))], d)
    step = len(lines) // ANALOGIES
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "some.txt")
        some = [line for line in lines if line[0] != ":"][::step]
        Path(path).write_text(": some\n" + "\n".join(some) + "\n")
        assert ours.evaluate_word_analogies(path) == peer.evaluate_word_analogies(path)
        theirs, mine = [], []
        for _ in range(3):
            theirs.append(seconds(lambda: peer.evaluate_word_analogies(path)))
            mine.append(
                seconds(lambda: ours.evaluate_word_analogies(datapath("questions-words.txt")))
            )
    questions = sum(line[0] != ":" for line in lines)
    scaled = float(np.median(theirs)) * questions / len(some)
    middle = float(np.median(mine))
    return Row(
        f"evaluate_word_analogies, all of Google's, {count:,} x {d}",
        f"gensim (scaled up from {ANALOGIES} questions)", scaled, middle, "s",
        20, spread=(max(mine) - min(mine)) / middle,
    )  # fmt: skip


def run() -> list[Row]:
    firth.set_num_threads(THREADS)
    return [*neighbours(), analogies(73_000, 100), analogies(300_000, 300)]


if __name__ == "__main__":
    for row in run():
        print(f"{row.work:60} {row.peer_name:18} {row.peer:9.2f} {row.ours:9.3f} {row.unit} "
              f"{row.ratio:6.1f} x")  # fmt: skip
