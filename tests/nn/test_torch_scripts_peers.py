"""PyTorch as oracle: the same source text with its imports changed has the same losses."""

from __future__ import annotations

import numpy as np
import pytest

import torch_scripts

pytestmark = pytest.mark.peer
pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", torch_scripts.SCRIPTS)
def test_the_same_results(name, dtype):
    want = torch_scripts.run(name, "torch", dtype)
    got = torch_scripts.run(name, "firth", dtype)
    assert len(got) == len(want) > 2
    tolerance = 1e-4 if dtype == "float32" else 1e-8
    for i, (one, other) in enumerate(zip(got, want, strict=True)):
        if isinstance(other, float):
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=str(i))
        else:
            assert one == other
            assert type(one) is type(other)
