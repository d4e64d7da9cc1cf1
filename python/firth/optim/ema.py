"""Averages of weights over the steps of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from firth.arguments import check_real
from firth.nn.module import Module
from firth.nn.tape import Array


class ExponentialMovingAverage:
    """Means of a module's parameters, of which later steps have more: often better than the last.

    mean = decay mean + (1 - decay) parameter, at each `update`. Buffers, as of batch norm, have no
    means.

    Parameters
    ----------
    model : Module
        The means begin with its parameters, of which it keeps copies.
    decay : float, from 0 to 1
        Share that a mean keeps; ValueError for another number.
    """

    def __init__(self, model: Module, decay: float = 0.999) -> None:
        check_real("ExponentialMovingAverage: decay", decay, 0, 1)
        self.decay = decay
        self._parameters = dict(model.named_parameters())
        self._means = {name: p.data.copy() for name, p in self._parameters.items()}

    def update(self) -> None:
        """Take the parameters as they are into the means: after each step."""
        for name, p in self._parameters.items():
            mean = self._means[name]
            mean += p.dtype.type(1 - self.decay) * (p.data - mean)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside of the ``with`` block the module has the means as parameters, behind it its own.

        Changes that are made inside of the block are lost.
        """
        kept = {name: p.data.copy() for name, p in self._parameters.items()}
        try:
            self._put(self._means)
            yield
        finally:
            self._put(kept)

    def _put(self, arrays: Mapping[str, Array]) -> None:
        for name, p in self._parameters.items():
            p.data[...] = arrays[name]

    def state_dict(self) -> dict[str, Array]:
        """The means by the parameters' names, the arrays themselves."""
        return dict(self._means)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy what `state_dict` returned; KeyError or ValueError where it does not fit."""
        new = {name: np.asarray(state_dict[name]) for name in self._means}
        for name, array in new.items():
            if array.shape != self._means[name].shape:
                raise ValueError(
                    f"ExponentialMovingAverage.load_state_dict: {name} must have shape "
                    f"{self._means[name].shape}, got {array.shape}"
                )
        for name, array in new.items():
            self._means[name][...] = array
