"""The tree of a module: what may be set, in which order it stands, what is loaded."""

from __future__ import annotations

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
