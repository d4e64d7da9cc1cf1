"""Compositions of operations under PyTorch's names, and their gradients, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import firth
from firth import nn
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
    "sin": lambda t, F, a, b: t.sin(a) * b.cos(),
    "cumsum": lambda t, F, a, b: a.cumsum(1) * t.cumsum(b, dim=0) + t.cumsum(a[:, 0], 0)[0],
    "prod": lambda t, F, a, b: t.prod(a, 1, keepdim=True) + b.prod(0) + (b * (b > 0)).prod(1).sum(),
    "prod of all": lambda t, F, a, b: a.prod() * b,
    "pad": lambda t, F, a, b: F.pad(a, (1, 2, 3, 0), value=0.5) + F.pad(b, [0, 3, -1, 4]),
    "pad 3": lambda t, F, a, b: F.pad(a[None], (0, 0, -2, 0)) * F.pad(b, (-1, 1))[:2],
    "index_select": lambda t, F, a, b: t.index_select(a, 1, t.tensor([4, 0, 4]))[:3]
    * b.index_select(0, t.tensor([1, 1, 2]))[:, :3],
    "masked_select": lambda t, F, a, b: t.masked_select(a, t.tensor(B > 0)).sum()
    * b[0].masked_select(t.tensor(A > 0)),
    "stacks": lambda t, F, a, b: t.vstack([a[0], b]) [:, :2] + t.hstack((a[:, :1], b))[0, :2],
    "hstack": lambda t, F, a, b: t.hstack([a[0], b[1], t.tensor(2.0).double()]),
    "unflatten": lambda t, F, a, b: a.unflatten(0, (2, -1)) * t.unflatten(b, 0, (2, 2)),
    "einsum": lambda t, F, a, b: t.einsum("ij,kj->ki", a, b),
    "einsum, dot": lambda t, F, a, b: t.einsum("ij,ij->", a, b) + t.einsum("i,i", a[0], b[0]),
    "einsum, elements": lambda t, F, a, b: t.einsum("ij, ij -> ji", a, b),
    "einsum, outer": lambda t, F, a, b: t.einsum("i,j->ij", a[0], b[1]),
    "einsum, one": lambda t, F, a, b: t.einsum("ij->ji", a) + t.einsum("ij->j", b)[:, None],
    "einsum, summed first": lambda t, F, a, b: t.einsum("ij,kl->lj", a, b),
    "einsum, batches": lambda t, F, a, b: t.einsum(
        "bhqd,bhkd->bhqk", a.reshape(2, 1, 2, 5), b.reshape(2, 1, 2, 5)
    ),
    "einsum, dots": lambda t, F, a, b: t.einsum(
        "...ij,...jk->...ik", a.reshape(2, 2, 5), b.reshape(2, 5, 2)
    ),
    "einsum, dots and a matrix": lambda t, F, a, b: t.einsum("...j,kj", a.reshape(2, 2, 5), b),
    "pairwise_distance": lambda t, F, a, b: F.pairwise_distance(a, b)
    + F.pairwise_distance(a, b, p=1, keepdim=True),
    "triplet_margin_loss": lambda t, F, a, b: F.triplet_margin_loss(a, b, b.flip(0), margin=0.3)
    + F.triplet_margin_loss(a, b, a.flip(0), p=1, swap=True, reduction="none").sum(),
    "cosine_embedding_loss": lambda t, F, a, b: F.cosine_embedding_loss(
        a, b, t.tensor([1, -1, -1, 1]), margin=-0.5
    ),
    "cosine_embedding_loss, real": lambda t, F, a, b: F.cosine_embedding_loss(
        a, b, t.tensor(SIGNS), reduction="sum"
    ),
    "kl_div": lambda t, F, a, b: F.kl_div(
        F.log_softmax(a, -1), F.softmax(b, -1), reduction="batchmean"
    ),
    "kl_div, 0": lambda t, F, a, b: F.kl_div(a, F.relu(b), reduction="sum"),
    "kl_div, logs": lambda t, F, a, b: F.kl_div(a, b, reduction="none", log_target=True),
    "cross_entropy of probabilities": lambda t, F, a, b: F.cross_entropy(a, F.softmax(b, 1)),
    "cross_entropy of weighted ones": lambda t, F, a, b: F.cross_entropy(
        a, F.softmax(b, 1), t.tensor(WEIGHTS), label_smoothing=0.1, reduction="none"
    )
    + F.cross_entropy(a[0], F.softmax(b[0], 0)),
    "group_norm": lambda t, F, a, b: F.group_norm(
        a.reshape(2, 2, 5), 1, b[0, :2], b[1, :2]
    ) + F.group_norm(b.reshape(1, 4, 5), 2)[:, :2],
    "instance_norm": lambda t, F, a, b: F.instance_norm(a.reshape(2, 2, 5)) * b.reshape(2, 2, 5),
    "interpolate": lambda t, F, a, b: F.interpolate(a.reshape(1, 1, 4, 5), scale_factor=2)
    * F.interpolate(b.reshape(1, 1, 4, 5), size=(8, 10), mode="nearest"),
    "interpolate, down": lambda t, F, a, b: F.interpolate(a.reshape(2, 2, 5), size=1)
    + F.interpolate(b.reshape(1, 5, 4)[:, :2], scale_factor=0.5),
    "conv_transpose2d": lambda t, F, a, b: F.conv_transpose2d(
        a.reshape(1, 2, 2, 5), b[:, :4].reshape(2, 2, 2, 2), b[0, :2], stride=2
    ),
    "conv_transpose2d, odd": lambda t, F, a, b: F.conv_transpose2d(
        a.reshape(2, 2, 1, 5), b[:3, :4].reshape(2, 1, 2, 3), None, (3, 2), (0, 1), (2, 1)
    ),
    "conv_transpose2d, groups": lambda t, F, a, b: F.conv_transpose2d(
        a[:, :4].reshape(1, 4, 2, 2), b[:, :4].reshape(4, 1, 2, 2), b[:2, 4], padding=1, groups=2
    ) + F.conv_transpose2d(
        a[:, :4].reshape(1, 4, 2, 2), b[:, :4].reshape(4, 1, 2, 2), padding=1, groups=4
    )[:, :2],
    "conv_transpose1d": lambda t, F, a, b: F.conv_transpose1d(
        a.reshape(2, 2, 5), b.reshape(2, 2, 5), a[0, :2], stride=3, padding=2, output_padding=1
    ),
    "embedding_bag": lambda t, F, a, b: F.embedding_bag(t.tensor([[0, 3, 3], [1, 0, 2]]), a)
    * F.embedding_bag(t.tensor([[0, 3, 3], [1, 0, 2]]), b, mode="sum"),
    "embedding_bag, offsets": lambda t, F, a, b: F.embedding_bag(
        t.tensor([0, 3, 3, 1, 2]), a, t.tensor([0, 2, 2, 3]), mode="mean"
    )
    * F.embedding_bag(
        t.tensor([0, 3, 3, 1, 2]), b, t.tensor([0, 2, 2, 3, 5]), mode="sum",
        include_last_offset=True,
    ),
    "embedding_bag, padding": lambda t, F, a, b: F.embedding_bag(
        t.tensor([[0, 3, 3], [1, 3, 2]]), a, padding_idx=3
    ),
    "embedding_bag, factors": lambda t, F, a, b: F.embedding_bag(
        t.tensor([[0, 3], [1, 2]]), a, mode="sum", per_sample_weights=b[:2, :2]
    )
    + F.embedding_bag(
        t.tensor([0, 3, 3, 1]), a, t.tensor([0, 3]), mode="sum", per_sample_weights=b[:, 1]
    ),
}  # fmt: skip
SIGNS = np.array([1.0, -1.0, -1.0, 1.0])
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.25, 1.5])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_gradients_are_those_of_pytorch(name):
    function = FUNCTIONS[name]
    x = [firth.tensor(array, requires_grad=True) for array in (A, B)]
    y = [torch.tensor(array, requires_grad=True) for array in (A, B)]
    got = function(firth, functional, *x)
    want = function(torch, torch.nn.functional, *y)
    assert got.shape == tuple(want.shape)
    np.testing.assert_allclose(got.data, want.detach(), rtol=1e-10, atol=1e-12)
    weights = np.random.default_rng(4).standard_normal(got.shape)
    (got * firth.tensor(weights)).sum().backward()
    (want * torch.tensor(weights)).sum().backward()
    for one, other in zip(x, y, strict=True):
        if other.grad is None:
            assert one.grad is None
        else:
            np.testing.assert_allclose(one.grad, other.grad, rtol=1e-9, atol=1e-11)


IMAGE, BAGS = np.random.default_rng(5).standard_normal((2, 4, 5, 6)), [[1, 6, 2], [6, 6, 0]]
MODULES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), IMAGE),
    "ConvTranspose1d": (lambda nn: nn.ConvTranspose1d(5, 3, 4, 2, bias=False), IMAGE[0]),
    "EmbeddingBag": (lambda nn: nn.EmbeddingBag(7, 3, mode="sum", padding_idx=6), BAGS),
    "Embedding.from_pretrained": (
        lambda nn: nn.Embedding.from_pretrained(TABLES[nn.__name__[:5]], freeze=False),
        BAGS,
    ),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 4), IMAGE),
    "InstanceNorm1d": (lambda nn: nn.InstanceNorm1d(5, affine=True), IMAGE[0]),
    "InstanceNorm2d": (lambda nn: nn.InstanceNorm2d(4), IMAGE),
    "Unflatten": (lambda nn: nn.Unflatten(1, (2, -1)), IMAGE),
    "Upsample": (lambda nn: nn.Upsample(scale_factor=(2, 3)), IMAGE),
}
TABLES = {"firth": A.repeat(2, 0), "torch": torch.tensor(A.repeat(2, 0))}


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_those_of_pytorch(name):
    make, inputs = MODULES[name]
    mine, theirs = make(nn).double(), make(torch.nn).double()
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for parameter in theirs.parameters():  # of norms they are 1 and 0
        torch.nn.init.normal_(parameter)
    mine.load_state_dict(theirs.state_dict())
    real = isinstance(inputs, np.ndarray)
    x = firth.tensor(inputs, requires_grad=real)
    y = torch.tensor(inputs, requires_grad=real)
    got, want = mine(x), theirs(y)
    assert got.shape == tuple(want.shape)
    np.testing.assert_allclose(got.data, want.detach(), rtol=1e-10, atol=1e-10)
    (got * got).sum().backward()
    (want * want).sum().backward()
    pairs = [*zip(mine.parameters(), theirs.parameters(), strict=True), *[(x, y)] * real]
    assert pairs
    for one, other in pairs:
        np.testing.assert_allclose(one.grad, other.grad, rtol=1e-9, atol=1e-9)


LOSSES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "KLDivLoss": lambda nn, a, b: nn.KLDivLoss(reduction="batchmean", log_target=True)(a, b),
    "TripletMarginLoss": lambda nn, a, b: nn.TripletMarginLoss(0.5, swap=True)(a, b, b.flip(0)),
    "CosineEmbeddingLoss": lambda nn, a, b: nn.CosineEmbeddingLoss(0.1)(a, b, b[:, 0] * 0 - 1),
    "CrossEntropyLoss": lambda nn, a, b: nn.CrossEntropyLoss(label_smoothing=0.2)(a, b.abs()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_as_modules(name):
    got = LOSSES[name](nn, firth.tensor(A), firth.tensor(B))
    want = LOSSES[name](torch.nn, torch.tensor(A), torch.tensor(B))
    assert got.item() == pytest.approx(want.item(), rel=1e-10)


def test_first_values_are_distributed_as_theirs():
    mine, theirs = nn.ConvTranspose2d(8, 4, 3), torch.nn.ConvTranspose2d(8, 4, 3)
    bound = 1 / np.sqrt(4 * 9)
    for name, array in mine.state_dict().items():
        assert array.shape == tuple(theirs.state_dict()[name].shape)
        assert np.abs(array).max() <= bound
        assert float(theirs.state_dict()[name].abs().max()) <= bound
    # the deviation of a uniform distribution, within 5 of its own deviations
    deviation = bound / np.sqrt(3)
    assert abs(mine.weight.data.std() - deviation) < 5 * deviation / np.sqrt(mine.weight.data.size)


def test_scatter():
    for name in ("scatter_", "scatter_add_"):
        for t in (firth, torch):
            x = t.tensor(A)
            places = t.tensor([[0, 2, 2], [4, 1, 0]])
            getattr(x, name)(1, places, t.tensor(B))
            getattr(x, name)(0, t.tensor([[3, 3, 0, 1, 2]]), t.tensor(B))
            if name == "scatter_":
                x.scatter_(1, places[:, :1], 7.0)
                x.scatter_(dim=0, index=places[:, :2] % 4, value=-1)
                got = t.zeros(3, 4).scatter_(1, t.tensor([[1], [3], [0]]), 1)
                assert got.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
            if t is firth:
                found = x.data
        np.testing.assert_allclose(found, x, rtol=1e-12)


@pytest.mark.parametrize("masks", ["none", "bool", "real", "each"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_padding_masks_of_attention_are_added(masks, batch_first):
    mine = nn.MultiheadAttention(4, 2, batch_first=batch_first, dtype=np.float64)
    theirs = torch.nn.MultiheadAttention(4, 2, batch_first=batch_first, dtype=torch.float64)
    mine.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(6)
    query, key = rng.standard_normal((3, 5, 4)), rng.standard_normal((3, 6, 4))
    padding = rng.standard_normal((3, 6))
    padding[1, 4:] = -np.inf
    shape = (6, 5, 6) if masks == "each" else (5, 6)
    real = rng.standard_normal(shape)
    mask = (
        None if masks == "none" else (np.triu(np.ones(shape), 3) > 0 if masks == "bool" else real)
    )
    if not batch_first:
        query, key = query.swapaxes(0, 1), key.swapaxes(0, 1)
    theirs_mask = mask if mask is None or masks != "bool" else np.where(mask, -np.inf, 0.0)
    x, y = firth.tensor(query, requires_grad=True), torch.tensor(query, requires_grad=True)
    got, got_weights = mine(x, firth.tensor(key), firth.tensor(key), padding, attn_mask=mask)
    want, weights = theirs(
        y, torch.tensor(key), torch.tensor(key), torch.tensor(padding),
        attn_mask=None if mask is None else torch.tensor(theirs_mask),
    )  # fmt: skip
    np.testing.assert_allclose(got.data, want.detach(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got_weights.data, weights.detach(), rtol=1e-10, atol=1e-12)
    got.sum().backward()
    want.sum().backward()
    np.testing.assert_allclose(x.grad, y.grad, rtol=1e-9, atol=1e-12)
