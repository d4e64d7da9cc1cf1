"""Matrix product against NumPy's BLAS (float32) and PyTorch (bfloat16). Shapes are M x N x K."""

from __future__ import annotations

import numpy as np

from firth import kernels, set_num_threads
from harness import THREADS, Row, interleave


def run() -> list[Row]:
    """GFLOP/s of ours, with B packed once and with B as it is, and of the peer."""
    import ml_dtypes
    import torch
    from threadpoolctl import threadpool_limits

    set_num_threads(THREADS)
    torch.set_num_threads(THREADS)
    rng = np.random.default_rng(0)
    rows = []
    for m, n, k, goal in (
        (1024, 1024, 1024, 1.0),
        (32, 4096, 100, 1.3),
        (128, 384, 1536, 1.3),
        (128, 1536, 384, None),
        (1, 4096, 768, 1.3),
    ):
        a = rng.standard_normal((m, k)).astype(np.float32)
        b = rng.standard_normal((k, n)).astype(np.float32)
        packed, out, theirs = kernels.pack(b), np.empty((m, n), np.float32), np.empty((m, n), "f4")
        want = a.astype(np.float64) @ b.astype(np.float64)
        # n products and sums in float32, each within eps: see tests/conftest.py, sum_tolerance
        bound = (k + 1) * 2.0**-23 * (np.abs(a).astype(np.float64) @ np.abs(b))
        for operand in (packed, b):
            assert (np.abs(kernels.matmul(a, operand) - want) <= bound).all()
        with threadpool_limits(THREADS, user_api="blas"):
            timed = interleave(
                {
                    "packed": lambda a=a, packed=packed, out=out: kernels.matmul(
                        a, packed, out=out
                    ),
                    "plain": lambda a=a, b=b, out=out: kernels.matmul(a, b, out=out),
                    "numpy": lambda a=a, b=b, theirs=theirs: np.matmul(a, b, out=theirs),
                },
                repeats=9,
            )
        flops = 2e-9 * m * n * k
        for name, wanted in (("packed", goal), ("plain", None)):
            rows.append(
                Row(
                    f"matmul float32 {m} x {n} x {k}, B {name}",
                    "numpy",
                    flops / timed["numpy"].median,
                    flops / timed[name].median,
                    "GFLOP/s",
                    wanted,
                    True,
                    timed[name].spread,
                )
            )
    a = rng.standard_normal((1024, 1024)).astype(ml_dtypes.bfloat16)
    b = rng.standard_normal((1024, 1024)).astype(ml_dtypes.bfloat16)
    packed = kernels.pack(b)
    x, y = (torch.from_numpy(z.view(np.int16)).view(torch.bfloat16) for z in (a, b))
    want = a.astype(np.float64) @ b.astype(np.float64)
    bound = 1025 * 2.0**-23 * (np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64)))
    assert (np.abs(kernels.matmul(a, packed) - want) <= bound).all()
    timed = interleave(
        {
            "packed": lambda: kernels.matmul(a, packed),
            "plain": lambda: kernels.matmul(a, b),
            "torch": lambda: x @ y,
        },
        repeats=9,
    )
    flops = 2e-9 * 1024**3
    for name, wanted in (("packed", 1.0), ("plain", None)):
        rows.append(
            Row(
                f"matmul bfloat16 1024 x 1024 x 1024, B {name}",
                "torch",
                flops / timed["torch"].median,
                flops / timed[name].median,
                "GFLOP/s",
                wanted,
                True,
                timed[name].spread,
            )
        )
    return rows
