"""What src/bind_words.cpp refuses so that memory stays safe."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bindings import native, refused, zeros
from firth.kernels import _dispatch
from firth.words import training

I32, I64, U8, U32 = np.int32, np.int64, np.uint8, np.uint32
ROWS = ": want 2-D rows, contiguous in the last axis"
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
MATRICES = [(name, {"w_in": wrong}) for name in BATCH for wrong in (zeros(12), zeros(3, 8)[:, ::2])]
REVERSED = "a matrix of vectors must not be reversed"


CASES = [
    *((name, change, ValueError, FIT[name]) for name, change in SHAPES),
    *((name, change, IndexError, f"{next(iter(change))}{INDEX}") for name, change in INDICES),
    *((name, change, ValueError, f"w_in{ROWS}") for name, change in MATRICES),
    *((name, {"w_in": zeros(3, 4)[::-1]}, ValueError, REVERSED) for name in BATCH),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
def test_batches(case):
    refused(native(case[0]), BATCH[case[0]], case)


def rows(count: int) -> np.ndarray:
    return training.rows(count, 20)


V = 4
LEVEL = _dispatch.active_level()
TREE = {"start": np.arange(V + 1), "points": zeros(V, dtype=I32), "codes": zeros(V, dtype=U8)}
SUBWORDS = {
    "vectors": rows(2), "start": np.arange(V + 1), "ids": zeros(V, dtype=I32),
    "lockf": np.full(1, 0.5, np.float32),
}  # fmt: skip
JOBS = {"start": np.array([0, 2, 4]), "progress": np.ones(2)}
NETWORK = {
    "w_in": rows(V), "w_out": rows(V), "w_tree": rows(V), "counts": np.ones(V, I64),
    "keep": zeros(V, dtype=U32), "window": 2, "negative": 3, "seed": 1,
    "tree": training.Tree(**TREE), "subwords": training.Subwords(**SUBWORDS),
    "lockf": np.full(V, 0.5, np.float32), "jobs": training.Jobs(**JOBS),
    "cum_table": np.array([1, 2, 3, 4], U32),
}  # fmt: skip
IDS = np.array([0, 1, 2, ~3], I32)
PADDED = ": rows must be padded and aligned to 64 bytes, one a word"
DTYPE = ": want a contiguous array of "
SIZES = "WordTrainer: sizes of vocabulary differ"
CODES = "WordTrainer: the tree: want one code a point"
OFFSETS = " rising offsets from 0 to "
LOCK = ": want one value or one a row"
OF_JOBS = (
    "WordTrainer: jobs: want rising offsets from 0 to the number of tokens, one "
    "progress a job and, with negatives, rising sums of weights in cum_table"
)
WINDOW = (
    "WordTrainer: window and epochs must be positive, and there must "
    "be negatives with w_out or a tree with w_tree"
)
RANGE = "WordTrainer: an id is out of range"


def trainer(ids: np.ndarray = IDS, epochs: int = 1, **change: Any) -> Any:
    network = training.Network(**(NETWORK | change))
    return native("WordTrainer")(LEVEL, network, ids, 0.1, 0.01, epochs)


def tree(**change: Any) -> dict[str, Any]:
    return {"tree": training.Tree(**(TREE | change))}


def subwords(**change: Any) -> dict[str, Any]:
    return {"subwords": training.Subwords(**(SUBWORDS | change))}


def jobs(**change: Any) -> dict[str, Any]:
    return {"jobs": training.Jobs(**(JOBS | change))}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"w_in": np.zeros((V, 32))}, TypeError, f"w_in{DTYPE}float32, got"),
        ({"w_in": None}, TypeError, f"w_in{DTYPE}float32, got"),
        ({"w_in": rows(V)[:, :20]}, TypeError, f"w_in{DTYPE}float32, got"),
        ({"w_out": rows(2 * V)[::2]}, TypeError, f"w_out{DTYPE}float32, got"),
        ({"w_in": zeros(V, 20)}, ValueError, f"WordTrainer: w_in{PADDED}"),
        ({"w_in": zeros(V)}, ValueError, f"WordTrainer: w_in{ROWS}"),
        ({"w_out": rows(V + 1)}, ValueError, f"WordTrainer: w_out{PADDED}"),
        ({"w_out": training.rows(V, 40)}, ValueError, f"WordTrainer: w_out{PADDED}"),
        ({"w_tree": rows(V - 1)}, ValueError, f"WordTrainer: w_tree{PADDED}"),
        ({"keep": zeros(V - 1, dtype=U32)}, ValueError, SIZES),
        ({"keep": zeros(V, dtype=I64)}, TypeError, f"keep{DTYPE}uint32, got"),
        ({"window": 0}, ValueError, WINDOW),
        ({"epochs": 0}, ValueError, WINDOW),
        ({"negative": -1}, ValueError, WINDOW),
        ({"negative": 0}, ValueError, WINDOW),
        ({"w_out": None}, ValueError, WINDOW),
        ({"w_out": None, "w_tree": None, "negative": 0}, ValueError, WINDOW),
        ({"counts": np.ones(V - 1, I64)}, ValueError, "WordTrainer: noise: want one weight a word"),
        ({"tree": None}, ValueError, "WordTrainer: w_tree needs a tree"),
        (
            tree(codes=zeros(V - 1, dtype=U8)),
            ValueError,
            "WordTrainer: the tree: want one code a point",
        ),
        (tree(start=np.arange(V)), ValueError, f"the tree: want 5{OFFSETS}4, and rows below 4"),
        (tree(start=np.array([0, 2, 1, 3, 4])), ValueError, OFFSETS),
        (tree(start=np.array([0, 1, 2, 3, 5])), ValueError, OFFSETS),
        (tree(points=np.full(V, V, I32)), ValueError, OFFSETS),
        (tree(points=np.full(V, -1, I32)), ValueError, OFFSETS),
        (subwords(vectors=zeros(2)), ValueError, f"subwords.vectors{ROWS}"),
        (subwords(start=np.arange(1, V + 2)), ValueError, f"further rows: want 5{OFFSETS}4"),
        (subwords(ids=np.full(V, 2, I32)), ValueError, "and rows below 2"),
        (subwords(lockf=np.ones(3)), ValueError, f"WordTrainer: subwords.lockf{LOCK}"),
        ({"lockf": np.ones(2, np.float32)}, ValueError, f"WordTrainer: lockf{LOCK}"),
        ({"ids": np.array([0, V], I32)}, IndexError, RANGE),
        ({"ids": np.array([0, ~V], I32)}, IndexError, RANGE),
        (jobs(start=np.array([0, 2, 5])), ValueError, OF_JOBS),
        (jobs(start=np.array([1, 2, 4])), ValueError, OF_JOBS),
        (jobs(start=np.array([0, 4])), ValueError, OF_JOBS),
        (jobs(progress=np.ones(1)), ValueError, OF_JOBS),
        ({"cum_table": None}, TypeError, f"cum_table{DTYPE}uint32, got"),
        ({"cum_table": zeros(V, dtype=U32)}, ValueError, OF_JOBS),
        ({"cum_table": np.array([1, 9, 3, 4], U32)}, ValueError, OF_JOBS),
    ],
)
def test_trainer(change, error, message):
    refused(trainer, {}, ("trainer", change, error, message))


def own_arrays(x: Any) -> dict[str, Callable[[], np.ndarray | None]]:
    """Puts copies in place of the arrays that x and its parts consist of; weak references to these.

    Matrices of float32 are copied to where the trainer wants them.
    """
    found: dict[str, Callable[[], np.ndarray | None]] = {}
    for name, value in vars(x).items():
        if isinstance(value, np.ndarray):
            copied = rows(len(value)) if value.shape[1:] else value.copy()
            setattr(x, name, copied)
            found[f"{type(x).__name__}.{name}"] = weakref.ref(copied)
        elif isinstance(value, (training.Tree, training.Subwords, training.Jobs)):
            part = copy.copy(value)
            setattr(x, name, part)
            found |= own_arrays(part)
    return found


def test_arrays_live_as_long_as_the_trainer():
    """All arrays of the network but the counts, which are read once, are held; and not longer."""
    network, ids = training.Network(**NETWORK), IDS.copy()
    arrays = {**own_arrays(network), "ids": weakref.ref(ids)}
    assert len(arrays) == 17
    job = native("WordTrainer")(LEVEL, network, ids, 0.1, 0.01, 1)
    del network, ids
    assert [name for name, array in arrays.items() if array() is None] == ["Network.counts"]
    del job
    assert [name for name, array in arrays.items() if array() is not None] == []


def test_the_trainer_trains_in_place():
    w_in, w_out = rows(V), rows(V)
    w_in[:, :20] = w_out[:, :20] = 0.1
    before = w_in.copy()
    job = trainer(w_in=w_in, w_out=w_out, keep=np.full(V, 2**32 - 1, U32))
    job.train(0, 0, job.blocks, 1)
    assert not np.array_equal(w_in, before)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("sg", [False, True])
def test_a_word_without_a_path_has_its_negatives(shared, sg):
    """The only word of a vocabulary: no tree to learn, but a positive output."""
    w_in, w_out = rows(1), rows(1)
    w_in[:, :20] = w_out[:, :20] = 0.1
    network = training.Network(
        w_in=w_in, w_out=w_out, w_tree=rows(1), counts=np.ones(1, I64), window=2, negative=3,
        keep=np.full(1, 2**32 - 1, U32), seed=1, sg=sg, shared=shared,
        tree=training.Tree(zeros(2, dtype=I64), zeros(0, dtype=I32), zeros(0, dtype=U8)),
    )  # fmt: skip
    job = native("WordTrainer")(LEVEL, network, np.array([0, 0, ~0], I32), 0.1, 0.01, 1)
    job.train(0, 0, job.blocks, 1)
    assert (w_out[:, :20] > 0.1).all()
    assert not network.w_tree.any()


def test_trainer_blocks():
    job = trainer()
    message = "WordTrainer.start: no such block"
    refused(job.start, {"block": 1}, ("start", {"block": 9}, IndexError, message))
    good = {"epoch": 0, "first": 0, "last": 1, "workers": 1}
    for change in ({"first": 1, "last": 0}, {"last": 9}):
        message = "WordTrainer.train: no such blocks"
        refused(job.train, good, ("train", change, IndexError, message))


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
