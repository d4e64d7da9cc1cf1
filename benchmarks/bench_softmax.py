"""softmax(x, out=) over the last axis, float32, against torch.softmax(out=) and a copy of x."""

from __future__ import annotations

import statistics

import numpy as np
import torch

import firth
from firth.kernels import softmax
from harness import THREADS, Row, Timing, compared, interleave

# What the geometric mean over the shapes must reach is 1.8; no shape may fall below 1.
SHAPES = [(4096, 1024), (512, 50257), (100000, 16)]


def times(shape: tuple[int, int]) -> dict[str, Timing]:
    """Times of firth, of torch and of the copy, after the answers are checked."""
    x = (np.random.default_rng(0).standard_normal(shape) * 3).astype(np.float32)
    out = np.empty_like(x)
    x_torch, out_torch = torch.from_numpy(x), torch.from_numpy(out)
    subjects = {
        "firth": lambda: softmax(x, out=out),
        "torch": lambda: torch.softmax(x_torch, -1, out=out_torch),
    }
    want = softmax.reference(x[:50].astype(np.float64))
    for name, subject in subjects.items():
        out[...] = 0
        subject()
        np.testing.assert_allclose(out[:50], want, rtol=2e-5, err_msg=name)
    return interleave(subjects | {"copy": lambda: np.copyto(out, x)}, repeats=9)


def run() -> list[Row]:
    """About 30 seconds."""
    torch.set_num_threads(THREADS)
    firth.set_num_threads(THREADS)
    rows, ratios = [], []
    for shape in SHAPES:
        work, timed = f"softmax float32 {shape}", times(shape)
        ours = timed["firth"]
        rows += [
            compared(work, "torch.softmax", timed["torch"], ours, "ms", 1.0),
            compared(work, "np.copyto", timed["copy"], ours, "ms",
                     1 / 1.5 if shape[1] > 16 else None, kind="budget", threads=f"1 / {THREADS}"),
        ]  # fmt: skip
        ratios.append(rows[-2].ratio)
    rows.append(
        Row("softmax, geometric mean of the ratios", "torch.softmax", 1.0,
            statistics.geometric_mean(ratios), "x", 1.8, True)
    )  # fmt: skip
    return rows
