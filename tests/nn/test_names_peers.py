"""Compositions of operations under PyTorch's names, and their gradients, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import firth
from firth.nn import functional

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")

A, B = np.random.default_rng(3).standard_normal((2, 4, 5))

FUNCTIONS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "2 ** x": lambda t, F, a, b: 2**a + 0.5**b,
    "add": lambda t, F, a, b: t.add(a, b, alpha=0.1) - a.sub(b, alpha=2),
    "cosine_similarity": lambda t, F, a, b: F.cosine_similarity(a, b),
    "cosine_similarity, one of many": lambda t, F, a, b: F.cosine_similarity(a[:1], b, dim=-1),
    "normalize": lambda t, F, a, b: F.normalize(a) * F.normalize(b, p=1, dim=0),
    "normalize 0": lambda t, F, a, b: F.normalize(a * 0) + b,
    "logsumexp": lambda t, F, a, b: t.logsumexp(a, 1) + (b * 1e4).logsumexp(dim=1),
    "logsumexp, keepdim": lambda t, F, a, b: t.logsumexp(a, 0, keepdim=True) * b,
    "maximum": lambda t, F, a, b: t.maximum(a, b) + t.minimum(a[0], b),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_gradients_are_those_of_pytorch(name):
    function = FUNCTIONS[name]
    x = [firth.tensor(array, requires_grad=True) for array in (A, B)]
    y = [torch.tensor(array, requires_grad=True) for array in (A, B)]
    got = function(firth, functional, *x)
    want = function(torch, torch.nn.functional, *y)
    np.testing.assert_allclose(got.data, want.detach(), rtol=1e-10, atol=1e-12)
    got.sum().backward()
    want.sum().backward()
    for one, other in zip(x, y, strict=True):
        np.testing.assert_allclose(one.grad, other.grad, rtol=1e-9, atol=1e-11)
