"""Names that small PyTorch scripts meet, which are compositions of operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import firth
from firth import nn, optim
from firth.nn import functional

A, B = np.random.default_rng(3).standard_normal((2, 4, 5))


def test_sums_of_exponentials_at_the_ends():
    x = np.array([[-np.inf, -np.inf], [np.inf, 0], [0, -np.inf], [np.nan, 0]], np.float32)
    np.testing.assert_array_equal(
        firth.logsumexp(firth.tensor(x), 1).data, [-np.inf, np.inf, 0, np.nan]
    )


def test_whole_numbers():
    x = firth.tensor([1, 4, 9])
    assert x.sqrt().tolist() == [1, 2, 3]
    assert (6 / x).tolist() == pytest.approx([6, 1.5, 2 / 3])
    assert firth.exp(x).dtype == firth.float32
    clamped = x.clamp(2, 5)
    assert clamped.tolist() == [2, 4, 5]
    assert clamped.dtype == firth.int64
    assert (2**x).tolist() == [2, 16, 512]
    assert firth.maximum(x, firth.tensor(4)).tolist() == [4, 4, 9]
    assert firth.minimum(x, 4).tolist() == [1, 4, 4]


def test_in_place():
    x = firth.arange(4.0)
    assert x.add_(firth.ones(4), alpha=-2) is x
    x.clamp_(min=-1).masked_fill_(x > 0, 7)
    assert x.tolist() == [-1, -1, 0, 7]
    w = firth.zeros(100, requires_grad=True)
    with pytest.raises(RuntimeError, match="normal_: a tensor that requires a gradient changes"):
        w.normal_()
    with firth.no_grad():
        w.normal_(1, 0.1)
        assert 0.9 < w.mean().item() < 1.1
        w.uniform_(-1, 1)
    assert -1 <= w.data.min() < w.data.max() < 1


def test_modes_of_recording():
    x = firth.ones(1, requires_grad=True)

    @firth.inference_mode()
    def kept() -> bool:
        return firth.is_grad_enabled()

    assert firth.is_grad_enabled()
    assert not kept()
    with firth.no_grad(), firth.enable_grad():
        y = x * 2
    y.backward()
    assert x.grad == 2


def test_pairs_train_when_compiled():
    """A siamese network: no function looks at values, equal pairs do not give NaN."""
    firth.manual_seed(0)
    model = nn.Linear(5, 3)
    a = A.astype(np.float32)
    b = np.concatenate([a[:2], B[2:]]).astype(np.float32)
    same = np.array([1, 1, 0, 0], np.float32)

    def contrastive(model: Any, a: Any, b: Any, same: Any) -> Any:
        far = (model(a) - model(b)).norm(dim=1)
        apart = firth.maximum(1 - far, far * 0)
        cosines = functional.cosine_similarity(model(a), model(b))
        return (same * far**2 + (1 - same) * apart**2).mean() + 0.1 * (cosines**2).mean()

    step = nn.TrainingStep(model, contrastive, optim.SGD(model.parameters(), lr=0.05))
    losses = [step(a, b, same) for _ in range(20)]
    assert losses[-1] < losses[0]


def test_bad_arguments_are_refused():
    x = firth.ones(2, 3)
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: firth.maximum(x, firth.ones(2)), ValueError, r"maximum: shapes do not fit, got"),
        (lambda: functional.cosine_similarity(x, x, dim=2), ValueError, "dim must be an axis"),
        (lambda: (-2) ** x, ValueError, "pow: base must be a number above 0, got -2"),
        (lambda: functional.normalize(firth.tensor([[1, 2]])), TypeError, "norm: want real num"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
