"""What src/bind_transformer.cpp refuses so that memory stays safe."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bindings import zeros
from firth import _native
from firth.kernels import _dispatch

I32, I64 = np.int32, np.int64
PLAN = {
    "width": 6, "heads": 4, "key_heads": 2, "head_width": 3, "hidden": 5, "activation_number": 2,
    "norm": "layer", "epsilon": 1e-12, "causal": False, "scale": 0.5, "position_offset": 1,
    "embedding_factor": 1.0, "rotated": 2, "interleaved": False, "distances": 128, "windows": [],
    "memory": 0, "softcap": 0.0, "joint_norms": False,
}  # fmt: skip
OUTSIDE = {"tokens": zeros(9, 6), "positions": zeros(5, 6), "types": zeros(2, 6)}
LAYER = {
    "attention.query.weight": zeros(12, 6),
    "attention.key.weight": zeros(6, 6),
    "attention.value.weight": zeros(6, 6),
    "attention.out.weight": zeros(6, 12),
    "feed.up.weight": zeros(5, 6),
    "feed.down.weight": zeros(6, 5),
}
DISTANCES = "Stack: distances must exceed a quarter of the rows of relative"
ROWS = "Stack: relative must have 4, 8, ... rows"
SHAPE = " does not have the shape that is planned"
TABLE = (zeros(4, 1), zeros(4, 1))


def make(
    plan: Any = (),
    outside: Any = (),
    layer: Any = (),
    angles: Any = (),
    precision: str = "int8",
    apart: Any = (),
) -> Any:
    without = {"-" + name for name in OUTSIDE}
    arrays = OUTSIDE | dict(outside)
    kept = {k: v for k, v in arrays.items() if k not in without and "-" + k not in arrays}
    return _native.transformer.Stack(
        _dispatch.active_level(),
        SimpleNamespace(**PLAN | dict(plan)),
        kept,
        [LAYER | dict(layer)],
        list(angles),
        precision,
        list(apart),
        lambda arrays: None,
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"plan": {"width": 0}}, ValueError, "Stack: sizes of a plan are from 1 to 2^24"),
        ({"plan": {"hidden": 2**24 + 1}}, ValueError, "Stack: sizes of a plan are from 1 to 2^24"),
        ({"plan": {"key_heads": 3}}, ValueError, "Stack: heads, key_heads and rotated do not fit"),
        ({"plan": {"rotated": 1}}, ValueError, "Stack: heads, key_heads and rotated do not fit"),
        ({"plan": {"rotated": 4}}, ValueError, "Stack: heads, key_heads and rotated do not fit"),
        ({"plan": {"head_width": 2**23}}, ValueError, "Stack: heads are too wide"),
        ({"plan": {"softcap": -1.0}}, ValueError, "Stack: softcap must be from 0 to a million"),
        (
            {"plan": {"softcap": 1.0}},
            ValueError,
            "Stack: softcap wants a causal stack without relative positions",
        ),
        ({"plan": {"memory": 2**24 + 1}}, ValueError, "Stack: a memory is at most 2^24 wide"),
        ({"plan": {"memory": 2}}, ValueError, "Stack: cross.query.weight is missing"),
        ({"plan": {"activation_number": 5}}, ValueError, "Stack: no activation has this number"),
        ({"plan": {"windows": [1, 2]}}, ValueError, "Stack: windows: want one a layer"),
        ({"apart": [[[], [], []]]}, ValueError, "Stack: apart: want four lists a layer"),
        ({"apart": [[[]] * 4] * 2}, ValueError, "Stack: apart: want four lists a layer"),
        ({"apart": [[[6], [], [], []]]}, ValueError, "Stack: apart: want few inputs, ascending"),
        ({"apart": [[[], [1, 1], [], []]]}, ValueError, "Stack: apart: want few inputs, ascending"),
        (
            {"apart": [[[], range(9), [], []]]},
            ValueError,
            "Stack: apart: want few inputs, ascending",
        ),
        ({"precision": "float16"}, ValueError, "Stack: no precision is named float16"),
        ({"outside": {"-tokens": None}}, ValueError, "Stack: tokens is missing"),
        ({"outside": {"tokens": zeros(9, 5)}}, ValueError, f"Stack: tokens{SHAPE}"),
        ({"outside": {"tokens": zeros(9)}}, ValueError, f"Stack: tokens{SHAPE}"),
        ({"outside": {"positions": zeros(5, 7)}}, ValueError, f"Stack: positions{SHAPE}"),
        ({"outside": {"relative": zeros(4, 3)}}, ValueError, f"Stack: relative{SHAPE}"),
        (
            {"outside": {"relative": zeros(6, 4)}},
            ValueError,
            "Stack: relative must have 4, 8, ... rows",
        ),
        ({"outside": {"relative": zeros(8, 4)}, "plan": {"distances": 2}}, ValueError, DISTANCES),
        ({"outside": {"relative": zeros(8, 4)}, "plan": {"distances": -9}}, ValueError, DISTANCES),
        ({"outside": {"embedding.gain": zeros(5)}}, ValueError, f"Stack: embedding.gain{SHAPE}"),
        (
            {"outside": {"projection.weight": zeros(6, 0)}},
            ValueError,
            "Stack: projection.weight has no columns",
        ),
        (
            {"outside": {"projection.weight": zeros(5, 6)}},
            ValueError,
            f"Stack: projection.weight{SHAPE}",
        ),
        (
            {"outside": {"tokens": zeros(9, 6, dtype=np.float64)}},
            TypeError,
            "Stack: tokens: want a contiguous array of float32",
        ),
        (
            {"outside": {"tokens": zeros(9, 12)[:, ::2]}},
            TypeError,
            "Stack: tokens: want a contiguous array of float32",
        ),
        ({"outside": {"tokens": [[1.0]]}}, TypeError, ": want a contiguous array of float32"),
        (
            {"layer": {"feed.up.weight": zeros(6, 6)}},
            ValueError,
            f"Stack: feed.up.weight{SHAPE}",
        ),
        (
            {"layer": {"feed.gate.weight": zeros(6, 6)}},
            ValueError,
            f"Stack: feed.gate.weight{SHAPE}",
        ),
        (
            {"layer": {"attention.key.bias": zeros(7)}},
            ValueError,
            f"Stack: attention.key.bias{SHAPE}",
        ),
        (
            {"layer": {"attention.key_norm.gain": zeros(6)}},
            ValueError,
            f"Stack: attention.key_norm.gain{SHAPE}",
        ),
        ({"angles": [TABLE, TABLE]}, ValueError, "Stack: angles: want one pair a layer"),
        (
            {"angles": [(zeros(4, 2), zeros(4, 1))]},
            ValueError,
            "Stack: angles: want two tables of rotated / 2 columns",
        ),
        (
            {"angles": [(zeros(4, 1), zeros(5, 1))]},
            ValueError,
            "Stack: angles: want two tables of rotated / 2 columns",
        ),
    ],
)
def test_stacks_that_cannot_be(change: Any, error: type[Exception], message: str) -> None:
    make(angles=[TABLE])
    with pytest.raises(error) as caught:
        make(**change)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", LAYER)
def test_a_weight_is_missing(name: str) -> None:
    layer = {other: array for other, array in LAYER.items() if other != name}
    with pytest.raises(ValueError, match=r"\.weight is missing"):
        _native.transformer.Stack(
            _dispatch.active_level(),
            SimpleNamespace(**PLAN),
            OUTSIDE,
            [layer],
            [],
            "float32",
            [],
            id,
        )


GOOD = {
    "ids": zeros(3, dtype=I32), "offsets": np.array([0, 1, 3]), "types": None, "positions": None,
    "seen": None, "masks": None, "memory": None, "memory_offsets": None, "memory_seen": None,
    "hidden": True, "states": True, "attentions": True,
    "pooling": "mean",
}  # fmt: skip
MASKS = "Stack.run: masks: want one of S x S for each text"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.array([1, 3])}, "Stack.run: offsets: want B + 1 numbers from 0 on"),
        ({"offsets": zeros(0, dtype=I64)}, "Stack.run: offsets: want B + 1 numbers from 0 on"),
        ({"offsets": zeros(2, 1, dtype=I64)}, "Stack.run: offsets: want B + 1 numbers from 0 on"),
        (
            {"offsets": np.array([0, 2, 1, 3])},
            "Stack.run: offsets must not decrease or pass the last token",
        ),
        (
            {"offsets": np.array([0, 4])},
            "Stack.run: offsets must not decrease or pass the last token",
        ),
        ({"offsets": np.array([0, 2])}, "Stack.run: offsets must end at the last token"),
        ({"ids": zeros(3, 1, dtype=I32)}, "Stack.run: ids: want one for each token"),
        ({"ids": np.array([0, 9, 0], I32)}, "Stack.run: ids: 9 is not in [0, 9)"),
        ({"ids": np.array([0, -1, 0], I32)}, "Stack.run: ids: -1 is not in [0, 9)"),
        ({"types": zeros(2, dtype=I32)}, "Stack.run: types: want one for each token"),
        ({"types": np.array([0, 2, 0], I32)}, "Stack.run: types: 2 is not in [0, 2)"),
        ({"positions": np.array([0, 4, 0], I32)}, "Stack.run: positions: 4 is not in [0, 4)"),
        (
            {"ids": zeros(4, dtype=I32), "offsets": np.array([0, 4])},
            "Stack.run: a text of 4 tokens, positions are for 3",
        ),
        ({"seen": zeros(2, dtype=np.bool_)}, "Stack.run: seen: want one for each token"),
        ({"masks": [zeros(1, 1, dtype=np.bool_)]}, MASKS),
        ({"masks": [zeros(1, 1, dtype=np.bool_), zeros(2, 1, dtype=np.bool_)]}, MASKS),
        ({"masks": [zeros(1, 1, dtype=np.bool_), zeros(4, dtype=np.bool_)]}, MASKS),
        ({"pooling": "median"}, "Stack.run: no pooling is named median"),
    ],
)
def test_texts_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    stack = make(angles=[TABLE])
    assert stack.nbytes > 0
    stack.run(**GOOD)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared below)
        stack.run(**GOOD | change)
    assert message in str(caught.value)


CROSS = {
    "cross.query.weight": zeros(12, 6),
    "cross.key.weight": zeros(6, 2),
    "cross.value.weight": zeros(6, 2),
    "cross.out.weight": zeros(6, 12),
}
REMEMBERED = GOOD | {"memory": zeros(4, 2), "memory_offsets": np.array([0, 1, 4])}
VECTORS = "Stack.run: memory: want vectors as wide as planned"
ENDS = "Stack.run: memory_offsets: want B + 1 from 0 to the last vector"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": zeros(4, 3)}, VECTORS),
        ({"memory": zeros(8)}, VECTORS),
        ({"memory_offsets": None}, ENDS),
        ({"memory_offsets": np.array([0, 4])}, ENDS),
        ({"memory_offsets": np.array([1, 1, 4])}, ENDS),
        ({"memory_offsets": np.array([0, 1, 3])}, ENDS),
        ({"memory_offsets": np.array([0, 5, 4])}, ENDS),
        ({"memory_offsets": np.array([0, -1, 4])}, ENDS),
        ({"memory_offsets": zeros(3, 1, dtype=I64)}, ENDS),
        (
            {"memory_seen": zeros(3, dtype=np.bool_)},
            "Stack.run: memory_seen: want one for each vector",
        ),
        ({"memory": None}, "Stack.run: memory_offsets and memory_seen need a memory"),
    ],
)
def test_memories_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    stack = make(plan={"memory": 2}, layer=CROSS)
    assert stack.nbytes > make().nbytes
    stack.run(**REMEMBERED)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared below)
        stack.run(**REMEMBERED | change)
    assert message in str(caught.value)
    message = "Stack.run: a memory, but no cross-attention is planned"
    with pytest.raises(ValueError, match=message):
        make().run(**REMEMBERED)


@pytest.mark.parametrize("name", CROSS)
def test_weights_of_cross_attention_that_do_not_fit(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"Stack: {name}{SHAPE}")):
        make(plan={"memory": 2}, layer=CROSS | {name: zeros(6, 7)})


def test_ids_that_nobody_can_look_at() -> None:
    stack = make(precision="float32")
    assert stack.greatest_inputs(zeros(4, dtype=I32)).shape == (1, 29)
    with pytest.raises(
        ValueError, match=re.escape("Stack.greatest_inputs: more ids than positions")
    ):
        stack.greatest_inputs(zeros(5, dtype=I32))
    with pytest.raises(ValueError, match=re.escape("Stack.run: ids: 9 is not in")):
        stack.greatest_inputs(np.array([9], I32))


def test_dtypes_are_never_converted() -> None:
    stack = make(angles=[TABLE])
    for change in ({"ids": zeros(3, dtype=I64)}, {"offsets": np.array([0, 1, 3], I32)}):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            stack.run(**GOOD | change)


@pytest.mark.parametrize(
    "change",
    [
        {"seen": np.ones(3, np.bool_)},
        {"attentions": True},
        {"masks": [np.ones((1, 1), bool), np.ones((2, 2), bool)]},
    ],
)
def test_softcap_goes_alone(change: dict[str, Any]) -> None:
    stack, plain = make(plan={"softcap": 5.0, "causal": True}), GOOD | {"attentions": False}
    stack.run(**plain)
    message = "Stack.run: softcap goes with no mask, memory or attentions"
    with pytest.raises(ValueError, match=message):
        stack.run(**plain | change)
