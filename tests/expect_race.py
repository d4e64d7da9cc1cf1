"""`make tsan`: two threads write the same numbers through native code; ThreadSanitizer must say so.

Run in a process of its own, which then ends with the sanitizer's exit code (66).
"""

from __future__ import annotations

import threading

import numpy as np

from firth import _native
from firth.kernels._dispatch import active_level


def write(level: _native.Level, rows: np.ndarray, norms: np.ndarray) -> None:
    """Norms of the same rows into the same place, again and again."""
    for _ in range(50):
        _native.kernels.row_norms(level, rows, None, norms)


def main() -> None:
    """Race."""
    arguments = (
        active_level(),
        np.ones((4000, 64), np.float32),
        np.zeros(4000, np.float32),
    )
    threads = [threading.Thread(target=write, args=arguments) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
