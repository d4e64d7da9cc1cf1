"""Attention against torch.nn.functional.scaled_dot_product_attention, float32 and bfloat16.

FLOP = 4 B H L S D, half of it when causal. The last row is the memory of L = S = 16384.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys

import numpy as np

from firth import set_num_threads
from firth.kernels import scaled_dot_product_attention
from harness import THREADS, Row, compared, has_tiles, interleave, size

SHAPES = [
    ((1, 12, 512, 64), False),
    ((1, 12, 2048, 64), True),
    ((8, 12, 128, 64), False),
    ((1, 8, 4096, 128), True),
    ((2, 16, 777, 80), False),
]
# VmHWM belongs to the process itself; ru_maxrss would start at the peak of the parent.
PEAK = """
import re, numpy as np
from firth.kernels import scaled_dot_product_attention
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
x = np.ones((1, 1, 16384, 64), np.float32)
scaled_dot_product_attention(x[:, :, :64], x[:, :, :64], x[:, :, :64])
before = peak()
scaled_dot_product_attention(x, x, x)
print(peak() - before)
"""


def run() -> list[Row]:
    """GFLOP/s by shape and dtype, geometric means, peak memory; about 2 minutes."""
    import ml_dtypes
    import torch
    import torch.nn.functional as F

    set_num_threads(THREADS)
    torch.set_num_threads(THREADS)
    rng = np.random.default_rng(0)
    rows = []
    tiles = has_tiles()
    for dtype, goal, worst in (
        (np.float32, 1.4 if tiles else 1.25, 1.0),
        (ml_dtypes.bfloat16, 2.5, 1.5 if tiles else None),
    ):
        ratios = []
        name = np.dtype(dtype).name
        for shape, causal in SHAPES[: size(len(SHAPES), 1)]:
            q, k, v = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
            if dtype is np.float32:
                tensors = [torch.from_numpy(x) for x in (q, k, v)]
            else:
                tensors = [
                    torch.from_numpy(x.view(np.int16)).view(torch.bfloat16) for x in (q, k, v)
                ]
            want = F.scaled_dot_product_attention(
                *(x.double() for x in tensors), is_causal=causal
            ).numpy()
            got = scaled_dot_product_attention(q, k, v, is_causal=causal).astype(np.float64)
            # results are means of values of size about 1: one rounding of the output and of the
            # weights (bfloat16: 2^-8), or sums of S float32 terms
            bound = 4 * 2.0**-8 if dtype is not np.float32 else shape[2] * 2.0**-23
            assert np.abs(got - want).max() <= bound * np.abs(want).max(), "wrong answer"
            timed = interleave(
                {
                    "ours": lambda q=q, k=k, v=v, causal=causal: scaled_dot_product_attention(
                        q, k, v, is_causal=causal
                    ),
                    "torch": lambda t=tensors, causal=causal: F.scaled_dot_product_attention(
                        *t, is_causal=causal
                    ),
                },
                repeats=9,
            )
            flops = 4e-9 * math.prod(shape) * shape[2] / (2 if causal else 1)
            rows.append(
                compared(f"attention {name} {shape}{' causal' * causal}", "torch", timed["torch"],
                         timed["ours"], "GFLOP/s", worst, amount=flops)
            )  # fmt: skip
            ratios.append(rows[-1].ratio)
        rows.append(
            Row(
                f"attention {name}, geometric mean of the ratios",
                "torch",
                1.0,
                statistics.geometric_mean(ratios),
                "x",
                goal,
                True,
            )
        )
    peak = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    used = float(peak.stdout)
    assert used >= 4, "the output alone takes 4 MiB: the probe measured nothing"
    rows.append(
        Row("peak memory, L = S = 16384, D = 64", "an L x S float32 matrix", 16384**2 * 4 / 2**20,
            used, "MiB", kind="budget", note="beside the inputs; 4 MiB of it are the output")
    )  # fmt: skip
    return rows
