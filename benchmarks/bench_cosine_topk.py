"""cosine_topk, k = 10, on 500,000 x 384 normalised normal vectors: one query, and 256 together."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import faiss
import numpy as np
import torch
from usearch.index import MetricKind, search

import firth
from firth.kernels import cosine_topk, row_norms
from harness import THREADS, Row, interleave

N, D, K = 500_000, 384, 10


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
        rows += compare(queries, keys, norms, torch.from_numpy(keys), index)
    return rows


def compare(
    queries: np.ndarray,
    keys: np.ndarray,
    norms: np.ndarray,
    tensor: torch.Tensor,
    index: faiss.IndexFlatIP,
) -> list[Row]:
    single = len(queries) == 1
    given = torch.from_numpy(queries)
    ours = {
        "firth": lambda: cosine_topk(queries, keys, K),
        "norms given": lambda: cosine_topk(queries, keys, K, norms=norms),
    }
    streaming = {"reading the matrix once (row_norms)": lambda: row_norms(keys)} if single else {}
    peers = {
        "torch matmul + topk": lambda: torch.topk(given @ tensor.T, K),
        "NumPy matmul + argpartition": lambda: numpy_topk(queries, keys),
    }
    slow = {  # seconds for a batch
        "FAISS IndexFlatIP": lambda: index.search(queries, K),
        "usearch exact": lambda: search(
            keys, queries, K, MetricKind.IP, exact=True, threads=THREADS
        ),
    }
    if single:
        timings = interleave({**ours, **streaming, **peers, **slow}, 7, pause=0.2)
    else:
        timings = interleave({**ours, **peers}, 3, pause=0.2) | interleave(slow, 1)
    with firth.kernels.use("native:v3"):
        v3 = interleave({"v3": ours["firth"]}, 3)["v3"]
    with firth.kernels.use("native:v4"):
        v4 = interleave({"v4": ours["firth"]}, 3)["v4"]

    work = f"cosine_topk k={K}, {N} x {D}, {len(queries)} queries"
    firth_time = timings["firth"]
    best = min(timings[name].median for name in (*peers, *slow))
    rows = []
    for name in (*streaming, *peers, *slow):
        peer = timings[name].median
        goal = 1 / 1.2 if name in streaming else None
        if peer == best:
            goal = 1.5 if single else 1.7
        rows.append(
            Row(work, name, peer * 1e3, firth_time.median * 1e3, "ms", goal,
                spread=firth_time.spread)
        )  # fmt: skip
    given_norms = timings["norms given"].median
    rows.append(
        Row(f"{work}, norms given", "firth without norms", firth_time.median * 1e3,
            given_norms * 1e3, "ms")
    )  # fmt: skip
    rows.append(
        Row(f"{work}, level v3", "firth v4", v4.median * 1e3, v3.median * 1e3, "ms", 1 / 1.6)
    )
    return rows


if __name__ == "__main__":
    for row in run():
        print(f"{row.work:55} {row.peer_name:36} {row.peer:9.1f} {row.ours:9.1f} {row.unit} "
              f"{row.ratio:6.2f} x" + (f" (goal {row.goal:.2f})" if row.goal else ""))  # fmt: skip
