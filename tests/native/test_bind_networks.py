"""What src/bind_networks.cpp refuses so that memory stays safe."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from bindings import native, refused, zeros
from firth.kernels import _dispatch
from firth.networks.mlp_reference import Samples as MlpSamples
from firth.networks.rule import Problems, Samples

N, D, K = 5, 3, 2
INT = np.int32
SAMPLES = Samples(zeros(N, D), None, None, zeros(N, dtype=INT), zeros(N), zeros(N, dtype=np.uint8))
PROBLEMS = Problems(
    zeros(K, dtype=INT), zeros(K, 2, dtype=float), zeros(K, dtype=np.uint32), zeros(K, D),
    *(zeros(K, dtype=float), zeros(K, N, dtype=INT), zeros(K, dtype=float), zeros(K, dtype=float)),
    *(zeros(K, dtype=INT) for _ in range(3)),
)  # fmt: skip
SPARSE = replace(
    SAMPLES, values=zeros(4), columns=np.array([0, 2, 1, 0], INT),
    starts=np.array([0, 1, 1, 3, 3, 4], INT),
)  # fmt: skip
RULE = {"rate": 1.0, "intercept_decay": 1.0, "fit_intercept": True, "shuffle": True, "tol": 0.0,
        "patience": 5, "most": 2}  # fmt: skip
SIZE = ": perceptron_epochs wants another size"


def changed(given, **changes):
    """A case's change of samples or problems."""
    return {"samples" if isinstance(given, Samples) else "problems": replace(given, **changes)}


@pytest.mark.parametrize(
    "case",
    [
        ("dense", changed(SAMPLES, weights=zeros(4)), ValueError, "weights" + SIZE),
        ("dense", changed(SAMPLES, held_out=zeros(6, dtype=np.uint8)), ValueError, SIZE),
        ("dense", changed(SAMPLES, labels=zeros(5)), TypeError, "labels: want a contiguous array"),
        ("dense", changed(SAMPLES, values=zeros(4, D)), ValueError,
         "perceptron_epochs: values must be (n, d)"),
        ("dense", changed(SAMPLES, values=zeros(0, D), labels=zeros(0, dtype=INT), weights=zeros(0),
                          held_out=zeros(0, dtype=np.uint8)), ValueError,
         "perceptron_epochs: want from 1 to 2^31 - 1 samples and features"),
        ("dense", changed(PROBLEMS, coef=zeros(K * D)), ValueError,
         "perceptron_epochs: coef must be (K, d)"),
        ("dense", changed(PROBLEMS, coef=zeros(K, D, dtype=float)), TypeError, "coef: want"),
        ("dense", changed(PROBLEMS, coef=zeros(K, 0)), ValueError, "samples and features"),
        *(("dense", changed(PROBLEMS, **{name: zeros(9, dtype=getattr(PROBLEMS, name).dtype)}),
           ValueError, name + SIZE)
          for name in vars(PROBLEMS) if name != "coef"),
        ("dense", changed(PROBLEMS, order=np.full((K, N), 5, INT)), IndexError,
         "perceptron_epochs: a sample is out of range"),
        ("dense", changed(PROBLEMS, order=np.full((K, N), -1, INT)), IndexError,
         "perceptron_epochs: a sample is out of range"),
        ("sparse", changed(SPARSE, columns=zeros(3, dtype=INT)), ValueError, "columns" + SIZE),
        ("sparse", changed(SPARSE, starts=zeros(5, dtype=INT)), ValueError, "starts" + SIZE),
        *(("sparse", changed(SPARSE, starts=np.array(starts, INT)), ValueError,
           "perceptron_epochs: starts must rise within the values")
          for starts in ([0, 1, 1, 3, 3, 5], [-1, 1, 1, 3, 3, 4], [0, 2, 1, 3, 3, 4])),
        *(("sparse", changed(SPARSE, columns=np.array([0, 2, column, 0], INT)), IndexError,
           "perceptron_epochs: a column is out of range") for column in (-1, 3)),
    ],
)  # fmt: skip
def test_refused(case):
    given = SAMPLES if case[0] == "dense" else SPARSE
    good = {"samples": given, "problems": PROBLEMS, **RULE}
    refused(native("perceptron_epochs"), good, case)


