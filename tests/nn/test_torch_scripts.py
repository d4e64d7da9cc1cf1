"""Small PyTorch scripts run with their imports changed; what is left out is refused by name."""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest

import firth
import network_checks as checks
import torch_scripts
from firth import nn, optim
from firth.nn import functional as F
from firth.nn.operations.masks import MaskedFill
from firth.nn.operations.shapes import Expand
from firth.nn.program import TrainingStep
from firth.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split

TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# The first loss that each script leaves, and what the loss becomes: run here and with PyTorch
# (test_torch_scripts_peers.py), so that a change is seen without it.
LOSSES = {
    "xor": (0.69629, 0.02274), "linear": (13.108, 0.0027), "mnist": (6.77218, 2.6),
    "mlp": (2.31838, 1.6), "char_rnn": (2.71897, 2.4), "names": (1.00920, 1.2),
    "seq2seq": (2.57715, 2.3), "encoder": (1.13078, 1.2), "gpt": (2.40115, 2.6),
    "skipgram": (3.50404, 2.6), "autoencoder": (0.05065, 0.04573), "by_hand": (1.20304, 1.2),
}  # fmt: skip


@pytest.mark.parametrize("name", torch_scripts.SCRIPTS)
def test_scripts(name):
    result = torch_scripts.run(name, "firth")
    assert result[0] == pytest.approx(LOSSES[name][0], rel=1e-4)
    assert all(np.isfinite(x) for x in result if isinstance(x, float))


def test_xor_is_learnt():
    result = torch_scripts.run("xor", "firth")
    assert result[-1] == 1
    assert result[-2] < 0.05


@TYPES
@pytest.mark.parametrize(
    ("shape", "axis", "count"),
    [((1,), 0, 5), ((3, 1), 1, 7), ((1, 4), 0, 600), ((2, 1, 3), 1, 5), ((2, 1, 1), 1, 33),
     ((3, 1, 0), 1, 2), ((2, 1), 1, 0), ((70, 1, 17), 1, 300)],
)  # fmt: skip
def test_expand(backend, shape, axis, count, dtype):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    outputs, gradients = checks.run(Expand(axis, count), [x])
    wanted, wanted_gradients = checks.reference(Expand(axis, count), [x])
    np.testing.assert_array_equal(outputs[0], wanted[0].astype(dtype))
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(gradients[0], wanted_gradients[0], atol=4 * eps * (1 + count))
    tensor = firth.Tensor(x, requires_grad=True)
    for _ in range(2):  # the second is added to what is there
        firth.nn.tape.apply(Expand(axis, count), tensor).backward(np.ones(outputs[0].shape))
    np.testing.assert_allclose(tensor.grad, np.full(shape, 2.0 * count))


@TYPES
@pytest.mark.parametrize("shapes", [((5,), (5,)), ((3, 4, 6), (4, 6)), ((300, 70), (300, 70)),
                                    ((0, 3), (3,)), ((4, 5), (1, 5))], ids=str)  # fmt: skip
def test_masked_fill(backend, shapes, dtype):
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=shapes[0]).astype(dtype), rng.random(shapes[1]) < 0.5
    for value in (0.0, -np.inf, 1e30):
        outputs, gradients = checks.run(MaskedFill(value), [x, mask])
        wanted, wanted_gradients = checks.reference(MaskedFill(value), [x, mask])
        np.testing.assert_array_equal(outputs[0], np.asarray(wanted[0], dtype))
        np.testing.assert_array_equal(gradients[0], wanted_gradients[0].astype(dtype))


def test_gradients_of_expand_and_masked_fill():
    x = np.random.default_rng(1).normal(size=(3, 1, 5))
    checks.check_gradients(Expand(1, 4), [x])
    checks.check_gradients(MaskedFill(0.5), [x, x[0] > 0])


def gradient(function, x):
    """The gradient of the sum of a function's squares, and by differences."""
    tensor = firth.Tensor(x.copy(), requires_grad=True)
    (function(tensor) ** 2).sum().backward()
    numbers = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        sides = []
        for step in (1e-6, -1e-6):
            moved = x.copy()
            moved[at] += step
            sides.append((function(firth.Tensor(moved)) ** 2).sum().item())
        numbers[at] = (sides[0] - sides[1]) / 2e-6
    return tensor.grad, numbers


