"""What src/bind_words.cpp refuses so that memory stays safe."""

from __future__ import annotations

import numpy as np
import pytest

from bindings import native, refused, zeros
from firth.kernels import _dispatch
from firth.words import training

I32, I64, U8, U32 = np.int32, np.int64, np.uint8, np.uint32
ROWS = ": want a matrix with contiguous rows"
INDEX = ": an index is out of range"
BATCH = {
    "skipgram_negative_sampling": {
        "w_in": zeros(3, 4), "w_out": zeros(3, 4), "centers": np.array([0, 2]),
        "contexts": np.array([1, 0]), "negatives": zeros(2, 5, dtype=I64), "learning_rate": 0.1,
    },
    "cbow_negative_sampling": {
        "w_in": zeros(3, 4), "w_out": zeros(3, 4), "centers": np.array([0, 2]),
        "contexts": np.array([[1, -1], [0, 2]]), "negatives": zeros(1, 5, dtype=I64),
        "shared": True, "learning_rate": 0.1, "cbow_mean": True, "weight": 1.0,
    },
    "hierarchical_softmax": {
        "w_in": zeros(3, 4), "w_tree": zeros(3, 4), "points": np.array([[0, 1], [0, -1]]),
        "codes": zeros(2, 2, dtype=U8), "contexts": np.array([[1], [0]]), "shared": False,
        "learning_rate": 0.1,
    },
}  # fmt: skip
FIT = {
    "skipgram_negative_sampling": "skipgram_negative_sampling: shapes do not fit together",
    "cbow_negative_sampling": "cbow_negative_sampling: shapes do not fit together",
    "hierarchical_softmax": "hierarchical_softmax: shapes do not fit together",
}
SHAPES = [
    ("skipgram_negative_sampling", {"w_in": zeros(3, 5)}),
    ("skipgram_negative_sampling", {"centers": zeros(2, 1, dtype=I64)}),
    ("skipgram_negative_sampling", {"contexts": zeros(3, dtype=I64)}),
    ("skipgram_negative_sampling", {"contexts": zeros(2, 1, 1, dtype=I64)}),
    ("skipgram_negative_sampling", {"negatives": zeros(2, dtype=I64)}),
    ("skipgram_negative_sampling", {"negatives": zeros(1, 5, dtype=I64)}),
    ("cbow_negative_sampling", {"w_out": zeros(3, 5)}),
    ("cbow_negative_sampling", {"contexts": zeros(2, dtype=I64)}),
    ("cbow_negative_sampling", {"contexts": zeros(3, 2, dtype=I64)}),
    ("cbow_negative_sampling", {"negatives": zeros(2, 5, dtype=I64)}),
    ("cbow_negative_sampling", {"shared": False}),
    ("hierarchical_softmax", {"w_tree": zeros(3, 5)}),
    ("hierarchical_softmax", {"codes": zeros(2, 3, dtype=U8)}),
    ("hierarchical_softmax", {"points": zeros(3, 2, dtype=I64)}),
    ("hierarchical_softmax", {"contexts": zeros(2, 2, dtype=I64)}),
]
INDICES = [
    ("skipgram_negative_sampling", {"centers": np.array([0, 3])}),
    ("skipgram_negative_sampling", {"contexts": np.array([0, -1])}),  # only where shared
    ("skipgram_negative_sampling", {"negatives": np.full((2, 5), -1)}),
    ("cbow_negative_sampling", {"centers": np.array([-1, 0])}),
    ("cbow_negative_sampling", {"contexts": np.full((2, 2), 3)}),
    ("cbow_negative_sampling", {"contexts": np.full((2, 2), -2)}),
    ("cbow_negative_sampling", {"negatives": np.full((1, 5), 3)}),
    ("hierarchical_softmax", {"points": np.full((2, 2), 3)}),
    ("hierarchical_softmax", {"points": np.full((2, 2), -2)}),
    ("hierarchical_softmax", {"contexts": np.array([[3], [0]])}),
]
MATRICES = [
    (name, {"w_in": wrong})
    for name in BATCH
    for wrong in (zeros(12), zeros(3, 8)[:, ::2], zeros(3, 4)[::-1])
]


