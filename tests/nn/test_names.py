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


def test_functions_of_constants():
    """What needs no gradient is computed at once, whole numbers stay whole."""
    x = firth.tensor([[1, 2], [3, 4]])
    assert x.cumsum(0).tolist() == [[1, 2], [4, 6]]
    assert x.float().cumsum(1).dtype == firth.float32
    assert firth.prod(x).item() == 24
    assert x.prod(1, keepdim=True).tolist() == [[2], [12]]
    assert firth.zeros(0, 3).prod(0).tolist() == [1, 1, 1]
    assert firth.sin(x).dtype == firth.float32
    assert functional.pad(x, (1, 0, 0, 1), value=7).tolist() == [[7, 1, 2], [7, 3, 4], [7, 7, 7]]
    assert functional.pad(x, (-1, 0)).tolist() == [[2], [4]]
    assert firth.index_select(x, 1, firth.tensor([1, 1])).tolist() == [[2, 2], [4, 4]]
    assert firth.masked_select(x, x > 2).tolist() == [3, 4]
    assert firth.vstack([x, firth.tensor([5, 6])]).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert firth.hstack([x, x]).shape == (2, 4)
    assert x.unflatten(1, (1, 2)).shape == (2, 1, 2)


def test_pretrained_vectors():
    table = nn.Embedding.from_pretrained(A)
    assert not table.weight.requires_grad
    assert table.weight.dtype == np.float64
    table.weight.data[0] = 0
    assert A[0].all()  # it is a copy
    trained = nn.EmbeddingBag.from_pretrained(A, freeze=False, padding_idx=1, mode="sum")
    trained([[0, 1]]).sum().backward()
    np.testing.assert_array_equal(trained.weight.grad.sum(axis=1), [5, 0, 0, 0])


