"""A million queries that try to make the certified scan differ from the exact one, and the peers.

Nothing is timed. Compared are ids and the bits of scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

import firth
from bench_search import K, index_of, normal, set_threads, unit
from firth import _native
from firth.kernels._dispatch import active_level
from harness import THREADS, size


def adversaries(seed: int) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Rows (N, D) and queries (Q, D) that are hard to certify, by name."""
    rng = np.random.default_rng(seed)
    n, q = 2048, size(10_000, 1000)

    def draw(rows: int, d: int, dtype: type = np.float32) -> NDArray[np.float32]:
        return rng.standard_normal((rows, d), dtype=dtype)

    cases = {"normal, 1-d": (draw(n, 1), draw(q, 1))}
    for d in (3, 17, 100, 384):
        cases[f"normal, {d}-d"] = (draw(n, d), draw(q // (1 + (d > 300)), d))
    centres, spectrum = draw(40, 64), (1 / np.sqrt(np.arange(1, 65))).astype(np.float32)
    clustered = (centres[rng.integers(40, size=n + q)] + 0.3 * draw(n + q, 64)) * spectrum
    cases["clusters with a falling spectrum"] = (clustered[:n], clustered[n:])
    shifted = draw(n + q, 48) + 10
    cases["all on one side"] = (shifted[:n], shifted[n:])
    base = draw(1, 48)
    for power in (-3, -5, -7):
        near = base + 10.0**power * draw(n, 48)
        cases[f"near-duplicates, 1e{power}"] = (near, base + 10.0**power * draw(q, 48))
    twice = draw(n // 4, 32)[rng.integers(n // 4, size=n)]
    cases["rows four times"] = (twice, draw(q, 32))
    grid = rng.integers(-1, 2, (n + q, 24)).astype(np.float32)
    cases["a grid of -1, 0, 1"] = (grid[:n], grid[n:])
    huge = draw(n, 48)
    huge[np.arange(n), rng.integers(48, size=n)] *= 1e6
    cases["one huge component, anywhere"] = (huge, draw(q, 48))
    huge = draw(n, 48)
    huge[:, 7] = 1e5
    cases["one huge component, the same"] = (huge, draw(q, 48))
    scaled = draw(n, 48) * np.exp(rng.uniform(-69, 69, (n, 1))).astype(np.float32)
    queries = draw(q, 48) * np.exp(rng.uniform(-15, 15, (q, 1))).astype(np.float32)
    cases["lengths from 1e-30 to 1e30"] = (scaled, queries)
    cases["denormals"] = (draw(n, 48) * np.float32(1e-40), draw(q, 48) * np.float32(1e-41))
    constant = np.repeat(draw(n, 1), 48, axis=1)
    cases["constant rows"] = (constant, draw(q, 48))
    sparse = draw(n, 96) * (rng.random((n, 96)) < 0.03)
    cases["mostly zeros, and rows of zeros"] = (sparse, draw(q, 96) * (rng.random((q, 96)) < 0.3))
    rows = draw(n, 48)
    cases["the rows themselves"] = (rows, rows[rng.integers(n, size=q)])
    pairs = rows[rng.integers(n, size=(q, 2))]
    cases["between two rows"] = (rows, unit(pairs[:, 0]) + unit(pairs[:, 1]))
    levels = (rng.integers(-127, 128, (n, 48)) + 0.5).astype(np.float32)
    cases["halfway between codes"] = (levels, draw(q, 48))
    return {
        name: (np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32))
        for name, (a, b) in cases.items()
    }


def exact_scan(
    index: firth.Index, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids and scores (Q, k) without codes: every row is scored."""
    state = index._table.state
    labels, scores, *_ = _native.search.search(
        active_level(),
        state.native,
        index.metric,
        queries,
        k,
        state.version,
        [],
        None,
        [],
        None,
        0,
        exact=True,
    )
    return labels, scores


def run() -> str:
    """A million queries: certified search against the exact scan, ids and bits; returns no rows.

    Every block of 500 queries is answered twice, by two of the settings (level, threads, batch)
    in turn, so that every setting meets every kind of data.
    """
    set_threads()
    levels = firth.info().usable_levels
    settings = itertools.cycle(
        itertools.product((1, 5, 16, 61, 500), levels, range(1, THREADS + 1))
    )
    counts: dict[tuple[str, str], list[int]] = {}
    total = 0
    while total < size(1_000_000):
        for name, (rows, queries) in adversaries(seed=total).items():
            for half, metric in enumerate(("cosine", "ip")):
                index = index_of(rows, metric=metric)
                count = counts.setdefault((name, metric), [0, 0, 0])
                for start in range(half, len(queries), 1000):
                    block = queries[start : start + 1000 : 2].copy()
                    k = (1, K, 50)[start // 1000 % 3]
                    ids, scores = exact_scan(index, block, k)
                    for batch, level, threads in itertools.islice(settings, 2):
                        firth.set_num_threads(threads)
                        with firth.kernels.use(f"native:{level}"):
                            parts = [
                                index.search(block[i : i + batch], k)
                                for i in range(0, len(block), batch)
                            ]
                        differ = np.concatenate([part.ids for part in parts]) != ids
                        got = np.concatenate([part.scores for part in parts])
                        differ |= got.view(np.int32) != scores.view(np.int32)
                        count[1] += differ.size
                        count[2] += int(differ.sum())
                    firth.set_num_threads(THREADS)
                    count[0] += len(block)
                    total += len(block)
    lines = [
        "| 2048 rows and queries | metric | queries | answers compared | ids or bits that differ |",
        "|---|---|---|---|---|",
        *(f"| {name} | {metric} | {q:,} | {all_:,} | **{differ}** |"
          for (name, metric), (q, all_, differ) in counts.items()),
        f"| all | | {total:,} | {sum(c[1] for c in counts.values()):,} | "
        f"**{sum(c[2] for c in counts.values())}** |",
        "",
        f"Batches of 1, 5, 16, 61 and 500; levels {', '.join(levels)}; 1 to {THREADS} threads; k "
        "of 1, 10 and 50.",
        "",
        *peers_by_batch(),
    ]  # fmt: skip
    return "\n".join(lines)


def peers_by_batch() -> list[str]:
    """How many scores of 400 queries change with the batch, against asking one by one."""
    keys, queries = normal(20_000, 384), normal(400, 384, seed=1)
    flat_index = faiss.IndexFlatIP(384)
    flat_index.add(keys)
    tensor = torch.from_numpy(keys)
    index = index_of(keys)
    subjects: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
        "FAISS IndexFlatIP": lambda some: flat_index.search(some, K)[0],
        "torch matmul + topk": lambda some: torch.topk(torch.from_numpy(some) @ tensor.T, K)[
            0
        ].numpy(),
        "NumPy matmul": lambda some: np.sort(some @ keys.T, axis=1)[:, ::-1][:, :K],
        "firth.Index": lambda some: index.search(some, K).scores,
    }
    lines = [
        "| of 4,000 scores (20,000 x 384) differ from one query alone | batches of 40 | of 400 |",
        "|---|---|---|",
    ]
    for name, call in subjects.items():
        changed = []
        for batch in (1, 40, 400):
            scores = np.concatenate(
                [call(queries[i : i + batch]) for i in range(0, len(queries), batch)]
            )
            if batch == 1:
                alone = scores
            else:
                changed.append(f"{int((scores != alone).sum()):,}")
        lines.append(f"| {name} | {' | '.join(changed)} |")
    return lines
