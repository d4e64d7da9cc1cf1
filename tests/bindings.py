"""The compiled functions for tests: the one place to edit when they move."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from firth import _native
from firth.kernels import _dispatch


def native(name: str) -> Any:
    """A function or class of the compiled module; what takes a level first gets the best one."""
    level = _dispatch.active_level()
    rooms = (_native.kernels, _native.search, _native.words, _native.files, _native.fasttext)
    rooms += (_native.text, _native.networks, _native.nn)
    found = next(getattr(room, name) for room in rooms if hasattr(room, name))
    takes_level = not isinstance(found, type) and "level: firth._native.Level" in found.__doc__
    return functools.partial(found, level) if takes_level else found


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
