"""cosine_topk, k = 10, on 500,000 x 384 normalised normal vectors: one query, and 256 together."""

from __future__ import annotations

import faiss
import numpy as np
import torch
from usearch.index import MetricKind, search

import firth
from firth.kernels import cosine_topk, row_norms
from harness import THREADS, Row, compared, interleave, size

N, D, K = size(500_000), 384, 10


def verify(queries: np.ndarray, keys: np.ndarray) -> None:
    """The rows found are the k best by cosines in float64, up to rounding."""
    got = cosine_topk(queries, keys, K)
    tolerance = (D / 16 + 8) * float(np.finfo(np.float32).eps)
    for query, scores, indices in zip(queries, got.scores, got.indices, strict=True):
        unit = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
        rough = keys @ query
        near = np.argpartition(rough, -100)[-100:]  # float32 decides among 100 only
        rows = keys[near].astype(np.float64)
        best = np.sort(rows @ unit / np.linalg.norm(rows, axis=1))[::-1][:K]
        mine = keys[indices].astype(np.float64)
        assert (np.abs(best - scores) <= tolerance).all()
        assert (np.abs(mine @ unit / np.linalg.norm(mine, axis=1) - scores) <= tolerance).all()


def numpy_topk(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    scores = queries @ keys.T
    found = np.argpartition(scores, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1)
    return np.take_along_axis(found, order, axis=1)


def run() -> list[Row]:
    """About 4 minutes."""
    torch.set_num_threads(THREADS)
    faiss.omp_set_num_threads(THREADS)
    firth.set_num_threads(THREADS)
    rng = np.random.default_rng(0)
    keys = rng.standard_normal((N, D), dtype=np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    batch = rng.standard_normal((256, D), dtype=np.float32)
    batch /= np.linalg.norm(batch, axis=1, keepdims=True)
    verify(batch[:8], keys)
    verify(batch[:40], keys)
    norms = row_norms(keys)
    index = faiss.IndexFlatIP(D)
    index.add(keys)

    rows = []
    for queries in (batch[:1], batch):
        rows += against_all(queries, keys, norms, torch.from_numpy(keys), index)
    return rows


def against_all(
    queries: np.ndarray,
    keys: np.ndarray,
    norms: np.ndarray,
    tensor: torch.Tensor,
    index: faiss.IndexFlatIP,
) -> list[Row]:
    """One number of queries: peers, reading the matrix once, norms given, and levels."""
    single = len(queries) == 1
    given = torch.from_numpy(queries)

    def ours(**options: np.ndarray) -> object:
        return cosine_topk(queries, keys, K, **options)

    def at_level(level: str) -> object:
        with firth.kernels.use(f"native:{level}"):
            return ours()

    own = {"firth": ours, "norms given": lambda: ours(norms=norms)}
    levels = {level: lambda level=level: at_level(level) for level in ("v3", "v4")
              if f"native:{level}" in firth.kernels.backends()}  # fmt: skip
    streaming = {"reading the matrix once (row_norms)": lambda: row_norms(keys)} if single else {}
    peers = {
        "torch matmul + topk": lambda: torch.topk(given @ tensor.T, K),
        "NumPy matmul + argpartition": lambda: numpy_topk(queries, keys),
        "FAISS IndexFlatIP": lambda: index.search(queries, K),
        "usearch exact": lambda: search(
            keys, queries, K, MetricKind.IP, exact=True, threads=THREADS
        ),
    }
    timings = interleave({**own, **streaming, **peers, **levels}, 7 if single else 5)
    work = f"cosine_topk k={K}, {N:,} x {D}, " + (
        "1 query" if single else f"{len(queries)} queries"
    )
    mine = timings["firth"]
    best = min(peers, key=lambda name: timings[name].median)
    goal = 1.5 if single else 1.7
    rows = [
        compared(work, name, timings[name], mine, "ms", goal if name == best else None)
        for name in peers
    ]
    rows += [
        compared(work, name, timings[name], mine, "ms", 1 / 1.2, kind="budget")
        for name in streaming
    ]
    rows.append(
        compared(f"{work}, norms given", "firth without norms", mine, timings["norms given"], "ms",
                 1.0, kind="self")
    )  # fmt: skip
    if len(levels) == 2:
        rows.append(
            compared(f"{work}, level v3", "firth v4", timings["v4"], timings["v3"], "ms", 1 / 1.6,
                     kind="self")
        )  # fmt: skip
    return rows
