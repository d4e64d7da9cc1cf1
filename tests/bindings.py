"""Where tests find the compiled functions: the one place to edit when these move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from firth import _native
from firth.kernels import _dispatch


def native(name: str) -> Any:
    """A function or class of the compiled module; a method of the best level where it has that."""
    level = _dispatch.active_level()
    return getattr(level, name) if hasattr(level, name) else getattr(_native, name)


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


Case = tuple[str, dict[str, Any], type[Exception], str]


def refused(call: Callable[..., Any], good: dict[str, Any], case: Case) -> None:
    """`call` takes the `good` arguments, and refuses them with the case's change by its message."""
    _, change, error, message = case
    call(**good)
    with pytest.raises(error) as caught:
        call(**{**good, **change})
    assert message in str(caught.value)
