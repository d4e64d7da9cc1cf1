"""Optimizers: every backend against the page's NumPy in float64, states, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import firth
from firth import _native, optim
from firth.kernels import _dispatch
from firth.nn.module import Parameter
from firth.nn.operations.linear import linear
from firth.nn.tape import Tensor
from firth.nn.updates import ClipGradNorm, update
from firth.nn.utils import clip_grad_norm_

SHAPES = [(3, 5), (7,), (), (0,), (130, 33)]
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "betas": (0.3, 0.9), "eps": 1e-3}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "centered": True, "alpha": 0.4}),
]
IDS = [f"{name}-{'-'.join(settings)}" for name, settings in SETTINGS]


def values(dtype: Any, shapes: list[tuple[int, ...]] = SHAPES) -> list[Parameter]:
    rng = np.random.default_rng(1)
    return [Parameter(rng.normal(size=shape).astype(dtype)) for shape in shapes]


def train(parameters: list[Parameter], name: str, steps: int = 5, **settings: Any) -> Any:
    """Steps with gradients that are the same numbers for every dtype."""
    rng = np.random.default_rng(2)
    optimizer = getattr(optim, name)(parameters, **settings)
    for _ in range(steps):
        for p in parameters:
            p.grad = np.asarray(rng.normal(size=p.shape).astype(np.float32).astype(p.dtype))
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=IDS)
def test_steps_are_those_of_the_page(backend, name, settings, dtype):
    wanted = values(dtype)
    for p in wanted:
        p.data = p.data.astype(np.float64)
    with firth.kernels.use("numpy"):
        reference = train(wanted, name, **settings)
    parameters = values(dtype)
    optimizer = train(parameters, name, **settings)
    eps = np.finfo(dtype).eps
    for p, w in zip(parameters, wanted, strict=True):
        # five steps of some roundings each, of numbers of order 1 to 10; the root of a centered
        # square loses digits where mean^2 is near it
        np.testing.assert_allclose(p.data, w.data, rtol=50 * eps, atol=50 * eps)
        for key, state in optimizer.state[p].items():
            np.testing.assert_allclose(
                state, reference.state[w][key], rtol=50 * eps, atol=50 * eps, err_msg=key
            )


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adagrad", "RMSprop"])
def test_threads_do_not_change_bits(name):
    found = []
    before = _native.num_threads()
    try:
        for threads in (1, 2):
            firth.set_num_threads(threads)
            parameters = values(np.float32, [(300, 301), (5,), (257, 1000)])
            optimizer = train(parameters, name, 2, lr=0.1)
            optimizer.step(clip_norm=0.5)
            found.append([p.data for p in parameters])
    finally:
        firth.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_without_gradient_and_frozen_ones_are_skipped(backend):
    parameters = values(np.float64)
    before = [p.data.copy() for p in parameters]
    optimizer = optim.Adam(parameters, lr=0.1)
    parameters[0].grad = np.ones((3, 5))
    parameters[1].grad = np.ones(7)
    parameters[1].requires_grad = False
    optimizer.step()
    assert (parameters[0].data != before[0]).all()
    for p, old in list(zip(parameters, before, strict=True))[1:]:
        np.testing.assert_array_equal(p.data, old)
    assert list(optimizer.state) == [parameters[0]]
    # the second step of one is the first of another: each has its own number
    parameters[4].grad = np.ones((130, 33))
    optimizer.step()
    # Adam's first steps are lr times the gradient's sign
    np.testing.assert_allclose(before[4] - parameters[4].data, 0.1, rtol=1e-7)
    assert optimizer.state[parameters[0]]["step"] == 2
    assert optimizer.state[parameters[4]]["step"] == 1


def test_parameters_of_both_dtypes_in_one_group(backend):
    parameters = [Parameter(np.ones(3, np.float32)), Parameter(np.ones(4))]
    optimizer = optim.SGD(parameters, lr=0.5)
    for p in parameters:
        p.grad = np.ones_like(p.data)
    optimizer.step(clip_norm=1.0)
    for p in parameters:
        np.testing.assert_allclose(p.data, 1 - 0.5 / np.sqrt(7), rtol=1e-6)


def test_clipping_while_stepping_is_clipping_before(backend):
    found = []
    for both in (False, True):
        parameters = values(np.float32)
        rng = np.random.default_rng(3)
        for p in parameters:
            p.grad = np.asarray(rng.normal(size=p.shape).astype(np.float32))
        optimizer = optim.SGD(parameters, lr=0.1, momentum=0.9)
        if both:
            optimizer.step(clip_norm=0.25)
        else:
            norm = clip_grad_norm_(parameters, 0.25)
            all_of = np.concatenate([p.grad.ravel() for p in parameters])
            assert norm > 10
            assert np.linalg.norm(all_of.astype(np.float64)) == pytest.approx(0.25, rel=1e-6)
            optimizer.step()
        found.append([p.data for p in parameters])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_norm_of_gradients(backend):
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        gradients = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
        out = np.empty(2)
        update(ClipGradNorm(3.0), [gradients[0], None, *gradients[1:]], [out])
        wanted = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients))
        np.testing.assert_allclose(out, [wanted, 3 / (wanted + 1e-6)], rtol=1e-13)
        update(ClipGradNorm(1e9), gradients, [out])
        assert out[1] == 1
        gradients[4][3, 3] = np.nan
        update(ClipGradNorm(3.0), gradients, [out])
        assert np.isnan(out).all()


def test_training_goes_on_from_a_state_to_the_same_bits():
    for name, settings in SETTINGS:
        whole = values(np.float32)
        train(whole, name, 5, **settings)
        halves = values(np.float32)
        rng = np.random.default_rng(2)
        optimizer = getattr(optim, name)(halves, **settings)
        for step in range(5):
            if step == 2:
                state = optimizer.state_dict()
                optimizer = getattr(optim, name)(halves, lr=5.0)
                if "momentum" not in settings:
                    with pytest.raises(ValueError, match="must have"):
                        optimizer.load_state_dict({**state, "param_groups": [{"params": [0]}]})
                optimizer.load_state_dict(state)
            for p in halves:
                p.grad = np.asarray(rng.normal(size=p.shape).astype(np.float32))
            optimizer.step()
        for a, b in zip(whole, halves, strict=True):
            np.testing.assert_array_equal(a.data, b.data)


def test_groups_have_settings_of_their_own():
    a, b = Parameter(np.ones(2)), Parameter(np.ones(2))
    optimizer = optim.SGD([{"params": a, "lr": 0.5}, {"params": [b]}], lr=0.1)
    a.grad, b.grad = np.ones(2), np.ones(2)
    optimizer.step()
    np.testing.assert_allclose([a.data[0], b.data[0]], [0.5, 0.9])
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    np.testing.assert_allclose([a.data[0], b.data[0]], [0.25, 0.8])
    optimizer.zero_grad()
    assert a.grad is None
    b.grad = np.ones(2)
    optimizer.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(b.grad, 0)
    assert "lr=0.25" in repr(optimizer)
    assert optimizer.step(lambda: 7) == 7


def test_bad_arguments_are_refused():
    p = Parameter(np.ones(2))
    with pytest.raises(ValueError, match="SGD: params are empty"):
        optim.SGD([])
    with pytest.raises(ValueError, match="parameter 1 of a group is there twice"):
        optim.SGD([p, p])
    with pytest.raises(ValueError, match="parameter 0 of a group is there twice"):
        optim.SGD([{"params": [p]}, {"params": [p]}])
    with pytest.raises(TypeError, match="params must be tensors, got ndarray at 0"):
        optim.SGD([np.ones(2)])
    with pytest.raises(TypeError, match="params must be an iterable"):
        optim.SGD(p)
    with pytest.raises(ValueError, match=r"SGD: lr must be a number from 0 to 1e\+30, got -1"):
        optim.SGD([p], lr=-1)
    with pytest.raises(ValueError, match="nesterov needs momentum"):
        optim.SGD([p], nesterov=True)
    with pytest.raises(ValueError, match="betas must be two numbers"):
        optim.Adam([p], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="Adam: amsgrad is not supported"):
        optim.Adam([p], amsgrad=True)
    with pytest.raises(ValueError, match="AdamW: fused is not supported"):
        optim.AdamW([p], fused=True)
    assert optim.AdamW([p], foreach=None, maximize=False).param_groups[0]["weight_decay"] == 1e-2
    with pytest.raises(TypeError, match="SGD: unknown argument speed"):
        optim.SGD([p], speed=3)
    with pytest.raises(TypeError, match=r"SGD: unknown settings \['betas'\]"):
        optim.SGD([{"params": [p], "betas": (0, 0)}])
    made = linear(Tensor(np.ones((1, 2))), Parameter(np.ones((1, 2))))
    with pytest.raises(ValueError, match="was made by an operation"):
        optim.SGD([made])


def test_gradients_that_do_not_fit_change_nothing():
    parameters = [Parameter(np.ones(2)), Parameter(np.ones(3))]
    optimizer = optim.Adam(parameters)
    for p in parameters:
        p.grad = np.ones(2)
    with pytest.raises(ValueError, match=r"gradient of parameter 1 must have shape \(3,\)"):
        optimizer.step()
    parameters[1].grad = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="and float64, has"):
        optimizer.step()
    parameters[1].grad = np.ones(3)
    parameters[1].data.flags.writeable = False
    with pytest.raises(ValueError, match="parameter 1 is read-only"):
        optimizer.step()
    parameters[1].data.flags.writeable = True
    np.testing.assert_array_equal(parameters[0].data, 1)
    optimizer.step()
    parameters[1].data, parameters[1].grad = np.ones(3, np.float32), np.ones(3, np.float32)
    with pytest.raises(ValueError, match="has changed its shape or dtype"):
        optimizer.step()


def test_states_that_do_not_fit_are_refused():
    p = Parameter(np.ones(2))
    optimizer = optim.Adam([p])
    p.grad = np.ones(2)
    optimizer.step()
    good = optimizer.state_dict()
    group = good["param_groups"][0]
    for state, message in (
        ({"exp_avg": np.ones(3)}, "exp_avg of parameter 0 must have shape"),
        ({"sum": np.ones(2)}, r"unknown states \['sum'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict({**good, "state": {0: state}})
    with pytest.raises(ValueError, match="amsgrad is not supported"):
        optimizer.load_state_dict({**good, "param_groups": [{**group, "amsgrad": True}]})
    with pytest.raises(KeyError):
        optimizer.load_state_dict({"state": {}})
    assert optimizer.state[p]["step"] == 1


def call(name: str, inputs: Any, options: Any, outputs: Any = (), *, f64: bool = False) -> None:
    _native.nn.forward(_dispatch.active_level(), name, options, inputs, outputs, (), f64=f64)


ROWS = {
    "sgd": (1, [1.0, 0.0, 0.0, 0.0]),
    "adam": (2, [0.9, 1e-8, 0.0, 0.0]),
    "adagrad": (1, [0.0, 1e-8, 0.0]),
    "rmsprop": (3, [0.9, 1e-8, 0.0, 1.0, 1.0]),
}


@pytest.mark.parametrize("name", ROWS)
def test_native_code_refuses_what_does_not_fit(name):
    states, options = ROWS[name]

    def arrays() -> list[Any]:
        return [np.ones(5, np.float32) for _ in range(2 + states)]

    numbers, factor = np.array([0.1, 0.9, 1.0]), np.ones(2)
    call(name, [numbers, factor, *arrays()], options)
    call(name, [numbers, None, *arrays()], options)
    call(name, [numbers, None, None, None, *arrays()[2:]], options)
    wide = [x.astype(np.float64) for x in arrays()]
    call(name, [numbers, factor, *wide], options, f64=True)
    short, indices = np.ones(4, np.float32), np.ones(5, np.int64)
    bad: list[tuple[list[Any], list[float]]] = [
        ([numbers, factor, *arrays()], options[:-1]),
        ([numbers, factor, *arrays()[:-1]], options),
        ([numbers[:2].copy(), factor, *arrays()], options),
        ([numbers.astype(np.float32), factor, *arrays()], options),
        ([None, factor, *arrays()], options),
        ([(3,), factor, *arrays()], options),
        ([numbers, np.ones(3), *arrays()], options),
        ([numbers, np.ones(1, np.float32), *arrays()], options),
        ([numbers, (1,), *arrays()], options),
        ([], options),
    ]
    for i in range(2 + states):
        for wrong in (short, indices, (5,), None):
            if i == 1 and wrong is None:
                continue  # a parameter without gradient
            given = arrays()
            given[i] = wrong
            bad.append(([numbers, factor, *given], options))
    for inputs, numbers_of in bad:
        with pytest.raises(ValueError, match=f"do not fit {name}"):
            call(name, inputs, numbers_of)
    with pytest.raises(ValueError, match=f"do not fit {name}"):
        call(name, [numbers, factor, *arrays()], options, [np.ones(2)])
    locked = arrays()
    locked[0].flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        call(name, [numbers, factor, *locked], options)


def test_native_norm_refuses_what_does_not_fit():
    g, out = np.ones(5, np.float32), np.empty(2)
    call("clip_grad_norm", [g, None, g], [1.0], [out])
    assert out[0] == np.sqrt(10)
    for inputs, options, outputs in (
        ([g], [], [out]),
        ([g], [1.0], []),
        ([g], [1.0], [np.empty(3)]),
        ([g], [1.0], [np.empty(2, np.float32)]),
        ([g], [1.0], [(2,)]),
        ([(5,)], [1.0], [out]),
        ([np.ones(5, np.int64)], [1.0], [out]),
    ):
        with pytest.raises(ValueError, match="do not fit clip_grad_norm"):
            call("clip_grad_norm", inputs, options, outputs)