def test_what_may_not_be_written_is_refused():
    coef = zeros(K, D)
    coef.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        native("perceptron_epochs")(samples=SAMPLES, problems=replace(PROBLEMS, coef=coef), **RULE)


UNITS = [D, 4, K]
WEIGHTS = (D + 1) * 4 + (4 + 1) * K
MLP_SAMPLES = MlpSamples(zeros(N, D), zeros(N, K), None)
MLP = {"most_batch": 2, "units": UNITS, "activation": 0, "output": 0, "adam": True,
       "nesterov": True, "alpha": 0.0, "momentum": 0.9, "beta_1": 0.9, "beta_2": 0.999,
       "epsilon": 1e-8, "dropout": 0.0, "seed": 1}  # fmt: skip


def mlp(samples=MLP_SAMPLES, arrays=None, **changes):
    made = [zeros(WEIGHTS) for _ in range(3)]
    for i, array in (arrays or {}).items():
        made[i] = array
    return native("Mlp")(_dispatch.active_level(), samples, *made, **{**MLP, **changes})


SHAPES = "Mlp: samples must be (n, d), (n, K) and n or none, n at least a batch"
RANGE = "Mlp: units or the batch are out of range"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"units": [D]}, ValueError, RANGE),
        ({"units": [D, 0, K]}, ValueError, RANGE),
        ({"units": [D, 1 << 31, K]}, ValueError, RANGE),
        ({"units": [1 << 30] * 4}, ValueError, RANGE),
        ({"most_batch": 0}, ValueError, RANGE),
        ({"most_batch": 1 << 31}, ValueError, RANGE),
        ({"activation": 2}, ValueError, "Mlp: there is no such activation or output"),
        ({"output": 4}, ValueError, "Mlp: there is no such activation or output"),
        ({"output": -1}, ValueError, "Mlp: there is no such activation or output"),
        ({"arrays": {1: zeros(WEIGHTS, dtype=float)}}, TypeError,
         "Mlp: want arrays of one dtype"),
        *(({"arrays": {i: zeros(WEIGHTS - 1)}}, ValueError, "Mlp: want one number for each weight")
          for i in range(3)),
        *(({"samples": replace(MLP_SAMPLES, **wrong)}, ValueError, SHAPES)
          for wrong in ({"X": zeros(N, D + 1)}, {"X": zeros(N * D)}, {"y": zeros(N - 1, K)},
                        {"y": zeros(N, K + 1)}, {"y": zeros(N)}, {"weights": zeros(N - 1)})),
        ({"most_batch": N + 1}, ValueError, SHAPES),
        ({"samples": replace(MLP_SAMPLES, y=zeros(N, K, dtype=float))}, TypeError, "y: want"),
    ],
)  # fmt: skip
def test_mlp_refuses(changes, error, message):
    mlp()  # what is not changed is right
    with pytest.raises(error, match=re.escape(message)):
        mlp(**changes)


@pytest.mark.parametrize(
    ("rows", "batch", "rates", "error", "message"),
    [
        ([0, 1, 2], 2, 1, ValueError,
         "Mlp: want one rate a batch, and none larger than announced"),
        ([0, 1, 2], 3, 1, ValueError, "and none larger than announced"),
        ([0, 1, 2], 0, 2, ValueError, "and none larger than announced"),
        ([0, N], 2, 1, IndexError, "Mlp: a row is out of range"),
        ([-1, 0], 2, 1, IndexError, "Mlp: a row is out of range"),
    ],
)  # fmt: skip
def test_mlp_refuses_rows(rows, batch, rates, error, message):
    steps = mlp()
    run = {"batch": 2, "rates": zeros(1, dtype=float), "steps": 0}
    assert steps.run(np.array([0, 1]), **run)[1] == 1
    with pytest.raises(error, match=re.escape(message)):
        steps.run(np.array(rows), **{**run, "batch": batch, "rates": zeros(rates, dtype=float)})
