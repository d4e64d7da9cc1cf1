# Networks that train.
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth._native import Level

class Mlp:
    def __init__(
        self,
        level: Level,
        samples: Any,
        values: Any,
        first: Any,
        second: Any,
        *,
        most_batch: int,
        units: Sequence[int],
        activation: int,
        output: int,
        adam: bool,
        nesterov: bool,
        alpha: float,
        momentum: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        dropout: float,
        seed: int,
    ) -> None: ...
    def run(
        self, rows: NDArray[np.int64], batch: int, rates: NDArray[np.float64], steps: int
    ) -> tuple[float, int]: ...

def perceptron_epochs(
    level: Level,
    samples: Any,
    problems: Any,
    *,
    rate: float,
    intercept_decay: float,
    fit_intercept: bool,
    shuffle: bool,
    tol: float,
    patience: int,
    most: int,
) -> None: ...
