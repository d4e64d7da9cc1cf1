"""The wheel's size, the time of its build and of `import firth`, on this checkout."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import QUICK, Timing
from report import HERE, Row


def imports(codes: dict[str, str], repeats: int = 9) -> dict[str, Timing]:
    """Seconds of new processes that run the codes in turn, less those of one that does nothing."""
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(repeats):
        once = {}
        for name, code in {"nothing": "pass", **codes}.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            once[name] = time.perf_counter() - start
        for name in codes:
            seconds[name].append(once[name] - once["nothing"])
    return {name: Timing(values) for name, values in seconds.items()}


def run() -> list[Row]:
    rows = []
    if not QUICK:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder,
                 str(HERE.parent)],
                check=True,
            )  # fmt: skip
            note = f"built by `pip wheel` in {time.perf_counter() - start:.0f} s"
            size = next(Path(folder).glob("*.whl")).stat().st_size
        rows.append(
            Row("wheel", "what is allowed", 3, size / 1e6, "MB", 1, kind="budget", threads="1",
                note=note)
        )  # fmt: skip
    timings = imports(
        {
            "import numpy": "import numpy",
            "import firth": "import firth",
            "import firth, then kernels and Word2Vec used": (
                "import firth; firth.kernels; firth.Word2Vec"
            ),
        }
    )
    numpy = timings.pop("import numpy")
    for name, ours in timings.items():
        rows.append(
            Row(name, "import numpy", 1e3 * numpy.median, 1e3 * ours.median, "ms",
                1 / 1.3 if name == "import firth" else None, spread=ours.spread,
                peer_spread=numpy.spread, kind="budget", threads="1")
        )  # fmt: skip
    return rows
