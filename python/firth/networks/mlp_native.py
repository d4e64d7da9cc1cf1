"""Steps of `mlp_reference` in native code: many of them a call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firth import _native
from firth.kernels._dispatch import active_level
from firth.kernels.matmul import ACTIVATIONS
from firth.networks.mlp_reference import Network, Optimizer, Samples

# Numbers of csrc/activations.h and csrc/engines/networks/mlp.h.
_ACTIVATIONS = {"identity": 0, "relu": ACTIVATIONS.index("relu"), "tanh": 6, "logistic": 7}
_OUTPUTS = {"identity": 0, "exp": 1, "logistic": 2, "softmax": 3}


class Native:
    """What `Reference` is, in native code."""

    def __init__(
        self, network: Network, optimizer: Optimizer, samples: Samples, alpha: float,
        dropout: float, seed: int, batch: int,
    ) -> None:  # fmt: skip
        self.optimizer, self.batch = optimizer, batch
        self._steps = _native.networks.Mlp(
            active_level(), samples, network.values, optimizer.first, optimizer.second,
            most_batch=batch, units=network.units, activation=_ACTIVATIONS[network.activation],
            output=_OUTPUTS[network.output], adam=optimizer.solver == "adam",
            nesterov=optimizer.nesterov, alpha=alpha, momentum=optimizer.momentum,
            beta_1=optimizer.beta_1, beta_2=optimizer.beta_2, epsilon=optimizer.epsilon,
            dropout=dropout, seed=seed,
        )  # fmt: skip

    def run(self, rows: NDArray[np.int64], rates: NDArray[np.float64]) -> float:
        """A step for each `batch` of these rows, with its rate; the sum of losses x samples."""
        loss, self.optimizer.steps = self._steps.run(rows, self.batch, rates, self.optimizer.steps)
        return loss
