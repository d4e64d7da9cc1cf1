"""A process that ends while its daemon threads are in native code exits without a crash."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import threading, time
import numpy as np, firth

rows = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
running = threading.Semaphore(0)


def gemm():
    while True:
        firth.kernels.matmul(rows, rows.T)
        running.release()


def search():
    index = firth.Index(64)
    index.add(rows)
    while True:
        index.search(rows[:64], 5)
        running.release()


def train():
    sentences = [[str(i % 50) for i in range(j, j + 20)] for j in range(500)]
    while True:
        firth.Word2Vec(sentences, vector_size=16, min_count=1, epochs=3, workers=1)
        running.release()


for _ in range(3):
    threading.Thread(target={loop}, daemon=True).start()
for _ in range(3):
    running.acquire()
"""


@pytest.mark.parametrize("loop", ["gemm", "search", "train"])
def test_daemon_threads_in_native_code_at_exit(loop: str) -> None:
    for _ in range(3):  # which thread waits for the GIL at the end is a matter of luck
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.replace("{loop}", loop)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
