"""The dtypes of tensors under PyTorch's names; they are NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
int64 = np.dtype(np.int64)
bool = np.dtype(np.bool_)
float, double, long = float32, float64, int64


def dtype_of(function: str, dtype: Any) -> np.dtype[Any]:
    """A dtype that tensors have.

    Raises
    ------
    TypeError
        Another one.
    """
    found: np.dtype[Any] = np.dtype(dtype)
    if found not in (float32, float64, int64, bool):
        raise TypeError(
            f"{function}: dtype must be float32, float64, int64 (long) or bool, got {found}"
        )
    return found