@pytest.mark.parametrize("function", [
    lambda x: x[np.array([1, 0, 1])],
    lambda x: x[firth.tensor([True, False, True]), 1],
    lambda x: x[firth.arange(3), firth.tensor([0, 2, 2])],
    lambda x: x.gather(1, firth.tensor([[0, 0], [1, 3], [3, 2]])),
    lambda x: x.topk(2).values,
    lambda x: x.max(0).values + x.min(),
    lambda x: firth.where(x > 0, x, 3 * x),
    lambda x: firth.tril(x) + x.triu(1),
    lambda x: x.std(0) + x.var(dim=1, keepdim=True) + x.norm(),
    lambda x: (x - x.mean(1, keepdim=True)) / x.sum((0, 1)),
    lambda x: x @ firth.arange(4.0).double() + 1 / x[:, 0],
    lambda x: firth.outer(x[0], x[1]) + firth.eye(4, dtype=firth.float64) @ x.T @ x,
    lambda x: x.softmax(0) * x.flip(1) * x.clone(),
    lambda x: F.binary_cross_entropy(x.sigmoid(), np.full((3, 4), 0.3), reduction="none"),
    lambda x: F.logsigmoid(x) - F.softplus(x),
    lambda x: F.cross_entropy(x.view(1, 3, 4), [[0, 1, 2, 2]]),
])  # fmt: skip
def test_gradients_through_methods(function):
    x = np.random.default_rng(2).normal(size=(3, 4))
    got, wanted = gradient(function, x)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


def test_comparisons_and_dtypes():
    x = firth.tensor([1.0, 2.0, 3.0])
    assert (x == 2).tolist() == [False, True, False]
    assert (x >= firth.tensor([1.0, 3.0, 3.0])).dtype == firth.bool
    assert ((x != 2) & ~(x > 2)).sum().item() == 1
    assert (x == x).all()
    assert x.long().dtype == firth.long
    assert x.double().dtype == firth.float64
    assert x.argmax().item() == 2
    assert [10, 20, 30][x.argmax()] == 30
    assert f"{x.sum():.2f}" == "6.00"
    assert (firth.arange(5) * 2 + 1).tolist() == [1, 3, 5, 7, 9]
    assert (firth.arange(3) / 2).tolist() == [0.0, 0.5, 1.0]
    assert (firth.arange(7) % 3 // 2).tolist() == [0, 0, 1, 0, 0, 1, 0]
    assert firth.tensor([[1, 2], [3, 4]])[:, -1].tolist() == [2, 4]
    assert len({x, x, firth.tensor([1.0])}) == 2  # by identity
    assert copy.deepcopy(x).equal(x)


def test_one_tensor_as_several_inputs():
    x = firth.tensor([1.0, 2.0], requires_grad=True)
    (x * x + x).sum().backward()
    np.testing.assert_array_equal(x.grad, [3, 5])
    y = x * 2
    (y * y + y).sum().backward()
    np.testing.assert_array_equal(x.grad, [3 + 10, 5 + 18])


def test_optimizers_tell_parameters_apart():
    a, b = (nn.Parameter(np.ones(2, np.float32)) for _ in range(2))
    optimizer = optim.SGD([a, b], lr=0.5)
    (a * 2 + b).sum().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    np.testing.assert_array_equal(a.data, [-0.5, -0.5])
    np.testing.assert_array_equal(b.data, [0.25, 0.25])


def test_in_place():
    w = firth.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"requires a gradient changes in place inside of no_gr"):
        w -= 1
    kept = w
    with firth.no_grad():
        w -= 0.5
        w[0] = 7
        w.mul_(2)
    assert w is kept
    assert w.tolist() == [14, 1, 1]
    total = 0
    for _ in range(2):
        total += (w * 2).sum()
    total.backward()
    assert w.grad.tolist() == [4, 4, 4]
    x = firth.zeros(2, 3)
    x[1] += 2
    x[:, 0] = 5
    assert x.tolist() == [[5, 0, 0], [5, 2, 2]]
    with pytest.raises(RuntimeError, match="set_item: this tensor is a copy of a part of another"):
        x[0][1] = 3
    with pytest.raises(RuntimeError, match=r"zero_: this tensor is a copy"):
        x.view(-1).zero_()
    x[0].clone().zero_()
    with pytest.raises(TypeError, match="set_item: a value with a gradient"):
        x[0:1] = w.view(1, 3)
    x[1] = w * 3
    x.sum().backward()
    assert w.grad.tolist() == [7, 7, 7]


