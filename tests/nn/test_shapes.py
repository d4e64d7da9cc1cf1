"""Reshape, permute, slices, concatenation: every backend against NumPy, and their gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import network_checks as checks
from firth import _native
from firth.kernels import _dispatch
from firth.nn.modules.shapes import Flatten
from firth.nn.operations import shapes
from firth.nn.operations.shapes import Concatenate, Permute, Reshape, Slice
from firth.nn.tape import Operation, Tensor

TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def check(operation: Operation, given: list[np.ndarray]) -> None:
    """Elements are moved, so results are equal; sums of two moves in the gradients too."""
    outputs, gradients = checks.run(operation, given)
    wanted, wanted_gradients = checks.reference(operation, given)
    np.testing.assert_array_equal(outputs[0], wanted[0])
    assert outputs[0].shape == wanted[0].shape
    assert outputs[0].flags.c_contiguous
    for got, want in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_array_equal(got, want)
    # adding to what is there: a second walk doubles
    tensors = [Tensor(x, requires_grad=True) for x in given]
    for _ in range(2):
        made = shapes.apply(operation, *tensors)
        made.backward(checks.output_gradients([made.data])[0])
    for tensor, want in zip(tensors, wanted_gradients, strict=True):
        np.testing.assert_array_equal(tensor.grad, 2 * want)


def numbered(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


@TYPES
def test_reshape(backend, dtype):
    for old, new in [((6, 4), (3, 8)), ((5,), (1, 5, 1)), ((1,), ()), ((0, 3), (3, 0)), ((), (1,))]:
        check(Reshape(new), [numbered(*old, dtype=dtype)])
    check(Reshape((300, 100)), [numbered(100, 300, dtype=dtype)])


@TYPES
@pytest.mark.parametrize("axes", range(1, 6))
def test_every_permutation(backend, axes, dtype):
    shape = (3, 1, 5, 2, 4)[:axes]
    for order in itertools.permutations(range(axes)):
        check(Permute(order), [numbered(*shape, dtype=dtype)])


@TYPES
@pytest.mark.parametrize("shape", [(17, 33), (64, 64), (130, 200), (1, 7), (0, 3), (257, 16)])
def test_transposes(backend, shape, dtype):
    check(Permute((1, 0)), [numbered(*shape, dtype=dtype)])
    check(Permute((0, 2, 1)), [numbered(3, *shape, dtype=dtype)])


def test_permutations_of_heads(backend):
    x = numbered(2, 33, 4, 16)
    check(Permute((0, 2, 1, 3)), [x])
    check(Permute((0, 2, 3, 1)), [x])
    check(Permute((3, 1, 2, 0)), [x])


INDICES = [
    0, -1, slice(None), slice(1, None), slice(None, None, 2), slice(5, 2), slice(-3, -1),
    slice(1, 100, 3), (slice(None), 2), (0, 1), (slice(1, 3), slice(0, 5, 2)), (Ellipsis, 1),
    (1, Ellipsis, slice(2, 4)), (slice(None), None), (None, Ellipsis, None), (Ellipsis,),
    (slice(None), slice(None), slice(None, None, 2)), (2, 3, 1), (slice(0, 0), 1),
    (slice(3, None, 1 << 40), 0),
]  # fmt: skip


@TYPES
@pytest.mark.parametrize("where", INDICES, ids=str)
def test_index(backend, where, dtype):
    x = numbered(4, 5, 6, dtype=dtype)
    tensor = Tensor(x, requires_grad=True)
    got = tensor[where]
    np.testing.assert_array_equal(got.data, x[where])
    assert got.shape == x[where].shape
    gradient = numbered(*got.shape, dtype=dtype) + 1
    got.backward(gradient)
    wanted = np.zeros_like(x)
    wanted[where] = gradient
    np.testing.assert_array_equal(tensor.grad, wanted)
    tensor[where].backward(gradient)
    np.testing.assert_array_equal(tensor.grad, 2 * wanted)


@TYPES
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_cat(backend, axis, dtype):
    parts = []
    for n in (1, 4, 0, 3):
        shape = [2, 3, 5]
        shape[axis] = n
        parts.append(numbered(*shape, dtype=dtype) + 100 * n)
    check(Concatenate(axis % 3), parts)
    got = shapes.cat([Tensor(x) for x in parts], axis)
    np.testing.assert_array_equal(got.data, np.concatenate(parts, axis))


@TYPES
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_stack(backend, axis, dtype):
    parts = [numbered(2, 3, dtype=dtype) + 100 * n for n in range(3)]
    check(Concatenate(axis % 3, new=True), parts)
    got = shapes.stack([Tensor(x) for x in parts], axis)
    np.testing.assert_array_equal(got.data, np.stack(parts, axis))


def test_more_tensors_than_the_native_code_takes_at_once(backend):
    parts = [Tensor(np.full((2, 3), float(i)), requires_grad=True) for i in range(150)]
    for function, numpy_s in ((shapes.cat, np.concatenate), (shapes.stack, np.stack)):
        made = function(parts, 1)
        np.testing.assert_array_equal(made.data, numpy_s([x.data for x in parts], 1))
        made.backward(numbered(*made.shape, dtype=np.float64))
    assert parts[149].grad.shape == (2, 3)
    one = numbered(2, 450, dtype=np.float64)[:, 447:]
    two = numbered(2, 150, 3, dtype=np.float64)[:, 149]
    np.testing.assert_array_equal(parts[149].grad, one + two)


def test_functions_as_in_pytorch(backend):
    x = Tensor(numbered(2, 1, 6))
    assert x.reshape(3, -1).shape == x.view((3, 4)).shape == (3, 4)
    assert x.reshape([-1]).shape == x.flatten().shape == (12,)
    assert x.flatten(1).shape == (2, 6)
    assert x.flatten(0, 1).shape == (2, 6)
    assert Tensor(3.0).flatten().shape == (1,)
    assert x.squeeze().shape == x.squeeze(1).shape == (2, 6)
    assert x.squeeze(0).shape == (2, 1, 6)
    assert x.unsqueeze(0).shape == (1, 2, 1, 6)
    assert x.unsqueeze(-1).shape == (2, 1, 6, 1)
    assert x.transpose(0, -1).shape == x.permute(2, 1, 0).shape == x.permute((2, 1, 0)).shape
    assert [y.shape for y in x.split(4, -1)] == [(2, 1, 4), (2, 1, 2)]
    assert [y.shape for y in x.split([1, 0, 5], 2)] == [(2, 1, 1), (2, 1, 0), (2, 1, 5)]
    assert [y.shape[-1] for y in x.chunk(4, -1)] == [2, 2, 2]
    np.testing.assert_array_equal(x.chunk(3, -1)[1].data, x.data[..., 2:4])


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        (Reshape((6, 2)), [(3, 4)]),
        (Permute((2, 0, 1)), [(3, 4, 2)]),
        (Slice((1, 0), (2, 1), (2, 3), (2, 3)), [(4, 3)]),
        (Concatenate(1), [(2, 3), (2, 1)]),
        (Concatenate(0, new=True), [(2, 3), (2, 3)]),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_gradients(operation, given):
    rng = np.random.default_rng(0)
    checks.check_gradients(operation, [rng.normal(size=shape) for shape in given])


def test_real_and_whole_numbers_are_not_joined():
    x, whole = Tensor([1.0, 2.0]), Tensor([1, 2])
    for function in (shapes.cat, shapes.stack):
        for mixed in ([x, whole], [whole == 1, x]):
            with pytest.raises(TypeError, match=f"{function.__name__}: tensors must have one dty"):
                function(mixed)


def test_bad_arguments_are_refused():
    x = Tensor(np.ones((2, 3)))
    cases = [
        (lambda: x.reshape(4), ValueError, r"reshape: shape \(2, 3\) cannot become \(4,\)"),
        (lambda: x.reshape(-1, -1), ValueError, "reshape: shape"),
        (lambda: x.reshape(-1, 4), ValueError, "reshape: shape"),
        (lambda: x.reshape(1, 1, 1, 1, 2, 3), ValueError, "reshape: shape may have 5 axes"),
        (lambda: x.permute(0), ValueError, "permute: dims must be the 2 axes in some order"),
        (lambda: x.permute(0, 0), ValueError, "permute: dims must be the 2 axes"),
        (lambda: x.transpose(0, 2), ValueError, "transpose: dim1 must be an axis of 2, got 2"),
        (lambda: x.flatten(1, 0), ValueError, "flatten: start_dim 1 is behind end_dim 0"),
        (lambda: x.unsqueeze(4), ValueError, "unsqueeze: dim must be an axis"),
        (lambda: x[2], IndexError, "index: 2 is out of range of axis 0, which has 2"),
        (lambda: x[0, 0, 0], IndexError, "index: 3 indices for 2 axes"),
        (lambda: x[..., ...], IndexError, "index: ... may stand once"),
        (lambda: x[::-1], ValueError, "index: steps must be positive, got -1"),
        (lambda: x[Tensor([0.0, 1.0])], TypeError, "index: tensors must hold whole numbers or be"),
        (lambda: x[[0, 2]], IndexError, "index 2 is out of bounds"),
        (lambda: x.expand(2, 4), ValueError, r"expand: shape \(2, 3\) cannot become \(2, 4\)"),
        (lambda: x.expand(3), ValueError, "expand: shape"),
        (lambda: x.reshape(1, 2, 3).T, ValueError, "T: want a matrix"),
        (lambda: x[True], TypeError, "index: want integers"),
        (lambda: x["a"], TypeError, "index: want integers"),
        (lambda: shapes.cat([]), ValueError, "cat: tensors must not be empty"),
        (lambda: shapes.cat([x, Tensor(np.ones((2, 4)))]), ValueError, "one shape but for axis 0"),
        (lambda: shapes.cat([x, Tensor(np.ones(3))]), ValueError, "cat: tensors must have one"),
        (lambda: shapes.stack([x, Tensor(np.ones((3, 3)))]), ValueError, "stack: tensors must"),
        (lambda: shapes.stack([x], 3), ValueError, "stack: dim must be an axis of 3"),
        (lambda: x.split(0), ValueError, "split: split_size_or_sections must be positive"),
        (lambda: x.split([1, 2]), ValueError, "split: sections must add up to 2"),
        (lambda: x.chunk(0), ValueError, "chunk: chunks must be positive"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()


X = np.ones((2, 3), np.float32)
ROW = np.ones(3, np.float32)
BAD_CALLS = [
    ("reshape", (), [X], [np.ones(5, np.float32)]),
    ("reshape", (1,), [X], [X]),
    ("reshape", (), [X.astype(np.uint8)], [X]),
    ("reshape", (), [X], [X.astype(np.int64)]),
    ("reshape", (), [None], [X]),
    ("reshape", (), [(2, 3)], [X]),
    ("permute", (0,), [X], [X]),
    ("permute", (0, 0), [X], [X]),
    ("permute", (1, 0), [X], [X]),
    ("permute", (0, 2), [X], [X]),
    ("permute", (0, -1), [X], [X]),
    ("permute", (0, 0.5), [X], [X]),
    ("permute", (0, 1, 2), [X], [X]),
    ("slice", (0, 1, 1), [X], [ROW]),
    ("slice", (2, 1, 1, 0, 1, 3), [X], [ROW]),
    ("slice", (0, 1, 1, 1, 1, 3), [X], [ROW]),
    ("slice", (0, 1, 1, 0, 2, 3), [X], [ROW]),
    ("slice", (0, 1, 1, 0, 0, 3), [X], [ROW]),
    ("slice", (0, 1, 1, -1, 1, 3), [X], [ROW]),
    ("slice", (0, 1, 1, 0, 2.0**61, 3), [X], [ROW]),
    ("slice", (0, 1, 1, 0, 1, 2), [X], [ROW]),
    ("slice", (0, 1, 1, 0, 1, float("nan")), [X], [ROW]),
    ("concatenate", (0,), [], [X]),
    ("concatenate", (0,), [X], [np.ones((4, 3), np.float32)]),
    ("concatenate", (1,), [X, np.ones((3, 1), np.float32)], [np.ones((2, 4), np.float32)]),
    ("concatenate", (2,), [X], [X]),
    ("concatenate", (0,), [None], [X]),
    ("concatenate", (0,), [(2, 3)], [X]),
    ("concatenate", (0,), [X.astype(np.int64)], [X]),
    ("concatenate", (), [X], [X]),
]


@pytest.mark.parametrize("call", BAD_CALLS)
def test_the_native_code_refuses_what_does_not_fit(call):
    name, options, inputs, outputs = call
    outputs = [x.copy() for x in outputs]
    with pytest.raises(ValueError, match="do not fit"):
        _native.nn.forward(_dispatch.levels["base"], name, options, inputs, outputs, [], f64=False)


def test_flatten_module():
    x = Tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
    assert Flatten()(x).shape == (2, 12)
    made = Flatten(0, 1)(x)
    np.testing.assert_array_equal(made.data, x.data.reshape(6, 4))
    made.backward(made.data)
    np.testing.assert_array_equal(x.grad, x.data)
    assert repr(Flatten()) == "Flatten(start_dim=1, end_dim=-1)"
    with pytest.raises(ValueError, match="flatten: start_dim must be an axis of 3, got 3"):
        Flatten(3)(x)
