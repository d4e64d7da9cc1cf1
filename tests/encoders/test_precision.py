"""What ``compute_type="auto"`` stands for on each backend and level."""

from __future__ import annotations

import pytest

from firth import kernels
from firth.encoders.precision import chosen
from firth.kernels import _dispatch


@pytest.mark.parametrize("backend", [one for one in _dispatch.backends() if one != "native"])
def test_auto(backend: str) -> None:
    level = backend.removeprefix("native:")
    fast = backend != level and _dispatch.levels[level].bfloat16_is_fast
    with kernels.use(backend):
        assert chosen("auto") == ("bfloat16" if fast else "float32")
        assert chosen("int8") == "int8"


@pytest.mark.parametrize("wrong", ["int4", "", None, 3])
def test_unknown(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"compute_type must be 'auto' or one of \("):
        chosen(wrong)
