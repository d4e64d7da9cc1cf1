"""Sequential, ModuleList, ModuleDict, Identity."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

from firth.nn.module import Module, Parameter
from firth.nn.modules.containers import (
    Identity,
    ModuleDict,
    ModuleList,
    ParameterDict,
    ParameterList,
    Sequential,
)
from firth.nn.modules.linear import Linear
from firth.nn.tape import Tensor


def layers() -> tuple[Linear, Linear, Linear]:
    return Linear(3, 4), Linear(4, 5), Linear(5, 2)


def test_sequential_computes_one_after_the_other(backend):
    a, b, c = layers()
    model = Sequential(a, b, c)
    x = Tensor(np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(model(x).data, c(b(a(x))).data)
    assert [name for name, _ in model.named_parameters()][:3] == ["0.weight", "0.bias", "1.weight"]
    assert model[0] is a
    assert model[-1] is c
    part = model[1:]
    assert isinstance(part, Sequential)
    assert list(part) == [b, c]
    assert list(part._modules) == ["1", "2"]
    assert len(model) == 3
    with pytest.raises(IndexError, match="index 3 is out of range, there are 3"):
        model[3]


def test_sequential_has_names():
    a, b, _ = layers()
    model = Sequential(OrderedDict(first=a, second=b))
    assert next(iter(model.state_dict())) == "first.weight"
    assert model.first is a
    model.append(Identity())
    assert list(model._modules) == ["first", "second", "2"]
    assert repr(model).startswith("Sequential(\n  (first): Linear(in_features=3")
    del model[0]
    assert list(model._modules) == ["second", "2"]


def test_containers_change():
    a, b, c = layers()
    model = Sequential(a, b)
    model[1] = c
    assert list(model) == [a, c]
    model.insert(1, b)
    del model[0]
    assert list(model) == [b, c]
    assert list(model._modules) == ["0", "1"]
    both = ModuleList([a]).extend([b, c])
    assert list(both[1:]) == [b, c]
    assert isinstance(both[1:], ModuleList)
    assert both[1] is b
    named = ModuleDict({"a": a})
    named["b"] = b
    named.update({"c": c})
    del named["a"]
    assert list(named) == ["b", "c"]
    assert "b" in named
    assert dict(named.items()) == {"b": b, "c": c}
    assert list(named.keys()) == ["b", "c"]
    assert list(named.values()) == [b, c]
    assert len(named) == 2
    assert named["c"] is c


def test_lists_are_parts_of_their_module():
    class Net(Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = ModuleList([Linear(1, 1), Linear(1, 1)])
            self.heads = ModuleDict({"one": Linear(1, 2, bias=False)})

    assert list(Net().state_dict()) == [
        "steps.0.weight", "steps.0.bias", "steps.1.weight", "steps.1.bias", "heads.one.weight",
    ]  # fmt: skip


def test_what_is_no_module_is_refused():
    for make in (
        lambda: Sequential(np.tanh),
        lambda: ModuleList([3]),
        lambda: ModuleDict({"a": None}),
        lambda: Sequential(Identity()).__setitem__(0, "x"),
    ):
        with pytest.raises(TypeError, match="modules are wanted"):
            make()


def test_identity_takes_any_arguments():
    x = Tensor(np.ones(2))
    assert Identity(3, size=2)(x) is x


def test_parameters_in_a_list_and_under_names():
    """They are parameters of the module that holds them, under PyTorch's names."""
    one, two = Parameter(np.ones(2, np.float32)), Tensor(np.zeros(3, np.float32))

    class Net(Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = ParameterList([one, two])
            self.named = ParameterDict({"a": one, "b": two})

    net = Net()
    assert list(net.state_dict()) == ["rows.0", "rows.1", "named.a", "named.b"]
    assert net.rows[0] is one
    assert isinstance(net.rows[-1], Parameter)
    assert net.rows[1].requires_grad
    assert [len(p.data) for p in net.rows[1:]] == [3]
    net.rows.append(one)
    net.rows[1] = one
    assert [p is one for p in net.rows] == [True, True, True]
    assert len(net.rows) == 3
    del net.named["a"]
    assert "a" not in net.named
    assert list(net.named) == list(net.named.keys()) == ["b"]
    assert [name for name, _ in net.named.items()] == ["b"]
    assert len(list(net.named.values())) == len(net.named) == 1
    with pytest.raises(IndexError, match="index 3 is out of range, there are 3"):
        net.rows[3]
    for fill in (lambda: net.rows.append(1.0), lambda: net.named.update({"c": [1.0]})):
        with pytest.raises(TypeError, match="parameters are wanted"):
            fill()
    assert len(net.rows) == 3
    assert list(net.named) == ["b"]
