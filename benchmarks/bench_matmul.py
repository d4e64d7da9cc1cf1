"""Matrix product against NumPy's BLAS and PyTorch. Shapes are M x N x K."""

from __future__ import annotations

import numpy as np

from firth import kernels, set_num_threads
from harness import THREADS, Row, compared, interleave, size

# M, N, K; the goal with B packed, with B plain: against the faster of NumPy and PyTorch.
FLOAT32 = (
    (1024, 1024, 1024, 1.0, None),
    (2048, 2048, 2048, 1.0, None),
    (32, 4096, 100, 1.3, None),
    (128, 384, 1536, 1.3, None),
    (128, 1536, 384, None, None),
    (1, 4096, 768, 1.3, None),
)
BFLOAT16 = (
    (512, 512, 512, None, None),
    (1024, 1024, 1024, 1.0, None),
    (2048, 2048, 2048, 1.0, None),
)


def product(dtype: str, m: int, n: int, k: int, goals: dict[str, float | None]) -> list[Row]:
    """GFLOP/s of one shape, with B packed once and with B as it is."""
    import ml_dtypes
    import torch
    from threadpoolctl import threadpool_limits

    kind = np.dtype(np.float32 if dtype == "float32" else ml_dtypes.bfloat16)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)).astype(kind), rng.standard_normal((k, n)).astype(kind)
    operands = {"packed": kernels.pack(b), "plain": b}
    wide = a.astype(np.float64), b.astype(np.float64)
    want = wide[0] @ wide[1]
    # n products and sums in float32, each within eps: see tests/conftest.py, sum_tolerance
    bound = (k + 1) * 2.0**-23 * (np.abs(wide[0]) @ np.abs(wide[1]))
    for operand in operands.values():
        assert (np.abs(kernels.matmul(a, operand) - want) <= bound).all()
    out = np.empty((m, n), np.float32)  # float32 in either case
    subjects = {
        name: lambda operand=operand: kernels.matmul(a, operand, out=out)
        for name, operand in operands.items()
    }
    if dtype == "float32":
        theirs = np.empty((m, n), np.float32)
        x, y, z = (torch.from_numpy(array) for array in (a, b, theirs))
        peers = {
            "NumPy": lambda: np.matmul(a, b, out=theirs),
            "torch": lambda: torch.matmul(x, y, out=z),
        }
    else:
        x, y = (torch.from_numpy(array.view(np.int16)).view(torch.bfloat16) for array in (a, b))
        peers = {"torch": lambda: x @ y}
    with threadpool_limits(THREADS, user_api="blas"):
        timed = interleave({**subjects, **peers}, repeats=9)
    fastest = min(peers, key=lambda name: timed[name].median)
    return [
        compared(f"matmul {dtype} {m} x {n} x {k}, B {name}", peer, timed[peer], timed[name],
                 "GFLOP/s", goals[name] if peer == fastest else None, amount=2e-9 * m * n * k)
        for name in operands for peer in peers
    ]  # fmt: skip


def run() -> list[Row]:
    """About 2 minutes."""
    import torch

    set_num_threads(THREADS)
    torch.set_num_threads(THREADS)
    rows = []
    for dtype, shapes in (("float32", FLOAT32), ("bfloat16", BFLOAT16)):
        for m, n, k, packed, plain in shapes[: size(len(shapes), 1)]:
            rows += product(dtype, m, n, k, {"packed": packed, "plain": plain})
    return rows
