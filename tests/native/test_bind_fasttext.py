"""What src/bind_fasttext.cpp refuses so that memory stays safe."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bindings import native, refused, zeros
from firth.kernels import _dispatch

I32, I64, U8 = np.int32, np.int64, np.uint8
D = 4
# Two words and two labels, no n-grams.
MODEL = {
    "level": _dispatch.active_level(), "text": np.frombuffer(b"catdog__label__x__label__y", U8),
    "ends": np.array([3, 6, 16, 26]), "counts": np.ones(4, I64), "labels": 2,
    "label": "__label__", "min_n": 0, "max_n": 0, "bucket": 0, "word_ngrams": 1, "pruned": None,
    "loss": 3, "supervised": True, "input": zeros(2, D), "output": zeros(2, D), "quantiser": None,
}  # fmt: skip
RISE = "FastTextModel: ends must rise within the text"
ENTRIES = "FastTextModel: counts and labels must fit the entries"
MATRIX = "FastTextModel: input must be a matrix"
FLOATS = "FastTextModel: input must be contiguous float32"
OUTPUT = "FastTextModel: output must be (labels, dim), loss from 1 to 4"
PAIRS = "FastTextModel: pruned must have shape (n, 2)"
COPY = "incompatible constructor arguments"
FEW = "FastTextModel: the input matrix has "


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ends": np.array([3, 2, 16, 26])}, ValueError, RISE),
        ({"ends": np.array([-1, 6, 16, 26])}, ValueError, RISE),
        ({"ends": np.array([3, 6, 16, 27])}, ValueError, RISE),
        ({"labels": 5}, ValueError, ENTRIES),
        ({"counts": np.ones(3, I64)}, ValueError, ENTRIES),
        ({"bucket": 2**31}, ValueError, ENTRIES),
        ({"input": zeros(D)}, ValueError, MATRIX),
        ({"input": zeros(2, 0)}, ValueError, MATRIX),
        ({"input": zeros(2, D, dtype=np.float64)}, TypeError, FLOATS),
        ({"input": zeros(2, 2 * D)[:, ::2]}, TypeError, FLOATS),
        ({"output": None}, ValueError, OUTPUT),
        ({"output": zeros(3, D)}, ValueError, OUTPUT),
        ({"output": zeros(2, D + 1)}, ValueError, OUTPUT),
        ({"loss": 0}, ValueError, OUTPUT),
        ({"loss": 5}, ValueError, OUTPUT),
        ({"input": zeros(1, D)}, ValueError, FEW),
        ({"min_n": 2, "max_n": 3, "bucket": 1}, ValueError, FEW),
        ({"word_ngrams": 2, "bucket": 1}, ValueError, FEW),
        ({"pruned": zeros(2, dtype=I32)}, ValueError, PAIRS),
        (
            {"pruned": np.array([[0, -1]], I32)}, IndexError,
            "FastTextModel: a pruned row is negative",
        ),
        ({"pruned": np.array([[0, 0]], I32)}, ValueError, FEW),
        # Copies would be trained, or read, in their places.
        ({"output": zeros(2, 2 * D)[:, ::2]}, TypeError, COPY),
        ({"pruned": zeros(0, 2, dtype=np.int16)}, TypeError, COPY),
        ({"quantiser": (zeros(512 * D)[::2], 2, None, None)}, TypeError, COPY),
    ],
)  # fmt: skip
def test_model(change, error, message):
    refused(native("FastTextModel"), MODEL, ("model", change, error, message))


CODES = zeros(2, 2, dtype=U8)
NORMS = zeros(2, dtype=U8)
QUANTISED = {**MODEL, "input": CODES, "quantiser": (zeros(256 * D), 2, NORMS, zeros(256))}


@pytest.mark.parametrize(
    "change",
    [
        {"input": zeros(2, 3, dtype=U8)},
        {"input": zeros(2, 2, dtype=np.int8)},
        {"input": zeros(2, 4, dtype=U8)[:, ::2]},
        {"quantiser": (zeros(255), 2, None, None)},
        {"quantiser": (zeros(256 * D), 0, None, None)},
        {"quantiser": (zeros(256 * D), 1, None, None)},
        {"quantiser": (zeros(256 * D), 2, NORMS, None)},
        {"quantiser": (zeros(256 * D), 2, NORMS[:1], zeros(256))},
        {"quantiser": (zeros(256 * D), 2, NORMS, zeros(255))},
    ],
)
def test_quantiser(change):
    message = "FastTextModel: the quantiser does not fit its codes"
    refused(native("FastTextModel"), QUANTISED, ("quantiser", change, ValueError, message))


def model(**change: object) -> object:
    return native("FastTextModel")(**{**MODEL, **change})


@pytest.mark.parametrize("row", [-1, 2])
def test_mean(row):
    message = "FastTextModel.mean: a row is out of range"
    case = ("mean", {"rows": np.array([0, row], I32)}, IndexError, message)
    refused(model().mean, {"rows": np.array([0, 1], I32)}, case)


def test_predict():
    good = {"texts": ["cat"], "k": 1, "threshold": 0.0, "names": ["x", "y"]}
    names = "FastTextModel.predict: want one name a label"
    refused(model().predict, good, ("few", {"names": ["x"]}, ValueError, names))
    line = "predict processes one line at a time (remove '\\n')"
    refused(model().predict, good, ("lines", {"texts": ["cat\ndog"]}, ValueError, line))
    refused(model().predict, good, ("bytes", {"texts": [b"cat"]}, TypeError, "bad argument type"))
    with pytest.raises(ValueError, match="want one name a label"):
        model(supervised=False).predict(**good)


def test_evaluate():
    message = "FastTextModel.evaluate: not supervised"
    with pytest.raises(ValueError, match=re.escape(message)):
        model(supervised=False).evaluate(b"cat __label__x\n", 1, 0.0)


TRAINER = {
    "text": b"cat __label__x\n", "loss": 3, "negative": 2, "epochs": 1, "rate": 0.1, "seed": 1,
}  # fmt: skip


@pytest.mark.parametrize("change", [{"loss": 0}, {"loss": 5}, {"epochs": 0}, {"negative": -1}])
def test_trainer(change):
    message = "FastTextTrainer: want a supervised model that is not quantised"
    good = {"model": model(), **TRAINER}
    refused(native("FastTextTrainer"), good, ("trainer", change, ValueError, message))
    for wrong in (model(supervised=False), native("FastTextModel")(**QUANTISED)):
        case = ("model", {"model": wrong}, ValueError, message)
        refused(native("FastTextTrainer"), good, case)
    none = model(labels=0, input=zeros(4, D), output=zeros(0, D))
    message = "FastTextTrainer: the model has no labels"
    refused(native("FastTextTrainer"), good, ("labels", {"model": none}, ValueError, message))


def test_trainer_blocks():
    trainer = native("FastTextTrainer")(model(), **TRAINER)
    good = {"epoch": 0, "first": 0, "last": 1, "workers": 1}
    for change in ({"first": 1, "last": 0}, {"last": trainer.blocks + 1}):
        message = "FastTextTrainer.train: a block is out of range"
        refused(trainer.train, good, ("train", change, IndexError, message))


@pytest.mark.parametrize(
    "change",
    [{"values": zeros(255, 2)}, {"values": zeros(256)}, {"values": zeros(256, 0)}, {"dsub": 0}],
)
def test_quantise(change):
    good = {"values": zeros(256, 2), "dsub": 2, "seed": 1}
    message = "product_quantise: want a matrix of at least 256 rows and dsub >= 1"
    refused(native("product_quantise"), good, ("quantise", change, ValueError, message))
