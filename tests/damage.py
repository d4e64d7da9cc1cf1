"""Files as a bad disk or an attacker makes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_TELLING = (0, 1, 127, 128, 255)  # bytes at the ends of ranges


def cut_and_changed(whole: bytes, count: int) -> Iterator[bytes]:
    """The file cut anywhere, with up to three random bytes; ``count`` times."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        damaged = bytearray(whole[: rng.integers(len(whole) + 1)])
        for position in rng.integers(0, max(1, len(damaged)), rng.integers(4)):
            if damaged:
                damaged[position] = rng.integers(256)
        yield bytes(damaged)


def changed_head(whole: bytes, size: int, count: int) -> Iterator[bytes]:
    """The file with one to three other bytes among the first ``size``; ``count`` times."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        damaged = bytearray(whole)
        for position in rng.integers(0, size, rng.integers(1, 4)):
            damaged[position] = rng.choice([*_TELLING, rng.integers(0, 256)])
        yield bytes(damaged)
