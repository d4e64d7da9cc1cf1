# Networks that train.
from typing import Any

from firth._native import Level

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
