"""The v3 (AVX2) level of each kernel, forced on this machine, against v4 (AVX-512).

A ratio of 1 / 1.6 = 0.625 or more meets the goal: at most 1.6 times as slow.
"""

from __future__ import annotations

import numpy as np

import bench_words
from firth import kernels, set_num_threads
from firth.kernels import use
from firth.kernels._dispatch import levels
from harness import THREADS, Row, Timing, compared, interleave, size

BEST, GOAL = "v4", 0.625


def run() -> list[Row]:
    """Each kernel at v3 and at v4, in turn; about 6 minutes."""
    set_num_threads(THREADS)
    if not {"v3", BEST} <= set(levels):
        return []
    rng = np.random.default_rng(0)
    rows = []

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def compare(work: str, call, tolerance: float) -> None:
        def at(level: str):
            def at_level() -> object:
                with use(f"native:{level}"):
                    return call()

            return at_level

        for ours, theirs in zip(np.atleast_1d(at("v3")()), np.atleast_1d(at(BEST)()), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
        timed = interleave({"v3": at("v3"), BEST: at(BEST)})
        rows.append(
            compared(f"{work}, level v3", f"firth {BEST}", timed[BEST], timed["v3"], "ms", GOAL,
                     kind="self")
        )  # fmt: skip

    a, out = normal(size(100_000), 384), np.empty(size(100_000), np.float32)
    compare(f"dot, {len(a):,} x 384", lambda: kernels.dot(a, a[0], out=out), 1e-3)
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
    keys = normal(size(500_000), 384)
    for count, named in ((1, "1 query"), (256, "256 queries")):
        queries = normal(count, 384)
        compare(
            f"cosine_topk, {len(keys):,} x 384, {named}, k = 10",
            lambda queries=queries, keys=keys: kernels.cosine_topk(queries, keys, 10).scores,
            1e-4,
        )
    del keys
    path = bench_words.corpus_file()
    for dim in (100, 300):
        for negatives in ("shared", "independent"):
            seconds: dict[str, list[float]] = {"v3": [], BEST: []}
            for _ in range(3):
                losses = []
                for level, taken in seconds.items():
                    with use(f"native:{level}"):
                        model, once = bench_words.firth_train(path, dim, 1, negatives=negatives)
                    taken.append(once)
                    losses += model.epoch_losses
                # Hogwild on two threads moves the mean loss by about 0.002; untrained it is 4.16
                assert abs(losses[0] - losses[1]) < 0.02
                assert max(losses) < bench_words.LEARNED
            rows.append(
                compared(f"skip-gram training, dim {dim}, {negatives}, level v3", f"firth {BEST}",
                         Timing(seconds[BEST]), Timing(seconds["v3"]), "words/s", GOAL,
                         amount=model.corpus_total_words, kind="self")
            )  # fmt: skip
    return rows
