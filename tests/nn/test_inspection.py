"""Summaries of networks, gradients and activations as data, and that their pictures are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth.nn import inspection
from firth.nn.fit import History
from firth.nn.module import Module, Parameter
from firth.nn.modules.activation import ReLU, Sigmoid
from firth.nn.modules.containers import Sequential
from firth.nn.modules.dropout import Dropout
from firth.nn.modules.embedding import Embedding
from firth.nn.modules.linear import Linear
from firth.nn.operations.shapes import index, stack
from firth.nn.tape import Call, Tensor, manual_seed


class Steps(Module):
    """h_t = f h_{t-1} + x_t: the gradient by the input falls by f at each step."""

    def __init__(self, factor: float, batch_first: bool = False) -> None:
        super().__init__()
        self.factor = Parameter(np.array(factor))
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Any:
        rows = []
        for t in range(x.shape[1 if self.batch_first else 0]):
            row = index(x, (slice(None), t) if self.batch_first else t)
            rows.append(row + rows[-1] * self.factor if rows else row)
        return stack(rows, 1 if self.batch_first else 0), rows[-1]


def network() -> Sequential:
    manual_seed(0)
    return Sequential(
        Linear(3, 8), ReLU(), Dropout(0.5), Sequential(Linear(8, 8, bias=False), ReLU()),
        Linear(8, 2),
    )  # fmt: skip


def test_summary():
    model = network()
    model[4].requires_grad_(False)
    model[2].eval()
    found = inspection.summary(model, np.ones((5, 3)))
    assert [(row.path, row.kind, row.shapes, row.parameters, row.operations) for row in found.rows][
        :2
    ] == [
        ("", "Sequential", [(5, 2)], 3 * 8 + 8 + 64 + 16 + 2, 5 * (24 + 64 + 16)),
        ("0", "Linear", [(5, 8)], 32, 5 * 24),
    ]
    assert found.rows[4].path == "3"
    assert found.rows[4].operations == 5 * 64
    assert found.parameters == 114
    assert found.trained == 96
    lines = str(found).splitlines()
    assert lines[0].split() == ["module", "output", "parameters", "multiply-adds"]
    assert lines[3].split("  ")[1] == "0: Linear"
    assert "    0: Linear" in str(found)
    assert lines[-1] == "96 of 114 parameters are trained"
    # nothing has changed
    assert model.training
    assert not model[2].training
    assert "forward" not in model.__dict__
    assert all(p.grad is None for p in model.parameters())


def test_summary_counts_shared_modules_once_and_calls_twice():
    class Twice(Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.one = Embedding(7, 4), Linear(4, 4)

        def forward(self, ids: Any) -> Any:
            x = self.one(self.words(ids))
            return self.one(x), x

    found = inspection.summary(Twice(), np.zeros((2, 3), np.int64))
    assert found.rows[0].shapes == [(2, 3, 4), (2, 3, 4)]
    assert found.parameters == 28 + 20
    assert found.operations == 2 * 6 * 16
    assert found.rows[2].operations == 2 * 6 * 16
    assert found.rows[1].operations == 0


@pytest.mark.parametrize(
    ("name", "options", "shapes", "out", "wanted"),
    [
        ("linear", (), [(2, 3, 5), (7, 5), (7,)], [(2, 3, 7)], 6 * 35),
        ("linear_cross_entropy", (), [(6, 5), (7, 5), None, (6,)], [()], 6 * 35),
        ("matmul", (), [(2, 3, 5), (2, 5, 7)], [(2, 3, 7)], 6 * 35),
        ("projections", (), [(6, 5), (9, 5), (12, 5), None], [(6, 4), (9, 8)],
         6 * 5 * 4 + 9 * 5 * 8),
        # 4 x 4 places of 8 outputs, each of 3 channels of its group and 9 taps
        ("convolution", (), [(2, 6, 4, 4), (8, 3, 3, 3), (8,)], [(2, 8, 4, 4)], 2 * 8 * 16 * 27),
        ("lstm", (), [(9, 2, 5), None, (1, 2, 3), (1, 2, 3), (12, 5), (12, 3), (12,), (12,)],
         [(9, 2, 3), (1, 2, 3), (1, 2, 3)], 18 * (60 + 36)),
        ("gru", (), [(9, 5), None, (1, 3), (9, 5), (9, 3), (9,), (9,)], [(9, 3)], 9 * (45 + 27)),
        ("lstm", (), [(9, 5), None, (1, 3), (1, 3), (12, 5), (12, 3), None, None], [(9, 3)],
         9 * (60 + 36)),
        # of each of 2 x 4 heads: scores of 6 queries and 7 keys, 5 numbers each; 3 of each value
        ("attention", (0, 0, 1), [(2, 4, 6, 5), (2, 4, 7, 5), (2, 4, 7, 3), None, None],
         [(2, 4, 6, 3)], 8 * 42 * (5 + 3)),
        ("attention", (4, 4, 1), [(2, 6, 20), (2, 7, 20), (2, 7, 12), None, None], [(2, 6, 12)],
         8 * 42 * (5 + 3)),
        ("attention", (4, 4, 0), [(6, 2, 20), (7, 2, 20), (7, 2, 12), None, None], [(6, 2, 12)],
         8 * 42 * (5 + 3)),
        ("softmax", (), [(2, 3)], [(2, 3)], 0),
    ],
)  # fmt: skip
def test_multiply_adds(name, options, shapes, out, wanted):
    inputs = [None if shape is None else np.empty(shape) for shape in shapes]
    inputs[-1] = shapes[-1]  # of an array that is not kept only the shape is known
    outputs = [np.empty(shape) for shape in out]
    call = Call(name, options, inputs, outputs, (), True, None, False)
    assert inspection.multiply_adds(call) == wanted
    backward = call._replace(gradients=outputs)
    assert inspection.multiply_adds(backward) == 0


def test_a_forward_that_fails_leaves_the_model_as_it_was():
    model = network()
    with pytest.raises(ValueError, match="linear: the last axis of input must be 3"):
        inspection.summary(model, np.ones((5, 4)))
    assert all(module.training and "forward" not in module.__dict__ for module in model.modules())


def test_activations_are_results_of_the_leaves(backend):
    model = network()
    x = np.random.default_rng(0).normal(size=(5, 3))
    found = inspection.activations(model, x)
    assert list(found) == ["0", "1", "2", "3.0", "3.1", "4"]
    first = model[0](Tensor(x.astype(np.float32))).data
    np.testing.assert_array_equal(found["0"], first)
    np.testing.assert_array_equal(found["2"], np.maximum(first, 0))
    model.eval()
    np.testing.assert_array_equal(found["4"], model(Tensor(x.astype(np.float32))).data)


def test_gradients_of_parameters():
    model = network()
    assert inspection.gradients(model) == {}
    with pytest.raises(ValueError, match="call backward first"):
        inspection.plot_gradients(model)
    model[0].weight.grad = np.full((8, 3), -2, np.float32)
    model[4].bias.grad = np.array([3, 4], np.float32)
    assert inspection.gradients(model) == pytest.approx(
        {"0.weight": 2, "4.bias": np.sqrt(12.5)}
    )  # fmt: skip


@pytest.mark.parametrize("batch_first", [False, True])
def test_gradients_by_step(backend, batch_first):
    layer = Steps(0.5, batch_first)
    layer.factor.grad = np.array(7.0)
    x = np.random.default_rng(0).normal(size=(6, 3, 4))
    found = inspection.gradients_by_step(layer, np.swapaxes(x, 0, 1) if batch_first else x)
    np.testing.assert_allclose(found, 0.5 ** np.arange(6)[::-1], rtol=1e-6)
    assert layer.factor.grad == 7
    assert layer.factor.requires_grad


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    model = network()
    x = np.random.default_rng(0).normal(size=(50, 3))
    history = History([3.0, 0.1, 0.01], [3.0, 1.0, 1.5], [0.1, 0.1, 0.05], [1, 1, 1],
                      {"accuracy": [float("nan"), 0.5, 0.7]}, 1)  # fmt: skip
    figure = history.plot()
    loss, metrics, rate = figure.axes
    assert [len(line.get_xdata()) for line in loss.lines[:2]] == [3, 3]
    assert loss.get_title() == "Lowest validation loss: 1, epoch 2"
    assert (metrics.get_ylabel(), rate.get_ylabel()) == ("metrics", "learning rate")
    assert loss.get_yscale() == "log"
    assert len(History([1.0], lr=[0.1], seconds=[1.0]).plot().axes) == 1
    for name, p in model.named_parameters():
        p.grad = np.zeros_like(p.data) if name == "0.bias" else p.data
    axes = inspection.plot_gradients(model).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        name for name, _ in model.named_parameters()
    ]
    assert axes.texts[0].get_text() == "0"
    axes = inspection.plot_activations(model, x).axes[0]
    assert axes.get_yticklabels()[3].get_text() == "3.0: Linear"
    assert "are 0" in axes.texts[1].get_text()
    constant = Sequential(Sigmoid())
    figures = {
        "history": figure,
        "constant": inspection.plot_activations(constant, np.zeros((3, 3))),
        "steps": inspection.plot_gradients_by_step({"plain": [0, 1e-3, 1], "lstm": [1, 1, 1]}),
    }
    for shape, pictures in (((5, 1, 3, 3), 5), ((70, 1, 3, 3), 64), ((5, 3, 4, 4), 5),
                            ((6, 16, 3, 3), 60), ((2, 2, 1, 3), 4)):  # fmt: skip
        figures[str(shape)] = inspection.plot_filters(np.random.default_rng(0).normal(size=shape))
        assert sum(len(axes.images) for axes in figures[str(shape)].axes) >= pictures
    assert figures["(70, 1, 3, 3)"].get_suptitle() == "64 of 70 filters of 1 channel"
    assert figures["(6, 16, 3, 3)"].get_suptitle() == "6 of 6 filters, 10 of 16 channels"
    for name, one in figures.items():
        one.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    with pytest.raises(ValueError, match=r"weight must have shape \(O, C, kh, kw\), got \(3, 3\)"):
        inspection.plot_filters(np.ones((3, 3)))
    with pytest.raises(TypeError, match=r"must be that of a convolution, as conv\.weight, got Lin"):
        inspection.plot_filters(Linear(3, 2))
    with pytest.raises(ValueError, match="no finite results"):
        inspection.plot_activations(constant, np.full((3, 3), np.nan))
