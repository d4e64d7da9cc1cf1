"""What src/bind_backward.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros

GOOD = {"dy": zeros(4, 3), "y": zeros(4, 3), "dx": zeros(4, 3)}


@pytest.mark.parametrize("function", ["softmax_backward", "log_softmax_backward"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dy": zeros(12)}, ValueError, "softmax_backward: dy: want 2-D rows"),
        ({"y": zeros(4, 6)[:, ::2]}, ValueError, "softmax_backward: y: want 2-D rows"),
        ({"dx": zeros(4, 6)[:, ::2]}, ValueError, "softmax_backward: dx: want 2-D rows"),
        ({"dx": zeros(4, 2)}, ValueError, "softmax_backward: shapes of dy, y and dx differ"),
        ({"y": zeros(3, 3)}, ValueError, "softmax_backward: shapes of dy, y and dx differ"),
        ({"y": zeros(4, 3, dtype=np.float64)}, TypeError, "incompatible function arguments"),
    ],
)
def test_refused(function, change, error, message):
    refused(native(function), GOOD, (function, change, error, message))
