"""Convolutions: every backend against the page's NumPy, gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import firth
import network_checks as checks
from firth import _native
from firth.kernels._dispatch import active_level
from firth.nn.modules.convolution import Conv1d, Conv2d
from firth.nn.operations.convolution import Convolution, conv1d, conv2d
from firth.nn.tape import Tensor, manual_seed

# x, weight, options
CASES = [
    ((2, 1, 5, 5), (1, 1, 3, 3), {}),
    ((3, 3, 9, 7), (5, 3, 3, 2), {"padding": ((1, 1), (0, 1))}),
    ((2, 5, 14, 14), (33, 5, 3, 3), {"padding": ((1, 1), (1, 1))}),
    ((2, 40, 6, 5), (7, 40, 3, 3), {"padding": ((1, 1), (1, 1))}),  # two blocks along K
    ((2, 3, 11, 10), (4, 3, 3, 3), {"stride": (2, 3), "padding": ((1, 1), (2, 2))}),
    ((2, 2, 9, 8), (3, 2, 2, 1), {"stride": (3, 2)}),  # pixels that no tap sees
    ((2, 2, 12, 13), (3, 2, 3, 3), {"dilation": (2, 3), "padding": ((2, 2), (0, 0))}),
    ((1, 2, 12, 13), (3, 2, 3, 2), {"dilation": (3, 2), "stride": (2, 2)}),
    ((2, 6, 7, 7), (4, 3, 3, 3), {"groups": 2, "padding": ((1, 1), (1, 1))}),
    ((2, 5, 8, 8), (5, 1, 3, 3), {"groups": 5, "padding": ((1, 1), (1, 1))}),
    ((2, 5, 8, 8), (10, 1, 3, 3), {"groups": 5, "stride": (2, 2)}),
    ((2, 3, 1, 1), (4, 3, 3, 5), {"padding": ((3, 3), (4, 4))}),  # more zeros than pixels
    ((2, 70, 4, 4), (5, 70, 1, 1), {}),
    ((2, 3, 40, 61), (3, 3, 3, 3), {}),  # several bands
    ((0, 3, 6, 6), (4, 3, 3, 3), {}),
    ((5, 16, 7, 9), (17, 16, 3, 3), {"padding": ((1, 1), (1, 1))}),  # many channels on both sides
    ((1, 20, 60, 61), (16, 20, 3, 3), {}),
    ((3, 32, 8, 9), (34, 16, 3, 3), {"groups": 2, "padding": ((5, 4), (0, 3))}),
    ((2, 400, 3, 4), (16, 400, 3, 3), {"padding": ((1, 1), (1, 1))}),
    ((0, 16, 6, 6), (16, 16, 3, 3), {}),
    ((2, 3, 50), (4, 3, 5), {"padding": ((2, 2), (0, 0))}),
    ((2, 3, 51), (4, 3, 4), {"stride": (3, 1), "dilation": (2, 1), "padding": ((1, 3), (0, 0))}),
    ((1, 4, 3000), (4, 2, 3), {"groups": 2}),
]


def inputs(x: tuple, weight: tuple, dtype: type, bias: bool = True) -> list[np.ndarray | None]:
    rng = np.random.default_rng(len(x) + weight[0])
    return [
        rng.normal(size=x).astype(dtype),
        rng.normal(size=weight).astype(dtype),
        rng.normal(size=weight[0]).astype(dtype) if bias else None,
    ]


def assert_close(got, want, terms: int, dtype: type) -> None:
    # a sum of `terms` products of numbers of order 1: each rounding is eps of a partial sum
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(got, want, rtol=8 * eps, atol=8 * max(terms, 1) * eps)


def check(operation: Convolution, given: list[np.ndarray | None], dtype: type) -> None:
    outputs, gradients = checks.run(operation, given)
    wanted, wanted_gradients = checks.reference(operation, given)
    weight = given[1]
    taps = int(np.prod(weight.shape[2:]))
    pixels = wanted[0].size // weight.shape[0]
    assert_close(outputs[0], wanted[0], weight.shape[1] * taps, dtype)
    assert_close(gradients[0], wanted_gradients[0], weight.shape[0] * taps, dtype)
    assert_close(gradients[1], wanted_gradients[1], pixels, dtype)
    if given[2] is not None:
        assert_close(gradients[2], wanted_gradients[2], pixels, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution(backend, case, dtype):
    x, weight, options = case
    check(Convolution(**options), inputs(x, weight, dtype), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("case", [CASES[i] for i in (2, 4, 13, 15, 20)], ids=str)
def test_convolution_with_activation(backend, case, activation, dtype):
    x, weight, options = case
    given = inputs(x, weight, dtype)
    if activation == "relu":  # the sides of zero must be the same
        z = Convolution(**options).forward(*(a.astype(np.float64) for a in given), seed=0)[0][0]
        assert np.abs(z).min() > 1e-6
    check(Convolution(activation, **options), given, dtype)


@pytest.mark.parametrize("case", [case for case in CASES if case[0][0]], ids=str)
def test_gradients_of_convolution(case):
    x, weight, options = case
    checks.check_gradients(Convolution(**options), inputs(x, weight, np.float64))
    checks.check_gradients(Convolution("tanh", **options), inputs(x, weight, np.float64, False))


def test_the_course_s_example(backend):
    image = np.array(
        [[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]]
    )
    kernel = np.array([[0, 1, 2], [2, 2, 0], [0, 1, 2]])
    with pytest.raises(TypeError, match="float32 or float64, got whole numbers"):
        conv2d(Tensor(image[None, None]), Tensor(kernel[None, None]))
    made = conv2d(*(Tensor(x[None, None].astype(np.float32)) for x in (image, kernel)))
    np.testing.assert_array_equal(made.data[0, 0], [[12, 12, 17], [10, 17, 19], [9, 6, 14]])


def test_gradients_are_added_to_what_is_there(backend):
    x, weight, bias = (
        Tensor(a, requires_grad=True) for a in inputs((2, 3, 9, 9), (4, 3, 3, 3), np.float64)
    )
    for stride in (1, 2):
        seen = []
        for _ in range(2):
            made = conv2d(x, weight, bias, stride=stride)
            made.backward(np.ones(made.shape))
            seen.append([t.grad.copy() for t in (x, weight, bias)])
        for once, twice, t in zip(*seen, (x, weight, bias), strict=True):
            np.testing.assert_allclose(twice, 2 * once, rtol=1e-12, atol=1e-12)
            t.grad = None


@pytest.mark.parametrize("case", [CASES[i] for i in (2, 4, 8, 9, 13, 15, 16, 17)], ids=str)
def test_same_bits_on_any_number_of_threads(case):
    x, weight, options = case
    given = inputs((32, *x[1:]), weight, np.float32)
    before = _native.num_threads()
    try:
        made = []
        for threads in (1, 2, 3):
            firth.set_num_threads(threads)
            outputs, gradients = checks.run(Convolution("relu", **options), given)
            made.append([*outputs, *gradients])
    finally:
        firth.set_num_threads(before)
    for others in made[1:]:
        for a, b in zip(made[0], others, strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_image_has_the_same_bits_in_any_batch(backend):
    x, weight, bias = inputs((9, 3, 40, 61), (5, 3, 3, 3), np.float32)
    many = conv2d(Tensor(x), Tensor(weight), Tensor(bias), padding=1).data
    one = conv2d(Tensor(x[4:5]), Tensor(weight), Tensor(bias), padding=1).data
    if backend.startswith("native"):
        np.testing.assert_array_equal(many[4:5], one)
    else:
        np.testing.assert_allclose(many[4:5], one, rtol=1e-5, atol=1e-4)


def test_padding_by_name():
    x = Tensor(np.random.default_rng(0).normal(size=(1, 2, 8, 7)))
    weight = Tensor(np.ones((3, 2, 4, 3)))
    same = conv2d(x, weight, padding="same")
    assert same.shape == (1, 3, 8, 7)
    wide = np.pad(x.data, ((0, 0), (0, 0), (1, 2), (1, 1)))
    np.testing.assert_allclose(same.data, conv2d(Tensor(wide), weight).data, rtol=1e-12)
    assert conv2d(x, weight, padding="valid").shape == (1, 3, 5, 5)
    assert conv1d(Tensor(np.ones((1, 2, 9))), Tensor(np.ones((3, 2, 4))), padding="same").shape == (
        1, 3, 9,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": (3, 2)}, "conv2d: weight must have 4 axes, got shape"),
        ({"x": (2, 8, 8)}, "conv2d: input must have 4 axes, got shape"),
        ({"x": (1, 3, 8, 8)}, r"conv2d: input must have 2 channels \(weight's second axis"),
        ({"x": (1, 4, 8, 8), "groups": 2}, "conv2d: weight's first axis must be a multiple of"),
        ({"bias": (4,)}, r"conv2d: bias must have shape \(3,\), got \(4,\)"),
        ({"x": (1, 2, 2, 8)}, r"conv2d: the kernel \(3, 3\) with its dilation is larger"),
        ({"x": (1, 2, 0, 8), "padding": 3}, "conv2d: only the batch may be empty"),
        ({"stride": 0}, "conv2d: stride must be at least 1"),
        ({"stride": (1, 2, 3)}, "conv2d: stride must be an integer or 2 of them"),
        ({"padding": -1}, "conv2d: padding must be at least 0"),
        ({"padding": "full"}, "conv2d: padding must be integers, 'valid' or 'same', got 'full'"),
        ({"padding": "same", "stride": 2}, "conv2d: padding 'same' needs stride 1"),
        ({"dilation": 0}, "conv2d: dilation must be at least 1"),
        ({"groups": 0}, "conv2d: groups must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    x = Tensor(np.ones(arguments.pop("x", (1, 2, 8, 8))))
    weight = Tensor(np.ones(arguments.pop("weight", (3, 2, 3, 3))))
    bias = Tensor(np.ones(arguments.pop("bias"))) if "bias" in arguments else None
    with pytest.raises(ValueError, match=message):
        conv2d(x, weight, bias, **arguments)


def test_numbers_that_are_no_integers_are_refused():
    x, weight = Tensor(np.ones((1, 2, 8))), Tensor(np.ones((3, 2, 3)))
    with pytest.raises(TypeError, match=r"conv1d: stride must be an integer, got 1\.5"):
        conv1d(x, weight, stride=1.5)  # type: ignore[arg-type]


def test_modules(backend):
    manual_seed(0)
    layer = Conv2d(4, 6, (3, 2), stride=2, padding=1, dilation=(1, 2), groups=2)
    assert {name: a.shape for name, a in layer.state_dict().items()} == {
        "weight": (6, 2, 3, 2),
        "bias": (6,),
    }
    bound = 1 / np.sqrt(2 * 3 * 2)
    assert bound * 0.8 < np.abs(layer.weight.data).max() < bound
    x = Tensor(np.random.default_rng(0).normal(size=(2, 4, 9, 8)).astype(np.float32))
    wanted = Convolution("none", 0.0, (2, 2), ((1, 1), (1, 1)), (1, 2), 2).forward(
        x.data, layer.weight.data, layer.bias.data, seed=0
    )[0][0]
    np.testing.assert_allclose(layer(x).data, wanted, rtol=1e-5, atol=1e-5)
    assert repr(layer) == (
        "Conv2d(4, 6, kernel_size=(3, 2), stride=(2, 2), padding=(1, 1), dilation=(1, 2), groups=2)"
    )
    row = Conv1d(4, 3, 3, padding="same", bias=False)
    assert row(Tensor(np.ones((2, 4, 10), np.float32))).shape == (2, 3, 10)
    assert repr(row) == "Conv1d(4, 3, kernel_size=(3,), stride=(1,), padding='same', bias=False)"


def test_modules_refuse():
    with pytest.raises(ValueError, match="Conv2d: padding_mode must be 'zeros', got 'reflect'"):
        Conv2d(1, 1, 3, padding_mode="reflect")
    with pytest.raises(ValueError, match="Conv1d: in_channels must be a multiple of groups, 2"):
        Conv1d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="Conv2d: padding 'same' needs stride 1"):
        Conv2d(1, 1, 3, padding="same", stride=2)
    with pytest.raises(ValueError, match="Conv2d: out_channels must be at least 1"):
        Conv2d(1, 0, 3)
    with pytest.raises(ValueError, match="Conv1d: kernel_size must be an integer or 1 of them"):
        Conv1d(1, 1, (3, 3))


GOOD = (0.0, 0.0, 1, 1, 1, 1, 1, 1, 1, 1, 1)  # options of padding 1


class TestNative:
    """What keeps memory safe: calls that do not fit are refused."""

    def forward(self, options=GOOD, x=(2, 3, 5, 5), weight=(4, 3, 3, 3), bias=(4,), y=None, **more):
        arrays = {"x": x, "weight": weight, "bias": bias, "y": y or (2, 4, 5, 5)}
        made = {name: np.ones(a) if isinstance(a, tuple) else a for name, a in arrays.items()}
        _native.nn.forward(
            active_level(), "convolution", options,
            [made["x"], made["weight"], made["bias"]], [made["y"]], more.get("saved", []),
            f64=True,
        )  # fmt: skip

    def test_good(self):
        self.forward()

    @pytest.mark.parametrize(
        "arguments",
        [
            {"options": GOOD[:-1]},
            {"options": (99.0, *GOOD[1:])},
            {"options": (2.0, *GOOD[1:])},  # gelu keeps z
            *({"options": (*GOOD[:i], bad, *GOOD[i + 1 :])} for i in range(2, 11)
              for bad in (-1.0, 0.5, 2.0**31, float("nan"))),
            *({"options": (*GOOD[:i], 0.0, *GOOD[i + 1 :])} for i in (2, 3, 8, 9, 10)),
            {"x": (2, 3, 5)}, {"x": (2, 2, 5, 5)}, {"x": (2, 3, 6, 5)}, {"x": (1, 3, 5, 5)},
            {"x": (2, 3, 0, 5)}, {"x": None}, {"x": np.ones((2, 3, 5, 5), np.int64)},
            {"weight": (4, 3, 3)}, {"weight": (5, 3, 3, 3)}, {"weight": (4, 3, 3, 2)},
            {"weight": (4, 3, 9, 3)}, {"weight": None}, {"bias": (5,)}, {"bias": (4, 1)},
            {"y": (2, 4, 5, 4)}, {"y": (2, 4, 5)}, {"y": (2, 5, 5, 5)},
            {"saved": [np.ones((2, 4, 5, 5))]},
            {"options": (*GOOD[:-1], 2.0)},
        ],
        ids=str,
    )  # fmt: skip
    def test_bad(self, arguments):
        with pytest.raises(ValueError, match="do not fit convolution"):
            self.forward(**arguments)

    @pytest.mark.parametrize(
        "missing", ["dy", "y", "weight for dx", "x for dweight", "gradient of no bias"]
    )
    def test_backward_reads_what_is_there(self, missing):
        x, weight, bias, y = (np.ones(s) for s in ((2, 3, 5, 5), (4, 3, 3, 3), 4, (2, 4, 5, 5)))
        with pytest.raises(ValueError, match="do not"):
            _native.nn.backward(
                active_level(), "convolution", (1.0, *GOOD[1:]),
                [x.shape if missing.startswith("x") else x,
                 weight.shape if missing.startswith("weight") else weight,
                 None if missing.startswith("gradient") else bias],
                [y.shape if missing == "y" else y], [],
                [None if missing == "dy" else np.ones(y.shape)],
                [np.empty(x.shape), np.empty(weight.shape), np.empty(4)], add=0, f64=True,
            )  # fmt: skip
