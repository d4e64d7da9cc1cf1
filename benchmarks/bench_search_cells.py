"""Cells (firth.Index(cells="auto")) at equal recall against FAISS's inverted files and two graphs.

Every index is built in this run, on THREADS threads. A search is widened (more lists, more nodes,
more candidates scored again) until 0.95 of the true neighbours are found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import faiss
import hnswlib
import numpy as np
import usearch.index
from numpy.typing import NDArray

from bench_search import K, Subject, index_of, recall, set_threads, word_vectors
from harness import QUICK, THREADS, Row, Timing, compared, interleave

RECALL = 0.95
# What FAISS's guide recommends for a million rows: 4 to 16 times the square root.
LISTS = 64 if QUICK else 4096
RESCORED = (2, 4, 8, 16)  # candidates scored again with the float32 rows, in units of K
Width = Callable[[int], Subject]  # a search as wide as that


def inverted_file(keys: NDArray[np.float32], description: str) -> dict[str, Width]:
    """One of FAISS's inverted files; one way to search it for each number of re-scored rows."""
    made = faiss.index_factory(keys.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    made.train(keys)
    made.add(keys)

    def searcher(probe: int, factor: int | None) -> Subject:
        parameters = faiss.SearchParametersIVF(nprobe=min(probe, LISTS))
        if factor is not None:
            parameters = faiss.IndexRefineSearchParameters(
                k_factor=factor, base_index_params=parameters
            )
        return lambda queries: made.search(queries, K, params=parameters)[1]

    if "RFlat" not in description:
        return {"": lambda probe: searcher(probe, None)}
    return {f"{f * K} re-scored": lambda probe, f=f: searcher(probe, f) for f in RESCORED}


def hnsw(keys: NDArray[np.float32]) -> dict[str, Width]:
    """hnswlib's graph with M = 16 and its other defaults."""
    made = hnswlib.Index("ip", keys.shape[1])
    made.set_num_threads(THREADS)
    made.init_index(len(keys), M=16)
    made.add_items(keys)

    def width(value: int) -> Subject:
        def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
            made.set_ef(max(value, K))
            return made.knn_query(queries, K)[0].astype(np.int64)

        return search

    return {"": width}


def usearch_graph(keys: NDArray[np.float32]) -> dict[str, Width]:
    """usearch's graph with a connectivity of 16 and its other defaults."""
    made = usearch.index.Index(ndim=keys.shape[1], metric="ip", connectivity=16)
    made.add(np.arange(len(keys)), keys, threads=THREADS)

    def width(value: int) -> Subject:
        def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
            made.expansion_search = value
            return made.search(queries, K, threads=THREADS).keys

        return search

    return {"": width}


def cells(keys: NDArray[np.float32]) -> dict[str, Width]:
    """firth's, searched once, since cells are built then."""
    made = index_of(keys, cells="auto")
    made.search(keys[:1], K)
    return {"": lambda value: lambda queries: made.search(queries, K, probe=value).ids}


def least(
    width: Width, queries: NDArray[np.float32], true: NDArray[np.int64]
) -> tuple[int, float] | None:
    """The least width (of a ladder in steps of 8 %) whose recall suffices, and the recall there.

    None where the widest does not.
    """
    ladder = sorted({round(1.08**i) for i in range(110)})
    low, high = 0, len(ladder) - 1
    while low < high:
        middle = (low + high) // 2
        enough = recall(width(ladder[middle])(queries), true) >= RECALL
        low, high = (low, middle) if enough else (middle + 1, high)
    found = recall(width(ladder[low])(queries), true)
    return (ladder[low], found) if found >= RECALL else None


def chosen(
    ways: dict[str, Width], queries: NDArray[np.float32], true: NDArray[np.int64]
) -> tuple[Subject, str] | None:
    """The fastest way with enough recall, each at its least width, and its description."""
    best: tuple[float, Subject, str] | None = None
    for name, width in ways.items():
        if (enough := least(width, queries, true)) is None:
            continue
        value, found = enough
        subject = width(value)
        start = time.perf_counter()
        subject(queries)
        taken = time.perf_counter() - start
        if best is None or taken < best[0]:
            best = taken, subject, f"width {value}{', ' * bool(name)}{name}: {found:.3f}"
    return None if best is None else best[1:]


def run() -> list[Row]:
    """1,000,000 x 100 word vectors, 1000 queries at recall 0.95; about 20 minutes."""
    set_threads()
    keys, queries = word_vectors(100)
    true = index_of(keys).search(queries, K).ids
    half = keys.shape[1] // 2
    codes = {
        "FAISS IVFFlat": "Flat",
        "FAISS IVF-SQ8, re-scored": "SQ8,RFlat",  # alone it finds 0.91
        "FAISS IVFPQ, re-scored": f"PQ{half},RFlat",
        "FAISS IVFPQFastScan, re-scored": f"PQ{half}x4fs,RFlat",
    }
    builds: dict[str, Callable[[NDArray[np.float32]], dict[str, Width]]] = {
        "firth": cells,
        **{
            name: partial(inverted_file, description=f"IVF{LISTS},{code}")
            for name, code in codes.items()
        },
        "hnswlib": hnsw,
        "usearch": usearch_graph,
    }
    built, subjects, notes = {}, {}, {}
    for name, build in builds.items():
        start = time.perf_counter()
        ways = build(keys)
        built[name] = Timing([time.perf_counter() - start])
        if (found := chosen(ways, queries, true)) is None:
            raise RuntimeError(f"{name} does not reach recall {RECALL}")
        subjects[name], notes[name] = found
    timings = interleave({name: partial(call, queries) for name, call in subjects.items()}, 5)
    ours, mine = timings.pop("firth"), built["firth"]
    best = min(timings, key=lambda name: timings[name].median)
    rows = []
    for name, timing in timings.items():
        rows += [
            compared(f"cells, {len(queries)} queries at recall {RECALL} of {len(keys):,} x 100",
                     name, timing, ours, "queries/s", 1 if name == best else None,
                     amount=len(queries), note=f"{notes[name]}; firth: {notes['firth']}"),
            Row(f"build of {len(keys):,} x 100", name, built[name].median, mine.median, "s",
                None if name.startswith("FAISS") else 10, note="one sample of either"),
        ]  # fmt: skip
    return rows