def test_values_with_a_gradient_are_written_at_a_place():
    w = firth.ones(2, 3, requires_grad=True)
    x = firth.zeros(2, 4, 3)
    x[:, 1, :] = w * 2
    x[:, 2, ...] = w[:, :1]  # an axis of 1 is repeated
    x[0] = w.view(1, 2, 3)[:, :1]  # and may lead
    assert x[0].tolist() == [[1, 1, 1]] * 4
    assert x[1].tolist() == [[0] * 3, [2] * 3, [1] * 3, [0] * 3]
    x.sum().backward()
    assert w.grad.tolist() == [[4, 4, 4], [5, 2, 2]]
    with pytest.raises(ValueError, match=r"set_item: value must have the shape of the place, \(3,"):
        firth.zeros(2, 3)[0] = w * 1
    with pytest.raises(IndexError, match="set_item: 3 indices for 2 axes"):
        firth.zeros(2, 3)[0, :, :] = w[0]
    for where in ((0, slice(None), 1), (Ellipsis, 1)):
        with pytest.raises(TypeError, match="set_item: a value with a gradient is written as"):
            firth.zeros(2, 4, 3)[where] = w[0, 0]


@firth.no_grad()
def decorated(x):
    return x * 2


def test_no_grad_decorates():
    x = firth.ones(1, requires_grad=True)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no tensor that requires a gradient"):
            decorated(x).backward()
    (x * 2).backward()
    assert x.grad.tolist() == [2]


