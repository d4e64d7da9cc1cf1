"""What src/bind_glove.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros
from firth.kernels import _dispatch

I32, I64, U32 = np.int32, np.int64, np.uint32
COUNTER = {
    "ids": np.array([0, 1, ~0], I32), "lead": 0, "vocabulary": 2, "weights": np.array([2.0, 1.0]),
    "symmetric": True,
}  # fmt: skip
LARGE = "CooccurrenceCounter: the text or its vocabulary is too large"
POSITIVE = "CooccurrenceCounter: weights must be positive"
RANGE = "CooccurrenceCounter: an id is out of range"


@pytest.mark.parametrize(
    "case",
    [
        ("lead", {"lead": 4}, ValueError, LARGE),
        ("vocabulary", {"vocabulary": 2**31}, ValueError, LARGE),
        ("none", {"weights": np.empty(0)}, ValueError, POSITIVE),
        ("zero", {"weights": np.array([1.0, 0.0])}, ValueError, POSITIVE),
        ("nan", {"weights": np.array([np.nan])}, ValueError, POSITIVE),
        ("high", {"ids": np.array([0, 2], I32)}, IndexError, RANGE),
        ("end", {"ids": np.array([0, ~2], I32)}, IndexError, RANGE),
    ],
    ids=lambda case: case[0],
)
def test_counter(case):
    refused(native("CooccurrenceCounter"), COUNTER, case)


ROWS = (np.array([1, 1]), np.array([1, 0], I32), np.array([1.0, 2.0]))
WRONG_ROWS = [
    ((np.array([1, 2]), *ROWS[1:]), ValueError, ": lengths do not fit"),
    ((np.array([-1, 3]), *ROWS[1:]), ValueError, ": lengths do not fit"),
    ((np.array([2]), *ROWS[1:]), ValueError, ": lengths do not fit"),
    ((*ROWS[:2], np.array([1.0])), ValueError, ": lengths do not fit"),
    ((ROWS[0], np.array([1, 2], I32), ROWS[2]), IndexError, ": a column is out of range"),
    ((ROWS[0], np.array([1, -1], I32), ROWS[2]), IndexError, ": a column is out of range"),
    ((*ROWS[:2], np.array([1.0, 0.0])), ValueError, ": a value is not positive"),
    ((*ROWS[:2], np.array([1.0, np.nan])), ValueError, ": a value is not positive"),
    ((ROWS[0], ROWS[1].astype(np.int16), ROWS[2]), TypeError, "incompatible function arguments"),
]


@pytest.mark.parametrize(("rows", "error", "message"), WRONG_ROWS)
def test_counter_rows(rows, error, message):
    counter = native("CooccurrenceCounter")(**COUNTER)
    good = {"first": 0, "last": 2, "before": [ROWS, ROWS]}
    refused(counter.rows, good, ("rows", {"before": [ROWS, rows]}, error, message))


@pytest.mark.parametrize("change", [{"first": 2, "last": 1}, {"last": 3}])
def test_counter_range(change):
    counter = native("CooccurrenceCounter")(**COUNTER)
    message = "CooccurrenceCounter.rows: no such rows"
    refused(
        counter.rows, {"first": 0, "last": 2, "before": []}, ("rows", change, IndexError, message)
    )


BLOCKS = {
    "rows": ROWS, "first": 0, "vocabulary": 2, "block": 2, "x_max": 10.0, "alpha": 0.75, "seed": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"block": 0}, ValueError, "glove_blocks: arguments out of range"),
        ({"block": 2**16 + 1}, ValueError, "glove_blocks: arguments out of range"),
        ({"first": 1}, ValueError, "glove_blocks: arguments out of range"),
        ({"vocabulary": 1}, ValueError, "glove_blocks: arguments out of range"),
        ({"x_max": 0.0}, ValueError, "glove_blocks: arguments out of range"),
        *(({"rows": rows}, error, text) for rows, error, text in WRONG_ROWS if len(rows[0]) == 2),
    ],
)
def test_blocks(change, error, message):
    refused(native("glove_blocks"), BLOCKS, ("blocks", change, error, message))


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


ADAGRAD = {
    "words": ones(2, 2, 4), "contexts": ones(2, 2, 4), "rows": np.array([0]),
    "columns": np.array([1]), "log_counts": ones(1), "weights": ones(1), "learning_rate": 0.1,
    "grad_clip": 1.0,
}  # fmt: skip
STATE = ": want (V, 2, D + 1), rows contiguous"
FIT = "glove_adagrad: shapes do not fit together"
INDEX = "glove_adagrad: an index is out of range"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"words": ones(2, 4)}, ValueError, f"words{STATE}"),
        ({"words": ones(2, 3, 4)}, ValueError, f"words{STATE}"),
        ({"contexts": ones(2, 2, 8)[:, :, ::2]}, ValueError, f"contexts{STATE}"),
        ({"contexts": ones(2, 2, 4)[::-1]}, ValueError, f"contexts{STATE}"),
        ({"contexts": ones(2, 2, 5)}, ValueError, FIT),
        ({"columns": np.array([0, 1])}, ValueError, FIT),
        ({"log_counts": ones(2)}, ValueError, FIT),
        ({"weights": ones(2)}, ValueError, FIT),
        ({"rows": np.array([2])}, IndexError, INDEX),
        ({"rows": np.array([-1])}, IndexError, INDEX),
        ({"columns": np.array([2])}, IndexError, INDEX),
    ],
)
def test_adagrad(change, error, message):
    refused(native("glove_adagrad"), ADAGRAD, ("adagrad", change, error, message))


PART = "GloveTrainer: no such part"
UNIT = [0, 0, 1, 0, 0, 2, 2]  # GloveUnit, csrc/engines/words/glove.h
TRAINER = {
    "level": _dispatch.active_level(), "words": ones(2, 2, 16), "contexts": ones(2, 2, 16),
    "parts": [zeros(1, 3, dtype=U32)], "units": np.array([UNIT]), "dim": 3, "symmetric": False,
    "rate": 0.1, "clip": 1.0, "seed": 1,
}  # fmt: skip


def units(place: int, value: int) -> dict[str, np.ndarray]:
    return {"units": np.array([[*UNIT[:place], value, *UNIT[place + 1 :]]])}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"words": ones(2, 2, 3)}, ValueError, f"words{STATE}"),
        ({"words": ones(3, 2, 16)}, ValueError, "GloveTrainer: words and contexts differ in shape"),
        ({"dim": 0}, ValueError, "GloveTrainer: words and contexts differ in shape"),
        ({"units": zeros(1, 6, dtype=I64)}, ValueError, "GloveTrainer: units must be (U, 7)"),
        ({"parts": [zeros(3, dtype=U32)]}, ValueError, "GloveTrainer: parts must be (N, 3)"),
        ({"parts": [zeros(1, 3, dtype=np.uint16)]}, TypeError, "incompatible constructor"),
        ({"parts": []}, IndexError, PART),
        (
            {"parts": [np.full((1, 3), 2, U32)]}, IndexError,
            "GloveTrainer: a record is out of range",
        ),
        *(
            (units(place, value), IndexError, text)
            for place in range(7)
            for value in (-1, 5)
            for text in ["GloveTrainer: a unit is out of range" if place else PART]
        ),
    ],
)  # fmt: skip
def test_trainer(change, error, message):
    refused(native("GloveTrainer"), TRAINER, ("trainer", change, error, message))


@pytest.mark.parametrize("change", [{"first": 1, "last": 0}, {"last": 2}])
def test_trainer_range(change):
    trainer = native("GloveTrainer")(**TRAINER)
    good = {"epoch": 0, "first": 0, "last": 1, "workers": 1}
    message = "GloveTrainer.train: no such visits"
    refused(trainer.train, good, ("train", change, IndexError, message))