CASES = [
    *((name, change, ValueError, FIT[name]) for name, change in SHAPES),
    *((name, change, IndexError, f"{next(iter(change))}{INDEX}") for name, change in INDICES),
    *((name, change, ValueError, f"w_in{ROWS}") for name, change in MATRICES),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
def test_batches(case):
    refused(native(case[0]), BATCH[case[0]], case)


def rows(count: int) -> np.ndarray:
    return training.rows(count, 20)


V = 4
TRAINER = {
    "level": _dispatch.active_level(), "w_in": rows(V), "w_out": rows(V), "w_tree": rows(V),
    "ids": np.array([0, 1, 2, ~3], I32), "keep": zeros(V, dtype=U32), "noise": np.ones(V),
    "tree_start": np.arange(V + 1), "tree_points": zeros(V, dtype=I32),
    "tree_codes": zeros(V, dtype=U8), "sub_rows": rows(2), "sub_start": np.arange(V + 1),
    "sub_ids": zeros(V, dtype=I32), "lock": np.ones(V, np.float32),
    "sub_lock": np.ones(1, np.float32), "jobs": np.array([0, 2, 4]), "progress": np.ones(2),
    "cumulative": np.array([1, 2, 3, 4], U32), "skip_gram": True, "mean": True, "window": 2,
    "negative": 3, "shrink_windows": True, "subsample": False, "shared": False,
    "whole_loss": False, "alpha": 0.1, "min_alpha": 0.01, "epochs": 1, "seed": 1,
}  # fmt: skip
PADDED = ": rows must be padded and aligned to 64 bytes, one a word"
SIZES = "WordTrainer: sizes of vocabulary differ"
TREE = "WordTrainer: the tree is not as it must be"
FURTHER = "WordTrainer: the list of further rows is not as it must be"
LOCK = ": want one value or one a row"
JOBS = "WordTrainer: jobs are not as they must be"
WINDOW = (
    "WordTrainer: window and epochs must be positive, and there must "
    "be negatives with w_out or a tree with w_tree"
)
LISTS = "WordTrainer: sub_rows needs lists of rows"
RANGE = "WordTrainer: an id is out of range"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"w_in": zeros(V, 20)}, ValueError, PADDED),
        ({"w_in": zeros(V)}, ValueError, f"w_in{ROWS}"),
        ({"w_out": rows(V + 1)}, ValueError, PADDED),
        ({"w_out": training.rows(V, 40)}, ValueError, PADDED),
        ({"w_out": rows(2 * V)[::2]}, ValueError, PADDED),
        ({"w_in": rows(V)[:, :20]}, ValueError, PADDED),
        ({"w_tree": rows(V - 1)}, ValueError, PADDED),
        ({"sub_rows": zeros(2)}, ValueError, f"sub_rows{ROWS}"),
        ({"keep": zeros(V - 1, dtype=U32)}, ValueError, SIZES),
        ({"window": 0}, ValueError, WINDOW),
        ({"epochs": 0}, ValueError, WINDOW),
        ({"negative": -1}, ValueError, WINDOW),
        ({"negative": 0}, ValueError, WINDOW),
        ({"w_out": None}, ValueError, WINDOW),
        ({"w_out": None, "w_tree": None, "negative": 0}, ValueError, WINDOW),
        ({"noise": None}, ValueError, "WordTrainer: noise: want one weight a word"),
        ({"noise": np.ones(V - 1)}, ValueError, "WordTrainer: noise: want one weight a word"),
        ({"tree_start": None}, ValueError, "WordTrainer: w_tree needs a tree"),
        ({"tree_codes": zeros(V - 1, dtype=U8)}, ValueError, "WordTrainer: w_tree needs a tree"),
        ({"tree_start": np.arange(V)}, ValueError, TREE),
        ({"tree_start": np.array([0, 2, 1, 3, 4])}, ValueError, TREE),
        ({"tree_start": np.array([0, 1, 2, 3, 5])}, ValueError, TREE),
        ({"tree_points": np.full(V, V, I32)}, ValueError, TREE),
        ({"tree_points": np.full(V, -1, I32)}, ValueError, TREE),
        ({"sub_start": None}, ValueError, LISTS),
        ({"sub_ids": None}, ValueError, LISTS),
        ({"sub_start": np.arange(1, V + 2)}, ValueError, FURTHER),
        ({"sub_ids": np.full(V, 2, I32)}, ValueError, FURTHER),
        ({"lock": np.ones(2, np.float32)}, ValueError, f"WordTrainer: lock{LOCK}"),
        ({"sub_lock": np.ones(3, np.float32)}, ValueError, f"WordTrainer: sub_lock{LOCK}"),
        ({"ids": np.array([0, V], I32)}, IndexError, RANGE),
        ({"ids": np.array([0, ~V], I32)}, IndexError, RANGE),
        ({"jobs": np.array([0, 2, 5])}, ValueError, JOBS),
        ({"jobs": np.array([1, 2, 4])}, ValueError, JOBS),
        ({"jobs": np.array([0, 4])}, ValueError, JOBS),
        ({"progress": None}, ValueError, JOBS),
        ({"cumulative": None}, ValueError, JOBS),
        ({"cumulative": zeros(V, dtype=U32)}, ValueError, JOBS),
        ({"cumulative": np.array([1, 9, 3, 4], U32)}, ValueError, JOBS),
    ],
)
def test_trainer(change, error, message):
    refused(native("WordTrainer"), TRAINER, ("trainer", change, error, message))


def test_trainer_blocks():
    trainer = native("WordTrainer")(**TRAINER)
    message = "WordTrainer.start: no such block"
    refused(trainer.start, {"block": 1}, ("start", {"block": 9}, IndexError, message))
    good = {"epoch": 0, "first": 0, "last": 1, "workers": 1}
    for change in ({"first": 1, "last": 0}, {"last": 9}):
        message = "WordTrainer.train: no such blocks"
        refused(trainer.train, good, ("train", change, IndexError, message))


@pytest.mark.parametrize(
    "change",
    [
        {"costs": zeros(2, dtype=np.float64)},
        {"supply": np.array([1])},
        {"demand": np.array([1, 1, 1])},
        {"costs": zeros(0, 0, dtype=np.float64), "supply": zeros(0, dtype=I64),
         "demand": zeros(0, dtype=I64)},
    ],
)  # fmt: skip
def test_transport(change):
    good = {"costs": np.ones((2, 2)), "supply": np.array([1, 1]), "demand": np.array([1, 1])}
    message = "transport: shapes of costs, supply and demand differ"
    refused(native("transport"), good, ("transport", change, ValueError, message))
