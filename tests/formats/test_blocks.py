"""The blocks of GGUF: values by hand, round trips, errors. Against gguf-py: test_gguf_peers."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from firth.formats.blocks import TYPES, BlockArray, BlockType, block_type, dequantize, quantize

BLOCKS = {  # name: number of ggml, weights a block, bytes a block
    "F32": (0, 1, 4), "F16": (1, 1, 2), "BF16": (30, 1, 2), "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34),
    "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176),
    "Q6_K": (14, 256, 210), "IQ4_NL": (20, 32, 18), "IQ4_XS": (23, 256, 136),
}  # fmt: skip
# Steps from the smallest to the largest weight, or from zero to the largest magnitude.
STEPS = {"Q4_0": 8, "Q4_1": 15, "Q5_0": 16, "Q5_1": 31, "Q8_0": 127}


def halves(*values: float) -> list[int]:
    return list(np.array(values, "<f2").tobytes())


def test_types() -> None:
    assert {one.name: one[1:] for one in TYPES.values()} == BLOCKS
    for number, one in TYPES.items():
        assert number == one.number
        assert block_type(one.name) is one
    with pytest.raises(ValueError, match=r"block_type: 'IQ2_XXS' is not one of F32, F16, BF16, Q4"):
        block_type("IQ2_XXS")


# A block by hand for each layout, and the weights at some places.
@pytest.mark.parametrize(
    ("name", "block", "want"),
    [
        ("Q4_0", [*halves(2), 0xF0, *[0x88] * 15], {0: -16, 16: 14, 1: 0, 31: 0}),
        ("Q4_1", [*halves(2, -1), 0xF0, *[0] * 15], {0: -1, 16: 29, 1: -1}),
        ("Q5_0", [*halves(1), 1, 0, 1, 0x80, 0xF3, *[0] * 14, 0x20], {0: 3, 16: 15, 1: -16, 31: 2}),
        ("Q5_1", [*halves(1, 0.5), 2, 0, 0, 0, *[0x10] * 16], {0: 0.5, 1: 16.5, 16: 1.5}),
        ("Q8_0", [*halves(0.5), 0x80, 127, *[0] * 30], {0: -64, 1: 63.5, 2: 0}),
        (
            "Q2_K",
            [0x21, *[0] * 14, 0x13, 0b11100100, *[0] * 62, 0xFF, *halves(2, 1)],
            {0: 0 * 2 - 2, 32: 0, 255: 3 * 6 - 1, 1: -2},
        ),
        (
            "Q3_K",  # the first scale 33 - 32, the last 63 - 32
            [1, *[0] * 31, *[3] * 64, 1, *[0] * 6, 0xF0, 2, 0, 0, 0xC0, *halves(1)],
            {0: 3, 1: -1, 255: -4 * 31},
        ),
        (
            "Q4_K",  # scales 1, 0, ..., 63; minima 2, 0, ..., 32
            [*halves(1, 0.5), 1, 0, 0, 0xC0, 2, 0, 0, 0x80, 0, 0, 0, 0x0F, 0x05, *[0] * 126, 0x90],
            {0: 5 - 1, 1: -1, 255: 9 * 63 - 16, 32: 0},
        ),
        (
            "Q5_K",
            [*halves(1, 1), 1, 0, 0, 0, 2, *[0] * 7, 0x01, *[0] * 31, 0x05, *[0] * 127],
            {0: 21 - 2, 1: -2, 40: 0},
        ),
        (
            "Q6_K",
            [0x2F, *[0] * 127, 0x03, *[0] * 63, 1, *[0] * 14, 0xFE, *halves(0.5)],
            {0: (63 - 32) / 2, 1: -16, 64: 0, 255: 32},
        ),
        ("IQ4_NL", [*halves(1), 0xF0, *[0x88] * 15], {0: -127, 16: 113, 1: 1}),
        (
            "IQ4_XS",  # scales 33 - 32 and, the last, 63 - 32
            [*halves(1), 0x02, 0xC0, 0x01, 0, 0, 0xF0, *[0x08] * 127, 0x70],
            {0: 1, 16: -127, 255: -10 * 31},
        ),
    ],
)  # fmt: skip
def test_a_block_by_hand(name: str, block: list[int], want: dict[int, float]) -> None:
    got = dequantize(np.array([block], np.uint8), block_type(name))
    assert got.shape == (1, BLOCKS[name][1])
    assert {place: got[0, place] for place in want} == want


def test_plain_numbers() -> None:
    values = np.array([[1.5, -2, 0], [np.inf, 6e4, -0.0]], np.float32)
    for name in ("F32", "F16"):
        data = quantize(values, block_type(name))
        assert data.shape == (2, 3 * BLOCKS[name][2])
        want = values.astype(name.lower().replace("f", "float")).astype(np.float32)
        assert dequantize(data, block_type(name)).tobytes() == want.tobytes()


def test_bfloat16_rounds_to_even_and_keeps_nan() -> None:
    bits = np.array([[0x3F808000, 0x3F818000, 0x3F808001, 0x7F800001, 0x7F800000, 0xFF7FFFFF]])
    data = quantize(bits.astype(np.uint32).view(np.float32), block_type("BF16"))
    assert data.view(np.uint16).tolist() == [[0x3F80, 0x3F82, 0x3F81, 0x7FC0, 0x7F80, 0xFF80]]


@pytest.mark.parametrize("name", STEPS)
def test_round_trip(name: str) -> None:
    rng = np.random.default_rng(0)
    scales = np.exp(rng.uniform(-8, 8, (50, 1)))
    weights = (rng.standard_normal((50, 96)) * scales).astype(np.float32)
    weights[0] = 0
    weights[1] = 3
    weights[2, 7] = 1000
    kind = block_type(name)
    data = quantize(weights, kind)
    assert data.dtype == np.uint8
    assert data.shape == (50, 3 * kind.bytes)
    got = dequantize(data, kind)
    blocks = weights.reshape(-1, 32)
    low, high = blocks.min(1, keepdims=True), blocks.max(1, keepdims=True)
    largest = abs(blocks).max(1, keepdims=True)
    step = (high - low if name in ("Q4_1", "Q5_1") else largest) / STEPS[name]
    # float16 loses 2**-11 of the scale, of the minimum too, or 2**-25 where they are tiny
    bound = step / 2 + largest * 2**-9 + (1 + STEPS[name]) * 2**-25
    if name in ("Q4_0", "Q5_0"):  # which have one step less on one side of zero
        bound = np.where(abs(blocks) > largest - step / 2, 2 * bound, bound)
    assert (abs(got.reshape(-1, 32) - blocks) <= bound).all()
    assert (got[0] == 0).all()
    again = dequantize(quantize(got, kind), kind)
    assert abs(again - got).max() <= abs(got).max() * 2**-9  # what is on the grid stays there


def test_any_float_and_layout() -> None:
    weights = np.random.default_rng(0).standard_normal((64, 6)).astype(np.float32).T
    kind = block_type("Q8_0")
    want = quantize(np.ascontiguousarray(weights), kind)
    assert (quantize(weights, kind) == want).all()
    assert (quantize(weights.astype(np.float64), kind) == want).all()
    twice = np.repeat(want, 2, axis=0)
    assert (dequantize(twice[::2], kind) == dequantize(want, kind)).all()
    assert dequantize(want[:0], kind).shape == (0, 64)
    assert quantize(weights[:, :0], kind).shape == (6, 0)


def test_scales_that_are_no_numbers() -> None:
    rng = np.random.default_rng(0)
    for kind in TYPES.values():
        for bits in (0x7C00, 0xFC00, 0x7E01):  # infinity, NaN
            data = rng.integers(0, 256, (2, kind.bytes), np.uint8)
            data[0] = np.resize(np.array([bits], "<u2").view(np.uint8), kind.bytes)
            assert dequantize(data, kind).shape == (2, kind.block)


def rounded(weights: np.ndarray) -> np.ndarray:
    """As Q6_K, without a search and with exact scales: the largest of 16 weights is -32."""
    groups = weights.reshape(-1, 16)
    largest = np.take_along_axis(groups, abs(groups).argmax(1, keepdims=True), axis=1)
    return (np.rint(groups / largest * -32).clip(-32, 31) * largest / -32).reshape(weights.shape)


@pytest.mark.parametrize(("name", "other"), [("Q4_K", "Q4_1"), ("Q5_K", "Q5_1"), ("Q6_K", None)])
def test_the_search_is_worth_it(name: str, other: str | None) -> None:
    """Scales of 6 and 8 bits lose less than the search gains over the same without one."""
    rng = np.random.default_rng(0)
    draws = [rng.standard_normal((32, 512)), rng.standard_t(5, (32, 512))]
    for weights in (draw.astype(np.float32) / 50 for draw in draws):
        got = dequantize(quantize(weights, block_type(name)), block_type(name))
        if other is None:
            plain = rounded(weights)
        else:
            plain = dequantize(quantize(weights, block_type(other)), block_type(other))
        assert np.square(got - weights).mean() < 0.97 * np.square(plain - weights).mean()


@pytest.mark.parametrize(("name", "bits"), [("Q4_K", 4), ("Q5_K", 5), ("Q6_K", 6)])
def test_blocks_of_256(name: str, bits: int) -> None:
    kind = block_type(name)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((20, 512)).astype(np.float32)
    weights *= np.exp(rng.uniform(-6, 6, (20, 1))).astype(np.float32)
    weights[0] = 0
    weights[1], weights[2] = 3, -3
    weights[3, 256:] = 0
    weights[4, ::32] *= 100  # each group has a far one
    got = dequantize(quantize(weights, kind), kind)
    blocks = weights.reshape(-1, 256)
    largest = abs(blocks).max(axis=1, keepdims=True)
    assert (got[0] == 0).all()
    assert (got[3, 256:] == 0).all()
    assert abs(got[1:3] - weights[1:3]).max() < 0.01
    # a step of a group from end to end, and half a step of the scale and of the minimum
    bound = largest * (2 / (2**bits - 1) + 1 / 63 + 2**-9)
    assert (abs(got.reshape(-1, 256) - blocks) <= bound).all()
    again = dequantize(quantize(got, kind), kind)
    off = np.square(again - got).mean(axis=1) <= np.square(got - weights).mean(axis=1) + 1e-12
    assert off.all()  # what is on a grid stays nearer than what is not


def test_on_the_grid_nothing_is_lost() -> None:
    """Scales of one power of two: the search finds them."""
    rng = np.random.default_rng(0)
    q = rng.integers(0, 16, (4, 8, 32))
    q[..., 0], q[..., 1] = 0, 15
    weights = (q - 5.0).reshape(4, 256).astype(np.float32) / 4
    kind = block_type("Q4_K")
    got = dequantize(quantize(weights, kind), kind)
    assert abs(got - weights).max() < 2**-9 * 4


@pytest.mark.parametrize("name", [*STEPS, "Q4_K", "Q5_K", "Q6_K"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_weights_that_no_block_can_hold(name: str, bad: float) -> None:
    weights = np.zeros((3, 256), np.float32)
    weights[2, 40] = bad
    with pytest.raises(ValueError, match=f"has a weight that is NaN, infinite or beyond {name}"):
        quantize(weights, block_type(name))


def test_tiny_weights_become_zero() -> None:
    weights = np.full((1, 256), 1e-44, np.float32)
    for name in (*STEPS, "Q4_K", "Q5_K", "Q6_K"):
        assert (dequantize(quantize(weights, block_type(name)), block_type(name)) == 0).all()


def test_errors() -> None:
    kind = block_type("Q4_1")
    for bad in (np.zeros((2, 19), np.uint8), np.zeros(20, np.uint8), np.zeros((1, 20), np.int8)):
        with pytest.raises(ValueError, match="dequantize: data must be rows of whole blocks of 20"):
            dequantize(bad, kind)
    for bad in (np.zeros((2, 33), np.float32), np.zeros(32, np.float32)):
        with pytest.raises(
            ValueError, match="quantize: array must have rows of whole blocks of 32"
        ):
            quantize(bad, kind)
    with pytest.raises(ValueError, match=r"quantize: IQ4_NL is not one of .*Q4_0"):
        quantize(np.zeros((1, 32), np.float32), block_type("IQ4_NL"))


def test_memory_is_that_of_the_result() -> None:
    kind = block_type("Q6_K")
    data = np.zeros((64, 64 * kind.bytes), np.uint8)
    tracemalloc.start()
    try:
        weights = dequantize(data, kind)
        assert tracemalloc.get_traced_memory()[1] < weights.nbytes + 2_000_000
    finally:
        tracemalloc.stop()


def test_block_array() -> None:
    weights = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    kind = block_type("Q5_1")
    array = BlockArray(quantize(weights, kind), kind)
    assert isinstance(array.type, BlockType)
    assert (array.shape, array.ndim, len(array), array.nbytes) == ((6, 64), 2, 6, 6 * 48)
    assert repr(array) == "BlockArray(Q5_1, shape=(6, 64))"
    whole = array.dequantize()
    assert (array.dequantize(slice(1, 4)) == whole[1:4]).all()
    assert (array.dequantize([5, 0, 5]) == whole[[5, 0, 5]]).all()
    assert (array.dequantize(np.array([2])) == whole[[2]]).all()
    part = array[2:5]
    assert part.shape == (3, 64)
    assert np.shares_memory(part.data, array.data)
    assert (part.dequantize() == whole[2:5]).all()
    with pytest.raises(TypeError, match="an index must be a slice of rows, got 3"):
        array[3]
