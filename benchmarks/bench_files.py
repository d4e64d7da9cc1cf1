"""Reading a file of 1,000,000 x 300 vectors, binary and text, against gensim; and peak memory.

Each reading runs in a process of its own, which also reports its peak memory above that of the
imports, as a multiple of the matrix.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from firth.formats import word2vec
from harness import THREADS, Row, Timing, compared, size

ROWS, D = size(1_000_000), 300
GOALS = {"binary": 10.0, "text": 5.0}
READ = """
import sys, time
library, path, binary = sys.argv[1], sys.argv[2], sys.argv[3] == "binary"
if library == "firth":
    import tqdm
    from firth import KeyedVectors
else:
    from gensim.models import KeyedVectors
def peak():  # ru_maxrss would start from the parent's memory
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
before, start = peak(), time.perf_counter()
vectors = KeyedVectors.load_word2vec_format(path, binary=binary)
taken = time.perf_counter() - start
x = vectors.vectors
print(taken, (peak() - before) / x.nbytes, len(vectors), x[::997].astype("f8").sum())
"""


def files() -> dict[str, Path]:
    """The two files, kept in the temporary folder."""
    folder = Path(tempfile.gettempdir())
    made = {kind: folder / f"firth-vectors-{ROWS}.{kind}" for kind in GOALS}
    if not all(path.exists() for path in made.values()):
        x = np.random.default_rng(0).standard_normal((ROWS, D), dtype=np.float32) / 10
        words = [f"w{row}" for row in range(ROWS)]
        for kind, path in made.items():
            word2vec.write(path, words, x, binary=kind == "binary", header=ROWS)
    return made


def read(library: str, path: Path, kind: str) -> list[float]:
    """Seconds, peak memory by the matrix, rows, and a sum over some of them."""
    environment = os.environ | {"FIRTH_NUM_THREADS": str(THREADS)}
    found = subprocess.run(
        [sys.executable, "-c", READ, library, path, kind],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    return [float(number) for number in found.stdout.split()]


def run(repeats: int = 3) -> list[Row]:
    """Seconds and peak memory of either kind of file; about 18 minutes, most of it gensim's."""
    rows = []
    for kind, path in files().items():
        read("firth", path, kind)  # the file is in the system's cache now
        ours, theirs = [], []
        for _ in range(repeats):
            theirs.append(read("gensim", path, kind))
            ours.append(read("firth", path, kind))
        assert ours[0][2:] == theirs[0][2:], "the same rows and the same numbers"
        peer, mine = (Timing([one[0] for one in found]) for found in (theirs, ours))
        serial, unit = f"1 / {THREADS}", "x the matrix"
        memory = f"peak memory of reading {ROWS:,} x {D}, {kind}"
        peak = max(one[1] for one in ours)
        rows += [
            compared(f"reading {ROWS:,} x {D}, {kind}", "gensim", peer, mine, "s", GOALS[kind],
                     threads=serial),
            Row(memory, "gensim", max(one[1] for one in theirs), peak, unit, threads=serial),
            Row(memory, "what is allowed", 1.1, peak, unit, 1, kind="budget"),
        ]  # fmt: skip
    return rows
