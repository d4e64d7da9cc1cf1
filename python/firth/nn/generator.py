"""Streams of random numbers beside the one that `manual_seed` seeds."""

from __future__ import annotations

from typing import Any

import numpy as np

from firth.arguments import check_whole
from firth.nn import tape
from firth.nn.device import check_device


class Generator:
    """A stream of random numbers of its own, for what takes ``generator``.

    Its numbers are NumPy's: the same seed gives the same ones, but not PyTorch's.

    Parameters
    ----------
    device : str, optional
        The CPU.
    """

    def __init__(self, device: Any = None) -> None:
        check_device(device)
        self.seed()

    def manual_seed(self, seed: int) -> Generator:
        """Begin anew with a whole number from 0 to 2^64 - 1; the generator itself."""
        check_whole("Generator.manual_seed: seed", seed, 0, 2**64 - 1)
        self._seed = int(seed)
        self.numbers = np.random.default_rng(self._seed)
        return self

    def seed(self) -> int:
        """Begin anew with a seed that is drawn from the system; the seed."""
        self.manual_seed(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]))
        return self._seed

    def initial_seed(self) -> int:
        """The seed with which it began."""
        return self._seed


def numbers_of(function: str, generator: Generator | None) -> np.random.Generator:
    """What draws for an argument ``generator``: where it is None, `manual_seed`'s stream.

    Raises
    ------
    TypeError
        It is something else.
    """
    if generator is None:
        return tape.generator()
    if not isinstance(generator, Generator):
        raise TypeError(
            f"{function}: generator must be a firth.Generator, got {type(generator).__name__}"
        )
    return generator.numbers
