"""softmax(x, out=) over the last axis, float32, against torch.softmax(out=) and copying the array.

Run it alone for the ISA levels side by side: ``python benchmarks/bench_softmax.py``.
"""

from __future__ import annotations

import statistics

import numpy as np
import torch

import firth
from firth.kernels import backends, softmax, use
from harness import THREADS, Row, interleave

# What the geometric mean over the shapes must reach is 1.8; no shape may fall below 1.
SHAPES = [(4096, 1024), (512, 50257), (100000, 16)]


def _case(shape: tuple[int, int], names: list[str]):
    """Times of torch, of the copy and of the backends, after their answers are checked."""
    x = (np.random.default_rng(0).standard_normal(shape) * 3).astype(np.float32)
    out = np.empty_like(x)
    x_torch, out_torch = torch.from_numpy(x), torch.from_numpy(out)

    def ours(name: str):
        def call() -> None:
            with use(name):
                softmax(x, out=out)

        return call

    subjects = {
        "torch": lambda: torch.softmax(x_torch, -1, out=out_torch),
        "copy": lambda: np.copyto(out, x),
        **{name: ours(name) for name in names},
    }
    want = softmax.reference(x[:50].astype(np.float64))
    for name, subject in subjects.items():
        out[...] = 0
        subject()
        if name != "copy":
            np.testing.assert_allclose(out[:50], want, rtol=2e-5, err_msg=name)
    return interleave(subjects, repeats=9)


def run() -> list[Row]:
    torch.set_num_threads(THREADS)
    firth.set_num_threads(THREADS)
    rows = []
    for shape in SHAPES:
        times = _case(shape, ["native"])
        ours = times["native"]
        for peer, goal in (("torch", 1.0), ("copy", 1 / 1.5 if shape[1] > 16 else None)):
            rows.append(
                Row(
                    f"softmax float32 {shape}",
                    "torch.softmax" if peer == "torch" else "np.copyto",
                    times[peer].median * 1e3,
                    ours.median * 1e3,
                    "ms",
                    goal,
                    spread=ours.spread,
                )
            )
    ratios = [row.ratio for row in rows if row.peer_name == "torch.softmax"]
    rows.append(
        Row("softmax, geometric mean of the ratios", "torch.softmax", 1.0,
            statistics.geometric_mean(ratios), "x", 1.8, True)
    )  # fmt: skip
    return rows


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    firth.set_num_threads(THREADS)
    levels = [name for name in backends() if name.startswith("native:")]
    for shape in SHAPES:
        times = _case(shape, levels)
        torch_ms = times["torch"].median * 1e3
        print(shape, *(f"{name} {t.median * 1e3:.3f} ms" for name, t in times.items()), sep="  ")
        print("   torch / ours:", *(f"{n} {torch_ms / times[n].median / 1e3:.2f}" for n in levels))
