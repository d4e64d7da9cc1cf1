"""PyTorch as oracle: losses, their gradients, norms and embeddings, with all options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth.nn.modules.embedding import Embedding
from firth.nn.modules.norm import LayerNorm, RMSNorm
from firth.nn.operations import cross_entropy as classes
from firth.nn.operations import losses
from firth.nn.operations.embedding import embedding
from firth.nn.operations.info_nce import info_nce
from firth.nn.operations.norm import layer_norm, rms_norm
from firth.nn.tape import Tensor

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = [np.float32, np.float64]
REDUCTIONS = ["mean", "sum", "none"]


def normal(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def compare(ours: Any, theirs: Any, *arrays: np.ndarray, terms: int = 1) -> None:
    """A result and the gradients by all arrays, by a random gradient of the result.

    Both sides err by some roundings of numbers of order 1 in sums of `terms` of them.
    """
    mine = [Tensor(x, requires_grad=True) for x in arrays]
    other = [torch.tensor(x, requires_grad=True) for x in arrays]
    got, want = ours(*mine), theirs(*other)
    tolerance = 16 * terms * np.finfo(arrays[0].dtype).eps
    np.testing.assert_allclose(
        got.data, want.detach().numpy(), rtol=tolerance, atol=tolerance, equal_nan=True
    )
    gradient = np.asarray(normal(got.shape, arrays[0].dtype, 5))
    got.backward(gradient)
    want.backward(torch.tensor(gradient))
    for a, b in zip(mine, other, strict=True):
        right = np.zeros(a.shape) if b.grad is None else b.grad.numpy()
        np.testing.assert_allclose(a.grad, right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(weighted, smoothing, reduction, dtype):
    target = np.random.default_rng(0).integers(0, 11, 40)
    target[::5] = -100
    weight = np.random.default_rng(1).uniform(0.1, 2, 11).astype(dtype) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}
    compare(
        lambda x: classes.cross_entropy(x, target, weight, **options),
        lambda x: F.cross_entropy(
            x, torch.tensor(target), None if weight is None else torch.tensor(weight), **options
        ),
        4 * normal((40, 11), dtype),
        terms=40,
    )
    if smoothing == 0:
        options = {"reduction": reduction, "ignore_index": 3}
        target = np.where(target < 0, 3, target)
        compare(
            lambda x: classes.nll_loss(x, target, weight, **options),
            lambda x: F.nll_loss(
                x, torch.tensor(target), None if weight is None else torch.tensor(weight), **options
            ),
            normal((40, 11), dtype),
            terms=40,
        )


def test_class_axis_of_sequences_and_nothing_that_counts():
    target = np.random.default_rng(0).integers(0, 5, (3, 4))
    compare(
        lambda x: classes.cross_entropy(x, target),
        lambda x: F.cross_entropy(x.transpose(1, 2), torch.tensor(target)),
        normal((3, 4, 5), np.float64),
    )
    x, ignored = normal((3, 5), np.float64), np.full(3, -100)
    want = F.cross_entropy(torch.tensor(x), torch.tensor(ignored))
    assert np.isnan(want.item())
    assert np.isnan(classes.cross_entropy(Tensor(x), ignored).item())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_linear_cross_entropy(smoothing, reduction, dtype):
    target = np.random.default_rng(0).integers(0, 11, (4, 10))
    target[0, ::3] = -100
    options = {"reduction": reduction, "label_smoothing": smoothing}
    arrays = normal((4, 10, 7), dtype), normal((11, 7), dtype, 1), normal((11,), dtype, 2)

    def theirs(x: Any, w: Any, b: Any = None) -> Any:
        z = F.linear(x, w, b)
        return F.cross_entropy(z.reshape(-1, 11), torch.tensor(target.reshape(-1)), **options)

    compare(
        lambda x, w, b: classes.linear_cross_entropy(x, w, target, linear_bias=b, **options),
        theirs,
        *arrays,
        terms=40,
    )
    compare(
        lambda x, w: classes.linear_cross_entropy(x, w, target, **options),
        theirs,
        *arrays[:2],
        terms=40,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_of_differences(reduction, dtype):
    arrays = normal((7, 13), dtype), normal((7, 13), dtype, 1)
    for name, options in [
        ("mse_loss", {}), ("l1_loss", {}), ("huber_loss", {"delta": 0.7}),
        ("smooth_l1_loss", {"beta": 0.7}), ("smooth_l1_loss", {"beta": 0.0}),
    ]:  # fmt: skip
        options |= {"reduction": reduction}
        compare(
            lambda x, y, name=name, options=options: getattr(losses, name)(x, y, **options),
            lambda x, y, name=name, options=options: getattr(F, name)(x, y, **options),
            *arrays,
            terms=8,
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shapes", [(None, None), ((13,), None), ((7, 13), (13,)), (None, ())])
def test_binary_cross_entropy_with_logits(shapes, reduction, dtype):
    rng = np.random.default_rng(0)
    target = rng.random((7, 13)).astype(dtype)
    weight, positive = (
        None if s is None else np.asarray(rng.uniform(0.2, 2, s), dtype) for s in shapes
    )
    compare(
        lambda x: losses.binary_cross_entropy_with_logits(x, target, weight, reduction, positive),
        lambda x: F.binary_cross_entropy_with_logits(
            x,
            torch.tensor(target),
            None if weight is None else torch.tensor(weight),
            reduction=reduction,
            pos_weight=None if positive is None else torch.tensor(positive),
        ),
        3 * normal((7, 13), dtype),
        terms=8,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symmetric", [False, True])
def test_info_nce(symmetric, dtype):
    keys = 9 if symmetric else 14

    def theirs(q: Any, k: Any) -> Any:
        z = F.normalize(q) @ F.normalize(k).T / 0.1
        own = torch.arange(9)
        loss = F.cross_entropy(z, own)
        return (loss + F.cross_entropy(z.T, own)) / 2 if symmetric else loss

    compare(
        lambda q, k: info_nce(q, k, 0.1, symmetric=symmetric),
        theirs,
        normal((9, 17), dtype),
        normal((keys, 17), dtype, 1),
        terms=40,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (3, 4)])
def test_norms(shape, dtype):
    x = 3 * normal((2, 6, *shape), dtype) + 1
    w, b = normal(shape, dtype, 1), normal(shape, dtype, 2)
    for count in range(4):
        arrays = [x, w, b][: max(1, count)]
        eps = 1e-5 if count else 0.1
        compare(
            lambda *a, eps=eps: layer_norm(a[0], shape, *a[1:], eps=eps),
            lambda *a, eps=eps: F.layer_norm(a[0], shape, *a[1:], eps=eps),
            *arrays,
            terms=12,
        )
    for arrays, eps in [([x], None), ([x, w], None), ([x, w], 0.1)]:
        compare(
            lambda *a, eps=eps: rms_norm(a[0], shape, *a[1:], eps=eps),
            lambda *a, eps=eps: F.rms_norm(a[0], shape, *a[1:], eps=eps),
            *arrays,
            terms=12,
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding", [None, 2, -1])
def test_embedding(padding, dtype):
    ids = np.random.default_rng(0).integers(0, 9, (4, 20))
    compare(
        lambda w: embedding(ids, w, padding),
        lambda w: F.embedding(torch.tensor(ids), w, padding),
        normal((9, 5), dtype),
        terms=8,
    )


def test_states_go_both_ways():
    for ours, theirs in [
        (LayerNorm((3, 4)), torch.nn.LayerNorm((3, 4))),
        (LayerNorm(4, bias=False), torch.nn.LayerNorm(4, bias=False)),
        (LayerNorm(4, elementwise_affine=False), torch.nn.LayerNorm(4, elementwise_affine=False)),
        (RMSNorm(4), torch.nn.RMSNorm(4)),
        (Embedding(5, 4, 0), torch.nn.Embedding(5, 4, 0)),
    ]:
        state = theirs.state_dict()
        assert list(ours.state_dict()) == list(state)
        ours.load_state_dict(state)
        theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
