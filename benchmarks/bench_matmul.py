"""Matrix product against NumPy's BLAS and PyTorch. Shapes are M x N x K."""

from __future__ import annotations

import numpy as np

from firth import kernels, set_num_threads
from harness import THREADS, TILES_PEAK, Row, compared, has_tiles, interleave, size

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
BFLOAT16_TILES = (
    (512, 512, 512, None, None),
    (1024, 1024, 1024, None, 1.3),
    (2048, 2048, 2048, None, 1.3),
)
BYTES = ((1024, 1024, 1024), (2048, 2048, 2048))  # goal, on tiles: 1.3 at 2048, B packed


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
    out = np.empty((m, n), np.float32)
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


def product_of_bytes(m: int, n: int, k: int, goal: float | None) -> list[Row]:
    """The same for int8 by int8, exact in int32; and uint8 by int8, which torch does not have."""
    import torch

    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, shape, np.int8) for shape in ((m, k), (k, n)))
    unsigned = a.view(np.uint8)
    packed = kernels.pack(b)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    want = torch._int_mm(x, y).numpy()
    for operand in (packed, b):
        assert (kernels.matmul(a, operand) == want).all()
    wide = unsigned[:8].astype(np.int64) @ b.astype(np.int64)
    assert (kernels.matmul(unsigned, packed)[:8] == wide).all()
    out = np.empty((m, n), np.int32)
    work = f"matmul int8 {m} x {n} x {k}, B"
    timed = interleave({
        f"{work} packed": lambda: kernels.matmul(a, packed, out=out),
        f"{work} plain": lambda: kernels.matmul(a, b, out=out),
        f"{work} packed, A uint8": lambda: kernels.matmul(unsigned, packed, out=out),
        "torch": lambda: torch._int_mm(x, y),
    }, repeats=9)  # fmt: skip
    return [
        compared(name, "torch._int_mm", timed["torch"], timed[name], "Gop/s",
                 goal if name == f"{work} packed" else None, amount=2e-9 * m * n * k)
        for name in timed if name != "torch"
    ]  # fmt: skip


def run() -> list[Row]:
    """About 2 minutes."""
    import torch

    set_num_threads(THREADS)
    torch.set_num_threads(THREADS)
    tiles = has_tiles()
    rows = []
    of_bfloat16 = BFLOAT16_TILES if tiles else BFLOAT16
    for dtype, shapes in (("float32", FLOAT32), ("bfloat16", of_bfloat16)):
        for m, n, k, packed, plain in shapes[: size(len(shapes), 1)]:
            rows += product(dtype, m, n, k, {"packed": packed, "plain": plain})
    if tiles:
        most = max(row.ours for row in rows if row.work.endswith("2048, B packed"))
        rows.append(Row("matmul bfloat16 2048 x 2048 x 2048, B packed", "the tiles' peak",
                        TILES_PEAK, most, "GFLOP/s", 0.45, True, kind="budget"))  # fmt: skip
    for m, n, k in BYTES[: size(len(BYTES), 1)]:
        rows += product_of_bytes(m, n, k, 1.3 if tiles and m == 2048 else None)
    return rows