def test_modules_train_when_compiled():
    """What is made of shapes and options alone is part of a compiled step, at every step."""
    firth.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag = nn.EmbeddingBag(9, 8, padding_idx=0)
            self.norm, self.up = nn.GroupNorm(2, 4), nn.ConvTranspose1d(4, 2, 3, 2)

        def forward(self, ids: Any) -> Any:
            x = self.up(self.norm(self.bag(ids).unflatten(1, (4, 2))))
            x = (
                functional.softplus(functional.pad(x, (0, 1), value=0.5))
                + firth.tril(x[:, :, :2]).mean()
            )
            return x.cumsum(2).mean(2)

    ids = np.random.default_rng(0).integers(0, 9, (2, 3, 5))
    model, other = Net(), Net()
    other.load_state_dict(model.state_dict())
    step = nn.TrainingStep(
        model, lambda model, ids: (model(ids) ** 2).mean(), optim.SGD(model.parameters(), lr=0.1)
    )
    optimizer = optim.SGD(other.parameters(), lr=0.1)
    for batch in (*ids, *ids):
        loss = (other(batch) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert step(batch) == loss.item()


def test_bad_arguments_are_refused():
    x, w = firth.ones(2, 3), firth.ones(1, 1, requires_grad=True)
    sgd = optim.Adagrad([w])  # it has no momentum
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: firth.maximum(x, firth.ones(2)), ValueError, r"maximum: shapes do not fit, got"),
        (lambda: functional.cosine_similarity(x, x, dim=2), ValueError, "dim must be an axis"),
        (lambda: (-2) ** x, ValueError, "pow: base must be a number above 0, got -2"),
        (lambda: functional.normalize(firth.tensor([[1, 2]])), TypeError, "norm: want real num"),
        (lambda: functional.pad(x, (1, 2, 3)), ValueError, "pad must have two numbers for each"),
        (lambda: functional.pad(x, (-2, -2)), ValueError, "cuts off more than the 3 of axis 1"),
        (lambda: functional.pad(x, (1, 1), "reflect"), ValueError, "mode must be 'constant', got"),
        (lambda: x.unflatten(1, (2, 2)), ValueError, "sizes must make up the length 3, got"),
        (lambda: x.index_select(1, [3]), ValueError, r"index\[0\] is 3, must be from 0 to 2"),
        (lambda: x.index_select(1, [1.5]), TypeError, "index must hold integers"),
        (lambda: x.index_select(0, [[0]]), ValueError, "index must have one axis"),
        (lambda: x.masked_select(x), TypeError, "mask must be bool, got float32"),
        (lambda: x.masked_select(np.ones(2, bool)), ValueError, "masked_select: shapes do not"),
        (lambda: x.scatter_(1, firth.tensor([[3]]), 1), IndexError, "from 0 to 2, got 3 to 3"),
        (lambda: x.scatter_(1, firth.tensor([[1]])), TypeError, "want either src or value"),
        (lambda: x.scatter_(1, firth.tensor([[1, 1]]), x[:1, :1]), ValueError, "src must have the"),
        (lambda: x.scatter_(1, firth.tensor([[1]]), w), TypeError, "with a gradient cannot be"),
        (lambda: x.gather(1, firth.tensor([[-1]])), IndexError, "index must be from 0 to 2"),
        (lambda: firth.einsum("ii->i", x), ValueError, "there are no diagonals"),
        (lambda: firth.einsum("ij,jk->ik", x, x), ValueError, "an axis has lengths 3 and 2"),
        (lambda: firth.einsum("ij,jk,kl->il", x, x, x), ValueError, "one or two tensors, got 3"),
        (lambda: firth.einsum("ij,jk", x), ValueError, "is of 2 tensors, got 1"),
        (lambda: firth.einsum("ij->ik", x), ValueError, "must have letters of the tensors"),
        (lambda: firth.einsum("i->i", x), ValueError, "must have a letter for each axis"),
        (lambda: firth.einsum(x, x), TypeError, "equation must be a str, got Tensor"),
        (lambda: functional.interpolate(x[None], size=2), ValueError, "must be a multiple of the"),
        (lambda: functional.interpolate(x[None]), ValueError, "give either size or scale_factor"),
        (lambda: functional.interpolate(x[None], 6, mode="linear"), ValueError, "mode must be 'ne"),
        (lambda: functional.group_norm(x, 2), ValueError, r"C a multiple of 2, got \(2, 3\)"),
        (lambda: functional.instance_norm(x, A, A), ValueError, "running statistics are not"),
        (lambda: nn.InstanceNorm1d(3, track_running_stats=True), ValueError, "not supported"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "num_channels must be a multiple of num_groups"),
        (lambda: nn.GroupNorm(1, 4)(x), ValueError, "GroupNorm: input must have 4 channels"),
        (lambda: nn.Upsample(2, mode="bilinear"), ValueError, "Upsample: mode must be 'nearest'"),
        (lambda: nn.ConvTranspose1d(2, 3, 3, dilation=2), ValueError, "dilation must be 1, got 2"),
        (lambda: nn.ConvTranspose1d(4, 3, 3)(x[None]), ValueError, "input's channels must be the"),
        (lambda: nn.ConvTranspose1d(2, 3, 3, output_padding=1)(x[None]), ValueError, "less than"),
        (lambda: nn.ConvTranspose1d(2, 3, 1, padding=2)(x[None]), ValueError, "nothing is left"),
        (lambda: functional.embedding_bag([1, 0], x), ValueError, "must have 2 axes, or 1 and off"),
        (lambda: functional.embedding_bag([1, 0], x, [1]), ValueError, "offsets must rise from 0"),
        (lambda: functional.embedding_bag([[2]], x), ValueError, r"input\[0, 0\] is 2, must be"),
        (lambda: nn.EmbeddingBag(3, 2, mode="max"), ValueError, "mode must be 'mean' or 'sum'"),
        (
            lambda: nn.Embedding.from_pretrained([1.0]),
            ValueError,
            "from_pretrained: embeddings must",
        ),
        (lambda: nn.KLDivLoss(reduction="all"), ValueError, "KLDivLoss: reduction must be"),
        (lambda: functional.triplet_margin_loss(x, x, x[:1]), ValueError, "must have one shape"),
        (lambda: functional.triplet_margin_loss(x, x, x, 0), ValueError, "margin must be above 0"),
        (lambda: functional.cosine_embedding_loss(x, x, [1]), ValueError, "a target for each"),
        (lambda: functional.cross_entropy(x[None], x[None]), ValueError, "where target are prob"),
        (
            lambda: optim.lr_scheduler.CyclicLR(sgd, 0.1, 1),
            ValueError,
            "needs an optimizer with mo",
        ),
        (lambda: optim.lr_scheduler.CyclicLR(sgd, 0.1, 1, mode="up"), ValueError, "mode must be"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
