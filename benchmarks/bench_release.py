"""What a release takes, from nothing: each `make` target of one fresh clone, and what it leaves.

The targets run one after another, so that the first one also compiles the package and fetches what
it needs. `make wheels` builds for every Python that is found, and tests each wheel. Needs git.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import QUICK
from report import HERE

ROOT = HERE.parent
TARGETS = {  # what each leaves
    "demo": [],
    "test": [],
    "docs": ["site"],
    "wheels": ["dist/*.whl"],
    "sdist": ["dist/*.tar.gz"],
}


def environment() -> dict[str, str]:
    """As a user's shell: without what benchmarks set, and without another tree's package."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV") and not name.endswith("_NUM_THREADS")
    }


def bytes_of(path: Path) -> int:
    """Of a file, or of all files below a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(one.stat().st_size for one in files if one.is_file())


def run() -> str:
    """A table: target, minutes, what it leaves and how many bytes."""
    lines = ["| command | time | leaves | size |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        clone, log = Path(name) / "firth", Path(name) / "log"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        (clone.parent / "shared").symlink_to(ROOT.parent / "shared")  # the corpora
        for target, left in list(TARGETS.items())[: 1 if QUICK else None]:
            start = time.perf_counter()
            with open(log, "w") as output:
                done = subprocess.run(
                    ["make", target], cwd=clone, env=environment(), stdin=subprocess.DEVNULL,
                    stdout=output, stderr=subprocess.STDOUT, check=False,
                )  # fmt: skip
            minutes, seconds = divmod(round(time.perf_counter() - start), 60)
            if done.returncode:
                print(log.read_text()[-5000:], file=sys.stderr)
                raise RuntimeError(f"make {target} ends with exit code {done.returncode}")
            there = [path for pattern in left for path in sorted(clone.glob(pattern))]
            lines.append(
                f"| `make {target}` | {minutes} min {seconds} s | "
                f"{', '.join(path.name for path in there)} | "
                f"{', '.join(f'{bytes_of(path):,} bytes' for path in there)} |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)
