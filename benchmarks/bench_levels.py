"""The v3 (AVX2) level of each kernel, forced on this machine, against the best level.

The "peer" is the best level, so a ratio of 1 / 1.6 = 0.63 or more meets the goal of 1.6 x.
"""

from __future__ import annotations

import numpy as np

from firth import _native, kernels, set_num_threads
from firth.kernels import use
from harness import THREADS, Row, interleave


def run() -> list[Row]:
    """Each kernel at v3 and at v4 or v4x, in turn."""
    set_num_threads(THREADS)
    names = [level.name for level in _native.usable_levels()]
    if "v3" not in names or names[0] == "v3":
        return []
    rng = np.random.default_rng(0)
    rows = []

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def compare(work: str, call, tolerance: float) -> None:
        def at(level: str):
            def run_it() -> object:
                with use(f"native:{level}"):
                    return call()

            return run_it

        best = "v4"
        for ours, theirs in zip(np.atleast_1d(at("v3")()), np.atleast_1d(at(best)()), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
        timed = interleave({"v3": at("v3"), best: at(best)})
        rows.append(
            Row(work, best, 1e3 * timed[best].median, 1e3 * timed["v3"].median, "ms", 0.625,
                spread=timed["v3"].spread)
        )  # fmt: skip

    a, out = normal(100_000, 384), np.empty(100_000, np.float32)
    compare("dot, 100,000 x 384", lambda: kernels.dot(a, a[0], out=out), 1e-3)
    for shape in ((4096, 1024), (512, 50257), (100_000, 16)):
        x, y = normal(*shape), np.empty(shape, np.float32)
        compare(f"softmax, {shape}", lambda x=x, y=y: kernels.softmax(x, out=y), 1e-5)
    m, n = normal(1024, 1024), normal(1024, 1024)
    compare("matmul float32, 1024^3", lambda: kernels.matmul(m, n), 1e-2)
    for shape, causal in (
        ((1, 12, 512, 64), False),
        ((1, 12, 2048, 64), True),
        ((8, 12, 128, 64), False),
        ((1, 8, 4096, 128), True),
    ):
        q, k, v = normal(*shape), normal(*shape), normal(*shape)
        compare(
            f"attention float32, {shape}{' causal' * causal}",
            lambda q=q, k=k, v=v, causal=causal: kernels.scaled_dot_product_attention(
                q, k, v, is_causal=causal
            ),
            1e-3,
        )
    keys = normal(500_000, 384)
    for count in (1, 256):
        queries = normal(count, 384)
        compare(
            f"cosine_topk, 500,000 x 384, {count} queries, k = 10",
            lambda queries=queries, keys=keys: kernels.cosine_topk(queries, keys, 10).scores,
            1e-4,
        )
    del keys
    vocabulary, dim = 70_000, 100
    w_in, w_out = normal(vocabulary, dim) / dim, np.zeros((vocabulary, dim), np.float32)
    ids = (vocabulary * rng.power(0.2, (4, 20_000, 5))).astype(np.int64)
    for name, contexts in (("shared", ids[1]), ("independent", ids[1, :, 0])):
        compare(
            f"skip-gram batch, dim {dim}, {name}",
            lambda contexts=contexts: kernels.skipgram_negative_sampling(
                w_in, w_out, ids[0, :, 0], contexts, ids[2], 0.0
            ),
            1e-4,
        )
    return rows
