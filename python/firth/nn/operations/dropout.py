"""Dropout, with random numbers that are computed of a seed and the element's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from firth.nn.tape import Array, Operation, Spec, Tensor, apply, method

BLOCK = 4096
"""Elements of a block, which has a key of its own."""


def stays(seed: int, n: int, p: float) -> NDArray[np.bool_]:
    """Which of n elements stay.

    SplitMix64 (Steele, Lea, Flood, 2014) of the seed and the block's number is the block's key; its
    halves go into a finalizer of MurmurHash3 over the number of the element in the block, of which
    30 bits are compared with p.
    """
    with np.errstate(over="ignore"):
        blocks = np.arange(-(-n // BLOCK), dtype=np.uint64) + np.uint64(1)
        z = np.uint64(seed) + blocks * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        keys = z ^ z >> np.uint64(31)
        low = (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        high = (keys >> np.uint64(32)).astype(np.uint32)
        h = np.arange(BLOCK, dtype=np.uint32) ^ low[:, None]
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h += high[:, None]
        h *= np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    return (h >> np.uint32(2)).ravel()[:n] >= int(p * 2**30 + 0.5)


@dataclass(frozen=True)
class Dropout(Operation):
    """y = m x / (1 - p), where m is 0 with probability p, else 1.

    The expectation of y is x. Backward: dx = m dy / (1 - p), with the same m, drawn again from the
    same seed: it is never stored.
    """

    p: float

    name: ClassVar[str] = "dropout"
    draws: ClassVar[bool] = True

    def options(self) -> tuple[float, ...]:
        return (self.p,)

    def results(self, *inputs: Any) -> tuple[list[Spec], list[Spec]]:
        if not 0 <= self.p <= 1:
            raise ValueError(f"dropout: p must be in [0, 1], got {self.p}")
        return [Spec(inputs[0].shape)], []

    def _drop(self, x: Array, seed: int) -> Array:
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        return np.where(stays(seed, x.size, self.p).reshape(x.shape), x * scale, 0)

    def forward(self, *inputs: Any, seed: int) -> tuple[list[Array], list[Array]]:
        return [self._drop(inputs[0], seed)], []

    def backward(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        saved: Sequence[Any],
        gradients: Sequence[Any],
        seed: int,
    ) -> list[Array | None]:
        return [self._drop(gradients[0], seed)]


@method
def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Each element 0 with probability `p`, others divided by 1 - p.

    If not `training`: the input itself. Which elements go depends on `firth.nn.manual_seed` and on
    their number, not on threads or the processor.

    Raises
    ------
    ValueError
        `p` is not in [0, 1].
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    return apply(Dropout(float(p)), input) if training and p else input