def test_what_is_left_out_is_refused_by_name():
    x = firth.ones(2, 2, requires_grad=True)
    model = nn.Linear(2, 2)
    cases = [
        (lambda: x.cuda(), AttributeError, "Tensor has no 'cuda': there is only the CPU"),
        (lambda: x.to("cuda"), ValueError, "device: firth runs on the CPU only, got 'cuda'"),
        (lambda: model.to("cuda:0"), ValueError, "device: firth runs on the CPU only"),
        (lambda: model.cuda(), ValueError, "device: firth runs on the CPU only"),
        (lambda: firth.zeros(2, device="mps"), ValueError, "CPU only, got 'mps'"),
        (
            lambda: firth.zeros(2, dtype=np.int32),
            TypeError,
            "zeros: dtype must be float32, float64",
        ),
        (lambda: x.half(), AttributeError, "Tensor has no 'half': tensors are float32 or float64"),
        (lambda: x.logdet(), AttributeError, "Tensor has no 'logdet'; methods that it has"),
        (lambda: x.floor(), TypeError, r"floor: has no gradient here; detach\(\) the input"),
        (lambda: x.double(), TypeError, "to: a tensor with a gradient keeps its dtype"),
        (lambda: x.sum().backward(create_graph=True), ValueError, "no second derivatives"),
        (lambda: x.sum().backward(retain_graph=True), ValueError, "retain_graph must be False"),
        (lambda: x.max(x), TypeError, "max: dim must be an axis"),
        (lambda: x.masked_fill([1, 0], 0), TypeError, "masked_fill: mask must be bool, got int64"),
        (lambda: x.masked_fill(np.ones(3, bool), 0), ValueError, "masked_fill: mask must have"),
        (lambda: (x * 2).requires_grad_(), RuntimeError, "requires_grad_: an operation made"),
        (
            lambda: firth.save(model, "x"),
            TypeError,
            r"save: .* got Linear; save its state_dict\(\)",
        ),
        (lambda: F.one_hot([3], 3), ValueError, "one_hot: classes must be from 0 to 2"),
        (lambda: firth.multinomial([0.0, 0.0], 1), ValueError, "multinomial: input must hold"),
        (lambda: firth.compile, AttributeError, "module 'firth' has no attribute 'compile'"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
    assert x.to("cpu") is x
    assert x.to(firth.device("cpu"), firth.float32).cpu() is x
    assert model.to("cpu") is model
    assert not firth.cuda.is_available()
    assert firth.cuda.device_count() == 0
    assert firth.ones(1, 3).expand_as(firth.zeros(2, 3)).tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(("decides", "error", "message"), [
    (lambda x: x * float((x > 0).float().mean()), RuntimeError, "gt: a step that is being com"),
    (lambda x: x[x.argmax(0)], RuntimeError, "argmax: a step that is being compiled"),
    (lambda x: x[np.array([0])], RuntimeError, "index: a step that is being compiled"),
    (lambda x: x.masked_fill(np.ones((4, 2), bool), 0.0), ValueError, "reads an array of shape"),
])  # fmt: skip
def test_compiled_steps_do_not_look_at_values(decides, error, message):
    model = nn.Linear(2, 2)
    step = TrainingStep(
        model, lambda model, x: decides(model(x)).sum(), optim.SGD(model.parameters(), 0.1)
    )
    with pytest.raises(error, match=message):
        step(np.ones((4, 2), np.float32))


def test_expand_and_masked_fill_compile():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(np.ones((3, 1), np.float32))
            self.register_buffer("mask", firth.triu(firth.ones(3, 4), 1).bool())

        def forward(self, x):
            return (x * self.weight).masked_fill(self.mask, 0.0)

    losses = []
    for compiled in (False, True):
        model = Masked()
        assert isinstance(model.mask, firth.Tensor)
        assert model.state_dict()["mask"].dtype == bool
        optimizer = optim.SGD(model.parameters(), 0.01)
        step = TrainingStep(model, lambda model, x: (model(x) ** 2).sum(), optimizer)
        losses.append([])
        for i in range(3):
            x = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 10 + i
            if compiled:
                losses[-1].append(step(x))
                continue
            loss = (model(firth.Tensor(x)) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)


def test_files(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    path = tmp_path / "model.pt"
    firth.save(model.state_dict(), path)
    state = firth.load(path)
    assert sorted(state) == sorted(model.state_dict())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(state[name], array)
    tree = {"a": [1, 2.5, None, "x", (True, firth.arange(3))], 0: {"b": np.ones(2)}}
    firth.save(tree, path)
    back = firth.load(path, map_location="cpu")
    assert list(back) == ["a", 0]
    assert back["a"][:4] == [1, 2.5, None, "x"]
    assert back["a"][4][0] is True
    assert back["a"][4][1].tolist() == [0, 1, 2]
    assert back[0]["b"].dtype == np.float64
    path.write_bytes(os.urandom(64))
    with pytest.raises(firth.FormatError):
        firth.load(path)


def test_data_loader():
    x = firth.arange(10)
    loader = DataLoader(TensorDataset(x, x * 2), batch_size=4)
    assert [a.tolist() for a, _ in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    assert len(DataLoader(TensorDataset(x), batch_size=4, drop_last=True)) == 2
    firth.manual_seed(0)
    shuffled = DataLoader(TensorDataset(x, x * 2), batch_size=4, shuffle=True)
    passes = [[a.tolist() for a, b in shuffled if b.equal(a * 2)] for _ in range(2)]
    assert passes[0] != passes[1]
    assert all(sorted(x for rows in one for x in rows) == list(range(10)) for one in passes)

    class Squares(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return {"x": np.float32(i), "y": (i, float(i * i)), "name": f"n{i}"}

    batch = next(iter(DataLoader(Squares(), batch_size=3)))
    assert batch["x"].dtype == np.float32
    assert batch["y"][0].tolist() == [0, 1, 2]
    assert batch["y"][1].tolist() == [0, 1, 4]
    assert batch["name"] == ["n0", "n1", "n2"]
    one, two = random_split(Squares(), [0.6, 0.4])
    assert isinstance(one, Subset)
    assert sorted(s["name"] for part in (one, two) for s in part) == [f"n{i}" for i in range(5)]
    with pytest.raises(ValueError, match="random_split: lengths must add up"):
        random_split(Squares(), [3, 3])
    with pytest.raises(ValueError, match="TensorDataset: tensors must have one length"):
        TensorDataset(x, x[:3])
    with pytest.raises(ValueError, match="DataLoader: batch_size"):
        DataLoader(x, batch_size=0)
