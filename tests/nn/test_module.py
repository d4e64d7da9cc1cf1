"""The tree of a module: what may be set, in which order it stands, what is loaded."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import firth
from firth import nn


class Tree(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 2)
        self.register_buffer("mean", firth.zeros(2))
        self.register_buffer("count", np.zeros((), np.int64))


def test_what_is_replaced_keeps_its_place():
    """The numbers of parameters in an optimizer's state are those of this order."""
    tree = Tree()
    before, names = list(tree.state_dict()), [name for name, _ in tree.named_parameters()]
    tree.first.weight = nn.Parameter(np.ones((3, 2), np.float32))
    tree.first = nn.Linear(2, 3)
    tree.mean = tree.mean * 0.9
    assert list(tree.state_dict()) == before
    assert [name for name, _ in tree.named_parameters()] == names


def test_none_takes_the_place_of_a_module():
    tree = Tree()
    tree.first = None
    assert tree.first is None
    assert list(tree.state_dict()) == ["mean", "count", "second.weight", "second.bias"]
    tree.first = nn.Linear(1, 1)
    assert list(tree.children()) == [tree.first, tree.second]
    tree.mean = None
    assert "mean" not in tree.state_dict()
    tree.mean = np.ones(2)
    assert "mean" in tree.state_dict()


def test_what_is_no_parameter_does_not_take_the_place_of_one():
    tree = Tree()
    before = tree.state_dict()
    cases: list[tuple[Any, str, Any, str]] = [
        (tree.first, "weight", firth.ones(3, 2), "Linear: weight must be a Parameter, or None, "
                                                 "got Tensor; del it first"),
        (tree, "second", firth.tanh, "Tree: second must be a Module, or None, got function"),
        (tree, "mean", [0.0], "Tree: mean must be a Tensor or ndarray, or None, got list"),
    ]  # fmt: skip
    for module, name, value, message in cases:
        with pytest.raises(TypeError, match=message):
            setattr(module, name, value)
    assert all(array is before[name] for name, array in tree.state_dict().items())
    del tree.mean
    tree.mean = [0.0]
    assert "mean" not in tree.state_dict()


def test_what_is_registered_is_checked():
    tree = nn.Module()
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: tree.add_module("a", 3), TypeError, "add_module: a must be a Module, or None"),
        (lambda: tree.register_parameter("a", firth.ones(1)), TypeError,
         "register_parameter: a must be a Parameter, or None, got Tensor"),
        (lambda: tree.register_buffer("a", [1]), TypeError,
         "register_buffer: a must be a ndarray or Tensor, or None, got list"),
        (lambda: tree.add_module("a.b", nn.Linear(1, 1)), ValueError, "no dots, got 'a.b'"),
        (lambda: nn.ModuleDict({"": nn.Linear(1, 1)}), ValueError, "must have letters"),
    ]  # fmt: skip
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
    assert not tree.state_dict()


def test_loading_says_what_was_missing():
    layer = nn.Linear(2, 2)
    found = layer.load_state_dict({"weight": np.ones((2, 2)), "x": 1}, strict=False)
    assert found.missing_keys == ["bias"]
    assert found.unexpected_keys == ["x"]
    assert layer.load_state_dict(nn.Linear(2, 2).state_dict()) == ([], [])


@pytest.mark.parametrize(
    "array", [np.ones(2, complex), np.array([None, 1.0]), np.array(["a", "b"])]
)
def test_arrays_that_hold_no_real_numbers_are_not_loaded(array):
    layer = nn.Linear(2, 2)
    weight = layer.weight.data.copy()
    with pytest.raises(TypeError, match=r"Linear.load_state_dict: bias must hold real numbers"):
        layer.load_state_dict({"weight": np.ones((2, 2)), "bias": array})
    np.testing.assert_array_equal(layer.weight.data, weight)


def test_hooks_are_removed():
    layer, seen = nn.Linear(2, 2), []
    handle = layer.register_forward_hook(lambda module, inputs, result: seen.append(result.shape))
    layer(firth.ones(3, 2))
    handle.remove()
    handle.remove()
    layer(firth.ones(3, 2))
    assert seen == [(3, 2)]


def test_data_of_a_parameter_keeps_its_shape():
    layer = nn.Linear(2, 3)
    before = layer.weight.data
    for value in (np.ones((3, 3)), np.ones(6), firth.ones(2, 3), np.ones((3, 2), np.int64)):
        with pytest.raises(
            ValueError, match=r"Parameter: data must be real numbers of shape \(3, 2"
        ):
            layer.weight.data = value
        assert layer.weight.data is before
    layer.weight.data = np.ones((2, 3), np.float32).T  # it is laid as operations want it
    assert layer.weight.data.flags.c_contiguous
    layer.weight.data = firth.zeros(3, 2)
    assert isinstance(layer.weight.data, np.ndarray)
    layer.weight.data -= 1
    assert (layer.weight.data == -1).all()
    assert layer.double().weight.dtype == np.float64
    other = copy.deepcopy(layer)
    assert other.weight.data is not layer.weight.data
    np.testing.assert_array_equal(other.weight.data, layer.weight.data)


@pytest.mark.parametrize(
    "module",
    [nn.Linear(3, 2), nn.ReLU(), nn.GELU(), nn.Softmax(-1), nn.LayerNorm(3), nn.BatchNorm1d(3),
     nn.Conv1d(3, 2, 1), nn.MaxPool1d(1), nn.LSTM(3, 2), nn.Dropout(), nn.Flatten(),
     nn.Sequential(nn.Linear(3, 2), nn.ReLU())],
    ids=lambda module: type(module).__name__,
)  # fmt: skip
def test_lists_are_no_inputs(module):
    with pytest.raises(TypeError, match=r"^\w+: inputs must be tensors, got list; firth\.tensor"):
        module([[1.0, 2.0, 3.0]])


def test_sizes_that_are_none_are_refused():
    for make, message in (
        (lambda: nn.Linear(3, -2), "Linear: out_features must be at least 0"),
        (lambda: nn.Linear(3.5, 2), "Linear: in_features must be an integer, got 3.5"),
        (lambda: nn.Embedding(-1, 2), "Embedding: num_embeddings must be at least 0"),
        (lambda: nn.Embedding(3, "4"), "Embedding: embedding_dim must be an integer, got '4'"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            make()
