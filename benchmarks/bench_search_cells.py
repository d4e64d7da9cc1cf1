"""Cells (firth.Index(cells="auto")) against hnswlib's and usearch's graphs at equal recall.

The graphs take minutes to build, and are kept in the temporary folder with the seconds that it
took; `python benchmarks/bench_search_cells.py hnswlib usearch` builds them beforehand.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import usearch.index
from numpy.typing import NDArray

from bench_search import K, Subject, index_of, recall, set_threads, times, word_vectors
from harness import THREADS, Row


def graph(name: str) -> tuple[Callable[[int], Subject], float]:
    """hnswlib's or usearch's graph over the word vectors: a search of any width, and its seconds.

    Built with M = 16 and the library's other defaults.
    """
    keys, _ = word_vectors(100)
    path = Path(tempfile.gettempdir()) / f"firth-bench-{name}-{len(keys)}"
    told = path.with_suffix(".json")
    if name == "hnswlib":
        import hnswlib

        made = hnswlib.Index("ip", keys.shape[1])
        made.set_num_threads(THREADS)

        def build() -> None:
            made.init_index(len(keys), M=16)
            made.add_items(keys)

        load, save = made.load_index, made.save_index

        def width(value: int) -> Subject:
            made.set_ef(value)
            return lambda queries: made.knn_query(queries, K)[0]
    else:
        other = usearch.index.Index(ndim=keys.shape[1], metric="ip", connectivity=16)

        def build() -> None:
            other.add(np.arange(len(keys)), keys, threads=THREADS)

        load, save = other.load, other.save

        def width(value: int) -> Subject:
            other.expansion_search = value
            return lambda queries: other.search(queries, K, threads=THREADS).keys

    if told.exists():
        load(str(path))
    else:
        start = time.perf_counter()
        build()
        seconds = time.perf_counter() - start
        save(str(path))
        told.write_text(json.dumps(seconds))
    return width, json.loads(told.read_text())


def least(
    width: Callable[[int], Subject], queries: NDArray[np.float32], true: NDArray[np.int64]
) -> tuple[int, float]:
    """The least width (of a ladder in steps of 8 %) whose recall is 0.95, and the recall there."""
    ladder = sorted({round(1.08**i) for i in range(110)})
    low, high = 0, len(ladder) - 1
    while low < high:
        middle = (low + high) // 2
        enough = recall(width(ladder[middle])(queries), true) >= 0.95
        low, high = (low, middle) if enough else (middle + 1, high)
    return ladder[low], recall(width(ladder[low])(queries), true)


def run() -> list[Row]:
    """1,000,000 x 100 word vectors, 1000 queries at recall 0.95: cells against two graphs."""
    set_threads()
    keys, queries = word_vectors(100)
    true = index_of(keys).search(queries, K).ids
    start = time.perf_counter()
    index = index_of(keys, cells="auto")
    index.search(queries[:1], K)
    build = time.perf_counter() - start

    widths: dict[str, Callable[[int], Subject]] = {
        "firth": lambda value: lambda some: index.search(some, K, probe=value).ids
    }
    built = {}
    for name in ("hnswlib", "usearch"):
        widths[name], built[name] = graph(name)
    chosen = {name: least(width, queries, true) for name, width in widths.items()}
    calls = {name: partial(width(chosen[name][0]), queries) for name, width in widths.items()}
    timings = times(calls, 5)
    ours = timings["firth"]
    probe, reached = chosen["firth"]
    work = f"cells, 1000 queries at recall 0.95 of {len(keys):,} x 100"
    best = min(timings[name].median for name in built)
    rows = []
    for name, seconds in built.items():
        width, found = chosen[name]
        peer = timings[name].median
        rows += [
            Row(f"{work} (probe {probe}: {reached:.3f})", f"{name} (width {width}: {found:.3f})",
                len(queries) / peer, len(queries) / ours.median, "queries/s",
                1 if peer == best else None, higher_is_better=True, spread=ours.spread),
            Row("its build", name, seconds, build, "s", 10),
        ]  # fmt: skip
    return rows


if __name__ == "__main__":
    for name in sys.argv[1:]:
        graph(name)
