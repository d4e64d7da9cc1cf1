"""What src/bind_generators.cpp refuses so that memory stays safe, and matrices as stored."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bindings import zeros
from firth import _native
from firth.kernels import _dispatch

I32, I64, U8 = np.int32, np.int64, np.uint8
PLAN = {
    "width": 32, "heads": 4, "key_heads": 2, "head_width": 8, "hidden": 32, "activation_number": 2,
    "norm": "rms", "epsilon": 1e-6, "causal": True, "scale": 0.5, "position_offset": 0,
    "embedding_factor": 1.0, "rotated": 8, "interleaved": False, "distances": 128, "windows": [],
    "memory": 0, "softcap": 0.0, "joint_norms": False,
}  # fmt: skip
Q8_0, F32 = 8, 0


def rows(n: int, columns: int = 32) -> tuple[int, Any, int]:
    return Q8_0, np.zeros((n, columns // 32 * 34), U8), columns


LAYER = {
    "attention.query.weight": rows(32),
    "attention.key.weight": rows(16),
    "attention.value.weight": rows(16),
    "attention.out.weight": rows(32),
    "feed.up.weight": rows(32),
    "feed.down.weight": rows(32),
}
OUTSIDE = {"tokens": rows(9)}
ANGLES = (zeros(20, 4), zeros(20, 4))


def make(plan: Any = (), outside: Any = (), layer: Any = (), precision: str = "stored") -> Any:
    return _native.transformer.Stack(
        _dispatch.active_level(),
        SimpleNamespace(**PLAN | dict(plan)),
        OUTSIDE | dict(outside),
        [LAYER | dict(layer)],
        [ANGLES],
        precision,
        [],
        lambda arrays: None,
    )


WIDE = re.escape("Stack.scores: want states as wide as planned")
HEADLESS = re.escape("Stack.scores: the stack has no head")
SHAPE = " does not have the shape that is planned"


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ((Q8_0, rows(9)[1]), ValueError, ": want a type and its bytes"),
        ((9, *rows(9)[1:]), ValueError, ": no such type of blocks"),
        ((Q8_0, zeros(9, 34), 32), TypeError, ": want rows of bytes"),
        ((Q8_0, np.zeros((9, 68), U8)[:, ::2], 32), ValueError, ": want 2-D rows"),
        ((Q8_0, np.zeros((9, 34), U8), 64), ValueError, SHAPE),
        ((Q8_0, np.zeros((9, 33), U8), 32), ValueError, SHAPE),
        ((Q8_0, np.zeros((9, 34), U8), 31), ValueError, SHAPE),
        ((F32, np.zeros((9, 127), U8), 32), ValueError, SHAPE),
        ((Q8_0, np.zeros((9, 0), U8), 2**58 * 32), ValueError, SHAPE),
    ],
)
def test_stored_matrices_that_do_not_fit(bad: Any, error: type[Exception], message: str) -> None:
    for change in ({"outside": {"tokens": bad}}, {"layer": {"feed.up.weight": bad}}):
        with pytest.raises(error) as caught:
            make(**change)
        assert message in str(caught.value)
    with pytest.raises(ValueError, match=f"head.weight{SHAPE}"):
        make(outside={"head.weight": rows(9, 64)})
    make(layer={"feed.up.weight": (F32, np.zeros((32, 128), U8), 32)})


CROSS = {
    f"cross.{name}.weight": LAYER[f"attention.{name}.weight"]
    for name in ("query", "key", "value", "out")
}


def test_caches_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="Cache: want a causal stack"):
        _native.transformer.Cache(make({"causal": False}), True, None)
    with pytest.raises(ValueError, match="Cache: a memory, but no cross-attention is planned"):
        _native.transformer.Cache(make(), True, zeros(2, 32))
    stack = make({"memory": 32}, layer=CROSS)
    for memory in (zeros(2, 31), zeros(32)):
        with pytest.raises(ValueError, match="Cache: memory: want vectors as wide as planned"):
            _native.transformer.Cache(stack, True, memory)
    with pytest.raises(TypeError):
        _native.transformer.Cache(stack, True, np.zeros((2, 32)))
    cache = _native.transformer.Cache(stack, True, zeros(70, 32))
    assert (len(cache), extend(stack, [1], [0, 1], [cache]).shape) == (0, (1, 32))
    with pytest.raises(ValueError, match=re.escape("Stack.extend: a cache of another stack")):
        extend(make(), [1], [0, 1], [cache])
    with pytest.raises(ValueError, match=re.escape("Stack.extend: a cache of another stack")):
        extend(stack, [1], [0, 1], [_native.transformer.Cache(make(), True, None)])


def extend(
    stack: Any, ids: Any, offsets: Any, caches: Any, positions: Any = None, wanted: Any = None
) -> Any:
    offsets = np.asarray(offsets, I64)
    wanted = offsets if wanted is None else np.asarray(wanted, I64)
    return _native.transformer.extend(
        stack, np.asarray(ids, I32), offsets, positions, caches, wanted
    )


def test_calls_that_do_not_fit() -> None:
    more_keys = {"attention.key.weight": rows(32), "attention.value.weight": rows(32)}
    stack, other = make(), make({"key_heads": 4}, layer=more_keys)
    one, two = (_native.transformer.Cache(stack, True, None) for _ in range(2))
    foreign = _native.transformer.Cache(other, True, None)

    def refused(ids: Any, offsets: Any, caches: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error) as caught:
            extend(stack, ids, offsets, caches)
        assert message in str(caught.value)

    message = "Stack.extend: offsets: want B + 1 from 0 to the last token"
    for ends in ([0], [0, 1, 2], [1, 2], [0, 1], [0, 3], [[0, 2]]):
        refused([1, 2], ends, [one], ValueError, message)
    refused([1, 2], [0, 3, 2], [one, two], ValueError, message)
    busy = "Cache: another call uses it"
    refused([1, 2], [0, 1, 2], [one, one], RuntimeError, busy)
    refused([1, 2], [0, 1, 2], [one, None], RuntimeError, busy)
    message = "Stack.extend: a cache of another stack"
    refused([1, 2], [0, 2], [foreign], ValueError, message)
    message = "Stack.extend: a text of 21 tokens, more than there are positions"
    refused([1] * 21, [0, 21], [one], ValueError, message)
    refused([9], [0, 1], [one], ValueError, "Stack.run: ids: 9 is not in [0, 9)")
    with pytest.raises(ValueError, match=r"positions: 20 is not in \[0, 20\)"):
        extend(stack, [1], [0, 1], [one], np.array([20], I32))
    with pytest.raises(ValueError, match="positions: want one for each token"):
        extend(stack, [1], [0, 1], [one], np.array([1, 2], I32))
    for wanted, message in (
        ([0], "Stack.extend: wanted: want B + 1 from 0"),
        ([1, 2], "Stack.extend: wanted: want B + 1 from 0"),
        ([0, 3], "Stack.extend: wanted: more states than tokens"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            extend(stack, [1, 2], [0, 2], [one], wanted=wanted)
    assert (len(one), len(two)) == (0, 0)
    assert extend(stack, [1, 2], [0, 2], [one]).shape == (2, 32)
    with pytest.raises(ValueError, match=re.escape("Cache.first: it has fewer tokens")):
        one.first(3)
    with pytest.raises(ValueError, match=re.escape("Cache.shorten: it has fewer tokens")):
        one.shorten(3)


def test_scores_that_do_not_fit() -> None:
    for states in (zeros(2, 31), zeros(32)):
        with pytest.raises(ValueError, match=WIDE):
            _native.transformer.scores(make(), states)
    floats = {name: zeros(len(of[1]), of[2]) for name, of in LAYER.items()}
    plain = make(outside={"tokens": zeros(9, 32)}, layer=floats, precision="float32")
    with pytest.raises(ValueError, match=HEADLESS):
        _native.transformer.scores(plain, zeros(2, 32))
    assert _native.transformer.scores(make(), zeros(2, 32)).shape == (2, 9)
    headed = make(outside={"head.weight": rows(7)})
    assert _native.transformer.scores(headed, zeros(2, 32)).shape == (2, 7)
